"""Source code as (class, text) tokens: a page sets each text as text, so that no code is ever markup."""

from functools import lru_cache

MOST = 20_000  # characters that are told apart; what comes after them is plain
_PLAIN = frozenset(("w", "n", "p", "x", "err"))  # half the tokens, which no style sheet needs apart


@lru_cache(maxsize=4_096)
def tokens(code: str, language: str | None) -> tuple[tuple[str, str], ...]:
    """The tokens of code, classes as in Pygments' style sheets ("" is plain); their texts joined are the code.

    A language that is not known is plain text.
    """
    from pygments.lexers import get_lexer_by_name
    from pygments.lexers.special import TextLexer
    from pygments.token import STANDARD_TYPES
    from pygments.util import ClassNotFound

    try:
        lexer = get_lexer_by_name(language or "text")
    except ClassNotFound:
        lexer = TextLexer()
    found: list[tuple[str, str]] = []
    for _, kind, text in lexer.get_tokens_unprocessed(code[:MOST]):
        # a lexer's own kind is shown as the nearest standard one above it
        name = next(STANDARD_TYPES[one] for one in reversed(kind.split()) if one in STANDARD_TYPES)
        name = "" if name in _PLAIN else name
        if found and found[-1][0] == name:
            found[-1] = (name, found[-1][1] + text)
        elif text:
            found.append((name, text))
    return (*found, ("", code[MOST:])) if len(code) > MOST else tuple(found)
