"""Fitting: frame in, fitted model out. What stands around it, gate and scores and drift, is a part."""

from typing import Any

import numpy as np
import polars as pl

from convergence.models import boosting, ensemble, linear, scaling
from convergence.models.calibration import Calibration
from convergence.models.gated import Fitted
from convergence_assets._template.feature_views import MODEL_INPUT

AS_FITTED = Calibration("platt", 0.0, np.ones(1), np.empty(0))  # logistic regression is calibrated by itself


def fit(rows: pl.DataFrame, parameters: Any) -> Fitted:
    """The model of `outcome` on labelled feature rows in time order. Raises ModelError where its graph differs."""
    values = boosting.values_of(rows.select(MODEL_INPUT))
    member = linear.fit(values, rows["outcome"].to_numpy(), np.ones(rows.height), scaling.fit(values))
    served = ensemble.Ensemble({"linear": member}, np.ones(1), AS_FITTED)
    onnx, parity = ensemble.checked_onnx(served, MODEL_INPUT, values)
    return Fitted(onnx, report={"parity": parity}, parameters={"freedom": 1.0})
