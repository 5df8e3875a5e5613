"""What monitoring tables hold, of whatever use case."""

from datetime import date
from typing import Annotated

import pandera.polars as pa
import polars as pl

from convergence.lake.contracts import StrictColumns
from convergence.monitoring.drift import DRIFT, STABLE, WATCH

AS_OF = {"made_here": "the as-of date, which names the partition"}
VERDICTS = [STABLE, WATCH, DRIFT]


class FeatureProfile(pa.DataFrameModel):
    """How one column of one day is distributed, small enough to keep and to add up."""

    event_date: date = pa.Field(description="The day that is profiled")
    feature: str = pa.Field(description="The column that is profiled")
    rows: int = pa.Field(gt=0, description="Rows of the day")
    nulls: int = pa.Field(ge=0, description="Rows without a value")
    nans: int = pa.Field(ge=0, description="Rows whose value is not a number")
    infinities: int = pa.Field(ge=0, description="Rows whose value is infinite")
    lowest: float = pa.Field(nullable=True, description="Least finite value")
    highest: float = pa.Field(nullable=True, description="Greatest finite value")
    shift: int = pa.Field(in_range={"min_value": 0, "max_value": 63}, description="Bits that the bins leave out")
    steps: Annotated[pl.List, pl.Int64] = pa.Field(description="Occupied bins, each as distance from the one before")
    counts: Annotated[pl.List, pl.Int64] = pa.Field(description="Rows in each of the bins")
    labels: Annotated[pl.List, pl.String] = pa.Field(nullable=True, description="Texts in place of bins; null: numbers")

    class Config(StrictColumns):
        """Columns are as declared."""

        metadata = {"from": ["*"]}


class ScoreProfile(FeatureProfile):
    """How the scores of one day and one model are distributed."""

    model_version: str = pa.Field(description="The champion that issued the scores")
    model_as_of: date = pa.Field(description="As-of date of that champion")

    class Config(FeatureProfile.Config):
        """Columns are as declared."""

        metadata = {"from": ["*"]}


class ScoreReference(ScoreProfile):
    """How the champion of a week scores the newest labelled week before it, which its fit has not seen."""

    event_date: date = pa.Field(description="As-of date of the week that the champion serves", metadata=AS_OF)

    class Config(ScoreProfile.Config):
        """Columns are as declared."""

        metadata = {"from": ["*"]}


class Drift(pa.DataFrameModel):
    """How much one column of the last day, or of the last seven, differs from what the champion was made for."""

    event_date: date = pa.Field(
        description="Last day of the window", metadata={"made_here": "the day, which names the partition"}
    )
    window_days: int = pa.Field(
        isin=[1, 7],
        description="Length of the window",
        metadata={"unit": "days", "made_here": "each day is judged by itself and with the six before it"},
    )
    feature: str = pa.Field(description="The feature, or `score`", metadata={"from": ["*"]})
    effect: float = pa.Field(
        ge=0, nullable=True, description="PSI or KS as part of its limit; null: column left or came"
    )
    psi: float = pa.Field(ge=0, nullable=True, description="Population stability index over the reference's tenths")
    ks: float = pa.Field(ge=0, le=1, nullable=True, description="Kolmogorov-Smirnov distance of the present values")
    ks_error: float = pa.Field(ge=0, nullable=True, description="By how much at most the profiles understate it")
    p_psi: float = pa.Field(ge=0, le=1, nullable=True, description="P-value of the shares, corrected over all columns")
    p_ks: float = pa.Field(ge=0, le=1, nullable=True, description="P-value of the distance, corrected over all columns")
    psi_limit: float = pa.Field(description="PSI from which the column has drifted")
    ks_limit: float = pa.Field(description="KS distance from which the column has drifted")
    verdict: str = pa.Field(isin=VERDICTS, description="stable, watch or drift")
    note: str = pa.Field(description="What strikes the eye: gaps, another unit, new values, another median")
    reference_rows: int = pa.Field(ge=0, description="Rows of the reference window")
    current_rows: int = pa.Field(ge=0, description="Rows of the current window")
    reference_first_day: date = pa.Field(description="First day of the reference window")
    reference_last_day: date = pa.Field(description="Last day of the reference window")
    model_version: str = pa.Field(
        description="The champion whose training days are the reference of the features",
        metadata={"from": ["*"]},
    )

    class Config(StrictColumns):
        """Columns are as declared."""

        metadata = {"from": ["*"]}


class DriftReport(pa.DataFrameModel):
    """A page for people: the week before a date beside the days that its champion was fitted on."""

    event_date: date = pa.Field(description="The day after the week that is shown", metadata=AS_OF)
    page: str = pa.Field(description="Where the page lies, below the platform's home folder")
    reference_rows: int = pa.Field(gt=0, description="Rows sampled from the champion's training days")
    current_rows: int = pa.Field(gt=0, description="Rows sampled from the week")
    drifted_columns: int = pa.Field(ge=0, description="Columns that Evidently calls drifted, by its own PSI limit")
    bytes: int = pa.Field(gt=0, description="Size of the page")

    class Config(StrictColumns):
        """Columns are as declared."""

        metadata = {"from": ["*"]}
