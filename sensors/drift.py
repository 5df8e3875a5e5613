"""Turns drift into a retraining: at most one per cool-down, however many columns drift and however often it is seen.

What calls for it is read from the lake, what was done about it from Dagster's runs, so that nothing is lost or doubled
when a tick fails or a cursor is reset. The cool-down counts event time: a history that stands still is answered once,
one that is replayed in an hour as often as it would have been live.
"""

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

import dagster as dg

from convergence.errors import ConvergenceError
from convergence.lake.manifests import states
from convergence.lake.tables import Lake
from convergence.monitoring.drift import DRIFT, worst_first
from sensors.reconcile import UNFINISHED

RETRAINING = "convergence/retraining"  # tag of a run: the model that is made again
CALLED_ON = "convergence/drift_day"  # tag of a run: the day whose drift it answers

_AFTER_FAILURE, _AT_MOST = timedelta(minutes=10), timedelta(days=1)  # then twice as long each time
_REMEMBERED = 100  # runs that are looked back on


@dataclass(frozen=True)
class Retraining:
    """What is made again when one of these tables says `drift`: assets that share partitions, named by as-of dates.

    `verdicts` are tables with rows of `event_date`, `feature`, `effect`, `verdict`, and the word for each in `cause`.
    """

    model: str
    verdicts: tuple[tuple[str, str], ...]
    assets: tuple[dg.AssetKey, ...]
    partitions_def: dg.PartitionsDefinition
    cool_down: timedelta = timedelta(days=7)


@dataclass(frozen=True)
class _Call:
    """The newest drift there is: its day, and its worst feature."""

    day: date
    cause: str


def drift_sensor(retrainings: Iterable[Retraining]) -> dg.SensorDefinition:
    """One sensor for all models: a run of the newest as-of date where the newest verdicts call for it."""
    watched = list(retrainings)

    @dg.sensor(
        name="drift",
        asset_selection=dg.AssetSelection.assets(*(key for r in watched for key in r.assets)),
        minimum_interval_seconds=60,
        default_status=dg.DefaultSensorStatus.RUNNING,
        required_resource_keys={"lake"},
        description="Retrains a model when its inputs, scores or performance have drifted, once per cool-down.",
    )
    def drift(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        requests: list[dg.RunRequest] = []
        said: list[str] = []
        for retraining in watched:
            try:
                found = _answer(context.instance, context.resources.lake.lake, retraining)
            except ConvergenceError as error:  # of this model: the others are served all the same
                found = str(error)
            if isinstance(found, dg.RunRequest):
                requests.append(found)
            else:
                said.append(f"{retraining.model}: {found}")
        return dg.SensorResult(run_requests=requests, skip_reason=None if requests else "; ".join(said))

    return drift


def _answer(instance: dg.DagsterInstance, lake: Lake, retraining: Retraining) -> dg.RunRequest | str:
    """The run to start, or why none is started."""
    looked = [(table, *_newest_call(lake, table, word)) for table, word in retraining.verdicts]
    calls = [call for *_, call in looked if call]
    if not calls:
        return ", ".join(f"{table} {f'of {day} shows no drift' if day else 'is empty'}" for table, day, _ in looked)
    call = max(calls, key=lambda c: c.day)
    weeks = [key for key in retraining.partitions_def.get_partition_keys() if key <= str(call.day)]
    if not weeks:
        return f"{call.cause} on {call.day}, before the first as-of date of a model"
    attempt = _attempt(instance, retraining, call)
    if isinstance(attempt, str):
        return f"{call.cause} on {call.day}: {attempt}"
    return dg.RunRequest(
        run_key=f"{retraining.model}/{call.day}/{attempt}",
        partition_key=weeks[-1],
        asset_selection=list(retraining.assets),
        tags={"cause": call.cause, RETRAINING: retraining.model, CALLED_ON: str(call.day)},
    )


def _newest_call(lake: Lake, table: str, word: str) -> tuple[str | None, _Call | None]:
    """The newest day with verdicts, and what calls for a retraining on it."""
    days = [day for day, state in states(lake, [table])[table].items() if state.rows]
    if not days:
        return None, None
    newest = max(days)
    rows = lake.scan(table, [newest]).select("feature", "effect", "verdict").collect()
    worst = worst_first(rows).row(0, named=True)
    call = _Call(date.fromisoformat(newest), f"{word}:{worst['feature']}") if worst["verdict"] == DRIFT else None
    return newest, call


def _attempt(instance: dg.DagsterInstance, retraining: Retraining, call: _Call) -> int | str:
    """Number of the run to start for this call, or why it is not the time."""
    records = instance.get_run_records(dg.RunsFilter(tags={RETRAINING: retraining.model}), limit=_REMEMBERED)
    for record in records:
        if record.dagster_run.status in UNFINISHED:
            return f"run {record.dagster_run.run_id[:8]} is retraining"
    answered = [_day_of(r) for r in records if r.dagster_run.status is dg.DagsterRunStatus.SUCCESS]
    if answered and call.day < (due := max(answered) + retraining.cool_down):
        return f"retrained for the drift of {max(answered)}; not again for drift before {due}"
    failed = _failed_since_success(records)
    ended = max((record.end_time or 0.0 for record in failed), default=0.0)
    wait = min(_AFTER_FAILURE * 2 ** min(max(len(failed) - 1, 0), 20), _AT_MOST)
    if time.time() < ended + wait.total_seconds():
        return f"the last of {len(failed)} failed retrainings ended less than {wait} ago; it is tried again later"
    return len(failed) + 1


def _failed_since_success(records: Sequence[dg.RunRecord]) -> list[dg.RunRecord]:
    """The runs that ended without success since the newest that did not; records come newest first."""
    statuses = [record.dagster_run.status for record in records]
    success = dg.DagsterRunStatus.SUCCESS
    return list(records[: statuses.index(success)] if success in statuses else records)


def _day_of(record: dg.RunRecord) -> date:
    return date.fromisoformat(record.dagster_run.tags[CALLED_ON])
