"""What a message becomes does not depend on the messages beside it, and one that cannot be read costs itself alone."""

import json
import random
from collections.abc import Sequence
from typing import Any

import polars as pl
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from convergence.arrivals import codecs
from convergence.arrivals.casting import exactly
from convergence.arrivals.codecs import Messages, decode_json

COLUMNS: dict[str, pl.DataType] = {
    "id": pl.Int64(),
    "amount": pl.Float64(),
    "note": pl.String(),
    "flag": pl.Boolean(),
    "at": pl.Datetime("us", "UTC"),
    "tiny": pl.Int8(),
    "größe": pl.String(),
}
GOOD = {"id": 1, "amount": 1.5, "note": "n", "flag": True, "at": "2024-01-01T10:00:00Z"}

Fields = tuple[tuple[bool, Any], ...]


def decoded(values: Sequence[bytes | None]) -> Messages:
    return decode_json(values, range(len(values)), COLUMNS)


def judged(messages: Messages) -> dict[int, Fields]:
    """What the lander sees of each message, by offset: whether a value is there, and what it is in its type."""
    rows = messages.rows
    typed = rows.select(exactly(rows[name], kind) for name, kind in COLUMNS.items())
    there = rows.select(pl.col(COLUMNS).is_not_null())
    return {
        at: tuple((has, repr(value)) for has, value in zip(*both, strict=True))
        for at, *both in zip(rows["offset"], there.iter_rows(), typed.iter_rows(), strict=True)
    }


def alone(value: bytes | None) -> Fields | None:
    """The oracle: the message in a batch of its own; None if it is broken."""
    return judged(decoded([value])).get(0)


def original(text: str | None) -> bytes | None:
    """A broken message from what is kept of it."""
    if text is None:
        return None
    marked, _, digits = text.partition("no UTF-8, in hex: ")
    return text.encode() if marked or not digits else bytes.fromhex(digits)


def dumped(**fields: Any) -> bytes:
    return json.dumps(fields).encode()


numbers = st.one_of(
    st.floats().map(json.dumps),
    st.integers(-(2**66), 2**66).map(str),
    st.integers(-300, 300).map(str),
    st.builds("{}e{}".format, st.integers(0, 99), st.integers(-9, 25)),
    st.sampled_from(["1.0", "-0", "-0.0", "1e400", "1e-400", "01", "+1", ".5", "1.", "1E2", "9" * 320, "9" * 5000]),
)
strings = st.one_of(
    st.text(max_size=5).map(json.dumps),
    st.text(max_size=5).map(lambda value: json.dumps(value, ensure_ascii=False)),
    st.sampled_from(
        [
            r'"12.5"',
            r'"12"',
            r'"true"',
            r'"TRUE"',
            r'"1"',
            r'" 1"',
            r'"1e3"',
            r'"[1]"',
            r'"{"',
            r'"null"',
            r'"\ud800"',
            r'"\ude00x"',
            r'"\\ud800"',
            r'"\\ud83d\ude00"',
            r'"\"id\":1"',
            r'"id\":"',
            r'"\u0000"',
            r'"\/"',
            r'"a : b"',
            r'"2024-01-01"',
            r'"2024-01-01 10:00"',
            r'"2024-02-30T10:00:00"',
            r'"2024-01-01T10:00:00.5+02:00"',
            r'"2024/01/01"',
            r'"id","amount"',
            r'"NaN"',
            r'"http://x"',
        ]
    ),
)
spaces = st.sampled_from([""] * 9 + [" ", "\t", "\r", "  ", "\n"])
keys = st.sampled_from(
    [json.dumps(name, ensure_ascii=False) for name in COLUMNS]
    + ['"z"', r'"\u0069d"', r'"gr\u00f6\u00dfe"', r'"note\""', r'"\"id"', r'"\ud800"', '"idid"', '"ID"']
)


def objects(values: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    pair = st.tuples(keys, spaces, spaces, values, spaces).map(lambda p: f"{p[0]}{p[1]}:{p[2]}{p[3]}{p[4]}")
    return st.lists(pair, max_size=5).map(lambda pairs: "{" + ",".join(pairs) + "}")


values = st.recursive(
    st.one_of(numbers, strings, st.sampled_from(["null", "true", "false"])),
    lambda inner: st.lists(inner, max_size=3).map(lambda items: f"[{', '.join(items)}]") | objects(inner),
    max_leaves=5,
)
odd = objects(values).map(lambda message: message.encode(errors="surrogatepass"))
good = st.fixed_dictionaries(
    {"id": st.integers(-9, 9), "amount": st.floats(allow_nan=False, allow_infinity=False), "note": st.text(max_size=3)},
    optional={"flag": st.booleans() | st.none(), "z": st.just([{"id": 1}]), "at": st.just(GOOD["at"])},
).map(lambda message: json.dumps(message, separators=(",", ":")).encode())
broken = st.sampled_from(
    [
        None,
        b"",
        b" ",
        b"x",
        b"[1]",
        b"1",
        b"null",
        b'"id"',
        b'{"id":1',
        b'{"id":1}{"id":2}',
        b'{"id":1}\n{"id":2}',
        b"{}",
        b'{"id":1\n}',
        b'{\n"id" \n:1, "id":2}',
        b'\xef\xbb\xbf{"id":1}',
        '{"id":1}'.encode("utf-16"),
        b'{"note":"\xff"}',
        b'{"id":1}\x00',
        b'[{"id":1}]',
        b'\x0c{"id":1}',
        b'\n{"id":1}',
        b'{"id":1}\n',
        b'{"id":tru}',
        b"\xff" * 40,
        b'{"z":' + b"[" * 3000 + b"]" * 3000 + b"}",
        b'{"z":1e400,"id":1}',
        b'{"id":1,"z":"\x01"}',
    ]
)


@settings(deadline=None, max_examples=200)
@given(
    batch=st.lists(good, max_size=60).flatmap(
        lambda many: st.lists(st.one_of(odd, broken), max_size=12).flatmap(lambda few: st.permutations(many + few))
    ),
    chunk=st.sampled_from([1, 7, 1000]),
)
@example(batch=[b'{"id":1,"id":2}', b'{"id":5}'], chunk=1000)
@example(batch=[b'{"amount":1e400}', b'{"z":NaN}', b'{"id":01}', b'{"id":1}', b"[", b"{}"], chunk=1000)
@example(batch=[b'{"id":"5"}', b'{"amount":0.1}', b'{"flag":0}', b'{"amount":5e-324}'], chunk=2)
def test_a_message_is_what_it_is_alone(batch: list[bytes | None], chunk: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(codecs, "_CHUNK", chunk)
        messages = decoded(batch)
    expected = {at: found for at, value in enumerate(batch) if (found := alone(value)) is not None}
    assert judged(messages) == expected
    assert messages.broken["offset"].to_list() == [at for at in range(len(batch)) if at not in expected]
    assert messages.raw is not None
    assert list(messages.raw) == [batch[at] for at in messages.rows["offset"]]
    assert [original(text) for text in messages.broken["row"]] == [batch[at] for at in messages.broken["offset"]]


@pytest.mark.parametrize(
    ("value", "kind", "seen"),
    [
        ("1.5", "amount", 1.5),
        ('"12.5"', "amount", 12.5),
        ("3", "amount", 3.0),
        ("true", "amount", None),
        ('"much"', "amount", None),
        ("3.0", "id", 3),
        ("3.5", "id", None),
        ('"3"', "id", 3),
        ("9223372036854775807", "id", 2**63 - 1),
        ("9223372036854775808", "id", None),
        ("300", "tiny", None),
        ("1", "flag", True),
        ("0", "flag", False),
        ("2", "flag", None),
        ('"TRUE"', "flag", True),
        ("12", "note", "12"),
        ('"\\u00fc \\ud83d\\ude00"', "note", "ü 😀"),
    ],
)
@pytest.mark.parametrize("beside", [b'{"id": 1}', b"broken"], ids=["a good one", "a broken one"])
def test_a_value_is_read_in_its_type_or_not_at_all(value: str, kind: str, seen: object, beside: bytes) -> None:
    messages = decoded([beside, f'{{"{kind}": {value}}}'.encode()])
    there, read = judged(messages)[1][list(COLUMNS).index(kind)]
    assert (there, read) == (True, repr(seen))


@pytest.mark.parametrize("at", [None, 12.5], ids=["native", "beside a value of another type"])
def test_floats_are_read_to_the_last_bit(at: float | None) -> None:
    draw = random.Random(0)
    floats = [draw.random() * 10.0 ** draw.randint(-300, 300) for _ in range(1000)]
    odd_one = [] if at is None else [dumped(amount=str(at))]
    rows = decoded([dumped(amount=value) for value in floats] + odd_one).rows
    assert exactly(rows["amount"], pl.Float64()).to_list()[:1000] == floats


def test_only_the_part_with_a_broken_message_is_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    checked: list[object] = []
    is_object = codecs._is_object
    monkeypatch.setattr(codecs, "_CHUNK", 100)
    monkeypatch.setattr(codecs, "_is_object", lambda value: checked.append(value) or is_object(value))
    messages = decoded([dumped(**GOOD | {"id": n}) for n in range(950)] + [b"{"])
    assert (messages.rows.height, messages.broken.height) == (950, 1)
    assert len(checked) == 51


@pytest.mark.parametrize("number", ["1e999", "-1e999", "NaN", "-Infinity", "9" * 400])
def test_messages_with_numbers_that_only_python_reads_are_told_at_once(
    monkeypatch: pytest.MonkeyPatch, number: str
) -> None:
    read: list[int] = []
    frame = codecs._frame
    monkeypatch.setattr(codecs, "_frame", lambda values, typed: read.append(len(values)) or frame(values, typed))
    messages = decoded([b'{"z":' + number.encode() + b"}", dumped(**GOOD)] * 500)
    assert (messages.rows.height, messages.broken.height) == (500, 500)
    assert len(read) <= 2 * 20


@pytest.mark.parametrize("depth", [600, 3000, 100_000])
def test_a_message_nested_without_end_costs_itself(depth: int) -> None:
    deep = b'{"z":' + b"[" * depth + b"]" * depth + b"}"
    messages = decoded([dumped(**GOOD), deep, b'{"z":' + b"[" * depth, dumped(**GOOD)])
    assert {0, 3} <= set(messages.rows["offset"]) <= {0, 1, 3}


def test_a_message_of_ten_megabytes_is_a_message() -> None:
    rows = decoded([b'{"note":"' + b"x" * 10_000_000 + b'"}', dumped(**GOOD)]).rows
    assert rows["note"].str.len_bytes().to_list() == [10_000_000, 1]


def test_a_field_that_no_message_has_is_null() -> None:
    rows = decode_json([b'{"id":1}'], [7], {"id": pl.Int64(), "schema_version": pl.Int64()}).rows
    assert rows.rows(named=True) == [{"id": 1, "schema_version": None, "offset": 7}]


def test_broken_messages_say_what_they_are() -> None:
    messages = decode_json([None, b"\xff{", b'{"id":1}'], pl.Series([4, 6, 9]), COLUMNS)
    assert messages.broken.rows() == [
        (4, "no value (tombstone)", None),
        (6, "not a JSON object", "no UTF-8, in hex: ff7b"),
    ]
    assert messages.rows["offset"].to_list() == [9]
    assert messages.raw == [b'{"id":1}']


@pytest.mark.parametrize("half", ["a\\ud800", "\\ud83d!", "\\ud800\\ud800", "\\udc00"])
def test_a_text_with_half_a_character_waits_as_it_came_and_one_with_nul_is_read(half: str) -> None:
    sent = [b'{"note":"' + text.encode() + b'"}' for text in (half, "a\\u0000b", "\\ud83d\\ude00")]
    messages = decoded(sent)
    assert messages.rows["note"].to_list() == ["a\0b", "\U0001f600"]
    assert messages.broken["row"].to_list() == [sent[0].decode()]


def test_no_messages_are_no_rows() -> None:
    assert (decoded([]).rows.height, decoded([None]).rows.height) == (0, 0)
    assert decoded([]).rows.columns == [*COLUMNS, "offset"]
