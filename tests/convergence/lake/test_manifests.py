import json
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from convergence.errors import TableMissing
from convergence.lake import manifests
from convergence.lake.content_hash import content_hash
from convergence.lake.manifests import (
    MANIFESTS,
    InputRead,
    Provenance,
    build_manifest,
    inputs_digest,
    manifest,
    record,
    states,
)
from convergence.lake.tables import DAY, WHOLE, Lake
from tests.convergence.lake.frames import FIRST, PROVENANCE, TABLE, append, day, held, recorded, rows, state, write

CUSTOMERS = "fraud/customers"


def test_a_replaced_day_has_the_state_of_its_new_rows(any_lake: Lake):
    write(any_lake, rows(0, 1, 2), rows(1, 3))

    write(any_lake, rows(0, 4))

    assert held(any_lake) == {TABLE: {day(0): state(2, rows(0, 4)), day(1): state(1, rows(1, 3))}}


def test_appended_rows_add_to_the_state_of_their_days(any_lake: Lake):
    append(any_lake, pl.concat([rows(0, 1), rows(1, 2)]), offset=1)

    append(any_lake, rows(0, 3), offset=2)

    assert held(any_lake) == {TABLE: {day(0): state(2, rows(0, 1), rows(0, 3)), day(1): state(1, rows(1, 2))}}


def test_a_replacement_forgets_what_was_appended_before_and_adds_what_comes_after(any_lake: Lake):
    append(any_lake, rows(0, 1), offset=1)
    write(any_lake, rows(0, 2))
    append(any_lake, rows(0, 3), offset=2)

    assert held(any_lake) == {TABLE: {day(0): state(3, rows(0, 2), rows(0, 3))}}


@settings(max_examples=8, deadline=None)
@given(
    st.lists(
        st.tuples(st.booleans(), st.integers(0, 1), st.lists(st.integers(0, 9), max_size=3)), min_size=1, max_size=5
    )
)
def test_the_state_is_always_the_hash_of_the_rows_read_back(
    tmp_path_factory: pytest.TempPathFactory, writes: list[tuple[bool, int, list[int]]]
):
    lake = Lake(str(tmp_path_factory.mktemp("lake")))
    for number, (replaces, on, numbers) in enumerate(writes):
        frame = rows(on, *numbers)
        if replaces:
            lake.replace(
                TABLE, {day(on): frame}, build_manifest({day(on): frame}, "replace", PROVENANCE), lake.open(TABLE)
            )
        else:
            append(lake, frame, offset=number + 1)

    for key, (_, count, digest) in held(lake)[TABLE].items():
        frame = lake.scan(TABLE, [key]).collect()
        assert (count, digest) == (frame.height, content_hash(frame))


def test_the_state_as_of_a_version_ignores_later_commits(any_lake: Lake):
    write(any_lake, rows(0, 1))
    append(any_lake, rows(0, 2), offset=1)
    write(any_lake, rows(0, 3), rows(1, 4))

    at = {v: states(any_lake, [TABLE], {TABLE: v})[TABLE] for v in (0, 1, 2, 3)}

    assert at[0] == {}
    assert at[1][day(0)].content_hash == content_hash(rows(0, 1))
    assert at[2][day(0)].content_hash == content_hash(rows(0, 1, 2))
    assert set(at[3]) == {day(0), day(1)}


def test_the_state_of_a_table_never_written_is_empty(any_lake: Lake):
    assert states(any_lake, [TABLE, CUSTOMERS]) == {TABLE: {}, CUSTOMERS: {}}


def test_a_table_without_dates_has_one_state(lake: Lake):
    frame = pl.DataFrame({"value": [1]})

    append(lake, frame, offset=1, table=CUSTOMERS)

    assert held(lake, CUSTOMERS) == {CUSTOMERS: {WHOLE: state(1, frame)}}


def test_the_inputs_of_a_day_change_with_the_content_of_the_days_it_reads_and_no_other():
    def digest(held: dict[str, str], reads: list[str]) -> str:
        made = Provenance("run", "1", inputs={"up": InputRead(3, held)}, reads={day(0): {"up": reads}})
        return build_manifest({day(0): rows(0, 1)}, "replace", made)["partitions"][day(0)]["inputs"]

    before = digest({"a": "1", "b": "2"}, ["a"])

    assert digest({"a": "1", "b": "changed"}, ["a"]) == before
    assert digest({"a": "1"}, ["a", "absent"]) == before
    assert digest({"a": "changed", "b": "2"}, ["a"]) != before
    assert digest({"a": "1", "b": "2"}, ["a", "b"]) != before


def test_the_digest_of_inputs_does_not_depend_on_the_order_of_tables():
    assert inputs_digest({"a": {"k": "1"}, "b": {}}) == inputs_digest({"b": {}, "a": {"k": "1"}})
    assert inputs_digest({"a": {"k": "1"}}) != inputs_digest({"b": {"k": "1"}})


def test_a_commit_that_was_never_recorded_is_recorded_by_whoever_looks_next(any_lake: Lake):
    write(any_lake, rows(0, 1))
    partitions = {day(0): rows(0, 2)}
    any_lake.replace(TABLE, partitions, build_manifest(partitions, "replace", PROVENANCE), any_lake.open(TABLE))

    assert held(any_lake) == {TABLE: {day(0): state(2, rows(0, 2))}}
    assert [row[1] for row in recorded(any_lake)] == [1, 2]


def test_recording_again_adds_nothing(any_lake: Lake):
    write(any_lake, rows(0, 1), rows(1, 2))
    before = recorded(any_lake)

    record(any_lake, (table for table in [TABLE]))

    assert recorded(any_lake) == before


def test_a_recorder_that_was_overtaken_looks_again_and_repeats_nothing(lake: Lake, monkeypatch: pytest.MonkeyPatch):
    append(lake, rows(0, 1), offset=1)
    collect = manifests.collect

    def overtaken(*arguments: Any) -> Any:
        found = collect(*arguments)
        monkeypatch.setattr(manifests, "collect", collect)
        record(lake, [TABLE])
        append(lake, rows(0, 2), offset=2)
        return found

    monkeypatch.setattr(manifests, "collect", overtaken)

    record(lake, (table for table in [TABLE]))

    assert [row[1] for row in recorded(lake)] == [1, 2]


def test_a_manifest_names_its_run_code_configuration_origin_and_inputs(any_lake: Lake):
    upstream = {day(n): content_hash(rows(n, n)) for n in range(3)}
    made = Provenance(
        "run-7",
        "code-2",
        "abc123",
        {"window": 30},
        ["real"],
        {"fraud/raw": InputRead(5, upstream)},
        {day(0): {"fraud/raw": [day(0)]}, day(1): {"fraud/raw": [day(1), day(2)]}},
    )
    write(any_lake, rows(0, 1), rows(1, 2, 3), provenance=made)

    found = manifest(any_lake, TABLE, day(1))

    assert found.pop("committed_at")
    assert found == {
        "table": TABLE,
        "partition": day(1),
        "version": 1,
        "rows": 2,
        "content_hash": content_hash(rows(1, 2, 3)),
        "mode": "replace",
        "run_id": "run-7",
        "code_version": "code-2",
        "revision": "abc123",
        "config": {"window": 30},
        "origins": ["real"],
        "generation": 1,
        "lock": "unknown",
        "inputs": {
            "fraud/raw": {"version": 5, "generation": 1, "partitions": {k: upstream[k] for k in (day(1), day(2))}}
        },
    }


def test_a_manifest_of_nothing_is_missing(lake: Lake):
    with pytest.raises(TableMissing, match=f"{TABLE} {day(0)} has never been written"):
        manifest(lake, TABLE, day(0))
    with pytest.raises(TableMissing, match=r"\(whole table\) has never been written"):
        manifest(lake, CUSTOMERS, WHOLE)


def test_a_manifest_is_small_and_its_commit_is_the_only_place_it_is_whole(lake: Lake):
    write(lake, *(rows(n, n) for n in range(5)))

    stored = lake.scan(MANIFESTS).collect()["manifest"]

    assert stored.null_count() == 4
    assert json.loads(stored.drop_nulls()[0])["run_id"] == "run"
    assert DAY not in stored.drop_nulls()[0]
    assert FIRST.isoformat() in stored.drop_nulls()[0]
