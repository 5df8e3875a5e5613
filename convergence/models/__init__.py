"""Models as pure functions: split, fit, measure and decide over Polars frames, none of them aware of Dagster."""
