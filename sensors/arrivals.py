"""Starts a landing when something has arrived; what follows from it is the reconcile sensor's."""

import json
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from hashlib import blake2b

import dagster as dg

from convergence.arrivals.lander import Lander
from convergence.arrivals.topics import Source, Span, Topic
from convergence.errors import ArrivalError, BrokerUnreachable, ConvergenceError
from convergence.lake.manifests import Provenance
from convergence.lake.tables import Commit, Lake
from resources.arrivals import CONTINUOUS, TOPIC, topic_key
from resources.keys import key_of
from sensors.reconcile import UNFINISHED

RANGE = "convergence/range"  # tag of a landing: the topic and the offsets that it answers

_AFTER_FAILURE = timedelta(minutes=1)  # then twice as long each time: what failed once may be mended


def arrival_sensor(topics: Iterable[Topic]) -> dg.SensorDefinition:
    """One sensor for all topics: a run per topic with unlanded messages, once per range of offsets."""
    watched = list(topics)
    keys = {t.name: key_of(t.table) for t in watched}

    @dg.sensor(
        name="arrivals",
        asset_selection=dg.AssetSelection.assets(*keys.values()),  # `target` refuses assets with different partitions
        minimum_interval_seconds=10,
        default_status=dg.DefaultSensorStatus.RUNNING,
        required_resource_keys={"lake", "sources"},
        description="Lands what has arrived: messages in Kafka, files in a topic's drop folder.",
    )
    def arrivals(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        before = _remembered(context.cursor)
        looks: dict[str, _Look] = {}
        requests: list[dg.RunRequest] = []
        words: dict[str, list[str]] = {}  # why nothing is started -> topics
        silent: dict[str, str] = {}  # sources that gave no answer: asked once in a tick, which has no more time
        for topic in watched:
            past, sources = before.get(topic.name, {}), context.resources.sources
            look = _look(context.resources.lake.lake, topic, sources.all, silent)
            looks[topic.name] = look = look.after(past, topic.silent_after if sources.kafka else None)
            if look.problem != past.get("problem", ""):
                context.log.warning(look.problem or f"{topic.name}: in order again, after: {past['problem']}")
            mark = f"{topic.name}/{look.ends}"
            why_not = look.why_not(past) or _in_flight(context.instance, topic)
            attempt = None if why_not else _attempt(context.instance, mark)
            if attempt is None:
                words.setdefault(why_not or "the last landing failed and is tried again later", []).append(topic.name)
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
        moved = [t for t in watched if looks[t.name].heard != before.get(t.name, {}).get("heard")]
        return dg.SensorResult(
            run_requests=requests,
            skip_reason=None if requests else "; ".join(f"{', '.join(names)}: {why}" for why, names in words.items()),
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
    unanswered: bool  # a source gave no answer: the topic may hold more
    sources: str  # that were asked
    heard: str = ""  # when something last came or landed

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
        return {"ends": self.ends, "version": str(self.version), "problem": self.problem, "heard": self.heard}

    def after(self, past: Mapping[str, str], limit: timedelta | None) -> "_Look":
        """This look with what the last one adds: since when nothing has come, which is a problem above the limit."""
        same = self.ends == past.get("ends") and str(self.version) == past.get("version")
        heard = past["heard"] if past.get("heard") and (same or self.unanswered) else datetime.now(UTC).isoformat()
        if limit and not self.unanswered and datetime.now(UTC) - datetime.fromisoformat(heard) > limit:
            silence = f"silent since {heard[:19]}Z: nothing has come for more than {limit}; look at its producers"
            return replace(self, heard=heard, problem="; ".join(filter(None, [self.problem, silence])))
        return replace(self, heard=heard)

    def why_not(self, past: Mapping[str, str]) -> str | None:
        """Why no landing is started now, in words."""
        if not self.messages:
            return self.problem or f"nothing new in {self.sources}"
        if self.by_lander and str(self.version) != past.get("version"):
            return f"{self.messages} new; a continuous lander is at work"
        return None


def _look(lake: Lake, topic: Topic, asked: Sequence[Source], silent: dict[str, str]) -> _Look:
    spans: list[Span] = []
    problems: list[str] = []
    version, by_lander = -1, False
    unanswered = False
    try:
        lander = Lander(lake, topic, Provenance("sensor", ""))
        if newest := _newest(lake, topic.table):
            version, by_lander = newest.version, newest.manifest["run_id"].startswith(CONTINUOUS)
        for source in asked:
            try:
                if source.name in silent:
                    raise BrokerUnreachable(silent[source.name])
                offered = source.offered(topic, lander.landed)
                lander.refuse_loss(offered)
                spans += offered
            except BrokerUnreachable as error:
                silent[source.name], unanswered = str(error), True
                problems.append(str(error))
            except ArrivalError as error:
                problems.append(str(error))
    except ConvergenceError as error:  # of this topic: the others are served all the same
        problems.append(str(error))
    return _Look(spans, version, by_lander, "; ".join(problems), unanswered, ", ".join(s.name for s in asked))


def _remembered(cursor: str | None) -> dict[str, dict[str, str]]:
    """What the last tick knew; nothing if it cannot be read: everything is looked at again then."""
    try:
        known = json.loads(cursor or "{}")
    except ValueError:
        return {}
    return {name: past for name, past in known.items() if isinstance(past, dict)} if isinstance(known, dict) else {}


def _newest(lake: Lake, table: str) -> Commit | None:
    """The newest commit that says what it is; compaction adds some that do not."""
    handle = lake.open(table)
    if handle is None:
        return None
    near = list(lake.commits(table, handle.version() - 3)) or list(lake.commits(table))
    return near[-1] if near else None


def _in_flight(instance: dg.DagsterInstance, topic: Topic) -> str | None:
    held = instance.get_runs(dg.RunsFilter(tags={TOPIC: topic.name}, statuses=UNFINISHED), limit=1)
    return f"run {held[0].run_id[:8]} is landing" if held else None


def _attempt(instance: dg.DagsterInstance, mark: str) -> int | None:
    """Number of the landing to start for this range, None while it is too early to try again."""
    tried = instance.get_run_records(dg.RunsFilter(tags={RANGE: mark}))
    wait = min(_AFTER_FAILURE * 2 ** max(len(tried) - 1, 0), timedelta(hours=1))
    ended = max((record.end_time or 0.0 for record in tried), default=0.0)
    return None if time.time() < ended + wait.total_seconds() else len(tried) + 1
