"""Values of each kind are made by rules of their own and put into free text; what is ordinary must not be found."""

import random
import string
import time
from collections.abc import Callable
from datetime import date, datetime, timedelta
from functools import partial
from itertools import pairwise
from uuid import UUID

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from convergence.lake.tables import DAY
from convergence.privacy.detection import FOUND, KINDS, find, is_card, is_iban, masked

TODAY = date(2024, 1, 2)
VALUES = 300  # of each kind
WORDS = [
    *("customer", "asked", "to", "be", "called", "back", "about", "his", "last", "bill", "and", "her", "plan"),
    *("before", "2024-03-01", "70.70", "a month,", "order 4711,", "ticket A-1023,", "paid 1,203.50", "on 01.02.2024"),
    *("at 10:30,", "rate 0.4111111111111111", "(2018)", "10 %", "room 0815", "pp. 120-135", "1.2.3", "ISO 20022"),
]


def digits(rng: random.Random, shape: str) -> str:
    """A shape with each # made a digit, each N one from 2 to 9, each A a capital letter."""
    kinds = {"#": string.digits, "N": "23456789", "A": string.ascii_uppercase}
    return "".join(rng.choice(kinds[c]) if c in kinds else c for c in shape)


def mail(rng: random.Random) -> str:
    local = rng.choice(["erika.m", "max+news", "o'neill", "j_doe-2", "zoë", "X"]) + digits(rng, "##")
    return f"{local}@{rng.choice(['example.org', 'mail.example.co.uk', 'xn--bcher-kva.example', 'bücher.example'])}"


TELEPHONES = [
    *("+49 170 #######", "+49 (0)30 ######", "+49-89-#######", "+4917########", "0049 170 #######", "004930########"),
    *("0170 #######", "0170/#######", "0170-#######", "017########", "030 ########", "(030) ########", "089/######"),
    *("+44 20 #### ####", "020 #### ####", "07### ######", "+33 1 ## ## ## ##", "01 ## ## ## ##", "06########"),
    *("(N##) N##-####", "N##-N##-####", "1-N##-N##-####", "+1 N## N## ####", "N##.N##.####", "(N##)N##-####x###"),
    *("+34 6## ### ###", "+48 ### ### ###", "+91 ##### #####", "Tel. ### ## ##", "phone: ##########", "08-### ## ##"),
]


def telephone(rng: random.Random) -> str:
    return digits(rng, rng.choice(TELEPHONES))


def iban(rng: random.Random) -> str:
    """Check digits are those that bring 98 - remainder to right: ISO 13616's own recipe."""
    country, shape = rng.choice(
        [("DE", "#" * 18), ("GB", "AAAA" + "#" * 14), ("NO", "#" * 11), ("FR", "#" * 23), ("AT", "#" * 16),
         ("NL", "AAAA" + "#" * 10), ("MT", "AAAA" + "#" * 23)]
    )  # fmt: skip
    account = digits(rng, shape)
    number = "".join(str(string.digits.find(c) if c.isdigit() else ord(c) - 55) for c in f"{account}{country}00")
    whole = f"{country}{98 - int(number) % 97:02d}{account}"
    return rng.choice([whole, whole.lower(), " ".join(whole[n : n + 4] for n in range(0, len(whole), 4))])


def luhn(number: str) -> int:
    """The sum that must end in 0."""
    return sum(sum(map(int, str(int(d) * (1 + n % 2)))) for n, d in enumerate(reversed(number)))


def card(rng: random.Random) -> str:
    shape, groups = rng.choice(
        [("4###############", (4, 4, 4, 4)), ("52##############", (4, 4, 4, 4)), ("2221############", (4, 4, 4, 4)),
         ("37#############", (4, 6, 5)), ("6011############", (4, 4, 4, 4)), ("3530############", (4, 4, 4, 4))]
    )  # fmt: skip
    partial_number = digits(rng, shape[:-1])
    number = next(partial_number + d for d in string.digits if luhn(partial_number + d) % 10 == 0)
    separator = rng.choice(["", " ", "-"])
    cut = [sum(groups[:n]) for n in range(len(groups) + 1)]
    return separator.join(number[a:b] for a, b in pairwise(cut))


MADE: dict[str, Callable[[random.Random], str]] = {
    "e-mail": mail,
    "telephone": telephone,
    "IBAN": iban,
    "payment card": card,
}


def text(rng: random.Random, *values: str) -> str:
    """Words, and the values among them, with the marks that people put around such."""
    said = [rng.choice(["{}", "({})", "{}.", "{},", "<{}>", '"{}"', "is:{}"]).format(v) for v in values]
    return " ".join(rng.sample([*rng.choices(WORDS, k=12), *said], 12 + len(said)))


def frame(texts: list[str]) -> pl.DataFrame:
    return pl.DataFrame({DAY: [TODAY] * len(texts), "note": texts}, schema={DAY: pl.Date, "note": pl.String})


def counts(texts: list[str]) -> dict[str, int]:
    return dict(find(frame(texts), ["note"]).select("kind", "rows").iter_rows())


@pytest.mark.parametrize("kind", KINDS)
def test_at_least_95_percent_of_seeded_values_are_found_in_free_text(kind: str) -> None:
    rng = random.Random(kind)
    texts = [text(rng, MADE[kind](rng)) for _ in range(VALUES)]
    assert len(set(texts)) == VALUES
    assert counts(texts)[kind] >= 0.95 * VALUES


def test_each_shape_of_a_telephone_is_found_in_most_of_its_numbers() -> None:
    rng = random.Random(0)
    found = {shape: counts([f"is {digits(rng, shape)}, ok" for _ in range(40)]) for shape in TELEPHONES}
    assert {shape: n for shape, n in found.items() if n.get("telephone", 0) < 36} == {}


def test_text_without_values_is_found_in_less_than_one_percent() -> None:
    rng = random.Random(1)
    found = counts([text(rng) for _ in range(2_000)])
    assert sum(found.values()) <= 20, found


ORDINARY: dict[str, Callable[[random.Random], str]] = {
    "time": lambda rng: str(datetime(2024, 1, 1) + timedelta(microseconds=rng.randrange(10**13))),
    "epoch in milliseconds": lambda rng: str(1_700_000_000_000 + rng.randrange(10**10)),
    "epoch in nanoseconds": lambda rng: str(1_700_000_000_000_000_000 + rng.randrange(10**16)),
    "day": lambda rng: str(date(2024, 1, 1) + timedelta(rng.randrange(3_000))),
    "price": lambda rng: f"{rng.uniform(0, 1e5):.2f}",
    "number": lambda rng: repr(rng.gauss(0, 1)),
    "small number": lambda rng: repr(rng.random() * 10 ** -rng.randrange(12)),
    "row id": lambda rng: str(rng.randrange(10**9)),
    "uuid": lambda rng: str(UUID(int=rng.getrandbits(128))),
    "hash": lambda rng: f"{rng.getrandbits(256):064x}",
    "customer": partial(digits, shape="####-AAAAA"),
    "model version": lambda rng: f"{date(2024, 1, 1) + timedelta(rng.randrange(300))}.{rng.getrandbits(32):08x}",
    "code": lambda rng: rng.choice(["month_to_month", "Credit card (automatic)", "fiber_optic", "No", ""]),
    "JSON": lambda rng: f'{{"auc": {rng.random()}, "trees": [{rng.random():.7f},{rng.gauss(0, 1e-9)}], "n": 120453}}',
    "version of a library": lambda rng: f"polars=={rng.randrange(99)}.{rng.randrange(99)}.{rng.randrange(9)}",
}


@pytest.mark.parametrize("made", ORDINARY.values(), ids=ORDINARY)
def test_ordinary_values_raise_no_alarm(made: Callable[[random.Random], str]) -> None:
    rng = random.Random(2)
    assert counts([made(rng) for _ in range(5_000)]) == {}


@pytest.mark.parametrize("number", ["4111 1111 1111 1112", "4111 1111 1111 1121", "1111 1111 1111 1117"])
def test_a_number_that_is_no_card_is_none(number: str) -> None:
    assert is_card("4111 1111 1111 1111")
    assert not is_card(number)


@given(st.integers(0, 2**32).map(lambda seed: iban(random.Random(seed))), st.data())
def test_an_iban_with_one_digit_changed_is_none(right: str, data: st.DataObject) -> None:
    at = data.draw(st.sampled_from([n for n, c in enumerate(right) if c.isdigit() and n > 3]))
    wrong = data.draw(st.sampled_from([d for d in string.digits if d != right[at]]))
    assert is_iban(right)
    assert is_iban(right + " then more")
    assert not is_iban(right[:at] + wrong + right[at + 1 :])
    assert not is_iban(right + "7")


def test_parts_of_an_iban_or_a_card_are_no_telephone() -> None:
    assert counts(["DE89 3704 0044 0532 0130 00", "AT61 1904 3002 3457 3201"]) == {"IBAN": 2}
    assert counts(["card 4000 0012 3456 7899 or 4000-0012-3456-7899"]) == {"payment card": 1}


def test_rows_are_counted_by_day_and_column_and_the_example_is_masked() -> None:
    rows = pl.DataFrame(
        {
            DAY: [TODAY, TODAY, TODAY, TODAY + timedelta(1)],
            "note": ["erika@example.org", "erika@example.org and max@example.org", None, "call +49 170 5550123"],
            "code": ["a", "b", "c", "max@example.org"],
        }
    )
    found = find(rows, ["note", "code"])
    assert found.schema == FOUND
    assert found.rows() == [
        (TODAY, "note", "e-mail", 2, "e…g"),
        (TODAY + timedelta(1), "code", "e-mail", 1, "m…g"),
        (TODAY + timedelta(1), "note", "telephone", 1, "+…3"),
    ]


def test_no_rows_or_columns_are_nothing() -> None:
    assert find(frame([]), ["note"]).is_empty()
    assert find(frame(["erika@example.org"]), []).is_empty()


@given(st.text(min_size=1))
def test_what_is_masked_shows_two_characters(value: str) -> None:
    assert masked(value) == value[0] + "…" + value[-1]


MEGABYTE = 2**20
HOSTILE = {
    "letters": "a",
    "addresses without domain": "a@",
    "domains without end": "a@" + "a." * 100,
    "not ASCII": "é@ü.",
    "digits": "1",
    "cards with a wrong digit": "4111 1111 1111 1112 ",
    "IBANs with a wrong digit": "DE89 3704 0044 0532 0130 01 ",
    "telephones that do not end": "+1 ( ",
    "names of telephones": "tel 1 ",
    "decimals": "0.4111111111111111,",
}


@pytest.mark.parametrize("hostile", HOSTILE.values(), ids=HOSTILE)
def test_a_megabyte_in_one_line_is_searched_within_a_second(hostile: str) -> None:
    line = frame([hostile * (MEGABYTE // len(hostile))])
    find(frame(["a"]), ["note"])  # patterns are compiled once in a process
    began = time.process_time()
    find(line, ["note"])
    assert time.process_time() - began < 1
