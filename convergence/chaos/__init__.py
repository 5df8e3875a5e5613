"""The proof of exactly-once: random load and faults against real processes, and a checker that believes only files."""
