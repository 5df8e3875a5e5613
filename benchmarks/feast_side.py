"""Feast's side of `benchmarks.feast`: run by the Python that has Feast, asked line by line, so that both take turns."""

# pyright: reportMissingImports=false, reportAttributeAccessIssue=false
# Feast brings pandas, and lives in the companions' environment

import json
import sys
import time
from contextlib import redirect_stdout
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path
from typing import Any

END = datetime(2024, 1, 2, tzinfo=UTC)  # of what is loaded: the rows are of the day before


def filled(socket: str, rows: str, names: list[str], folder: Path) -> tuple[Any, float]:
    """A store whose one view, of the columns `names` of a Parquet file, is in Redis, and the seconds that took."""
    from feast import Entity, FeatureStore, FeatureView, Field, FileSource, RepoConfig, ValueType
    from feast.types import Float64

    store = FeatureStore(
        config=RepoConfig(
            project="benchmark",
            provider="local",
            registry=str(folder / "registry.db"),
            # redis-py takes the socket where both it and a host are given, so both sides use the same one
            online_store={"type": "redis", "connection_string": f"localhost:6379,unix_socket_path={socket}"},
            offline_store={"type": "file"},
            entity_key_serialization_version=3,
        )
    )
    customer = Entity(name="customer", join_keys=["customer"], value_type=ValueType.INT64)
    source = FileSource(path=rows, timestamp_field="event_time")
    fields = [Field(name=name, dtype=Float64) for name in names]
    view = FeatureView(name="wide", entities=[customer], ttl=timedelta(days=0), schema=fields, source=source)
    store.apply([customer, view])
    began = time.perf_counter()
    store.materialize(END - timedelta(days=2), END)
    return store, time.perf_counter() - began


def main() -> None:
    """Fill, say how long it took; then answer each line of customers with microseconds and the values' sum."""
    asked = json.loads(sys.stdin.readline())
    names = asked["names"]
    with redirect_stdout(StringIO()):  # it prints its progress
        store, seconds = filled(asked["socket"], asked["rows"], names, Path(asked["folder"]))
    print(json.dumps(seconds), flush=True)
    features = [f"wide:{name}" for name in names]
    for line in sys.stdin:
        entities = [{"customer": number} for number in json.loads(line)]
        began = time.perf_counter()
        found = store.get_online_features(features, entities).to_dict()
        took = (time.perf_counter() - began) * 1e6
        print(json.dumps([took, sum(sum(found[name]) for name in names)]), flush=True)


if __name__ == "__main__":
    main()
