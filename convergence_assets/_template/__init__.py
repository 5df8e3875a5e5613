"""One sentence: what the use case answers.

For: who decides what with it. Data: where it comes from. Results: which tables to look at.
"""
