"""What every asset in the graph says about itself."""

import re
from collections import Counter
from typing import Any

import dagster as dg
import pytest

from convergence_assets.definitions import defs

SPECS = dict(sorted((spec.key.to_user_string(), spec) for spec in defs.resolve_all_asset_specs()))
MADE_HERE = {name: spec for name, spec in SPECS.items() if spec.tags.get("layer") != "topic"}
EVERY_ASSET = pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
EVERY_ASSET_MADE_HERE = pytest.mark.parametrize("spec", MADE_HERE.values(), ids=MADE_HERE)

# Kinds that the UI draws with a logo.
KINDS = {
    *("kafka", "polars", "pandas", "deltalake", "duckdb", "dbt", "mlflow", "pytorch", "scikitlearn", "xgboost"),
    *("redis", "spark", "qdrant", "postgres", "bronze", "silver", "gold", "report", "file", "python"),
}
PARTS = {"creditcard", "models", "monitoring"}  # of a use case that is too large for one group
LAYERS = {
    *("topic", "raw", "mart", "dataset", "feature", "model", "release", "evaluation", "prediction", "monitoring"),
    *("embedding", "index", "operations"),
}
SNAKE = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")


def said(spec: dg.AssetSpec, key: str) -> Any:
    """Metadata as it was declared, whatever Dagster has wrapped it in."""
    value = spec.metadata.get(key)
    return value.value if isinstance(value, dg.MetadataValue) else value


def test_the_graph_has_assets() -> None:
    assert len(SPECS) >= 8


@EVERY_ASSET
def test_the_key_is_the_use_case_and_a_name_in_snake_case(spec: dg.AssetSpec) -> None:
    use_case, leaf = spec.key.path
    assert spec.group_name in (use_case, *(f"{use_case}_{part}" for part in PARTS))
    assert SNAKE.fullmatch(use_case)
    assert SNAKE.fullmatch(leaf)


def test_names_are_unique_across_groups() -> None:
    assert [leaf for leaf, n in Counter(spec.key.path[-1] for spec in SPECS.values()).items() if n > 1] == []


def test_no_group_is_too_large_to_be_read() -> None:
    assert max(Counter(spec.group_name for spec in SPECS.values()).values()) <= 12


@EVERY_ASSET
def test_kinds_are_one_or_two_with_a_logo(spec: dg.AssetSpec) -> None:
    assert 1 <= len(spec.kinds) <= 2
    assert spec.kinds <= KINDS


@EVERY_ASSET
def test_somebody_owns_it(spec: dg.AssetSpec) -> None:
    assert spec.owners


@EVERY_ASSET
def test_its_layer_is_tagged(spec: dg.AssetSpec) -> None:
    assert spec.tags.get("layer") in LAYERS


@EVERY_ASSET
def test_the_first_line_of_its_description_is_a_short_plain_sentence(spec: dg.AssetSpec) -> None:
    first = (spec.description or "").split("\n")[0]
    assert 0 < len(first) <= 80
    assert first.endswith(".")
    assert not re.search(r"[*`#\[\]<>|]", first)


@EVERY_ASSET
def test_every_column_is_described(spec: dg.AssetSpec) -> None:
    schema = said(spec, "dagster/column_schema")
    assert isinstance(schema, dg.TableSchema)
    assert schema.columns
    assert [column.name for column in schema.columns if not (column.description or "").strip()] == []


@EVERY_ASSET_MADE_HERE
def test_it_names_its_table(spec: dg.AssetSpec) -> None:
    if spec.tags["layer"] == "mart":  # in the warehouse; what is published from it is the table
        assert said(spec, "relation") == f"marts.{spec.key.path[-1]}"
        return
    assert said(spec, "dagster/table_name") == "/".join(spec.key.path)


@EVERY_ASSET
def test_it_has_partitions_or_says_why_not(spec: dg.AssetSpec) -> None:
    reason = spec.tags.get("not_partitioned") or said(spec, "not_partitioned")
    assert (spec.partitions_def is None) == bool(reason)


@EVERY_ASSET_MADE_HERE
def test_its_code_has_a_version(spec: dg.AssetSpec) -> None:
    assert spec.code_version


@EVERY_ASSET_MADE_HERE
def test_a_check_stands_between_it_and_what_follows(spec: dg.AssetSpec) -> None:
    graph = defs.resolve_asset_graph()
    checks = [graph.get_check_spec(key) for key in graph.get_check_keys_for_assets({spec.key})]
    assert any(check.blocking for check in checks)
    assert all(check.description for check in checks)


@EVERY_ASSET_MADE_HERE
def test_a_range_of_its_partitions_is_one_run(spec: dg.AssetSpec) -> None:
    policy = defs.resolve_asset_graph().get(spec.key).backfill_policy
    assert spec.partitions_def is None or policy == dg.BackfillPolicy.single_run()


def test_lineage_begins_with_topics_that_nothing_here_makes() -> None:
    graph = defs.resolve_asset_graph()
    topics = SPECS.keys() - MADE_HERE.keys()
    roots = {key.to_user_string() for key in graph.get_all_asset_keys() if not graph.get(key).parent_keys}
    assert "fraud/transactions_topic" in topics <= roots
    assert not any(graph.get(SPECS[name].key).is_materializable for name in topics)


def test_sensors_and_schedules_are_few_enough_to_be_read() -> None:
    repository = defs.get_repository_def()
    assert 1 <= len(repository.sensor_defs) + len(repository.schedule_defs) <= 12
