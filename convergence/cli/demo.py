"""Brings everything up to date in dependency order, and tells in one table what there is now."""

import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import dagster as dg
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from convergence.arrivals.lander import Lander
from convergence.arrivals.replay import replay
from convergence.cli import lake as opened_lake
from convergence.cli.materialize import QUIET, cause
from convergence.cli.side_by_side import CLOSING
from convergence.errors import SettingsError
from convergence.lake.generations import use_case_of
from convergence.lake.manifests import Provenance, states
from convergence.lake.tables import Lake
from convergence.versions.reconcile import Node, stale_partitions
from convergence_assets import topics
from convergence_assets.definitions import checks, defs
from resources.configured import resources
from resources.environments import settings
from resources.graph import lake_nodes
from resources.keys import key_of, table_of
from resources.recovery import process_tag, report_unrecorded
from sensors.reconcile import run_requests

console = Console()
console.width = max(console.width, 116)  # the closing table needs it; a narrower terminal wraps


@dataclass
class Report:
    """What the demo did per table."""

    seconds: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    failed: list[str] = field(default_factory=list)


def run_demo(instance: dg.DagsterInstance, use_case: str) -> bool:
    """Replay what is not in the inbox, materialize what is missing or stale; False if a run failed."""
    began, here, report = time.perf_counter(), settings(), Report()
    lake = opened_lake()
    wanted = {name: t for name, t in topics().items() if use_case_of(t.table) == use_case}
    for topic in wanted.values():
        played = list(replay(topic, here.published_data, here.home / "inbox", topic.first_day, topic.last_day))
        origin = played[0][2]
        style = "bold yellow" if origin.startswith("SIMULATED") else "default"
        console.print(
            f"{topic.name}: {sum(n for _, n, _ in played):,} messages, {len(played)} days. [{style}]{origin}[/]"
        )
    nodes = [
        n
        for n in lake_nodes(defs.resolve_all_asset_specs())
        if use_case_of(n.table) == use_case and n.layer != "operations"
    ]
    if not nodes:
        raise SettingsError(
            f"no use case {use_case!r}: there are {', '.join(sorted({n.split('.')[0] for n in topics()}))}"
        )
    if late := report_unrecorded(instance, lake, nodes):
        console.print(f"{late} partitions were written by a run that was interrupted; Dagster has been told")
    landed = {t.table: t for t in wanted.values()}
    files = {
        table_of(s.key): (s.metadata["published"], s.metadata.get("setting"))
        for s in defs.resolve_all_asset_specs()
        if "published" in s.metadata
    }
    for node in nodes:
        if report.failed:
            break  # nothing is built on what has failed
        if topic := landed.get(node.table):
            lander = Lander(lake, topic, Provenance("demo", ""))
            if any(source.offered(topic, lander.landed) for source in resources(here)["sources"].all):
                request = dg.RunRequest(asset_selection=[key_of(node.table)], tags=_range(node.partitions))
                _run(instance, node, request, report)
            continue
        if not node.upstream:  # made from a file or from configuration: no input says that it is due
            file = files.get(node.table)
            if file and resources(here)["published"].find(*file) is None:
                said = f"no published data, {file[0]}"
                console.print(f"  [bold yellow]left out[/] {node.table} and what follows: {said}")
            elif not states(lake, [node.table])[node.table]:
                _run(instance, node, dg.RunRequest(asset_selection=[key_of(node.table)]), report)
            continue
        stale = stale_partitions(nodes, states(lake, [n.table for n in nodes]))
        for request in run_requests([node], [s for s in stale if s.ready]):
            _run(instance, node, request, report)
        _confirm(instance, node, report)
    _summary(instance, lake, nodes, report)
    console.print(f"{time.perf_counter() - began:.1f} s. Next: `make ui`, then open http://127.0.0.1:3000/asset-groups")
    return not report.failed


def _confirm(instance: dg.DagsterInstance, node: Node, report: Report) -> None:
    """Run the stand-alone checks that an interrupted or failed run left without a good result."""
    graph = defs.resolve_asset_graph()
    alone = {key for check in checks() for key in check.check_keys}
    mine = graph.get_check_keys_for_assets({key_of(node.table)}) & alone
    open_checks = [key for key in mine if _newest(instance, key) not in ("passed", "warning")]
    if not open_checks or report.failed:
        return
    _run_alone(instance, open_checks, _range(node.partitions))
    for check in open_checks:
        if _newest(instance, check) not in ("passed", "warning"):
            report.failed.append(node.table)
            console.print(f"  [red]failed[/] check {check.name} of {node.table}: see it in `make ui`")


def _run_alone(
    instance: dg.DagsterInstance, keys: Iterable[dg.AssetCheckKey], tags: Mapping[str, str]
) -> dg.ExecuteInProcessResult:
    """Run stand-alone checks of assets that share their partitions: a run speaks of one kind."""
    job = defs.resolve_job_def("checks").get_subset(asset_check_selection=set(keys))
    return job.execute_in_process(
        instance=instance, tags={**tags, **process_tag()}, run_config=QUIET, raise_on_error=False
    )


def run_checks(instance: dg.DagsterInstance, partition: str) -> bool:
    """Run the stand-alone checks on one partition; False if an ERROR check failed or none ran.

    Raises SettingsError for a partition that no checked asset has: a run of it would only look like a failure.
    """
    graph = defs.resolve_asset_graph()
    alike: dict[dg.PartitionsDefinition | None, list[dg.AssetCheckKey]] = defaultdict(list)
    for key in sorted(key for check in checks() for key in check.check_keys):
        alike[graph.get(key.asset_key).partitions_def].append(key)
    having = {d: keys for d, keys in alike.items() if d is not None and partition in d.get_partition_keys()}
    if not having:
        raise SettingsError(
            f"no asset with a stand-alone check has a partition {partition!r}: expected a date like 2018-08-01"
        )
    counted: Counter[str] = Counter()
    for definition, keys in [*having.items(), (None, alike[None])]:
        if keys:
            tags = {"dagster/partition": partition} if definition else {}
            counted.update(_told(_run_alone(instance, keys, tags), partition if definition else ""))
    console.print(f"{counted['passed']} passed, {_warnings(counted['warning'])}, {counted['FAILED']} failed")
    return bool(counted) and not counted["FAILED"]


def _told(result: dg.ExecuteInProcessResult, of: str) -> Iterator[str]:
    """Print how each check of a run came out; yields passed, warning or FAILED for each."""
    colours = {"passed": "green", "warning": "yellow", "FAILED": "red"}
    for e in result.get_asset_check_evaluations():
        verdict = _verdict(e)
        said = escape(e.description or "")
        console.print(f"[{colours[verdict]}]{verdict}[/] {e.asset_key.to_user_string()} {e.check_name} {of} {said}")
        yield verdict
    for event in result.all_events:
        if event.is_step_failure:
            console.print(f"[red]FAILED[/] {event.step_key} {of} could not be run: {escape(cause(event))}")
            yield "FAILED"


def _run(instance: dg.DagsterInstance, node: Node, request: dg.RunRequest, report: Report) -> None:
    began = time.perf_counter()
    with console.status(f"{node.table} ..."):
        result = defs.resolve_implicit_global_asset_job_def().execute_in_process(
            instance=instance,
            asset_selection=request.asset_selection,
            tags={**request.tags, **process_tag()},
            run_config=QUIET,
            raise_on_error=False,
        )
    report.seconds[node.table] += (seconds := time.perf_counter() - began)
    days = (
        request.tags.get("dagster/asset_partition_range_start", ""),
        request.tags.get("dagster/asset_partition_range_end", ""),
    )
    if result.success:
        console.print(f"  [green]ok[/]     {node.table:28} {'..'.join(dict.fromkeys(days)):24} {seconds:6.1f} s")
    else:
        report.failed.append(node.table)
        causes = [e.step_failure_data.error_display_string for e in result.all_events if e.is_step_failure]
        console.print(f"  [red]failed[/] {node.table} {'..'.join(days)}\n{escape(causes[0]) if causes else ''}")


def _summary(instance: dg.DagsterInstance, lake: Lake, nodes: Sequence[Node], report: Report) -> None:
    held = states(lake, [n.table for n in nodes])
    metrics = {
        table_of(s.key): str(s.metadata["key_metric"])
        for s in defs.resolve_all_asset_specs()
        if "key_metric" in s.metadata
    }
    table = Table("asset", "partitions", "rows", "checks passed", "key metric", "seconds", title=CLOSING)
    graph = defs.resolve_asset_graph()
    for node in nodes:
        keys = graph.get_check_keys_for_assets({key_of(node.table)})
        verdicts = Counter(_newest(instance, key) for key in keys)
        warned = verdicts["warning"]
        mine = held[node.table]
        table.add_row(
            node.table,
            f"{len(mine)}/{len(node.partitions)}",
            f"{sum(s.rows for s in mine.values()):,}",
            f"{verdicts['passed']}/{len(keys)}" + (f", {_warnings(warned)}" if warned else ""),
            _metric(lake, node, metrics.get(node.table)),
            f"{report.seconds[node.table]:.1f}" if node.table in report.seconds else "up to date" if mine else "",
        )
    console.print(table)


def _newest(instance: dg.DagsterInstance, check: dg.AssetCheckKey) -> str | None:
    """How a check came out last; None: never."""
    record = instance.get_latest_asset_check_evaluation_record(check)
    evaluation = record.evaluation if record else None
    return _verdict(evaluation) if isinstance(evaluation, dg.AssetCheckEvaluation) else None  # None too while planned


def _verdict(evaluation: dg.AssetCheckEvaluation) -> str:
    """Passed, FAILED, or a warning: to be looked at, while what follows goes on."""
    if evaluation.passed:
        return "passed"
    return "warning" if evaluation.severity is dg.AssetCheckSeverity.WARN else "FAILED"


def _warnings(number: int) -> str:
    return f"{number} {'warning' if number == 1 else 'warnings'}"


def _metric(lake: Lake, node: Node, column: str | None) -> str:
    if column is None or lake.open(node.table) is None:
        return ""
    values = lake.scan(node.table).select(column).collect()[column]
    return f"mean {column} {values.mean():.3f}" if values.len() else ""


def _range(partitions: Sequence[str]) -> dict[str, str]:
    return {
        "dagster/asset_partition_range_start": partitions[0],
        "dagster/asset_partition_range_end": partitions[-1],
    }
