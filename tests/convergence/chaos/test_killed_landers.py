"""Fixed seeds of `convergence chaos`, in which landers die, wake up again or meet each other."""

from pathlib import Path

import pytest

from convergence.services.kafka import KafkaBroker
from tests.convergence.chaos.trials import assert_nothing_is_lost


@pytest.mark.parametrize(
    ("case", "seed"),
    [("R-01", 25), ("R-05", 1), ("R-06", 45), ("R-07", 43), ("R-10", 15), ("R-14", 42), ("R-15", 5)],
)
def test_every_message_lands_once_whatever_happens_to_landers(
    case: str, seed: int, mortal: KafkaBroker, tmp_path: Path
) -> None:
    assert_nothing_is_lost(case, seed, mortal, tmp_path / case)
