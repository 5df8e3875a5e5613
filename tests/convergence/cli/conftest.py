"""A deployment of the fraud use case that has been lived in, as it came about message by message and run by run."""

import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import cached_property
from pathlib import Path

import dagster as dg
import polars as pl
import pytest

from convergence import cli
from convergence.arrivals.replay import replay
from convergence.lake.manifests import states
from convergence.lake.tables import Lake
from convergence.versions.reconcile import stale_partitions
from convergence_assets.definitions import graphs
from convergence_assets.fraud.arrivals import FIRST_DAY, TOPIC
from resources import environments
from resources.configured import resources
from resources.graph import lake_nodes
from resources.keys import key_of
from sensors.reconcile import FROM_STREAMS, run_requests
from tests.convergence.lake.frames import contents
from tests.convergence_assets.fraud.worlds import history, messages

DERIVED = ["fraud/raw_transactions", "fraud/transactions", "fraud/labels", "fraud/transaction_features"]
KEPT_OUT = ["fraud/raw_transactions_late", "fraud/raw_transactions_rejected"]
TABLES = [*DERIVED, *KEPT_OUT]
DAYS = 6
LATE, REJECTED, REPEATED = 3, 2, 20


def day(number: int) -> str:
    return str(FIRST_DAY + timedelta(days=number))


@dataclass
class House:
    """A deployment of the use case, with the Dagster that knows of it."""

    here: environments.Settings
    instance: dg.DagsterInstance

    @property
    def inbox(self) -> Path:
        return self.here.home / "inbox" / TOPIC.name

    @property
    def lake(self) -> Lake:
        """As a process that starts now sees it."""
        return cli.lake()

    def arrive(self, first: int, last: int) -> None:
        days = (FIRST_DAY + timedelta(days=number) for number in (first, last))
        list(replay(replace(TOPIC, history=history), None, self.inbox.parent, *days))

    def drop(self, name: str, frame: pl.DataFrame, *, hours: int) -> None:
        """Messages that arrive so many hours after their event."""
        arrived = (pl.col("TX_DATETIME") + timedelta(hours=hours)).dt.to_string("iso").alias("arrived_at")
        frame.with_columns(arrived).write_ndjson(self.inbox / name)

    def catch_up(self) -> None:
        """What the sensors would do: land, then materialize what is missing or has changed inputs."""
        self.land()
        nodes = [n for n in lake_nodes(self._definitions.resolve_all_asset_specs()) if n.layer in FROM_STREAMS]
        for node in nodes:
            stale = stale_partitions(nodes, states(self.lake, DERIVED))
            for request in run_requests([node], [s for s in stale if s.ready]):
                self._run(request)

    def land(self) -> None:
        self.materialize(DERIVED[0], day(0))

    def materialize(self, table: str, partition: str) -> None:
        self._run(dg.RunRequest(asset_selection=[key_of(table)], tags={"dagster/partition": partition}))

    @cached_property
    def _definitions(self) -> dg.Definitions:
        mine = dg.Definitions(resources=resources(self.here), executor=dg.in_process_executor)
        return dg.Definitions.merge(*graphs, mine)

    def _run(self, request: dg.RunRequest) -> None:
        result = self._definitions.resolve_implicit_global_asset_job_def().execute_in_process(
            instance=self.instance,
            asset_selection=request.asset_selection,
            tags=request.tags,
            run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
        )
        assert result.success

    def hashes(self, lake: Lake | None = None) -> dict[str, dict[str, str]]:
        held = states(lake or self.lake, TABLES)
        return {t: {k: s.content_hash for k, s in sorted(held[t].items()) if s.rows} for t in TABLES}

    def messages(self) -> Counter[tuple[str, int]]:
        """How often each message is in the raw table or was kept out of it."""
        tables = (DERIVED[0], *KEPT_OUT)
        found = [self.lake.scan(table).select("source", "offset").collect().rows() for table in tables]
        return Counter(row for part in found for row in part)

    def files(self) -> dict[str, bytes]:
        """Every file of the tables that are not made anew beside them."""
        folder = Path(self.here.lake_root)
        return {k: v for k, v in contents(folder).items() if k.startswith(("fraud/", "_generations/"))}


@pytest.fixture(scope="session")
def lived_in(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """Six days of arrivals in three landings: repeats, a correction and late, out-of-order and unusable messages."""
    here = environments.Settings(home=tmp_path_factory.mktemp("lived_in") / "home")
    with dg.DagsterInstance.ephemeral() as instance:
        house = House(here, instance)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(environments, "settings", lambda: here)
            house.arrive(0, 2)
            house.catch_up()
            house.drop("repeats.jsonl", messages().head(REPEATED), hours=0)
            house.drop("correction.jsonl", messages().slice(100, 1).with_columns(TX_AMOUNT=pl.lit(77.7)), hours=5)
            house.catch_up()
            house.arrive(3, DAYS - 1)
            late = messages().slice(200, LATE).with_columns(pl.col("TRANSACTION_ID") + 10**8)
            house.drop("late.jsonl", late, hours=49)
            out_of_order = messages().slice(300, 5).with_columns(pl.col("TRANSACTION_ID") + 2 * 10**8)
            house.drop("out_of_order.jsonl", out_of_order, hours=40)
            unusable = messages().slice(400, REJECTED).with_columns(TX_AMOUNT=pl.lit(-1.0))
            house.drop("unusable.jsonl", unusable, hours=0)
            house.catch_up()
        yield house


@pytest.fixture
def house(lived_in: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> House:
    """A copy of it, which a test may change; Dagster's memory is shared, for no test relies on it alone."""
    home = tmp_path / "home"
    shutil.copytree(lived_in.here.home, home)
    mine = House(environments.Settings(home=home), lived_in.instance)
    monkeypatch.setattr(environments, "settings", lambda: mine.here)
    return mine
