"""What is read from an exposure log."""

import json
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from convergence.serving.experiment import experiment

DAY = date(2026, 1, 1)
SHARES = {"challenger": 0.5, "champion": 0.5}


def logged(folder: Path, exposures: list[dict[str, Any]]) -> Path:
    shared = {"experiment": "m/1", "at": datetime.now(UTC).isoformat(), "shares": SHARES, "seconds": 0.001}
    (folder / f"{DAY}.jsonl").write_text("".join(json.dumps(shared | one) + "\n" for one in exposures))
    return folder


def exposure(unit: str, variant: str, score: float | None = 0.1) -> dict[str, Any]:
    return {"unit": unit, "variant": variant, "score": score, "outcome": "failed" if score is None else "answered"}


def test_a_unit_that_comes_again_counts_once_and_is_told(tmp_path: Path) -> None:
    exposures = [exposure(f"{variant}-{n}", variant) for variant in SHARES for n in range(9)]
    exposures += [exposure("till", "challenger", None), *(exposure("till", "challenger", 0.9) for _ in range(50))]
    found = experiment(logged(tmp_path, exposures), "m/1", SHARES, DAY)
    counted = found.rates.select("variant", "units", "repeated", "failed").rows()
    assert counted == [("challenger", 10, 50, 0.1), ("champion", 9, 0, 0.0)]
    assert found.distance == 0
    assert not found.split_is_broken


def test_an_experiment_without_a_line_has_no_rates(tmp_path: Path) -> None:
    found = experiment(tmp_path, "m/1", SHARES, DAY)
    assert (found.rates.height, found.rates["repeated"].sum(), found.distance) == (0, 0, None)
