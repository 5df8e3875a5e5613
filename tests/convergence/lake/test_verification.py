"""What is stored is what was written, or it is told by file and version; what is damaged comes back as it was."""

import random
from datetime import timedelta
from pathlib import Path

import obstore
import polars as pl
import pytest

from convergence.errors import LakeError
from convergence.lake import acknowledged
from convergence.lake.content_hash import content_hash
from convergence.lake.data_files import data_files
from convergence.lake.maintenance import compact, vacuum
from convergence.lake.manifests import MANIFESTS, build_manifest, manifest, record, states
from convergence.lake.repair import go_back, put_back, remake_manifests, restore_from_former
from convergence.lake.tables import DAY, Lake, by_day
from convergence.lake.verification import refuse_damaged, verify
from tests.convergence.lake.frames import PROVENANCE, TABLE, append, day, every_type, rows, values, write

CUSTOMERS = "fraud/customers"
APPENDED = "fraud/raw_transactions"


def flip(file: Path, position: int, bit: int = 0) -> None:
    content = bytearray(file.read_bytes())
    content[position] ^= 1 << bit
    file.write_bytes(content)


def files(lake: Lake, table: str = TABLE) -> list[Path]:
    handle = lake.open(table)
    assert handle
    return sorted(map(Path, handle.file_uris()))


@pytest.fixture
def lived_in(lake: Lake) -> Lake:
    """A table of each kind: replaced by days, whole, appended to, merged; and the manifests of all."""
    write(lake, every_type(), table="fraud/types")
    write(lake, rows(0, 1, 2), rows(1, 3))
    whole = rows(0, 5, 6).drop(DAY)
    lake.replace(CUSTOMERS, {"": whole}, build_manifest({"": whole}, "replace", PROVENANCE), None)
    for number in range(3):
        append(lake, rows(0, number, number), offset=number + 1, table=APPENDED)
        append(lake, rows(0, number, number), offset=number + 1, table="fraud/merged")
    compact(lake, "fraud/merged")
    record(lake, [CUSTOMERS, APPENDED, "fraud/merged"])
    return lake


ALL = [TABLE, CUSTOMERS, APPENDED, "fraud/merged", "fraud/types", MANIFESTS]


def test_a_lake_as_it_was_written_has_nothing_damaged(lived_in: Lake):
    for table in ALL:
        assert verify(lived_in, table).damages == []
    assert verify(lived_in, APPENDED).rows == 6


@pytest.mark.parametrize("table", ALL)
def test_a_flipped_bit_of_a_data_file_is_found_wherever_it_is(lived_in: Lake, table: str):
    drawn = random.Random(table)
    for file in files(lived_in, table):
        content = file.read_bytes()
        for _ in range(6):
            flip(file, drawn.randrange(len(content)), drawn.randrange(8))
            found = verify(lived_in, table).damages
            assert any(file.name in damage.what for damage in found)
            handle = lived_in.open(table)
            assert handle
            with pytest.raises(
                LakeError, match=rf"{file.name} does not hold the bytes that were written; `convergence"
            ):
                refuse_damaged(lived_in, table, handle, None)
            file.write_bytes(content)


@pytest.mark.parametrize("table", ALL)
def test_a_flipped_bit_of_a_log_entry_is_found(lived_in: Lake, table: str):
    drawn = random.Random(table)
    entries = sorted((Path(lived_in.uri(table)) / "_delta_log").glob("*.json"))
    for entry in entries:
        content = entry.read_bytes()
        flip(entry, drawn.randrange(len(content)), drawn.randrange(8))
        told = list(acknowledged.changed(entry.parent.parent))
        assert told == [(int(entry.stem), f"log entry {entry.name} is not as it was acknowledged")]
        entry.write_bytes(content)


def test_damage_is_told_by_partition_version_and_file(lived_in: Lake):
    write(lived_in, rows(0, 9))
    (file,) = [f for f in files(lived_in) if day(1) in str(f)]
    flip(file, 100)
    (damage,) = verify(lived_in, TABLE, [day(1)]).damages
    name = f"{DAY}={day(1)}/{file.name}"
    assert str(damage) == f"{TABLE}@{day(1)} version 1: file {name} does not hold the bytes that were written"
    assert verify(lived_in, TABLE, [day(0)]).damages == []


def test_a_missing_and_a_shortened_file_are_told(lived_in: Lake):
    first, second = files(lived_in)
    first.unlink()
    second.write_bytes(second.read_bytes()[:-1])
    missing, short = verify(lived_in, TABLE).damages
    assert missing.what.endswith("is missing")
    assert "bytes, its log entry says" in short.what


def test_in_a_bucket_too_what_is_missing_and_what_is_on_record_alone_is_told(any_lake: Lake):
    write(any_lake, rows(0, 1), rows(1, 2))
    assert (verify(any_lake, TABLE).damages, verify(any_lake, MANIFESTS).damages) == ([], [])
    handle = any_lake.open(TABLE)
    assert handle
    gone, _ = data_files(handle)
    obstore.delete(any_lake.store, f"{TABLE}/{gone.path}")
    (damage,) = verify(any_lake, TABLE).damages
    assert (damage.partition, damage.what) == (gone.partition, f"file {gone.path} is missing")


def test_rows_exchanged_under_a_manifest_that_tells_of_others_are_found(lake: Lake):
    partitions = by_day(rows(0, 1))
    lake.replace(TABLE, by_day(rows(0, 2)), build_manifest(partitions, "replace", PROVENANCE), None)
    (damage,) = verify(lake, TABLE).damages
    assert "its rows are not those of its manifest" in damage.what


def test_manifests_that_say_what_no_log_says_are_found_and_collected_anew(lived_in: Lake):
    base = lived_in.open(MANIFESTS)
    forged = lived_in.scan(MANIFESTS).collect().with_columns(rows=pl.col("rows") + 1)
    lived_in.replace(MANIFESTS, {"": forged}, {}, base)
    assert {damage.partition for damage in verify(lived_in, MANIFESTS).damages} == {""}

    remake_manifests(lived_in)

    assert all(verify(lived_in, table).damages == [] for table in ALL)


def test_a_commit_that_is_on_record_and_nowhere_else_is_missed(lake: Lake):
    write(lake, rows(0, 1))
    write(lake, rows(0, 2))
    acknowledged.entry_of(Path(lake.uri(TABLE)), 2).unlink()
    (Path(lake.uri(TABLE)) / acknowledged.FILE).unlink()  # as in a bucket, where there is none
    assert any("version 2 is on record" in damage.what for damage in verify(lake, TABLE).damages)


@pytest.mark.parametrize("table", [APPENDED, "fraud/merged"])
def test_a_damaged_partition_comes_back_from_the_files_of_before_they_were_merged(lived_in: Lake, table: str):
    before, rows_before = states(lived_in, [table])[table][day(0)], values(lived_in, table=table)
    compact(lived_in, table)
    flip(files(lived_in, table)[0], 100)

    version = restore_from_former(lived_in, table, day(0))

    assert values(lived_in, table=table) == rows_before
    assert verify(lived_in, table).damages == []
    after = states(lived_in, [table])[table][day(0)]
    assert (after.rows, after.content_hash, after.inputs) == (before.rows, before.content_hash, before.inputs)
    told = manifest(lived_in, table, day(0))["repaired"]
    assert (told["from"], told["version"], told["mode"]) == (f"version {version}", before.version, "append")
    append(lived_in, rows(0, 7), offset=9, table=table)
    assert values(lived_in, table=table) == sorted([*rows_before, 7])


def test_what_was_noted_of_a_merged_file_goes_with_it(lived_in: Lake):
    notes = Path(lived_in.uri("fraud/merged"), "_checksums")
    append(lived_in, rows(0, 9), offset=9, table="fraud/merged")
    compact(lived_in, "fraud/merged")
    assert len(list(notes.rglob("*.crc32"))) == 2
    vacuum(lived_in, "fraud/merged", retention=timedelta(0))
    assert [note.name for note in notes.rglob("*.crc32")] == [f"{files(lived_in, 'fraud/merged')[0].name}.crc32"]


def test_without_an_unharmed_version_nothing_is_put_back(lived_in: Lake):
    vacuum(lived_in, TABLE)
    flip(files(lived_in)[0], 100)
    before = lived_in.open(TABLE)
    assert restore_from_former(lived_in, TABLE, day(0)) is None
    assert before
    assert verify(lived_in, TABLE).damages
    with pytest.raises(LakeError, match="other rows than are on record"):
        put_back(lived_in, TABLE, day(0), rows(0, 99), "its inputs")


def test_rows_that_were_erased_do_not_come_back(lake: Lake):
    """The version before an erasure still lies there, unharmed; what is on record is what the erasure left."""
    write(lake, rows(0, 1, 2))
    left = rows(0, 2)
    erased = {**build_manifest(by_day(left), "replace", PROVENANCE), "erasure": 1, "erased": {day(0): 1}}
    lake.replace(TABLE, by_day(left), erased, lake.open(TABLE), {"erasure": 1})
    record(lake, [TABLE])
    flip(files(lake)[0], 100)

    assert restore_from_former(lake, TABLE, day(0)) is None
    with pytest.raises(LakeError, match="other rows than are on record"):
        put_back(lake, TABLE, day(0), rows(0, 1, 2), "version 1")


def test_a_lost_erasure_is_told(lake: Lake):
    write(lake, rows(0, 1, 2))
    left = rows(0, 2)
    erased = {**build_manifest(by_day(left), "replace", PROVENANCE), "erasure": 1, "erased": {day(0): 1}}
    lake.replace(TABLE, by_day(left), erased, lake.open(TABLE), {"erasure": 1})
    record(lake, [TABLE])
    acknowledged.entry_of(Path(lake.uri(TABLE)), 2).unlink()
    assert go_back(lake, TABLE) == (1, [day(0)], True)


def test_every_stored_type_gives_the_hash_that_it_was_written_with(lived_in: Lake):
    stored = lived_in.scan("fraud/types").collect()
    assert content_hash(stored) == content_hash(every_type())
