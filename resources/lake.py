"""The lake in Dagster: an I/O manager, and `lake_asset`, which is `@dg.asset` for rows that keep a contract.

What `lake_asset` adds to `@dg.asset`: the contract is enforced before the commit; a run commits once, however many
days it covers; each day gets its own data version, provenance and check result; and the manifest goes with the data.
"""

import inspect
from collections.abc import Callable, Iterator, Mapping, Set
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
from deltalake import DeltaTable

from convergence.lake.contracts import Contract, Judged, judge, schema_of
from convergence.lake.manifests import Provenance, build_manifest, inputs_digest, record
from convergence.lake.quarantine import by_partition, quarantine
from convergence.lake.tables import WHOLE, Lake
from convergence.observability.traces import Tracer, tracer
from convergence.observability.usage import Meter
from convergence.versions.revision import code_revision, lock_hash
from resources.contract_metadata import column_schema, contract_check
from resources.described import Body, Describe, Described
from resources.event_log import held_open
from resources.failures import failures
from resources.keys import table_of
from resources.lineage import made_from
from resources.partition_windows import upstream_reads
from resources.plain_assets import named, plain_write, tell
from resources.snapshots import Snapshot, base_of, read_snapshot
from resources.tracing import committing, traced
from resources.writes import LakeWrite

# Dagster then emits no materializations of its own for an output. It is Dagster's private name, kept here alone: should
# it cease to work, each day is recorded twice and ours, coming later, still holds (a test counts the events).
WITHOUT_EVENTS = {"__source_asset_observation__": True}


class LakeIOManager(dg.ConfigurableIOManager):
    """Reads and writes partitions of Delta tables under `root`, a folder or an S3-compatible URL."""

    root: str
    storage_options: dict[str, str] = {}
    home: str | None = None  # where the key of the erasures lies; None: beside the lake's folder
    generations: dict[str, int] = {}  # tables to be read and written in another generation than counts now
    traces: str | None = None  # folder for the spans of runs; neither it nor a collector: none are made
    check_reads: bool = True  # whether the files that a run reads are held against the checksums in their names
    collector: str | None = None  # address of one that takes OTLP over HTTP

    @cached_property
    def lake(self) -> Lake:
        """The plain store behind this resource. Dagster makes one per run and per tick: each sees the newest switch."""
        lake = Lake(self.root, self.storage_options, home=self.home)
        return lake.at(self.generations) if self.generations else lake

    @cached_property
    def tracer(self) -> Tracer:
        """Records the spans of runs."""
        return tracer("convergence-graph", Path(self.traces) if self.traces else None, self.collector)

    @cached_property
    def _read(self) -> dict[str, dict[str, Snapshot]]:
        """What plain assets have read, by step and table, for the manifests of what they make."""
        return {}

    def handle_output(self, context: dg.OutputContext, obj: LakeWrite | pl.DataFrame | pl.LazyFrame | None) -> None:
        """Commit the partitions at once, then record their manifest; None: the asset has committed by itself."""
        if obj is None:
            return
        table = table_of(context.asset_key)
        if plain := not isinstance(obj, LakeWrite):
            read = self._read.pop(context.step_context.step.key, {})
            with failures(lambda: {column for snapshot in read.values() for column in snapshot.columns}):
                obj = plain_write(context, self.lake, obj, read)
        with failures(), committing(context, self.tracer, self.lake, obj.partitions, obj.base):
            obj.written.update(self.lake.replace(table, obj.partitions, obj.manifest, obj.base))
            record(self.lake, [table])
        if plain:
            tell(context, obj)
        elif len(obj.partitions) == 1:
            context.add_output_metadata(*obj.costs().values())

    def load_input(self, context: dg.InputContext) -> Any:
        """The partitions that the run reads: a `Snapshot` for lake assets, else a frame, lazy or not by annotation."""
        days = list(context.asset_partition_keys) if context.has_asset_partitions else None
        with failures():
            mine = context.asset_partitions_def if days is not None else None
            snapshot = read_snapshot(self.lake, table_of(context.asset_key), days, mine, check=self.check_reads)
        wanted = context.dagster_type.typing_type
        if wanted is Snapshot:
            return snapshot
        if isinstance(wanted, type) and wanted not in (Any, pl.DataFrame) and not issubclass(pl.LazyFrame, wanted):
            raise dg.Failure(
                f"{table_of(context.asset_key)} is read as a {named(wanted)}, and the lake gives Polars frames: "
                "annotate the input with pl.LazyFrame or pl.DataFrame"
            )
        self._read.setdefault(context.step_context.step.key, {})[table_of(context.asset_key)] = snapshot
        return snapshot.rows.collect() if wanted is pl.DataFrame else snapshot.rows


def lake_asset(
    *,
    contract: Contract,
    ins: Mapping[str, dg.AssetIn] | None = None,
    partitions_def: dg.PartitionsDefinition | None = None,
    describe: Describe | None = None,
    metadata: Mapping[str, Any] | None = None,
    required_resource_keys: Set[str] = frozenset(),
    **asset: Any,
) -> Callable[[Body], dg.AssetsDefinition]:
    """`@dg.asset` whose rows keep `contract`. `describe` turns the rows of one partition into metadata of its event.

    The function gets a LazyFrame per input, or a Snapshot if it says so (and the context, if its first parameter is
    `context`), and returns the rows of the run's partitions, told apart by `event_date`. One with `**inputs` also gets
    those of `ins` that it does not name.
    """

    def decorate(fn: Body) -> dg.AssetsDefinition:
        parameters = inspect.signature(fn).parameters
        every = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
        names = [n for n, p in parameters.items() if p.kind is not p.VAR_KEYWORD]
        takes_context = names[:1] == ["context"]
        names = names[takes_context:]
        names += [name for name in (ins or {}) if every and name not in names]
        whole = {name for name in names if fn.__annotations__.get(name) is Snapshot}
        declared = {name: (ins or {}).get(name, dg.AssetIn()) for name in names}
        prefix = asset.get("key_prefix")
        key = dg.AssetKey([*([prefix] if isinstance(prefix, str) else prefix or []), asset.get("name") or fn.__name__])
        promise = f"Every row keeps {contract.__name__}; rows that do not go to {table_of(key)}_rejected."

        @traced
        def body(context: dg.AssetExecutionContext, **snapshots: Snapshot) -> Iterator[Any]:
            meter = Meter()
            run = _Run(context, snapshots, declared)
            with failures(lambda: {*schema_of(contract), *(c for s in snapshots.values() for c in s.columns)}):
                base = run.base()
                given = {n: s if n in whole else s.rows for n, s in snapshots.items()}
                made = fn(*[context] * takes_context, **given)
                made = made if isinstance(made, Described) else Described(made.lazy().collect())
                if made.origins:
                    origins = sorted({*run.provenance.origins, *made.origins})
                    run.provenance = replace(run.provenance, origins=origins)
                judged = judge(contract, made.rows, run.keys)
            with held_open(context.instance):
                yield from run.events(judged, base, describe, made, meter)

        body.__name__, body.__doc__ = fn.__name__, fn.__doc__
        return dg.asset(
            **asset,
            ins={
                n: dg.AssetIn(
                    i.key,
                    metadata=i.metadata,
                    key_prefix=i.key_prefix,
                    partition_mapping=i.partition_mapping,
                    input_manager_key="lake",
                    dagster_type=Snapshot,
                )  # pyright: ignore[reportArgumentType]
                for n, i in declared.items()
            },
            partitions_def=partitions_def,
            backfill_policy=dg.BackfillPolicy.single_run() if partitions_def else None,
            io_manager_key="lake",
            required_resource_keys={"lake", *required_resource_keys},
            output_required=False,
            check_specs=[contract_check(key, promise, partitions_def)],
            metadata={
                "dagster/table_name": table_of(key),
                "dagster/column_schema": column_schema(contract),
                "contract": f"{contract.__module__}.{contract.__name__}",
                **made_from(contract, declared, asset.get("deps") or ()),
                **(metadata or {}),
            },
        )(body)

    return decorate


class _Run:
    """One execution of a lake asset: its partitions, what they were made from, and the events that say so."""

    def __init__(
        self, context: dg.AssetExecutionContext, snapshots: Mapping[str, Snapshot], ins: Mapping[str, dg.AssetIn]
    ) -> None:
        self.context, self.key = context, context.asset_key
        self.table = table_of(self.key)
        self.lake: Lake = context.resources.lake.lake
        mine = context.assets_def.partitions_def
        self.keys = list(context.partition_keys) if mine else [WHOLE]
        self.upstream = {n: context.assets_def.keys_by_input_name[n] for n in snapshots}
        reads = {n: upstream_reads(ins[n].partition_mapping, mine, s.partitions_def) for n, s in snapshots.items()}
        self.provenance = Provenance(
            run_id=context.run_id,
            code_version=context.assets_def.code_versions_by_key.get(self.key) or "",
            revision=code_revision(),
            lock=lock_hash(),
            config=dict(context.op_execution_context.op_config or {}),
            origins=sorted({o for s in snapshots.values() for o in s.origins}),
            inputs={table_of(self.upstream[n]): s.read for n, s in snapshots.items()},
            reads={k: {table_of(self.upstream[n]): f(k) for n, f in reads.items()} for k in self.keys},
        )
        self.erasures = {table_of(self.upstream[n]): s.erasure for n, s in snapshots.items()}
        self.before = {key: self._newest_event(key) for key in self.upstream.values()}

    def base(self) -> DeltaTable | None:
        """The table before the write. Raises ConcurrentWrite if it was made from newer inputs than this run read."""
        return base_of(self.lake, self.table, self.keys, self.provenance, self.erasures)

    def events(
        self, judged: Judged, base: DeltaTable | None, describe: Describe | None, made: Described, meter: Meter
    ) -> Iterator[Any]:
        """Write the good partitions, quarantine the bad ones, and report each; raises Failure if any was bad."""
        good, bad = judged.good, judged.bad
        with failures():
            aside = {} if made.set_aside is None else by_partition(made.set_aside, self.keys)
            quarantine(self.lake, self.table, judged, self.provenance, aside)

        def counted(*keys: str) -> dict[str, int]:
            rows = sum(aside[key].height for key in keys if key in aside)
            return {} if made.set_aside is None else {"rows_set_aside": rows}

        write = LakeWrite(good, build_manifest(good, "replace", self.provenance), base, meter)
        versions = {key: part["hash"] for key, part in write.manifest["partitions"].items()}
        metadata = {
            key: {
                "dagster/partition_row_count" if key else "dagster/row_count": frame.height,
                "data_origin": ", ".join(self.provenance.origins) or "made here",
                **counted(key),
                **(describe(frame) if describe and frame.height else {}),
                **made.metadata.get(key, {}),
            }
            for key, frame in good.items()
        }
        rejected = sum(rows.height for rows in bad.values())
        summary = dg.AssetCheckResult(
            check_name="contract",
            passed=not bad,
            metadata={"partitions": len(self.keys), "rows_rejected": rejected, **counted(*self.keys)},
        )
        if len(self.keys) == 1 and good:
            (key,) = self.keys
            version = dg.DataVersion(versions[key])
            yield dg.MaterializeResult(
                value=write, data_version=version, metadata=metadata[key], check_results=[summary]
            )
            return
        if good:
            yield dg.Output(write, metadata=WITHOUT_EVENTS)
            tags, spent = self._provenance_tags(), write.costs()
            for key in good:
                yield dg.AssetMaterialization(
                    self.key,
                    partition=key,
                    metadata={**metadata[key], **spent[key]},
                    tags={**tags, "dagster/data_version": versions[key]},
                )
        for key in self.keys:
            yield dg.AssetCheckEvaluation(
                asset_key=self.key,
                check_name="contract",
                passed=key in good,
                blocking=True,
                partition=key or None,
                metadata={
                    **({"rows": good[key].height} if key in good else {"rows_rejected": bad[key].height}),
                    **counted(key),
                },
            )
        yield summary
        if bad:
            raise dg.Failure(
                f"{self.table}: {len(bad)} of {len(self.keys)} partitions break the contract and were not written: "
                f"{', '.join(list(bad)[:10])}{' ...' if len(bad) > 10 else ''}\n"
                f"Found: {rejected} rows, e.g. {next(iter(bad.values()))['reason'][0]}\n"
                f"Next: look at table {self.table}_rejected, correct the input or the contract, materialize again",
                allow_retries=False,
            )

    def _newest_event(self, key: dg.AssetKey) -> int | None:
        records = self.context.instance.fetch_materializations(key, limit=1).records
        return records[0].storage_id if records else None

    def _provenance_tags(self) -> dict[str, str]:
        """What Dagster itself would tag a materialization with, so that its UI can tell what is out of date."""
        tags = {"dagster/code_version": self.provenance.code_version, "dagster/data_version_is_user_provided": "true"}
        for key in self.upstream.values():
            held = self.provenance.inputs[table_of(key)].partitions
            tags[f"dagster/input_data_version/{key.to_user_string()}"] = held.get(WHOLE) or inputs_digest({"": held})
            tags[f"dagster/input_event_pointer/{key.to_user_string()}"] = str(self.before[key] or "NULL")
        return tags
