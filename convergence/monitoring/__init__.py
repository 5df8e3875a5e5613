"""What a table's columns look like over time: mergeable profiles, drift between them, quality of issued scores."""
