"""Which versions a partition was made from, and which partitions no longer match theirs."""
