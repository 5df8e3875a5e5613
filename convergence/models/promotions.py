"""Which model is champion on which day, and the gate that a challenger passes to become one.

Promotions are only ever appended, so the champion of any past day can be told again; a rollback is one more row.
"""

from dataclasses import dataclass
from datetime import date, datetime
from typing import NamedTuple

import polars as pl

from convergence.errors import ConvergenceError, ModelError
from convergence.models.metrics import average_precision, base_rate_average_precision, bootstrap_interval

PROMOTIONS_SCHEMA = pl.Schema(
    {
        "valid_from": pl.Date(),
        "model_version": pl.String(),
        "decided_at": pl.Datetime("us", "UTC"),
        "reason": pl.String(),
    }
)
RULES_SCHEMA = pl.Schema({"rule": pl.String(), "value": pl.Float64(), "limit": pl.Float64(), "passed": pl.Boolean()})


class Promotion(NamedTuple):
    """One row of the promotions table."""

    valid_from: date
    model_version: str
    decided_at: datetime
    reason: str


@dataclass(frozen=True)
class Scores:
    """A model's scores of labelled rows: a row key, `event_date`, `is_fraud` (Boolean or 0/1) and `score`."""

    model_version: str
    rows: pl.DataFrame


@dataclass(frozen=True)
class Verdict:
    """A gate's decision: `rules` has one row per rule (rule, value, limit, passed), `reason` says it in words."""

    passed: bool
    reason: str
    rules: pl.DataFrame


def last_promotion(promotions: pl.DataFrame, day: date) -> Promotion | None:
    """The last promotion with valid_from <= day, or None before the first one.

    "Last" goes by valid_from, then decided_at, then row order: a rollback is decided later than what it undoes.

    Args:
        promotions: frame with the columns of PROMOTIONS_SCHEMA, no nulls.
        day: event date to be scored.

    Raises:
        ConvergenceError: the frame has other columns or types, or nulls.
    """
    if promotions.schema != PROMOTIONS_SCHEMA:
        msg = f"not a promotions table: expected {dict(PROMOTIONS_SCHEMA)}, found {dict(promotions.schema)}"
        raise ConvergenceError(msg)
    if any(promotions.null_count().row(0)):
        msg = f"the promotions table has nulls, expected none: {promotions.null_count().row(0, named=True)}"
        raise ConvergenceError(msg)
    valid = promotions.filter(pl.col("valid_from") <= day)
    return Promotion(*valid.sort("valid_from", "decided_at", maintain_order=True).row(-1)) if valid.height else None


def champion_as_of(promotions: pl.DataFrame, day: date) -> str:
    """The model_version that scores `day`: that of `last_promotion`.

    Raises:
        ModelError: no promotion is valid on `day`.
        ConvergenceError: the frame is not a promotions table.
    """
    promotion = last_promotion(promotions, day)
    if promotion is None:
        first = promotions["valid_from"].min()
        found = f"the first of {promotions.height} is valid from {first}" if promotions.height else "the table is empty"
        msg = f"no champion on {day}: expected a promotion valid from that day or earlier, {found}; train a model first"
        raise ModelError(msg)
    return promotion.model_version


def gate(
    challenger: Scores,
    champion: Scores | None,
    *,
    key: str = "transaction_id",
    times_base_rate: float = 5.0,
    repetitions: int = 200,
    seed: int = 0,
) -> Verdict:
    """Decide whether a challenger may become champion, on the newest labelled rows that its fit has not seen.

    Rules: every score is finite and in [0, 1]; average precision (AP) is at least `times_base_rate` times that of the
    trivial baseline; AP is not below the champion's on the same rows by more than one standard error of the
    difference, days resampled. A rule that cannot be computed because the scores are invalid has null value and limit
    and is not passed.

    Args:
        challenger: scores with both classes among their labels.
        champion: scores of exactly the same rows, in any order, or None when there is no champion yet.
        key: column that identifies a row in both.
        times_base_rate: least AP as a multiple of the share of positives.
        repetitions: draws of the bootstrap.
        seed: seed of the bootstrap; equal inputs give an equal verdict.

    Raises:
        ConvergenceError: the two sides hold different rows or labels, the champion's scores are not finite, the labels
            hold one class only, or there are too few days to resample.
    """
    rows = challenger.rows if champion is None else _same_rows(challenger, champion, key)
    label, score = rows["is_fraud"], rows["score"]
    invalid = rows.height - rows.filter(pl.col("score").is_finite() & pl.col("score").is_between(0, 1)).height
    rules: list[tuple[str, float | None, float | None, bool]] = [("invalid_scores", invalid, 0, invalid == 0)]
    if invalid:
        rules.append(("beats_trivial_baseline", None, None, False))
    else:
        precision, least = average_precision(label, score), times_base_rate * base_rate_average_precision(label)
        rules.append(("beats_trivial_baseline", precision, least, precision >= least))
    if champion and invalid:
        rules.append(("not_worse_than_champion", None, None, False))
    elif champion:
        difference = bootstrap_interval(rows, _ap_difference, repetitions=repetitions, seed=seed)
        least = -difference.standard_error
        rules.append(("not_worse_than_champion", difference.estimate, least, difference.estimate >= least))
    table = pl.DataFrame(rules, schema=RULES_SCHEMA, orient="row")
    passed = bool(table["passed"].all())
    return Verdict(passed, _in_words(challenger, champion, table), table)


def _same_rows(challenger: Scores, champion: Scores, key: str) -> pl.DataFrame:
    """The challenger's rows by key, with the champion's score beside its own."""
    ours, theirs = challenger.rows.sort(key), champion.rows.sort(key)
    repeated = ours.height - ours[key].n_unique()
    if repeated or not ours[key].equals(theirs[key]):
        shared = ours.join(theirs, on=key, how="semi").height
        msg = (
            f"challenger {challenger.model_version} and champion {champion.model_version} must score the same rows "
            f"once each; found {ours.height} and {theirs.height} rows, {shared} shared, {repeated} repeated {key}; "
            "score both on the gate's rows"
        )
        raise ConvergenceError(msg)
    different = ours.filter(pl.col("is_fraud").cast(pl.Boolean) != theirs["is_fraud"].cast(pl.Boolean)).height
    if different:
        msg = f"{different} of {ours.height} labels differ between the two sides; read both from one label version"
        raise ConvergenceError(msg)
    return ours.with_columns(champion_score=theirs["score"])


def _ap_difference(rows: pl.DataFrame) -> float:
    label = rows["is_fraud"]
    return average_precision(label, rows["score"]) - average_precision(label, rows["champion_score"])


def _in_words(challenger: Scores, champion: Scores | None, rules: pl.DataFrame) -> str:
    against = f"against champion {champion.model_version}" if champion else "with no champion yet"
    stated = {
        "invalid_scores": "{value:.0f} scores are not in [0, 1], {limit:.0f} allowed",
        "beats_trivial_baseline": "average precision {value:.4f}, at least {limit:.4f} required",
        "not_worse_than_champion": "average precision differs by {value:+.4f}, {limit:+.4f} allowed (1 standard error)",
    }
    said = [
        f"{row['rule']} {'passed' if row['passed'] else 'FAILED'}: "
        + (stated[row["rule"]].format(**row) if row["value"] is not None else "not computed, the scores are invalid")
        for row in rules.iter_rows(named=True)
    ]
    verdict = "passes" if rules["passed"].all() else "is refused"
    return f"{challenger.model_version} {verdict} {against}. " + "; ".join(said) + "."
