"""Dagster's face of the stores: thin resources over the plain classes of `convergence`."""
