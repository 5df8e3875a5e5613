"""The lander in Dagster: an asset whose materialization takes in everything that has arrived, each message once."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any

import dagster as dg

from convergence.arrivals.drop_folder import DropFolder
from convergence.arrivals.lander import Landed, land
from convergence.arrivals.topics import Source, Topic
from convergence.lake.content_hash import EMPTY
from convergence.lake.generations import use_case_of
from convergence.lake.manifests import PartitionState, Provenance, states
from convergence.lake.tables import Lake
from convergence.observability.context import bind
from convergence.versions.revision import code_revision, lock_hash
from resources.contract_metadata import column_schema, contract_check
from resources.keys import key_of
from resources.lake import WITHOUT_EVENTS, failures
from resources.lineage import landed_from
from resources.tracing import traced

CODE_VERSION = "1"
CONTINUOUS = "continuous/"  # begins the run id of a lander that runs outside of Dagster
TOPIC = "convergence/topic"  # tag of a landing that answers a topic, whose partition nobody has asked for

NOTHING = PartitionState(0, 0, EMPTY, "", CODE_VERSION, "", ())  # of a day that has no message


class Sources(dg.ConfigurableResource):
    """Where messages arrive: drop folders `<inbox>/<topic>/` always, a Kafka cluster where one is configured."""

    inbox: str
    kafka: str | None = None  # bootstrap servers

    @cached_property
    def all(self) -> list[Source]:
        """The plain sources behind this resource."""
        folder = DropFolder(Path(self.inbox))
        return [folder, self.broker] if self.kafka else [folder]

    @cached_property
    def broker(self) -> Source:
        """The Kafka cluster alone."""
        from convergence.arrivals.kafka import Kafka

        assert self.kafka
        return Kafka(self.kafka)


def topic_asset(topic: Topic, **asset: Any) -> dg.AssetSpec:
    """The topic itself, which lineage begins with; Dagster observes it and never makes it."""
    return dg.AssetSpec(
        topic_key(topic),
        kinds={"kafka"},
        tags={"layer": "topic", "not_partitioned": "a-log-has-offsets"},
        description=(
            f"Messages of {topic.name}, as producers send them.\n\n"
            "A Kafka topic of that name where CONVERGENCE_KAFKA is set, and always the drop folder of that name. The "
            "arrival sensor observes how far it reaches and how much of it has landed."
        ),
        metadata={
            "topic": topic.name,
            "codec": topic.codec,
            "key": topic.key,
            "dagster/column_schema": dg.TableSchema(
                [
                    dg.TableColumn(topic.original(c.name), c.type, c.description, tags=c.tags)
                    for c in column_schema(topic.contract).columns
                    if c.name in topic.carried
                ]
            ),
        },
        **asset,
    )


def topic_key(topic: Topic) -> dg.AssetKey:
    """The asset key of a topic: `fraud.transactions` is `fraud/transactions_topic`."""
    return dg.AssetKey([use_case_of(topic.table), f"{topic.name.rpartition('.')[2]}_topic"])


def landing_asset(topic: Topic, *, partitions_def: dg.PartitionsDefinition, **asset: Any) -> dg.AssetsDefinition:
    """The raw table of a topic. Whichever partition is asked for, all that has arrived is landed, on its own dates."""
    key = key_of(topic.table)
    promise = f"Messages keep {topic.contract.__name__}; others go to {topic.table}_rejected or _late."

    @dg.asset(
        key=key,
        deps=[topic_key(topic)],
        partitions_def=partitions_def,
        backfill_policy=dg.BackfillPolicy.single_run(),
        required_resource_keys={"lake", "sources"},
        io_manager_key="lake",
        output_required=False,
        check_specs=[contract_check(key, promise, partitions_def)],
        kinds={"kafka", "deltalake"},
        tags={"layer": "raw"},
        code_version=CODE_VERSION,
        description=(
            f"Every accepted message of {topic.name}, as it arrived.\n\n"
            "Materializing any partition lands all that has arrived: each message exactly once, on its own event date. "
            "Each partition that was asked for says what it holds then, be it nothing. "
            f"Events more than {topic.late_after.total_seconds() / 3600:g} hours late go to `{topic.table}_late`, "
            f"unusable ones to `{topic.table}_rejected`."
        ),
        metadata={
            "dagster/table_name": topic.table,
            "dagster/column_schema": column_schema(topic.contract),
            "contract": f"{topic.contract.__module__}.{topic.contract.__name__}",
            "topic": topic.name,
            **landed_from(topic, topic_key(topic)),
        },
        **asset,
    )
    @traced
    def raw(context: dg.AssetExecutionContext) -> Iterator[Any]:
        lake: Lake = context.resources.lake.lake
        done: dict[str, Landed] = {}
        failed: list[dg.Failure] = []
        for source in context.resources.sources.all:
            try:
                with failures():
                    done[source.name] = land(lake, topic, source, provenance(topic, source, context.run_id))
                context.log.info(f"{source.name}: {topic.name}: {done[source.name]}")
            except dg.Failure as error:  # what the other sources have, and what of this one was landed, counts
                failed.append(error)
        with failures():
            held = states(lake, [topic.table])[topic.table]
        landed = sum(done.values(), Landed())
        bind(messages=landed.messages)
        used = ", ".join(name for name, part in done.items() if part.messages) or "nothing had arrived"
        yield dg.Output(None, metadata=WITHOUT_EVENTS)
        mine = {day: state for day, state in sorted(held.items()) if state.run_id == context.run_id}
        asked = mine.keys() if TOPIC in context.run.tags else set(context.partition_keys)
        for day in sorted(asked & mine.keys() if failed else asked):  # failed: more may have come for the others
            state = held.get(day, NOTHING)
            yield from partition_events(key, day, state, source=used, **({} if day in mine else _became(state)))
        beside = {day: state for day, state in mine.items() if day not in asked}
        recorded = f"run {context.run_id}, which was asked for other days"  # as its events they would swell a backfill
        report(context.instance, landed_events(topic, beside, source=used, recorded=recorded))
        counts = {"messages": landed.messages, "rows_rejected": landed.rejected, "rows_late": landed.late}
        counts |= {"rows_erased": landed.erased} if landed.erased else {}  # of data subjects who were erased: left out
        severity = dg.AssetCheckSeverity.WARN  # the stream goes on; the rows wait in quarantine
        passed = landed.rejected == 0
        yield dg.AssetCheckResult(check_name="contract", passed=passed, severity=severity, metadata=counts)
        if failed:
            raise failed[0]

    return raw  # pyright: ignore[reportReturnType]


def provenance(topic: Topic, source: Source, run_id: str) -> Provenance:
    """What a landing's manifests say about who landed, and from where."""
    arrival = {"arrival": "assumed"} if topic.assumed_lateness is not None else {"arrival": "broker"}
    config = {"topic": topic.name, "source": source.name, **arrival}
    return Provenance(run_id, CODE_VERSION, code_revision(), config, lock=lock_hash())


def _became(state: PartitionState) -> dict[str, str]:
    """What became of a day that was asked for and that landing had nothing new for."""
    return {"landed": f"nothing new since run {state.run_id}" if state.run_id else "nothing of this day until now"}


def landed_events(topic: Topic, held: Mapping[str, PartitionState], **metadata: str) -> Iterator[Any]:
    """What Dagster is told of partitions that landing has added to; only accepted rows are in them."""
    for day, state in held.items():
        yield from partition_events(key_of(topic.table), day, state, **metadata)


def partition_events(key: dg.AssetKey, partition: str, state: PartitionState, **metadata: Any) -> Iterator[Any]:
    """A materialization with its data version, and the check that the commit implies: it had kept its contract."""
    yield dg.AssetMaterialization(
        key,
        partition=partition,
        metadata={
            "dagster/partition_row_count": state.rows,
            **({"data_origin": ", ".join(state.origins), "delta_version": state.version} if state.run_id else {}),
            **metadata,
        },
        tags={
            "dagster/data_version": state.content_hash,
            "dagster/code_version": state.code_version,
            "dagster/data_version_is_user_provided": "true",
        },
    )
    yield dg.AssetCheckEvaluation(
        asset_key=key,
        check_name="contract",
        passed=True,
        partition=partition,
        blocking=True,
        metadata={"rows": state.rows},
    )


def report_landed(instance: dg.DagsterInstance, lake: Lake, topic: Topic, days: Iterable[str], source: str) -> None:
    """Tell Dagster of partitions that were landed outside a run, by the continuous lander."""
    held = states(lake, topic.tables)[topic.table]
    report(instance, landed_events(topic, {day: held[day] for day in sorted(days)}, source=source))


def report(instance: dg.DagsterInstance, events: Iterable[Any]) -> None:
    """Tell Dagster of events that no run has made."""
    from sqlalchemy.exc import IntegrityError

    for event in events:
        with suppress(IntegrityError):  # Dagster keeps one such check a partition, and that one says the same
            instance.report_runless_asset_event(event)


def overdue_when_silent(
    defs: dg.Definitions, topics: Iterable[Topic], promised: Mapping[str, timedelta] = MappingProxyType({})
) -> dg.Definitions:
    """The same definitions, with a freshness policy on raw tables of topics with `silent_after`, and on those promised.

    `promised` are tables with the time after which they are overdue; half as long again, and they have failed. Only for
    deployments with a live source: the policy runs on the wall clock, and history would be overdue for ever.
    """
    limits = {key_of(t.table): t.silent_after for t in topics if t.silent_after}
    limits |= {key_of(table): limit for table, limit in promised.items()}

    def limited(spec: dg.AssetSpec) -> dg.AssetSpec:
        limit = limits[spec.key]
        return dg.apply_freshness_policy(
            spec, dg.FreshnessPolicy.time_window(warn_window=limit, fail_window=limit * 1.5)
        )

    return defs.map_resolved_asset_specs(func=limited, selection=dg.AssetSelection.assets(*limits)) if limits else defs
