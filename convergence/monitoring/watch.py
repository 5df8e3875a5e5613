"""What watches a champion: profiles of what it sees and says, and how far they are from what it was made for.

Profiles are taken once a day and only added up afterwards, so that drift over any window costs no second look at rows.
Scores of two models are never compared with each other: each is calibrated anew, which alone moves the many low scores
far enough to look like drift. Of lists, numbers are profiled: of an input that is a sequence the newest, its last; of a
score with one per class each of them, as score[class].
"""

from collections.abc import Iterable, Sequence
from datetime import date, timedelta
from typing import Any, TypeVar

import polars as pl

from convergence.errors import ConvergenceError
from convergence.lake.contracts import Contract, schema_of
from convergence.models import stored as models
from convergence.models.gated import Schedule
from convergence.monitoring import drift as effects
from convergence.monitoring.contracts import Drift, FeatureProfile, ScoreProfile, ScoreReference
from convergence.monitoring.profiles import DatedProfiles, Profile, profile_rows, stored

Frame = TypeVar("Frame", pl.DataFrame, pl.LazyFrame)


def feature_profile_rows(features: pl.DataFrame, inputs: Sequence[str]) -> pl.DataFrame:
    """FeatureProfile rows: one for each day of the feature rows and input of the model."""
    parts = newest(features).partition_by("event_date", as_dict=True)
    return shaped(FeatureProfile, [profile_rows(rows, inputs, event_date=day) for (day,), rows in parts.items()])


def newest(features: Frame) -> Frame:
    """The rows with the last number of each sequence in place of the sequence."""
    lists = [name for name, kind in features.lazy().collect_schema().items() if isinstance(kind, pl.List)]
    return features.with_columns(pl.col(name).list.last() for name in lists)  # pyright: ignore[reportReturnType]


def score_profile_rows(scores: pl.DataFrame, classes: Sequence[str] = ()) -> pl.DataFrame:
    """ScoreProfile rows: one for each day and model that issued scores, and for each class where there are some."""
    keys = ("event_date", "model_version", "model_as_of")
    parts = scores.partition_by(keys, as_dict=True)
    return shaped(
        ScoreProfile,
        [_score_profiles(rows, classes, **dict(zip(keys, k, strict=True))) for k, rows in parts.items()],
    )


def score_reference_rows(
    promotions: pl.DataFrame, features: pl.DataFrame, fit: Schedule, classes: Sequence[str] = ()
) -> pl.DataFrame:
    """ScoreReference rows: for each promotion, the scores that its champion gives the week of its gate."""
    parts = []
    for champion in promotions.sort("event_date").iter_rows(named=True):
        rows = features.filter(pl.col("event_date").is_between(*fit.gate(champion["event_date"])))
        rows = rows.with_columns(score=models.load(champion["onnx"], sha256=champion["sha256"]).score_rows(rows))
        about = {name: champion[name] for name in ("event_date", "model_version", "model_as_of")}
        parts.append(_score_profiles(rows, classes, **about))
    return shaped(ScoreReference, parts)


def _score_profiles(rows: pl.DataFrame, classes: Sequence[str], **about: Any) -> pl.DataFrame:
    named = {f"score[{each}]": pl.col("score").list.get(n) for n, each in enumerate(classes)} or {"score": "score"}
    return profile_rows(rows.select(**named), list(named), **about)


def shaped(contract: Contract, parts: Sequence[pl.DataFrame]) -> pl.DataFrame:
    """The parts as one frame with the contract's columns in their order."""
    schema = schema_of(contract)
    return pl.concat([part.select(schema.names()).cast(schema) for part in parts]) if parts else schema.to_frame()


def drift_rows(
    features: pl.DataFrame,
    scores: pl.DataFrame,
    references: pl.DataFrame,
    days: Iterable[date],
    fit: Schedule,
    *,
    lengths: Iterable[int] = (1, 7),
    fixed_by_the_day: Iterable[str] = (),
) -> pl.DataFrame:
    """Drift rows of these days from FeatureProfile, ScoreProfile and ScoreReference rows; none without scores.

    The reference of a feature is the days that the champion of the day was fitted on; that of its score is what it gave
    the newest labelled week of those that are at hand. Of the days before, only what the same model scored counts.
    Compared are windows of these `lengths` in days; `fixed_by_the_day` are features of which one day says nothing.

    Raises ConvergenceError for a champion so old that no profile of its training days is among the rows.
    """
    inputs = DatedProfiles(features)
    fitted_on: dict[date, dict[str, Profile]] = {}
    found: list[pl.DataFrame] = []
    for day in days:
        champion = scores.filter(event_date=day).sort("rows", "model_version").tail(1)
        if champion.is_empty() or not inputs.days(day, day):
            continue
        version, as_of = champion.select("model_version", "model_as_of").row(0)
        fitted = fit.trained_on(as_of)
        if as_of not in fitted_on:
            fitted_on[as_of] = inputs.window(*fitted)
        if not fitted_on[as_of]:
            raise ConvergenceError(
                f"{day}: no profile is at hand of {fitted[0]} to {fitted[1]}, on which the champion {version} was "
                f"fitted, within {fit.reach_back} days: promote a newer model, or materialize the profiles"
            )
        held = references.filter(pl.col("event_date") <= day, model_version=version)
        held = held.filter(pl.col("event_date") == pl.col("event_date").max())
        before = fitted_on[as_of] | dict(zip(held["feature"], stored(held), strict=True))
        scored = fit.gate(held["event_date"][0]) if held.height else fitted
        issued = DatedProfiles(scores.filter(model_version=version))
        for length in lengths:
            since = day - timedelta(days=length - 1)
            now = inputs.window(since, day) | (issued.window(since, day) if held.height else {})
            fixed = fixed_by_the_day if length == 1 else ()
            of_scores = pl.col("feature").is_in(held["feature"].to_list())
            spans = [pl.when(of_scores).then(s).otherwise(f) for s, f in zip(scored, fitted, strict=True)]
            reference, current = ({n: p for n, p in w.items() if n not in fixed} for w in (before, now))
            found.append(
                effects.compare(reference, current).with_columns(
                    event_date=day,
                    window_days=pl.lit(length, pl.Int64),
                    reference_first_day=spans[0],
                    reference_last_day=spans[1],
                    model_version=pl.lit(version),
                )
            )
    return shaped(Drift, found)


def worst(rows: pl.DataFrame) -> dict[str, Any]:
    """What the UI shows of a day's drift."""
    first = effects.worst_first(rows).row(0, named=True)
    return {
        "worst_feature": first["feature"],
        "worst_psi": first["psi"] if first["psi"] is not None else "none",
        "worst_ks": first["ks"] if first["ks"] is not None else "none",
        "drifted": rows.filter(verdict=effects.DRIFT)["feature"].n_unique(),
        "watched": rows.filter(verdict=effects.WATCH)["feature"].n_unique(),
        "champion": first["model_version"],
        "reference": f"{first['reference_first_day']} to {first['reference_last_day']}",
    }
