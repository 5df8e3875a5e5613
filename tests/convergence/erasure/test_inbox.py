"""Files of the inbox: the subject goes from whatever can be read, and what cannot is told by its place."""

import bz2
import gzip
import json
import lzma
from collections.abc import Callable
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from convergence.erasure.erase import erase, look
from convergence.erasure.inbox import Searched, search
from convergence.erasure.subjects import Subject
from convergence.erasure.texts import csv_without, lines_without
from convergence.lake.manifests import build_manifest
from convergence.lake.tables import WHOLE, Lake
from tests.convergence.erasure.world import (
    MADE,
    ORDERS,
    OTHER,
    RAW,
    TOPIC,
    WHO,
    dropped,
    keepers,
    landed,
    order,
    orders,
    subject,
)

NUMBERED = Subject("customer", "596", {RAW: "customer"}, {RAW: "customerID"})
FRAME = pl.DataFrame([order(WHO), order(OTHER), order(OTHER, amount=7.0)])
CSV = FRAME.write_csv()
RENAMED = FRAME.rename({"customerID": "CustomerId"})


def parquet(frame: pl.DataFrame) -> bytes:
    buffer = BytesIO()
    frame.write_parquet(buffer)
    return buffer.getvalue()


def put(inbox: Path, name: str, content: bytes | str) -> Path:
    file = inbox / TOPIC.name / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    return file


def searched(inbox: Path, who: Subject | None = None) -> Searched:
    """What was found; what is to be replaced is."""
    found = search(inbox, TOPIC, who or subject())
    for each in found.replacements:
        each.put()
    return found


@pytest.mark.parametrize(
    ("name", "content", "plain"),
    [
        ("a.csv", FRAME.write_csv(separator=";"), bytes),
        ("a.csv", RENAMED.write_csv(), bytes),
        ("a.csv", CSV.replace("\n", "\r"), bytes),
        ("a.csv", CSV.partition("\n")[2], bytes),  # no header
        ("a.csv", CSV.encode("utf-16"), bytes),
        ("a.csv", CSV.encode("utf-16-be"), bytes),
        ("a.csv", CSV.encode("utf-32"), bytes),
        ("a.csv", CSV.replace("7.0", "é").encode("latin-1"), bytes),
        ("a.csv", gzip.compress(CSV.encode(), mtime=0), gzip.decompress),
        ("a.csv", bz2.compress(CSV.encode()), bz2.decompress),
        ("a.csv.gz", lzma.compress(CSV.encode("utf-16-le")), lzma.decompress),
        ("a.CSV.GZ", gzip.compress(RENAMED.write_csv(separator="\t").encode(), mtime=0), gzip.decompress),
        ("a.jsonl", RENAMED.write_ndjson().encode("utf-16"), bytes),
        ("a.jsonl", f'{{"customerID": "{WHO}", "customerID": "{OTHER}"}}\n{json.dumps(order(OTHER))}\n', bytes),
        ("a.jsonl", f'{{"customerID": "{WHO}", "cut\n{json.dumps(order(OTHER))}\n', bytes),
        ("a.parquet", parquet(RENAMED), lambda c: str(pl.read_parquet(c).to_dicts()).encode()),
        (
            "a.parquet",
            parquet(RENAMED.select(who=pl.struct("CustomerId"), raw=pl.lit(b"x"))),
            lambda c: str(pl.read_parquet(c).to_dicts()).encode(),
        ),
    ],
)
def test_a_person_is_found_in_a_file_that_nobody_understood_and_others_stay(
    tmp_path: Path, name: str, content: bytes | str, plain: Callable[[bytes], bytes]
) -> None:
    file = put(tmp_path, name, content)

    found = searched(tmp_path)

    assert ([each.removed for each in found.replacements], found.not_searched) == ([1], [])
    left = plain(file.read_bytes()).replace(b"\0", b"")
    assert WHO.encode() not in left
    assert OTHER.encode() in left
    assert searched(tmp_path).replacements == []


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("cut.csv.gz", gzip.compress(CSV.encode(), mtime=0)[:-9], "gzip that is cut or damaged"),
        ("cut.csv", CSV.encode("utf-16")[:-1], "UTF-16-LE that is cut or damaged"),
        ("cut.parquet", parquet(FRAME)[:-9], "cut or damaged"),
        ("book.csv", b"PK\x03\x04" + bytes(range(256)), "a zip archive or a workbook"),
        ("packed.csv", b"\x28\xb5\x2f\xfd" + bytes(range(256)), "zstd"),
        ("noise.jsonl", bytes(range(256)) * 4, "no text"),
        ("a.csv~", CSV, "an ending of which nothing is landed"),
        ("a.csv.bak", CSV, "an ending of which nothing is landed"),
        ("a.zip", b"PK\x03\x04", "an ending of which nothing is landed"),
        ("no ending", CSV, "an ending of which nothing is landed"),
        (".a.csv", CSV, "hidden"),
        ("done/a.csv", CSV, "a folder in which nothing is landed"),
        (f"{WHO}.csv", CSV, "rename it"),
        ("wide.csv", f"customerID,{WHO}\n{OTHER},1\n", "still names the subject"),
        ("wide.parquet", parquet(pl.DataFrame({"customerID": [OTHER], WHO: [1]})), "still names the subject"),
    ],
)
def test_a_file_that_cannot_be_looked_through_or_cleared_is_named_and_nobody_is(
    tmp_path: Path, name: str, content: bytes | str, why: str
) -> None:
    put(tmp_path, name, content)

    (told,) = searched(tmp_path).not_searched

    assert told.where == f"{tmp_path.name}/{TOPIC.name}/{name.replace(WHO, '***')}"
    assert why in told.why
    assert WHO not in f"{told}"


def test_a_link_is_named_and_not_followed(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere.csv"
    elsewhere.write_text(CSV)
    (tmp_path / "inbox" / TOPIC.name).mkdir(parents=True)
    (tmp_path / "inbox" / TOPIC.name / "a.csv").symlink_to(elsewhere)

    (told,) = searched(tmp_path / "inbox").not_searched

    assert "a link" in told.why
    assert elsewhere.read_text() == CSV


def test_in_an_empty_file_there_is_nobody(tmp_path: Path) -> None:
    for name in (".gitkeep", "a.csv", "a.parquet", "notes"):
        put(tmp_path, name, b"")

    assert searched(tmp_path) == Searched(files=4)


def test_a_number_goes_by_its_column_where_there_is_one_and_by_any_value_where_there_is_none(tmp_path: Path) -> None:
    rows = pl.DataFrame({"customerID": [596, 12, 12], "amount": [1.0, 596.0, 3.5]})
    for name, write in {"a.csv": pl.DataFrame.write_csv, "a.jsonl": pl.DataFrame.write_ndjson}.items():
        put(tmp_path, name, write(rows))
        put(tmp_path, f"b.{name}", write(rows.rename({"customerID": "who"})))
    put(tmp_path, "a.parquet", parquet(rows))
    put(tmp_path, "b.parquet", parquet(rows.rename({"customerID": "who"})))

    found = {each.path.name: each.removed for each in searched(tmp_path, NUMBERED).replacements}

    one_each, two_each = ("a.csv", "a.jsonl", "a.parquet"), ("b.a.csv", "b.a.jsonl", "b.parquet")
    assert found == dict.fromkeys(one_each, 1) | dict.fromkeys(two_each, 2)


@pytest.mark.parametrize("wrapped", [lambda n: str(n).encode(), lambda n: [n]])
def test_a_number_is_found_in_its_column_as_bytes_and_further_inside(
    tmp_path: Path, wrapped: Callable[[int], object]
) -> None:
    rows = pl.DataFrame({"customerID": [wrapped(596), wrapped(12)], "amount": [1.0, 596.0]})
    put(tmp_path, "a.parquet", parquet(rows))

    assert [each.removed for each in searched(tmp_path, NUMBERED).replacements] == [1]


def test_a_bad_quotation_mark_does_not_take_the_lines_of_others_along(tmp_path: Path) -> None:
    lines = [f'{OTHER},"said \\"yes\\" to",1', *(f"{OTHER},x,{n}" for n in range(50)), f"{WHO},x,1", f'{OTHER},"open,1']
    file = put(tmp_path, "a.csv", "\n".join(["customerID,words,n", *lines]))

    assert [each.removed for each in searched(tmp_path).replacements] == [1]

    assert file.read_text().splitlines()[1:] == [line for line in lines if WHO not in line]


def test_a_value_with_line_breaks_goes_with_its_record_behind_a_bad_quotation_mark_too() -> None:
    bad, mine, other = 'X-1,"bad"mark\n', f'{WHO},"lives in\nElm Street 5"\n', 'X-2,"a\nb"\n'
    written = csv_without(f"customerID,note\n{bad}{mine}{other}{bad}{mine}".encode(), subject())
    assert (written.content.decode(), written.removed) == (f"customerID,note\n{bad}{other}{bad}", 2)


def test_a_value_with_line_breaks_goes_with_its_record(tmp_path: Path) -> None:
    file = put(tmp_path, "a.csv", f'customerID,words\n{WHO},"two\nlines"\n{OTHER},"two\u2028more\nlines"\n')

    searched(tmp_path)

    assert file.read_text() == f'customerID,words\n{OTHER},"two\u2028more\nlines"\n'


@given(st.lists(st.lists(st.sampled_from([WHO, OTHER, "a,b", '"', "x\ny", ";", "é", ""]), min_size=1, max_size=4)))
def test_no_line_that_names_the_subject_is_left_in_any_csv(rows: list[list[str]]) -> None:
    content = "\n".join(",".join(row) for row in rows).encode()

    for without in (csv_without, lines_without):
        after = without(content, subject())
        assert WHO.encode() not in after.content
        assert set(after.content.splitlines()) <= set(content.splitlines())
        assert after.removed or after.content == content


def test_what_was_not_understood_leaves_quarantine_and_inbox_and_does_not_come_back(tmp_path: Path) -> None:
    lake, inbox = Lake(str(tmp_path / "lake"), home=str(tmp_path)), tmp_path / "inbox"
    odd = {"a.csv": FRAME.write_csv(separator=";"), "b.csv": RENAMED.write_csv(), "c.csv": CSV}
    for name, content in odd.items():
        put(inbox, name, content)
    landed(lake, inbox)
    kept = lake.scan(f"{RAW}_rejected").collect().height

    told = erase(keepers(lake, tmp_path), subject(), actor="me", reason="asked")

    waiting = lake.scan(f"{RAW}_rejected").collect()
    assert kept - waiting.height == 1
    assert not waiting["row"].str.contains(WHO, literal=True).any()
    assert (told["inbox_files"], told["not_searched"]) == (3, [])
    for name, content in odd.items():
        put(inbox, f"again {name}", content.replace("5.0", "6.0"))
    done = landed(lake, inbox)
    assert (done.messages, done.erased) == (7, 2)  # of what is separated by semicolons landing tells as a whole


def test_a_file_that_is_written_anew_while_its_table_is_cleared_stays_and_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake, file = Lake(str(tmp_path / "lake"), home=str(tmp_path)), put(tmp_path / "inbox", "a.csv", CSV)
    landed(lake, tmp_path / "inbox")
    anew = CSV.replace("7.0", "8.0")
    monkeypatch.setattr(
        "convergence.erasure.erase.fault", lambda at: file.write_text(anew) if at == "before_files" else None
    )

    told = erase(keepers(lake, tmp_path), subject(), actor="me", reason="asked")

    assert file.read_text() == anew
    why = "changed or gone since it was searched: erase again"
    assert (told["inbox_files"], told["not_searched"]) == (0, [{"where": f"inbox/{TOPIC.name}/a.csv", "why": why}])


def test_the_certificate_says_what_was_searched_how_and_what_was_not(tmp_path: Path) -> None:
    lake, inbox = Lake(str(tmp_path / "lake"), home=str(tmp_path)), tmp_path / "inbox"
    dropped(inbox, "day.jsonl", orders())
    landed(lake, inbox)
    put(inbox, "day.jsonl~", CSV)
    (inbox / "shop.order").mkdir()
    (inbox / "shop.order" / "day.csv").write_text(CSV)
    (tmp_path / "served").mkdir()
    (tmp_path / "served" / "old.zip").write_bytes(b"PK")
    (tmp_path / "ledgers").mkdir()
    (tmp_path / "ledgers" / "sent.parquet").write_bytes(b"PAR1")
    lake.replace("shop/former", {"": pl.DataFrame({"customer": [WHO]})}, {}, None)
    lake.replace("shop/harmless", {"": pl.DataFrame({"amount": [1]})}, {}, None)
    mine = replace(keepers(lake, tmp_path), tables=[RAW, "shop/orders"])

    before = look(mine, subject()).not_searched
    told = erase(mine, subject(), actor="me", reason="asked")

    unseen = {each["where"] for each in told["not_searched"]}
    assert unseen == {
        *(f"inbox/{TOPIC.name}/day.jsonl~", "inbox/shop.order/day.csv", "lake/shop/former"),
        *("served/old.zip", "ledgers/sent.parquet"),
    }
    assert unseen == {each.where for each in before}
    assert "in the home folder: erasure.key" in told["beyond"]
    assert {each["where"]: each["how"] for each in told["searched"]} == {
        RAW: "column customer",
        f"{RAW}_late": "column customer",
        f"{RAW}_rejected": "each value and word of what came",
        f"inbox/{TOPIC.name}": "each value and word of 1 files",
        "served log": "each value of each line",
        "ledgers": "the key of each message",
        "released models": "columns that name the subject",
    }


def test_a_file_in_the_folder_of_another_topic_is_looked_through_too(tmp_path: Path) -> None:
    lake, inbox = Lake(str(tmp_path / "lake"), home=str(tmp_path)), tmp_path / "inbox"
    put(inbox, "a.csv", RENAMED.write_csv())
    landed(lake, inbox)
    whose = Subject("customer", WHO, {"shop/people": "customer"}, {})

    told = erase(replace(keepers(lake, tmp_path), topics=[], others=[TOPIC]), whose, actor="me", reason="asked")

    assert (told["inbox_files"], [each["rows"] for each in told["tables"]]) == (1, [1])
    assert WHO not in (inbox / TOPIC.name / "a.csv").read_text()
    assert landed(lake, inbox).messages == 0


def test_a_table_whose_column_was_renamed_since_is_named(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path / "lake"), home=str(tmp_path))
    parts = {WHOLE: pl.DataFrame({"buyer": [WHO]})}
    lake.replace(ORDERS, parts, build_manifest(parts, "replace", MADE), None)

    told = erase(keepers(lake, tmp_path), subject(), actor="me", reason="asked")

    (unseen,) = told["not_searched"]
    assert unseen["where"] == "lake/shop/orders"
    assert "no column of it names the subject" in unseen["why"]
