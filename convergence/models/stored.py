"""The one served form of a model: an ONNX graph with its signature inside, opened only by its hash.

What may be opened at all is `onnx_file`'s to say; here a model must also say which features it takes, in which order.
"""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from convergence.errors import ModelError
from convergence.models.boosting import values_of
from convergence.models.onnx_file import STANDARD, checked, digest, session
from convergence.models.onnx_graph import INPUT, TREES

__all__ = ["OUTPUT", "Scorer", "digest", "load"]

OUTPUT = "probability"
_DOMAINS = STANDARD | {TREES}


class Scorer:
    """A loaded model. Threads may share it: a call keeps no state, and a run uses one thread."""

    def __init__(self, session: Any, features: tuple[str, ...], sha256: str) -> None:
        self.features, self.sha256 = features, sha256
        self._session = session

    def score(self, values: NDArray[np.float32]) -> NDArray[np.float64]:
        """The calibrated probability of each row, in [0, 1].

        Args:
            values: (n, k), a column per name in `features`, in that order; NaN is missing.

        Returns:
            n values.

        Raises:
            ModelError: another shape or type, or an infinite value.
        """
        return self.outputs(values, [OUTPUT])[OUTPUT]

    def score_rows(self, rows: pl.DataFrame) -> pl.Series:
        """The calibrated probability of each row of a frame that has the model's features, among other columns.

        Raises:
            ModelError: a feature is missing.
            ConvergenceError: a feature is neither a number nor Boolean, or infinite.
        """
        return pl.Series("score", self.score(self._matrix(rows)))

    def outputs(self, values: NDArray[np.float32], names: Sequence[str]) -> dict[str, NDArray[np.float64]]:
        """Several outputs of the graph at once, as `score` gives the one; raises ModelError as there."""
        if values.ndim != 2 or values.shape[1] != len(self.features) or values.dtype != np.float32:
            raise ModelError(
                f"expected float32 rows of {len(self.features)} features, found {values.dtype} of shape "
                f"{values.shape}; give the columns of `features` in their order"
            )
        if np.isinf(values).any():
            names_of = [self.features[i] for i in np.flatnonzero(np.isinf(values).any(axis=0))]
            raise ModelError(f"features {names_of} hold infinite values; expected finite ones, or NaN for missing")
        found = self._session.run(list(names), {INPUT: values})
        return {name: column[:, 0] for name, column in zip(names, found, strict=True)}

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
        return values_of(rows.select(self.features))


def load(
    blob: bytes, *, sha256: str, features: Sequence[str] | None = None, outputs: Sequence[str] = (OUTPUT,)
) -> Scorer:
    """Open a stored model.

    Args:
        blob: the ONNX file.
        sha256: its hash as the record that names the model has it, in hex.
        features: names in the order that the caller will give them; None takes the model's own.
        outputs: outputs that the model must have.

    Raises:
        ModelError: another hash, no whole ONNX graph, numbers kept in other files, operators that are not standard, no
            signature, or other features.
    """
    model = checked(blob, sha256=sha256, domains=_DOMAINS)
    signature = _signature(model, outputs)
    if features is not None and tuple(features) != signature:
        missing, extra = sorted(set(signature) - set(features)), sorted(set(features) - set(signature))
        what = f"missing {missing}, unexpected {extra}" if missing or extra else "the order differs"
        raise ModelError(
            f"the features do not fit the model ({what}): expected {list(signature)}, found {list(features)}; "
            "serve the feature view that the model was trained on"
        )
    return Scorer(session(blob), signature, sha256)


def _signature(model: Any, outputs: Sequence[str]) -> tuple[str, ...]:
    """The feature names inside, checked against the graph's own input and outputs."""
    properties = {p.key: p.value for p in model.metadata_props}
    try:
        signature = json.loads(properties["signature"])
        features, dtype = tuple(map(str, signature["features"])), signature["dtype"]
        meaning = signature["output"]
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(
            "the model has no signature: expected the metadata `signature` with features, dtype and output, found "
            f"{sorted(properties) or 'no metadata'}; store it with convergence.models.onnx_graph"
        ) from error
    inputs = [i.name for i in model.graph.input]
    shapes = [[d.dim_value for d in i.type.tensor_type.shape.dim] for i in model.graph.input]
    named = {o.name for o in model.graph.output}
    if inputs != [INPUT] or shapes != [[0, len(features)]] or dtype != "float32" or not named.issuperset(outputs):
        raise ModelError(
            f"the model's signature does not fit its graph: expected one input {INPUT!r} of {len(features)} float32 "
            f"columns and outputs {list(outputs)}, found inputs {inputs} of shape {shapes}, {dtype}, outputs "
            f"{sorted(named)} ({meaning!r}); train and store the model again"
        )
    return features
