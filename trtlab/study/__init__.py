"""study: questions, quizzes and claims: words in YAML, facts from functions. Draws nothing.

May import: the standard library, cattrs, numpy, yaml; the rooms below it inside functions and in truths/.
"""
