"""`convergence replay --from-beginning`: a use case's stream-derived tables made anew from the log, then switched to.

They are made by the real assets, in process, on a Dagster instance that nobody else sees: until the switch there is
nothing to undo, and afterwards the former tables are still there to go back to.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    import dagster as dg

    from convergence.arrivals.topics import Topic
    from convergence.lake.tables import Lake
    from convergence.versions.rebuild import Comparison
    from convergence.versions.reconcile import Node

_ROUNDS = 2  # the second takes in what arrived during the first


def with_rebuild(command: click.Command) -> click.Command:
    """Give `convergence replay` its other forms: with --from-beginning or --switch it requires nothing else."""
    play, required = command.callback, [p for p in command.params if p.required]
    assert play is not None
    named = {p: p.get_error_hint(click.Context(command)) for p in required}
    for parameter in required:
        parameter.required = False

    def replay(
        from_beginning: str | None, switch: str | None, generation: int | None, *, keep: bool, **given: Any
    ) -> object:
        context = click.get_current_context()
        if (from_beginning or switch) and (extra := [p for p in required if given.get(p.name or "") is not None]):
            raise click.UsageError(f"{named[extra[0]]} does not go with a rebuild or a switch", context)
        if (switch is None) != (generation is None) or (switch and from_beginning):
            raise click.UsageError("expected --from-beginning USE_CASE, or --switch USE_CASE --generation N", context)
        if keep and not from_beginning:
            raise click.UsageError("--keep goes with --from-beginning", context)
        if from_beginning:
            return _with_instance(lambda instance: rebuild(from_beginning, instance, keep=keep))
        if switch and generation:
            return _with_instance(lambda instance: switch_to(switch, generation, instance))
        for parameter in required:
            if given.get(parameter.name or "") is None:
                raise click.MissingParameter(ctx=context, param=parameter, param_hint=named[parameter])
        return play(**given)

    command.params += [
        click.Option(
            ["--from-beginning"],
            metavar="USE_CASE",
            help="Instead: make all tables that derive from the streams of USE_CASE anew from all that ever arrived, "
            "compare them with those that there are, and let them count.",
        ),
        click.Option(["--keep"], is_flag=True, help="With --from-beginning: do not let the new tables count."),
        click.Option(["--switch"], metavar="USE_CASE", help="Instead: let other tables of USE_CASE count."),
        click.Option(["--generation"], type=click.IntRange(1), help="With --switch: which; 1 are the first tables."),
    ]
    command.callback = replay
    return command


def rebuild(use_case: str, instance: "dg.DagsterInstance", *, keep: bool = False) -> "list[Comparison]":
    """Make the stream-derived tables of a use case anew, compare them, and let them count unless `keep`.

    Raises ArrivalError where messages that were landed once are gone from their sources, LakeError where a table
    cannot be made; the tables that count are then as they were.
    """
    from convergence.cli import lake
    from convergence.lake.generations import complete
    from convergence.lake.manifests import states
    from convergence.versions.rebuild import compare, new_generation, with_companions

    live = lake()
    topics, nodes = _derived(use_case)
    _refuse_early(live, topics)
    generation, shadow = new_generation(live, use_case, [node.table for node in nodes])
    made = live.at(shadow)
    click.echo(f"{use_case}: {len(nodes)} tables are made anew as generation {generation}")
    try:
        _make(live, made, topics, nodes)
        every = with_companions(node.table for node in nodes)
        compared = compare(every, states(live, every), states(made, every))
        _show(use_case, live.generation(nodes[0].table), generation, compared)
        complete(live.store, use_case, generation, shadow)
    except BaseException:
        click.echo(
            f"generation {generation} of {use_case} was not completed: nothing was switched, and the tables that count "
            f"are as they were. What was written lies in {use_case}@{generation}/",
            err=True,
        )
        raise
    if keep:
        click.echo(f"Kept aside. `convergence replay --switch {use_case} --generation {generation}` lets it count")
    else:
        switch_to(use_case, generation, instance)
    return compared


def switch_to(use_case: str, generation: int, instance: "dg.DagsterInstance") -> None:
    """Let a generation of a use case's tables count, and tell Dagster of each partition that now differs.

    Raises LakeError for a generation that was never completed.
    """
    from convergence.cli import lake
    from convergence.lake.generations import switch
    from resources.recovery import report_unrecorded

    _, nodes = _derived(use_case)
    now = lake()
    before = switch(now.store, use_case, generation)
    if before == generation:
        click.echo(f"{use_case} was in generation {generation} already")
        return
    told = report_unrecorded(instance, now.newest(), nodes, why=f"switched to generation {generation}")
    click.echo(
        f"{use_case} is in generation {generation}; Dagster was told of {told} partitions that differ. "
        f"Way back: `convergence replay --switch {use_case} --generation {before}`"
    )


def _derived(use_case: str) -> "tuple[list[Topic], list[Node]]":
    """The topics of a use case and the tables that derive from them. Raises SettingsError if it has none."""
    from convergence.errors import SettingsError
    from convergence.lake.generations import use_case_of
    from convergence.versions.rebuild import stream_derived
    from convergence_assets import topics
    from convergence_assets.definitions import defs
    from resources.graph import lake_nodes
    from sensors.reconcile import FROM_STREAMS

    known = {topic.table: topic for topic in topics().values()}
    mine = [topic for table, topic in known.items() if use_case_of(table) == use_case]
    if not mine:
        there = ", ".join(sorted({use_case_of(table) for table in known}))
        raise SettingsError(f"no use case {use_case!r} has a stream: there are {there}")
    nodes = stream_derived(lake_nodes(defs.resolve_all_asset_specs()), [topic.table for topic in mine], FROM_STREAMS)
    return mine, nodes


def _refuse_early(live: "Lake", topics: "Sequence[Topic]") -> None:
    """Before hours of work: whether every source still begins where it was landed from."""
    from convergence.versions.rebuild import from_start, landed_ranges, refuse_lost_beginning
    from resources.configured import resources
    from resources.environments import settings

    sources = resources(settings())["sources"].all
    for topic in topics:
        if landed := landed_ranges(live, topic.table):
            offered = [span for source in sources for span in source.offered(topic, lambda _: None)]
            starts = {span.application: span.start for span in offered}
            refuse_lost_beginning(topic.table, landed, from_start(starts))


def _make(live: "Lake", made: "Lake", topics: "Sequence[Topic]", nodes: "Sequence[Node]") -> None:
    """Land everything and materialize what follows from it. Raises LakeError where a run fails."""
    import dagster as dg

    from convergence.cli.materialize import materializer
    from convergence.errors import LakeError
    from convergence.lake.manifests import states
    from convergence.versions.rebuild import landed_ranges, refuse_lost_beginning
    from convergence.versions.reconcile import stale_partitions
    from resources.configured import by_name, resources
    from resources.environments import settings, storage_options
    from resources.lake import LakeIOManager
    from sensors.reconcile import run_requests

    here = settings()
    io_manager = LakeIOManager(
        root=here.lake_root,
        storage_options=by_name(storage_options(here)),
        home=str(here.home),
        generations=dict(made.generations),
    )

    roots = {topic.table for topic in topics}
    read = sorted({table for node in nodes for table in (node.table, *node.upstream)})

    with dg.DagsterInstance.ephemeral() as scratch:
        run = materializer(scratch, resources(here) | {"lake": io_manager})
        for _ in range(_ROUNDS):
            for node in nodes:
                if node.table in roots:
                    landed = landed_ranges(live, node.table)
                    run(node, {"dagster/partition": node.partitions[-1]})
                    refuse_lost_beginning(node.table, landed, landed_ranges(made, node.table))
                    continue
                stale = stale_partitions(nodes, states(made, read))
                for request in run_requests([node], [s for s in stale if s.ready]):
                    run(node, request.tags)
        if left := stale_partitions(nodes, states(made, read)):
            raise LakeError(f"{left[0].table} {left[0].partition} was not made: {left[0].reason}; run it again")


def _show(use_case: str, before: int, generation: int, compared: "Sequence[Comparison]") -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("table", "partitions", "rows", "compared", title=f"{use_case}: generation {generation} and {before}")
    for each in compared:
        if each.partitions or each.gone:
            table.add_row(each.table, str(each.partitions), f"{each.rows:,}", each.verdict)
    console = Console()
    console.width = max(console.width, 100)
    console.print(table)


def _with_instance(do: "Callable[[dg.DagsterInstance], object]") -> None:
    from convergence.cli import instance

    with instance() as inst:
        do(inst)
