"""The plan of exchanged encoders, in a home where the real assets made encoders and vectors from tiny models."""

import json
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from hashlib import sha256
from typing import Any

import click
import dagster as dg
import polars as pl
import pytest
from click.testing import CliRunner

from convergence import cli
from convergence.cli.plan import plan
from convergence.errors import EncoderError
from convergence.lake.contracts import schema_of
from convergence.lake.manifests import MANIFESTS, InputRead, Provenance, build_manifest
from convergence.lake.tables import Lake
from convergence_assets.semantic_search.contracts import SearchItem
from convergence_assets.semantic_search.embeddings import code_embeddings, text_embeddings
from convergence_assets.semantic_search.encoders import code_encoder, text_encoder
from convergence_assets.semantic_search.items import DAILY
from resources.encoders import Checkpoints
from resources.environments import settings
from resources.lake import LakeIOManager
from tests.convergence.search.tiny_checkpoints import bert

FIRST = date(2024, 1, 1)
DAYS = [FIRST, FIRST + timedelta(days=1)]
TEXTS = ["a red bus", "a def", "a red def bus"]
TABLES = ("search_items", "text_encoder", "code_encoder", "text_embeddings", "code_embeddings")


def item_rows(day: date, texts: list[str], code: list[str]) -> pl.DataFrame:
    at = datetime.combine(day, datetime.min.time(), UTC)
    every = [("text", text) for text in texts] + [("code", text) for text in code]
    rows = [
        {"event_date": day, "event_time": at, "arrived_at": at, "item_id": f"{kind}-{n}", "modality": kind, kind: given,
         "content_hash": sha256(f"{kind} {given}".encode()).hexdigest()}
        for n, (kind, given) in enumerate(every)
    ]  # fmt: skip
    return pl.DataFrame(rows, schema=schema_of(SearchItem))


def land(lake: Lake, *days: pl.DataFrame) -> None:
    """Items as they are made from raw ones, of which there are none here: so they are in sync."""
    frames = {str(rows["event_date"][0]): rows for rows in days}
    table, raw = "semantic_search/search_items", "semantic_search/raw_items"
    made = Provenance("test", "1", inputs={raw: InputRead(0, {})}, reads={key: {raw: [key]} for key in frames})
    lake.replace(table, frames, build_manifest(frames, "replace", made), lake.open(table))


def versions(lake: Lake) -> dict[str, int]:
    found = {name: lake.open(name) for name in (MANIFESTS, *(f"semantic_search/{table}" for table in TABLES))}
    return {name: table.version() for name, table in found.items() if table}


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("checkpoints")
    return {"now": f"folder:{bert(folder / 'now')}", "other": f"folder:{bert(folder / 'other', hidden_act='relu')}"}


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory, checkpoints: dict[str, str]) -> Iterator[Lake]:
    """Two days of texts and functions with vectors by one encoder; a text of the first day is there again."""
    home = tmp_path_factory.mktemp("home")
    lake = Lake(str(home / "lake"))
    land(lake, item_rows(DAYS[0], TEXTS, ["def"]), item_rows(DAYS[1], [TEXTS[0], "red"], ["bus"]))
    items = dg.AssetSpec(["semantic_search", "search_items"], partitions_def=DAILY).with_io_manager_key("lake")
    at = {"lake": LakeIOManager(root=lake.root),
          "checkpoints": Checkpoints(text=checkpoints["now"], code=checkpoints["now"], precision="fp32")}  # fmt: skip
    days = {"dagster/asset_partition_range_start": str(DAYS[0]), "dagster/asset_partition_range_end": str(DAYS[1])}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {
            "HOME": home,
            "TEXT_ENCODER": checkpoints["now"],
            "CODE_ENCODER": checkpoints["now"],
        }.items():
            patch.setenv(f"CONVERGENCE_{name}", str(value))
        patch.setenv("CONVERGENCE_ENCODER_PRECISION", "fp32")
        settings.cache_clear()
        with cli.instance() as instance:
            for assets, tags in (((text_encoder, code_encoder), {}), ((text_embeddings, code_embeddings), days)):
                assert dg.materialize(
                    [items, text_encoder, code_encoder, text_embeddings, code_embeddings],
                    selection=dg.AssetSelection.assets(*assets), instance=instance, resources=at, tags=tags,
                    run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
                ).success  # fmt: skip
        yield lake
    settings.cache_clear()


def planned(*options: str) -> dict[str, dict[str, Any]]:
    result = CliRunner().invoke(plan, [*options, "--json"], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return {step["table"].partition("/")[2]: step for step in json.loads(result.stdout)}


def test_another_encoder_encodes_each_content_of_its_modality_once(lake: Lake, checkpoints: dict[str, str]) -> None:
    found = planned("--text-encoder", checkpoints["other"])
    encoder, vectors = found["text_encoder"], found["text_embeddings"]
    assert encoder["reason"] == "other fp32 instead of now fp32"
    assert (encoder["by_itself"], vectors["by_itself"]) == (False, True)
    assert vectors["partitions"][:2] == list(map(str, DAYS))
    assert (vectors["rows"], vectors["encoded_anew"], vectors["vectors_kept"]) == (5, 4, 0)
    assert vectors["basis"] == "timed on 4"
    assert vectors["cpu_seconds"] > 0
    assert vectors["cost"] > 0
    assert "code_embeddings" not in found
    assert list(found).index("text_encoder") < list(found).index("text_embeddings")


def test_a_plan_changes_no_table(lake: Lake, checkpoints: dict[str, str]) -> None:
    planned()  # so that what was landed is in the manifests
    before = versions(lake)
    planned("--text-encoder", checkpoints["other"], "--code-encoder", checkpoints["other"])
    assert versions(lake) == before
    assert before.keys() == {MANIFESTS, *(f"semantic_search/{table}" for table in TABLES)}


def test_it_prints_a_line_a_table_and_the_total(lake: Lake, checkpoints: dict[str, str]) -> None:
    result = CliRunner().invoke(plan, ["--text-encoder", checkpoints["other"]], catch_exceptions=False)
    lines = result.stdout.splitlines()
    assert [line.split()[:3] for line in lines if line.startswith((" text_e",))] == [
        ["text_encoder", "you", "1"], ["text_embeddings", "itself", "2"],
    ]  # fmt: skip
    assert "Nothing was changed" in result.stdout
    assert lines[-1] == "  semantic_search/text_encoder: other fp32 instead of now fp32"


def test_what_nothing_is_known_of_is_not_told_as_nothing(lake: Lake, checkpoints: dict[str, str]) -> None:
    found = planned("--text-encoder", checkpoints["other"])
    unknown = {name: step for name, step in found.items() if step["unknown"] == len(step["partitions"])}
    assert unknown.keys() == found.keys() - {"text_encoder", "text_embeddings"}
    assert {step[figure] for step in unknown.values() for figure in ("cpu_seconds", "cost")} == {None}
    told = CliRunner().invoke(plan, ["--text-encoder", checkpoints["other"]], catch_exceptions=False).stdout
    lines = {line.split()[0]: line.split() for line in told.splitlines() if line.split()}
    assert all("?" in lines[name] and "made" in lines[name] for name in unknown)
    assert "partitions; at least " in told


def test_vectors_that_the_graph_has_made_before_are_kept(lake: Lake) -> None:
    """What a plan without encoders says of a day with a new text beside a known one."""
    before = lake.scan("semantic_search/search_items", [str(DAYS[1])]).collect()
    land(lake, item_rows(DAYS[1], [TEXTS[1], "bus"], ["bus"]))
    found = planned()["text_embeddings"]
    assert (found["partitions"], found["encoded_anew"], found["vectors_kept"]) == ([str(DAYS[1])], 1, 1)
    land(lake, before)
    assert "text_embeddings" not in planned()


def test_the_encoder_of_now_makes_nothing_anew(lake: Lake, checkpoints: dict[str, str]) -> None:
    found = planned("--text-encoder", checkpoints["now"], "--precision", "fp32")
    assert found.keys().isdisjoint({"text_encoder", "code_encoder", "text_embeddings", "code_embeddings"})


def test_another_precision_alone_exchanges_the_encoders_of_now(lake: Lake) -> None:
    found = planned("--precision", "int8")
    assert {"text_encoder", "code_encoder", "text_embeddings", "code_embeddings"} <= found.keys()
    assert found["code_encoder"]["reason"] == "now int8 instead of now fp32"


@pytest.mark.parametrize(
    ("checkpoint", "message"),
    [("package:nothing", "not known to ship weights"), ("folder:nowhere", "no checkpoint 'nowhere'")],
)
def test_an_unknown_checkpoint_is_refused(lake: Lake, checkpoint: str, message: str) -> None:
    with pytest.raises(EncoderError, match=message):
        CliRunner().invoke(plan, ["--text-encoder", checkpoint], catch_exceptions=False)


def test_an_unknown_use_case_is_refused(lake: Lake) -> None:
    with pytest.raises(click.BadParameter, match=r"there are: .*semantic_search"):
        plan.main(["--use-case", "nothing"], standalone_mode=False)


def test_encoders_of_another_use_case_are_refused(lake: Lake) -> None:
    with pytest.raises(click.UsageError, match="can be exchanged in semantic_search only"):
        plan.main(["--use-case", "churn", "--precision", "int8"], standalone_mode=False)


def test_other_use_cases_have_plans_too(lake: Lake) -> None:
    assert planned("--use-case", "churn") == {}
