"""Sends an alert for each failed check and run: in the order of Dagster's events, with a cursor for each channel.

A channel that is out of order keeps its cursor and gets everything later; the others are served meanwhile. The first
tick with a channel only notes where the log ends: what failed before anybody listened is no news.
"""

import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby
from typing import Any

import dagster as dg

from convergence.observability.alerts import Alert, Channel, Undelivered
from resources.alerts import Alerts

SECONDS = 25  # after which a tick begins no further alert; the rest follows with the next
_BATCH = 1000  # events that are read in one tick, passed checks among them

Cursor = dict[str, Any]  # `checks`: id of the last event that is dealt with; `runs`: Dagster's cursor


@dg.sensor(
    name="alerts",
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,
    required_resource_keys={"alerts"},
    description="Sends one alert for each failed check or run to a file and, where it is configured, a webhook.",
)
def alerts(context: dg.SensorEvaluationContext) -> dg.SensorResult:
    """Serve each channel from its own cursor on; say what was sent, and what could not be."""
    settings: Alerts = context.resources.alerts
    cursors: dict[str, Cursor] = json.loads(context.cursor or "{}")
    served: dict[str, Cursor] = {}
    said = []
    for channel in settings.channels:
        before = cursors.get(channel.name)
        served[channel.name], told = _served(context.instance, settings, channel, before)
        said.append(f"{channel.name}: {told}")
    return dg.SensorResult(cursor=json.dumps(served), skip_reason="; ".join(said))


def _served(
    instance: dg.DagsterInstance, settings: Alerts, channel: Channel, before: Cursor | None
) -> tuple[Cursor, str]:
    """The channel's new cursor, and what happened."""
    if before is None:
        return _end(instance), "listens from now on"
    cursor, sent, began = dict(before), 0, time.monotonic()
    for found in (_failed_checks(instance, settings, cursor), _failed_runs(instance, settings, cursor)):
        for moved, alert in found:
            if alert:
                if time.monotonic() - began > SECONDS:
                    return cursor, f"{sent} sent, the rest follows"
                try:
                    channel.send(alert)
                except Undelivered as error:
                    return cursor, f"{sent} sent, then: {error}"
                sent += 1
            cursor |= moved
    return cursor, f"{sent} sent" if sent else "nothing failed"


def _end(instance: dg.DagsterInstance) -> Cursor:
    last = instance.get_event_records(dg.EventRecordsFilter(dg.DagsterEventType.ASSET_CHECK_EVALUATION), limit=1)
    runs = instance.fetch_run_status_changes(dg.DagsterEventType.RUN_FAILURE, limit=1)
    return {"checks": last[0].storage_id if last else 0, "runs": runs.cursor}


@dataclass(frozen=True)
class _Failed:
    """One evaluation that failed."""

    event: int
    run_id: str
    at: float
    evaluation: dg.AssetCheckEvaluation

    @property
    def of(self) -> tuple[str, str, str, str]:
        """What one alert is about: run, asset, check and severity."""
        check = self.evaluation
        return self.run_id, check.asset_key.to_user_string(), check.check_name, check.severity.value.lower()


def _failed_checks(
    instance: dg.DagsterInstance, settings: Alerts, cursor: Cursor
) -> Iterator[tuple[Cursor, Alert | None]]:
    """Alerts of checks, each with the cursor behind it: the partitions of a check that failed together make one."""
    records = instance.get_event_records(
        dg.EventRecordsFilter(dg.DagsterEventType.ASSET_CHECK_EVALUATION, after_cursor=cursor["checks"]),
        limit=_BATCH,
        ascending=True,
    )
    failed = [
        _Failed(r.storage_id, r.run_id, r.timestamp, evaluation)
        for r in records
        if isinstance(evaluation := _specific(r), dg.AssetCheckEvaluation) and not evaluation.passed
    ]
    loud = [f for f in failed if settings.warnings or f.evaluation.severity is dg.AssetCheckSeverity.ERROR]
    for (run_id, asset, check, severity), group in groupby(loud, key=lambda f: f.of):
        events = list(group)
        keys = [f.evaluation.partition for f in events if f.evaluation.partition]
        rejected = [n for f in events if (n := _rows_rejected(f.evaluation)) is not None and f.evaluation.partition]
        rejected = rejected or [n for f in events if (n := _rows_rejected(f.evaluation)) is not None]
        where = f" for {keys[0]}{f' and {len(keys) - 1} more partitions' if len(keys) > 1 else ''}" if keys else ""
        rows = f", {sum(rejected):,} rows rejected" if rejected else ""
        yield (
            {"checks": events[-1].event},
            Alert(
                id=f"check/{run_id or 'no-run'}/{events[0].event}",
                kind="check",
                severity=severity,
                text=f"{asset}: check {check} failed{where}{rows}",
                at=_iso(events[0].at),
                asset=asset,
                check=check,
                partition=keys[0] if keys else None,
                partitions=len(keys),
                rows_rejected=sum(rejected) if rejected else None,
                run_id=run_id,
                run_url=_url(settings, run_id),
            ),
        )
    if records:
        yield {"checks": records[-1].storage_id}, None


def _failed_runs(
    instance: dg.DagsterInstance, settings: Alerts, cursor: Cursor
) -> Iterator[tuple[Cursor, Alert | None]]:
    """Alerts of runs, but for those that failed by a check alone: it has alerted already."""
    position = cursor["runs"]
    while True:
        found = instance.fetch_run_status_changes(
            dg.DagsterEventType.RUN_FAILURE, limit=1, cursor=position, ascending=True
        )
        if not found.records:
            return
        position = found.cursor
        (record,) = found.records
        yield {"runs": position}, _of_run(instance, settings, record.run_id, record.timestamp)


def _of_run(instance: dg.DagsterInstance, settings: Alerts, run_id: str, at: float) -> Alert | None:
    kinds = {dg.DagsterEventType.STEP_FAILURE, dg.DagsterEventType.ASSET_CHECK_EVALUATION}
    steps: set[str] = set()
    checked: set[str] = set()
    for record in instance.get_records_for_run(run_id, of_type=kinds).records:
        event = record.event_log_entry.dagster_event
        evaluation = _specific(record)
        if not isinstance(evaluation, dg.AssetCheckEvaluation):
            steps.add(str(event.step_key if event else None))
        elif not evaluation.passed and evaluation.severity is dg.AssetCheckSeverity.ERROR:
            checked.add(str(event.step_key if event else None))
    if steps and steps <= checked:
        return None
    run = instance.get_run_by_id(run_id)
    name = ", ".join(sorted(steps - checked)) or (run.job_name if run else "a job")
    partition = run.tags.get("dagster/partition") if run else None
    return Alert(
        id=f"run/{run_id}",
        kind="run",
        severity="error",
        text=f"run {run_id[:8]} failed in {name}{f' for {partition}' if partition else ''}",
        at=_iso(at),
        asset=None,
        check=None,
        partition=partition,
        partitions=1 if partition else 0,
        rows_rejected=None,
        run_id=run_id,
        run_url=_url(settings, run_id),
    )


def _specific(record: dg.EventLogRecord) -> object:
    event = record.event_log_entry.dagster_event
    return event.event_specific_data if event else None


def _rows_rejected(evaluation: dg.AssetCheckEvaluation) -> int | None:
    metadata: Mapping[str, Any] = evaluation.metadata
    value = getattr(metadata.get("rows_rejected"), "value", None)
    return value if isinstance(value, int) else None


def _iso(timestamp: float) -> str:
    return datetime.fromtimestamp(timestamp, UTC).isoformat(timespec="seconds")


def _url(settings: Alerts, run_id: str) -> str:
    return f"{settings.ui.rstrip('/')}/runs/{run_id}" if run_id else settings.ui
