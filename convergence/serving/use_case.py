"""What a use case declares to be served: its features, what a request brings, and which model answers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any

from pydantic import AwareDatetime, BaseModel, BeforeValidator

from convergence.arrivals.times import FORMS, instant
from convergence.features.online_updates import OnlineFeatures


def _time(given: Any) -> Any:
    if given is None or isinstance(given, datetime):
        return given
    if not isinstance(given, str) or (found := instant(given)) is None:
        raise ValueError(f"no time: {FORMS}")
    return found


RequestTime = Annotated[AwareDatetime, BeforeValidator(_time)]  # by landing's rule


@dataclass(frozen=True)
class ServedModel:
    """A model's name, the table of the gate's decisions (valid_from, model_version, onnx, sha256), and its inputs.

    That table may have the trees that reasons come from (`model`, XGBoost JSON). `models`: the table that its versions
    are committed to; `drift`: that of the verdicts on its inputs and scores.
    """

    name: str
    decisions: str
    inputs: Sequence[str]
    models: str
    drift: str


@dataclass(frozen=True)
class ServedUseCase:
    """A use case with a service of its own.

    `row` is a row of a request, its fields columns of the view's source; `words` say what a feature is, for reasons.
    """

    name: str
    features: OnlineFeatures
    row: type[BaseModel]
    model: ServedModel
    words: Mapping[str, str]
