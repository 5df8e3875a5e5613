"""Fixtures that more than one folder of tests uses."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
import pytest

from convergence.errors import ServiceError
from convergence.lake.durable import wait_for_the_disk
from convergence.lake.tables import Lake
from convergence.observability import context
from convergence.services.kafka import KafkaBroker, install_kafka
from convergence.services.postgres import PostgresServer, postgres_binaries
from resources.environments import Settings

# XGBoost's threads wait for each other by spinning: on a busy machine a fit then takes five times as long.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# What outlives a power cut has tests of its own; the others need not wait for the disk.
os.environ.setdefault("CONVERGENCE_DURABLE", "off")
wait_for_the_disk(wait=False)


@pytest.fixture(autouse=True)
def about_nothing() -> None:
    """What a run that failed in an earlier test was about: its body, held by the failure, has not ended yet."""
    context._bound.set(None)


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(str(tmp_path / "lake"))


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as ephemeral:
        yield ephemeral


@contextmanager
def needed_service() -> Iterator[None]:
    """A machine that cannot have the service of this body skips its tests, unless it is told not to."""
    try:
        yield
    except ServiceError as error:
        if os.environ.get("CI") or os.environ.get("CONVERGENCE_REQUIRE_SERVICES"):
            raise
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def kafka_jars() -> Path:
    """The broker's jars."""
    with needed_service():
        return install_kafka(Settings().home / "services")


@contextmanager
def _started(folder: Path, jars: Path) -> Iterator[KafkaBroker]:
    broker = KafkaBroker(folder, jars)
    broker.start()
    yield broker
    broker.stop()


@pytest.fixture(scope="session")
def kafka(kafka_jars: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaBroker]:
    """A broker for the tests of this process: a free port, a temporary folder. Give each test a topic of its own."""
    with _started(tmp_path_factory.mktemp("kafka"), kafka_jars) as broker:
        yield broker


@pytest.fixture(scope="module")
def mortal(kafka_jars: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaBroker]:
    """A broker that the tests of a module may kill, and whose topics they may make anew."""
    with _started(tmp_path_factory.mktemp("mortal"), kafka_jars) as broker:
        yield broker


@pytest.fixture
def own_broker(kafka_jars: Path, tmp_path: Path) -> Iterator[KafkaBroker]:
    """A broker of one test alone."""
    with _started(tmp_path / "broker", kafka_jars) as broker:
        yield broker


@pytest.fixture(scope="session")
def postgres_folder() -> Iterator[Path]:
    """A folder for PostgreSQL.

    Not below pytest's own, which other users may not enter: for root, the server is another user.
    """
    with needed_service():
        postgres_binaries()
    with tempfile.TemporaryDirectory(prefix="postgres-") as folder:
        Path(folder).chmod(0o711)
        yield Path(folder)


@pytest.fixture(scope="session")
def postgres(postgres_folder: Path) -> Iterator[PostgresServer]:
    """A server for the tests of this process: a free port, a temporary folder. Give each test a schema of its own."""
    server = PostgresServer(postgres_folder / "shared")
    server.start()
    yield server
    server.stop()
