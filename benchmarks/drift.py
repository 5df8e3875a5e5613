"""Drift of 50 columns from stored profiles against Evidently's report on the same rows, and the error of KS."""

import tempfile
from collections.abc import Callable, Sequence
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import polars as pl

from benchmarks.measure import Row, Section, Times, alternately, compare, timed
from convergence.lake.manifests import Provenance, build_manifest
from convergence.lake.tables import Lake, by_day
from convergence.monitoring import drift
from convergence.monitoring.evidently_report import compare as evidently
from convergence.monitoring.profiles import DatedProfiles, profile_rows

FASTER = 20
KS_ERROR = 1e-4
COLUMNS = 50
DAYS = [date(2024, 1, 1) + timedelta(days=n) for n in range(14)]  # a week of reference, a week of current


def week(rows: int, seed: int, shift: float) -> pl.DataFrame:
    """50 columns of ten shapes, `shift` standard deviations or so from the reference."""
    random = np.random.default_rng(seed)
    shapes = [
        lambda: random.normal(shift, 1, rows),
        lambda: random.normal(1000 + shift, 1, rows),
        lambda: np.round(random.lognormal(3 + shift, 1.2, rows), 2),
        lambda: np.round(random.exponential(864_000 * (1 + shift), rows)),
        lambda: random.beta(0.05, 5 + shift, rows),
        lambda: random.random(rows) ** (1 + shift),
        lambda: random.poisson(20 + shift, rows).astype(np.float64),
        lambda: random.standard_cauchy(rows) + shift,
        lambda: np.where(random.random(rows) < 0.3, np.nan, random.normal(shift, 1, rows)),
        lambda: (random.random(rows) < 0.1 + shift / 10).astype(np.float64),
    ]
    return pl.DataFrame({f"f{n:02}": shapes[n % len(shapes)]() for n in range(COLUMNS)}).fill_nan(None)


def profiled(reference: pl.DataFrame, current: pl.DataFrame) -> pl.DataFrame:
    """The profiles of each day, a seventh of its week."""
    parts = [
        profile_rows(rows[n::7], rows.columns, event_date=day)
        for rows, days in ((reference, DAYS[:7]), (current, DAYS[7:]))
        for n, day in enumerate(days)
    ]
    return pl.concat(parts)


def from_profiles(lake: Lake) -> pl.DataFrame:
    """Read what is stored, add up both weeks, compare: what the drift asset does."""
    dated = DatedProfiles(lake.scan("drift/profiles").collect())
    return drift.compare(dated.window(DAYS[0], DAYS[6]), dated.window(DAYS[7], DAYS[13]))


def beside_evidently(
    repetitions: int, ours: Callable[[], object], reference: pl.DataFrame, current: pl.DataFrame, page: Path
) -> list[Times]:
    """Times of ours and of Evidently's two methods in turns; Evidently's as it takes them in its own process."""
    found = [Times([], []) for _ in range(3)]
    ours()
    for _ in range(repetitions):
        took = [timed(ours)]
        took += [evidently(reference, current, page, method=m)[1:] for m in ("psi", "ks")]
        for times, (wall, cpu) in zip(found, took, strict=True):
            times.wall.append(wall)
            times.cpu.append(cpu)
    return found


def exact_ks(reference: pl.Series, current: pl.Series) -> float:
    from scipy.stats import ks_2samp

    return float(ks_2samp(reference.drop_nulls(), current.drop_nulls(), method="asymp").statistic)  # pyright: ignore


def section(*, quick: bool) -> Section:
    rows, seen = 1_000_000, 50_000 if quick else 1_000_000
    reference, current = week(rows, 1, 0.0), week(rows, 2, 0.02)
    with tempfile.TemporaryDirectory() as folder:
        lake = Lake(str(Path(folder) / "lake"))
        parts = by_day(profiled(reference, current))
        lake.replace("drift/profiles", parts, build_manifest(parts, "replace", Provenance("bench", "1")), None)
        size = sum(f.stat().st_size for f in Path(folder).rglob("*.parquet")) / 1e6
        found = from_profiles(lake)
        old, new = reference.head(seen), current.head(seen)
        page = Path(folder) / "page.html"
        ours, psi, ks = beside_evidently(2 if quick else 1, lambda: from_profiles(lake), old, new, page)
        profiling, again = alternately(
            1 if quick else 3, lambda: profiled(reference, current), lambda: from_profiles(lake)
        )
    errors = ks_errors(found, reference, current)
    goal = round(1 / FASTER, 3)
    return Section(
        f"Drift, {COLUMNS} columns x 1 M rows against 1 M",
        "Ours: read the profiles of 14 days from a Delta table, add up the two weeks, PSI and KS of every column with "
        f"corrected p-values and verdicts. Reference: Evidently's drift preset on {seen:,} rows of each week"
        f"{', a twentieth, so that the ratios understate' if seen < rows else ''}; its start and page are not counted. "
        f"Profiles are taken once a day, on write: the third line is all of them beside one comparison; {size:.1f} MB.",
        [
            compare("PSI and KS from profiles; Evidently, PSI", ours, psi, at_most=goal),
            compare("PSI and KS from profiles; Evidently, KS", ours, ks, at_most=goal),
            compare("taking the profiles of both weeks; one comparison", profiling, again),
            Row(
                "largest error of KS against scipy on all rows",
                f"{max(errors):.1e}", "0", "", "", f"≤ {KS_ERROR:.0e}", max(errors) <= KS_ERROR,
            ),
        ],
    )  # fmt: skip


def ks_errors(found: pl.DataFrame, reference: pl.DataFrame, current: pl.DataFrame) -> Sequence[float]:
    """|KS from profiles - KS of the rows| of every column."""
    ours = dict(found.select("feature", "ks").iter_rows())
    return [abs(ours[name] - exact_ks(reference[name], current[name])) for name in reference.columns]
