"""What a request of the fraud service brings, and the lake rows that its features come from."""

from datetime import UTC, datetime
from typing import Annotated, Any, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from convergence.features.online import OnlineView
from convergence.features.online_updates import OnlineFeatures
from convergence.lake.contracts import schema_of
from convergence.serving.use_case import RequestTime
from convergence_assets.fraud.arrivals import TOPIC
from convergence_assets.fraud.contracts import KnownLabel, Transaction
from convergence_assets.fraud.datasets import label_rows, labels_as_known, transaction_rows
from convergence_assets.fraud.feature_views import TRANSACTION_FEATURES

FEATURES = OnlineFeatures(
    online=OnlineView(TRANSACTION_FEATURES, {"transactions": schema_of(Transaction), "labels": schema_of(KnownLabel)}),
    table=TOPIC.table,
    derive={"transactions": transaction_rows, "labels": lambda raw: labels_as_known(label_rows(raw))},
    slack=TOPIC.late_after,
)


def _no_boolean(given: Any) -> Any:
    if isinstance(given, bool):
        raise ValueError("a Boolean is not a number")
    return given


_Id = Annotated[int, BeforeValidator(_no_boolean), Field(ge=0, lt=2**63)]
_Amount = Annotated[float, BeforeValidator(_no_boolean), Field(ge=0, le=100_000, allow_inf_nan=False)]


class TransactionToScore(BaseModel):
    """A card transaction, as it happens."""

    model_config = ConfigDict(extra="forbid")

    transaction_id: _Id = Field(description="Business key", examples=[1_754_155])
    event_time: RequestTime = Field(description="When it happened", examples=["2018-08-31T12:00:00Z"])
    customer_id: _Id = Field(description="Card holder", examples=[596])
    terminal_id: _Id = Field(description="Where the card is used", examples=[3156])
    amount: _Amount = Field(description="EUR", examples=[57.16])
    arrived_at: RequestTime | None = Field(
        None, description="When it became known to the platform; default: now", examples=["2018-08-31T12:00:01Z"]
    )

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        """It happened before it arrived, and arrived before now, but for what clocks differ by, as in landing."""
        now, skew = datetime.now(UTC), TOPIC.clock_skew
        if self.arrived_at and self.arrived_at - now > skew:
            raise ValueError(f"arrived_at is more than {skew} from now")
        if self.event_time - (self.arrived_at or now) > skew:
            raise ValueError(f"event_time is more than {skew} after {'arrived_at' if self.arrived_at else 'now'}")
        return self
