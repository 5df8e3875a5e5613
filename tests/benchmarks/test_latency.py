from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from benchmarks import latency
from benchmarks.stream import Small, frames, stream, values
from convergence.arrivals.codecs import BROKEN, OFFSET, Messages
from convergence.arrivals.lander import Lander
from convergence.arrivals.topics import Arrived, Span
from convergence.lake.manifests import Provenance
from convergence.lake.tables import Lake


def test_a_message_is_landed_by_the_first_commit_that_ends_behind_it(tmp_path, monkeypatch: pytest.MonkeyPatch):
    import os

    topic = stream(Small)
    monkeypatch.setattr(latency, "TOPIC", topic)
    lake = Lake(str(tmp_path))
    lander = Lander(lake, topic, Provenance("test", "1"))
    (frame,) = frames(40, Small)
    began = datetime(2024, 1, 1, tzinfo=UTC)
    times = [began + timedelta(seconds=n) for n in range(40)]
    frame = frame.with_columns(t=pl.Series(times), offset=pl.int_range(40, dtype=pl.Int64))
    for start in (0, 20):
        rows = frame.slice(start, 20)
        messages = Messages(rows, pl.DataFrame(schema=BROKEN), values(rows.drop(OFFSET)))
        lander.land([Arrived(Span("memory/0", start, start + 20, "test"), lambda messages=messages: messages)])
        entry = tmp_path / topic.table / "_delta_log" / f"{lake.open(topic.table).version():020}.json"
        os.utime(entry, (0, began.timestamp() + start + 30))
    assert latency.landed_after(lake).to_list() == [30 - n for n in range(6, 20)] + [50 - n for n in range(20, 40)]


def test_a_feature_counts_a_message_when_it_first_holds_it_or_a_later_one(tmp_path, monkeypatch: pytest.MonkeyPatch):
    began = datetime(2024, 1, 1, tzinfo=UTC)
    rows = pl.DataFrame({"transaction_id": range(10), "event_time": [began + timedelta(seconds=n) for n in range(10)]})
    monkeypatch.setattr(Lake, "scan", lambda *_: rows.lazy())
    start = int(began.timestamp() * 1e6)
    counted = pl.DataFrame({"newest": [6, 8], "at": [start + 20_000_000, start + 21_000_000]})
    assert latency.counted_after(Lake(str(tmp_path)), counted).to_list() == [14, 14, 13]
