"""Three kinds of planted leaks are each found and named; honest features never are."""

from datetime import timedelta

import polars as pl
import pytest

from convergence.errors import ConvergenceError
from convergence.features.leakage import KINDS, Compute, find_leaks
from tests.convergence.features.planted import BEGIN, DAY, KNOWN, LEAKS, VIEW, honest, sources

# rows in the middle, so that there is a past and a future
FIRST, LAST = BEGIN + 8 * DAY, BEGIN + 10 * DAY


def sample(compute: Compute, frames: dict[str, pl.DataFrame]) -> pl.DataFrame:
    """Stored feature rows: computed with everything that the frames hold."""
    return compute(**frames, start=FIRST, end=LAST)


@pytest.mark.parametrize(("feature", "kind", "compute"), LEAKS.values(), ids=LEAKS)
def test_a_leak_is_found_and_named(feature: str, kind: str, compute: Compute) -> None:
    frames = sources()
    leaks = find_leaks(sample(compute, frames), VIEW, compute, frames, KNOWN)
    assert {(leak.feature, leak.kind) for leak in leaks} == {(feature, kind)}


@pytest.mark.parametrize(("feature", "kind", "compute"), LEAKS.values(), ids=LEAKS)
def test_a_leak_is_found_when_rows_arrive_out_of_order(feature: str, kind: str, compute: Compute) -> None:
    frames = sources(late=0.3)
    leaks = find_leaks(sample(compute, frames), VIEW, compute, frames, KNOWN)
    assert {leak.feature for leak in leaks} == {feature}
    assert kind in {leak.kind for leak in leaks}


@pytest.mark.parametrize("late", [0.0, 0.3, 1.0])
def test_honest_features_have_no_leak(late: float) -> None:
    frames = sources(late)
    assert find_leaks(sample(honest, frames), VIEW, honest, frames, KNOWN) == []


def test_a_leak_names_the_row_in_which_it_shows() -> None:
    frames = sources()
    rows = sample(honest, frames)
    wrong = rows.with_columns(
        count_7d=pl.when(pl.col("payment_id") == rows["payment_id"][4]).then(99).otherwise("count_7d")
    )
    (leak,) = find_leaks(wrong, VIEW, honest, frames, KNOWN)
    assert (leak.feature, leak.row) == ("count_7d", rows["payment_id"][4])


def test_a_value_that_nothing_unknown_explains_is_stale() -> None:
    frames = sources()
    wrong = sample(honest, frames).with_columns(pl.col("mean_amount_7d") + 1)
    assert {leak.kind for leak in find_leaks(wrong, VIEW, honest, frames, KNOWN)} == {"stale"}


def test_every_kind_is_explained_in_words() -> None:
    assert {kind for _, kind, _ in LEAKS.values()} | {"stale"} == set(KINDS)


def test_a_stored_row_without_its_source_row_is_an_error() -> None:
    frames = sources()
    rows = sample(honest, frames)
    frames["payments"] = frames["payments"].filter(pl.col("payment_id") != rows["payment_id"][0])
    with pytest.raises(
        ConvergenceError, match=rf"payment_id={rows['payment_id'][0]} of .* was found 0 times in payments"
    ):
        find_leaks(rows, VIEW, honest, frames, KNOWN)


def test_a_view_that_does_not_keep_its_entity_is_told_to() -> None:
    frames = sources()
    with pytest.raises(ConvergenceError, match=r"payment_features does not keep customer.*add it to `keep`"):
        find_leaks(sample(honest, frames).drop("customer"), VIEW, honest, frames, KNOWN)


def test_no_rows_have_no_leak() -> None:
    frames = sources()
    nothing = honest(**frames, start=FIRST + timedelta(days=90), end=LAST + timedelta(days=90))
    assert find_leaks(nothing, VIEW, honest, frames, KNOWN) == []
