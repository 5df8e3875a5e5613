"""Messages that nobody can use, made from good ones: what producers really send when they are broken."""

import json
from collections.abc import Callable, Sequence
from typing import Any

from convergence.arrivals.topics import SCHEMA_VERSION, Topic

NO_VERSION = 999  # that no topic reads
_END_OF_TIME, _BEFORE_CHRIST = "9999-12-31T23:59:59Z", "-0044-03-15T12:00:00Z"


def poisoned(topic: Topic, values: Sequence[bytes]) -> list[bytes]:
    """Each message of a topic made unusable, in each of the ways in turn."""
    ways = [*_ways(topic).values()]
    return [ways[number % len(ways)](value) for number, value in enumerate(values)]


def _ways(topic: Topic) -> dict[str, Callable[[bytes], bytes]]:
    """What can be wrong with a message, by name."""
    columns = topic.contract.to_schema().columns
    needed = [topic.original(name) for name in topic.carried if not columns[name].nullable]
    missing = next((name for name in needed if name not in (topic.clock, topic.key)), topic.clock)
    number = next((name for name in needed if topic.columns[name].is_numeric()), topic.clock)

    def with_field(name: str, value: Any) -> Callable[[bytes], bytes]:
        return lambda good: _text(json.loads(good) | {name: value})

    return {
        "broken JSON": lambda good: good[: len(good) // 2],
        "no object": lambda good: _text([json.loads(good)]),
        "missing field": lambda good: _text({k: v for k, v in json.loads(good).items() if k != missing}),
        "wrong type": with_field(number, "twelve"),
        "nested": with_field(number, {"value": 12}),
        "NUL in a field": with_field(topic.clock, "2018-04-01\0T00:00:00Z"),
        "NUL in the text": lambda good: good[:1] + b"\0" + good[1:],
        "no UTF-8": lambda good: good[:1] + b'"\xff":1,' + good[1:],
        "year 9999": with_field(topic.clock, _END_OF_TIME),
        "negative year": with_field(topic.clock, _BEFORE_CHRIST),
        "unknown schema version": with_field(SCHEMA_VERSION, NO_VERSION),
        "empty": lambda _: b"",
    }


def _text(message: object) -> bytes:
    return json.dumps(message, separators=(",", ":")).encode()
