"""Check factories, each written once and used by every use case."""
