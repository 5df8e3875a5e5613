"""Profiles add up exactly, say what is missing, and come back from a table as they were."""

from datetime import date

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from convergence.errors import ConvergenceError
from convergence.lake.manifests import Provenance, build_manifest
from convergence.lake.tables import WHOLE, Lake
from convergence.monitoring import profiles
from convergence.monitoring.profiles import STORED, DatedProfiles, Profile, merge, profile, profile_rows, stored

NUMBERS = st.lists(st.none() | st.floats(width=64) | st.sampled_from([0.0, -0.0, 1.0, 5e-324, -1e300]), max_size=60)


@pytest.fixture(autouse=True)
def few_bins(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """So few that small columns collapse; a test that needs the real number says so."""
    if "real_bins" not in request.fixturenames:
        monkeypatch.setattr(profiles, "BINS", 8)


@pytest.fixture
def real_bins() -> int:
    return profiles.BINS


def numbers(values: list[float | None]) -> pl.Series:
    return pl.Series("x", values, pl.Float64)


def same(one: Profile, other: Profile) -> bool:
    rows = [pl.DataFrame([p.row()], schema=STORED) for p in (one, other)]
    return rows[0].equals(rows[1])


@settings(max_examples=200, deadline=None)
@given(st.lists(NUMBERS, min_size=1, max_size=5))
def test_the_sum_of_profiles_is_the_profile_of_all_rows(parts: list[list[float | None]]) -> None:
    whole = profile(numbers([value for part in parts for value in part]))
    assert same(merge([profile(numbers(part)) for part in parts]), whole)


@settings(max_examples=100, deadline=None)
@given(NUMBERS, NUMBERS, NUMBERS)
def test_adding_is_associative_and_commutative(
    a: list[float | None], b: list[float | None], c: list[float | None]
) -> None:
    one, two, three = (profile(numbers(values)) for values in (a, b, c))
    assert same(merge([merge([one, two]), three]), merge([one, merge([two, three])]))
    assert same(merge([one, two]), merge([two, one]))


@settings(max_examples=100, deadline=None)
@given(st.lists(st.none() | st.text(max_size=3), max_size=4), st.lists(st.none() | st.text(max_size=3), max_size=4))
def test_profiles_of_text_add_up_as_well(a: list[str | None], b: list[str | None]) -> None:
    columns = [pl.Series("x", values, pl.String) for values in (a, b)]
    assert same(merge(map(profile, columns)), profile(pl.concat(columns)))


LOWEST = int(profiles._keys(np.array([-np.finfo(np.float64).max]))[0])  # below its bin there is no other


@settings(max_examples=200, deadline=None)
@given(NUMBERS)
def test_every_row_is_counted_once_and_every_value_is_within_its_bin(values: list[float | None]) -> None:
    found = profile(numbers(values))
    finite = sorted(v for v in values if v is not None and np.isfinite(v))
    assert found.rows == len(values) == found.present + found.missing
    assert int(found.counts.sum()) == len(finite)
    assert len(found.bins) <= profiles.BINS
    ends = np.repeat(profiles.upper_end(found.bins, found.shift), found.counts)
    below = [profiles.upper_end(b - 1, found.shift) if int(b) << found.shift > LOWEST else -np.inf for b in found.bins]
    starts = np.repeat(below, found.counts) if finite else ends
    assert all(value <= end for value, end in zip(finite, ends, strict=True))
    assert all(value > start or value == 0 or np.isnan(start) for value, start in zip(finite, starts, strict=True))


def test_few_different_values_are_kept_exactly() -> None:
    found = profile(pl.Series("x", [3, 1, 1, None, -2], pl.Int64))
    assert found.exact
    assert profiles.upper_end(found.bins, 0).tolist() == [-2.0, 1.0, 3.0]
    assert found.counts.tolist() == [1, 2, 1]


def test_what_is_no_number_is_counted_apart() -> None:
    found = profile(numbers([1.0, None, float("nan"), float("inf"), float("-inf"), None]))
    assert (found.nulls, found.nans, found.infinities, found.present) == (2, 1, 2, 1)
    assert (found.lowest, found.highest) == (1.0, 1.0)


def test_booleans_are_zero_and_one() -> None:
    found = profile(pl.Series("x", [True, False, True, None]))
    assert (found.counts.tolist(), found.highest) == ([1, 2], 1.0)


@pytest.mark.parametrize("kind", [pl.Float64, pl.Boolean, pl.String, pl.Null], ids=str)
def test_a_column_without_values_has_a_profile(kind: type[pl.DataType]) -> None:
    found = profile(pl.Series("x", [None, None], kind))
    assert (found.rows, found.present, found.lowest) == (2, 0, None)


def test_dates_are_refused_with_the_next_step() -> None:
    with pytest.raises(ConvergenceError, match=r"'x' is Date: .* Cast it, or leave it out"):
        profile(pl.Series("x", [date(2024, 1, 1)]))


def test_a_column_of_names_is_refused() -> None:
    with pytest.raises(ConvergenceError, match="9 different texts, a profile at most 8"):
        profile(pl.Series("x", [f"card {n}" for n in range(9)]))


def test_text_and_numbers_do_not_add_up() -> None:
    with pytest.raises(ConvergenceError, match="text in some partitions and numbers in others"):
        merge([profile(pl.Series("x", ["a"])), profile(pl.Series("x", [1]))])


def test_no_profile_is_no_window() -> None:
    with pytest.raises(ConvergenceError, match="there is no profile"):
        merge([])


def test_quantiles_of_exact_columns_are_those_of_the_rows(real_bins: int) -> None:
    values = np.random.default_rng(0).integers(0, real_bins // 2, 5001)
    found = profile(pl.Series("x", values))
    for share in (0.1, 0.25, 0.5, 0.9, 1.0):
        assert found.quantile(share) == np.quantile(values, share, method="inverted_cdf")


def test_profiles_come_back_from_a_table_as_they_were(lake: Lake) -> None:
    random = np.random.default_rng(0)
    frame = pl.DataFrame(
        {
            "number": random.normal(size=50),
            "gaps": pl.Series([None, 1.5] * 25),
            "text": random.choice(np.array(["a", "b"]), 50),
            "empty": pl.Series([None] * 50, dtype=pl.Float64),
        }
    )
    rows = profile_rows(frame, frame.columns)
    lake.replace("t", {WHOLE: rows}, build_manifest({WHOLE: rows}, "replace", Provenance("test", "1")), None)
    back = lake.scan("t").collect()
    assert back.schema == pl.Schema({"feature": pl.String, **STORED})
    assert all(same(p, profile(frame[name])) for p, name in zip(stored(back), back["feature"], strict=True))


def test_a_window_is_the_sum_of_its_days() -> None:
    days = [date(2024, 1, n) for n in range(1, 6)]
    frames = {day: pl.DataFrame({"x": [float(n), n + 0.5]}) for n, day in enumerate(days)}
    dated = DatedProfiles(pl.concat(profile_rows(f, ["x"], event_date=day) for day, f in frames.items()))
    found = dated.window(days[1], days[3])["x"]
    assert same(found, profile(pl.concat(frames[day] for day in days[1:4])["x"]))
    assert dated.days(days[3], date(2024, 2, 1)) == days[3:]
    assert dated.window(date(2023, 1, 1), date(2023, 12, 31)) == {}


def test_no_rows_hold_no_profile() -> None:
    assert stored(profile_rows(pl.DataFrame({"x": [1.0]}), ["x"]).head(0)) == []
