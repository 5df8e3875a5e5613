"""What every fraud table holds. The only description of the data: columns, checks and documentation come from here."""

from datetime import date
from typing import Annotated

import pandera.polars as pa
import polars as pl

from convergence.lake.contracts import StrictColumns
from convergence.models.gated_contracts import LEARNED, ServedForm, TrainedModel

Time = Annotated[pl.Datetime, "us", "UTC"]
HOLDER = {"pii": "pseudonym", "subject": "customer"}
OF_HOLDER = {"event_of": "customer"}  # whose card holder is told by the transactions and their features


class Event(pa.DataFrameModel):
    """What every row with a time has."""

    event_date: date = pa.Field(description="UTC date of event_time; the partition")
    event_time: Time = pa.Field(description="When the transaction happened")

    class Config(StrictColumns):
        """Columns are as declared."""


class Transaction(Event):
    """One card transaction at a terminal."""

    arrived_at: Time = pa.Field(description="When the platform could first have known the transaction")
    transaction_id: int = pa.Field(
        ge=0, unique=True, description="Business key; also the order of simultaneous events", metadata=OF_HOLDER
    )
    customer_id: int = pa.Field(ge=0, description="Card holder", metadata=HOLDER)
    terminal_id: int = pa.Field(ge=0, description="Where the card was used")
    amount: float = pa.Field(ge=0, le=100_000, description="Amount paid", metadata={"unit": "EUR, cents exact"})


class RawTransaction(Event):
    """A transaction as it arrived, label included: the data set publishes both in one row."""

    arrived_at: Time = pa.Field(description="When the platform could first have known the message")
    transaction_id: int = pa.Field(ge=0, description="Business key; repeats and corrections share it")
    customer_id: int = pa.Field(ge=0, description="Card holder", metadata=HOLDER)
    terminal_id: int = pa.Field(ge=0, description="Where the card was used")
    amount: float = pa.Field(ge=0, le=100_000, description="Amount paid", metadata={"unit": "EUR, cents exact"})
    is_fraud: bool = pa.Field(description="Whether the transaction turned out to be fraud")
    fraud_scenario: int = pa.Field(isin=[0, 1, 2, 3], description="How the simulator made the fraud; 0: none")
    source: str = pa.Field(description="Partition of the topic that the message came from")
    offset: int = pa.Field(ge=0, description="Position of the message in its source")


class Label(Event):
    """What an investigation found about one transaction, and when."""

    label_time: Time = pa.Field(
        description="When the label became known: 7 days after the transaction",
        metadata={"from": ["raw_transactions.event_time"]},
    )
    transaction_id: int = pa.Field(ge=0, unique=True, description="The transaction that the label is about")
    customer_id: int = pa.Field(ge=0, description="Card holder", metadata=HOLDER)
    terminal_id: int = pa.Field(ge=0, description="Where the card was used")
    amount: float = pa.Field(ge=0, description="Amount paid", metadata={"unit": "EUR, cents exact"})
    is_fraud: bool = pa.Field(description="Whether the transaction was fraud")
    fraud_scenario: int = pa.Field(isin=[0, 1, 2, 3], description="How the simulator made the fraud; 0: none")


class KnownLabel(Event):
    """A label as features see it: it arrives when it becomes known."""

    arrived_at: Time = pa.Field(description="label_time", metadata={"from": ["labels.label_time"]})
    transaction_id: int
    customer_id: int
    terminal_id: int
    amount: float
    is_fraud: bool
    is_genuine: bool = pa.Field(metadata={"from": ["labels.is_fraud"]})


_TREES = "Its boosted trees as XGBoost JSON: explains scores; feature order inside"
_THRESHOLD = "Score of an alert: 0.5 % false positives in the fit window"


class FraudModel(TrainedModel):
    """One trained model: the row is the model."""

    model: str = pa.Field(description=_TREES)
    candidates: bytes = pa.Field(description="Members and stack as they were compared: ONNX, log odds of each")
    alert_threshold: float = pa.Field(gt=0, description=_THRESHOLD)
    training_frauds: int = pa.Field(gt=0, description="Frauds among the rows it was fitted on")

    class Config(TrainedModel.Config):
        """Columns are as declared."""

        metadata = {"from": [*LEARNED, "parameters.parameters"]}


class ServedFraudModel(ServedForm):
    """What it takes to score a transaction, to alert, and to say why."""

    model: str = pa.Field(description=_TREES)
    alert_threshold: float = pa.Field(gt=0, description=_THRESHOLD)


class ScoredTransaction(Event):
    """Which transaction is scored."""

    transaction_id: int = pa.Field(unique=True, description="The transaction", metadata=OF_HOLDER)


class FraudEvaluation(pa.DataFrameModel):
    """One week of the walk-forward: a model judged on the week after its as-of date, once the labels are known."""

    event_date: date = pa.Field(
        description="As-of date of the model, first day of the test week",
        metadata={"from": ["model.event_date"]},
    )
    model_version: str = pa.Field(description="The model that was judged")
    test_rows: int = pa.Field(gt=0, description="Transactions of the test week, known compromised cards removed")
    test_frauds: int = pa.Field(gt=0, description="Frauds among them")
    base_rate: float = pa.Field(ge=0, le=1, description="Average precision of a constant score, the trivial baseline")
    average_precision: float = pa.Field(ge=0, le=1, description="Of the model as served, trained on its free window")
    average_precision_low: float = pa.Field(ge=0, le=1, description="Lower end of its 95 % interval, days resampled")
    average_precision_high: float = pa.Field(ge=0, le=1, description="Upper end of its 95 % interval, days resampled")
    roc_auc: float = pa.Field(ge=0, le=1, description="Area under the ROC curve of the model")
    card_precision_100: float = pa.Field(
        ge=0, le=1, description="Compromised among the 100 most suspicious cards a day"
    )
    precision_at_fpr: float = pa.Field(ge=0, le=1, description="Precision at 0.5 % false positives")
    recall_at_fpr: float = pa.Field(ge=0, le=1, description="Recall at 0.5 % false positives")
    alert_precision: float = pa.Field(ge=0, le=1, description="Precision at the model's own alert threshold")
    alert_recall: float = pa.Field(ge=0, le=1, description="Recall at the model's own alert threshold")
    alert_false_positive_rate: float = pa.Field(ge=0, le=1, description="False positives at that threshold")
    calibration_error: float = pa.Field(ge=0, le=1, description="Expected calibration error, 15 equal bins")
    brier: float = pa.Field(ge=0, le=1, description="Mean squared difference of score and label")
    candidates: str = pa.Field(
        description="Members and stack with intervals, as JSON",
        metadata={"from": ["model.candidates", *LEARNED]},
    )
    cost_curve: str = pa.Field(description="Cost by share of transactions looked at, as JSON; see evaluation.py")
    average_precision_7d: float = pa.Field(ge=0, le=1, description="Trained on the Handbook's 7 days instead")
    roc_auc_7d: float = pa.Field(ge=0, le=1, description="Trained on the Handbook's 7 days instead")
    card_precision_100_7d: float = pa.Field(ge=0, le=1, description="Trained on the Handbook's 7 days instead")

    class Config(StrictColumns):
        """Columns are as declared."""

        metadata = {"from": ["model.onnx", *LEARNED]}


class FraudAlert(Event):
    """A transaction whose score reached the champion's threshold, with its reasons."""

    transaction_id: int = pa.Field(unique=True, description="The transaction")
    customer_id: int = pa.Field(description="Card holder", metadata=HOLDER)
    terminal_id: int = pa.Field(description="Where the card was used")
    amount: float = pa.Field(ge=0, description="Amount paid", metadata={"unit": "EUR"})
    score: float = pa.Field(ge=0, le=1, description="Calibrated probability of fraud, as issued")
    threshold: float = pa.Field(
        gt=0,
        description="Score from which on the champion's transactions are alerts",
        metadata={"from": ["fraud_champions.alert_threshold"]},
    )
    reasons: str = pa.Field(description="The five features that raise the score most, in words")
    contributions: str = pa.Field(description="The same with value and SHAP value in log odds of the trees, as JSON")
    base: float = pa.Field(description="Log odds from which the SHAP values of all features start")
    additivity_error: float = pa.Field(ge=0, le=1e-4, description="|base + SHAP values - log odds of the trees|")
    model_version: str = pa.Field(
        description="The champion that scored it", metadata={"from": ["fraud_scores.model_version"]}
    )

    class Config(Event.Config):
        """Columns are as declared."""

        metadata = {"rows_of": "transaction_features", "from": ["transaction_features.*", "fraud_champions.model"]}
