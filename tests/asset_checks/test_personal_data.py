"""The check for undeclared personal data in runs: it names column and kind, per day, and quotes nothing."""

from datetime import date
from pathlib import Path
from typing import Any

import dagster as dg
import pandera.polars as pa
import polars as pl
import pytest

from asset_checks.personal_data import personal_data_check
from convergence.errors import ConvergenceError
from convergence.lake.tables import Lake
from resources.lake import lake_asset
from tests.resources.readings import DAILY, DAYS, materialize

FIRST, LAST = DAYS[0], DAYS[2]
CANARIES = {
    "e-mail": "erika.mustermann@example.org",
    "telephone": "+49 170 5550123",
    "IBAN": "DE89 3704 0044 0532 0130 00",
    "payment card": "4111 1111 1111 1111",
}


class Ticket(pa.DataFrameModel):
    event_date: date
    customer: str = pa.Field(metadata={"pii": "identifier", "subject": "customer"})
    account: str = pa.Field(metadata={"pii": "none"})
    note: str = pa.Field(nullable=True)


class Count(pa.DataFrameModel):
    event_date: date
    customer: str = pa.Field(metadata={"pii": "identifier"})
    tickets: int


def table(contract: Any, notes: dict[str, list[str | None]]) -> dg.AssetsDefinition:
    """Rows of each day with these notes; what is tagged holds personal data anyway."""

    @lake_asset(contract=contract, partitions_def=DAILY, key_prefix="shop", code_version="1")
    def tickets(context: dg.AssetExecutionContext) -> pl.DataFrame:
        rows = [
            (date.fromisoformat(day), CANARIES["e-mail"], "0171 5550123", note)
            for day in context.partition_keys
            for note in notes.get(day, [])
        ]
        schema = {"event_date": pl.Date, "customer": pl.String, "account": pl.String, "note": pl.String}
        return pl.DataFrame(rows, schema=schema, orient="row")

    return tickets


def verdicts(
    lake: Lake, instance: dg.DagsterInstance, notes: dict[str, list[str | None]], *days: str
) -> dict[str | None, dg.AssetCheckEvaluation]:
    """The evaluation of each day (None: of the run) that Dagster keeps after a run, which must succeed."""
    asset = table(Ticket, notes)
    assert materialize([asset], lake, instance, *days, extra=[personal_data_check(asset)]).success
    records = instance.event_log_storage.get_asset_check_execution_history(
        dg.AssetCheckKey(asset.key, "personal_data"), limit=100
    )
    events = [r.event.dagster_event for r in records if r.event and r.event.dagster_event]
    found = [event.asset_check_evaluation_data for event in events]
    return {evaluation.partition: evaluation for evaluation in found}


@pytest.mark.parametrize(
    ("kind", "severity"),
    [("e-mail", "ERROR"), ("IBAN", "ERROR"), ("payment card", "ERROR"), ("telephone", "WARN")],
    ids=["e-mail", "IBAN", "payment card", "telephone"],
)
def test_what_stands_in_an_untagged_column_fails_by_column_and_kind(
    lake: Lake, instance: dg.DagsterInstance, kind: str, severity: str
) -> None:
    notes: dict[str, list[str | None]] = {FIRST: [f"asked for {CANARIES[kind]} twice", "nothing", None]}
    (verdict,) = verdicts(lake, instance, notes, FIRST).values()
    assert not verdict.passed
    assert verdict.severity == dg.AssetCheckSeverity[severity]
    said, _, next_step = (verdict.description or "").partition("\n")
    assert said.startswith(f"note: {kind} in 1 rows, such as {CANARIES[kind][0]}…{CANARIES[kind][-1]}")
    assert "Declare the column" in next_step


def test_ordinary_text_passes_whatever_the_tagged_columns_hold(lake: Lake, instance: dg.DagsterInstance) -> None:
    (verdict,) = verdicts(lake, instance, {FIRST: ["order 4711 of 2024-01-02", None]}, FIRST).values()
    assert verdict.passed
    assert verdict.metadata["columns_searched"].value == 1


def test_each_day_of_a_range_has_its_own_verdict_and_the_run_all_of_them(
    lake: Lake, instance: dg.DagsterInstance
) -> None:
    notes: dict[str, list[str | None]] = {
        FIRST: ["fine"],
        DAYS[1]: [CANARIES["e-mail"]] * 2,
        LAST: [CANARIES["telephone"], CANARIES["e-mail"]],
    }
    found = verdicts(lake, instance, notes, FIRST, LAST)
    assert {day: v.passed for day, v in found.items()} == {FIRST: True, DAYS[1]: False, LAST: False, None: False}
    (whole,) = [v for day, v in found.items() if day is None]
    assert "note: e-mail in 3 rows" in (whole.description or "")


def test_a_day_without_rows_passes(lake: Lake, instance: dg.DagsterInstance) -> None:
    (verdict,) = verdicts(lake, instance, {}, FIRST).values()
    assert verdict.passed


def test_the_event_log_holds_no_value_that_was_found(lake: Lake, tmp_path: Path) -> None:
    notes: dict[str, list[str | None]] = {FIRST: [*CANARIES.values()], LAST: [*CANARIES.values()]}
    home = tmp_path / "dagster"
    home.mkdir()
    (home / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    with dg.DagsterInstance.from_config(str(home)) as instance:
        assert len(verdicts(lake, instance, notes, FIRST, LAST)) == 4
    kept = {path.name: path.read_bytes() for path in home.rglob("*") if path.is_file()}
    assert any(b"personal_data" in content for content in kept.values())
    found = [(name, kind) for name, content in kept.items() for kind, c in CANARIES.items() if c.encode() in content]
    assert found == []


def test_a_table_in_which_it_could_find_nothing_is_refused() -> None:
    with pytest.raises(ConvergenceError, match="shop/tickets has no text column without a pii tag"):
        personal_data_check(table(Count, {}))
