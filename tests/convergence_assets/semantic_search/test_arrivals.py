"""The published sets as messages: dealt to days, each image with the hash that its bytes must have."""

from hashlib import sha256
from pathlib import Path

import polars as pl
import pytest

from convergence.arrivals.simulators.search import drawn
from convergence_assets.semantic_search.arrivals import DAYS, FIRST_DAY, LAST_DAY, ORIGIN, SIMULATED, history
from convergence_assets.semantic_search.contracts import RawItem
from resources.environments import Settings


@pytest.fixture(scope="module")
def published() -> pl.DataFrame:
    data = Settings().published_data
    assert data, "CONVERGENCE_DATA names the published data sets"
    frame, origin = history(data)
    assert origin == ORIGIN
    return frame.collect()


def test_everything_that_is_published_arrives_once(published: pl.DataFrame) -> None:
    counts = dict(published.group_by("modality").len().iter_rows())
    assert counts == {"image": 214, "text": 1_070, "code": 8_267}
    assert published["item_id"].n_unique() == published.height


def test_every_day_has_the_same_mix(published: pl.DataFrame) -> None:
    by_day = published.group_by(pl.col("time").dt.date().alias("day"), "modality").len()
    spread = by_day.group_by("modality").agg(pl.len(), gap=pl.col("len").max() - pl.col("len").min())
    assert spread["len"].to_list() == [DAYS] * 3
    assert spread.filter(pl.col("modality") != "text")["gap"].max() <= 2
    assert by_day["day"].min() == FIRST_DAY
    assert by_day["day"].max() == LAST_DAY


def test_a_caption_comes_after_its_image_on_the_same_day(published: pl.DataFrame) -> None:
    images = published.filter(pl.col("modality") == "image").select(parent_id="item_id", image_time="time")
    captions = published.filter(pl.col("modality") == "text").join(images, on="parent_id", how="left")
    assert captions["image_time"].null_count() == 0
    assert (captions["time"] > captions["image_time"]).all()
    assert (captions["time"].dt.date() == captions["image_time"].dt.date()).all()


def test_java_methods_come_without_the_sentence_that_they_are_searched_by(published: pl.DataFrame) -> None:
    java = published.filter(pl.col("language") == "java")
    assert java.height == 2_000
    assert java["text"].null_count() == java.height


def test_without_published_data_shapes_are_drawn_whose_bytes_have_the_hash_they_are_said_to(tmp_path: Path) -> None:
    frame, origin = history(tmp_path)
    assert origin == SIMULATED
    image = frame.filter(pl.col("modality") == "image").collect().row(0, named=True)
    number = int(image["object_uri"].removeprefix("simulated:"))
    assert sha256(drawn(number)).hexdigest() == image["object_sha256"]


@pytest.mark.parametrize(("modality", "needed"), [("image", "object_uri"), ("text", "text"), ("code", "code")])
def test_an_item_without_what_its_modality_needs_breaks_the_contract(modality: str, needed: str) -> None:
    from convergence.lake.contracts import judge, schema_of
    from convergence.lake.tables import WHOLE

    row = {
        "event_date": FIRST_DAY, "event_time": None, "arrived_at": None, "item_id": "a", "modality": modality,
        "title": "t", "text": "t", "code": "c", "language": "en", "object_uri": "object:0", "object_sha256": None,
        "parent_id": None, "licence": None, "source": "s", "offset": 0,
    }  # fmt: skip
    whole = pl.DataFrame([row], schema=schema_of(RawItem)).with_columns(
        event_time=pl.lit(FIRST_DAY).cast(pl.Datetime("us", "UTC")),
        arrived_at=pl.lit(FIRST_DAY).cast(pl.Datetime("us", "UTC")),
    )
    assert not judge(RawItem, whole, [WHOLE]).bad
    (bad,) = judge(RawItem, whole.with_columns(pl.lit(None, pl.String).alias(needed)), [WHOLE]).bad.values()
    assert "has_what_its_modality_needs" in bad["reason"][0]
