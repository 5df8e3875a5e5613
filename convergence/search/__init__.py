"""Search over text, code and images: encoders, what they make of items, and the indexes over it; no Dagster."""
