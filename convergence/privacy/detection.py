"""Finds personal data in text where nobody declared them: addresses, telephones, IBANs, payment cards.

Patterns run in Polars, whose regexes take linear time whatever the text is; check digits, which no pattern can judge,
are computed for the few candidates that are left.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import polars as pl

from convergence.lake.tables import DAY

# Characters of an IBAN by country, https://www.swift.com/standards/data-standards/iban-international-bank-account-number
_IBAN_LENGTH = {
    country: length
    for length, countries in {
        15: "NO", 16: "BE", 18: "DK FI FO GL NL SD FK", 19: "MK SI", 20: "AT BA EE KZ LT LU XK MN",
        21: "CH HR LI LV", 22: "BG BH CR DE GB GE IE ME RS VA", 23: "AE IL IQ TL OM SO",
        24: "AD CZ DZ ES MD PK RO SA SE SK TN VG", 25: "LY PT ST", 26: "IS TR", 27: "BI DJ FR GR IT MC MR SM",
        28: "AL AZ BY CY DO GT HU LB NI PL SV", 29: "BR EG PS QA UA", 30: "JO KW MU YE", 31: "MT SC", 32: "LC",
        33: "RU",
    }.items()
    for country in countries.split()
}  # fmt: skip
# Prefixes and lengths that networks issue: Visa, Mastercard, Amex, Diners, JCB, Discover, UnionPay, Maestro. Of 17 and
# 18 digits there is none in use, and that is what ids of rows often have.
_ISSUED = re.compile(
    r"4(\d{12}|\d{15}|\d{18})|(5[1-5]\d\d|222[1-9]|22[3-9]\d|2[3-6]\d\d|27[01]\d|2720)\d{12}|3[47]\d{13}"
    r"|3(0[0-5]|[689]\d)\d{11}|35\d{14}|(2131|1800)\d{11}|6(011|4[4-9]\d|5\d\d|2\d\d)(\d{12}|\d{15})"
    r"|(5018|5020|5038|5[678]\d\d|6304|6390|6759|676[1-3])(\d{8,12}|\d{15})"
)
_DOUBLED = str.maketrans("0123456789", "0246813579")  # twice a digit, its own digits added
_VALUES = {ord(letter): str(int(letter, 36)) for letter in "ABCDEFGHIJKLMNOPQRSTUVWXYZ"}


def is_card(candidate: str) -> bool:
    """Whether digits, grouped or not, are a number that a card network issues, with Luhn's check digit."""
    digits = candidate.replace(" ", "").replace("-", "")
    if not _ISSUED.fullmatch(digits):
        return False
    return (sum(map(int, digits[::-2])) + sum(map(int, digits[-2::-2].translate(_DOUBLED)))) % 10 == 0


def is_iban(candidate: str) -> bool:
    """Whether text begins with an IBAN of its country's length whose check digits are right."""
    length = _IBAN_LENGTH.get(candidate[:2].upper(), 0)
    cut = re.match(rf"[A-Z0-9](?:[ -]?[A-Z0-9]){{{length - 1}}}(?![A-Z0-9])", candidate, re.IGNORECASE)
    if not cut:
        return False
    iban = cut[0].replace(" ", "").replace("-", "").upper()
    return int((iban[4:] + iban[:4]).translate(_VALUES)) % 97 == 1


_CONTINUES = re.compile(r"(?!1-[2-9])\w[.-]|(?!(19|20)\d\d )[1-9A-Z]\w{3} ")  # a decimal number, a code, an IBAN
_AFTERWARDS = re.compile(r"x.*| (19|20)\d\d-[01]\d.*")  # an extension, a date


def is_telephone(candidate: str) -> bool:
    """Whether there are as many digits as a telephone number has, and they do not continue a number or code."""
    return sum(c.isdigit() for c in _AFTERWARDS.sub("", candidate)) >= 7 and not _CONTINUES.match(candidate)


@dataclass(frozen=True)
class Kind:
    """A kind of personal data: Rust regex of candidates, what confirms one, and whether that is more than its shape."""

    pattern: str
    confirms: Callable[[str], bool]
    certain: bool


# Rust's regexes cannot look back: a candidate takes in the end of the number or code that it continues, which tells.
_EDGE = r"(?-u:\b)"  # of ASCII words: with Unicode's, text that is not ASCII takes 30 times as long
_DECIMAL = r"(?:[0-9]\.)?" + _EDGE
_CODE = r"(?:[0-9A-Za-z_][.-]|(?-u:\b)[1-9A-Z][0-9A-Z]{3} )?" + _EDGE
_TELEPHONES = [
    r"(?-u:\B)\+[1-9][0-9]{0,3}(?:[ ()/.-]{0,3}[0-9]){6,13}",
    _CODE + r"00[1-9](?:[0-9]{10,12}|[0-9]{0,2}[ /-](?:[ ()/.-]{0,3}[0-9]){6,13})",
    r"\((?:0[1-9][0-9]{1,3}|[2-9][0-9]{2})\)[ -]{0,3}[0-9]{3,8}(?:[ -]?[0-9]{2,4}){0,2}",  # (030) 123456
    _CODE + r"0[1-9][0-9]{1,3}(?: ?[/-] ?| )[0-9]{3,8}(?:[ -]?[0-9]{2,4}){0,2}",  # 030 / 123456, 020 7946 0958
    _CODE + r"0[1-9][0-9]{0,2}-[0-9]{2,3}(?: [0-9]{2,3}){2}",  # 08-123 456 78
    _CODE + r"0[1-9]/[0-9]{6,8}",  # 01/12345678
    _CODE + r"0[1-9](?:[ .-][0-9]{2}){4}",  # 01 23 45 67 89
    _CODE + r"0[1-9][0-9]{8,9}",  # 01701234567
    _CODE + r"(?:1[-. ])?[2-9][0-9]{2}[-.][2-9][0-9]{2}[-.][0-9]{4}",  # 555-234-5678
    _EDGE
    + r"(?i-u:tel|phone|telephone|telefon|fon|mobile?|handy|fax|call)[.:]{0,2} ?[0-9](?:[ ()/.-]{0,3}[0-9]){6,14}",
]
KINDS = {
    "e-mail": Kind(r"[\w.+'-]+@(?:[\w-]+\.)+\p{L}{2,}", lambda _: True, certain=True),
    "telephone": Kind(rf"(?:{'|'.join(_TELEPHONES)})(?:{_EDGE}|x[0-9]{{1,6}})", is_telephone, certain=False),
    "IBAN": Kind(
        rf"(?i-u){_EDGE}(?:{'|'.join(_IBAN_LENGTH)})[0-9]{{2}}"
        rf"(?:[ -]?[A-Z0-9]{{4}}){{2,7}}(?:[ -]?[A-Z0-9]{{1,3}})?{_EDGE}",
        is_iban,
        certain=True,
    ),
    "payment card": Kind(
        _DECIMAL + r"(?:[0-9]{12,19}|[0-9]{4}(?:[ -][0-9]{4}){3}|[0-9]{4}[ -][0-9]{6}[ -][0-9]{4,5})" + _EDGE,
        is_card,
        certain=True,
    ),
}

CERTAIN = frozenset(name for name, kind in KINDS.items() if kind.certain)

FOUND = pl.Schema(
    {DAY: pl.Date(), "column": pl.String(), "kind": pl.String(), "rows": pl.UInt32(), "example": pl.String()}
)


def masked(value: str) -> str:
    """A value by its first and last character alone."""
    return f"{value[0]}…{value[-1]}"


def find(frame: pl.DataFrame, columns: Iterable[str]) -> pl.DataFrame:
    """Personal data in text columns of a frame with event_date: rows that hold it by day, column and kind (FOUND).

    The example is masked; no other text of the frame is in the result.
    """
    found = [_in_column(frame.select(DAY, value=column), column, kind) for column in columns for kind in KINDS]
    return pl.concat([FOUND.to_frame(), *found]).sort(DAY, "column", "kind")


def _in_column(values: pl.DataFrame, column: str, kind: str) -> pl.DataFrame:
    distinct = values.drop_nulls("value").group_by(DAY, "value").len("rows")  # codes repeat: a pattern sees each once
    candidates = (
        distinct.with_columns(candidate=pl.col("value").str.extract_all(KINDS[kind].pattern).list.unique())
        .drop("value")
        .filter(pl.col("candidate").list.len() > 0)
    )
    example = [
        next((masked(c) for c in said if KINDS[kind].confirms(c)), None) for said in candidates["candidate"].to_list()
    ]
    return (
        candidates.with_columns(example=pl.Series(example, dtype=pl.String))
        .drop_nulls("example")
        .group_by(DAY)
        .agg(pl.col("rows").sum(), pl.col("example").min())
        .select(DAY, column=pl.lit(column), kind=pl.lit(kind), rows=pl.col("rows").cast(pl.UInt32), example="example")
    )
