"""Plain Python that the assets stand on: no Dagster here, except at the command line's edge."""
