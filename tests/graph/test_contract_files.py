"""The files in contracts/ are what the code says, and keep what they had promised: this is what fails in CI."""

from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from shutil import copytree
from typing import Any

import polars as pl
import pytest
from click.testing import CliRunner, Result

from convergence.cli import cli
from convergence.contracts.standard import dump, load
from convergence_assets.definitions import defs
from resources.contract_files import contract_of
from tests.graph.house import ROOT

Edit = Callable[[dict[str, Any]], None]


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["contract", *arguments], catch_exceptions=False)


def table(made: dict[str, Any], name: str) -> dict[str, Any]:
    (found,) = (t for t in made["schema"] if t["physicalName"] == name)
    return found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(copytree(ROOT / "contracts", tmp_path / "contracts"))


def edit(folder: Path, change: Edit) -> None:
    """Write the contract of fraud with a change: as if the code had been different when the file was written."""
    made = deepcopy(load(folder / "fraud.yaml"))
    change(made)
    (folder / "fraud.yaml").write_text(dump(made))


def test_every_lake_table_has_a_contract_that_can_be_found():
    tables = [spec for spec in defs.resolve_all_asset_specs() if "dagster/table_name" in spec.metadata]

    assert [spec.key.to_user_string() for spec in tables if contract_of(spec) is None] == []


def test_the_files_are_what_the_code_says_and_keep_what_they_had_promised():
    done = run("check")

    assert done.exit_code == 0, done.output


def test_a_column_that_the_code_no_longer_has_fails_and_names_assets_and_the_api(folder: Path):
    added = {"name": "channel", "logicalType": "string", "physicalType": "String", "required": True}
    edit(folder, lambda made: table(made, "fraud/raw_transactions")["properties"].append(added))

    done = run("check", "--folder", str(folder))

    assert done.exit_code == 1
    assert "BREAKING: fraud/raw_transactions.channel: removed" in done.output
    (said,) = (line for line in done.output.splitlines() if "fraud/raw_transactions.channel" in line)
    readers = said.partition("read by ")[2].split(", ")
    assert {"fraud/labels", "fraud/transactions", "the HTTP API of fraud"} <= set(readers)


def test_a_column_of_another_type_fails_and_names_who_reads_it(folder: Path):
    def retyped(made: dict[str, Any]) -> None:
        table(made, "fraud/fraud_scores")["properties"][3]["physicalType"] = "Int32"

    edit(folder, retyped)

    done = run("check", "--folder", str(folder))

    assert done.exit_code == 1
    assert "fraud/fraud_scores.score: type Int32 became Float64; read by fraud/" in done.output


def test_words_that_differ_from_the_code_fail_as_well(folder: Path):
    edit(folder, lambda made: made["team"].update(name="nobody"))

    assert "fraud.yaml is not what the code says" in run("check", "--folder", str(folder)).output


def test_a_file_of_no_use_case_fails(folder: Path):
    (folder / "ghost.yaml").write_text("")

    done = run("check", "--folder", str(folder))

    assert done.exit_code == 1
    assert "ghost.yaml is the contract of no use case" in done.output


def test_an_export_keeps_version_and_status_and_brings_back_the_rest(folder: Path):
    edit(folder, lambda made: made.update(version="3.1.4", status="draft", schema=made["schema"][1:]))

    done = run("export", "--folder", str(folder))

    made, ours = load(folder / "fraud.yaml"), load(ROOT / "contracts" / "fraud.yaml")
    assert (made["version"], made["status"]) == ("3.1.4", "draft")
    assert made["schema"] == ours["schema"]
    assert "table added" in done.output


def test_a_difference_to_an_older_file_is_classified(folder: Path):
    edit(folder, lambda made: table(made, "fraud/labels")["properties"].pop())
    assert run("diff", str(folder / "fraud.yaml")).exit_code == 0

    edit(folder, lambda made: table(made, "fraud/labels")["properties"][0].update(name="day"))
    done = run("diff", str(folder / "fraud.yaml"))

    assert done.exit_code == 1
    assert "BREAKING: fraud/labels.day: removed" in done.output


def test_a_file_of_rows_is_judged_by_the_contract_of_a_table(tmp_path: Path):
    good = pl.DataFrame({"seed": [1], "case": "x", **dict.fromkeys(("sent", "landed", "lost", "doubled", "torn"), 0)})
    good = good.with_columns(failure=pl.lit(""), seconds=pl.lit(1.0)).cast({pl.Int32: pl.Int64})
    files = tmp_path / "good.parquet", tmp_path / "bad.parquet"
    good.write_parquet(files[0])
    good.with_columns(lost=pl.lit(-1, pl.Int64)).write_parquet(files[1])

    done = run("test", "governance/chaos_report", *map(str, files))

    assert done.exit_code == 1
    assert "good.parquet: 1 rows, 0 rules broken" in done.output
    assert "lost: greater_than_or_equal_to(0) (1 rows)" in done.output
