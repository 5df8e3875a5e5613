import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import obstore
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from convergence.errors import InvalidName, LakeError
from convergence.lake import generations
from convergence.lake.generations import complete, current, location, reserve, switch
from convergence.lake.maintenance import compact, rebuild_manifests, vacuum
from convergence.lake.manifests import InputRead, Provenance, manifest, states
from convergence.lake.tables import Lake
from tests.convergence.lake.frames import append, contents, day, held, recorded, rows, state, values, write

RAW, TABLE, MODEL, OTHER = "fraud/raw", "fraud/transactions", "fraud/model", "churn/features"


def made(lake: Lake, *tables: str) -> tuple[int, Lake]:
    """The next generation of these tables, complete, and the lake that sees it."""
    use_case = tables[0].partition("/")[0]
    generation = reserve(lake.store, use_case)
    complete(lake.store, use_case, generation, tables)
    return generation, lake.at(dict.fromkeys(tables, generation))


def again(lake: Lake) -> Lake:
    """The lake as a process that starts now sees it."""
    return Lake(lake.root, lake.storage_options)


@pytest.mark.parametrize(
    ("table", "generation", "folder"),
    [
        ("fraud/transactions", 1, "fraud/transactions"),
        ("fraud/transactions", 2, "fraud@2/transactions"),
        ("fraud/a/b", 10, "fraud@10/a/b"),
        ("readings", 3, "readings@3"),
    ],
)
def test_a_first_generation_has_the_plain_name_and_later_ones_their_number(table: str, generation: int, folder: str):
    assert location(table, generation) == folder


@pytest.mark.parametrize("table", ["fraud@2/transactions", "fraud@/x", "@2/x", "fraud/x@2"])
def test_no_table_name_leads_into_a_generation(lake: Lake, table: str):
    with pytest.raises(InvalidName):
        lake.open(table)
    with pytest.raises(InvalidName):
        reserve(lake.store, table)


def test_the_generations_of_a_table_hold_rows_of_their_own(any_lake: Lake):
    write(any_lake, rows(0, 1), table=TABLE)
    generation, beside = made(any_lake, TABLE)

    write(beside, rows(0, 2), table=TABLE)
    append(beside, rows(1, 3), offset=1, table=TABLE)

    assert generation == 2
    assert values(any_lake, table=TABLE) == [1]
    assert values(beside, table=TABLE) == [2, 3]
    assert beside.open(TABLE).transaction_version("source") == 1  # pyright: ignore[reportOptionalMemberAccess]
    assert any_lake.open(TABLE).transaction_version("source") is None  # pyright: ignore[reportOptionalMemberAccess]


def test_states_and_manifests_of_generations_do_not_mix(any_lake: Lake):
    write(any_lake, rows(0, 1), rows(1, 2), table=TABLE)
    _, beside = made(any_lake, TABLE)
    write(beside, rows(0, 1, 9), table=TABLE)
    append(beside, rows(0, 7), offset=1, table=TABLE)

    assert held(any_lake, TABLE) == {TABLE: {day(0): state(1, rows(0, 1)), day(1): state(1, rows(1, 2))}}
    assert held(beside, TABLE) == {TABLE: {day(0): state(2, rows(0, 1, 9), rows(0, 7))}}
    assert states(beside, [TABLE], {TABLE: 1})[TABLE][day(0)].rows == 2
    assert [manifest(lake, TABLE, day(0))["generation"] for lake in (any_lake, beside)] == [1, 2]


def test_the_manifests_of_one_generation_are_rebuilt_without_the_others(any_lake: Lake):
    write(any_lake, rows(0, 1), table=TABLE)
    _, beside = made(any_lake, TABLE)
    write(beside, rows(0, 2), table=TABLE)
    write(beside, rows(1, 3), table=TABLE)
    before = recorded(any_lake)

    rebuild_manifests(beside, [TABLE])
    assert recorded(any_lake) == before
    rebuild_manifests(any_lake, [TABLE])
    assert recorded(any_lake) == before

    write(beside, rows(2, 4), table=TABLE)
    assert len(recorded(any_lake)) == len(before) + 1


def test_a_switch_moves_all_tables_of_a_generation_and_no_other(any_lake: Lake):
    for table, value in ((RAW, 1), (TABLE, 2), (MODEL, 3), (OTHER, 4)):
        write(any_lake, rows(0, value), table=table)
    _, beside = made(any_lake, RAW, TABLE)
    write(beside, rows(0, 11), table=RAW)
    write(beside, rows(0, 12), table=TABLE)
    assert values(again(any_lake), table=RAW) == [1]

    assert switch(any_lake.store, "fraud", 2) == 1

    now = again(any_lake)
    assert [values(now, table=table) for table in (RAW, TABLE, MODEL, OTHER)] == [[11], [12], [3], [4]]
    assert switch(any_lake.store, "fraud", 1) == 2
    assert [values(again(any_lake), table=table) for table in (RAW, TABLE)] == [[1], [2]]


def test_the_way_back_leads_to_any_completed_generation(lake: Lake):
    for generation in (2, 3):
        assert made(lake, RAW)[0] == generation
        switch(lake.store, "fraud", generation)
    assert switch(lake.store, "fraud", 2) == 3
    assert current(lake.store) == {RAW: 2}


def test_a_table_that_a_generation_does_not_hold_counts_in_its_first(lake: Lake):
    made(lake, RAW, TABLE)
    made(lake, RAW)
    switch(lake.store, "fraud", 2)

    switch(lake.store, "fraud", 3)

    assert current(lake.store) == {RAW: 3}


def test_a_reader_sees_the_generations_of_its_first_look_until_it_asks_again(any_lake: Lake):
    for lake in (any_lake, made(any_lake, RAW, TABLE)[1]):
        for table in (RAW, TABLE):
            write(lake, rows(0, lake.generation(table)), table=table)
    reader = again(any_lake)
    assert values(reader, table=RAW) == [1]

    switch(any_lake.store, "fraud", 2)

    assert values(reader, table=TABLE) == [1]
    newest = reader.newest()
    assert [values(newest, table=table) for table in (RAW, TABLE)] == [[2], [2]]
    assert newest.newest() is newest


def test_no_reader_ever_sees_tables_of_different_generations(lake: Lake):
    tables = [RAW, TABLE, "fraud/labels"]
    for each in (lake, made(lake, *tables)[1]):
        for table in tables:
            write(each, rows(0, each.generation(table)), table=table)
    done = threading.Event()

    def switch_to_and_fro() -> None:
        while not done.is_set():
            for generation in (2, 1):
                switch(lake.store, "fraud", generation)
                time.sleep(0.002)

    seen = set()
    with ThreadPoolExecutor(1) as pool:
        switching = pool.submit(switch_to_and_fro)
        for _ in range(60):
            reader = again(lake)
            seen.add(tuple(reader.scan(table).collect()["value"][0] for table in tables))
        done.set()
        switching.result()

    assert seen == {(1, 1, 1), (2, 2, 2)}


@pytest.mark.parametrize("generation", [2, 7])
def test_a_generation_that_was_never_completed_cannot_count(any_lake: Lake, generation: int):
    assert reserve(any_lake.store, "fraud") == 2

    with pytest.raises(LakeError, match=rf"fraud@{generation} was never completed.*nothing was switched"):
        switch(any_lake.store, "fraud", generation)

    assert current(any_lake.store) == {}


def test_a_generation_is_completed_once(lake: Lake):
    made(lake, RAW)
    with pytest.raises(LakeError, match="generation 2 of fraud is complete already"):
        complete(lake.store, "fraud", 2, [RAW, TABLE])


def test_the_number_of_a_failed_attempt_is_not_used_again(any_lake: Lake):
    assert [reserve(any_lake.store, use_case) for use_case in ("fraud", "fraud", "churn", "fraud")] == [2, 3, 2, 4]
    assert reserve(any_lake.store, "fraud", used=[11]) == 12


def test_everybody_who_reserves_at_once_gets_a_number_of_his_own(any_lake: Lake):
    with ThreadPoolExecutor(4) as pool:
        numbers = list(pool.map(lambda _: reserve(any_lake.store, "fraud"), range(12)))
    assert sorted(numbers) == list(range(2, 14))


def test_use_cases_that_switch_at_once_lose_nothing(any_lake: Lake):
    use_cases = [f"case_{letter}" for letter in "abcdefgh"]
    for use_case in use_cases:
        made(any_lake, f"{use_case}/raw")
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda use_case: switch(any_lake.store, use_case, 2), use_cases))
    assert current(any_lake.store) == {f"{use_case}/raw": 2 for use_case in use_cases}


def test_every_switch_stays_on_record(lake: Lake):
    made(lake, RAW)
    switch(lake.store, "fraud", 2)
    switch(lake.store, "fraud", 1)
    entries = [json.loads(file.read_text()) for file in sorted((Path(lake.root) / "_generations").iterdir())]
    assert [(e["use_case"], e["generation"], e["before"], e["tables"]) for e in entries] == [
        ("fraud", 2, 1, {RAW: 2}),
        ("fraud", 1, 2, {}),
    ]


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"{}"], ids=["empty", "torn", "list", "no_tables"])
def test_a_pointer_that_cannot_be_read_is_an_error_and_not_the_first_generation(lake: Lake, content: bytes):
    write(lake, rows(0, 1), table=RAW)
    obstore.put(lake.store, "_generations/0000000001.json", content)
    with pytest.raises(LakeError, match="which says where the tables lie, cannot be read"):
        again(lake).open(RAW)


def test_a_pointer_in_the_making_does_not_count(lake: Lake):
    made(lake, RAW)
    switch(lake.store, "fraud", 2)
    (Path(lake.root) / "_generations" / "0000000002.json#1").write_bytes(b"{")  # of a writer that died
    assert current(lake.store) == {RAW: 2}


def test_upkeep_of_one_generation_leaves_the_files_of_the_others(any_lake: Lake):
    _, beside = made(any_lake, TABLE)
    for lake in (any_lake, beside):
        for number in range(3):
            append(lake, rows(0, number), offset=number + 1, table=TABLE)

    assert compact(beside, TABLE) == 2
    assert len(vacuum(beside, TABLE, retention=timedelta(0))) == 3
    assert vacuum(any_lake, TABLE, retention=timedelta(0)) == []

    assert values(any_lake, table=TABLE) == values(beside, table=TABLE) == [0, 1, 2]
    assert compact(any_lake, TABLE) == 2


def test_upkeep_tells_tables_beside_one_another_from_tables_inside(lake: Lake):
    write(lake, rows(0, 1), table="fraud")
    _, beside = made(lake, "fraud", "fraud/inner")
    write(beside, rows(0, 2), table="fraud")
    write(beside, rows(0, 3), table="fraud/inner")

    assert vacuum(lake, "fraud", retention=timedelta(0)) == []
    with pytest.raises(LakeError, match=r"fraud holds another table \(inner\)"):
        vacuum(beside, "fraud", retention=timedelta(0))


def test_an_old_manifest_leads_to_the_rows_that_it_was_made_from(any_lake: Lake):
    for number in range(3):
        write(any_lake, rows(0, number), table=TABLE)
    read = InputRead(2, {day(0): "hash"})
    write(any_lake, rows(0, 5), table=MODEL, provenance=Provenance("run", "1", inputs={TABLE: read}, reads=READS))
    _, beside = made(any_lake, TABLE)
    for number in (10, 11):
        write(beside, rows(0, number), table=TABLE)
    switch(any_lake.store, "fraud", 2)
    now = again(any_lake)
    read = InputRead(1, {day(0): "hash"}, now.generation(TABLE))
    write(now, rows(1, 6), table=MODEL, provenance=Provenance("run", "1", inputs={TABLE: read}, reads=READS))

    for key, expected in ((day(0), [1]), (day(1), [10])):
        used = manifest(now, MODEL, key)["inputs"][TABLE]
        assert now.at({TABLE: used["generation"]}).scan(TABLE, version=used["version"]).collect()[
            "value"
        ].to_list() == (expected)


READS = {day(n): {TABLE: [day(0)]} for n in (0, 1)}


def test_a_first_generation_is_left_byte_for_byte_as_it_was(lake: Lake):
    write(lake, rows(0, 1), table=TABLE)
    folder = Path(lake.root) / "fraud"
    before = contents(folder)
    _, beside = made(lake, TABLE)
    write(beside, rows(0, 2), table=TABLE)
    switch(lake.store, "fraud", 2)
    write(again(lake), rows(1, 3), table=TABLE)
    assert contents(folder) == before


GENERATIONS = (1, 2, 3)
STEPS = st.lists(
    st.tuples(st.just("write"), st.sampled_from([RAW, TABLE]), st.sampled_from(GENERATIONS), st.integers(0, 99))
    | st.tuples(st.just("switch"), st.just("fraud"), st.sampled_from(GENERATIONS), st.just(0)),
    max_size=10,
)


@settings(max_examples=8, deadline=None)
@given(STEPS)
def test_a_lake_is_the_last_rows_of_the_generation_switched_to_last(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, str, int, int]]
):
    lake = Lake(str(tmp_path_factory.mktemp("lake")))
    for _ in GENERATIONS[1:]:
        made(lake, RAW, TABLE)
    counts, holds = 1, {}
    for what, name, generation, value in steps:
        if what == "switch":
            assert generations.switch(lake.store, name, generation) == counts
            counts = generation
        else:
            write(lake.at({name: generation}), rows(0, value), table=name)
            holds[name, generation] = value
    for table in (RAW, TABLE):
        now = again(lake)
        there = values(now, table=table) if now.open(table) else []
        assert there == ([holds[table, counts]] if (table, counts) in holds else [])
