"""A CSV is read the same way whoever reads it: what a line becomes does not depend on the lines around it."""

import re
from collections.abc import Sequence
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from convergence.arrivals import csv_files
from convergence.arrivals.codecs import Messages
from convergence.arrivals.csv_files import QUOTATION
from convergence.arrivals.files import decode

WANTED = {"id": pl.String(), "note": pl.String(), "more": pl.String()}
NAMES = list(WANTED)
ENDS = ("\n", "\r\n", "\r")

# A record is its lines as they are written, and its values; or, without values, the reason why it is none
Record = tuple[bytes, Sequence[str | None] | None, str]
MORE, BYTES = "more fields than the 3 of the header", "not written in UTF-8"

plain = st.text(st.sampled_from("a1 é\x00;'\t"), min_size=1, max_size=4).filter(str.strip)
marked = st.text(st.sampled_from('a1,"\n\r é\\'), max_size=5)


def quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


@st.composite
def whole(draw: st.DrawFn) -> Record:
    written = draw(
        st.lists(
            st.one_of(plain.map(lambda t: (t, t)), marked.map(lambda t: (quoted(t), t)), st.just(("", None))),
            min_size=3,
            max_size=3,
        )
    )
    return ",".join(w for w, _ in written).encode(), [value for _, value in written], ""


@st.composite
def short(draw: st.DrawFn) -> Record:
    """Fields at the end of a line are missing."""
    values = draw(st.lists(plain, min_size=1, max_size=2))
    return ",".join(values).encode(), [*values, *[None] * (3 - len(values))], ""


@st.composite
def odd(draw: st.DrawFn) -> Record:
    """Quotation marks in a field that begins with none."""
    values = draw(st.lists(plain, min_size=2, max_size=2))
    inches = draw(st.sampled_from(['19"', 'a "nice" one', 'x""']))
    return f"{values[0]},{inches},{values[1]}".encode(), [values[0], inches, values[1]], ""


BROKEN: list[Record] = [
    (b"1,2,3,4", None, MORE),
    (b'1,"2,2",3,"4"', None, MORE),
    (b"1,\xff,3", None, BYTES),
    (b'"1","\xe9\n",3', None, BYTES),
    (b'"1","a \\" x","3"', None, QUOTATION),
    (b'"1","a\\"","3"', None, QUOTATION),
    (b'1,"2"x,3', None, QUOTATION),
    (b'"1",2",3\\"', None, QUOTATION),
]
blank = st.sampled_from([b"", b" ", b"\t "]).map(lambda line: (line, [], ""))
records = st.lists(st.one_of(whole(), short(), odd(), st.sampled_from(BROKEN), blank), max_size=12)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("csv")


def read(folder: Path, content: bytes) -> Messages:
    (folder / "a.csv").write_bytes(content)
    return decode(folder / "a.csv", WANTED)


def lines(content: bytes) -> int:
    return len(re.findall(rb"\r\n|\n|\r", content))


@settings(deadline=None, max_examples=300)
@given(
    records=records,
    ends=st.lists(st.sampled_from(ENDS), min_size=1, max_size=4),
    chunk=st.sampled_from([1, 7, 40, 2**20]),
    mark=st.sampled_from([b"", b"\xef\xbb\xbf"]),
)
def test_each_line_of_a_csv_is_what_it_is_alone(
    folder: Path, records: list[Record], ends: list[str], chunk: int, mark: bytes
) -> None:
    content = mark + ",".join(NAMES).encode() + ends[0].encode()
    rows, broken, offset = [], [], 0
    for number, (raw, values, reason) in enumerate(records):
        if values is None:
            broken.append((offset, f"line {1 + lines(content)}: {reason}"))
        elif values:
            rows.append((*values, offset))
        offset += values != []
        content += raw + ends[number % len(ends)].encode()
    if not offset:
        broken = [(0, "no row in it")]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(csv_files, "CHUNK", chunk)
        messages = read(folder, content)
    assert messages.broken.select("offset", "reason").rows() == broken
    assert messages.rows.rows() == rows


@pytest.mark.parametrize("bad", ['7,"never closed,x', '"7","a \\" b","x"', '7,a "b,"'])
@pytest.mark.parametrize("end", ENDS)
def test_one_bad_quotation_mark_costs_its_line_among_many(folder: Path, bad: str, end: str) -> None:
    others = [f'"{n}","a ""quoted"" text, no {n}",x' for n in range(200)]
    messages = read(folder, end.join([",".join(NAMES), *others[:120], bad, *others[120:]]).encode())
    assert messages.rows["id"].to_list() == [str(n) for n in range(200)]
    assert messages.broken.rows() == [(120, f"line 122: {QUOTATION}", bad)]


def test_bytes_that_are_no_text_are_kept_reversibly(folder: Path) -> None:
    (told,) = read(folder, b"id,note\n1,\xff\xfe\n").broken["row"]
    assert bytes.fromhex(told.removeprefix("no UTF-8, in hex: ")) == b"1,\xff\xfe"


def test_marks_that_open_on_every_line_are_not_searched_to_the_end_of_the_file_each_time(folder: Path) -> None:
    messages = read(folder, b"id,note,more\n" + b'x","\n' * 100_000)  # hours, if they were
    assert messages.broken.height == 100_000
