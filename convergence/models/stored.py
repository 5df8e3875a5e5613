"""The one served form of a model: an ONNX graph with its signature inside, opened only by its hash.

What may be opened at all is `onnx_file`'s to say; here a model must also say what it takes (columns, or sequences of
them), in which order, and what it says of a row. Its score is the output `probability`, or `score` where it is none.
"""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray

from convergence.errors import ModelError
from convergence.models.boosting import values_of
from convergence.models.onnx_file import STANDARD, checked, digest, session
from convergence.models.onnx_graph import INPUT, TREES, Signature

__all__ = ["OUTPUT", "SCORE", "Scorer", "digest", "load", "parity"]

OUTPUT, SCORE = "probability", "score"
_DOMAINS = STANDARD | {TREES}


class Scorer:
    """A loaded model. Threads may share it: a call keeps no state, and a run uses one thread."""

    def __init__(self, session: Any, signature: Signature, sha256: str, output: str = OUTPUT) -> None:
        self.features, self.signature, self.sha256, self.output = signature.features, signature, sha256, output
        self._session = session

    def score(self, values: NDArray[np.float32]) -> NDArray[np.float64]:
        """The score of each row: a calibrated probability in [0, 1], or what else its task calls one.

        Args:
            values: (n, k), a column per name in `features`, in that order, NaN is missing; of a model of sequences
                (n, steps, k).

        Returns:
            n values; (n, width) where there are several a row.

        Raises:
            ModelError: another shape or type, or an infinite value.
        """
        return self.outputs(values, [self.output])[self.output]

    def score_rows(self, rows: pl.DataFrame) -> pl.Series:
        """The score of each row of a frame that has the model's features, among other columns.

        Returns:
            `score`: Float64, or List(Float64) where there are several numbers a row.

        Raises:
            ModelError: a feature is missing, or one of a sequence has another length.
            ConvergenceError: a feature is neither a number nor Boolean, or infinite.
        """
        found = self.score(self._matrix(rows))
        return pl.Series("score", found) if found.ndim == 1 else pl.Series("score", found).arr.to_list()

    def outputs(self, values: NDArray[np.float32], names: Sequence[str]) -> dict[str, NDArray[np.float64]]:
        """Several outputs of the graph at once, as `score` gives the one; raises ModelError as there."""
        shape = self.signature.shape
        if values.ndim != len(shape) + 1 or values.shape[1:] != shape or values.dtype != np.float32:
            raise ModelError(
                f"expected float32 rows of {_sized(self.signature)}, found {values.dtype} of shape "
                f"{values.shape}; give the columns of `features` in their order"
            )
        infinite = np.isinf(values)
        if infinite.any():
            names_of = [self.features[i] for i in np.flatnonzero(infinite.reshape(-1, shape[-1]).any(axis=0))]
            raise ModelError(f"features {names_of} hold infinite values; expected finite ones, or NaN for missing")
        found = self._session.run(list(names), {INPUT: values})
        return {name: v[:, 0] if self.signature.width == 1 else v for name, v in zip(names, found, strict=True)}

    def outputs_of_rows(self, rows: pl.DataFrame, names: Sequence[str]) -> dict[str, NDArray[np.float64]]:
        """Several outputs for a frame, as `score_rows` gives the one; errors as there."""
        return self.outputs(self._matrix(rows), names)

    def _matrix(self, rows: pl.DataFrame) -> NDArray[np.float32]:
        missing = [name for name in self.features if name not in rows.columns]
        if missing:
            raise ModelError(
                f"the rows do not fit the model: expected {list(self.features)}, missing {missing}; score rows of the "
                "feature view that the model was trained on"
            )
        taken = rows.select(self.features)
        return values_of(taken) if self.signature.steps is None else _sequences(taken, self.signature.steps)


def load(
    blob: bytes, *, sha256: str, features: Sequence[str] | None = None, outputs: Sequence[str] | None = None
) -> Scorer:
    """Open a stored model.

    Args:
        blob: the ONNX file.
        sha256: its hash as the record that names the model has it, in hex.
        features: names in the order that the caller will give them; None takes the model's own.
        outputs: outputs that the model must have; None: a score.

    Raises:
        ModelError: another hash, no whole ONNX graph, numbers kept in other files, operators that are not standard, no
            signature, or other features.
    """
    model = checked(blob, sha256=sha256, domains=_DOMAINS)
    there = {o.name for o in model.graph.output}
    output = SCORE if SCORE in there and OUTPUT not in there else OUTPUT
    signature = _signature(model, [output] if outputs is None else outputs)
    if features is not None and tuple(features) != signature.features:
        ours = signature.features
        missing, extra = sorted(set(ours) - set(features)), sorted(set(features) - set(ours))
        what = f"missing {missing}, unexpected {extra}" if missing or extra else "the order differs"
        raise ModelError(
            f"the features do not fit the model ({what}): expected {list(ours)}, found {list(features)}; "
            "serve the feature view that the model was trained on"
        )
    return Scorer(session(blob), signature, sha256, output)


def parity(blob: bytes, rows: pl.DataFrame, scores: ArrayLike) -> float:
    """The largest difference between a graph's scores of rows and those of the library that was fitted.

    `scores`: n numbers, or (n, width). NaN where either has one; a gate refuses that. Raises ModelError as `load`,
    and for another shape.
    """
    scorer = load(blob, sha256=digest(blob))
    found = scorer.score_rows(rows).to_list()
    expected = np.asarray(scores, np.float64)
    if np.shape(found) != expected.shape:
        raise ModelError(
            f"the graph scores in shape {np.shape(found)}, the library in {expected.shape}; compare equals"
        )
    return float(np.abs(np.asarray(found, np.float64) - expected).max(initial=0.0))


def _signature(model: Any, outputs: Sequence[str]) -> Signature:
    """What it takes and says by its own words, checked against the graph's own input and outputs."""
    properties = {p.key: p.value for p in model.metadata_props}
    try:
        told = json.loads(properties["signature"])
        features, dtype = tuple(map(str, told["features"])), told["dtype"]
        meaning = told["output"]
        signature = Signature(features, told.get("steps"), told.get("width", 1))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ModelError(
            "the model has no signature: expected the metadata `signature` with features, dtype and output, found "
            f"{sorted(properties) or 'no metadata'}; store it with convergence.models.onnx_graph"
        ) from error
    inputs = [i.name for i in model.graph.input]
    shapes = [[d.dim_value for d in i.type.tensor_type.shape.dim] for i in model.graph.input]
    named = {o.name: [d.dim_value for d in o.type.tensor_type.shape.dim][1:] for o in model.graph.output}
    fits = inputs == [INPUT] and shapes == [[0, *signature.shape]] and dtype == "float32"
    if not fits or any(named.get(name) != [signature.width] for name in outputs):
        raise ModelError(
            f"the model's signature does not fit its graph: expected one input {INPUT!r} of {_sized(signature, dtype)} "
            f"and outputs {list(outputs)} of {signature.width} numbers a row, found inputs {inputs} of shape {shapes}, "
            f"{dtype}, outputs {named} ({meaning!r}); train and store the model again"
        )
    return signature


def _sized(signature: Signature, dtype: str = "") -> str:
    steps = "" if signature.steps is None else f"{signature.steps} steps of "
    return f"{steps}{len(signature.features)} {'float32 columns' if dtype else 'features'}"


def _sequences(rows: pl.DataFrame, steps: int) -> NDArray[np.float32]:
    """(n, steps, k) of columns of lists. Raises ModelError where one is no list of so many, else as `values_of`."""
    for name, column in rows.to_dict().items():
        listed = isinstance(column.dtype, pl.List)
        wrong = column.list.len().ne_missing(steps).sum() if listed else rows.height
        if wrong or not listed:
            raise ModelError(
                f"{wrong} of {rows.height} rows have no list of {steps} numbers in {name} ({column.dtype}), which the "
                "model takes; score rows of the feature view that it was trained on"
            )
    flat = pl.DataFrame({name: column.explode() for name, column in rows.to_dict().items()})
    return values_of(flat).reshape(rows.height, steps, rows.width)
