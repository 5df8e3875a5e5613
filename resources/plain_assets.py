"""A plain `@dg.asset(io_manager_key="lake")` that returns a Polars frame: what is committed, and what it must keep.

It has no contract but its columns, no quarantine, and no range: a frame is taken as a whole, for one partition.
"""

from collections.abc import Mapping
from typing import Any

import dagster as dg
import polars as pl

from convergence.errors import ContractBroken, LakeError
from convergence.lake.contracts import partitions_of
from convergence.lake.manifests import Provenance, build_manifest
from convergence.lake.tables import WHOLE, Lake
from convergence.observability.usage import Meter
from convergence.versions.revision import code_revision, lock_hash
from resources.keys import table_of
from resources.snapshots import Snapshot, base_of
from resources.writes import LakeWrite

_SCHEMA = "dagster/column_schema"


def plain_write(context: dg.OutputContext, lake: Lake, made: object, read: Mapping[str, Snapshot]) -> LakeWrite:
    """What a plain asset made, ready to be committed; `read` are its inputs by table.

    Raises LakeError for what is no Polars frame and for a range, and ContractBroken for rows outside the partition or
    columns other than those that the asset declares as its `dagster/column_schema`.
    """
    table = table_of(context.asset_key)
    keys = list(context.asset_partition_keys) if context.has_asset_partitions else [WHOLE]
    if not isinstance(made, pl.DataFrame | pl.LazyFrame):
        raise LakeError(
            f"{table} returned a {named(type(made))}, and the lake keeps Polars frames: return a pl.DataFrame or "
            "pl.LazyFrame (pl.from_pandas makes one of pandas')"
        )
    if len(keys) > 1:
        raise LakeError(
            f"{table} returned one frame for {len(keys)} partitions, {keys[0]} to {keys[-1]}, and a plain asset is "
            "written one at a time: leave its backfill_policy as it is by default, or declare it with lake_asset"
        )
    rows = made.lazy().collect()
    if (declared := context.definition_metadata.get(_SCHEMA)) is not None:
        _keep(table, getattr(declared, "schema", declared), rows)
    parts = partitions_of(rows, keys)
    provenance = Provenance(
        run_id=context.run_id,
        code_version=context.asset_spec.code_version or "",
        revision=code_revision(),
        lock=lock_hash(),
        config=dict(context.step_context.op_config or {}),
        origins=sorted({origin for snapshot in read.values() for origin in snapshot.origins}),
        inputs={name: snapshot.read for name, snapshot in read.items()},
        reads={keys[0]: {name: sorted(snapshot.read.partitions) for name, snapshot in read.items()}},
    )
    base = base_of(lake, table, keys, provenance, {name: snapshot.erasure for name, snapshot in read.items()})
    return LakeWrite(parts, build_manifest(parts, "replace", provenance), base, Meter())


def tell(context: dg.OutputContext, write: LakeWrite) -> None:
    """Give the event of a plain asset its data version, and what Dagster shows of rows and columns."""
    ((key, rows),) = write.partitions.items()
    version = dg.DataVersion(write.manifest["partitions"][key]["hash"])
    if not context.step_context.has_data_version(context.asset_key):  # else the asset has said one itself
        context.step_context.set_data_version(context.asset_key, version)
    columns = [dg.TableColumn(name, str(kind)) for name, kind in rows.schema.items()]
    shown: dict[str, Any] = {
        "dagster/partition_row_count" if key else "dagster/row_count": rows.height,
        "data_origin": ", ".join(write.manifest["origins"]) or "made here",
        "bytes_written": write.written.get(key, 0),
    }
    declared = {} if _SCHEMA in context.definition_metadata else {_SCHEMA: dg.TableSchema(columns=columns)}
    context.add_output_metadata(shown | declared)


def named(kind: type) -> str:
    """A type as people call it: pandas.DataFrame, wherever in its package it is."""
    return f"{kind.__module__.partition('.')[0]}.{kind.__qualname__}"


def _keep(table: str, declared: dg.TableSchema, rows: pl.DataFrame) -> None:
    """Raise ContractBroken unless the columns are as declared, also `nullable` and `unique`; other rules are words."""
    wanted, found = {c.name: c.type for c in declared.columns}, {n: str(kind) for n, kind in rows.schema.items()}
    wrong = [
        f"{name} is {found.get(name, 'not there')}, expected {kind}"
        for name, kind in wanted.items()
        if found.get(name) != kind
    ]
    wrong += [f"{name} is not declared" for name in found if name not in wanted]
    for column in declared.columns if not wrong else ():
        values = rows[column.name]
        if not column.constraints.nullable and (nulls := values.null_count()):
            wrong.append(f"{column.name} has {nulls} nulls, and none may be")
        if column.constraints.unique and (repeated := values.len() - values.n_unique()):
            wrong.append(f"{column.name} has {repeated} repeated values, and each must be unique")
    if wrong:
        raise ContractBroken(
            f"{table} does not keep its dagster/column_schema, whose types are Polars': {'; '.join(wrong)}. Nothing "
            "was written: correct the frame or the schema"
        )
