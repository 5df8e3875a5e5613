"""Prometheus itself, from the system's package."""

import os
import shutil

import pytest


def prometheus_tool(name: str) -> str:
    """The path of `prometheus` or `promtool`; a machine that does not have it skips, unless it is told not to."""
    if path := shutil.which(name):
        return path
    if os.environ.get("CI") or os.environ.get("CONVERGENCE_REQUIRE_SERVICES"):
        raise FileNotFoundError(f"{name} is not installed: install the package `prometheus`")
    pytest.skip(f"{name} is not installed: the package `prometheus` has it")
