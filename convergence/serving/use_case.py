"""What a use case declares to be served: its features, what a request brings, and which model answers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pydantic import BaseModel

from convergence.features.online_updates import OnlineFeatures


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
