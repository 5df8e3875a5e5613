"""What the tables of churn's models hold: leaderboard, models, decisions, champions, scores and their judgements."""

from datetime import date
from typing import Any

import pandera.polars as pa

from convergence.lake.contracts import StrictColumns
from convergence_assets.churn.contracts import CUSTOMER, Event, Time

AS_OF = {"made_here": "the as-of date, which names the partition"}
_SHARE: dict[str, Any] = {"ge": 0, "le": 1}


class ChurnLeaderboard(pa.DataFrameModel):
    """One family of models on the folds of a search, or the stack of the best of each."""

    event_date: date = pa.Field(description="As-of date: nothing after the start of this day was seen", metadata=AS_OF)
    engine: str = pa.Field(description="What searched: convergence or h2o")
    family: str = pa.Field(description="Kind of model")
    place: int = pa.Field(ge=1, description="1: the least log loss of the engine's families")
    auc: float = pa.Field(**_SHARE, description="Area under the ROC curve, mean over the folds")
    auc_sd: float = pa.Field(ge=0, description="Its standard deviation over the folds")
    log_loss: float = pa.Field(ge=0, description="Mean negative log likelihood, mean over the folds")
    log_loss_sd: float = pa.Field(ge=0, description="Its standard deviation over the folds")
    brier: float = pa.Field(**_SHARE, description="Mean squared difference of score and label, mean over the folds")
    brier_sd: float = pa.Field(ge=0, description="Its standard deviation over the folds")
    trials: int = pa.Field(gt=0, description="Finished trials; for h2o its models of this kind")
    cut_by_budget: bool = pa.Field(description="Whether the budget ended the search before the trials asked for")
    parameters: str = pa.Field(description="Of the best trial, as JSON; of the stack the weights")
    rows: int = pa.Field(gt=0, description="Labelled customers it was searched on")

    class Config(StrictColumns):
        """Columns are as declared."""

        metadata = {"from": ["*"]}


class ChurnModel(pa.DataFrameModel):
    """One trained model: the row is the model."""

    event_date: date = pa.Field(description="As-of date: nothing after the start of this day was seen", metadata=AS_OF)
    model_version: str = pa.Field(unique=True, description="As-of date and first digits of sha256")
    onnx: bytes = pa.Field(description="The model: ONNX graph to a calibrated probability, signature inside")
    sha256: str = pa.Field(str_length=64, description="Hash of onnx, without which it is not opened")
    model: str = pa.Field(description="Its boosted trees as XGBoost JSON: explains scores; feature order inside")
    training_first_day: date = pa.Field(description="First day of the customers it was fitted on")
    training_last_day: date = pa.Field(description="Last day of the customers it was fitted on")
    training_rows: int = pa.Field(gt=0, description="Labelled customers it was fitted on")
    training_churned: int = pa.Field(gt=0, description="Those of them that left")
    parameters: str = pa.Field(description="Hyper-parameters of each member, as JSON")
    report: str = pa.Field(description="Weights, calibration, figures on held-out rows, parity, SHAP, as JSON")

    class Config(StrictColumns):
        """Columns are as declared."""

        metadata = {"from": ["*"]}


class ChurnPromotion(pa.DataFrameModel):
    """A gate's decision: which model serves from a day on, and why."""

    event_date: date = pa.Field(description="As-of date of the challenger; equals valid_from", metadata=AS_OF)
    valid_from: date = pa.Field(description="First day that the model serves")
    model_version: str = pa.Field(description="The champion from that day on")
    model_as_of: date = pa.Field(description="As-of date of that champion")
    decided_at: Time = pa.Field(description="When it was decided; in a backfill, the as-of date")
    reason: str = pa.Field(description="The gate's verdict in words")
    challenger_version: str = pa.Field(description="The model that was judged")
    promoted: bool = pa.Field(description="Whether the challenger passed")
    gate_average_precision: float = pa.Field(**_SHARE, description="The challenger's, on the newest labelled week")
    gate: str = pa.Field(description="Rules with values, limits and verdicts, as JSON")
    onnx: bytes = pa.Field(description="The champion's ONNX graph")
    sha256: str = pa.Field(str_length=64, description="Hash of onnx, without which it is not opened")
    model: str = pa.Field(description="The champion's boosted trees, which explain its scores")

    class Config(StrictColumns):
        """Columns are as declared."""

        metadata = {"from": ["*"], "rows_of": "churn_model"}


class ChurnChampion(pa.DataFrameModel):
    """Which model scores a day."""

    event_date: date = pa.Field(description="Day that is scored")
    model_version: str = pa.Field(description="The champion of the day")
    model_as_of: date = pa.Field(description="As-of date of that champion")
    sha256: str = pa.Field(str_length=64, description="Hash of onnx, without which it is not opened")
    onnx: bytes = pa.Field(description="Its ONNX graph")
    model: str = pa.Field(description="Its boosted trees, which explain its scores")
    release: int = pa.Field(nullable=True, description="Entry of the audit log that released it; null: the gate")

    class Config(StrictColumns):
        """Columns are as declared."""

        metadata = {"from": ["*"]}


class ChurnScore(Event):
    """The score of one customer by the champion of its day."""

    customer_id: str = pa.Field(unique=True, **CUSTOMER)
    score: float = pa.Field(**_SHARE, description="Calibrated probability that the customer leaves within the month")
    model_version: str = pa.Field(description="The champion that scored it")
    model_as_of: date = pa.Field(description="As-of date of that champion")

    class Config(Event.Config):
        """Columns are as declared."""

        metadata = {"from": ["*"], "rows_of": "customer_features"}


class ChurnEvaluation(pa.DataFrameModel):
    """One week of the walk-forward: a model judged on the week after its as-of date, once the labels are known."""

    event_date: date = pa.Field(description="As-of date of the model, first day of the test week", metadata=AS_OF)
    model_version: str = pa.Field(description="The model that was judged")
    test_rows: int = pa.Field(gt=0, description="Customers of the test week")
    test_churned: int = pa.Field(gt=0, description="Those of them that left")
    base_rate: float = pa.Field(**_SHARE, description="Average precision of a constant score, the trivial baseline")
    roc_auc: float = pa.Field(**_SHARE, description="Area under the ROC curve")
    roc_auc_low: float = pa.Field(**_SHARE, description="Lower end of its 95 % interval, days resampled")
    roc_auc_high: float = pa.Field(**_SHARE, description="Upper end of its 95 % interval, days resampled")
    average_precision: float = pa.Field(**_SHARE, description="Area under the precision-recall curve")
    brier: float = pa.Field(**_SHARE, description="Mean squared difference of score and label")
    calibration_error: float = pa.Field(**_SHARE, description="Expected calibration error, 15 equal bins")
    lift_10: float = pa.Field(ge=0, description="Share that left in the top tenth, relative to all")

    class Config(StrictColumns):
        """Columns are as declared."""

        metadata = {"from": ["*"], "rows_of": "churn_model"}


class ChurnOutOfFold(pa.DataFrameModel):
    """One customer in one repetition of the cross-validation: the score of a model that has not seen its label."""

    event_date: date = pa.Field(description="Day that the customer was looked at on")
    customer_id: str = pa.Field(**CUSTOMER)
    repeat: int = pa.Field(ge=0, description="Repetition, each with other folds")
    fold: int = pa.Field(ge=0, description="Fold of the repetition that the customer is in")
    churned: bool = pa.Field(description="Whether the customer left within the month")
    gender: str = pa.Field(description="Gender on record; no feature")
    senior: bool = pa.Field(description="Aged 65 or more; a feature")
    monthly_charges: float = pa.Field(ge=0, description="Charge of the month", metadata={"unit": "USD"})
    score: float = pa.Field(**_SHARE, description="Calibrated probability by the model fitted on the other folds")
    baseline_score: float = pa.Field(**_SHARE, description="The same by a logistic regression, one-hot")

    class Config(StrictColumns):
        """Columns are as declared."""

        metadata = {"from": ["*"], "rows_of": "customer_features"}


class ChurnCrossValidation(pa.DataFrameModel):
    """One judged part of the cross-validation: a fold, or a repetition with all of its folds together."""

    repeat: int = pa.Field(ge=0, description="Repetition, each with other folds")
    fold: int = pa.Field(ge=0, nullable=True, description="Fold; null: all customers, each scored out of its fold")
    rows: int = pa.Field(gt=0, description="Customers that were judged")
    roc_auc: float = pa.Field(**_SHARE, description="Area under the ROC curve")
    brier: float = pa.Field(**_SHARE, description="Mean squared difference of score and label")
    calibration_error: float = pa.Field(**_SHARE, description="Expected calibration error, 15 equal bins")
    lift_10: float = pa.Field(ge=0, description="Share that left in the top tenth, relative to all")
    profit_20: float = pa.Field(
        description="Gain of an offer to the fifth with the greatest expected gain, by customer judged",
        metadata={"unit": "USD"},
    )
    baseline_roc_auc: float = pa.Field(**_SHARE, description="The same of a logistic regression, one-hot")
    baseline_brier: float = pa.Field(**_SHARE, description="The same of a logistic regression, one-hot")
    baseline_calibration_error: float = pa.Field(**_SHARE, description="The same of a logistic regression, one-hot")
    baseline_lift_10: float = pa.Field(ge=0, description="The same of a logistic regression, one-hot")
    baseline_profit_20: float = pa.Field(
        description="The same of a logistic regression, one-hot", metadata={"unit": "USD"}
    )

    class Config(StrictColumns):
        """Columns are as declared."""

        metadata = {"from": ["*"]}


class ChurnFairness(pa.DataFrameModel):
    """A measure of a group of customers, or the gap between the groups that are furthest apart."""

    attribute: str = pa.Field(description="What the groups are cut by: gender or senior")
    group: str = pa.Field(description="Value of the attribute; gap: the greatest difference between two groups")
    measure: str = pa.Field(description="What was measured; see convergence/models/fairness.py")
    rows: int = pa.Field(gt=0, description="Customers of the group")
    value: float = pa.Field(description="The measure, or the gap")
    low: float = pa.Field(description="Lower end of its 95 % interval, customers resampled")
    high: float = pa.Field(description="Upper end of its 95 % interval")
    limit: float = pa.Field(nullable=True, description="Of a gap: what is allowed")
    verdict: str = pa.Field(
        nullable=True, isin=["within", "watched", "exceeded"], description="Of a gap: what its interval says"
    )

    class Config(StrictColumns):
        """Columns are as declared."""

        metadata = {"from": ["*"]}


class CampaignTarget(Event):
    """One customer to be made an offer, with what it is worth, what it costs at most, and why."""

    customer_id: str = pa.Field(unique=True, **CUSTOMER)
    place: int = pa.Field(ge=1, description="1: the greatest expected gain of the day")
    score: float = pa.Field(**_SHARE, description="Calibrated probability of leaving, as issued")
    monthly_charges: float = pa.Field(ge=0, description="Charge of the month", metadata={"unit": "USD"})
    value_at_stake: float = pa.Field(
        ge=0, description="What a kept customer brings, by the assumed months and margin", metadata={"unit": "USD"}
    )
    expected_gain: float = pa.Field(gt=0, description="Of the offer, all costs deducted", metadata={"unit": "USD"})
    cost: float = pa.Field(
        gt=0, description="What the offer costs at most: contact and incentive", metadata={"unit": "USD"}
    )
    reasons: str = pa.Field(description="The five features that raise the score most, in words")
    model_version: str = pa.Field(description="The champion that scored the customer, whose trees give the reasons")

    class Config(Event.Config):
        """Columns are as declared."""

        metadata = {"from": ["*"], "rows_of": "customer_features"}
