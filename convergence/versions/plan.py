"""What would be made anew, and what that would take, told before anything is. Pure: graph, states and figures in.

It asks the very rule that the reconcile sensor acts by, of states in which some tables are as if they had another
content; so the plan cannot differ from what follows.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from convergence.lake.manifests import PartitionState
from convergence.lake.tables import WHOLE
from convergence.observability.usage import Usage
from convergence.versions.reconcile import Node, stale_partitions

States = Mapping[str, Mapping[str, PartitionState]]
NOTHING = Usage(0.0, 0.0, 0.0)
AS_BEFORE = "as last time"


@dataclass(frozen=True)
class Step:
    """A table of a plan.

    Attributes:
        table: the table.
        layer: of the graph.
        by_itself: whether the reconcile sensor does it; else a person does.
        partitions: that would be made.
        rows: that they hold now.
        usage: what making them would take; `peak_memory_mib` is the largest one.
        unknown: partitions without an estimate, because nothing like them was ever made; not in `usage`.
        reason: why the first of them would be made.
        basis: where `usage` comes from.
        encoded: contents that would be encoded anew, and vectors that would be kept; None: it holds no vectors.
    """

    table: str
    layer: str
    by_itself: bool
    partitions: Sequence[str]
    rows: int
    usage: Usage
    unknown: int
    reason: str
    basis: str = AS_BEFORE
    encoded: tuple[int, int] | None = None


def steps(
    nodes: Sequence[Node],
    states: States,
    took: Mapping[str, Mapping[str, Usage]],
    *,
    by_itself: Collection[str],
    changed: Mapping[str, str] | None = None,
) -> list[Step]:
    """The tables that would be made anew, upstream first.

    Args:
        nodes: tables in topological order.
        states: of all partitions, by table.
        took: by table and partition, what making it took last.
        by_itself: layers that the reconcile sensor makes anew.
        changed: tables without partitions that would get another content, with the reason. None: as things are, which
            leaves out what the sensor does not do, and what waits for that.
    """
    if changed is None:
        nodes, before = [node for node in nodes if node.layer in by_itself], states
    else:
        before = {table: _other(held) if table in changed else held for table, held in states.items()}
    wanted: dict[str, dict[str, str]] = {table: {WHOLE: reason} for table, reason in (changed or {}).items()}
    for stale in stale_partitions(nodes, before):
        wanted.setdefault(stale.table, {}).setdefault(stale.partition, stale.reason)
    return [_step(node, wanted[node.table], states.get(node.table, {}), took.get(node.table, {}), by_itself)
            for node in nodes if node.table in wanted]  # fmt: skip


def known(step: Step) -> bool:
    """Whether `usage` says anything: something like one of the partitions was made before."""
    return step.unknown < len(step.partitions)


def total(parts: Iterable[Usage]) -> Usage:
    """Of one after another: CPU and time add up, memory is the largest peak."""
    every = list(parts) or [NOTHING]
    return Usage(sum(u.cpu_seconds for u in every), sum(u.elapsed_seconds for u in every),
                 max(u.peak_memory_mib for u in every))  # fmt: skip


def estimated(partitions: Iterable[str], rows: Mapping[str, int], took: Mapping[str, Usage]) -> tuple[Usage, int]:
    """What making partitions would take by what it took last, and how many of them nothing is known of.

    One that was never measured is taken for a usual one of its table, by rows where its rows are known.
    """
    measured = [key for key in took if rows.get(key)]
    usual = total(took[key] for key in measured)
    per_row = sum(rows[key] for key in measured)
    found, unknown = [], 0
    for key in partitions:
        if key in took:
            found.append(took[key])
        elif measured:
            share = rows[key] / per_row if rows.get(key) else 1 / len(measured)
            found.append(scaled(usual, share))
        else:
            unknown += 1
    return total(found), unknown


def scaled(usage: Usage, times: float) -> Usage:
    """So many times the work, at the same peak of memory."""
    return Usage(usage.cpu_seconds * times, usage.elapsed_seconds * times, usage.peak_memory_mib)


def _other(held: Mapping[str, PartitionState]) -> dict[str, PartitionState]:
    return {key: state._replace(content_hash=f"other than {state.content_hash}") for key, state in held.items()}


def _step(
    node: Node,
    wanted: Mapping[str, str],
    held: Mapping[str, PartitionState],
    took: Mapping[str, Usage],
    by_itself: Collection[str],
) -> Step:
    rows = {key: state.rows for key, state in held.items()}
    usage, unknown = estimated(wanted, rows, took)
    reason = next(iter(wanted.values()))
    return Step(node.table, node.layer, node.layer in by_itself, list(wanted), sum(rows.get(key, 0) for key in wanted),
                usage, unknown, reason)  # fmt: skip


def encoding(step: Step, encoded: tuple[int, int], each: Usage | None, basis: str) -> Step:
    """A step of vectors, with what encoding takes by `each` content; None: nothing was measured, and it is as before.

    What it took last says little: vectors that were known then cost nothing.
    """
    if each is None:
        return replace(step, encoded=encoded)
    return replace(step, encoded=encoded, usage=scaled(each, encoded[0]), unknown=0, basis=basis)
