"""The newest verdicts of a drift table for Prometheus, read from the lake when they are asked for, once a minute."""

import logging
import time
from collections.abc import Callable, Iterable
from threading import Lock

import polars as pl
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from convergence.errors import ConvergenceError, TableMissing
from convergence.lake.tables import Lake
from convergence.monitoring.drift import DRIFT, STABLE, WATCH

KEPT = 60.0  # seconds
LEVELS = {STABLE: 0, WATCH: 1, DRIFT: 2}

_LABELS = ("feature", "window_days")
_COLUMNS = ("event_date", *_LABELS, "psi", "ks", "verdict")

log = logging.getLogger(__name__)


class DriftGauges(Collector):
    """PSI, KS distance and verdict of each column and window on the newest judged day; none before there is one.

    `table` has event_date, feature, window_days, psi, ks, verdict. While it cannot be read, what was read last stands.
    """

    def __init__(self, lake: Lake, table: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._lake, self._table, self._clock = lake, table, clock
        self._rows = pl.DataFrame(schema=dict.fromkeys(_COLUMNS))
        self._until = -float("inf")
        self._lock = Lock()

    def collect(self) -> Iterable[GaugeMetricFamily]:
        """The gauges as they are now."""
        rows = self._newest()
        psi = GaugeMetricFamily("convergence_drift_psi", "Population stability index", labels=_LABELS)
        ks = GaugeMetricFamily("convergence_drift_ks", "Kolmogorov-Smirnov distance", labels=_LABELS)
        verdict = GaugeMetricFamily("convergence_drift_verdict", "0 stable, 1 watch, 2 drift", labels=_LABELS)
        judged = GaugeMetricFamily("convergence_drift_judged_seconds", "Start of the newest judged day, Unix time")
        for row in rows.iter_rows(named=True):
            labels = (row["feature"], str(row["window_days"]))
            verdict.add_metric(labels, LEVELS[row["verdict"]])
            for family in (psi, ks):
                if (value := row[family.name.rpartition("_")[2]]) is not None:  # a column that came or left has none
                    family.add_metric(labels, value)
        if rows.height:
            judged.add_metric((), rows["event_date"].cast(pl.Datetime("us", "UTC")).dt.epoch("s")[0])
        return psi, ks, verdict, judged

    def _newest(self) -> pl.DataFrame:
        with self._lock:
            if self._clock() >= self._until:
                self._until = self._clock() + KEPT
                try:
                    there = self._lake.newest().scan(self._table).select(_COLUMNS)
                    self._rows = there.filter(pl.col("event_date") == pl.col("event_date").max()).collect()
                except TableMissing:
                    pass  # nothing was judged yet
                except ConvergenceError as error:
                    log.warning("drift is not read: %s", error)
            return self._rows
