"""The quality of the data as figures: every check's newest verdicts, counted from the history that Dagster keeps.

A check of partitions fails while the newest evaluation of one of them fails, however many others passed since.
"""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

import dagster as dg
import polars as pl

from convergence.lake.contracts import schema_of
from convergence_assets.governance.contracts import QualityScore
from resources.lake import lake_asset

History = Sequence[tuple[float, dg.AssetCheckEvaluation]]

NEWEST = 500  # evaluations that are looked back on: three rounds over half a year of days


def scorecard(instance: dg.DagsterInstance, checks: Iterable[dg.AssetCheckKey], newest: int = NEWEST) -> pl.DataFrame:
    """QualityScore rows of these checks, by asset and name."""
    ordered = sorted(checks, key=lambda check: (check.asset_key, check.name))
    rows = [score(check, _history(instance, check, newest)) for check in ordered]
    return pl.DataFrame(rows, schema=schema_of(QualityScore), orient="row")


def kpis(rows: pl.DataFrame) -> dict[str, Any]:
    """The scorecard in figures, and the checks that need somebody."""
    ran = rows.filter(pl.col("evaluations") > 0)
    open_ = rows.filter(pl.col("failing_partitions") > 0).sort("failing_partitions", "asset", descending=[True, False])
    worst = [f"{asset}: {check} ({n})" for asset, check, n in open_["asset", "check", "failing_partitions"].iter_rows()]
    return {
        "checks": rows.height,
        "checks_failing": int(rows.select((pl.col("verdict") == "failed").sum()).item()),
        "checks_never_run": rows.height - ran.height,
        "failing_partitions": int(rows["failing_partitions"].sum()),
        "rows_rejected": int(rows["rows_rejected"].sum()),
        "pass_rate": float(ran.select(_weighted()).item()) if ran.height else float("nan"),
        "needs_attention": "; ".join(worst[:10]) or "none",
    }


def _weighted() -> pl.Expr:
    return (pl.col("pass_rate") * pl.col("evaluations")).sum() / pl.col("evaluations").sum()


def _history(instance: dg.DagsterInstance, check: dg.AssetCheckKey, newest: int) -> History:
    """When and how it was evaluated, newest first; what was only planned is left out."""
    records = instance.event_log_storage.get_asset_check_execution_history(check, limit=newest)
    return [
        (record.event.timestamp, record.evaluation)
        for record in records
        if record.event and isinstance(record.evaluation, dg.AssetCheckEvaluation)
    ]


def score(check: dg.AssetCheckKey, history: History) -> tuple[Any, ...]:
    """The QualityScore row of a check, from when and how it was evaluated, newest first."""
    by_partition: dict[str | None, dg.AssetCheckEvaluation] = {}
    for _, evaluation in history:
        by_partition.setdefault(evaluation.partition, evaluation)
    if len(by_partition) > 1:  # an evaluation of a whole range sums up those of its days
        by_partition.pop(None, None)
    failing = [e for e in by_partition.values() if _verdict(e) == "failed"]
    failures = [at for at, evaluation in history if _verdict(evaluation) == "failed"]
    return (
        check.asset_key.to_user_string(),
        check.name,
        "failed" if failing else _verdict(history[0][1]) if history else "never",
        len(history),
        sum(e.passed for _, e in history) / len(history) if history else None,
        _moment(history[0][0]) if history else None,
        _moment(failures[0]) if failures else None,
        len(failing),
        sum(_rows_rejected(e) for e in failing),
    )


def _verdict(evaluation: dg.AssetCheckEvaluation) -> str:
    if evaluation.passed:
        return "passed"
    return "warned" if evaluation.severity is dg.AssetCheckSeverity.WARN else "failed"


def _rows_rejected(evaluation: dg.AssetCheckEvaluation) -> int:
    value = getattr(evaluation.metadata.get("rows_rejected"), "value", None)
    return value if isinstance(value, int) else 0


def _moment(timestamp: float) -> datetime:
    return datetime.fromtimestamp(timestamp, UTC)


@lake_asset(
    contract=QualityScore,
    describe=kpis,
    code_version="1",
    key_prefix="governance",
    group_name="governance",
    owners=["team:platform"],
    kinds={"python", "deltalake"},
    tags={"layer": "operations", "not_partitioned": "what-the-event-log-says-now"},
)
def quality_scorecard(context: dg.AssetExecutionContext) -> pl.DataFrame:
    """Every check of every asset: its verdict, pass rate and rejected rows.

    Grain: check. Read from Dagster's history of evaluations, so it knows only of checks that ran on this instance.
    """
    from convergence_assets.definitions import defs  # the whole graph, which this asset is a part of

    return scorecard(context.instance, defs.resolve_asset_graph().asset_check_keys)


quality_job = dg.define_asset_job("quality", selection=dg.AssetSelection.assets(quality_scorecard))
quality_every_morning = dg.ScheduleDefinition(
    job=quality_job, cron_schedule="0 6 * * *", default_status=dg.DefaultScheduleStatus.RUNNING
)
