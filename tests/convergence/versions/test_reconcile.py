"""Which partitions are stale: single cases in words, then random histories against a slow and obvious oracle."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from convergence.lake.manifests import PartitionState, inputs_digest
from convergence.lake.tables import WHOLE
from convergence.versions.reconcile import Node, Stale, stale_partitions

DAYS = [f"2024-01-{n:02}" for n in range(1, 9)]

Contents = dict[str, dict[str, str]]  # table -> partition -> content


def node(table: str, upstream: Mapping[str, tuple[int, int]] | None = None, code_version: str = "1") -> Node:
    """A daily table; `upstream` gives first and last day read, relative to the day."""
    reads = {up: lambda key, w=window: reading(key, *w) for up, window in (upstream or {}).items()}
    return Node(table, DAYS, reads, code_version, "feature")


def reading(key: str, first: int, last: int) -> list[str]:
    at = DAYS.index(key)
    return DAYS[max(0, at + first) : max(0, at + last + 1)]


def state(content: str, consumed: Contents | None = None, *, version: int = 0, run_id: str = "run") -> PartitionState:
    return PartitionState(version, 1, content, inputs_digest(consumed or {}), "1", run_id, ())


RAW, COPY = node("raw"), node("copy", {"raw": (0, 0)})
IN_SYNC = {
    "raw": {DAYS[0]: state("a"), DAYS[1]: state("b")},
    "copy": {DAYS[0]: state("a", {"raw": {DAYS[0]: "a"}}), DAYS[1]: state("b", {"raw": {DAYS[1]: "b"}})},
}


def found(nodes: list[Node], states: Mapping[str, Mapping[str, PartitionState]]) -> dict[str, tuple[str, bool]]:
    return {f"{s.table} {s.partition[-2:]}": (s.reason, s.ready) for s in stale_partitions(nodes, states)}


def test_nothing_is_stale_when_everything_was_made_from_what_is_there() -> None:
    assert found([RAW, COPY], IN_SYNC) == {}


def test_a_root_is_never_stale() -> None:
    assert found([RAW], {}) == {}


def test_a_changed_input_makes_its_reader_stale() -> None:
    assert found([RAW, COPY], IN_SYNC | {"raw": {DAYS[0]: state("a"), DAYS[1]: state("B")}}) == {
        "copy 02": ("inputs changed", True)
    }


def test_a_partition_is_missing_when_its_input_is_there() -> None:
    assert found([RAW, COPY], {"raw": {DAYS[2]: state("c")}}) == {"copy 03": ("missing", True)}


def test_a_partition_is_not_due_while_an_upstream_lacks_its_day() -> None:
    both = node("both", {"raw": (0, 0), "other": (0, 0)})
    assert found([RAW, node("other"), both], {"raw": {DAYS[2]: state("c")}}) == {}


def test_a_window_is_due_when_its_own_day_is_there_and_older_days_are_not() -> None:
    window = node("window", {"raw": (-2, 0)})
    assert found([RAW, window], {"raw": {DAYS[3]: state("d")}}) == {"window 04": ("missing", True)}


def test_a_window_that_ends_earlier_is_due_when_its_last_day_is_there() -> None:
    labelled = node("labelled", {"raw": (0, 0), "labels": (-4, -2)})
    states = {"raw": {day: state("x") for day in DAYS}, "labels": {DAYS[2]: state("l")}}
    # the first two days read no labels at all, and the third day's labels are due on the fifth
    assert found([RAW, node("labels"), labelled], states) == {
        "labelled 01": ("missing", True),
        "labelled 02": ("missing", True),
        "labelled 05": ("missing", True),
    }


def test_a_day_that_appears_within_a_window_makes_its_readers_stale() -> None:
    window = node("window", {"raw": (-2, 0)})
    made = {"window": {DAYS[3]: state("w", {"raw": {DAYS[3]: "d"}})}}
    assert found([RAW, window], made | {"raw": {DAYS[3]: state("d"), DAYS[2]: state("c")}}) == {
        "window 03": ("missing", True),
        "window 04": ("inputs changed", True),
    }


def test_a_partition_waits_for_the_inputs_that_will_change() -> None:
    last = node("last", {"copy": (-1, 0)})
    states = IN_SYNC | {
        "raw": {DAYS[0]: state("A"), DAYS[1]: state("B")},
        "last": {DAYS[1]: state("l", {"copy": {DAYS[0]: "a", DAYS[1]: "b"}})},
    }
    assert found([RAW, COPY, last], states) == {
        "copy 01": ("inputs changed", True),
        "copy 02": ("inputs changed", True),
        "last 01": (f"missing; waits for copy {DAYS[0]}", False),
        "last 02": (f"an input will change; waits for copy {DAYS[0]} and 1 more", False),
    }


def test_a_missing_partition_waits_for_a_missing_input() -> None:
    last = node("last", {"copy": (0, 0)})
    assert found([RAW, COPY, last], {"raw": {DAYS[0]: state("a")}}) == {
        "copy 01": ("missing", True),
        "last 01": (f"missing; waits for copy {DAYS[0]}", False),
    }


def test_an_unpartitioned_table_is_stale_when_any_day_changed() -> None:
    whole = Node("whole", [WHOLE], {"raw": lambda _: DAYS}, "1", "dataset")
    made = {"whole": {WHOLE: state("w", {"raw": {DAYS[0]: "a"}})}, "raw": {DAYS[0]: state("a"), DAYS[1]: state("b")}}
    assert found([RAW, whole], made) == {"whole ": ("inputs changed", True)}


def test_new_code_makes_nothing_stale() -> None:
    assert found([RAW, node("copy", {"raw": (0, 0)}, code_version="2")], IN_SYNC) == {}


def fingerprint(states: Mapping[str, Mapping[str, PartitionState]], copy: Node = COPY) -> str:
    (stale,) = stale_partitions([RAW, copy], states)
    return stale.fingerprint


MISSING = {"raw": {DAYS[0]: state("a")}}


@pytest.mark.parametrize(
    ("states", "copy"),
    [
        ({"raw": {DAYS[0]: state("A")}}, COPY),
        (MISSING, node("copy", {"raw": (0, 0)}, code_version="2")),
        (MISSING | {"copy": {DAYS[0]: state("x", version=3)}}, COPY),
        (MISSING | {"copy": {DAYS[0]: state("x", version=4)}}, COPY),
        (MISSING | {"copy": {DAYS[0]: state("x", version=4, run_id="another")}}, COPY),
        ({"raw": {DAYS[1]: state("a")}}, COPY),
    ],
    ids=["other input", "other code", "has a version", "another version", "another run", "another day"],
)
def test_a_fingerprint_names_what_a_partition_has_and_what_it_should_have(states, copy: Node) -> None:
    assert fingerprint(states, copy) != fingerprint(MISSING)
    assert fingerprint(states, copy) == fingerprint(dict(states), copy)


@dataclass
class World:
    """Tables with their contents and what each partition was made from, as plain dictionaries."""

    windows: dict[str, dict[str, tuple[int, int]]]  # table -> upstream -> window
    contents: Contents = field(default_factory=dict)
    consumed: dict[str, dict[str, Contents]] = field(default_factory=dict)
    commits: int = 0

    def __post_init__(self) -> None:
        self.contents = {table: {} for table in self.windows}
        self.consumed = {table: {} for table in self.windows}

    def inputs(self, table: str, key: str) -> Contents:
        """What a partition would be made from now."""
        return {
            up: {k: self.contents[up][k] for k in reading(key, *window) if k in self.contents[up]}
            for up, window in self.windows[table].items()
        }

    def make(self, table: str, key: str) -> None:
        """Materialize a partition: few different contents, so that changes sometimes stop here."""
        inputs = self.inputs(table, key)
        self.consumed[table][key] = inputs
        self.contents[table][key] = str(sum(int(c) for part in inputs.values() for c in part.values()) % 3)
        self.commits += 1

    def differs(self, table: str, key: str) -> bool:
        """Whether the partition has to be made (again): the definition, one partition at a time."""
        if not self.windows[table]:
            return False
        if key not in self.contents[table]:
            return all(self.due(key, up, window) for up, window in self.windows[table].items())
        return self.consumed[table][key] != self.inputs(table, key) or self.unsettled(table, key)

    def due(self, key: str, up: str, window: tuple[int, int]) -> bool:
        reads = reading(key, *window)
        needed = key if key in reads else reads[-1] if reads else None
        return needed is None or needed in self.contents[up] or self.differs(up, needed)

    def unsettled(self, table: str, key: str) -> bool:
        return any(self.differs(up, k) for up, window in self.windows[table].items() for k in reading(key, *window))

    def nodes(self) -> list[Node]:
        return [node(table, windows) for table, windows in self.windows.items()]

    def stale(self) -> list[Stale]:
        states = {
            table: {
                key: state(content, self.consumed[table].get(key), version=self.commits)
                for key, content in keys.items()
            }
            for table, keys in self.contents.items()
        }
        return stale_partitions(self.nodes(), states)

    def expected(self) -> Iterator[tuple[str, str, bool]]:
        for table in self.windows:
            for key in DAYS:
                if self.differs(table, key):
                    yield table, key, not self.unsettled(table, key)


@st.composite
def histories(draw: st.DrawFn) -> World:
    """Two roots and two or three tables made from what stands before them, after some arrivals and some runs."""
    windows: dict[str, dict[str, tuple[int, int]]] = {"raw": {}, "labels": {}}
    for table in ("first", "second", "third")[: draw(st.integers(2, 3))]:
        upstream = draw(st.lists(st.sampled_from(list(windows)), min_size=1, max_size=2, unique=True))
        windows[table] = {up: draw(st.sampled_from([(0, 0), (-2, 0), (-3, -1), (-1, -1)])) for up in upstream}
    world = World(windows)
    for table, key, content in draw(
        st.lists(st.tuples(st.sampled_from(list(windows)), st.sampled_from(DAYS), st.sampled_from("12")), max_size=40)
    ):
        if windows[table]:
            world.make(table, key)
        else:
            world.contents[table][key] = content
    return world


@settings(max_examples=200, deadline=None)
@given(histories())
def test_exactly_the_partitions_that_differ_are_found_and_ready_when_nothing_they_read_is(world: World) -> None:
    assert [(s.table, s.partition, s.ready) for s in world.stale()] == list(world.expected())


@settings(max_examples=100, deadline=None)
@given(histories())
def test_making_all_that_is_ready_again_and_again_ends_in_sync(world: World) -> None:
    for _ in range(len(world.windows)):
        for stale in world.stale():
            if stale.ready:
                world.make(stale.table, stale.partition)
    assert world.stale() == []
    for table, key in ((t, k) for t in world.windows if world.windows[t] for k in world.contents[t]):
        assert world.consumed[table][key] == world.inputs(table, key)
