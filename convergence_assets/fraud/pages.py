"""The numbers of the fraud page and the README, from the tables of one lake: `convergence docs` writes them."""

import json
from collections.abc import Mapping
from datetime import date, timedelta
from typing import Any

import polars as pl

from convergence.errors import TableMissing
from convergence.lake.manifests import manifest, states
from convergence.lake.tables import Lake
from convergence.markdown import table
from convergence.models import metrics
from convergence_assets.fraud.evaluation import CANDIDATES, HANDBOOK, judged_week
from convergence_assets.fraud.use_case import MODEL

SIZED = (
    *("raw_transactions", "transactions", "labels", "transaction_features"),
    *("fraud_parameters", "fraud_model", "fraud_updated_model", "fraud_evaluation"),
    *("fraud_promotions", "fraud_champions", "fraud_scores", "fraud_alerts"),
    *("feature_profiles", "score_profiles", "score_references", "drift", "score_performance"),
    *("creditcard_transactions", "creditcard_evaluation"),
)
CALLED = {"xgboost": "trees", "network": "network", "linear": "linear", "stack": "stack"}
RANKING = tuple(HANDBOOK)
# Why a fraud of each scenario can be told, by the features of its moment; see convergence/arrivals/simulators/fraud.py
KNOWABLE = {
    1: pl.lit(value=True),
    2: pl.col("terminal_frauds_30d") > 0,
    3: pl.col("amount_to_genuine_mean") >= 2,
}


def numbers(lake: Lake) -> dict[str, str]:
    """The value of each marker. Raises TableMissing, naming what to materialize, where the lake has no such table."""
    weeks = lake.scan("fraud/fraud_evaluation").sort("event_date").collect()
    models = lake.scan("fraud/fraud_model").drop("onnx", "model", "candidates").sort("event_date").collect()
    judged = models.filter(pl.col("model_version").is_in(weeks["model_version"].implode()))
    return (
        {"run": run(lake, weeks["event_date"].to_list()), "sizes": sizes(lake)}
        | data(lake.scan("fraud/transactions"), lake.scan("fraud/labels"))
        | walk_forward(weeks, judged)
        | stored(lake, models)
        | decided(lake.scan("fraud/fraud_promotions"))
        | alerted(lake)
        | ceiling(judged_weeks(lake, weeks["event_date"].to_list()), weeks)
    )


def run(lake: Lake, weeks: list[date]) -> str:
    """When, by which code and on which data the evaluation was made."""
    made = [manifest(lake, "fraud/fraud_evaluation", str(week)) for week in weeks]
    days = sorted({one["committed_at"][:10] for one in made})
    revisions = sorted({one["revision"][:7] for one in made})
    origins = sorted({origin for one in made for origin in one["origins"]})
    return f"{' and '.join(days)}, code revision {' and '.join(revisions)}, data {'; '.join(origins)}"


def sizes(lake: Lake) -> str:
    """Rows, partitions and megabytes of each table."""
    held = states(lake, [f"fraud/{name}" for name in SIZED])
    rows = []
    for name, parts in held.items():
        handle = lake.open(name)
        files = pl.DataFrame(handle.get_add_actions(flatten=True))["size_bytes"].to_list() if handle else []
        count = sum(state.rows for state in parts.values())
        rows.append((f"`{name}`", f"{count:,}", f"{len(parts):,}", f"{sum(files) / 1e6:,.1f}"))
    return table(("table", "rows", "partitions", "MB"), rows)


def parity(lake: Lake) -> dict[str, str]:
    """How many served rows were made again, and what differed. Raises TableMissing where none were."""
    if lake.open("fraud/served_parity") is None:
        raise TableMissing(
            "fraud/served_parity has never been written, and no demo does: answer requests with `convergence serve "
            "fraud`, then materialize fraud/served_parity"
        )
    found = lake.scan("fraud/served_parity").collect()
    return {
        "parity": f"{found['rows'][0]} served rows of {found.height} features, {found['differing'].sum()} values differ"
    }


def data(transactions: pl.LazyFrame, labels: pl.LazyFrame) -> dict[str, str]:
    """What the transactions and labels are."""
    (row,) = transactions.select(
        pl.len(),
        customers=pl.col("customer_id").n_unique(),
        terminals=pl.col("terminal_id").n_unique(),
        first=pl.col("event_date").min(),
        last=pl.col("event_date").max(),
    ).collect().iter_rows(named=True)  # fmt: skip
    known = labels.select("is_fraud", "fraud_scenario").collect()
    frauds = known.filter("is_fraud")["fraud_scenario"]
    shares = {f"share_{n}": f"{100 * (frauds == n).sum() / max(len(frauds), 1):.0f} %" for n in KNOWABLE}
    return shares | {
        "data": f"{row['len']:,} transactions of {row['customers']:,} customers at {row['terminals']:,} terminals, "
        f"{row['first']} to {row['last']}, {_percent(known['is_fraud'])} fraud"
    }


def walk_forward(weeks: pl.DataFrame, models: pl.DataFrame) -> dict[str, str]:
    """The test weeks, their means beside members, stack and Handbook, and what follows from the threshold."""
    mean = {name: _mean(weeks[name].to_list()) for name, kind in weeks.schema.items() if kind.is_numeric()}
    members = pl.DataFrame([one for text in weeks["candidates"] for one in json.loads(text)])
    beside = {name: members.filter(candidate=name).select(RANKING).mean().row(0) for name in CANDIDATES}
    reports = [json.loads(text) for text in models["report"]]
    served = {report["served"] for report in reports}
    cost = pl.DataFrame([one for text in weeks["cost_curve"] for one in json.loads(text)]).filter(pl.col("share") < 1)
    cost = cost.group_by("share", maintain_order=True).mean()
    constant = ("constant score", f"{mean['base_rate']:.4f}", "0.5", "")
    handbook = ("Handbook, best of each", *(f"{value:.3g}" for value in HANDBOOK.values()))
    seven = [f"{mean[f'{name}_7d']:.3f}" for name in RANKING]
    ours = [f"{mean[name]:.3f}" for name in RANKING]
    return {
        "walk_forward": table(
            ("test week", "base rate", "AP, 7 days", "AP as served [95 %]", "AUC", "CP@100"),
            [*map(_week, weeks.iter_rows(named=True)), ("mean", constant[1], seven[0], *ours)],
        ),
        "result": table(
            ("", "average precision", "ROC AUC", "card precision@100"),
            [
                constant,
                handbook,
                ("trained on 7 days, as the Handbook does", *seven),
                ("trained on 84 days (`fraud_model`)", *ours),
            ],
        ),
        "members": table(
            ("", "AP", "AUC", "CP@100"),
            [
                constant,
                *(
                    (CALLED[name] + ", served" * (served == {name}), *(f"{value:.3f}" for value in beside[name]))
                    for name in sorted(CANDIDATES, key=lambda name: (name == "stack", beside[name]))
                ),
                handbook,
            ],
        ),
        "stack_gains": _listed([f"{_gain(report):+.4f}" for report in reports]),
        "calibration_error": f"{mean['calibration_error']:.4f}",
        "brier": f"{mean['brier']:.4f}",
        "false_positives": f"{mean['alert_false_positive_rate'] * 100:.2f} %",
        "alert_precision": f"{mean['alert_precision']:.2f}",
        "alert_recall": f"{mean['alert_recall']:.2f}",
        "precision_at_fpr": f"{mean['precision_at_fpr']:.2f}",
        "recall_at_fpr": f"{mean['recall_at_fpr']:.2f}",
        "cost": table(
            ("looked at", "alerts", "missed fraud, EUR", "cost, EUR"),
            [
                (f"{share:.3g} %" if share else "none", *(f"{value:,.0f}" for value in values))
                for share, *values in cost.with_columns(pl.col("share") * 100).iter_rows()
            ],
        ),
    }


def stored(lake: Lake, models: pl.DataFrame) -> dict[str, str]:
    """Size and exactness of the stored models."""
    largest = lake.scan("fraud/fraud_model").select(pl.col("onnx").bin.size().max()).collect().item()
    found = max(json.loads(report)["parity"] for report in models["report"])
    return {"onnx_size": f"{largest / 1e6:.1f} MB", "onnx_parity": f"{found:.0e}".replace("e-0", "e-")}


def decided(promotions: pl.LazyFrame) -> dict[str, str]:
    """What the gate decided each week."""
    rows = promotions.sort("event_date").select(
        "event_date", "challenger_version", "gate_average_precision", "promoted", "gate", "model_version"
    )
    lines = []
    for week, challenger, precision, promoted, gate, champion in rows.collect().iter_rows():
        failed = ", ".join(f"`{rule['rule']}`" for rule in json.loads(gate) if not rule["passed"])
        verdict = "promoted" if promoted else f"refused: {failed}"
        lines.append((week, f"`{challenger}`", f"{precision:.3f}", verdict, f"`{champion}`"))
    return {"promotions": table(("from", "challenger", "AP at the gate", "verdict", "champion"), lines)}


def alerted(lake: Lake) -> dict[str, str]:
    """How many of the issued scores were alerts, and how many of these frauds."""
    scores = lake.scan("fraud/fraud_scores").select(pl.len()).collect().item()
    labels = lake.scan("fraud/labels").select(*MODEL.row, "is_fraud")
    right = lake.scan("fraud/fraud_alerts").select(MODEL.row).join(labels, on=MODEL.row).collect()["is_fraud"]
    return {"alerts": f"{len(right):,} alerts among {scores:,} scores, {_percent(right)} of them frauds"}


def judged_weeks(lake: Lake, weeks: list[date]) -> list[pl.DataFrame]:
    """The transactions of each test week as the evaluation judges them, with scenario and whether it is knowable."""
    found = []
    for week in weeks:
        days = [str(week + timedelta(days=number)) for number in range(-14, 7)]
        features, labels = (lake.scan(f"fraud/{name}", days).collect() for name in ("transaction_features", "labels"))
        rows = judged_week(features, labels, week).join(
            labels.select(*MODEL.row, "fraud_scenario"), on=MODEL.row, how="left"
        )
        knowable = [(pl.col("fraud_scenario") == number) & rule for number, rule in KNOWABLE.items()]
        found.append(rows.with_columns(score=pl.any_horizontal(knowable).fill_null(value=False).cast(pl.Float64)))
    return found


def ceiling(weeks: list[pl.DataFrame], served: pl.DataFrame) -> dict[str, str]:
    """What could have been known of the test weeks' frauds, and what a score of just that would reach."""
    frauds = pl.concat([week.filter("is_fraud").select("fraud_scenario", "score") for week in weeks])
    values = {"total": f"{frauds.height:,}"}
    for number in KNOWABLE:
        mine = frauds.filter(pl.col("fraud_scenario") == number)["score"]
        values |= {f"frauds_{number}": f"{len(mine):,}", f"knowable_{number}": f"{mine.sum():,.0f}"}
    precision = _mean([metrics.average_precision(week["is_fraud"], week["score"]) for week in weeks])
    cards = _mean([metrics.card_precision_at_k(week) for week in weeks])
    return values | {
        "ceiling": f"{precision:.3f}",
        "ceiling_cards": f"{cards:.3f}",
        "reached": f"{100 * _mean(served['average_precision'].to_list()) / precision:.0f} %",
        "reached_cards": f"{100 * _mean(served['card_precision_100'].to_list()) / cards:.0f} %",
    }


def _week(row: Mapping[str, Any]) -> tuple[object, ...]:
    low, high = row["average_precision_low"], row["average_precision_high"]
    return (
        row["event_date"],
        f"{row['base_rate']:.4f}",
        f"{row['average_precision_7d']:.3f}",
        f"{row['average_precision']:.3f} [{low:.3f}, {high:.3f}]",
        f"{row['roc_auc']:.3f}",
        f"{row['card_precision_100']:.3f}",
    )


def _gain(report: Mapping[str, Any]) -> float:
    found = {one["candidate"]: one["average_precision"] for one in report["comparison"]}
    return found.pop("stack") - max(found.values())


def _listed(words: list[str]) -> str:
    return " and ".join(filter(None, (", ".join(words[:-1]), words[-1])))


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


def _percent(flags: pl.Series) -> str:
    return f"{100 * (flags.sum() / max(len(flags), 1)):.2f} %"
