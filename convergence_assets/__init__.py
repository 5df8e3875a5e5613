"""The asset graph: one folder per use case, found by `definitions.py` without a list."""
