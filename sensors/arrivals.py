"""Starts a landing when something has arrived; what follows from it is the reconcile sensor's."""

from collections.abc import Iterable
from hashlib import blake2b

import dagster as dg

from convergence.arrivals.topics import Topic


def arrival_sensor(topics: Iterable[Topic]) -> dg.SensorDefinition:
    """One sensor for the drop folders of all topics: a run per topic with unlanded files, once per set of files."""
    watched = list(topics)
    keys = [dg.AssetKey(t.table.split("/")) for t in watched]

    @dg.sensor(
        name="arrivals",
        asset_selection=dg.AssetSelection.assets(*keys),  # `target` refuses assets with different partitions
        minimum_interval_seconds=10,
        default_status=dg.DefaultSensorStatus.RUNNING,
        required_resource_keys={"lake", "inbox"},
        description="Lands files that have arrived in a topic's drop folder.",
    )
    def arrivals(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        lake, source = context.resources.lake.lake, context.resources.inbox.source
        requests: list[dg.RunRequest] = []
        for topic, key in zip(watched, keys, strict=True):
            handle = lake.open(topic.table)
            new = [a for a, _ in source.unlanded(topic.name, handle.transaction_version if handle else lambda _: None)]
            if new:
                run_key = blake2b("".join(sorted(new)).encode(), digest_size=12).hexdigest()
                tags = {"cause": f"new files for {topic.name}: {len(new)}"}
                requests.append(
                    dg.RunRequest(run_key=run_key, partition_key=str(topic.last_day), asset_selection=[key], tags=tags)
                )
        if not requests:
            return dg.SkipReason(f"no new files for {', '.join(t.name for t in watched)}")
        return dg.SensorResult(run_requests=requests)

    return arrivals
