"""trtlab.study: questions, claims, quizzes, katas, schedule and progress. Draws nothing.

May import: the standard library (sqlite3 too), numpy, yaml, fsrs; the rooms below it inside functions only.
"""
