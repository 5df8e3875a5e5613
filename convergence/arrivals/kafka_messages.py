"""The messages of one Kafka partition: taken apart as they are read, decoded by whoever lands them."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import polars as pl
from confluent_kafka import TIMESTAMP_LOG_APPEND_TIME, Message

from convergence.arrivals.codecs import CODECS, OFFSET, Messages
from convergence.arrivals.evidence import KEY, text_of
from convergence.arrivals.topics import BROKER_TIME, ORIGIN, SCHEMA_VERSION, Topic, with_beside
from convergence.errors import ArrivalError

_UTC = pl.Datetime("us", "UTC")
_MANY, _LONG = 20, 200  # origins, and characters of one, that a manifest names


@dataclass
class Held:
    """Messages of one partition, taken apart at once: so many objects would keep the garbage collector busy."""

    values: list[Any] = field(default_factory=list)
    offsets: list[int] = field(default_factory=list)
    keys: dict[int, bytes] = field(default_factory=dict)  # of messages without a value, by offset
    headers: list[Any] = field(default_factory=list)
    timestamps: list[tuple[int, int]] = field(default_factory=list)  # only where the broker's time counts


def decode(topic: Topic, held: Held) -> Messages:
    """The messages, with the schema version of their headers and, where it counts, the broker's time."""
    decoded = _with_keys(CODECS[topic.codec](held.values, held.offsets, topic.columns), held.keys)
    said: dict[str, Any] = {}
    if any(held.headers):
        said[SCHEMA_VERSION] = [_version(headers) for headers in held.headers]
    if held.timestamps:
        if any(kind != TIMESTAMP_LOG_APPEND_TIME for kind, _ in held.timestamps):
            raise ArrivalError(
                f"{topic.name}: its messages carry the producer's time, and when they arrived is not known. Set "
                "message.timestamp.type=LogAppendTime on the Kafka topic, or declare assumed_lateness"
            )
        said[BROKER_TIME] = pl.Series([at * 1000 for _, at in held.timestamps], dtype=_UTC)
    return with_beside(decoded, pl.DataFrame({OFFSET: held.offsets, **said})) if said else decoded


def _with_keys(messages: Messages, keys: Mapping[int, bytes]) -> Messages:
    """The messages, those without a value with their key, by offset, which is all that they say."""
    told = [
        f"{KEY}{text_of(keys[at])}" if at in keys else row for at, row in messages.broken.select(OFFSET, "row").rows()
    ]
    return replace(messages, broken=messages.broken.with_columns(pl.Series("row", told, pl.String)))


def origin(headers: list[Any]) -> str:
    """What the messages say of their origin, which is mostly one and the same; of many or long ones the beginning."""
    said = {dict(pairs).get(ORIGIN) for pairs in {tuple(h) for h in headers if h}}
    texts = sorted({value.decode(errors="replace")[:_LONG] for value in said if value})
    return ", ".join(texts[:_MANY]) + (f" and {len(texts) - _MANY} more" if len(texts) > _MANY else "")


def headers_of(message: Message) -> Any:
    """The headers; where a name among them is no UTF-8, which the client cannot read, a version that no topic knows."""
    try:
        return message.headers()
    except SystemError:
        return [(SCHEMA_VERSION, b"headers are not UTF-8")]


def _version(headers: Any) -> str | None:
    value = dict(headers or ()).get(SCHEMA_VERSION)
    return None if value is None else text_of(value)
