"""The code location as a deployment with a Kafka cluster loads it."""

import os
import subprocess
import sys

from tests.graph.house import ROOT


def test_the_code_location_loads_where_kafka_is_configured() -> None:
    command = [sys.executable, "-m", "dagster", "definitions", "validate", "-m", "convergence_assets.definitions"]
    environment = os.environ | {"CONVERGENCE_KAFKA": "127.0.0.1:9"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
