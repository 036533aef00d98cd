"""study/truths: the answers of quizzes, each found by a function that words/quizzes names, and never typed in."""
