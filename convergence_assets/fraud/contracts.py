"""What every fraud table holds. The only description of the data: columns, checks and documentation come from here."""

from datetime import date
from typing import Annotated

import pandera.polars as pa
import polars as pl

from convergence.lake.contracts import StrictColumns

Time = Annotated[pl.Datetime, "us", "UTC"]
HOLDER = {"pii": "pseudonym", "subject": "customer"}

AS_OF = {"made_here": "the as-of date, which names the partition"}
_LEARNED = ["transaction_features.*", "labels.*"]


class Event(pa.DataFrameModel):
    """What every row with a time has."""

    event_date: date = pa.Field(description="UTC date of event_time; the partition")
    event_time: Time = pa.Field(description="When the transaction happened")

    class Config(StrictColumns):
        """Columns are as declared."""


class Transaction(Event):
    """One card transaction at a terminal."""

    arrived_at: Time = pa.Field(description="When the platform could first have known the transaction")
    transaction_id: int = pa.Field(ge=0, unique=True, description="Business key; also the order of simultaneous events")
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


class FraudModel(pa.DataFrameModel):
    """One trained model: the row is the model."""

    event_date: date = pa.Field(description="As-of date: nothing after the start of this day was seen", metadata=AS_OF)
    model_version: str = pa.Field(unique=True, description="As-of date and first digits of sha256")
    onnx: bytes = pa.Field(description="The model: ONNX graph to a calibrated probability, signature inside")
    sha256: str = pa.Field(str_length=64, description="Hash of onnx, without which it is not opened")
    model: str = pa.Field(description="Its boosted trees as XGBoost JSON: explains scores; feature order inside")
    candidates: bytes = pa.Field(description="Members and stack as they were compared: ONNX, log odds of each")
    alert_threshold: float = pa.Field(gt=0, description="Score of an alert: 0.5 % false positives in the fit window")
    training_first_day: date = pa.Field(description="First day of the transactions it was fitted on")
    training_last_day: date = pa.Field(description="Last day of the transactions it was fitted on")
    training_rows: int = pa.Field(gt=0, description="Labelled transactions it was fitted on")
    training_frauds: int = pa.Field(gt=0, description="Frauds among them")
    parameters: str = pa.Field(description="Hyper-parameters of the trees and seed, as JSON")
    report: str = pa.Field(description="What is served and why, calibration, ONNX parity, SHAP summary, as JSON")

    class Config(StrictColumns):
        """Columns are as declared."""

        metadata = {"from": [*_LEARNED, "fraud_parameters.parameters"]}


class FraudPromotion(pa.DataFrameModel):
    """A gate's decision: which model serves from a day on, and why."""

    event_date: date = pa.Field(description="As-of date of the challenger; equals valid_from", metadata=AS_OF)
    valid_from: date = pa.Field(description="First day that the model serves", metadata=AS_OF)
    model_version: str = pa.Field(description="The champion from that day on")
    model_as_of: date = pa.Field(description="As-of date of that champion")
    decided_at: Time = pa.Field(description="When it was decided; in a backfill, the as-of date", metadata=AS_OF)
    reason: str = pa.Field(description="The gate's verdict in words")
    challenger_version: str = pa.Field(description="The model that asked to be champion")
    promoted: bool = pa.Field(description="Whether the challenger became champion")
    gate_average_precision: float = pa.Field(
        ge=0, le=1, description="The challenger's, on the newest labels unseen by its fit"
    )
    gate: str = pa.Field(description="Rules with value, limit and verdict, as JSON")
    onnx: bytes = pa.Field(description="The champion itself, as ONNX")
    sha256: str = pa.Field(str_length=64, description="Hash of onnx, without which it is not opened")
    model: str = pa.Field(description="The champion's boosted trees as XGBoost JSON: explains its scores")
    alert_threshold: float = pa.Field(gt=0, description="The champion's score of an alert")

    class Config(StrictColumns):
        """Columns are as declared."""

        metadata = {"from": ["fraud_model.onnx", *_LEARNED]}


class FraudChampion(pa.DataFrameModel):
    """The model that scores a day, itself."""

    event_date: date = pa.Field(
        unique=True, description="The day that it scores", metadata={"made_here": "the day, which names the partition"}
    )
    model_version: str = pa.Field(description="The champion of that day")
    model_as_of: date = pa.Field(description="As-of date of that champion")
    release: int = pa.Field(
        nullable=True,
        description="Entry of the audit log that made it champion; null: the gate's decision",
        metadata={"made_here": "read from the log of promotions and rollbacks, which is no table"},
    )
    onnx: bytes = pa.Field(description="The champion itself, as ONNX")
    sha256: str = pa.Field(str_length=64, description="Hash of onnx, without which it is not opened")
    model: str = pa.Field(description="The champion's boosted trees as XGBoost JSON: explains its scores")
    alert_threshold: float = pa.Field(gt=0, description="The champion's score of an alert")

    class Config(StrictColumns):
        """Columns are as declared."""


class FraudEvaluation(pa.DataFrameModel):
    """One week of the walk-forward: a model judged on the week after its as-of date, once the labels are known."""

    event_date: date = pa.Field(
        description="As-of date of the model, first day of the test week",
        metadata={"from": ["fraud_model.event_date"]},
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
        metadata={"from": ["fraud_model.candidates", *_LEARNED]},
    )
    cost_curve: str = pa.Field(description="Cost by share of transactions looked at, as JSON; see evaluation.py")
    average_precision_7d: float = pa.Field(ge=0, le=1, description="Trained on the Handbook's 7 days instead")
    roc_auc_7d: float = pa.Field(ge=0, le=1, description="Trained on the Handbook's 7 days instead")
    card_precision_100_7d: float = pa.Field(ge=0, le=1, description="Trained on the Handbook's 7 days instead")

    class Config(StrictColumns):
        """Columns are as declared."""

        metadata = {"from": ["fraud_model.onnx", *_LEARNED]}


class FraudScore(Event):
    """The score of one transaction by the champion of its day."""

    transaction_id: int = pa.Field(unique=True, description="The transaction")
    score: float = pa.Field(
        ge=0,
        le=1,
        description="Calibrated probability of fraud",
        metadata={"from": ["transaction_features.*", "fraud_champions.onnx"]},
    )
    model_version: str = pa.Field(description="The champion that scored it")
    model_as_of: date = pa.Field(description="As-of date of that champion")

    class Config(Event.Config):
        """Columns are as declared."""

        metadata = {"rows_of": "transaction_features"}


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
