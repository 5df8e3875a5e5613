"""dbt's models as assets: built by day from lake tables, their tests as checks, their manifest prepared beforehand.

A model is published into the lake by an asset of its own, which has contract, manifest and partitions; what the
warehouse holds in between can always be built again.
"""

import hashlib
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import dagster as dg
from dagster_dbt import DagsterDbtTranslator, DbtProject, dbt_assets

from convergence.errors import SettingsError
from convergence.services.processes import one_at_a_time
from convergence.warehouse.warehouse import Warehouse
from resources.lake import failures
from resources.snapshots import read_snapshot
from resources.warehouse import POOL, PROJECT, ToldByDbt

MANIFEST = PROJECT / "target" / "manifest.json"
_PREPARED = MANIFEST.with_name("prepared.sha256")


def manifest() -> Path:
    """The project's manifest with compiled SQL; made anew only if a file of the project has changed since.

    Raises SettingsError if dbt does not accept the project.
    """
    files = sorted(p for p in PROJECT.rglob("*") if p.suffix in (".sql", ".yml", ".csv") and "target" not in p.parts)
    digest = hashlib.sha256(
        b"".join(p.relative_to(PROJECT).as_posix().encode() + p.read_bytes() for p in files)
    ).hexdigest()
    if _is_prepared(digest):
        return MANIFEST
    MANIFEST.parent.mkdir(exist_ok=True)
    with one_at_a_time(MANIFEST.with_name(".preparing")):
        if not _is_prepared(digest):
            _PREPARED.unlink(missing_ok=True)  # dbt writes in place: one that dies leaves what belongs to no digest
            _compile()
            _PREPARED.write_text(digest)
    return MANIFEST


def dbt_models(use_case: str, *, partitions_def: dg.PartitionsDefinition) -> dg.AssetsDefinition:
    """The models in dbt/models/<use case>, one asset each, built for the days of a run."""
    described: Mapping[str, Any] = json.loads(manifest().read_text())

    @dbt_assets(
        manifest=described,
        select=f"fqn:convergence.{use_case}",
        name=f"{use_case}_models_in_dbt",
        partitions_def=partitions_def,
        backfill_policy=dg.BackfillPolicy.single_run(),
        dagster_dbt_translator=_Translator(use_case),
        project=None,
        required_resource_keys={"lake", "warehouse"},
        pool=POOL,
    )
    def build(context: dg.AssetExecutionContext) -> Iterator[Any]:
        days = list(context.partition_keys)
        models = [key.path[-1] for key in context.selected_asset_keys]
        warehouse: Warehouse = context.resources.warehouse.plain
        with failures():
            read = {}
            for table in _sources(described, use_case):
                snapshot = read_snapshot(context.resources.lake.lake, table, days, partitions_def)
                handle = context.resources.lake.lake.open(table, snapshot.read.version)
                warehouse.offer(table, handle, snapshot.rows, days)
                read[table] = snapshot.read.partitions
                context.log.info(f"dbt reads {table} version {snapshot.read.version} in {warehouse.name}")
            warehouse.forget(models, days)
        variables = json.dumps({"first_day": days[0], "last_day": days[-1]})
        with tempfile.TemporaryDirectory(prefix="convergence-dbt-") as target:
            arguments = ["build", "--vars", variables]
            dbt = context.resources.warehouse.dbt(arguments, context=context, target_path=Path(target))
            with failures(), dbt as invocation:
                yield from _quietly(invocation.stream(), context)
        with failures():
            warehouse.remember(models, read)

    return build


class _Translator(DagsterDbtTranslator):
    """Names, owners and descriptions of this house."""

    def __init__(self, use_case: str) -> None:
        super().__init__()
        self._use_case = use_case

    def get_asset_spec(self, manifest: Mapping[str, Any], unique_id: str, project: DbtProject | None) -> dg.AssetSpec:
        """A model as `<use case>/<model>`; a source as the lake table that its meta names."""
        spec = super().get_asset_spec(manifest, unique_id, project)
        if unique_id.startswith("source."):
            return spec
        metadata = {name: value for name, value in spec.metadata.items() if name != "dagster/table_name"}
        return spec.replace_attributes(
            key=dg.AssetKey([self._use_case, spec.key.path[-1]]),
            group_name=self._use_case,
            owners=[f"team:{self._use_case}"],
            tags={"layer": "mart"},
            kinds={"dbt", "duckdb"},
            description=self.get_resource_props(manifest, unique_id)["description"],
            metadata={**metadata, "relation": f"marts.{spec.key.path[-1]}"},
        )

    def get_asset_check_spec(
        self, asset_spec: dg.AssetSpec, manifest: Mapping[str, Any], unique_id: str, project: DbtProject | None
    ) -> dg.AssetCheckSpec | None:
        """A test with its own description."""
        spec = super().get_asset_check_spec(asset_spec, manifest, unique_id, project)
        return spec and spec._replace(description=self.get_resource_props(manifest, unique_id)["description"])


def _sources(manifest: Mapping[str, Any], use_case: str) -> list[str]:
    """The lake tables that a use case's models read."""
    return [
        "/".join(source["config"]["meta"]["dagster"]["asset_key"])
        for source in manifest["sources"].values()
        if source["source_name"] == f"lake_{use_case}"
    ]


def _quietly(events: Iterable[Any], context: dg.AssetExecutionContext) -> Iterator[Any]:
    """The events, with what dagster-dbt prints meanwhile in the run's log instead."""
    told, waiting = ToldByDbt(), iter(events)
    try:
        while True:
            with redirect_stdout(told):
                event = next(waiting, None)
            if event is None:
                return
            yield event
    finally:
        context.log.info(told.getvalue())


def _is_prepared(digest: str) -> bool:
    return MANIFEST.exists() and _PREPARED.exists() and _PREPARED.read_text() == digest


def _compile() -> None:
    command = [Path(sys.executable).with_name("dbt"), "compile", "--target", "duckdb", "--no-populate-cache"]
    command += ["--no-partial-parse"]  # which forgets what YAML says of a test whose SQL has changed
    folders = ["--project-dir", PROJECT, "--profiles-dir", PROJECT, "--target-path", MANIFEST.parent]
    try:
        done = subprocess.run(
            [*command, *folders, "--log-path", MANIFEST.parent],
            env={"CONVERGENCE_WAREHOUSE_FILE": ":memory:", "PATH": "/usr/bin:/bin"},
            capture_output=True,
            text=True,
            check=False,
        )
    except FileNotFoundError:
        raise SettingsError(f"dbt is not beside {sys.executable}, and prepares the graph: run `make setup`") from None
    if done.returncode:
        raise SettingsError(f"dbt does not accept the project in dbt/:\n{done.stdout[-2000:]}")
