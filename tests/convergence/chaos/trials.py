"""Trials with fixed seeds, as `convergence chaos --seed SEED` runs them."""

from functools import cache
from pathlib import Path

import polars as pl

from convergence.chaos.nemesis import case_of
from convergence.chaos.trial import run_trial
from convergence.services.kafka import KafkaBroker
from convergence_assets.fraud.arrivals import TOPIC


@cache
def history() -> pl.DataFrame:
    """The simulated history that the command draws messages from."""
    return TOPIC.history(None)[0].sort(TOPIC.clock, maintain_order=True).collect()


def assert_nothing_is_lost(case: str, seed: int, broker: KafkaBroker, folder: Path) -> None:
    """The seed stands for the case, and its trial loses, doubles and tears nothing."""
    assert case_of(seed) == case
    result = run_trial(TOPIC, history(), case, seed, broker=broker, folder=folder)
    told = [*result.told, result.failure, *(f"{finding.kind}: {finding.what}" for finding in result.findings)]
    assert result.passed, "\n".join(told)
    assert result.sent == result.landed > 0
    assert not folder.exists()
