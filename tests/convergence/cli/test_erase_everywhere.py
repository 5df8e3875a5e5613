"""Somebody leaves a home with every table of the graph that names people, each found by the tags of its columns."""

import json
from datetime import date
from pathlib import Path

import obstore
import polars as pl
import pytest
from click.testing import CliRunner, Result

from convergence import cli
from convergence.arrivals.acceptance import REJECTED
from convergence.erasure import tables
from convergence.errors import LakeError
from convergence.lake.erasures import certificate
from convergence.lake.manifests import Provenance, build_manifest, record
from convergence.lake.tables import DAY, WHOLE, Lake, by_day
from convergence.models.kept import FOLDER
from convergence_assets import topics
from convergence_assets.definitions import defs
from resources import environments
from resources.configured import resources
from resources.keys import table_of

TEXT, NUMBER = "7590-VHVEG", "4711"
OTHERS = {"String": "5575-GNVDE", "Int64": 815}
DAYS = [date(2024, 1, 1), date(2024, 1, 2)]
EVENTS = {TEXT: 11, NUMBER: 12, "others": 13}


def named() -> dict[str, dict[str, tuple[str, str]]]:
    """By table of the graph the columns that name a customer or its events: what they name, and their type."""
    return {
        table_of(spec.key): {
            column.name: (next(k for k in ("subject", "event_of") if k in column.tags), column.type)
            for column in spec.metadata["dagster/column_schema"].columns
            if column.tags.keys() & {"subject", "event_of"}
        }
        for spec in defs.resolve_all_asset_specs()
        if "dagster/table_name" in spec.metadata and "dagster/column_schema" in spec.metadata
    }


COLUMNS = {table: columns for table, columns in named().items() if columns}
LANDED = {topic.table for topic in topics().values()}
DATED = {table_of(spec.key) for spec in defs.resolve_all_asset_specs() if spec.partitions_def}


def value(kind: str, who: str) -> object:
    """An id as a column of this type holds it; that of somebody else where it cannot."""
    fits = who in EVENTS and who != "others" and (kind == "String" or who.isdigit())
    return OTHERS[kind] if not fits else who if kind == "String" else int(who)


def row(columns: dict[str, tuple[str, str]], who: str) -> dict[str, object]:
    return {n: EVENTS[who] if what == "event_of" else value(kind, who) for n, (what, kind) in columns.items()}


def write(lake: Lake, table: str, frame: pl.DataFrame, *, dated: bool) -> None:
    parts = by_day(frame) if dated else {WHOLE: frame}
    lake.replace(table, parts, build_manifest(parts, "replace", Provenance("run", "1")), lake.open(table))
    record(lake, [table])


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Each table with both subjects and others, twice; what was kept out of it; and what lies beside the lake."""
    here = environments.Settings(home=tmp_path / "home")
    monkeypatch.setattr(environments, "settings", lambda: here)
    lake = cli.lake()
    for table, columns in COLUMNS.items():
        rows = [row(columns, who) for who in EVENTS]
        frame = pl.DataFrame(rows * 2, schema={n: getattr(pl, kind) for n, (_, kind) in columns.items()})
        days = frame.with_columns(pl.Series(DAY, [*DAYS[:1] * 3, *DAYS[1:] * 3]))
        write(lake, table, days if table in DATED else frame, dated=table in DATED)
        if table in LANDED:
            write(lake, f"{table}_late", days, dated=True)
        texts = [json.dumps({"column of another name": who}) for who in EVENTS] if "subject" in f"{columns}" else []
        kept_out = pl.DataFrame(
            {"source": "x", "offset": 0, "reason": "r", "row": texts or ["{}"]}, schema_overrides=REJECTED
        )
        write(lake, f"{table}_rejected", kept_out, dated=False)
    for topic in topics().values():
        folder = here.home / "inbox" / topic.name
        folder.mkdir(parents=True)
        (folder / "odd.csv").write_text("".join(f"{who};x\n" for who in EVENTS))
    served = here.home / "served" / "view" / "2024-01-01.jsonl"
    served.parent.mkdir(parents=True)
    served.write_text("".join(json.dumps({"row": {"customer_id": who}}) + "\n" for who in EVENTS))
    ledgers = here.home / "ledgers"
    ledgers.mkdir()
    pl.DataFrame({"key": list(EVENTS)}).write_parquet(ledgers / "sent.parquet")
    for who in EVENTS:
        model = ledgers / "model"
        pl.DataFrame({"customer_id": [who]}).write_parquet(model)
        obstore.put(lake.store, f"{FOLDER}/{who}.parquet", model.read_bytes())
        model.unlink()
    with resources(here)["warehouse"].plain.session() as session:
        session.execute("create schema marts")
        session.execute("create table marts.accounts as select '7590-VHVEG' as customer_id union all select '4711'")
    return here.home


def erase(*arguments: str) -> Result:
    return CliRunner().invoke(cli.cli, ["erase", *arguments])


def left(lake: Lake, who: str) -> dict[str, int]:
    """Rows about somebody, by table."""
    found = {}
    for table, columns in COLUMNS.items():
        mine = row(columns, who)
        if "Int64" not in f"{columns}" or who.isdigit():  # no name is in a column of numbers
            for each in [table, *([f"{table}_late"] if table in LANDED else [])]:
                same = [pl.col(name) == value for name, value in mine.items()]
                found[each] = lake.scan(each).filter(pl.any_horizontal(same)).collect().height
        if "subject" in f"{columns}":
            rows = lake.scan(f"{table}_rejected").collect()["row"]
            found[f"{table}_rejected"] = int(rows.str.contains(who, literal=True).sum())
    return found


@pytest.mark.parametrize(("who", "other"), [(TEXT, NUMBER), (NUMBER, TEXT)])
def test_a_subject_leaves_every_table_of_the_graph_that_names_it_and_nobody_else_does(
    home: Path, who: str, other: str
) -> None:
    before, others = left(cli.lake(), who), left(cli.lake(), other)
    assert min(before.values()) == 1

    looked = erase(f"customer:{who}", "--dry-run")
    told = erase(f"customer:{who}")

    assert (looked.exit_code, told.exit_code) == (0, 0), looked.output + told.output
    lake = cli.lake()
    assert not any(left(lake, who).values())
    assert left(lake, other) == others
    written = certificate(lake, 1)
    assert written
    assert {one["table"]: one["rows"] for one in written["tables"]} == before
    dry = {
        line.split()[1]: int(line.split()[0])
        for line in looked.output.splitlines()
        if " churn/" in line or " fraud/" in line
    }
    assert dry == before
    asked = {table for table in COLUMNS if table in before}
    assert {each["where"] for each in written["searched"]} >= asked
    entries = {name: store["entries"] for name, store in written["stores"].items()}
    assert entries == {"served log": 1, "ledgers": 1, "released models": 1, "warehouse, DuckDB": 1}
    found = [file for file in (home / "inbox").rglob("*.csv") if who in file.read_text()]
    assert len(found) == (0 if who == TEXT else 1)  # a number is not looked for where no contract has it


def test_what_was_not_searched_is_named_and_the_command_fails_until_somebody_has_seen_to_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = environments.Settings(home=tmp_path / "home")
    monkeypatch.setattr(environments, "settings", lambda: here)
    backup = here.home / "inbox" / "churn.customers" / "odd.csv~"
    backup.parent.mkdir(parents=True)
    backup.write_text(f"{TEXT}\n")

    for arguments in (["--dry-run"], []):
        told = erase(f"customer:{TEXT}", *arguments)
        assert told.exit_code == 1
        assert "not searched: inbox/churn.customers/odd.csv~: an ending" in told.output
        assert "then ask again" in told.output
    written = certificate(cli.lake(), 1)
    assert written
    assert [each["where"] for each in written["not_searched"]] == ["inbox/churn.customers/odd.csv~"]

    backup.unlink()
    assert erase(f"customer:{TEXT}").exit_code == 0


def test_a_step_that_would_take_nothing_out_is_an_error_and_no_loop(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "_found", lambda base, *_: {WHOLE: 1} if not tables._dated(base) else {})

    told = erase(f"customer:{NUMBER}")

    assert told.exit_code != 0
    assert isinstance(told.exception, LakeError) or "take out of the whole table" in told.output
    assert certificate(cli.lake(), 1) is None
