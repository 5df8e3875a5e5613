import pytest
from hypothesis import given
from hypothesis import strategies as st

from convergence.serving.highlighting import MOST, tokens


@given(st.text(max_size=300), st.sampled_from(["python", "java", "html", "no such language", "", None]))
def test_the_texts_of_the_tokens_are_the_code_whatever_it_is(code: str, language: str | None) -> None:
    assert "".join(text for _, text in tokens(code, language)) == code
    assert all(kind.isalnum() or kind == "" for kind, _ in tokens(code, language))


@pytest.mark.parametrize(("language", "kind"), [("python", "k"), ("no such language", ""), (None, "")])
def test_words_of_a_known_language_have_their_class(language: str | None, kind: str) -> None:
    assert tokens("def f(): pass", language)[0][0] == kind


def test_what_is_very_long_is_plain_from_some_point_on() -> None:
    code = "x = 1\n" * MOST
    assert tokens(code, "python")[-1] == ("", code[MOST:])


def test_markup_stays_text() -> None:
    assert "<script>alert(1)</script>" in "".join(text for _, text in tokens("<script>alert(1)</script>", "html"))
