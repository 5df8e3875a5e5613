"""A folder of files as a source: each content once, under whatever name, and only when it is complete."""

from pathlib import Path

import pytest

from convergence.arrivals import drop_folder
from convergence.arrivals.drop_folder import DropFolder
from convergence.arrivals.lander import land
from convergence.arrivals.topics import Span
from convergence.errors import ArrivalError
from convergence.lake.manifests import Provenance
from convergence.lake.tables import Lake
from tests.convergence.arrivals.landing import REJECTED, TABLE, TOPIC, application, drop, landed, message, rows


def test_a_topic_without_a_folder_has_nothing(lake: Lake, tmp_path: Path) -> None:
    assert landed(lake, tmp_path / "inbox").messages == 0
    assert lake.open(TABLE) is None


def test_a_file_is_landed_once_by_one_lander(lake: Lake, tmp_path: Path) -> None:
    drop(tmp_path, "a.jsonl", message(1), message(2))
    source = DropFolder(tmp_path)
    counts = [land(lake, TOPIC, source, Provenance("run", "1")).messages for _ in range(3)]
    assert counts == [2, 0, 0]


def test_a_file_is_landed_once_across_restarts(lake: Lake, tmp_path: Path) -> None:
    drop(tmp_path, "a.jsonl", message(1), message(2))
    assert [landed(lake, tmp_path).messages for _ in range(3)] == [2, 0, 0]
    assert rows(lake, TABLE).height == 2


def test_the_same_content_under_two_names_is_landed_once(lake: Lake, tmp_path: Path) -> None:
    drop(tmp_path, "a.jsonl", message(1))
    drop(tmp_path, "b.jsonl", message(1))
    assert landed(lake, tmp_path).messages == 1


def test_content_that_has_landed_is_not_landed_again_under_another_name(lake: Lake, tmp_path: Path) -> None:
    path = drop(tmp_path, "a.jsonl", message(1))
    landed(lake, tmp_path)
    path.rename(path.with_name("b.jsonl"))
    assert landed(lake, tmp_path).messages == 0


def test_other_content_under_a_landed_name_is_landed(lake: Lake, tmp_path: Path) -> None:
    drop(tmp_path, "a.jsonl", message(1))
    source = DropFolder(tmp_path)
    land(lake, TOPIC, source, Provenance("run", "1"))
    drop(tmp_path, "a.jsonl", message(22))
    land(lake, TOPIC, source, Provenance("run", "1"))
    assert rows(lake, TABLE)["payment_id"].sort().to_list() == [1, 22]


def test_a_hidden_file_is_ignored_until_it_is_renamed(lake: Lake, tmp_path: Path) -> None:
    path = drop(tmp_path, ".a.jsonl", message(1))
    assert landed(lake, tmp_path).messages == 0
    path.rename(path.with_name("a.jsonl"))
    assert landed(lake, tmp_path).messages == 1


def test_a_folder_in_the_folder_is_ignored(lake: Lake, tmp_path: Path) -> None:
    drop(tmp_path, "a.jsonl", message(1))
    (tmp_path / TOPIC.name / "old.jsonl").mkdir()
    assert landed(lake, tmp_path).messages == 1


def test_files_are_landed_in_order_of_their_names(lake: Lake, tmp_path: Path) -> None:
    paths = [drop(tmp_path, f"{name}.jsonl", message(n)) for n, name in enumerate("bca")]
    landed(lake, tmp_path, batch_rows=1)
    sources = [next(iter(commit.manifest["offsets"])) for commit in lake.commits(TABLE)]
    assert sources == [application(path) for path in sorted(paths)]


def test_the_commit_names_the_content_and_the_rows_landed(lake: Lake, tmp_path: Path) -> None:
    path = drop(tmp_path, "a.jsonl", message(1), "{broken", message(3))
    landed(lake, tmp_path)
    handle = lake.open(TABLE)
    assert handle is not None
    assert handle.transaction_version(application(path)) == 3


def test_a_file_without_messages_is_told_once(lake: Lake, tmp_path: Path) -> None:
    drop(tmp_path, "a.jsonl")
    assert [landed(lake, tmp_path).rejected for _ in range(2)] == [1, 0]
    assert rows(lake, REJECTED)["reason"].to_list() == ["an empty file"]


def test_a_link_in_the_folder_is_not_followed(lake: Lake, tmp_path: Path) -> None:
    elsewhere = drop(tmp_path / "elsewhere", "secret.jsonl", message(7))
    path = drop(tmp_path, "a.jsonl", message(1))
    path.with_name("b.jsonl").symlink_to(elsewhere)
    path.with_name("c").symlink_to(elsewhere.parent)
    assert landed(lake, tmp_path).messages == 1
    assert rows(lake, TABLE)["payment_id"].to_list() == [1]


def test_a_folder_of_a_topic_that_is_a_link_is_refused(lake: Lake, tmp_path: Path) -> None:
    elsewhere = drop(tmp_path / "elsewhere", "secret.jsonl", message(7)).parent
    (tmp_path / "inbox").mkdir()
    (tmp_path / "inbox" / TOPIC.name).symlink_to(elsewhere)
    with pytest.raises(ArrivalError, match=r"shop\.payments is a link, .* are not followed\. Nothing of it was landed"):
        landed(lake, tmp_path / "inbox")
    assert lake.open(TABLE) is None


def test_large_files_are_landed_one_after_the_other(
    lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drop_folder, "_MOST_HELD", 100)
    for number in range(3):
        drop(tmp_path, f"{number}.jsonl", message(number))
    assert landed(lake, tmp_path).commits == 3


def test_an_unreadable_file_and_an_unknown_ending_do_not_stop_the_others(lake: Lake, tmp_path: Path) -> None:
    folder = drop(tmp_path, "b.jsonl", message(1)).parent
    (folder / "a.parquet").write_bytes(b"PAR1 and then nothing")
    (folder / "c.xlsx").write_bytes(b"PK")
    result = landed(lake, tmp_path)
    assert (result.messages, result.accepted, result.rejected) == (3, 1, 2)
    assert sorted(rows(lake, REJECTED)["row"]) == ["a.parquet", "c.xlsx"]
    assert landed(lake, tmp_path).messages == 0


def test_only_the_folder_of_the_topic_is_read(lake: Lake, tmp_path: Path) -> None:
    drop(tmp_path, "a.jsonl", message(1)).parent.rename(tmp_path / "shop.orders")
    assert landed(lake, tmp_path).messages == 0


def test_what_has_not_landed_is_listed_without_reading_it_as_messages(lake: Lake, tmp_path: Path) -> None:
    path = drop(tmp_path, "a.jsonl", message(1))
    assert DropFolder(tmp_path).offered(TOPIC, lambda _: None) == [Span(application(path), 0, 1, "a.jsonl")]
    assert DropFolder(tmp_path).offered(TOPIC, lambda _: 1) == []
