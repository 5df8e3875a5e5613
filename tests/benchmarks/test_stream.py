import json

import polars as pl
import pytest

from benchmarks.stream import SPAN, Small, Wide, frames, stream, values


@pytest.mark.parametrize(("contract", "least", "most"), [(Small, 65, 85), (Wide, 900, 1_100)], ids=["small", "wide"])
def test_messages_have_the_size_that_the_report_says(contract: type[Small], least: int, most: int):
    (frame,) = frames(500, contract)
    sizes = [len(value) for value in values(frame)]
    assert least <= sum(sizes) / len(sizes) <= most


def test_chunks_of_a_stream_are_in_order_of_time_and_all_its_messages_are_different():
    whole = pl.concat(frames(1_000, Small, chunk=300))
    assert whole.height == whole["id"].n_unique() == 1_000
    assert whole["t"].is_sorted()


def test_every_message_is_json_whose_time_lies_in_the_days_of_the_topic():
    topic = stream(Small)
    messages = [json.loads(value) for frame in frames(1_000, Small) for value in values(frame)]
    days = {message["t"][:10] for message in messages}
    assert str(topic.first_day) == min(days)
    assert max(days) <= str(topic.last_day)
    assert len(days) == SPAN.days


def test_two_streams_are_the_same_messages():
    first, second = ([value for frame in frames(300, Wide) for value in values(frame)] for _ in range(2))
    assert first == second
