"""The numbers of the churn page, from the tables of one lake: `convergence docs` writes them."""

import polars as pl

from convergence.lake.manifests import manifest
from convergence.lake.tables import Lake
from convergence.markdown import table
from convergence_assets.churn.cross_validation import GOALS, summary

_PUBLISHED = {"roc_auc": "0.845 to 0.85", "brier": "about 0.135", "calibration_error": "0.02 to 0.03", "lift_10": ""}
_CALLED = {
    "roc_auc": "AUC",
    "brier": "Brier",
    "calibration_error": "calibration error (15 bins)",
    "lift_10": "lift@10 %",
}


def numbers(lake: Lake) -> dict[str, str]:
    """The value of each marker. Raises TableMissing, naming what to materialize, where the lake has no such table."""
    return {
        "run": run(lake),
        "cross_validation": cross_validation(lake.scan("churn/churn_cross_validation").collect()),
        "leaderboard": leaderboard(lake.scan("churn/churn_leaderboard").collect()),
        "walk_forward": walk_forward(
            lake.scan("churn/churn_evaluation").collect(), lake.scan("churn/churn_promotions").collect()
        ),
        "fairness": fairness(lake.scan("churn/churn_fairness").collect()),
        "campaign": campaign(lake.scan("churn/campaign_targets"), lake.scan("churn/churn_labels")),
    }


def run(lake: Lake) -> str:
    """When, by which code and on which data the cross-validation was made."""
    made = manifest(lake, "churn/churn_cross_validation", "")
    return f"{made['committed_at'][:10]}, code revision {made['revision'][:7]}, data {'; '.join(made['origins'])}"


def cross_validation(rows: pl.DataFrame) -> str:
    """Ours, the baseline, what is published, and the goals; calibration over repetitions, all else over folds."""
    by = {(row["candidate"], row["over"]): row for row in summary(rows).iter_rows(named=True)}
    candidates = sorted({candidate for candidate, _ in by}, key=lambda name: name != "stack")

    def said(candidate: str, measure: str) -> str:
        row = by[candidate, "repetitions" if measure == "calibration_error" else "folds"]
        return f"{row[measure]:.4f} ± {row[f'{measure}_sd']:.4f}"

    lines = [
        (
            called,
            *(said(candidate, measure) for candidate in candidates),
            _PUBLISHED[measure],
            "" if measure not in GOALS else f"{'≥' if GOALS[measure][1] > 0 else '≤'} {GOALS[measure][0]}",
        )
        for measure, called in _CALLED.items()
    ]
    return table(("", *candidates, "published", "goal"), lines)


def leaderboard(rows: pl.DataFrame) -> str:
    """The newest search: each family's best trial."""
    newest = rows.filter(pl.col("event_date") == pl.col("event_date").max()).sort("engine", "place")
    lines = [
        (
            row["family"],
            row["engine"],
            f"{row['log_loss']:.4f}",
            f"{row['auc']:.4f}",
            f"{row['brier']:.4f}",
            row["trials"],
        )
        for row in newest.iter_rows(named=True)
    ]
    return table(("family", "engine", "log loss", "AUC", "Brier", "trials"), lines)


def walk_forward(weeks: pl.DataFrame, decisions: pl.DataFrame) -> str:
    """Each week's model on the week after its date, and what the gate said."""
    promoted = dict(decisions.select("challenger_version", "promoted").iter_rows())
    lines = [
        (
            row["event_date"],
            f"{row['test_churned']} of {row['test_rows']}",
            f"{row['roc_auc']:.3f} [{row['roc_auc_low']:.3f}, {row['roc_auc_high']:.3f}]",
            f"{row['brier']:.3f}",
            f"{row['lift_10']:.2f}",
            "promoted" if promoted.get(row["model_version"]) else "refused",
        )
        for row in weeks.sort("event_date").iter_rows(named=True)
    ]
    return table(("as of", "left", "AUC [95 %]", "Brier", "lift@10 %", "gate"), lines)


def fairness(rows: pl.DataFrame) -> str:
    """The greatest gap between groups in each measure, with its limit."""
    gaps = rows.filter(group="gap").sort("attribute", "measure")
    lines = [
        (r["attribute"], r["measure"], f"{r['value']:.3f} [{r['low']:.3f}, {r['high']:.3f}]", r["limit"], r["verdict"])
        for r in gaps.iter_rows(named=True)
    ]
    return table(("by", "measure", "gap [95 %]", "limit", "verdict"), lines)


def campaign(targets: pl.LazyFrame, labels: pl.LazyFrame) -> str:
    """What the lists hold, and how many of those on them left."""
    listed = targets.join(
        labels.select("event_date", "customer_id", "churned"), on=["event_date", "customer_id"], how="left"
    ).collect()
    days, share = listed["event_date"].n_unique(), 100 * listed["churned"].sum() / max(listed.height, 1)
    cost = listed["cost"].sum() / max(days, 1)
    return (
        f"{listed.height:,} offers on {days} days, which cost at most {cost:,.0f} USD on an average day; "
        f"expected gain {listed['expected_gain'].sum():,.0f} USD; {share:.1f} % of these customers left."
    )
