"""Drift from profiles is the drift of the rows: scipy and plain sums on the rows are the oracles."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chi2_contingency, false_discovery_control, ks_2samp

from convergence.errors import ConvergenceError
from convergence.monitoring import drift
from convergence.monitoring.drift import DRIFT, STABLE, WATCH, compare, difference
from convergence.monitoring.profiles import Profile, merge, profile


def of(values: object) -> Profile:
    return profile(pl.Series("x", values))


def draws(case: str, shift: float, rows: int, seed: int) -> np.ndarray:
    random = np.random.default_rng(seed)
    return {
        "normal": lambda: random.normal(shift, 1, rows),
        "far from zero": lambda: random.normal(1000 + shift, 1, rows),
        "cents": lambda: np.round(random.lognormal(3 + shift, 1.2, rows), 2),
        "seconds": lambda: np.round(random.exponential(864_000 * (1 + shift), rows)),
        "scores": lambda: random.beta(0.05, 5 + 5 * shift, rows),
        "heavy tails": lambda: random.standard_cauchy(rows) + shift,
    }[case]()


CASES = ("normal", "far from zero", "cents", "seconds", "scores", "heavy tails")


@pytest.mark.parametrize("case", CASES)
def test_ks_of_a_million_rows_from_profiles_is_that_of_the_rows_to_1e_4(case: str) -> None:
    old, new = draws(case, 0, 1_000_000, 1), draws(case, 0.02, 1_000_000, 2)
    reference = merge(of(part) for part in np.array_split(old, 5))
    found = difference(reference, of(new))
    exact = ks_2samp(old, new, method="asymp").statistic
    assert found.ks is not None
    assert found.ks_error is not None
    assert abs(found.ks - exact) <= 1e-4
    assert found.ks <= exact + 1e-12 <= found.ks + found.ks_error + 2e-12


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.integers(-5, 5) | st.floats(-5, 5), min_size=1, max_size=80),
    st.lists(st.integers(-5, 5) | st.floats(-5, 5), min_size=1, max_size=80),
    st.integers(4, 200),
)
def test_the_exact_ks_lies_between_what_the_profiles_say_and_their_error(
    old: list[float], new: list[float], bins: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("convergence.monitoring.profiles.BINS", bins)
        found = difference(of([float(v) for v in old]), of([float(v) for v in new]))
    exact = ks_2samp(old, new, method="asymp").statistic
    assert found.ks is not None
    assert found.ks_error is not None
    assert found.ks - 1e-12 <= exact <= found.ks + found.ks_error + 1e-12


def test_p_values_are_those_of_scipy() -> None:
    old, new = draws("cents", 0, 5000, 1), draws("cents", 0.05, 3000, 2)
    found = difference(of(old), of(new))
    assert found.p_ks == pytest.approx(ks_2samp(old, new, method="asymp").pvalue, rel=0.1)
    cells = tenths(old)
    counts = [np.histogram(values, cells)[0] for values in (old, new)]
    assert found.p_psi == pytest.approx(chi2_contingency(counts).pvalue, rel=1e-6)


def tenths(reference: np.ndarray) -> np.ndarray:
    """Cells (a, b] at the reference's tenths, as `numpy.histogram` wants them: [a, b) from the next number on."""
    inner = np.unique(np.quantile(reference, np.arange(1, 10) / 10, method="inverted_cdf"))
    return np.array([-np.inf, *np.nextafter(inner, np.inf), np.inf])


@pytest.mark.parametrize("case", CASES)
def test_psi_is_the_plain_sum_over_the_references_tenths(case: str) -> None:
    old, new = draws(case, 0, 2000, 1), draws(case, 0.3, 3000, 2)  # few enough to be kept exactly
    shares = [np.maximum(np.histogram(v, tenths(old))[0] / len(v), 1e-4) for v in (old, new)]
    plain = float(((shares[1] - shares[0]) * np.log(shares[1] / shares[0])).sum())
    assert difference(of(old), of(new)).psi == pytest.approx(plain, rel=1e-9)


@pytest.mark.parametrize("case", CASES)
def test_psi_of_many_rows_is_that_of_the_rows_to_a_thousandth(case: str) -> None:
    old, new = draws(case, 0, 200_000, 1), draws(case, 0.3, 200_000, 2)
    shares = [np.histogram(v, tenths(old))[0] / len(v) for v in (old, new)]
    plain = float(((shares[1] - shares[0]) * np.log(shares[1] / shares[0])).sum())
    assert difference(of(old), of(new)).psi == pytest.approx(plain, abs=1e-3)


def table(old: dict[str, object], new: dict[str, object]) -> dict[str, dict[str, object]]:
    rows = compare({n: of(v) for n, v in old.items()}, {n: of(v) for n, v in new.items()})
    return {row["feature"]: row for row in rows.iter_rows(named=True)}


def test_verdicts_follow_the_effect_and_the_worst_comes_first() -> None:
    random = np.random.default_rng(0)
    old = {name: random.normal(size=20_000) for name in "abcd"}
    new = {"a": random.normal(size=20_000), "b": random.normal(0.35, 1, 20_000), "c": random.normal(3, 1, 20_000)}
    rows = table(old, new | {"d": random.normal(1, 1, 20_000)})
    assert {n: r["verdict"] for n, r in rows.items()} == {"c": DRIFT, "d": DRIFT, "b": WATCH, "a": STABLE}
    assert list(rows) == ["c", "d", "b", "a"]


def test_a_significant_but_small_effect_is_stable() -> None:
    random = np.random.default_rng(0)
    row = table({"a": random.normal(size=500_000)}, {"a": random.normal(0.02, 1, 500_000)})["a"]
    assert row["p_ks"] < 1e-6
    assert row["verdict"] == STABLE


def test_a_large_effect_of_few_rows_is_no_drift_because_it_may_be_chance() -> None:
    random = np.random.default_rng(0)
    verdicts = [
        row["verdict"]
        for seed in range(20)
        for row in table(
            {f"f{n}": random.normal(size=5000) for n in range(20)},
            {f"f{n}": np.random.default_rng([seed, n]).normal(size=15) for n in range(20)},
        ).values()
    ]
    effects = [row["effect"] for row in table({"a": random.normal(size=5000)}, {"a": random.normal(size=15)}).values()]
    assert verdicts.count(STABLE) >= 398
    assert effects[0] > 1


def test_p_values_are_corrected_over_all_columns() -> None:
    random = np.random.default_rng(3)
    old, new = ({f"f{n}": random.normal(size=400) for n in range(8)} for _ in range(2))
    raw = [difference(of(old[n]), of(new[n])) for n in old]
    expected = false_discovery_control([p for d in raw for p in (d.p_psi, d.p_ks)])
    rows = table(old, new)
    assert [p for n in old for p in (rows[n]["p_psi"], rows[n]["p_ks"])] == pytest.approx(expected.tolist())


def test_equal_windows_show_nothing() -> None:
    values = np.random.default_rng(0).normal(size=1000)
    row = table({"a": values}, {"a": values})["a"]
    assert (row["psi"], row["ks"], row["p_ks"], row["verdict"], row["note"]) == (0, 0, 1, STABLE, "")


def test_another_unit_is_named() -> None:
    euros = np.round(np.random.default_rng(0).lognormal(3, 1, 5000), 2)
    row = table({"a": euros}, {"a": euros * 100})["a"]
    assert row["verdict"] == DRIFT
    assert row["note"] == "values are 100 times as large: has a unit changed?"


@pytest.mark.parametrize(
    ("old", "new", "note"),
    [
        ([1.5, 2.5] * 200, [None] * 400, "has no values now"),
        ([None] * 400, [1.5, 2.5] * 200, "had no values before"),
        ([0.0, 1.0] * 200, [0.0, 2.0] * 200, "new values: 2"),
        (["card", "cash"] * 200, ["card", "coin"] * 200, "new values: coin"),
        ([1.0, 2.0, 3.0, 4.0] * 100, [1.0, None, 3.0, None] * 100, "missing 0.0%, now 50.0%"),
    ],
    ids=["all null", "was all null", "new category", "new text", "gaps"],
)
def test_what_broke_is_drift_and_named(old: list[object], new: list[object], note: str) -> None:
    row = table({"a": pl.Series(old)}, {"a": pl.Series(new, dtype=pl.Series(old).dtype if None in new else None)})["a"]
    assert row["verdict"] == DRIFT
    assert str(row["note"]).startswith(note)


def test_a_column_that_never_had_values_is_stable() -> None:
    nothing = pl.Series([None] * 100, dtype=pl.Float64)
    assert table({"a": nothing, "b": [1.0]}, {"a": nothing, "b": [1.0]})["a"]["verdict"] == STABLE


def test_constant_columns_are_compared() -> None:
    rows = table({"a": [7.0] * 500, "b": [7.0] * 500}, {"a": [7.0] * 500, "b": [8.0] * 500})
    assert [rows[n]["verdict"] for n in "ab"] == [STABLE, DRIFT]
    assert rows["b"]["ks"] == 1.0


def test_a_column_that_left_and_one_that_came_have_drifted_and_stand_first() -> None:
    rows = table({"a": [1.0] * 50, "gone": [1.0] * 50}, {"a": [1.0] * 50, "new": [1.0] * 50})
    assert [(n, r["verdict"], r["effect"]) for n, r in rows.items()] == [
        ("gone", DRIFT, None),
        ("new", DRIFT, None),
        ("a", STABLE, 0.0),
    ]


def test_text_has_no_ks() -> None:
    row = table({"a": ["x", "y"] * 300}, {"a": ["x", "x", "y"] * 200})["a"]
    assert row["ks"] is None
    assert row["psi"] == pytest.approx((2 / 3 - 0.5) * np.log(4 / 3) + (1 / 3 - 0.5) * np.log(2 / 3))


def test_text_and_numbers_cannot_be_compared() -> None:
    with pytest.raises(ConvergenceError, match="text in one window and numbers in the other"):
        difference(of(["x"]), of([1.0]))


@pytest.mark.parametrize("window", ["reference", "current"])
def test_a_window_without_rows_is_an_error(window: str) -> None:
    full, empty = {"a": of([1.0])}, {"a": of(pl.Series([], dtype=pl.Float64))}
    with pytest.raises(ConvergenceError, match=f"the {window} window holds no rows"):
        compare(*((empty, full) if window == "reference" else (full, empty)))


def test_worst_first_orders_by_verdict_then_effect() -> None:
    rows = pl.DataFrame(
        {"feature": ["a", "b", "c"], "effect": [3.0, 0.9, 1.1], "verdict": [STABLE, WATCH, DRIFT]},
    )
    assert drift.worst_first(rows)["feature"].to_list() == ["c", "b", "a"]
