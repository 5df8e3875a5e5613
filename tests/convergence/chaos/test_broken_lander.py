"""A trial can fail: a lander that commits rows and offsets apart, killed between the two, doubles and is found out."""

import json
from pathlib import Path

import pytest

from convergence.chaos.nemesis import KILL_AT, Strike
from convergence.chaos.trial import run_trial
from convergence.services.kafka import KafkaBroker
from convergence_assets.fraud.arrivals import TOPIC
from tests.convergence.chaos.evidence import history

# Python runs this module first in every process that has its folder on the path.
_APART = """
import sys

if "land" in sys.orig_argv:
    from convergence.lake.tables import Lake

    append = Lake.append

    def apart(lake, table, frame, manifest, consumed, base, *, dated):
        if table.startswith("_"):
            return append(lake, table, frame, manifest, consumed, base, dated=dated)
        append(lake, table, frame, manifest, {}, lake.open(table), dated=dated)
        append(lake, table, frame.clear(), {**manifest, "partitions": {}}, consumed, lake.open(table), dated=dated)

    Lake.append = apart
"""


def test_a_lander_without_its_guard_does_not_pass_and_its_folder_is_kept(
    kafka_jars: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "path").mkdir()
    (tmp_path / "path" / "sitecustomize.py").write_text(_APART)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "path"))
    between = Strike(KILL_AT, "after_commit", 3, bounded=True)  # rows are odd, offsets even
    monkeypatch.setattr("convergence.chaos.trial.strikes_of", lambda *_: [between])
    broker = KafkaBroker(tmp_path / "broker", kafka_jars)
    broker.start()
    try:
        result = run_trial(TOPIC, history(), "R-01", 11, broker=broker, folder=tmp_path / "trial")
    finally:
        broker.kill()
    assert not result.passed
    assert result.doubled > 0
    assert result.landed == result.sent + result.doubled
    kept = json.loads((tmp_path / "trial" / "trial.json").read_text())
    assert kept["doubled"] == result.doubled
    assert kept["strikes"] == [str(between)]
