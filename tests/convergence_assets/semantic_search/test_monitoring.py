"""Drift of embeddings by day and modality: what is compared, what is not, and what the alarm says."""

import json
from collections.abc import Callable
from datetime import date, timedelta

import dagster as dg
import numpy as np
import polars as pl
import pytest

from convergence.lake.manifests import Provenance, build_manifest
from convergence.lake.tables import Lake
from convergence.monitoring.drift import STABLE, WATCH
from convergence_assets.semantic_search.contracts import MODALITIES
from convergence_assets.semantic_search.items import DAILY
from convergence_assets.semantic_search.monitoring import (
    OTHER_ENCODER,
    TOO_FEW,
    drift_rows,
    embedding_drift,
    embedding_drift_alarm,
)
from resources.lake import LakeIOManager

FIRST = date(2024, 1, 1)
A, B = "a" * 64, "b" * 64
SCHEMA = {"event_date": pl.Date, "item_id": pl.String, "encoder": pl.String, "vector": pl.List(pl.Float32),
          "payload": pl.String}  # fmt: skip
Points = Callable[..., pl.DataFrame]


def day(number: int) -> date:
    return FIRST + timedelta(days=number)


def points(number: int, count: int = 20, *, encoder: str = A, towards: int = 0, parents: int = 0) -> pl.DataFrame:
    """Items of a day around an axis; with `parents`, so many captions of each of `count` images, all but equal."""
    random = np.random.default_rng([number, towards])
    vectors = random.normal(scale=0.7, size=(count, 8))
    vectors[:, towards] += 2
    vectors = np.repeat(vectors, parents or 1, axis=0)
    vectors += random.normal(scale=0.01, size=vectors.shape)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    names = [f"{number}-{n:03}" for n in range(len(vectors))]
    payloads = [
        json.dumps({"parent_id": f"image-{number}-{n // parents}"} if parents else {}) for n in range(len(names))
    ]
    rows = zip([day(number)] * len(names), names, [encoder] * len(names), vectors.tolist(), payloads, strict=True)
    return pl.DataFrame(list(rows), schema=SCHEMA, orient="row")


def judged(*days: pl.DataFrame) -> dict[str, object]:
    """What is said of the last of these days."""
    rows = pl.concat(days)
    return drift_rows({"code": rows}, [rows["event_date"].max()]).row(0, named=True)  # pyright: ignore[reportArgumentType]


def test_days_alike_are_stable() -> None:
    found = judged(*map(points, range(5)))
    assert (found["verdict"], found["note"], found["items"], found["reference_items"]) == (STABLE, "", 20, 80)


def test_a_day_that_lies_elsewhere_is_watched_and_says_why() -> None:
    found = judged(*map(points, range(4)), points(4, towards=1))
    assert (found["verdict"], found["note"]) == (WATCH, "the centre has moved, neighbours are apart")
    assert float(str(found["effect"])) > 1


def test_the_reference_is_the_seven_days_before() -> None:
    assert judged(points(0, towards=1), points(1), points(8))["reference_items"] == 20
    assert judged(points(0, towards=1), points(1), points(8))["verdict"] == STABLE
    assert judged(points(0), points(8))["verdict"] == TOO_FEW


def test_few_items_are_not_judged() -> None:
    found = judged(points(0), points(1), points(2, 9, towards=1))
    assert (found["verdict"], found["effect"]) == (TOO_FEW, None)
    assert found["note"] == "9 items, 40 of the week before: at least 10 of each are needed"


def test_a_day_without_items_has_a_row() -> None:
    found = drift_rows({"code": points(0)}, [day(1)]).row(0, named=True)
    assert (found["verdict"], found["items"], found["encoder"], found["same_encoder"]) == (TOO_FEW, 0, None, True)


def test_vectors_of_another_encoder_are_not_compared() -> None:
    found = judged(points(0), points(1, encoder=B, towards=1))
    assert (found["verdict"], found["same_encoder"], found["reference_items"]) == (OTHER_ENCODER, False, 0)
    assert found["note"] == "20 of 20 items of the week before are by another encoder"


def test_what_the_encoder_of_the_day_has_encoded_of_the_week_is_compared() -> None:
    found = judged(points(0, towards=1), points(1, encoder=B), points(2, encoder=B))
    assert (found["verdict"], found["same_encoder"], found["reference_items"]) == (STABLE, False, 20)


def test_captions_of_one_image_count_as_one_text() -> None:
    found = judged(*(points(n, 15, parents=5) for n in range(5)))
    assert (found["verdict"], found["items"], found["reference_items"]) == (STABLE, 15, 60)


def test_it_does_not_cry_wolf_on_days_of_one_distribution() -> None:
    rows = pl.concat([points(n, 15) for n in range(12)])
    found = drift_rows({"image": rows}, [day(n) for n in range(1, 12)])
    assert found["verdict"].unique().to_list() == [STABLE]


def land(lake: Lake, modality: str, *days: pl.DataFrame) -> None:
    frames = {str(rows["event_date"][0]): rows for rows in days}
    table = f"semantic_search/{modality}_embeddings"
    lake.replace(table, frames, build_manifest(frames, "replace", Provenance("test", "1")), lake.open(table))


@pytest.fixture
def evaluations(lake: Lake, instance: dg.DagsterInstance) -> list[dg.AssetCheckEvaluation]:
    """What the alarm says of three days made in one run, on the last of which code lies elsewhere."""
    for modality in MODALITIES:
        land(lake, modality, points(0), points(1), points(2, towards=int(modality == "code")))
    upstream = [
        dg.AssetSpec(["semantic_search", f"{m}_embeddings"], partitions_def=DAILY).with_io_manager_key("lake")
        for m in MODALITIES
    ]
    result = dg.materialize(
        [*upstream, embedding_drift, embedding_drift_alarm],
        selection=dg.AssetSelection.assets(embedding_drift),
        tags={"dagster/asset_partition_range_start": str(day(0)), "dagster/asset_partition_range_end": str(day(2))},
        resources={"lake": LakeIOManager(root=lake.root)},
        run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
        instance=instance,
    )
    assert result.success
    return [one for one in result.get_asset_check_evaluations() if one.check_name == "embedding_drift_alarm"]


def test_the_alarm_warns_of_the_day_that_drifted_and_of_no_other(
    evaluations: list[dg.AssetCheckEvaluation],
) -> None:
    *days, newest = evaluations
    assert [(one.partition, one.passed) for one in days] == [(str(day(n)), n < 2) for n in range(3)]
    assert not newest.passed
    assert newest.severity is dg.AssetCheckSeverity.WARN
    assert (newest.description or "").startswith("to be watched: code. Look at what the day holds")
    assert [one.metadata["compared"].value for one in days] == [0, 3, 3]  # before the first day there is nothing
