"""Starts a landing when something has arrived; what follows from it is the reconcile sensor's."""

import json
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from hashlib import blake2b

import dagster as dg

from convergence.arrivals.lander import Lander
from convergence.arrivals.topics import Source, Span, Topic
from convergence.errors import ArrivalError, BrokerUnreachable
from convergence.lake.manifests import Provenance
from convergence.lake.tables import Lake
from resources.arrivals import CONTINUOUS, topic_key
from sensors.reconcile import UNFINISHED

RANGE = "convergence/range"  # tag of a landing: the topic and the offsets that it answers
TOPIC = "convergence/topic"

_AFTER_FAILURE = timedelta(minutes=1)  # then twice as long each time: what failed once may be mended


def arrival_sensor(topics: Iterable[Topic]) -> dg.SensorDefinition:
    """One sensor for all topics: a run per topic with unlanded messages, once per range of offsets."""
    watched = list(topics)
    keys = {t.name: dg.AssetKey(t.table.split("/")) for t in watched}

    @dg.sensor(
        name="arrivals",
        asset_selection=dg.AssetSelection.assets(*keys.values()),  # `target` refuses assets with different partitions
        minimum_interval_seconds=10,
        default_status=dg.DefaultSensorStatus.RUNNING,
        required_resource_keys={"lake", "sources"},
        description="Lands what has arrived: messages in Kafka, files in a topic's drop folder.",
    )
    def arrivals(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        before: dict[str, dict[str, str]] = json.loads(context.cursor or "{}")
        looks, requests, words = {}, [], []
        silent: dict[str, str] = {}  # sources that gave no answer: asked once in a tick, which has no more time
        for topic in watched:
            look = looks[topic.name] = _look(context.resources.lake.lake, topic, context.resources.sources.all, silent)
            past = before.get(topic.name, {})
            if look.problem != past.get("problem", ""):
                context.log.warning(look.problem or f"{topic.name}: in order again, after: {past['problem']}")
            mark = f"{topic.name}/{look.ends}"
            why_not = look.why_not(past) or _in_flight(context.instance, topic)
            attempt = None if why_not else _attempt(context.instance, mark)
            if attempt is None:
                words.append(f"{topic.name}: {why_not or 'its last landing failed and is tried again later'}")
                continue
            tags = {"cause": f"{look.messages} new in {topic.name}", RANGE: mark, TOPIC: topic.name}
            requests.append(
                dg.RunRequest(
                    run_key=f"{mark}/{attempt}",
                    partition_key=str(topic.last_day),
                    asset_selection=[keys[topic.name]],
                    tags=tags,
                )
            )
        moved = [t for t in watched if looks[t.name].ends != before.get(t.name, {}).get("ends")]
        return dg.SensorResult(
            run_requests=requests,
            skip_reason=None if requests else "; ".join(words),
            asset_events=[dg.AssetObservation(topic_key(t), metadata=looks[t.name].offsets) for t in moved],
            cursor=json.dumps({name: look.state for name, look in looks.items()}),
        )

    return arrivals


@dataclass(frozen=True)
class _Look:
    """A topic as it was found: what is offered and not landed, the raw table's version, and what is out of order."""

    spans: list[Span]
    version: int
    by_lander: bool  # the newest commit is that of a continuous lander
    problem: str

    @property
    def messages(self) -> int:
        return sum(span.end - span.start for span in self.spans)

    @property
    def ends(self) -> str:
        """A name for what there is to land."""
        named = sorted(f"{s.application}:{s.end}" for s in self.spans if s.end > s.start)
        return blake2b("".join(named).encode(), digest_size=12).hexdigest()

    @property
    def offsets(self) -> dict[str, int | str]:
        return {s.application: f"{s.start} to {s.end} not landed" for s in self.spans[:20]} | {"lag": self.messages}

    @property
    def state(self) -> dict[str, str]:
        return {"ends": self.ends, "version": str(self.version), "problem": self.problem}

    def why_not(self, past: Mapping[str, str]) -> str | None:
        """Why no landing is started now, in words."""
        if not self.messages:
            return self.problem or "nothing new"
        if self.by_lander and str(self.version) != past.get("version", str(self.version)):
            return f"{self.messages} new; a continuous lander is at work"
        return None


def _look(lake: Lake, topic: Topic, sources: Iterable[Source], silent: dict[str, str]) -> _Look:
    lander = Lander(lake, topic, Provenance("sensor", ""))
    spans: list[Span] = []
    problems = []
    for source in sources:
        try:
            if source.name in silent:
                raise BrokerUnreachable(silent[source.name])
            offered = source.offered(topic, lander.landed)
            lander.refuse_loss(offered)
            spans += offered
        except ArrivalError as error:
            problems.append(str(error))
            if isinstance(error, BrokerUnreachable):
                silent[source.name] = str(error)
    handle = lake.open(topic.table)
    newest = next(lake.commits(topic.table, handle.version() - 1), None) if handle else None
    by_lander = newest is not None and newest.manifest["run_id"].startswith(CONTINUOUS)
    return _Look(spans, handle.version() if handle else -1, by_lander, "; ".join(problems))


def _in_flight(instance: dg.DagsterInstance, topic: Topic) -> str | None:
    held = instance.get_runs(dg.RunsFilter(tags={TOPIC: topic.name}, statuses=UNFINISHED), limit=1)
    return f"run {held[0].run_id[:8]} is landing" if held else None


def _attempt(instance: dg.DagsterInstance, mark: str) -> int | None:
    """Number of the landing to start for this range, None while it is too early to try again."""
    tried = instance.get_run_records(dg.RunsFilter(tags={RANGE: mark}))
    wait = min(_AFTER_FAILURE * 2 ** max(len(tried) - 1, 0), timedelta(hours=1))
    ended = max((record.end_time or 0.0 for record in tried), default=0.0)
    return None if time.time() < ended + wait.total_seconds() else len(tried) + 1
