"""The audit log: every writer gets its place, and whatever is done to it afterwards is found."""

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from convergence.errors import LakeError
from convergence.lake.store import open_store
from convergence.lake.tables import Lake
from convergence.versions.audit import BEGINNING, AuditLog, Draft, Entry, Head
from tests.convergence.lake import conftest as lakes

any_lake, s3_options = lakes.any_lake, lakes.s3_options


def draft(number: int = 0, subject: str = "fraud_model", action: str = "promote") -> Draft:
    return Draft("anna", action, subject, {"n": number, "reason": "better, é"})


def filled(folder: Path, number: int = 5) -> AuditLog:
    log = AuditLog(open_store(str(folder), {}))
    for n in range(1, number + 1):
        log.append(draft(n))
    return log


def file(folder: Path, number: int) -> Path:
    return folder / "_audit" / f"{number:010}.json"


def forged(path: Path, **changes: object) -> None:
    """An entry with other content and the right hash of it."""
    entry = Entry(**{**json.loads(path.read_bytes()), **changes}).sealed()
    path.write_text(json.dumps(asdict(entry), sort_keys=True, separators=(",", ":")))


def test_what_is_appended_can_be_read_in_order(lake: Lake) -> None:
    log = AuditLog(lake.store)
    log.append(draft(1))
    log.append(draft(2, subject="other", action="erase"))
    log.append(draft(3))
    assert [(e.number, e.actor, e.subject, e.detail["n"]) for e in log.entries()] == [
        (1, "anna", "fraud_model", 1),
        (2, "anna", "other", 2),
        (3, "anna", "fraud_model", 3),
    ]
    assert [e.number for e in log.entries("fraud_model")] == [1, 3]
    assert log.entries()[0].previous == BEGINNING
    assert log.verify() == (Head(3, log.entry(3).hash), None)


def test_an_empty_log_is_in_order(lake: Lake) -> None:
    log = AuditLog(lake.store)
    assert log.entries() == []
    assert log.newest("fraud_model", ["promote"]) is None
    assert log.verify() == (Head(0, BEGINNING), None)


def test_the_newest_entry_is_found_far_from_the_end(lake: Lake) -> None:
    log = AuditLog(lake.store)
    log.append(draft(1))
    log.append(draft(2))
    for n in range(70):
        log.append(draft(n, action="refuse"))
        log.append(draft(n, subject="other"))
    found = log.newest("fraud_model", ["promote", "rollback"])
    assert found is not None
    assert found.number == 2


def test_writers_at_once_all_succeed_in_some_order(tmp_path: Path) -> None:
    filled(tmp_path, 1)
    with ThreadPoolExecutor(8) as pool:
        logs = [AuditLog(open_store(str(tmp_path), {})) for _ in range(8)]
        done = list(pool.map(lambda n: logs[n % 8].append(draft(n)), range(2, 42)))
    log = logs[0]
    assert sorted(e.number for e in done) == list(range(2, 42))
    assert sorted(e.detail["n"] for e in log.entries()) == list(range(1, 42))
    assert log.verify().fault is None


def test_a_decision_is_taken_again_when_somebody_else_was_first(tmp_path: Path) -> None:
    log, other = filled(tmp_path, 1), AuditLog(open_store(str(tmp_path), {}))
    seen = []

    def decide() -> Draft:
        seen.append(len(log.entries()))
        if len(seen) == 1:
            other.append(draft(99))
        return draft(seen[-1])

    assert log.append(decide).detail["n"] == 2
    assert seen == [1, 2]


@given(data=st.data())
@settings(deadline=None, max_examples=60)
def test_any_change_of_any_byte_is_found_and_named(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("log")
    log = filled(folder, 4)
    number = data.draw(st.integers(1, 4))
    content = bytearray(file(folder, number).read_bytes())
    at = data.draw(st.integers(0, len(content) - 1))
    content[at] ^= data.draw(st.integers(1, 255))
    file(folder, number).write_bytes(content)
    checked = log.verify()
    assert str(checked.fault).startswith(f"entry {number} was changed")
    assert checked.head.number == number - 1


@given(number=st.integers(1, 5))
@settings(deadline=None, max_examples=5)
def test_a_removed_entry_is_found(number: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("log")
    log = filled(folder)
    file(folder, number).unlink()
    named = f"entry {number} was removed" if number < 5 else "entries 5 to 5 were removed from the end"
    assert str(log.verify().fault).startswith(named)


@given(pair=st.lists(st.integers(1, 5), min_size=2, max_size=2, unique=True))
@settings(deadline=None, max_examples=10)
def test_exchanged_entries_are_found(pair: list[int], tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("log")
    log = filled(folder)
    one, two = (file(folder, n) for n in sorted(pair))
    first, second = one.read_bytes(), two.read_bytes()
    one.write_bytes(second)
    two.write_bytes(first)
    assert log.verify().fault == f"entry {min(pair)} was moved: it was written as entry {max(pair)}"


@pytest.mark.parametrize("number", [1, 3, 5])
def test_an_entry_replaced_with_its_hash_made_anew_is_found(number: int, tmp_path: Path) -> None:
    log = filled(tmp_path)
    forged(file(tmp_path, number), actor="mallory")
    fault = str(log.verify().fault)
    assert fault.startswith(f"entry {number + 1} does not follow" if number < 5 else "entry 5 was replaced")
    assert str(number) in fault


def test_an_entry_squeezed_in_is_found(tmp_path: Path) -> None:
    log = filled(tmp_path)
    for n in (5, 4, 3):
        file(tmp_path, n).rename(file(tmp_path, n + 1))
    file(tmp_path, 3).write_bytes(file(tmp_path, 2).read_bytes())
    forged(file(tmp_path, 3), number=3, previous=log.entry(2).hash)
    assert log.verify().fault == "entry 4 was moved: it was written as entry 3"


@pytest.mark.parametrize("name", ["0000000003b.json", "note.txt", "0000000000.json"])
def test_a_foreign_object_in_the_folder_is_found(name: str, tmp_path: Path) -> None:
    log = filled(tmp_path)
    (tmp_path / "_audit" / name).write_bytes(file(tmp_path, 3).read_bytes())
    assert log.verify().fault == f"_audit/{name} was inserted: it is no entry of the log"


def test_a_lost_end_is_found_and_not_covered_up(tmp_path: Path) -> None:
    log = filled(tmp_path)
    for n in (4, 5):
        file(tmp_path, n).unlink()
    assert str(log.verify().fault).startswith("entries 4 to 5 were removed from the end")
    with pytest.raises(LakeError, match="entries were removed; nothing was written"):
        log.append(draft())


def test_an_end_cut_off_together_with_its_anchor_shows_only_to_who_noted_the_head(tmp_path: Path) -> None:
    log = filled(tmp_path)
    noted = log.verify().head
    for n in (4, 5):
        file(tmp_path, n).unlink()
    (tmp_path / "_audit" / "head.json").write_text(json.dumps({"number": 3, "hash": log.entry(3).hash}))
    assert log.verify().fault is None
    assert "entries 4 to 5 were removed" in str(log.verify(known=noted).fault)


def test_a_log_written_anew_shows_only_to_who_noted_the_head(tmp_path: Path) -> None:
    noted = filled(tmp_path / "a", 3).verify().head
    other = filled(tmp_path / "b", 4)
    assert other.verify().fault is None
    assert str(other.verify(known=noted).fault).startswith("entry 3 was replaced, or one before it")


def test_a_missing_anchor_is_named_and_the_next_entry_mends_it(tmp_path: Path) -> None:
    log = filled(tmp_path)
    (tmp_path / "_audit" / "head.json").unlink()
    assert "head.json is missing" in str(log.verify().fault)
    log.append(draft())
    assert log.verify() == (Head(6, log.entry(6).hash), None)


def test_a_writer_killed_before_the_anchor_leaves_a_log_that_goes_on(tmp_path: Path) -> None:
    log = filled(tmp_path, 2)
    anchor = (tmp_path / "_audit" / "head.json").read_bytes()
    log.append(draft(3))
    (tmp_path / "_audit" / "head.json").write_bytes(anchor)
    assert log.verify().fault is None
    assert log.append(draft(4)).number == 4


def test_a_folder_and_a_bucket_keep_the_same_log(any_lake: Lake) -> None:
    logs = [AuditLog(Lake(any_lake.root, any_lake.storage_options).store) for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda n: logs[n % 4].append(draft(n)), range(12)))
    log = logs[0]
    assert sorted(e.detail["n"] for e in log.entries()) == list(range(12))
    assert log.verify() == (Head(12, log.entry(12).hash), None)
    any_lake.store.delete("_audit/0000000005.json")
    assert log.verify().fault == "entry 5 was removed"
