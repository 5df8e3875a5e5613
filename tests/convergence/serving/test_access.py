from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convergence.errors import SettingsError
from convergence.serving.access import ROLES, Access, Token, read_tokens


def written(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines))
    path.chmod(0o600)
    return path


def test_tokens_are_read_with_role_and_expiry(tmp_path: Path) -> None:
    soon = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    path = written(tmp_path / "tokens", f"till scorer {'a' * 16} {soon}", "", f"shop reader {'b' * 16}")
    tokens = read_tokens(path)
    assert [(t.name, t.role) for t in tokens] == [("till", "scorer"), ("shop", "reader")]
    access = Access(tokens, rate=1, burst=1)
    assert access.who(f"Bearer {'a' * 16}") == tokens[0]
    assert access.who(f"bearer {'b' * 16}") == tokens[1]
    assert not any("a" * 16 in str(vars(token)) for token in tokens)


@pytest.mark.parametrize(
    "header", [None, "", "Bearer", "Bearer ", f"Basic {'a' * 16}", f"Bearer {'a' * 15}", "Bearer \udcff"]
)
def test_anything_but_a_valid_token_is_nobody(tmp_path: Path, header: str | None) -> None:
    access = Access(read_tokens(written(tmp_path / "tokens", f"x admin {'a' * 16}")), rate=1, burst=1)
    assert access.who(header) is None


def test_an_expired_token_is_nobody(tmp_path: Path) -> None:
    path = written(tmp_path / "tokens", f"x admin {'a' * 16} 2020-01-01")
    assert Access(read_tokens(path), rate=1, burst=1).who(f"Bearer {'a' * 16}") is None


LONG = "a" * 16
LINES = ("x", "x admin short", f"x boss {LONG}", f"x admin {LONG} tomorrow", f"x admin {LONG} 2020-01-01 z")


@pytest.mark.parametrize("line", LINES)
def test_a_line_of_another_form_is_refused_without_the_token(tmp_path: Path, line: str) -> None:
    with pytest.raises(SettingsError, match="line 1") as error:
        read_tokens(written(tmp_path / "tokens", line))
    assert "a" * 16 not in str(error.value)


def test_a_file_that_others_can_read_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "tokens", f"x admin {'a' * 16}")
    path.chmod(0o644)
    with pytest.raises(SettingsError, match="chmod 600"):
        read_tokens(path)


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "tokens")
    path.write_bytes(b"x admin \xff\xfe")
    with pytest.raises(SettingsError, match="cannot be read as lines of text"):
        read_tokens(path)


def test_a_role_may_do_what_those_before_it_may() -> None:
    access = Access([Token("x", "scorer", b"")], rate=1, burst=1)
    assert [access.allows(Token("x", mine, b""), "scorer") for mine in ROLES] == [False, True, True]


@given(st.lists(st.floats(0, 3), max_size=60), st.floats(0.5, 20), st.integers(1, 10))
def test_no_stretch_of_time_admits_more_than_the_burst_and_the_rate(
    waits: list[float], rate: float, burst: int
) -> None:
    now = [0.0]
    access = Access([], rate=rate, burst=burst, clock=lambda: now[0])
    token, admitted = Token("x", "admin", b""), []
    for wait in waits:
        now[0] += wait
        if access.admit(token) == 0:
            admitted.append(now[0])
    for first, start in enumerate(admitted):
        for last, end in enumerate(admitted[first:], 1):
            assert last <= burst + (end - start) * rate + 1e-6


def test_a_refused_request_is_told_when_the_next_is_admitted_and_others_are_not_held_up() -> None:
    now = [0.0]
    access = Access([], rate=2, burst=1, clock=lambda: now[0])
    one, other = Token("one", "admin", b""), Token("other", "admin", b"")
    assert access.admit(one) == 0
    wait = access.admit(one)
    assert wait == pytest.approx(0.5)
    assert access.admit(other) == 0
    now[0] += wait
    assert access.admit(one) == 0
