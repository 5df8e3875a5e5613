"""Partitions of a lake that has been lived in, made again."""

from datetime import timedelta

import click
import polars as pl
import pytest
from click.testing import CliRunner

from convergence import cli
from convergence.cli.reproduce import reproduced
from convergence.errors import LakeError
from convergence.lake.maintenance import compact, vacuum
from convergence.lake.manifests import Provenance, build_manifest, manifest, states
from convergence.lake.tables import by_day
from convergence.versions.reproduce import pins
from convergence_assets.fraud import datasets
from tests.convergence.cli.conftest import DERIVED, House, day
from tests.convergence_assets.fraud.worlds import messages

RAW, TRANSACTIONS, LABELS, FEATURES = DERIVED


def late_event(house: House, number: int) -> None:
    """One more transaction on that day: what was made from the day is out of date."""
    row = messages().filter(pl.col("TX_DATETIME").dt.date().cast(pl.String) == day(number)).head(1)
    house.drop(f"more-{number}.jsonl", row.with_columns(pl.col("TRANSACTION_ID") + 3 * 10**8), hours=1)


@pytest.mark.parametrize("table", [TRANSACTIONS, FEATURES])
def test_every_partition_comes_out_equal(house: House, table: str, capsys: pytest.CaptureFixture[str]) -> None:
    before = house.files()
    assert all(reproduced(f"{table}@{day(number)}") for number in (0, 2, 5))
    assert capsys.readouterr().out.count("\nequal: ") == 3
    assert house.files() == before  # nothing that counts was touched


def test_a_partition_whose_inputs_have_changed_since_is_made_from_what_they_were(house: House) -> None:
    stale = manifest(house.lake, FEATURES, day(2))
    late_event(house, 1)
    house.land()
    house.materialize(TRANSACTIONS, day(1))
    read = stale["inputs"][TRANSACTIONS]["partitions"]
    assert states(house.lake, [TRANSACTIONS])[TRANSACTIONS][day(1)].content_hash != read[day(1)]

    assert reproduced(f"{FEATURES}@{day(2)}")


def test_merging_and_vacuuming_with_the_pinned_versions_leave_every_partition_reproducible(house: House) -> None:
    late_event(house, 1)
    house.land()
    house.materialize(TRANSACTIONS, day(1))
    pinned = pins(house.lake, DERIVED)
    assert pinned.keys() == {RAW, TRANSACTIONS}  # of which labels and features have read what is replaced now
    for table in DERIVED:
        compact(house.lake, table)
        vacuum(house.lake, table, pinned.get(table, ()), timedelta(0))

    assert reproduced(f"{FEATURES}@{day(2)}")
    assert reproduced(f"{LABELS}@{day(1)}")
    assert reproduced(f"{TRANSACTIONS}@{day(1)}")


def test_without_the_files_of_a_version_it_says_that_they_are_gone(house: House) -> None:
    late_event(house, 1)
    house.land()
    house.materialize(TRANSACTIONS, day(1))
    vacuum(house.lake, TRANSACTIONS, (), timedelta(0))

    with pytest.raises(LakeError, match=r"fraud/transactions cannot be read as of version \d+ any more"):
        reproduced(f"{FEATURES}@{day(2)}")


def test_another_result_is_told_by_its_column_and_fails_the_command(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = datasets.without_repeats
    monkeypatch.setattr(datasets, "without_repeats", lambda raw: rows(raw).with_columns(pl.col("amount") * 2))

    result = CliRunner().invoke(cli.cli, ["reproduce", f"transactions@{day(1)}"])

    assert result.exit_code == 1
    assert "different: column amount in" in result.output


def test_a_table_that_somebody_wrote_over_is_told_from_what_was_read(house: House) -> None:
    """Rows exchanged under a manifest that claims to hold the old ones."""
    there = house.lake.scan(TRANSACTIONS, [day(3)]).collect()
    forged = by_day(there.with_columns(pl.col("amount") + 1))
    claim = build_manifest(by_day(there), "replace", Provenance("forger", "1"))
    house.lake.replace(TRANSACTIONS, forged, claim, house.lake.open(TRANSACTIONS))

    assert not reproduced(f"{FEATURES}@{day(3)}")


def test_the_code_and_the_libraries_are_named_where_they_are_others(
    house: House, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("convergence.versions.revision.code_revision", lambda: "another")
    monkeypatch.setattr("convergence.versions.revision.lock_hash", lambda: "others")
    reproduced(f"{TRANSACTIONS}@{day(1)}")
    said = capsys.readouterr().out
    assert "is now another" in said
    assert "lock file: was" in said
    assert "is now others" in said


def test_what_was_landed_is_no_product_of_tables(house: House) -> None:
    with pytest.raises(LakeError, match="landed from a stream"):
        reproduced(f"{RAW}@{day(1)}")


@pytest.mark.parametrize("what", ["nothing@2018-04-01", "transactions@yesterday", "transactions"])
def test_an_unknown_name_lists_what_there_is(house: House, what: str) -> None:
    with pytest.raises(click.BadParameter, match="expected one"):
        reproduced(what)
