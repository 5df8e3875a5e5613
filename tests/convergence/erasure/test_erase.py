"""A subject leaves everything, stays out, and what was made from its rows says why it cannot be made again."""

import json
import multiprocessing
import stat
from pathlib import Path

import polars as pl
import pytest

from convergence import faults
from convergence.arrivals.drop_folder import DropFolder
from convergence.arrivals.lander import Lander, land
from convergence.arrivals.rejected import Rejected
from convergence.erasure.erase import erase, look
from convergence.errors import ConcurrentWrite, Erased, LakeError
from convergence.lake import erasures
from convergence.lake.maintenance import compact
from convergence.lake.manifests import build_manifest, manifest, states
from convergence.lake.tables import ERASURE, Lake, by_day
from convergence.versions.audit import AuditLog
from convergence.versions.rebuild import from_start, landed_ranges, refuse_lost_beginning
from convergence.versions.reproduce import recorded, restore
from tests.convergence.erasure.world import (
    MADE,
    ORDERS,
    OTHER,
    RAW,
    TOPIC,
    WHO,
    customers,
    derive,
    dropped,
    keepers,
    landed,
    naming,
    order,
    orders,
    subject,
)

FORMATS = ["day.jsonl", "day.csv", "day.csv.gz", "day.parquet"]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def shop(home: Path) -> Lake:
    """Landed twice, derived twice: older versions hold everybody, and small files were merged in between."""
    lake = Lake(str(home / "lake"), home=str(home))
    for number, name in enumerate(FORMATS):
        dropped(home / "inbox", name, orders(order(OTHER, days=4, amount=10.0 + number)))
        landed(lake, home / "inbox")
        derive(lake)
    compact(lake, RAW)
    served = home / "served" / "orders" / "2024-01-02.jsonl"
    served.parent.mkdir(parents=True)
    served.write_text("".join(json.dumps({"row": {"customer": who}, "score": 0.5}) + "\n" for who in (WHO, OTHER)))
    (home / "ledgers").mkdir()
    pl.DataFrame({"sequence": [0, 1], "key": [WHO, OTHER]}).write_parquet(home / "ledgers" / "sent.parquet")
    return lake


def erased(lake: Lake, home: Path, who: str = WHO) -> dict:
    return erase(keepers(lake, home), subject(who), actor="me", reason="asked")


def test_no_byte_of_a_subject_is_left_in_a_whole_home_and_everybody_else_is(shop: Lake, home: Path) -> None:
    assert len(naming(home)) > 10
    before = {t: shop.scan(t).collect().height for t in (RAW, ORDERS, f"{RAW}_rejected")}

    erased(shop, home)

    assert naming(home) == []
    assert all(who == {OTHER} for who in customers(shop).values())
    after = {t: shop.scan(t).collect().height for t in (RAW, ORDERS, f"{RAW}_rejected")}
    assert after == {
        RAW: before[RAW] - 12,
        ORDERS: before[ORDERS] - 12,
        f"{RAW}_rejected": before[f"{RAW}_rejected"] - 4,
    }
    assert len(naming(home, OTHER)) > 5


def test_looking_changes_nothing_and_says_what_would_go(shop: Lake, home: Path) -> None:
    before = {p: p.read_bytes() for p in home.rglob("*") if p.is_file()}

    found = dict(look(keepers(shop, home), subject()).found)

    assert found == {
        **{RAW: 12, f"{RAW}_late": 4, f"{RAW}_rejected": 4, ORDERS: 12},
        **{"inbox/shop.orders": 20, "served log": 1, "ledgers": 1},
    }
    assert {p: p.read_bytes() for p in home.rglob("*") if p.is_file()} == before


def test_the_certificate_lists_what_went_and_names_nobody(shop: Lake, home: Path) -> None:
    told = erased(shop, home)

    assert erasures.certificate(shop, 1) == told
    assert {each["table"]: each["rows"] for each in told["tables"]} == {
        RAW: 12, f"{RAW}_late": 4, f"{RAW}_rejected": 4, ORDERS: 12
    }  # fmt: skip
    assert told["tables"][0]["partitions"] == {"2024-01-02": 4, "2024-01-03": 4, "2024-01-04": 4}
    assert told["inbox_files"] == 4
    (entry,) = AuditLog(shop.store).entries()
    assert (entry.actor, entry.action, entry.detail["erasure"]) == ("me", "erase", 1)
    key = home / "erasure.key"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert len(key.read_bytes()) == 32


@pytest.mark.parametrize("name", FORMATS)
def test_an_erased_subject_does_not_land_again_and_is_counted(shop: Lake, home: Path, name: str) -> None:
    erased(shop, home)
    height = shop.scan(RAW).collect().height

    dropped(home / "inbox", f"again.{name}", orders(order(WHO, days=5)))
    done = landed(shop, home / "inbox")

    assert (done.messages, done.accepted, done.late, done.rejected, done.erased) == (11, 3, 1, 1, 6)
    assert shop.scan(RAW).collect().height == height + 3
    assert all(who == {OTHER} for who in customers(shop).values())
    assert naming(home / "lake") == []
    newest = list(shop.commits(RAW))[-1].manifest
    assert newest["left_out"] == 4


def test_a_file_that_was_written_anew_does_not_land_twice_nor_does_its_table_seem_to_have_lost_anything(
    shop: Lake, home: Path
) -> None:
    erased(shop, home)

    assert landed(shop, home / "inbox").messages == 0
    offered = {s.application: s.start for s in DropFolder(home / "inbox").offered(TOPIC, lambda _: None)}
    refuse_lost_beginning(RAW, landed_ranges(shop, RAW), from_start(offered))


def test_a_table_made_anew_from_the_first_offset_stays_without_the_subject(shop: Lake, home: Path) -> None:
    erased(shop, home)
    dropped(home / "inbox", "late arrival.jsonl", [order(WHO, days=6), order(OTHER, days=6)])
    anew = shop.at(dict.fromkeys((RAW, f"{RAW}_late", f"{RAW}_rejected"), 2))

    assert landed(anew, home / "inbox").erased == 1

    assert all(who == {OTHER} for who in customers(anew.at({ORDERS: 1})).values())
    handle = anew.open(RAW)
    assert handle
    assert handle.transaction_version(ERASURE) == 1


def test_every_generation_of_a_table_is_cleared(shop: Lake, home: Path) -> None:
    anew = shop.at(dict.fromkeys((RAW, f"{RAW}_late", f"{RAW}_rejected"), 2))
    landed(anew, home / "inbox")

    told = erased(shop, home)

    assert {"shop/raw_orders", "shop@2/raw_orders"} <= {each["table"] for each in told["tables"]}
    assert naming(home) == []


def test_what_was_rejected_of_a_subject_is_not_tried_again(shop: Lake, home: Path) -> None:
    erased(shop, home)

    done = land(shop, TOPIC, Rejected(shop), MADE)

    assert (done.messages, done.rejected, done.erased) == (4, 4, 0)
    assert naming(home / "lake") == []


def test_landing_without_the_key_refuses_rather_than_lets_a_subject_in(shop: Lake, home: Path) -> None:
    erased(shop, home)
    (home / "erasure.key").unlink()
    dropped(home / "inbox", "again.jsonl", [order(WHO, days=5)])

    with pytest.raises(LakeError, match=r"erasure\.key cannot be read"):
        landed(shop, home / "inbox")
    with pytest.raises(LakeError, match=r"erasure\.key cannot be read"):
        erased(shop, home, OTHER)


def test_a_subject_whose_rows_came_back_is_erased_under_a_new_number(shop: Lake, home: Path) -> None:
    erased(shop, home)
    dropped(home / "inbox", "again.jsonl", [order(WHO, days=5)])

    told = erased(shop, home)

    assert (told["number"], told["inbox_files"], told["tables"]) == (2, 1, [])
    assert naming(home) == []


POINTS = ["asked", "between_erasing", "files_written", "after_commit", "before_files", "before_certificate"]


def _die(home: str, point: str, nth: int) -> None:
    faults.arm(f"{point}:{nth}:kill")
    erased(Lake(f"{home}/lake", home=home), Path(home))


@pytest.mark.parametrize(("point", "nth"), [*((p, 1) for p in POINTS), ("between_erasing", 4), ("after_commit", 5)])
def test_an_erasure_that_died_is_completed_by_asking_again(shop: Lake, home: Path, point: str, nth: int) -> None:
    process = multiprocessing.get_context("spawn").Process(target=_die, args=(str(home), point, nth))
    process.start()
    process.join()
    assert process.exitcode == -9
    assert erasures.certificate(shop, 1) is None

    told = erased(shop, home)

    assert told["number"] == 1
    assert sum(each["rows"] for each in told["tables"]) == 32
    assert naming(home) == []
    assert landed(shop, home / "inbox").messages == 0


def test_a_lander_that_had_not_heard_of_an_erasure_leaves_the_subject_out_when_it_commits(
    shop: Lake, home: Path, monkeypatch
) -> None:
    """The erasure comes between the lander's look at the table and its commit: after its files were written."""
    dropped(home / "inbox", "meanwhile.jsonl", [order(WHO, days=5), order(OTHER, days=5)])
    lander, arrived = Lander(shop, TOPIC, MADE), DropFolder(home / "inbox")
    (batch,) = list(arrived.batches(TOPIC, lander.landed, 1000))
    write, done = Lake._write_files, []

    def interrupted(lake: Lake, table: str, partitions):
        adds = write(lake, table, partitions)
        if not done:
            done.append(True)
            erased(Lake(shop.root, home=str(home)), home)
        return adds

    monkeypatch.setattr(Lake, "_write_files", interrupted)

    told = lander.land(batch)

    assert (told.messages, told.accepted, told.erased) == (2, 1, 1)
    assert naming(home) == []
    assert all(who == {OTHER} for who in customers(shop).values())


def test_a_writer_that_began_before_an_erasure_cannot_commit_after_it(shop: Lake, home: Path) -> None:
    bases = shop.open(ORDERS), shop.open(ORDERS)
    parts = by_day(shop.scan(ORDERS, ["2024-01-06"]).collect())  # a day on which the subject is not
    mine = by_day(shop.scan(ORDERS, ["2024-01-02"]).collect())
    erased(shop, home)

    for base, each in zip(bases, (parts, mine), strict=True):
        with pytest.raises(ConcurrentWrite):
            shop.replace(ORDERS, each, build_manifest(each, "replace", MADE), base)
    assert all(who == {OTHER} for who in customers(shop).values())


def test_provenance_outlives_an_erasure_and_says_which(shop: Lake, home: Path) -> None:
    before = manifest(shop, ORDERS, "2024-01-02")

    erased(shop, home)

    after = manifest(shop, ORDERS, "2024-01-02")
    kept = ("run_id", "code_version", "inputs", "revision", "config")
    assert {k: after[k] for k in kept} == {k: before[k] for k in kept}
    assert (after["erasure"], after["rows"]) == (1, before["rows"] - 4)
    assert after["content_hash"] == states(shop, [ORDERS])[ORDERS]["2024-01-02"].content_hash != before["content_hash"]


def test_what_was_made_from_erased_rows_says_so_instead_of_failing_obscurely(
    shop: Lake, home: Path, tmp_path: Path
) -> None:
    model = recorded(shop, ORDERS, "2024-01-02")
    untouched = recorded(shop, ORDERS, "2024-01-06")
    erased(shop, home)

    said = r"shop/raw_orders cannot be read as of version \d+ .* on 20\d\d-\d\d-\d\d \(certificate 1\)"
    with pytest.raises(Erased, match=said):
        restore(shop, Lake(str(tmp_path / "a")), model)
    with pytest.raises(Erased, match=r"shop/orders .* \(certificate 1\)"):
        recorded(shop, ORDERS, "2024-01-02")
    (read,) = restore(shop, Lake(str(tmp_path / "b")), untouched)
    assert read.changed == []


def test_a_day_made_again_after_an_erasure_is_without_the_subject_and_reproducible(shop: Lake, home: Path) -> None:
    erased(shop, home)

    derive(shop)

    assert customers(shop)[ORDERS] == {OTHER}
    assert recorded(shop, ORDERS, "2024-01-02").rows == 4


def test_nobody_who_was_never_there_costs_older_versions(shop: Lake, home: Path) -> None:
    files = {p for p in (home / "lake" / RAW).rglob("*.parquet") if "_delta_log" not in p.parts}

    told = erased(shop, home, "nobody-knows")

    assert told["tables"] == []
    assert {p for p in (home / "lake" / RAW).rglob("*.parquet") if "_delta_log" not in p.parts} == files
