"""What is on record of how good issued fraud scores were."""

from datetime import date

import pandera.polars as pa

from convergence.lake.contracts import StrictColumns
from convergence.monitoring.contracts import VERDICTS
from convergence_assets.fraud.contracts import AS_OF


class FraudScorePerformance(pa.DataFrameModel):
    """One week of issued scores, judged once its labels are known, beside what the gate had measured."""

    event_date: date = pa.Field(
        description="As-of date: every label of the judged week was known at its start", metadata=AS_OF
    )
    first_day: date = pa.Field(description="First day of the judged week", metadata=AS_OF)
    last_day: date = pa.Field(description="Last day of the judged week", metadata=AS_OF)
    rows: int = pa.Field(gt=0, description="Scores with a known label")
    frauds: int = pa.Field(gt=0, description="Frauds among them")
    base_rate: float = pa.Field(ge=0, le=1, description="Average precision of a constant score, the trivial baseline")
    feature: str = pa.Field(
        isin=["average_precision"], description="What is judged", metadata={"made_here": "the one thing that is judged"}
    )
    average_precision: float = pa.Field(ge=0, le=1, description="Of the scores as they were issued")
    average_precision_low: float = pa.Field(ge=0, le=1, description="Lower end of its 95 % interval, days resampled")
    average_precision_high: float = pa.Field(ge=0, le=1, description="Upper end of its 95 % interval, days resampled")
    card_precision_100: float = pa.Field(
        ge=0, le=1, description="Compromised among the 100 most suspicious cards a day"
    )
    baseline: float = pa.Field(
        ge=0,
        le=1,
        description="Average precision that the gate measured of the champion",
        metadata={"from": ["fraud_promotions.gate_average_precision", "fraud_scores.model_version"]},
    )
    limit: float = pa.Field(
        gt=0,
        description="Loss of average precision that is borne",
        metadata={"made_here": "PERFORMANCE_LIMIT of monitoring.py"},
    )
    effect: float = pa.Field(description="Loss as part of the limit; negative: better than at the gate")
    verdict: str = pa.Field(isin=VERDICTS, description="stable; watch: below, may be chance; drift: below, is not")
    note: str = pa.Field(description="The verdict in words")

    class Config(StrictColumns):
        """Columns are as declared."""

        metadata = {"from": ["fraud_scores.score", "labels.*", "fraud_promotions.gate_average_precision"]}
