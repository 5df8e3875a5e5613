"""What the tables of a gated model hold, made from its declaration: no use case describes them a second time."""

from collections.abc import Mapping
from datetime import date
from functools import partial
from types import MappingProxyType
from typing import Annotated, Any, NamedTuple

import pandera.polars as pa
import polars as pl

from convergence.lake.contracts import ROW_BY_ROW, Contract, StrictColumns
from convergence.models.gated import GatedModel
from convergence.models.tasks import Task
from convergence.monitoring.contracts import AS_OF, VERDICTS

Time = Annotated[pl.Datetime, "us", "UTC"]
LEARNED = ["features.*", "labels.*"]


class ServedForm(pa.DataFrameModel):
    """What it takes to score with a model."""

    onnx: bytes = pa.Field(description="The model: ONNX graph, signature inside")
    sha256: str = pa.Field(str_length=64, description="Hash of onnx, without which it is not opened")

    class Config(StrictColumns):
        """Columns are as declared."""


class TrainedModel(pa.DataFrameModel):
    """One trained model: the row is the model."""

    event_date: date = pa.Field(description="As-of date: nothing after the start of this day was seen", metadata=AS_OF)
    model_version: str = pa.Field(unique=True, description="As-of date and first digits of sha256")
    onnx: bytes = pa.Field(description="The model: ONNX graph, signature inside")
    sha256: str = pa.Field(str_length=64, description="Hash of onnx, without which it is not opened")
    training_first_day: date = pa.Field(description="First day of the rows it was fitted on")
    training_last_day: date = pa.Field(description="Last day of the rows it was fitted on")
    training_rows: int = pa.Field(gt=0, description="Labelled rows it was fitted on")
    parameters: str = pa.Field(description="Hyper-parameters, as JSON")
    report: str = pa.Field(description="What is known of it: ONNX parity, and what its training tells, as JSON")

    class Config(StrictColumns):
        """Columns are as declared."""

        metadata = {"from": LEARNED}


class Decision(pa.DataFrameModel):
    """A gate's decision: which model serves from a day on, and why."""

    event_date: date = pa.Field(description="As-of date of the challenger; equals valid_from", metadata=AS_OF)
    valid_from: date = pa.Field(description="First day that the model serves", metadata=AS_OF)
    model_version: str = pa.Field(description="The champion from that day on")
    model_as_of: date = pa.Field(description="As-of date of that champion")
    decided_at: Time = pa.Field(description="When it was decided; in a backfill, the as-of date", metadata=AS_OF)
    reason: str = pa.Field(description="The gate's verdict in words")
    challenger_version: str = pa.Field(description="The model that asked to be champion")
    promoted: bool = pa.Field(description="Whether the challenger became champion")
    gate: str = pa.Field(description="Rules with value, limit and verdict, as JSON")

    class Config(StrictColumns):
        """Columns are as declared."""

        metadata = {"from": ["model.onnx", *LEARNED]}


class Champion(pa.DataFrameModel):
    """The model that scores a day, itself."""

    event_date: date = pa.Field(
        unique=True, description="The day that it scores", metadata={"made_here": "the day, which names the partition"}
    )
    model_version: str = pa.Field(description="The champion of that day")
    model_as_of: date = pa.Field(description="As-of date of that champion")
    release: int = pa.Field(
        nullable=True,
        description="Entry of the audit log that made it champion; null: the gate's decision",
        metadata={"made_here": "read from the log of promotions and rollbacks, which is no table"},
    )

    class Config(StrictColumns):
        """Columns are as declared."""

        metadata = {"from": ["*"]}


class Performance(pa.DataFrameModel):
    """One week of issued scores, judged once its labels are known, beside what the gate had measured."""

    event_date: date = pa.Field(
        description="As-of date: every label of the judged week was known at its start", metadata=AS_OF
    )
    first_day: date = pa.Field(description="First day of the judged week", metadata=AS_OF)
    last_day: date = pa.Field(description="Last day of the judged week", metadata=AS_OF)
    rows: int = pa.Field(gt=0, description="Scores with a known label")
    limit: float = pa.Field(
        gt=0, description="Loss of the measure that is borne", metadata={"made_here": "declared with the model"}
    )
    effect: float = pa.Field(description="Loss as part of the limit; negative: better than at the gate")
    verdict: str = pa.Field(isin=VERDICTS, description="stable; watch: below, may be chance; drift: below, is not")
    note: str = pa.Field(description="The verdict in words")

    class Config(StrictColumns):
        """Columns are as declared."""

        metadata = {"from": ["scores.score", "labels.*", "promotions.*"]}


class Evaluation(pa.DataFrameModel):
    """One week of the walk-forward: a model judged on the week after its as-of date, once the labels are known."""

    event_date: date = pa.Field(
        description="As-of date of the model, first day of the test week", metadata={"from": ["model.event_date"]}
    )
    model_version: str = pa.Field(description="The model that was judged")
    test_rows: int = pa.Field(gt=0, description="Rows of the test week")

    class Config(StrictColumns):
        """Columns are as declared."""

        metadata = {"from": ["model.onnx", *LEARNED]}


class Contracts(NamedTuple):
    """Those of a gated model's tables; a module that declares them binds each to its name, `<Stem><What>`."""

    model: Contract
    promotion: Contract
    champion: Contract
    score: Contract
    performance: Contract | None  # None: issued scores are not judged
    evaluation: Contract | None  # None: no walk-forward is made


def contracts(model: GatedModel, *, version: Contract, carried: Contract, row: Contract, module: str) -> Contracts:
    """What the tables of a model promise.

    Args:
        model: as it is declared.
        version: of a version: TrainedModel and the use case's own columns.
        carried: of what a champion holds of a version: ServedForm and those of them that scoring needs.
        row: of what identifies a scored row.
        module: where they can be found under their names.
    """
    kind, allowed, meaning = _SCORES[model.task.kind]
    sources = {"from": ["features.*", "champions.onnx"]}
    measure, named = model.task.measure, f"{model.task.measure.words[0].upper()}{model.task.measure.words[1:]}"
    bounds = _SHARE if measure.share else {}

    def judged(words: str, trivial: str) -> dict[str, tuple[Any, Any]]:
        said = {
            measure.name: words,
            f"{measure.name}_low": "Lower end of its 95 % interval, days resampled",
            f"{measure.name}_high": "Upper end of its 95 % interval, days resampled",
            trivial: "The measure of the trivial baseline",
        }
        return {name: (float, pa.Field(**bounds, description=each)) for name, each in said.items()}

    figures = {each.name: (each.kind, pa.Field(**each.allowed, description=each.words)) for each in model.figures}
    calibration = (float, pa.Field(ge=0, description="Calibration error, as the task has it"))
    before = pa.Field(
        **bounds,
        description="The measure as the gate found it of the champion",
        metadata={"from": ["promotions.*", "scores.model_version"]},
    )
    judges = pa.Field(
        isin=[measure.name], description="What is judged", metadata={"made_here": "the one measure of the task"}
    )
    challenger = pa.Field(
        **bounds,
        nullable=True,
        description="The challenger's, on the newest labels unseen by its fit; null: not every score could be meant",
    )
    make = partial(_made, model, module)
    return Contracts(
        model=version,
        promotion=make(
            "promotion",
            (carried, Decision),
            {model.gate_measure: (float, challenger)},
        ),
        champion=make("champion", (carried, Champion)),
        score=make(
            "score",
            (row,),
            {
                "score": (kind, pa.Field(**allowed, description=meaning.format(model.task.label), metadata=sources)),
                "model_version": (str, pa.Field(description="The champion that scored it")),
                "model_as_of": (date, pa.Field(description="As-of date of that champion")),
            },
            {"rows_of": "features"},
            {} if model.task.kind == "binary" else {"scores_that_can_be_meant": _meant(model.task)},
        ),
        performance=make(
            "score_performance",
            (Performance,),
            judged(f"{named} of the scores as they were issued", "base_rate")
            | {"baseline": (float, before), "feature": (str, judges)}
            | figures,
        )
        if model.performance_limit is not None
        else None,
        evaluation=make(
            "evaluation",
            (Evaluation,),
            judged(named, "baseline")
            | ({"calibration_error": calibration} if model.task.calibration else {})
            | figures,
        )
        if model.evaluated_to
        else None,
    )


_SHARE: dict[str, Any] = {"ge": 0, "le": 1}
_SCORES: Mapping[str, tuple[Any, dict[str, Any], str]] = {
    "binary": (float, _SHARE, "Calibrated probability of {}"),
    "multiclass": (Annotated[pl.List, pl.Float64], {}, "Calibrated probability of each {}"),
    "regression": (float, {}, "Predicted {}, in its unit"),
    "ranking": (float, {}, "By which rows of a group are ordered, for {}"),
    "anomaly": (float, {}, "How strange the row is; higher is stranger"),
}


def _meant(task: Task) -> Any:
    """The rule that every score can be meant, which the bounds of a column do not say of lists and of NaN."""

    def meant(_: Contract, data: pa.PolarsData) -> pl.LazyFrame:
        return data.lazyframe.select(task.sane.fill_null(value=False))

    return pa.dataframe_check(name="score_can_be_meant", title=ROW_BY_ROW, error=f"score is {task.domain}")(
        classmethod(meant)  # pyright: ignore[reportArgumentType]
    )


def _made(
    model: GatedModel,
    module: str,
    what: str,
    bases: tuple[Contract, ...],
    fields: Mapping[str, tuple[Any, Any]] = MappingProxyType({}),
    about: Mapping[str, Any] | None = None,
    rules: Mapping[str, Any] = MappingProxyType({}),
) -> Contract:
    """The contract `<Stem><What>`: columns of the last of `bases`, those of the first, `fields`; `rules` of rows."""
    name = "".join(word.capitalize() for word in (*model.stem.split("_"), *what.split("_")))
    said = {"metadata": about or bases[-1].Config.metadata, "__doc__": "Columns are as declared."}
    body = {
        "__annotations__": {n: kind for n, (kind, _) in fields.items()},
        "__module__": module,
        "__doc__": bases[-1].__doc__,
        "Config": type("Config", (StrictColumns,), said),
        **{n: field for n, (_, field) in fields.items()},
        **rules,
    }
    return type(name, bases, body)
