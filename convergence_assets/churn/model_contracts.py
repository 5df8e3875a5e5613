"""What the tables of churn's models hold: leaderboard, models, decisions, champions, scores and their judgements."""

from datetime import date
from typing import Any

import pandera.polars as pa

from convergence.lake.contracts import StrictColumns
from convergence.models.gated_contracts import LEARNED, ServedForm, TrainedModel, contracts
from convergence.monitoring.contracts import AS_OF
from convergence_assets.churn.contracts import CUSTOMER, Event
from convergence_assets.churn.use_case import MODEL

_SHARE: dict[str, Any] = {"ge": 0, "le": 1}
_TREES = "Its boosted trees as XGBoost JSON: explains scores; feature order inside"


class ChurnLeaderboard(pa.DataFrameModel):
    """One family of models on the folds of a search, or the stack of the best of each."""

    event_date: date = pa.Field(description="As-of date: nothing after the start of this day was seen", metadata=AS_OF)
    engine: str = pa.Field(description="What searched: convergence or h2o", metadata={"made_here": "the two engines"})
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

        metadata = {"from": LEARNED}


class ChurnModel(TrainedModel):
    """One trained model: the row is the model."""

    model: str = pa.Field(description=_TREES)
    training_churned: int = pa.Field(gt=0, description="Those of the rows it was fitted on that left")

    class Config(TrainedModel.Config):
        """Columns are as declared."""

        metadata = {"from": [*LEARNED, "parameters.parameters"]}


class ServedChurnModel(ServedForm):
    """What it takes to score a customer, and to say why."""

    model: str = pa.Field(description=_TREES)


class ScoredCustomer(Event):
    """Which customer is scored."""

    customer_id: str = pa.Field(unique=True, **CUSTOMER)


CONTRACTS = contracts(MODEL, version=ChurnModel, carried=ServedChurnModel, row=ScoredCustomer, module=__name__)
_, ChurnPromotion, ChurnChampion, ChurnScore, *_ = CONTRACTS


class ChurnEvaluation(pa.DataFrameModel):
    """One week of the walk-forward: a model judged on the week after its as-of date, once the labels are known."""

    event_date: date = pa.Field(
        description="As-of date of the model, first day of the test week", metadata={"from": ["model.event_date"]}
    )
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

        metadata = {"from": ["model.onnx", *LEARNED]}


class ChurnOutOfFold(pa.DataFrameModel):
    """One customer in one repetition of the cross-validation: the score of a model that has not seen its label."""

    event_date: date = pa.Field(description="Day that the customer was looked at on")
    customer_id: str = pa.Field(**CUSTOMER)
    repeat: int = pa.Field(
        ge=0, description="Repetition, each with other folds", metadata={"made_here": "drawn by seed"}
    )
    fold: int = pa.Field(ge=0, description="Fold of the repetition that the customer is in")
    churned: bool = pa.Field(description="Whether the customer left within the month")
    gender: str = pa.Field(description="Gender on record; no feature")
    senior: bool = pa.Field(description="Aged 65 or more; a feature")
    monthly_charges: float = pa.Field(ge=0, description="Charge of the month", metadata={"unit": "USD"})
    score: float = pa.Field(**_SHARE, description="Calibrated probability by the model fitted on the other folds")
    baseline_score: float = pa.Field(**_SHARE, description="The same by a logistic regression, one-hot")

    class Config(StrictColumns):
        """Columns are as declared."""

        metadata = {"rows_of": "customer_features", "from": ["customer_features.*", "churn_labels.*"]}


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
        metadata={
            "unit": "USD",
            "from": [f"churn_out_of_fold.{name}" for name in ("score", "churned", "monthly_charges")],
        },
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

        metadata = {
            "from": ["churn_out_of_fold.score", "churn_out_of_fold.baseline_score", "churn_out_of_fold.churned"]
        }


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

        metadata = {"from": [f"churn_out_of_fold.{name}" for name in ("gender", "senior", "score", "churned")]}


class CampaignTarget(Event):
    """One customer to be made an offer, with what it is worth, what it costs at most, and why."""

    customer_id: str = pa.Field(unique=True, **CUSTOMER)
    place: int = pa.Field(ge=1, description="1: the greatest expected gain of the day")
    score: float = pa.Field(**_SHARE, description="Calibrated probability of leaving, as issued")
    monthly_charges: float = pa.Field(ge=0, description="Charge of the month", metadata={"unit": "USD"})
    value_at_stake: float = pa.Field(
        ge=0,
        description="What a kept customer brings, by the assumed months and margin",
        metadata={"unit": "USD", "from": ["customer_features.monthly_charges"]},
    )
    expected_gain: float = pa.Field(gt=0, description="Of the offer, all costs deducted", metadata={"unit": "USD"})
    cost: float = pa.Field(
        gt=0, description="What the offer costs at most: contact and incentive", metadata={"unit": "USD"}
    )
    reasons: str = pa.Field(
        description="The five features that raise the score most, in words",
        metadata={"from": ["customer_features.*", "churn_champions.model"]},
    )
    model_version: str = pa.Field(
        description="The champion that scored the customer, whose trees give the reasons",
        metadata={"from": ["churn_scores.model_version"]},
    )

    class Config(Event.Config):
        """Columns are as declared."""

        metadata = {
            "rows_of": "customer_features",
            "from": ["churn_scores.score", "customer_features.monthly_charges"],
        }
