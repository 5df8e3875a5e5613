"""A model that can be released, as its use case declares it: where versions and decisions lie, and what it reads.

The commands and the job of the UI find a version and its verdict here, so both release by the same rules.
"""

from dataclasses import dataclass
from datetime import date, timedelta

import polars as pl

from convergence.errors import ModelError
from convergence.lake.manifests import states
from convergence.lake.tables import Lake
from convergence.models.stored import digest


@dataclass(frozen=True)
class Candidate:
    """A model version that may be released, with what it reads online and what the gate said of it."""

    row: pl.DataFrame  # of the models table: event_date (as-of date), model_version, onnx, sha256, what batch needs
    view: str
    fingerprint: str
    namespace: str
    gate: str  # the verdict in words
    passed: bool

    @property
    def model_version(self) -> str:
        """The version, as its table names it."""
        return self.row["model_version"].item()

    @property
    def sha256(self) -> str:
        """The hash that the model is kept and loaded by."""
        return self.row["sha256"].item()


@dataclass(frozen=True)
class Span:
    """From when on a release scores in batch: the next partition, and past every decision of the gate there is."""

    valid_from: date
    counts_from: date


@dataclass(frozen=True)
class Releasable:
    """Tables of one model, and the feature view that its servers read."""

    name: str  # of the model, e.g. fraud_model
    models: str  # table: event_date (as-of date), model_version, onnx, sha256
    decisions: str  # table: valid_from, challenger_version, promoted, reason
    champions: str  # table by day: which model scores it, decided once and for all
    view: str
    fingerprint: str  # of the view's schema

    @property
    def namespace(self) -> str:
        """Where the online store keeps what this version of the view needs, whichever fill is the newest."""
        return f"{self.view}/{self.fingerprint}"

    def candidate(self, lake: Lake, version: str | None = None) -> Candidate:
        """A version with its verdict; None takes the newest. Raises ModelError for one that there is not."""
        models = lake.scan(self.models).sort("event_date")
        row = (models.filter(pl.col("model_version") == version) if version else models).tail(1).collect()
        if row.is_empty():
            there = models.select("model_version").collect()["model_version"].to_list()
            raise ModelError(f"no version {version or ''} in {self.models}; there are: {', '.join(there) or 'none'}")
        as_of, name, onnx, expected = row.select("event_date", "model_version", "onnx", "sha256").row(0)
        if (found := digest(onnx)) != expected:
            raise ModelError(
                f"{name} in {self.models} has hash {found[:12]}, expected {expected[:12]}: "
                f"materialize {self.models} of {as_of} again"
            )
        passed, gate = self._verdict(lake, name, as_of)
        return Candidate(
            row=row,
            view=self.view,
            fingerprint=self.fingerprint,
            namespace=self.namespace,
            gate=gate,
            passed=passed,
        )

    def span(self, lake: Lake) -> Span:
        """From when on a release of this moment scores in batch: no day that has its champion gets another.

        Raises ModelError where nothing was decided yet, neither by the gate nor for a day.
        """
        held = states(lake, [self.champions, self.decisions])
        settled, decided = (
            max(map(date.fromisoformat, held[t]), default=None) for t in (self.champions, self.decisions)
        )
        if settled is None and decided is None:
            raise ModelError(f"{self.name} has no decision of the gate yet: materialize {self.decisions} first")
        first = decided if settled is None else settled + timedelta(days=1)
        assert first is not None
        return Span(first, max(first, decided or first))

    def _verdict(self, lake: Lake, version: str, as_of: date) -> tuple[bool, str]:
        if lake.open(self.decisions) is not None:
            judged = lake.scan(self.decisions).filter(pl.col("challenger_version") == version).sort("valid_from")
            for passed, reason in judged.select("promoted", "reason").tail(1).collect().iter_rows():
                return passed, reason
        return False, f"{version} was never judged: materialize {self.decisions} of {as_of}."
