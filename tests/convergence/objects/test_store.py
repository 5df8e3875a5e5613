"""One suite for a folder and for buckets of S3 servers: content has one name, is written once and checked."""

import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path

import obstore
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from convergence.errors import ObjectError
from convergence.objects.store import Objects
from tests.convergence.lake.conftest import BUCKET, s3_options  # noqa: F401

CONTENT = b"the bytes of an image"
NAME = sha256(CONTENT).hexdigest()


@pytest.fixture(params=["folder", "s3_options", "s3proxy_options"], ids=["folder", "moto", "s3proxy"])
def again(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], Objects]:
    """Opens the same, at first empty, store each time it is called."""
    if request.param == "folder":
        return lambda: Objects.at(str(tmp_path / "objects"))
    root, options = f"s3://{BUCKET}/{uuid.uuid4()}", request.getfixturevalue(request.param)
    return lambda: Objects.at(root, options)


@pytest.fixture
def objects(again: Callable[[], Objects]) -> Objects:
    return again()


def paths(objects: Objects) -> list[str]:
    return sorted(found["path"] for page in obstore.list(objects.store) for found in page)


def test_content_comes_back_under_the_hash_of_its_bytes(again: Callable[[], Objects]) -> None:
    assert again().put(CONTENT) == (NAME, True)
    assert again().get(NAME) == CONTENT
    assert paths(again()) == [f"{NAME[:2]}/{NAME}"]


def test_putting_the_same_content_again_writes_nothing(objects: Objects) -> None:
    objects.put(CONTENT)
    before = obstore.head(objects.store, f"{NAME[:2]}/{NAME}")
    assert objects.put(CONTENT) == (NAME, False)
    assert obstore.head(objects.store, f"{NAME[:2]}/{NAME}") == before


def test_a_store_that_cannot_be_used_is_one_clear_error_that_names_no_folder(tmp_path: Path) -> None:
    objects = Objects.at(str(tmp_path / "objects"))
    (tmp_path / "objects" / NAME[:2]).write_text("a file where a folder should be")
    for use in (lambda: objects.put(CONTENT), lambda: objects.get(NAME), lambda: objects.has(NAME)):
        with pytest.raises(ObjectError, match="an object could not be") as told:
            use()
        assert str(tmp_path) not in str(told.value)


def test_of_many_who_put_one_content_at_once_exactly_one_finds_it_new(again: Callable[[], Objects]) -> None:
    stores = [again() for _ in range(8)]
    with ThreadPoolExecutor(8) as threads:
        stored = list(threads.map(lambda objects: objects.put(CONTENT * 10_000), stores))
    assert sorted(found.new for found in stored) == [False] * 7 + [True]
    assert stores[0].get(stored[0].sha256) == CONTENT * 10_000
    assert len(paths(stores[0])) == 1


def test_a_reader_never_sees_half_of_what_is_being_put(again: Callable[[], Objects]) -> None:
    content = CONTENT * 100_000
    name = sha256(content).hexdigest()
    reader, writer = again(), again()
    with ThreadPoolExecutor(1) as thread:
        putting = thread.submit(writer.put, content)
        while not reader.has(name):
            assert not putting.done() or putting.exception() is None
    assert reader.get(name) == content


def test_what_was_never_put_is_not_there(objects: Objects) -> None:
    assert not objects.has(NAME)
    with pytest.raises(ObjectError, match=f"no object {NAME}. Land"):
        objects.get(NAME)


@pytest.mark.parametrize("damage", [b"", CONTENT[:-1], CONTENT + b"\0", b"\0" + CONTENT[1:]], ids=len)
def test_damage_in_the_store_is_detected_and_the_remedy_is_named(objects: Objects, damage: bytes) -> None:
    objects.put(CONTENT)
    obstore.put(objects.store, f"{NAME[:2]}/{NAME}", damage)
    with pytest.raises(ObjectError, match=f"object {NAME} was damaged.*Remove {NAME[:2]}/{NAME} from the store"):
        objects.get(NAME)


@pytest.mark.parametrize("name", ["", "../../etc/passwd", NAME.upper(), NAME[:-1], NAME + "0", f"{NAME}\n", "g" * 64])
def test_what_is_not_a_hash_is_no_name(objects: Objects, name: str) -> None:
    for ask in (objects.get, objects.has):
        with pytest.raises(ObjectError, match="named by its sha256"):
            ask(name)


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.binary(max_size=40), max_size=8))
def test_it_holds_what_a_dictionary_by_hash_would(tmp_path: Path, contents: list[bytes]) -> None:
    objects, oracle = Objects.at(str(tmp_path / str(uuid.uuid4()))), {}
    for content in contents:
        name = sha256(content).hexdigest()
        assert objects.put(content) == (name, name not in oracle)
        oracle[name] = content
    assert {name: objects.get(name) for name in oracle} == oracle
    assert [path[3:] for path in paths(objects)] == sorted(oracle)
