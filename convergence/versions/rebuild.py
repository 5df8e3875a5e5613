"""Making the stream-derived tables of a use case anew from the log, beside those that count: the Kappa pattern.

The rules alone, without a way to materialize: which tables these are, whether the log still holds what was landed,
and how the new partitions compare with the old.
"""

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from convergence.arrivals.rejected import is_again
from convergence.errors import ArrivalError
from convergence.lake.content_hash import EMPTY
from convergence.lake.generations import Generations, reserve, use_case_of
from convergence.lake.manifests import MANIFESTS, PartitionState
from convergence.lake.tables import Lake, rows_of
from convergence.versions.reconcile import Node

COMPANIONS = ("", "_rejected", "_late")  # what a contract or lateness keeps from a table shares its generation

Ranges = Mapping[str, Sequence[tuple[int, float]]]  # application id -> ranges [from, to) of offsets

States = Mapping[str, Mapping[str, PartitionState]]


def stream_derived(nodes: Iterable[Node], landed: Collection[str], layers: Collection[str]) -> list[Node]:
    """The nodes that lie downstream of the `landed` tables through tables of these layers alone, upstream first.

    Models and issued predictions, and what is made from them, stay: a log cannot say what was decided or promised.
    """
    found: dict[str, Node] = {}
    use_cases = {use_case_of(table) for table in landed}
    for node in nodes:
        follows = node.layer in layers and not found.keys().isdisjoint(node.upstream)
        if node.table in landed or (follows and use_case_of(node.table) in use_cases):
            found[node.table] = node
    return list(found.values())


def with_companions(tables: Iterable[str]) -> list[str]:
    """These tables, and those that hold what was kept from them."""
    return [table + suffix for table in tables for suffix in COMPANIONS]


def new_generation(lake: Lake, use_case: str, tables: Iterable[str]) -> tuple[int, Generations]:
    """A number that no generation of the use case ever had, for the caller alone, and these tables in it."""
    handle = lake.open(MANIFESTS)
    places = rows_of(handle).select(pl.col("table").unique()).collect()["table"] if handle else []
    folders = (place.partition("/")[0].partition("@") for place in places)
    used = [int(number) for name, at, number in folders if at and name == use_case]
    generation = reserve(lake.store, use_case, used)
    return generation, dict.fromkeys(with_companions(tables), generation)


def landed_ranges(lake: Lake, table: str) -> Ranges:
    """The offsets that a landed table's commits took in, rejected and late messages included."""
    found: dict[str, list[tuple[int, float]]] = {}
    replaced: set[str] = set()  # files that were written anew without a subject who was erased
    for commit in lake.commits(table):
        replaced |= commit.manifest.get("replaced", {}).keys()
        for application, (start, end) in commit.manifest.get("offsets", {}).items():
            if not is_again(application):  # what was rejected is in its source still
                found.setdefault(application, []).append((start, end))
    return {name: _joined(ranges) for name, ranges in found.items() if name not in replaced}


def refuse_lost_beginning(table: str, landed: Ranges, there: Ranges) -> None:
    """Raise ArrivalError, with their number, if messages that were landed once are no longer `there`."""
    lost = {
        application: sum(_uncovered(each, there.get(application, ())) for each in ranges)
        for application, ranges in landed.items()
    }
    lost = {application: round(count) for application, count in lost.items() if count}
    if lost:
        most = max(lost, key=lambda application: lost[application])
        raise ArrivalError(
            f"{table} cannot be made anew: {sum(lost.values())} of the messages that it was landed from are gone from "
            f"their sources, of {len(lost)} partitions, e.g. {lost[most]} of {most}. Restore them, or bring back the "
            "source that is not configured now; the tables that there are hold them still"
        )


def from_start(starts: Mapping[str, int]) -> Ranges:
    """What a source offers that begins at these offsets: all that follows."""
    return {application: [(start, math.inf)] for application, start in starts.items()}


@dataclass(frozen=True)
class Comparison:
    """A table made anew beside the one that counts."""

    table: str
    partitions: int
    rows: int
    equal: int
    different: Sequence[str]  # partitions in both, with other content
    added: Sequence[str]  # that have rows in the new one only
    gone: Sequence[str]  # that have rows in the old one only

    @property
    def verdict(self) -> str:
        """In words, with the first partition of each kind."""
        kinds = (("different", self.different), ("new", self.added), ("gone", self.gone))
        said = [f"{len(keys)} {kind}, first {min(keys) or 'the whole table'}" for kind, keys in kinds if keys]
        return "; ".join(said) or "equal"


def compare(tables: Iterable[str], old: States, new: States) -> list[Comparison]:
    """Partition by partition, by content hash; one that is not there equals one without rows."""
    return [_compared(table, old.get(table, {}), new.get(table, {})) for table in tables]


def _compared(table: str, old: Mapping[str, PartitionState], new: Mapping[str, PartitionState]) -> Comparison:
    was, now = ({k: s.content_hash for k, s in held.items() if s.content_hash != EMPTY} for held in (old, new))
    return Comparison(
        table,
        partitions=len(new),
        rows=sum(state.rows for state in new.values()),
        equal=sum(was[key] == now[key] for key in was.keys() & now.keys()),
        different=sorted(key for key in was.keys() & now.keys() if was[key] != now[key]),
        added=sorted(now.keys() - was.keys()),
        gone=sorted(was.keys() - now.keys()),
    )


def _joined(ranges: Iterable[tuple[int, float]]) -> list[tuple[int, float]]:
    joined: list[tuple[int, float]] = []
    for start, end in sorted(ranges):
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(joined[-1][1], end))
        else:
            joined.append((start, end))
    return joined


def _uncovered(wanted: tuple[int, float], there: Iterable[tuple[int, float]]) -> float:
    """How much of a range lies in none of `there`, whose ranges do not overlap."""
    start, end = wanted
    return end - start - sum(max(0, min(end, last) - max(start, first)) for first, last in there)
