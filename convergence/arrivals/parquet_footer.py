"""What a Parquet file takes to read: told by its footer and the headers of its pages before anything is unpacked.

A footer can lie, but what a reader makes room for is what a page says of itself, so these are gone through too. Of
Thrift's compact protocol only what the format's `parquet.thrift` uses is read; numbers in brackets are its field ids.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from convergence.arrivals.bounds import CELL, Unreadable

_MAGIC = b"PAR1"
_MOST_FOOTER = 2**24  # bytes
_MOST_PAGES = 1_000_000
_DAMAGED = "no Parquet, or damaged: write it again"
_FIXED_LENGTH, _DELTA_BYTE_ARRAY = 7, 7  # a physical type; an encoding

_Struct = Mapping[int, Any]


@dataclass(frozen=True)
class Cost:
    """Rows, names of columns, and bytes: of unpacked pages, of all values in memory, nested ones included.

    `repeated` is what values may take beyond that, because each may repeat the one before it.
    """

    rows: int
    names: list[str]
    pages: int
    values: int
    repeated: int
    about: dict[str, str]  # what the writer said of the file


def cost_of(file: bytes) -> Cost:
    """What reading the file takes. Raises Unreadable if it is no Parquet, or its parts are not where it says."""
    try:
        return _cost(file)
    except (IndexError, KeyError, TypeError, ValueError, AttributeError, RecursionError):
        raise Unreadable(_DAMAGED) from None


def _cost(file: bytes) -> Cost:
    length = int.from_bytes(file[-8:-4], "little")
    if not file.startswith(_MAGIC) or not file.endswith(_MAGIC) or length + 12 > len(file):
        raise Unreadable(_DAMAGED)
    if length > _MOST_FOOTER:
        raise Unreadable(f"its footer has {length} bytes, at most {_MOST_FOOTER} are read: use fewer row groups")
    footer = _Compact(file, len(file) - 8 - length).struct()
    root, *schema = footer[2]
    leaves = [each for each in schema if not each.get(5)]
    pages = values = repeated = seen = 0
    for group in footer.get(4, []):
        for leaf, chunk in zip(leaves, group[1], strict=True):
            wide = leaf.get(2, 0) if leaf.get(1) == _FIXED_LENGTH else 0
            held = 0
            for head in _pages(file, chunk[3]):
                seen += 1
                data = head.get(5) or head.get(8) or {}
                count, size = _natural(data.get(1, 0)), _natural(head[2])
                held += count
                pages += size
                if data.get(2 if 5 in head else 4) == _DELTA_BYTE_ARRAY:
                    repeated += count * size
                if seen > _MOST_PAGES:
                    raise Unreadable(f"more than {_MOST_PAGES} pages: write it with larger ones")
            values += max(held, _natural(chunk[3][5])) * max(CELL, wide)
    rows = max(_natural(footer[3]), sum(_natural(group[3]) for group in footer.get(4, [])))
    about = {_text(pair[1]): _text(pair.get(2, b"")) for pair in footer.get(5, [])}
    return Cost(rows, list(_columns(schema, root.get(5, 0))), pages, values, repeated, about)


def _columns(schema: list[_Struct], children: int) -> Iterator[str]:
    """Names of the columns, without those of the parts that they have."""
    at = 0
    for _ in range(children):
        yield _text(schema[at][4])
        left = 1
        while left:
            left += schema[at].get(5, 0) - 1
            at += 1


def _pages(file: bytes, column: _Struct) -> Iterator[_Struct]:
    """The headers of a column's pages, until these hold as many values as the column has."""
    at = column.get(11) or column[9]
    end = at + _natural(column[7])
    if not len(_MAGIC) <= at <= end <= len(file):
        raise Unreadable(_DAMAGED)
    left = column[5]
    while left > 0 and at < end:
        reader = _Compact(file, at)
        head = reader.struct()
        yield head
        data = head.get(5) or head.get(8)
        left -= data[1] if data else 0
        at = reader.at + _natural(head[3])


def _natural(number: int) -> int:
    if number < 0:
        raise ValueError(number)
    return number


def _text(name: bytes) -> str:
    return name.decode(errors="backslashreplace")


class _Compact:
    """Reads Thrift's compact protocol from a place on: structs as dictionaries by field id, texts as bytes."""

    def __init__(self, content: bytes, at: int) -> None:
        self.content, self.at = content, at

    def struct(self) -> dict[int, Any]:
        found: dict[int, Any] = {}
        field = 0
        while head := self._byte():
            field = field + (head >> 4) if head >> 4 else self._signed()
            found[field] = head & 15 == 1 if head & 15 in (1, 2) else self._value(head & 15)
        return found

    def _value(self, kind: int) -> Any:
        if kind in (1, 2, 3):
            return self._byte()
        if kind in (4, 5, 6):
            return self._signed()
        if kind == 7:
            return self._bytes(8)
        if kind == 8:
            return self._bytes(self._unsigned())
        if kind in (9, 10):
            head = self._byte()
            count = self._unsigned() if head >> 4 == 15 else head >> 4
            return [self._value(head & 15) for _ in range(count)]
        if kind == 12:
            return self.struct()
        raise ValueError(kind)

    def _byte(self) -> int:
        self.at += 1
        return self.content[self.at - 1]

    def _bytes(self, length: int) -> bytes:
        if self.at + length > len(self.content):
            raise IndexError(length)
        self.at += length
        return self.content[self.at - length : self.at]

    def _unsigned(self) -> int:
        number = shift = 0
        while (byte := self._byte()) & 128 and shift < 70:
            number |= (byte & 127) << shift
            shift += 7
        return number | byte << shift

    def _signed(self) -> int:
        number = self._unsigned()
        return (number >> 1) ^ -(number & 1)
