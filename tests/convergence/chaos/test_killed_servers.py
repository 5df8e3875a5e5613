"""Fixed seeds of `convergence chaos`, in which the broker, a run worker of Dagster, or its daemon dies."""

from pathlib import Path

import pytest

from convergence.services.kafka import KafkaBroker
from tests.convergence.chaos.trials import assert_nothing_is_lost


@pytest.mark.parametrize(("case", "seed"), [("R-04", 8), ("R-29", 9), ("R-30", 46)])
def test_every_message_lands_once_whatever_happens_to_servers(
    case: str, seed: int, own_broker: KafkaBroker, tmp_path: Path
) -> None:
    assert_nothing_is_lost(case, seed, own_broker, tmp_path / case)
