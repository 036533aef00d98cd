"""study/truths: functions that claims and quizzes name in their words, one file a topic: no answer is ever typed in."""
