"""Semantic search as it runs: from messages to a live index, in process, on drawn shapes and small functions."""

import json
from collections.abc import Iterator
from datetime import timedelta

import dagster as dg
import polars as pl
import pytest

from convergence.cli.reproduce import reproduced
from convergence.errors import EncoderMismatch
from convergence.lake.manifests import manifest, states
from convergence.marked_pages import marked
from convergence.search.kept_encoders import kept
from convergence.search.query import Query
from convergence.search.searching import Searcher
from convergence.versions.audit import AuditLog
from convergence.versions.reconcile import stale_partitions
from convergence_assets.semantic_search import index as index_module
from convergence_assets.semantic_search.encoders import encoder_of
from convergence_assets.semantic_search.pages import numbers
from convergence_assets.semantic_search.release import MOST_LOST, SUBJECT, UNJUDGED
from resources import environments
from resources.graph import lake_nodes
from sensors.reconcile import REBUILT
from tests.convergence.search.tiny_checkpoints import sentence_transformer
from tests.convergence_assets.semantic_search.worlds import ORDER, House, day, failure, house_in, messages
from tests.graph.house import ROOT

LAST = 4  # of the days that the world begins with


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with dg.DagsterInstance.ephemeral() as instance:
        house = house_in(tmp_path_factory.mktemp("home"), instance)
        rows = messages()
        broken = rows.filter(pl.col("item_id") == "image-0").with_columns(
            item_id=pl.lit("image-broken"), object_sha256=pl.lit("0" * 64), time=pl.col("time") + timedelta(minutes=5)
        )
        house.drop(pl.concat([rows, broken]), "items")
        result = house.materialize(0, LAST, *ORDER)
        assert result.success, failure(result)
        yield house


def test_what_arrived_is_found_by_its_words(house: House) -> None:
    with house.snapshots.opened_live() as snapshot:  # pyright: ignore[reportOptionalContextManager]
        encoders = {n: kept(house.lake.store, digest) for n, digest in snapshot.about["encoders"].items()}
        searcher = Searcher.of(snapshot, encoders)
        caption = house.rows("search_items", 0).filter(pl.col("modality") == "text").row(0, named=True)
        found = searcher.search(Query(text=caption["text"], modalities=("text",)))
        assert found.results[0].item.text == caption["text"]
        assert {one.modality for one in searcher.search(Query(text="red circle", limit=50)).results} == {
            "text", "code", "image",
        }  # fmt: skip


def test_a_damaged_image_waits_in_quarantine_and_its_day_goes_on(house: House) -> None:
    rejected = house.rows("search_images_rejected")
    assert rejected["reason"].to_list() == ["bytes with another SHA-256 than the message gives"]
    assert json.loads(rejected["row"][0])["item_id"] == "image-broken"
    assert "image-broken" not in house.rows("search_images")["item_id"]
    assert house.rows("search_images", 0).height == 2


def test_an_index_holds_what_had_come_by_its_day(house: House) -> None:
    index = house.rows("search_index").sort("event_date")
    assert index["images"].to_list() == [2, 4, 6, 8, 10]
    assert index["functions"].to_list() == [3, 6, 9, 12, 15]
    assert index["recall_10"].min() == 1.0
    assert house.snapshots.live().version == index["index_version"][-1]  # pyright: ignore[reportOptionalMemberAccess]


def test_only_the_live_index_and_the_newest_two_remain_on_disk(house: House) -> None:
    newest = house.rows("search_index").sort("event_date")["index_version"].to_list()
    assert set(house.snapshots.versions()) <= {*newest[-2:]}


def test_an_index_that_is_there_already_is_asked_the_judged_queries_of_now(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = house.rows("search_index", LAST).row(0, named=True)
    monkeypatch.setattr(index_module, "JUDGED", 1)
    result = house.materialize(LAST, LAST, "search_index")
    assert house.metadata(result, "search_index", LAST)["reused"] is True
    now = house.rows("search_index", LAST).row(0, named=True)
    assert now["index_version"] == before["index_version"]
    assert 0 < now["judged"] < before["judged"]
    monkeypatch.undo()
    assert house.materialize(LAST, LAST, "search_index").success
    assert house.rows("search_index", LAST).row(0, named=True) == before


def test_the_switch_is_on_record(house: House) -> None:
    entry = AuditLog(house.lake.store).newest(SUBJECT, ("switch_index",))
    assert entry is not None
    assert entry.detail["index_version"] == house.snapshots.live().version  # pyright: ignore[reportOptionalMemberAccess]


def test_manifests_name_the_encoders_that_vectors_are_of(house: House) -> None:
    made = manifest(house.lake, "semantic_search/text_embeddings", day(0))
    assert set(made["inputs"]) == {"semantic_search/search_items", "semantic_search/text_encoder"}
    encoder = house.rows("text_encoder").row(0, named=True)
    assert encoder["source"] == "folder:tiny"
    embeddings = house.rows("text_embeddings")
    assert embeddings["encoder"].n_unique() == 1


def test_what_is_known_is_not_encoded_again(house: House) -> None:
    before = states(house.lake, ["semantic_search/code_embeddings"])["semantic_search/code_embeddings"]
    result = house.materialize(0, LAST, "code_embeddings")
    assert house.metadata(result, "code_embeddings", 0)["encoded_in_this_run"] == 0
    after = states(house.lake, ["semantic_search/code_embeddings"])["semantic_search/code_embeddings"]
    assert {d: s.content_hash for d, s in after.items()} == {d: s.content_hash for d, s in before.items()}


def test_one_changed_item_is_encoded_alone_and_replaces_its_older_self(house: House) -> None:
    first = messages().filter(pl.col("item_id") == "code-0").row(0, named=True)
    changed = {**first, "time": first["time"] + timedelta(days=LAST + 1), "code": "def changed():\n    return 'anew'"}
    house.drop(pl.DataFrame([changed], schema=messages().schema), "changed")
    days = LAST + 1
    assert house.materialize(days, days, "raw_items", "search_items", "search_images", "image_features").success
    result = house.materialize(days, days, "code_embeddings")
    on_day = house.rows("code_embeddings", days)
    assert house.metadata(result, "code_embeddings", days)["encoded_in_this_run"] == on_day.height
    result = house.materialize(days, days, "text_embeddings", "image_embeddings", "search_index", "search_releases")
    assert result.success
    index = house.rows("search_index", days).row(0, named=True)
    assert index["functions"] == 15 + on_day.height - 1
    with house.snapshots.opened_live() as snapshot:  # pyright: ignore[reportOptionalContextManager]
        (hit,) = [h for h in snapshot.indexes["code"].dense([1.0] + [0.0] * 31, 200) if h.item_id == "code-0"]
        assert "anew" in hit.payload


def test_an_older_day_made_again_does_not_take_the_alias_back(house: House) -> None:
    live = house.snapshots.live()
    result = house.materialize(1, 1, "search_index", "search_releases")
    assert result.success
    assert house.snapshots.live() == live
    assert "a newer day is there" in house.metadata(result, "search_releases", 1)["alias"]


def test_older_days_made_anew_leave_the_newest_index_on_disk_also_before_it_is_live(house: House) -> None:
    assert house.materialize(0, 1, "search_index").success
    first, second, *_, newest = house.rows("search_index").sort("event_date")["index_version"]
    house.snapshots.switch(first, expected=newest)
    house.snapshots.switch(second, expected=first)  # so that neither alias nor its memory keeps the newest
    assert house.materialize(2, 3, "search_index").success
    assert newest in house.snapshots.versions()


@pytest.mark.parametrize("what", ["text_embeddings", "search_images", "search_index"])
def test_a_partition_can_be_made_again_from_its_inputs_alone(
    house: House, what: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(environments, "settings", lambda: house.settings)
    live = house.snapshots.live()
    assert reproduced(f"semantic_search/{what}@{day(2)}"), capsys.readouterr().out
    assert "equal" in capsys.readouterr().out
    assert house.snapshots.live() == live


def test_the_pages_markers_are_the_numbers_that_the_lake_gives(house: House) -> None:
    found = numbers(house.lake)
    assert marked((ROOT / "docs" / "search.md").read_text()) == set(found)
    assert "SIMULATED" in found["search_run"]
    assert found["search_quality"].count("fused") == house.rows("search_quality")["query_set"].n_unique()


def test_an_index_of_another_encoder_waits_for_its_rankers_and_is_held_to_what_answers(house: House) -> None:
    live, before = house.snapshots.live(), house.rows("search_releases").sort("event_date").row(-1, named=True)
    other = sentence_transformer(house.settings.home / "other-code", "cls")
    anew, last = House(house.settings.model_copy(update={"code_encoder": f"folder:{other}"}), house.instance), LAST + 1
    assert anew.materialize(0, last, "code_encoder", "code_embeddings").success
    for early in ("search_index", "search_quality"):
        assert "learned with another encoder of code" in failure(anew.materialize(0, last, early))

    assert anew.materialize(0, last, "search_rankers", "search_index", "search_releases").success
    refused = anew.rows("search_releases")
    assert {UNJUDGED in reason for reason in refused["reason"]} == {True}
    assert set(refused["index_version"]) == {before["index_version"]}
    assert house.snapshots.live() == live

    assert anew.materialize(0, last, "search_quality", "search_releases").success
    judged = anew.rows("search_releases").sort("event_date")
    assert not any(UNJUDGED in reason for reason in judged["reason"])
    limits = {rule["rule"]: rule["limit"] for rule in json.loads(judged["gate"][0])}
    for name, was in json.loads(before["quality"]).items():
        assert limits[f"nDCG@10 on {name}"] == pytest.approx(was - MOST_LOST, abs=1e-6)


def test_another_text_encoder_makes_its_own_vectors_stale_and_no_query_mixes_it_with_the_old_one(house: House) -> None:
    live = house.snapshots.live()
    other = sentence_transformer(house.settings.home / "other", "cls")
    anew = House(house.settings.model_copy(update={"text_encoder": f"folder:{other}"}), house.instance)
    before = anew.rows("text_encoder")["digest"].item()
    assert anew.materialize(0, 0, "text_encoder").success
    nodes = lake_nodes(anew.definitions.resolve_all_asset_specs())
    held = states(anew.lake, [n.table for n in nodes])
    stale = stale_partitions([n for n in nodes if n.layer in REBUILT], held)
    of_day = {s.table.partition("/")[2]: s for s in stale if s.partition == day(2)}
    assert of_day["text_embeddings"].reason == "inputs changed", of_day
    assert not of_day["search_index"].ready  # it waits for the vectors
    assert of_day.keys().isdisjoint({"code_embeddings", "image_embeddings", "search_items", "search_images"})

    result = anew.materialize(2, 2, "text_embeddings")
    assert anew.metadata(result, "text_embeddings", 2)["encoded_in_this_run"] > 0
    with house.snapshots.opened_live() as snapshot:  # pyright: ignore[reportOptionalContextManager]
        digests = snapshot.about["encoders"]
        assert digests["text"] == before
        encoders = {n: kept(house.lake.store, d) for n, d in digests.items()}
        mixed = encoders | {"text": encoder_of(anew.lake.scan("semantic_search/text_encoder"))}
        with pytest.raises(EncoderMismatch, match="was made with the text encoder"):
            Searcher.of(snapshot, mixed)
    assert house.snapshots.live() == live
