"""Which partitions no longer match their inputs. Pure: a graph and the partitions' states in, the stale ones out.

Staleness is read, not guessed: each partition's manifest says which upstream content it was made from, and that is
compared with what is there now. Asked again at any time the answer is complete, so no arrival can be missed.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from types import MappingProxyType

from convergence.lake.manifests import PartitionState, input_lines, lines_digest


@dataclass(frozen=True)
class Node:
    """A lake table in the graph: its partitions in order, and which partitions of each upstream table one reads."""

    table: str
    partitions: Sequence[str]
    upstream: Mapping[str, Callable[[str], Sequence[str]]]
    code_version: str
    layer: str
    steps: Sequence[str] = ()  # assets outside of the lake, between it and its upstream tables: they run first


@dataclass(frozen=True)
class Stale:
    """A partition to be made again. `fingerprint` names what it has and what it should have."""

    table: str
    partition: str
    reason: str
    ready: bool  # every upstream partition that it reads is in order
    fingerprint: str


def stale_partitions(
    nodes: Iterable[Node],
    states: Mapping[str, Mapping[str, PartitionState]],
    generations: Mapping[str, int] = MappingProxyType({}),
) -> list[Stale]:
    """The partitions whose inputs changed, and the missing ones whose inputs are there.

    Nodes come in topological order. A partition is missing, rather than not due, when each upstream has the partition
    of the same name, or where an upstream's window ends earlier, the last one of the window. Code changes do not count.
    """
    dirty: dict[str, set[str]] = {}
    found: list[Stale] = []
    for node in nodes:
        have = states.get(node.table, {})
        lines = {up: input_lines({k: s.content_hash for k, s in states.get(up, {}).items()}) for up in node.upstream}
        unsettled = {up: keys for up in node.upstream if (keys := dirty.get(up))}
        mine = dirty.setdefault(node.table, set())
        for key in node.partitions if node.upstream else ():
            reads = {up: keys(key) for up, keys in node.upstream.items()}
            waits = [f"{up} {k}" for up, keys in unsettled.items() for k in reads[up] if k in keys] if unsettled else ()
            held = have.get(key)
            if held is None and not all(_due(key, reads[up], lines[up], unsettled.get(up, ())) for up in reads):
                continue
            digest = lines_digest({up: filter(None, map(there.get, reads[up])) for up, there in lines.items()})
            if held is not None and held.inputs == digest and not waits:
                continue
            mine.add(key)
            reason = (
                "missing" if held is None else "inputs changed" if held.inputs != digest else "an input will change"
            )
            if waits:
                reason += f"; waits for {waits[0]}" + (f" and {len(waits) - 1} more" if len(waits) > 1 else "")
            was = f"{held.version}/{held.run_id}" if held else ""
            mark = blake2b(
                f"{node.table}|{generations.get(node.table, 1)}|{key}|{was}|{digest}|{node.code_version}".encode(),
                digest_size=12,
            ).hexdigest()
            found.append(Stale(node.table, key, reason, not waits, mark))
    return found


def _due(key: str, reads: Sequence[str], there: Mapping[str, str], coming: Iterable[str]) -> bool:
    if not reads:
        return True  # a window before the beginning of history
    needed = key if key in reads else reads[-1]
    return needed in there or needed in coming
