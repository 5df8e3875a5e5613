from datetime import date

import polars as pl
from prometheus_client import CollectorRegistry, generate_latest

from convergence.errors import LakeError
from convergence.lake.manifests import Provenance, build_manifest
from convergence.lake.tables import Lake
from convergence.monitoring.drift_gauges import KEPT, DriftGauges


def judged(lake: Lake, day: int, psi: float, verdict: str) -> None:
    row = {"event_date": date(2018, 5, day), "feature": "amount", "window_days": 7, "psi": psi, "ks": 0.1}
    frame = pl.DataFrame([row | {"verdict": verdict}])
    key = f"2018-05-{day:02}"
    lake.replace(
        "drift", {key: frame}, build_manifest({key: frame}, "replace", Provenance("r", "")), lake.open("drift")
    )


class Scrapes:
    """What is scraped at a time of one's own."""

    def __init__(self, lake: Lake) -> None:
        self.now, self.registry = 0.0, CollectorRegistry()
        self.registry.register(DriftGauges(lake, "drift", lambda: self.now))

    def psi(self) -> float | None:
        return self.registry.get_sample_value("convergence_drift_psi", {"feature": "amount", "window_days": "7"})

    def verdict(self) -> float | None:
        return self.registry.get_sample_value("convergence_drift_verdict", {"feature": "amount", "window_days": "7"})


def test_before_anything_was_judged_there_is_no_sample_and_the_metrics_are_declared(lake: Lake) -> None:
    scrapes = Scrapes(lake)
    assert scrapes.psi() is None
    assert b"# TYPE convergence_drift_psi gauge" in generate_latest(scrapes.registry)


def test_the_newest_day_is_told_whichever_was_judged_last(lake: Lake) -> None:
    judged(lake, 6, 0.7, "drift")
    judged(lake, 5, 0.01, "stable")
    scrapes = Scrapes(lake)
    assert (scrapes.psi(), scrapes.verdict()) == (0.7, 2)


def test_the_lake_is_asked_once_a_minute(lake: Lake) -> None:
    judged(lake, 5, 0.15, "watch")
    scrapes = Scrapes(lake)
    assert (scrapes.psi(), scrapes.verdict()) == (0.15, 1)
    judged(lake, 6, 0.7, "drift")
    scrapes.now = KEPT - 1
    assert scrapes.psi() == 0.15
    scrapes.now = KEPT
    assert scrapes.psi() == 0.7


def test_while_the_lake_does_not_answer_what_was_read_last_stands(lake: Lake) -> None:
    judged(lake, 5, 0.15, "watch")

    class Failing(Lake):
        down = False

        def newest(self) -> Lake:
            if self.down:
                raise LakeError("it does not answer")
            return lake

    failing = Failing(lake.root)
    scrapes = Scrapes(failing)
    assert scrapes.psi() == 0.15
    failing.down, scrapes.now = True, KEPT
    assert scrapes.psi() == 0.15
