"""Logs, traces and metrics that can be followed from one to the other: every line and span carries the same ids."""
