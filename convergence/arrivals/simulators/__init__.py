"""Seeded generators that stand in for a source when its real data are not at hand."""
