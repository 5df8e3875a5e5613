"""What the platform costs, as ratios to the same work done by hand: `python -m benchmarks`."""
