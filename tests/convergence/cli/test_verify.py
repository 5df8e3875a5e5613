"""A lake that has been lived in, verified and repaired by command."""

from pathlib import Path

import dagster as dg
import polars as pl
import pytest
from click.testing import CliRunner, Result

from convergence import cli
from convergence.cli.reproduce import reproduced
from convergence.lake.acknowledged import entry_of
from convergence.lake.manifests import manifest
from convergence.lake.verification import verify
from tests.convergence.cli.conftest import DERIVED, House, day

RAW, TRANSACTIONS, LABELS, FEATURES = DERIVED


def command(*words: str) -> Result:
    return CliRunner().invoke(cli.cli, list(words))


def harm(house: House, table: str, partition: str) -> str:
    """Flip a bit in each file of a partition; the path of one."""
    handle = house.lake.open(table)
    assert handle
    files = [Path(uri) for uri in handle.file_uris([("event_date", "=", partition)])]
    for file in files:
        content = bytearray(file.read_bytes())
        content[len(content) // 2] ^= 4
        file.write_bytes(content)
    return f"{files[0].parent.name}/{files[0].name}"


def test_a_lake_that_is_as_it_was_written_passes(house: House) -> None:
    before = house.files()
    result = command("verify")
    assert result.exit_code == 0, result.output
    assert ": 0 damaged" in result.output
    assert house.files() == before


def test_a_flipped_bit_is_told_by_verify_and_reproduce_and_goes_no_further(house: House) -> None:
    file = harm(house, TRANSACTIONS, day(1))

    for words in (["verify"], ["verify", TRANSACTIONS], ["verify", f"{TRANSACTIONS}@{day(1)}"]):
        result = command(*words)
        assert result.exit_code == 1
        assert f"DAMAGED {TRANSACTIONS}@{day(1)} version" in result.output
        assert file in result.output
    assert command("verify", f"{TRANSACTIONS}@{day(2)}").exit_code == 0

    result = command("reproduce", f"{TRANSACTIONS}@{day(1)}")
    assert result.exit_code == 1
    assert "what is stored is not what its manifest says" in result.output
    with pytest.raises(dg.Failure, match="does not hold the bytes that were written"):  # a run that reads it
        house.materialize(FEATURES, day(1))


def test_a_made_partition_is_restored_from_what_it_was_made_from(house: House) -> None:
    before = house.lake.scan(TRANSACTIONS, [day(1)]).sort(pl.all()).collect()
    harm(house, TRANSACTIONS, day(1))

    result = command("repair", TRANSACTIONS)

    assert result.exit_code == 0, result.output
    assert f"{TRANSACTIONS}@{day(1)} restored from its inputs" in result.output
    assert house.lake.scan(TRANSACTIONS, [day(1)]).sort(pl.all()).collect().equals(before)
    assert manifest(house.lake, TRANSACTIONS, day(1))["repaired"]["from"] == "its inputs"
    assert reproduced(f"{TRANSACTIONS}@{day(1)}")
    assert reproduced(f"{FEATURES}@{day(1)}")


def test_a_landed_partition_whose_files_are_all_damaged_is_sent_to_a_replay(house: House) -> None:
    harm(house, RAW, day(1))
    result = command("repair", f"{RAW}@{day(1)}")
    assert result.exit_code == 1
    assert "`convergence replay --from-beginning` lands all of it again" in result.output


def test_a_lost_commit_is_repaired_and_lands_again(house: House) -> None:
    before, messages = house.hashes(), house.messages()
    handle = house.lake.open(RAW)
    assert handle
    entry_of(Path(house.lake.uri(RAW)), handle.version()).write_bytes(b"")
    refused = command("manifest", RAW, "--partition", day(1))
    assert "not as it was acknowledged" in str(refused.exception)

    result = command("repair", RAW)

    assert result.exit_code == 1
    assert "what was landed lands again by itself" in result.output
    assert verify(house.lake, RAW).damages == []
    house.land()
    assert house.messages() == messages
    assert house.hashes()[RAW] == before[RAW]
