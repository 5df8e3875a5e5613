"""Each message is in exactly one of three tables exactly once, whatever it holds and whenever the lander dies."""

import json
import math
import multiprocessing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from convergence.arrivals.acceptance import Sorted, sort_out
from convergence.arrivals.codecs import BROKEN, Messages
from convergence.arrivals.evidence import without_values
from convergence.arrivals.lander import Landed, land
from convergence.arrivals.topics import Arrived, NextOffset, Span, Topic
from convergence.errors import ArrivalError, ConcurrentWrite
from convergence.lake.manifests import MANIFESTS, Provenance, manifest, states
from convergence.lake.tables import Lake
from tests.convergence.arrivals.landing import (
    FIRST,
    HOUR,
    LAST,
    LATE,
    NOON,
    REJECTED,
    TABLE,
    TICK,
    TOPIC,
    Message,
    application,
    before_each,
    decoded,
    drop,
    land_together,
    land_until,
    landed,
    message,
    mixed_files,
    places,
    rows,
    topic_with,
)

MADE = Provenance("run", "1")
BEGIN, END = (datetime.combine(day, datetime.min.time(), UTC) for day in (FIRST, LAST + timedelta(days=1)))


def judged(tmp_path: Path, *messages: Message | str) -> Sorted:
    return sort_out(TOPIC, {"file/x": decoded(drop(tmp_path, "judged.jsonl", *messages))})


def reason(tmp_path: Path, bad: Message | str) -> str:
    """Why a message between two good ones is rejected."""
    result = judged(tmp_path, message(1), bad, message(3))
    assert result.accepted["offset"].to_list() == [0, 2]
    assert result.rejected["offset"].to_list() == [1]
    return result.rejected["reason"].item()


# What a single message becomes


def test_a_message_becomes_a_row_of_the_contract(tmp_path: Path) -> None:
    row = judged(tmp_path, message(7, arrived_at="2024-01-05T12:30:00Z")).accepted.row(0, named=True)
    assert row == {
        "event_date": NOON.date(),
        "event_time": NOON,
        "arrived_at": NOON + HOUR / 2,
        "payment_id": 7,
        "amount": 1.5,
        "refunded": False,
        "note": "n",
        "source": "file/x",
        "offset": 0,
    }


@pytest.mark.parametrize(
    "extra",
    [
        {"channel": "web"},
        {"nested": {"a": [1, None]}},
        {"source": "forged", "offset": 99, "event_date": "2030-01-01"},
        {"payment_id": 99},
    ],
    ids=["unknown", "nested", "a name that landing adds", "the new name of a renamed field"],
)
def test_an_extra_field_changes_nothing(tmp_path: Path, extra: Message) -> None:
    with_extra, without = judged(tmp_path, message(1) | extra), judged(tmp_path, message(1))
    assert with_extra.accepted.equals(without.accepted)


@pytest.mark.parametrize("field", ["ID", "event_time", "amount", "refunded"])
def test_a_message_without_a_required_field_is_rejected_by_name(tmp_path: Path, field: str) -> None:
    assert {"ID": "payment_id"}.get(field, field) in reason(tmp_path, message(2, **{field: None}))


def test_a_file_without_a_required_column_is_rejected_message_by_message(tmp_path: Path) -> None:
    result = judged(tmp_path, message(1, amount=None), message(2, amount=None))
    assert result.accepted.is_empty()
    assert ["amount: not_nullable" in why for why in result.rejected["reason"]] == [True, True]


def test_a_file_without_an_optional_column_is_accepted(tmp_path: Path) -> None:
    assert judged(tmp_path, message(1, note=None)).accepted["note"].to_list() == [None]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"ID": -1}, "payment_id: greater_than_or_equal_to(0)"),
        ({"ID": "bob"}, "payment_id: not a Int64"),
        ({"ID": 1.5}, "payment_id: not a Int64"),
        ({"ID": 2**63}, "payment_id: not a Int64"),
        ({"amount": 100.01}, "amount: less_than_or_equal_to(100)"),
        ({"amount": math.nan}, "not a JSON object"),
        ({"amount": True}, "amount: not a Float64"),
        ({"refunded": 2}, "refunded: not a Boolean"),
        ({"refunded": "maybe"}, "refunded: not a Boolean"),
        ({"event_time": "yesterday"}, "event_time: not a Datetime"),
        ({"event_time": 1704456000}, "event_time: not a Datetime"),
        ({"event_time": "2024-01-05T25:00:00"}, "event_time: not a Datetime"),
        ({"arrived_at": "never"}, "arrived_at: not a Datetime"),
        ({"event_time": (BEGIN - TICK).isoformat()}, "outside_partitions: 2024-01-01 to 2024-01-10"),
        ({"event_time": END.isoformat()}, "outside_partitions: 2024-01-01 to 2024-01-10"),
        ({"event_time": "0001-01-01T00:00:00"}, "outside_partitions"),
        ({"event_time": "9999-12-31T23:59:59.999999"}, "outside_partitions"),
    ],
)
def test_a_broken_rule_is_said_and_costs_that_message_alone(tmp_path: Path, changes: Message, said: str) -> None:
    assert said in reason(tmp_path, message(2, **changes))


def test_every_broken_rule_of_a_message_is_said(tmp_path: Path) -> None:
    said = reason(tmp_path, message(2, ID="bob", amount=-1, event_time="2030-01-01T00:00:00"))
    assert all(part in said for part in ("payment_id: not a Int64", "amount: greater_than", "outside_partitions"))


def test_a_rejected_message_is_kept_as_it_came(tmp_path: Path) -> None:
    bad = message(2, amount=-1, channel="web")
    kept = judged(tmp_path, bad).rejected["row"].item()
    assert json.loads(kept) == bad


def test_a_reason_names_column_type_and_value_and_is_shown_without_the_value(tmp_path: Path) -> None:
    said = reason(tmp_path, message(2, amount='4711-"4711'))
    assert said == 'amount: not a Float64: "4711-\\"4711"; amount: not_nullable'
    assert without_values(pl.Series([said])).item() == "amount: not a Float64: …; amount: not_nullable"


@pytest.mark.parametrize(
    "text",
    [
        "2024-01-05T12:00:00",
        "2024-01-05 12:00:00",
        "2024-01-05T12:00:00Z",
        "2024-01-05T12:00Z",
        "2024-01-05 12:00",
        "2024-01-05T14:00:00+02:00",
        "2024-01-05T14:00:00+0200",
        "2024-01-05T06:30:00.000000-05:30",
        " 2024-01-05T12:00:00.000 ",
    ],
)
def test_a_time_without_a_zone_is_utc_and_one_with_an_offset_is_converted(tmp_path: Path, text: str) -> None:
    other = "2024-01-05T12:00:00.000001+00:00"
    times = judged(tmp_path, message(1, event_time=other), message(2, event_time=text)).accepted["event_time"]
    assert times.to_list() == [NOON + TICK, NOON]


def test_a_date_alone_is_its_midnight(tmp_path: Path) -> None:
    assert judged(tmp_path, message(1, event_time="2024-01-05")).accepted["event_time"].item() == NOON - 12 * HOUR


@pytest.mark.parametrize(
    "column",
    [
        pl.Series([NOON.replace(tzinfo=None)], dtype=pl.Datetime("ms")),
        pl.Series([NOON.replace(tzinfo=None)], dtype=pl.Datetime("ns")),
        pl.Series([NOON], dtype=pl.Datetime("us", "UTC")).dt.convert_time_zone("Asia/Kolkata"),
        pl.Series(["2024-01-05T12:00:00Z"]),
    ],
    ids=["naive ms", "naive ns", "zoned", "text"],
)
def test_typed_times_of_any_unit_and_zone_are_utc(tmp_path: Path, column: pl.Series) -> None:
    frame = pl.DataFrame([message(1)]).with_columns(column.alias("event_time"))
    frame.write_parquet(tmp_path / "a.parquet")
    assert sort_out(TOPIC, {"x": decoded(tmp_path / "a.parquet")}).accepted["event_time"].to_list() == [NOON]


@pytest.mark.parametrize(
    ("field", "value"),
    [("ID", 12.7), ("ID", b"\xff"), ("refunded", 2), ("amount", [1.0]), ("amount", {"a": 1.0}), ("ID", math.nan)],
)
def test_a_typed_value_that_does_not_fit_is_rejected_and_not_rounded(tmp_path: Path, field: str, value: Any) -> None:
    pl.DataFrame([message(1) | {field: value}], strict=False).write_parquet(tmp_path / "a.parquet")
    result = sort_out(TOPIC, {"x": decoded(tmp_path / "a.parquet")})
    assert (result.accepted.height, result.rejected.height) == (0, 1)


def test_every_format_lands_the_same_rows(tmp_path: Path) -> None:
    messages = [message(n, refunded=n % 2 == 0, event_time=f"2024-01-05T12:00:0{n}") for n in range(4)]
    frame = pl.DataFrame(messages)
    frame.with_columns(pl.col("event_time").str.to_datetime()).write_parquet(tmp_path / "a.parquet")
    frame.write_csv(tmp_path / "a.csv")
    frame.with_columns(pl.col("refunded").cast(pl.Int8)).write_csv(tmp_path / "b.csv")
    files = [tmp_path / "a.parquet", tmp_path / "a.csv", tmp_path / "b.csv", drop(tmp_path, "a.jsonl", *messages)]
    accepted = [sort_out(TOPIC, {"x": decoded(path)}).accepted for path in files]
    assert accepted[0].height == 4
    assert [frame.equals(accepted[0]) for frame in accepted[1:]] == [True, True, True]


# When a message is late


@pytest.mark.parametrize(("after", "is_late"), [(2 * HOUR - TICK, False), (2 * HOUR, False), (2 * HOUR + TICK, True)])
def test_a_message_is_late_above_the_limit_and_not_at_it(tmp_path: Path, after: timedelta, is_late: bool) -> None:
    result = judged(tmp_path, message(1, arrived_at=(NOON + after).isoformat()))
    assert (result.accepted.height, result.late.height) == (not is_late, is_late)


def test_a_message_that_does_not_say_when_it_arrived_has_the_assumed_lateness(tmp_path: Path) -> None:
    said, unsaid = message(1, arrived_at=NOON.isoformat()), message(2)
    result = judged(tmp_path, unsaid, said, unsaid | {"arrived_at": ""})
    assert result.accepted["arrived_at"].to_list() == [NOON + HOUR, NOON]
    assert result.rejected["offset"].to_list() == [2]  # an empty text is not the same as nothing


def test_an_assumed_lateness_above_the_limit_makes_every_message_late(tmp_path: Path) -> None:
    messages = decoded(drop(tmp_path, "a.jsonl", message(1)))
    assert sort_out(topic_with(assumed_lateness=3 * HOUR), {"x": messages}).late.height == 1


def test_a_late_message_outside_the_partitions_is_rejected(tmp_path: Path) -> None:
    assert "outside_partitions" in reason(
        tmp_path, message(2, event_time="2023-01-01T00:00:00", arrived_at="2024-01-05")
    )


# The whole of it against an oracle

TIMES = st.sampled_from((BEGIN - TICK, BEGIN, NOON, END - TICK, END))
FIELDS: Mapping[str, st.SearchStrategy[Any]] = {
    "ID": st.sampled_from((0, 1, 2, 3, -1, "bob", 1.5, None)),
    "amount": st.sampled_from((0, 1.25, 100, 100.01, -0.01, math.nan, "x", "12.5", None)),
    "refunded": st.sampled_from((True, False, 0, 1, "TRUE", "no", None)),
    "event_time": st.one_of(TIMES.map(datetime.isoformat), st.sampled_from(("soon", None))),
    "arrived_at": st.sampled_from((None, None, timedelta(0), -HOUR, 2 * HOUR, 2 * HOUR + TICK, "never")),
    "note": st.sampled_from(("n", None, 5)),
}


@st.composite
def lines(draw: st.DrawFn) -> list[str]:
    made: list[str] = []
    for _ in range(draw(st.integers(0, 12))):
        chance = draw(st.integers(0, 9))
        if made and chance == 0:
            made.append(draw(st.sampled_from(made)))
        elif chance == 1:
            made.append(draw(st.sampled_from(("{", "[]", "null", '{"ID": 1}'))))
        else:
            good = chance < 7
            one = message(1) | {} if good else {k: draw(values) for k, values in FIELDS.items()}
            if good:
                one |= {"event_time": draw(TIMES).isoformat(), "arrived_at": draw(FIELDS["arrived_at"])}
            if isinstance(one["arrived_at"], timedelta):
                after = one["arrived_at"]
                known = one["event_time"] not in {None, "soon"}
                one["arrived_at"] = (datetime.fromisoformat(one["event_time"]) + after).isoformat() if known else None
            made.append(json.dumps({k: v for k, v in one.items() if v is not None}))
    return made


def place(line: str) -> str:
    """Where a message belongs, one at a time, in plain Python."""
    try:
        one = json.loads(line)
        number, time = one["ID"], datetime.fromisoformat(one["event_time"])
        amount = float(one["amount"])
        said = one.get("arrived_at")
        arrived = datetime.fromisoformat(said) if said else time + TOPIC.assumed_lateness
        refunded = json.dumps(one["refunded"]).strip('"').lower() in {"true", "false", "0", "1"}
    except (ValueError, KeyError, TypeError):
        return REJECTED
    valid = isinstance(number, int) and number >= 0 and 0 <= amount <= 100 and refunded and BEGIN <= time < END
    valid = valid and time - arrived <= TOPIC.clock_skew
    return REJECTED if not valid else LATE if arrived - time > TOPIC.late_after else TABLE


@settings(deadline=None, max_examples=100)
@given(lines())
def test_every_message_goes_where_the_rules_say_it_goes(lines: list[str]) -> None:
    with TemporaryDirectory() as folder:
        result = judged(Path(folder), *lines)
    parts = {TABLE: result.accepted, LATE: result.late, REJECTED: result.rejected}
    found = {offset: table for table, part in parts.items() for offset in part["offset"]}
    assert found == ({offset: place(line) for offset, line in enumerate(lines)} or {0: REJECTED})
    assert result.accepted.height + result.late.height + result.rejected.height == len(found)


@settings(deadline=None, max_examples=8)
@given(st.lists(lines(), min_size=1, max_size=4), st.sampled_from((1, 10, 1000)))
def test_every_message_is_landed_once_in_its_table(files: list[list[str]], batch_rows: int) -> None:
    with TemporaryDirectory() as folder:
        lake, inbox = Lake(f"{folder}/lake"), Path(folder) / "inbox"
        for number, content in enumerate(files):
            drop(inbox, f"{number}.jsonl", *content)
        results = [landed(lake, inbox, batch_rows=batch_rows) for _ in range(2)]
        found = places(lake)
        paths = {application(path): path for path in (inbox / TOPIC.name).glob("*")}
        expected = {
            (app, offset, place(line) if line else REJECTED): 1
            for app, path in paths.items()
            for offset, line in enumerate(path.read_text().split("\n"))  # of an empty file it is told that it is
        }
    assert found == expected
    assert results[0].accepted + results[0].late + results[0].rejected == results[0].messages == len(expected)
    assert results[1].messages == 0


# What a landing commits


def test_touched_event_dates_and_offsets_are_in_the_manifest(lake: Lake, tmp_path: Path) -> None:
    drop(tmp_path, "a.jsonl", message(1), message(2, event_time="2024-01-02T00:00:00"), "{broken")
    result = landed(lake, tmp_path)
    (commit,) = lake.commits(TABLE)
    assert set(commit.manifest["partitions"]) == {"2024-01-02", "2024-01-05"} == result.days
    assert list(commit.manifest["offsets"].values()) == [[0, 3]]
    assert commit.manifest["mode"] == "append"


def test_the_manifest_names_the_file_as_origin(lake: Lake, tmp_path: Path) -> None:
    drop(tmp_path, "a.jsonl", message(1))
    landed(lake, tmp_path)
    assert manifest(lake, TABLE, "2024-01-05")["origins"] == ["dropped file"]


def test_the_state_of_a_day_grows_with_each_landing(lake: Lake, tmp_path: Path) -> None:
    for number in range(3):
        drop(tmp_path, f"{number}.jsonl", message(number))
        landed(lake, tmp_path)
    assert states(lake, [TABLE])[TABLE]["2024-01-05"].rows == 3


def test_the_hash_of_a_day_does_not_depend_on_how_its_messages_were_batched(tmp_path: Path) -> None:
    for number in range(4):
        drop(tmp_path / "inbox", f"{number}.jsonl", message(number))
    lakes = [Lake(str(tmp_path / name)) for name in "ab"]
    for lake, batch_rows in zip(lakes, (1, 1000), strict=True):
        landed(lake, tmp_path / "inbox", batch_rows=batch_rows)
    first, second = (states(lake, [TABLE])[TABLE]["2024-01-05"].content_hash for lake in lakes)
    assert first == second


def test_nothing_to_land_commits_nothing(lake: Lake, tmp_path: Path) -> None:
    drop(tmp_path, "a.jsonl", message(1), message(2, amount=-1))
    landed(lake, tmp_path)
    before = {table: len(list(lake.commits(table))) for table in (TABLE, REJECTED)}
    assert landed(lake, tmp_path) == Landed()
    assert {table: len(list(lake.commits(table))) for table in (TABLE, REJECTED)} == before


@pytest.mark.parametrize(("batch_rows", "commits"), [(1, 5), (3, 3), (4, 3), (5, 2), (1000, 1)])
def test_a_batch_ends_with_the_file_that_fills_it(lake: Lake, tmp_path: Path, batch_rows: int, commits: int) -> None:
    for number in range(5):
        drop(tmp_path, f"{number}.jsonl", message(2 * number), message(2 * number + 1))
    assert landed(lake, tmp_path, batch_rows=batch_rows).commits == commits
    assert rows(lake, TABLE).height == 10


def test_rejected_is_written_before_late_and_late_before_data(
    lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[str] = []
    append = Lake.append
    monkeypatch.setattr(
        Lake, "append", lambda self, table, *a, **m: written.append(table) or append(self, table, *a, **m)
    )
    mixed_files(tmp_path)
    landed(lake, tmp_path)
    assert [table for table in written if table != MANIFESTS] == [REJECTED, LATE, TABLE]


# Crashes and races, with real processes

# Modules are loaded once, in the server that the processes are forked from.
processes = multiprocessing.get_context("forkserver")
processes.set_forkserver_preload(["tests.convergence.arrivals.landing"])

COMMITS = 4  # rejected, late, data, and the record of their manifests


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("nth", range(1, COMMITS + 1))
def test_a_lander_killed_between_its_commits_loses_and_repeats_nothing(
    lake: Lake, tmp_path: Path, nth: int, when: str
) -> None:
    messages = mixed_files(tmp_path / "inbox", files=2)
    child = processes.Process(target=land_until, args=(lake.root, str(tmp_path / "inbox"), nth, when))
    child.start()
    child.join(60)
    assert child.exitcode == 9
    landed(lake, tmp_path / "inbox")
    assert heights(lake) == {TABLE: messages / 3, LATE: messages / 3, REJECTED: messages / 3}
    assert max(places(lake).values()) == 1
    assert states(lake, [TABLE])[TABLE]["2024-01-05"].rows == messages / 3
    assert landed(lake, tmp_path / "inbox").messages == 0


def heights(lake: Lake) -> dict[str, int]:
    return {table: rows(lake, table).height for table in (TABLE, LATE, REJECTED)}


@pytest.mark.parametrize("landers", [2, 3])
def test_landers_at_work_at_once_land_each_message_once(lake: Lake, tmp_path: Path, landers: int) -> None:
    messages = mixed_files(tmp_path / "inbox", files=6)
    together = processes.Barrier(landers)
    children = [
        processes.Process(target=land_together, args=(lake.root, str(tmp_path / "inbox"), together))
        for _ in range(landers)
    ]
    for child in children:
        child.start()
    for child in children:
        child.join(120)
    assert [child.exitcode for child in children] == [0] * landers
    assert heights(lake) == {TABLE: messages / 3, LATE: messages / 3, REJECTED: messages / 3}
    assert max(places(lake).values()) == 1
    assert states(lake, [TABLE])[TABLE]["2024-01-05"].rows == messages / 3


@pytest.mark.parametrize("overtaken", [1, 3, 5])
def test_a_lander_that_is_overtaken_before_a_commit_lands_only_what_is_left(
    lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, overtaken: int
) -> None:
    messages = mixed_files(tmp_path)
    idle = [lambda: None] * (overtaken - 1)
    monkeypatch.setattr(Lake, "append", before_each(Lake.append, [*idle, lambda: landed(lake, tmp_path)]))
    landed(lake, tmp_path)
    assert places(lake).total() == len(places(lake)) == messages


def test_a_lander_with_an_old_handle_cannot_commit(lake: Lake, tmp_path: Path) -> None:
    drop(tmp_path, "a.jsonl", message(1))
    landed(lake, tmp_path)
    old = lake.open(TABLE)
    drop(tmp_path, "b.jsonl", message(2))
    landed(lake, tmp_path)
    frame = rows(lake, TABLE)
    with pytest.raises(ConcurrentWrite):
        lake.append(TABLE, frame, {}, dict.fromkeys(frame["source"], 1), old, dated=True)
    assert rows(lake, TABLE).height == 2


# A source whose partitions go on, as a broker's do


@dataclass
class Log:
    """A topic partition `log/0`: its messages by offset, those before `kept` gone, offered in ranges of `width`."""

    messages: Sequence[Message]
    kept: int = 0
    width: int = 1000

    name = "a log"

    def offered(self, topic: Topic, landed: NextOffset) -> list[Span]:
        return [Span("log/0", max(landed("log/0") or 0, self.kept), len(self.messages), "a log")]

    def batches(self, topic: Topic, landed: NextOffset, rows: int) -> Iterator[list[Arrived]]:
        (offered,) = self.offered(topic, landed)
        for start in range(offered.start, offered.end, self.width):
            span = Span("log/0", start, min(start + self.width, offered.end), "a log")
            yield [Arrived(span, partial(self.decoded, span))]

    def decoded(self, span: Span) -> Messages:
        texts = [{k: str(v) for k, v in m.items()} for m in self.messages[span.start : span.end]]
        offsets = pl.Series("offset", range(span.start, span.end), pl.Int64)
        return Messages(pl.DataFrame(texts).with_columns(offsets), pl.DataFrame(schema=BROKEN))


def test_a_partition_goes_on_where_it_has_landed(lake: Lake) -> None:
    messages = [message(n) for n in range(9)]
    counts = [land(lake, TOPIC, Log(messages[:end]), MADE).messages for end in (4, 4, 9)]
    assert counts == [4, 0, 5]
    assert rows(lake, TABLE)["offset"].to_list() == list(range(9))
    assert [next(iter(c.manifest["offsets"].values())) for c in lake.commits(TABLE)] == [[0, 4], [4, 9]]


def test_a_range_that_overlaps_what_has_landed_adds_only_the_rest(lake: Lake) -> None:
    messages = [message(n) for n in range(9)]
    land(lake, TOPIC, Log(messages[:5]), MADE)

    class FromTheStart(Log):
        def offered(self, topic: Topic, landed: NextOffset) -> list[Span]:
            return [Span("log/0", 0, 9, "a log")]

    land(lake, TOPIC, FromTheStart(messages), MADE)
    assert rows(lake, TABLE)["offset"].to_list() == list(range(9))


def test_several_ranges_of_a_partition_are_landed_one_after_the_other(lake: Lake) -> None:
    result = land(lake, TOPIC, Log([message(n) for n in range(10)], width=3), MADE)
    assert (result.messages, result.commits) == (10, 4)
    assert rows(lake, TABLE)["offset"].to_list() == list(range(10))


def test_a_new_partition_may_start_anywhere(lake: Lake) -> None:
    land(lake, TOPIC, Log([message(n) for n in range(9)], kept=5), MADE)
    assert rows(lake, TABLE)["offset"].to_list() == [5, 6, 7, 8]


def test_messages_that_are_gone_are_an_error_with_their_number(lake: Lake) -> None:
    messages = [message(n, amount=-1 if n == 8 else 1) for n in range(9)]
    land(lake, TOPIC, Log(messages[:4]), MADE)
    with pytest.raises(ArrivalError, match="landed up to offset 4 and now starts at 7: 3 messages are gone"):
        land(lake, TOPIC, Log(messages, kept=7), MADE)
    assert (rows(lake, TABLE).height, lake.open(REJECTED)) == (4, None)


def test_messages_restored_after_a_gap_are_all_landed(lake: Lake) -> None:
    messages = [message(n, amount=-1 if n % 2 else 1) for n in range(9)]
    land(lake, TOPIC, Log(messages[:4]), MADE)
    with pytest.raises(ArrivalError):
        land(lake, TOPIC, Log(messages, kept=7), MADE)
    land(lake, TOPIC, Log(messages), MADE)
    assert sorted(offset for _, offset, _ in places(lake).elements()) == list(range(9))


def test_a_rejected_message_now_and_then_is_no_gap(lake: Lake) -> None:
    messages = [message(n, amount=-1 if n in {1, 7} else 1) for n in range(9)]
    for end in (3, 6, 9):
        land(lake, TOPIC, Log(messages[:end]), MADE)
    assert rows(lake, REJECTED)["offset"].to_list() == [1, 7]
    assert rows(lake, TABLE).height == 7
