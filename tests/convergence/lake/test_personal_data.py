"""What a table holds stays in its data files: the log, which is never rewritten, repeats none of it."""

from datetime import UTC, datetime
from pathlib import Path

import polars as pl
from deltalake import DeltaTable

from convergence.lake import tables
from convergence.lake.maintenance import compact
from convergence.lake.tables import Lake
from tests.convergence.lake.frames import TABLE, append, rows

CANARIES = ("erika.mustermann@example.org", "+49 170 5550123", "DE89370400440532013000", "4111111111111111")
NUMBER = 7_001_002_003


def personal(number: int, canary: str) -> pl.DataFrame:
    at = datetime(2024, 1, 1 + number, tzinfo=UTC)
    return rows(number, NUMBER, text=canary, born=at.date(), at=at)


def log(lake: Lake) -> str:
    """Every byte of the log, checkpoints included."""
    files = (Path(lake.root) / TABLE / "_delta_log").rglob("*")
    parts = [str(pl.read_parquet(f).to_dicts()) if f.suffix == ".parquet" else f.read_text() for f in files]
    return "\n".join(parts)


def test_no_value_but_a_time_is_in_the_log_of_a_table_not_even_after_its_files_were_merged(lake: Lake) -> None:
    for offset in range(3):
        for number, canary in enumerate(CANARIES):
            append(lake, personal(number, canary), offset=offset * 10 + number + 1)

    assert compact(lake, TABLE) == 8

    said = log(lake)
    assert not [c for c in (*CANARIES, str(NUMBER)) if c in said]
    assert "2024-01-04T00:00:00" in said  # of the time that readers skip files by


def test_a_table_made_before_this_rule_keeps_it_from_its_next_merging_on(lake: Lake, monkeypatch) -> None:
    monkeypatch.setattr(tables, "_CONFIGURATION", {k: v for k, v in tables._CONFIGURATION.items() if "Skip" not in k})
    for offset in range(3):
        append(lake, personal(0, CANARIES[0]), offset=offset + 1)

    compact(lake, TABLE)

    assert CANARIES[0] not in log(lake)
    assert DeltaTable(lake.uri(TABLE)).metadata().configuration.items() >= tables.NO_VALUES.items()
