"""A model behind a gate, as its use case declares it: what it predicts, from which tables, and when it is made.

From this alone follow its tables: decisions of the gate, champions by day, scores, profiles, drift, performance.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import polars as pl

from convergence.errors import ModelError
from convergence.features.point_in_time import point_in_time_join
from convergence.lake.contracts import Contract, schema_of
from convergence.models import promotions, splits, stored
from convergence.models.releasable import Releasable
from convergence.models.tasks import Task


@dataclass(frozen=True)
class Schedule:
    """As-of dates `first`, `first` + 7 days ... `last`, and the days of labelled rows around each of them.

    A model is fitted on `training_days`, let in by the `gate_days` after them, and the labels of the `delay_days`
    before its date are not known yet. `oldest_champion_days`: how long one may go on serving and still be watched.
    """

    first: date
    last: date
    training_days: int
    gate_days: int
    delay_days: int
    oldest_champion_days: int

    @property
    def reach_back(self) -> int:
        """Days before a day that its drift reads."""
        return self.training_days + self.gate_days + self.delay_days + self.oldest_champion_days

    @property
    def weeks_back(self) -> int:
        """The oldest week that a model reads, counted from its own: negative."""
        return -((self.training_days + self.gate_days + self.delay_days) // 7)

    @property
    def known_week(self) -> int:
        """The newest week whose labels are all known at an as-of date, counted from it: negative."""
        return -(self.delay_days // 7) - 1

    def trained_on(self, as_of: date) -> tuple[date, date]:
        """First and last day that the model of a date was fitted on."""
        end = as_of - timedelta(days=self.delay_days + self.gate_days)
        return end - timedelta(days=self.training_days), end - timedelta(days=1)

    def gate(self, as_of: date) -> tuple[date, date]:
        """First and last day of the newest labelled days before a date, which the fit of its model has not seen."""
        return as_of - timedelta(days=self.delay_days + self.gate_days), as_of - timedelta(days=self.delay_days + 1)


@dataclass(frozen=True)
class Figure:
    """A number that is told of judged rows (with `label` and `score`), as a column of that name."""

    name: str
    words: str
    of: Callable[[pl.DataFrame], float]
    kind: type = float
    allowed: dict[str, Any] = field(default_factory=dict)  # rules of the column, as Pandera's Field takes them


@dataclass(frozen=True)
class GatedModel:
    """A model, its task, and where its inputs lie.

    `watched` are the names of the tables that watch it, where they are not `<stem>_profiles`, `<stem>_score_profiles`,
    `<stem>_score_references`, `<stem>_drift`, `<stem>_drift_report` and `<stem>_score_performance`.
    """

    use_case: str
    name: str  # of the asset, e.g. fraud_model
    task: Task
    schedule: Schedule
    features: str  # table
    labels: str  # table: the task's label and `label_time`
    inputs: tuple[str, ...]  # columns of the features that the model takes
    view: str
    fingerprint: str  # of the view's schema
    figures: tuple[Figure, ...] = ()  # told of judged rows, beside the measure
    extras: tuple[str, ...] = ()  # columns of a model that its champions carry along, beside graph and hash
    performance_limit: float | None = None  # loss of the measure that is borne; None: issued scores are not judged
    evaluated_to: date | None = None  # last as-of date whose week has known labels; None: no walk-forward is made
    fixed_by_the_day: frozenset[str] = frozenset()  # inputs of which one day says nothing: only the week is compared
    window_days: tuple[int, ...] = (1, 7)  # over which drift is told
    watched: dict[str, str] = field(default_factory=dict)

    @property
    def stem(self) -> str:
        """What its tables are called after: fraud_model has fraud_promotions."""
        return self.name.removesuffix("_model")

    @property
    def row(self) -> list[str]:
        """The columns that identify a row."""
        return ["event_date", self.task.key]

    def table(self, what: str) -> str:
        """The table of one of its parts, e.g. promotions, champions, scores, drift."""
        return f"{self.use_case}/{self.watched.get(what, f'{self.stem}_{what}')}"

    @property
    def models(self) -> str:
        """The table of its versions."""
        return f"{self.use_case}/{self.name}"

    @property
    def served(self) -> tuple[str, ...]:
        """What a decision and a champion hold of a model, so that it can score."""
        return ("onnx", "sha256", *self.extras)

    @property
    def gate_measure(self) -> str:
        """The column of a decision with what the gate measured of the challenger."""
        return f"gate_{self.task.measure.name}"

    @property
    def releasable(self) -> Releasable:
        """What promotion and rollback need to know."""
        return Releasable(
            name=self.name,
            models=self.models,
            decisions=self.table("promotions"),
            champions=self.table("champions"),
            view=self.view,
            fingerprint=self.fingerprint,
        )

    def known(self, features: pl.DataFrame, labels: pl.DataFrame, as_of: date) -> pl.DataFrame:
        """Feature rows whose label was known at the start of `as_of`, with that label, in time order."""
        task = self.task
        row = self.row
        cut = datetime.combine(as_of, time(), UTC)
        spine = features.with_columns(known_by=pl.lit(cut, pl.Datetime("us", "UTC")))
        facts = labels.select(*row, "event_time", "label_time", task.label, sequence=pl.lit(0))
        joined = point_in_time_join(
            spine, facts, by=row, sequence="sequence", known_by="known_by", fact_known="label_time"
        )
        return joined.filter(pl.col(task.label).is_not_null()).sort("event_time", task.key)

    def gate_rows(self, features: pl.DataFrame, labels: pl.DataFrame, as_of: date) -> pl.DataFrame:
        """The newest labelled rows before a date, which the fit of its model has not seen."""
        known = self.known(features, labels, as_of)
        return splits.training_rows(known, as_of, days=self.schedule.gate_days, delay=self.schedule.delay_days)

    def training_rows(self, known: pl.DataFrame, as_of: date) -> pl.DataFrame:
        """The labelled rows that the model of a date is fitted on."""
        delay = self.schedule.delay_days + self.schedule.gate_days
        return splits.training_rows(known, as_of, days=self.schedule.training_days, delay=delay)


@dataclass(frozen=True)
class Fitted:
    """A fitted model as it is stored: the graph, what is told of it, and columns that only its use case has."""

    onnx: bytes  # its signature is inside
    report: dict[str, Any]  # `parity`, as `stored.parity` measures it, and what else is known
    parameters: dict[str, Any]
    extras: dict[str, Any] = field(default_factory=dict)


Fit = Callable[[pl.DataFrame, Any], Fitted]  # of labelled rows in time order, with parameters


def version(
    declared: GatedModel, fit: Fit, features: pl.DataFrame, labels: pl.DataFrame, as_of: date, parameters: Any
) -> dict[str, Any]:
    """The model as of a date: one row of TrainedModel. Raises as `fit`, ModelError for a report without parity."""
    rows = declared.training_rows(declared.known(features, labels, as_of), as_of)
    fitted = fit(rows, parameters)
    if "parity" not in fitted.report:
        raise ModelError(f"the report of {declared.name} has no `parity`, which its gate asks for: see stored.parity")
    return {
        "event_date": as_of,
        **named(fitted.onnx, as_of),
        "training_first_day": rows["event_date"].min(),
        "training_last_day": rows["event_date"].max(),
        "training_rows": rows.height,
        "parameters": json.dumps(fitted.parameters),
        "report": json.dumps(fitted.report),
        **fitted.extras,
    }


def named(onnx: bytes, as_of: date) -> dict[str, Any]:
    """A graph as it is stored and named."""
    sha256 = stored.digest(onnx)
    return {"model_version": f"{as_of}.{sha256[:8]}", "onnx": onnx, "sha256": sha256}


def scored(served: Mapping[str, Any], rows: pl.DataFrame) -> pl.DataFrame:
    """The rows with the `score` of a stored model (its `onnx` and `sha256`); raises ModelError as `stored.load`."""
    return rows.with_columns(score=stored.load(served["onnx"], sha256=served["sha256"]).score_rows(rows))


def decide(
    declared: GatedModel,
    challenger: Mapping[str, Any],
    champion: Mapping[str, Any] | None,
    features: pl.DataFrame,
    labels: pl.DataFrame,
) -> dict[str, Any] | None:
    """The gate's decision on a challenger: one row of Decision, or None where nobody may serve."""
    as_of, task = challenger["event_date"], declared.task
    rows = declared.gate_rows(features, labels, as_of)
    ours = promotions.Scores(challenger["model_version"], scored(challenger, rows))
    theirs = promotions.Scores(champion["model_version"], scored(champion, rows)) if champion else None
    measured = promotions.Served(len(challenger["onnx"]), json.loads(challenger["report"])["parity"])
    verdict = promotions.gate(ours, theirs, task=task, served=measured)
    serving = {**challenger, "model_as_of": as_of} if verdict.passed else champion
    if serving is None:
        return None
    return {
        "event_date": as_of,
        "valid_from": as_of,
        "model_version": serving["model_version"],
        "model_as_of": serving["model_as_of"],
        "decided_at": datetime.combine(as_of, time(), UTC),
        "reason": verdict.reason,
        "challenger_version": challenger["model_version"],
        "promoted": verdict.passed,
        "gate": json.dumps(verdict.rules.to_dicts()),
        declared.gate_measure: None if task.insane(ours.rows) else task.measure.of(task.rows(ours.rows)),
        **{name: serving[name] for name in declared.served},
    }


def issue(declared: GatedModel, contract: Contract, features: pl.DataFrame, champions: pl.DataFrame) -> pl.DataFrame:
    """Rows of scores, each by the champion of its day. Raises ModelError for a day without one."""
    served = champions.select("sha256", "onnx").unique("sha256", maintain_order=True)
    # Models stay out of the rows: each would be there as often as there are rows.
    about = champions.select("event_date", "model_version", "model_as_of", "sha256")
    dated = features.join(about, on="event_date", how="left", maintain_order="left")
    unserved = dated.filter(pl.col("sha256").is_null())["event_date"].unique().sort()
    if unserved.len():
        raise ModelError(f"no champion on {unserved[0]}: materialize {declared.table('champions')} of that day first")
    schema = schema_of(contract)
    parts = [pl.DataFrame(schema=schema)]
    for sha256, onnx in served.iter_rows():
        rows = dated.filter(sha256=sha256)
        parts.append(rows.with_columns(score=stored.load(onnx, sha256=sha256).score_rows(rows)).select(schema.names()))
    return pl.concat(parts).sort("event_time", declared.task.key)
