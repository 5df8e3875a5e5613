"""A late, repeated or corrected event re-runs what read its day alone, and ends like a fresh start."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import dagster as dg
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from convergence.arrivals.drop_folder import DropFolder
from convergence.arrivals.lander import Landed, land
from convergence.lake.manifests import InputRead, PartitionState, Provenance, build_manifest, states
from convergence.lake.tables import Lake
from convergence.versions.reconcile import Node, stale_partitions
from convergence_assets.fraud import definitions
from convergence_assets.fraud.arrivals import FIRST_DAY, TOPIC
from convergence_assets.fraud.datasets import label_rows, transaction_rows
from convergence_assets.fraud.features import feature_rows
from resources.configured import resources
from resources.environments import Settings
from resources.graph import lake_nodes
from sensors.reconcile import FROM_STREAMS, run_requests
from tests.convergence_assets.fraud.worlds import at, messages

DAYS = 12
RAW, TRANSACTIONS, LABELS, FEATURES, SCORES = (
    f"fraud/{name}" for name in ("raw_transactions", "transactions", "labels", "transaction_features", "fraud_scores")
)
MADE = Provenance("run", "1")

Runs = set[tuple[str, str]]


@cache
def world() -> list[dict[str, Any]]:
    """Events of few customers, in order."""
    frame = messages(customers=6, terminals=12, days=DAYS, radius=60.0)
    return [json.loads(line) for line in frame.write_ndjson().splitlines()]


@cache
def nodes() -> list[Node]:
    mine = dg.Definitions(resources=resources(Settings()))
    graph = dg.Definitions.merge(definitions.defs, mine).get_repository_def().assets_defs_by_key
    return lake_nodes(spec for asset in graph.values() for spec in asset.specs)


def rebuilt() -> list[Node]:
    return [node for node in nodes() if node.layer in FROM_STREAMS]


def arrive(lake: Lake, inbox: Path, name: str, events: Sequence[Mapping[str, Any]]) -> Landed:
    """A file of messages, landed."""
    folder = inbox / TOPIC.name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.jsonl").write_text("\n".join(map(json.dumps, events)))
    return land(lake, TOPIC, DropFolder(inbox), MADE)


def held(lake: Lake) -> dict[str, dict[str, PartitionState]]:
    return states(lake, [RAW, TRANSACTIONS, LABELS, FEATURES])


def hashes(lake: Lake) -> dict[tuple[str, str], str]:
    return {(t, key): s.content_hash for t, there in held(lake).items() for key, s in there.items()}


def settle(lake: Lake) -> Runs:
    """Make every stale partition again, by the pure functions, until none is left; returns which were made."""
    runs: Runs = set()
    while stale := [s for s in stale_partitions(rebuilt(), held(lake)) if s.ready]:
        for node in rebuilt():
            if keys := [s.partition for s in stale if s.table == node.table]:
                runs |= {(node.table, key) for key in keys}
                make(lake, node, keys)
    return runs


def make(lake: Lake, node: Node, keys: Sequence[str]) -> None:
    there = held(lake)
    reads = {
        key: {up: [k for k in keys_of(key) if k in there[up]] for up, keys_of in node.upstream.items()} for key in keys
    }
    made = {key: rows_of(lake, node.table, key, reads[key]) for key in keys}
    inputs = {up: InputRead(1, {k: s.content_hash for k, s in there[up].items()}) for up in node.upstream}
    manifest = build_manifest(made, "replace", Provenance("run", "1", inputs=inputs, reads=reads))
    lake.replace(node.table, made, manifest, lake.open(node.table))


def rows_of(lake: Lake, table: str, key: str, reads: Mapping[str, Sequence[str]]) -> pl.DataFrame:
    if table == TRANSACTIONS:
        return transaction_rows(lake.scan(RAW, [key])).collect()
    if table == LABELS:
        return label_rows(lake.scan(RAW, [key])).collect()
    transactions, labels = lake.scan(TRANSACTIONS, reads[TRANSACTIONS]), lake.scan(LABELS, reads[LABELS])
    start = at(date.fromisoformat(key))
    return feature_rows(transactions, labels, start, start + timedelta(days=1))


def concerned(before: Mapping[tuple[str, str], str], after: Mapping[tuple[str, str], str]) -> Runs:
    """The partitions that read anything which changed: what must run, and no more."""
    changed = {place for place, digest in after.items() if before.get(place) != digest}
    return {
        (node.table, key)
        for node in rebuilt()
        for key in node.partitions
        if (node.table, key) in after
        and any((up, k) in changed for up, keys in node.upstream.items() for k in keys(key))
    }


def from_scratch(events: Sequence[Mapping[str, Any]], folder: Path) -> dict[tuple[str, str], str]:
    """Content hashes of datasets and features after one landing and one recomputation of everything."""
    lake = Lake(f"{folder}/scratch")
    arrive(lake, folder / "scratch-inbox", "all", events)
    settle(lake)
    return derived(hashes(lake))


def derived(of: Mapping[tuple[str, str], str]) -> dict[tuple[str, str], str]:
    return {place: digest for place, digest in of.items() if place[0] != RAW}


KINDS = st.sampled_from(("late", "repeat", "correction"))
STEPS = st.lists(
    st.lists(st.tuples(KINDS, st.integers(0, 10_000), st.integers(0, 71)), min_size=1, max_size=3), max_size=3
)


def disturbed(kind: str, event: Mapping[str, Any], hours: int, number: int) -> dict[str, Any]:
    """The event as it comes once more, or an event of its own that comes late."""
    time = str(event["TX_DATETIME"])
    arrived = pl.Series([time]).str.to_datetime().dt.offset_by(f"{hours}h").dt.to_string("iso").item()
    return {
        "late": {**event, "TRANSACTION_ID": 1_000_000 + number, "arrived_at": arrived},
        "repeat": dict(event),
        "correction": {**event, "TX_AMOUNT": float(hours) + 0.5, "arrived_at": arrived},
    }[kind]


@settings(deadline=None, max_examples=5)
@given(STEPS)
def test_whatever_comes_late_twice_or_corrected_re_runs_its_readers_and_ends_like_a_fresh_start(
    steps: list[list[tuple[str, int, int]]],
) -> None:
    with TemporaryDirectory() as name:
        folder = Path(name)
        lake, sent = Lake(f"{folder}/lake"), list(world())
        arrive(lake, folder / "inbox", "base", world())
        settle(lake)
        for number, step in enumerate(steps):
            chosen = [(kind, world()[at_ % len(world())], hours) for kind, at_, hours in step]
            news = [disturbed(*one, 10 * number + n) for n, one in enumerate(chosen)]
            sent += news
            before = hashes(lake)
            result = arrive(lake, folder / "inbox", f"{number}", news)
            ran = settle(lake)
            assert ran == concerned(before, hashes(lake))
            assert {key for table, key in ran if table == TRANSACTIONS} == result.days
        assert derived(hashes(lake)) == from_scratch(sent, folder)


def test_an_event_beyond_the_limit_re_runs_nothing(lake: Lake, tmp_path: Path) -> None:
    arrive(lake, tmp_path, "base", world())
    settle(lake)
    result = arrive(lake, tmp_path, "late", [disturbed("late", world()[3], 49, 1)])
    assert (result.late, settle(lake)) == (1, set())


# Through the real assets


@dataclass
class House:
    """The use case with its reconciliation, runs in process."""

    lake: Lake
    home: Path
    instance: dg.DagsterInstance

    def settle(self) -> Runs:
        runs: Runs = set()
        mine = dg.Definitions(resources=resources(Settings(home=self.home)), executor=dg.in_process_executor)
        job = dg.Definitions.merge(definitions.defs, mine).resolve_implicit_global_asset_job_def()
        while stale := [s for s in stale_partitions(rebuilt(), held(self.lake)) if s.ready]:
            runs |= {(s.table, s.partition) for s in stale}
            for request in run_requests(rebuilt(), stale):
                result = job.execute_in_process(
                    instance=self.instance,
                    asset_selection=list(request.asset_selection or ()),
                    tags=dict(request.tags),
                    run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
                )
                assert result.success
        return runs


@pytest.fixture
def house(tmp_path: Path, instance: dg.DagsterInstance) -> House:
    home = tmp_path / "home"
    return House(resources(Settings(home=home))["lake"].lake, home, instance)


def graph_with_scores(day: str) -> list[Node]:
    """The graph, with scores of this day, for which the real ones begin too late: they need weeks of history."""
    (scores,) = (node for node in nodes() if node.table == SCORES)
    return [*rebuilt(), replace(scores, partitions=[day], upstream={FEATURES: lambda key: [key]})]


def issue_scores(lake: Lake, day: str) -> None:
    """Scores of a day as they were issued from its features."""
    features = {k: s.content_hash for k, s in held(lake)[FEATURES].items()}
    scores = {day: pl.DataFrame({"event_date": [date.fromisoformat(day)], "score": [0.5]})}
    made = replace(MADE, inputs={FEATURES: InputRead(1, features)}, reads={day: {FEATURES: [day]}})
    lake.replace(SCORES, scores, build_manifest(scores, "replace", made), lake.open(SCORES))


def stale_after_all(lake: Lake, graph: Sequence[Node]) -> list[tuple[str, str]]:
    return [(s.table, s.partition) for s in stale_partitions(graph, states(lake, [RAW, *(n.table for n in graph)]))]


def test_the_assets_do_so_from_the_late_event_to_stale_scores(house: House) -> None:
    day, lake = str(FIRST_DAY + timedelta(days=4)), house.lake
    arrive(lake, house.home / "inbox", "base", world())
    house.settle()
    issue_scores(lake, day)
    graph = graph_with_scores(day)
    assert stale_after_all(lake, graph) == []
    event = next(e for e in world() if str(e["TX_DATETIME"]).startswith(day))
    before, late = hashes(lake), disturbed("late", event, 5, 1)
    arrive(lake, house.home / "inbox", "late", [late])
    ran = house.settle()
    assert ran == concerned(before, hashes(lake))
    read_it = {str(FIRST_DAY + timedelta(days=n)) for n in range(4, DAYS)}
    assert ran == {(TRANSACTIONS, day), (LABELS, day)} | {(FEATURES, key) for key in read_it}
    assert stale_after_all(lake, graph) == [(SCORES, day)]
    assert derived(hashes(lake)) == from_scratch([*world(), late], house.home)
