"""A toy use case for each kind of task: seven weeks of a few rows a day, and models of a few numbers as ONNX graphs.

Five models are made, and each but the first and the last is bad in its own way: one that has learned nothing, one whose
graph is not what was fitted, one whose scores cannot be meant.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Annotated, Any

import dagster as dg
import numpy as np
import pandera.polars as pa
import polars as pl
from numpy.typing import NDArray
from onnx import TensorProto

from convergence.lake.contracts import Contract, StrictColumns
from convergence.lake.tables import Lake
from convergence.models import gated_contracts, stored, tasks
from convergence.models.gated import Figure, Fitted, GatedModel, Schedule
from convergence.models.onnx_graph import INPUT, Graph
from convergence.models.tasks import Limits, Task
from convergence_assets._parts.gated import Gated, gated_model
from convergence_assets.partitions import daily
from resources.experiments import Experiments
from resources.lake import LakeIOManager, lake_asset
from resources.reports import Reports

FIRST, LAST = date(2024, 1, 8), date(2024, 3, 10)
GOOD, USELESS, WRONG, INSANE, NEWEST = WEEKS = [date(2024, 2, 5) + timedelta(days=7 * n) for n in range(5)]
SHIFTED = date(2024, 3, 9)  # from this day on the input `x` is another
SCHEDULE = Schedule(
    first=GOOD, last=NEWEST, training_days=14, gate_days=7, delay_days=7, oldest_champion_days=35
)  # fmt: skip
ROWS, STEPS, GROUPS = 12, 4, 3  # rows a day, and groups that they are ranked in
CLASSES = ("low", "middle", "high")
QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
INPUTS = ("x", "y")

Matrix = NDArray[np.float64]
Time = Annotated[pl.Datetime, "us", "UTC"]


class Row(pa.DataFrameModel):
    """What identifies a row, and the group that it is ranked in."""

    event_date: date = pa.Field(description="Day")
    event_time: Time = pa.Field(description="Time")
    row_id: str = pa.Field(description="The row", unique=True)
    group: str = pa.Field(description="What it is ranked in")

    class Config(StrictColumns):
        """Columns are as declared."""

        metadata = {"made_here": "simulated"}


class Columns(Row):
    """Two numbers a row."""

    x: float = pa.Field(description="A number")
    y: float = pa.Field(description="Another")

    class Config(Row.Config):
        """Columns are as declared."""

        metadata = {"made_here": "simulated"}


class Sequences(Row):
    """Two sequences a row."""

    x: Annotated[pl.List, pl.Float64] = pa.Field(description="Numbers, the newest last")
    y: Annotated[pl.List, pl.Float64] = pa.Field(description="Others")

    class Config(Row.Config):
        """Columns are as declared."""

        metadata = {"made_here": "simulated"}


@dataclass(frozen=True)
class Kind:
    """A task with what it takes to have a world of it."""

    name: str
    task: Task
    label_type: Any
    label: Callable[[Matrix], list[Any]]  # of what a row is really like
    features: Contract = Columns
    steps: int | None = None

    @property
    def width(self) -> int:
        """Numbers a score has."""
        return len(self.task.classes) or 1

    @property
    def output(self) -> str:
        """What its graph calls a score."""
        return stored.OUTPUT if self.task.kind in ("binary", "multiclass") else stored.SCORE

    def squashed(self, margins: Matrix) -> Matrix:
        """The library's scores of margins: (n, width) of classes, else n."""
        if self.task.classes:
            raised = np.exp(margins)
            return raised / raised.sum(axis=1, keepdims=True)
        return (1 / (1 + np.exp(-margins)) if self.task.kind == "binary" else margins)[:, 0]

    def targets(self, label: pl.Series) -> Matrix:
        """What least squares goes for, (n, width)."""
        if self.task.kind == "multiclass":
            return np.column_stack([(label == each).to_numpy() * 8.0 - 4 for each in self.task.classes])
        numbers = label.cast(pl.Float64).to_numpy()[:, None]
        return numbers * 8 - 4 if self.task.kind == "binary" else numbers


KINDS = [
    Kind(
        "sequence",
        tasks.binary("label", "row_id", limits=Limits(of_baseline=1.3, calibration_error=0.6), repetitions=50),
        bool,
        lambda truth: (truth > 0).tolist(),
        features=Sequences,
        steps=STEPS,
    ),
    Kind(
        "classes",
        replace(
            tasks.multiclass("label", "row_id", CLASSES, limits=Limits(of_baseline=1.2, calibration_error=0.5)),
            repetitions=50,
        ),
        str,
        lambda truth: [CLASSES[n] for n in np.digitize(truth, [-1, 1])],
    ),
    Kind("number", replace(tasks.regression("label", "row_id"), repetitions=50), float, lambda truth: truth.tolist()),
    Kind(
        "order",
        replace(tasks.ranking("group", "row_id", label="label", k=3), repetitions=50),
        int,
        lambda truth: np.digitize(truth, [-0.5, 1.5]).tolist(),
    ),
    Kind(
        "strange",
        replace(tasks.anomaly("label", "row_id"), repetitions=50),
        bool,
        lambda truth: (truth > 1.5).tolist(),
    ),
]


def label_contract(kind: Kind) -> Contract:
    """Of the labels of a kind."""
    body = {
        "__annotations__": {"label_time": Time, "label": kind.label_type},
        "__module__": __name__,
        "__doc__": "What came of a row.",
        "Config": type("Config", (StrictColumns,), {"metadata": {"from": ["features.*"]}, "__doc__": "As declared."}),
        "label_time": pa.Field(description="When it was known"),
        "label": pa.Field(description="What came of it"),
    }
    return type(f"{kind.name.capitalize()}Label", (Row,), body)


def simulated(kind: Kind, first: date, last: date) -> pl.DataFrame:
    """Rows with features and what they are really like, `truth`; a day is the same in whatever range."""
    parts = []
    for number in range((first - FIRST).days, (last - FIRST).days + 1):
        day = FIRST + timedelta(days=number)
        rng = np.random.default_rng(number)
        values = rng.normal(size=(2, ROWS, kind.steps or 1))
        x, y = values if kind.steps else values[:, :, 0]
        means = values.mean(axis=2) * np.sqrt(kind.steps or 1)
        parts.append(
            pl.DataFrame(
                {
                    "event_date": [day] * ROWS,
                    "event_time": [datetime.combine(day, time(n), UTC) for n in range(ROWS)],
                    "row_id": [f"{number:03}-{n:02}" for n in range(ROWS)],
                    "group": [f"g{n % GROUPS}" for n in range(ROWS)],
                    "x": x.tolist(),
                    "y": y.tolist(),
                    "truth": 2 * means[0] - means[1] + rng.normal(scale=0.1, size=ROWS),
                },
                schema_overrides={"event_time": pl.Datetime("us", "UTC")},
            )
        )
    return pl.concat(parts)


def graph_of(kind: Kind, weights: Matrix, *, wrong: float = 0.0, insane: bool = False) -> bytes:
    """Margins = (inputs, 1) . weights, with inputs of a sequence meant; `wrong`: by which part they are too large."""
    graph = Graph()
    values = graph.add("Cast", INPUT, to=TensorProto.DOUBLE)
    if kind.steps:
        values = graph.add("ReduceMean", values, axes=[1], keepdims=0)
    margins = graph.add("MatMul", values, graph.constant(weights[:-1] * (1 + wrong)))
    margins = graph.add("Add", margins, graph.constant(weights[-1:]))
    squash = {"binary": "Sigmoid", "multiclass": "Softmax"}.get(kind.task.kind)
    scores = graph.add(squash, margins) if squash else margins
    if insane:  # probabilities that sum to 2, or no number
        scores = graph.add("Mul", scores, graph.constant(np.float64(2 if kind.task.classes else np.nan)))
    return graph.to_bytes({kind.output: scores}, INPUTS, "toy", steps=kind.steps, width=kind.width)


def margins_of(kind: Kind, rows: pl.DataFrame, weights: Matrix) -> Matrix:
    """The library's margins: (inputs, 1) . weights, of a sequence its mean."""
    return _inputs(kind, rows) @ weights


def _inputs(kind: Kind, rows: pl.DataFrame) -> Matrix:
    columns = (rows[name].list.mean() if kind.steps else rows[name] for name in INPUTS)
    return np.column_stack([*columns, np.ones(rows.height)])


def weights_of(kind: Kind, rows: pl.DataFrame) -> Matrix:
    """Least squares of labelled rows, (3, width)."""
    return np.linalg.lstsq(_inputs(kind, rows), kind.targets(rows["label"]), rcond=None)[0].astype(np.float64)


def fit_of(kind: Kind) -> Callable[[pl.DataFrame, Any], Fitted]:
    """Least squares, which goes wrong for the models of some weeks."""

    def fit(rows: pl.DataFrame, _: Any) -> Fitted:
        as_of = next(week for week in WEEKS if SCHEDULE.trained_on(week)[1] == rows["event_date"].max())
        weights = weights_of(kind, rows) * (as_of != USELESS)
        onnx = graph_of(kind, weights, wrong=0.001 * (as_of == WRONG), insane=as_of == INSANE)
        parity = stored.parity(onnx, rows, kind.squashed(margins_of(kind, rows, weights)))
        return Fitted(onnx, {"parity": parity, "largest_weight": float(np.abs(weights).max())}, {"ridge": 0.0})

    return fit


@dataclass
class World:
    """A use case of one kind in a folder of its own."""

    kind: Kind
    home: Path
    instance: dg.DagsterInstance
    gated: Gated
    assets: list[dg.AssetsDefinition]

    @property
    def lake(self) -> Lake:
        """Its lake."""
        return self.at(self.home)["lake"].lake

    def at(self, home: Path) -> dict[str, Any]:
        """The resources of a deployment in a folder; all worlds share one MLflow."""
        mlflow = self.home.parent / "mlflow"
        return {
            "lake": LakeIOManager(root=str(home / "lake")),
            "experiments": Experiments(tracking_uri=f"sqlite:///{mlflow}.db", artifacts=str(mlflow)),
            "reports": Reports(home=str(home)),
        }

    def run(self, first: date, last: date, *names: str, home: Path | None = None) -> dg.ExecuteInProcessResult:
        """Materialize assets for a range of partitions."""
        definitions = dg.Definitions(self.assets, resources=self.at(home or self.home), executor=dg.in_process_executor)
        return definitions.resolve_implicit_global_asset_job_def().execute_in_process(
            instance=self.instance,
            asset_selection=[dg.AssetKey(["toy", name]) for name in names],
            tags={"dagster/asset_partition_range_start": str(first), "dagster/asset_partition_range_end": str(last)},
            run_config=QUIET,
        )

    def rows(self, table: str) -> pl.DataFrame:
        """All rows of a table, by date."""
        return self.lake.scan(f"toy/{table}").sort("event_date").collect()

    def versions(self) -> dict[date, str]:
        """The version of each week."""
        return dict(self.rows("model").select("event_date", "model_version").iter_rows())

    def rules(self, week: date) -> Mapping[str, Mapping[str, Any]]:
        """What the gate found of the challenger of a week."""
        gate = self.rows("model_promotions").filter(event_date=week)["gate"].item()
        return {rule["rule"]: rule for rule in json.loads(gate)}


def world_in(home: Path, kind: Kind, instance: dg.DagsterInstance) -> World:
    """Declared, and nothing made of it yet."""
    days, labels = daily(FIRST, LAST), label_contract(kind)

    @lake_asset(name="features", key_prefix="toy", contract=kind.features, partitions_def=days)
    def features(context: dg.AssetExecutionContext) -> pl.DataFrame:
        first, last = (date.fromisoformat(key) for key in (context.partition_keys[0], context.partition_keys[-1]))
        shifted = pl.col("event_date") >= SHIFTED
        x = pl.col("x")
        moved = x.list.eval(pl.element() + 6) if kind.steps else x + 6
        return simulated(kind, first, last).drop("truth").with_columns(x=pl.when(shifted).then(moved).otherwise(x))

    @lake_asset(
        name="labels",
        key_prefix="toy",
        contract=labels,
        partitions_def=days,
        ins={"features": dg.AssetIn(dg.AssetKey(["toy", "features"]))},
    )
    def known(context: dg.AssetExecutionContext, features: pl.LazyFrame) -> pl.DataFrame:
        rows = features.collect()
        truth = simulated(kind, *(date.fromisoformat(context.partition_keys[n]) for n in (0, -1)))["truth"]
        return rows.select(
            "event_date",
            "event_time",
            "row_id",
            "group",
            label_time=pl.col("event_time") + timedelta(days=6, hours=12),
            label=pl.Series(kind.label(truth.to_numpy())),
        )

    declared = GatedModel(
        use_case="toy",
        name="model",
        task=kind.task,
        schedule=SCHEDULE,
        features="toy/features",
        labels="toy/labels",
        inputs=INPUTS,
        view="toy",
        fingerprint="f1",
        figures=(Figure("judged_rows", "Rows that were judged", lambda rows: rows.height, kind=int),),
        performance_limit=0.2,
        evaluated_to=INSANE,
    )
    gated = gated_model(
        declared,
        fit=fit_of(kind),
        last_day=LAST,
        features_days=days,
        contracts=gated_contracts.contracts(
            declared,
            version=gated_contracts.TrainedModel,
            carried=gated_contracts.ServedForm,
            row=Row,
            module=__name__,
        ),
    )
    return World(kind, home, instance, gated, [features, known, *gated.assets])
