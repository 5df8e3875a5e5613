"""Fixed seeds of `convergence chaos`, in which landers die, wake up again or meet each other."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from convergence.services.kafka import KafkaBroker
from tests.convergence.chaos.trials import assert_nothing_is_lost


@pytest.fixture(scope="module")
def broker(kafka_jars: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaBroker]:
    """A broker whose topic is made anew for each trial."""
    own = KafkaBroker(tmp_path_factory.mktemp("broker"), kafka_jars)
    own.start()
    yield own
    own.stop()


@pytest.mark.parametrize(
    ("case", "seed"),
    [("R-01", 25), ("R-05", 1), ("R-06", 45), ("R-07", 43), ("R-10", 15), ("R-14", 42), ("R-15", 5)],
)
def test_every_message_lands_once_whatever_happens_to_landers(
    case: str, seed: int, broker: KafkaBroker, tmp_path: Path
) -> None:
    assert_nothing_is_lost(case, seed, broker, tmp_path / case)
