"""What may be repeated of a text that is not ours: its words, without values of rows and without secrets.

Errors, logs and answers are read by more people, and kept longer, than rows and keys may be. A secret is known by its
value, once a setting has held it, or by its form; a value of a row by where it stands, for libraries quote it, put it
in brackets or behind a colon.
"""

import re
from collections.abc import Collection, Iterable
from urllib.parse import quote, unquote

MASK = "…"
LONGEST = 300  # characters of a foreign error's text

_SHORTEST, _ANYWHERE = 8, 12  # characters of a secret that is looked for by its value: as a word, or within words too
_PATH = 16  # characters of a URL's path that may be the secret itself, as that of a webhook
_URL = re.compile(r"(?i)[a-z][a-z0-9+.-]*://(?:(?P<info>.*)@)?[^/?#]*(?P<rest>.*)", re.DOTALL)
_USER_INFO = re.compile(r"(?i)\b([a-z][a-z0-9+.-]{0,30}://)[^\s\"'<>]{1,2000}@")
_NAMED = r"api[_-]?key|(?:access|account|secret|private)[_-]?key(?:[_-]?id)?|secret|passw(?:or)?d|passphrase|pwd|token"
_SHAPES: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"-----BEGIN [A-Z ]{0,30}PRIVATE KEY-----.*?(?:-----END [A-Z ]{0,30}-----|\Z)", re.DOTALL), MASK),
    (_USER_INFO, rf"\1{MASK}@"),
    (re.compile(r"(?i)\b(bearer\s+)[\w.~+/=-]{8,}"), rf"\1{MASK}"),
    (re.compile(r"(?i)\b(basic\s+)(?=[a-z+/]*[0-9=])[a-z0-9+/]{8,}={0,2}"), rf"\1{MASK}"),
    (
        re.compile(
            rf"""(?i)((?:{_NAMED}|authorization|credentials?|signature|sig)["']?\s{{0,3}}[=:]\s{{0,3}})"""
            r"""("[^"]*"|'[^']*'|[^\s"'&,;)}\]]+)"""
        ),
        rf"\1{MASK}",
    ),
    (re.compile(r"\b(?:sk|pk|rk)[-_][\w-]{16,}"), MASK),
    (re.compile(r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b"), MASK),
    (re.compile(r"\b(?:gh[pousr]|github_pat|glpat|hf|xox[abeprs])[-_][\w-]{16,}"), MASK),
    (re.compile(r"\bAIza[\w-]{30,}"), MASK),
    (re.compile(r"\beyJ[\w-]{5,}\.[\w-]+(?:\.[\w-]*)?"), MASK),  # a signed token
)

_PRIVATE = 0xF0000  # characters that no text has, in the place of what stays
_RESERVED = re.compile("[\U000f0000-\U000ffffd]")
_QUOTED = re.compile(r"""(?<!\w)(["'`])(.*?)(?<!\\)\1""", re.DOTALL)
_FROM_A_QUOTE = re.compile(r"""(?<!\w)(["'`]).*(?:\1|\Z)""", re.DOTALL)  # a value may hold quotes: up to the last one
_TYPE = re.compile(
    r"(?:[iuf]\d{1,3}|str|bool|date|time|datetime|duration|null|binary|cat|enum|object|list|array|struct|decimal)"
    r"(?:\[[\w, μ*/+-]{0,40}\])?"
)
_BRACKETS = re.compile(r"((?<=\)=)|(?<=contains )|(?<=tuple )|(?<=values )|(?<=row ))\(.*\)", re.DOTALL)
_DRAWN = re.compile(r"^.*[┌│┆├╞└].*$", re.MULTILINE)  # a frame
_BEHIND_A_COLON = re.compile(
    r"(?i)\b(string|values?|input|literal|parse|key|element|item|rows?|record|text|name|argument|data|found|got|was)"
    r"(:[ \t]+)(?![…\"'`])\S.*"
)
_LOOSE = re.compile(
    r"(?<![\w.+-])[\w.+-]++@[\w-]+\.[\w.-]+"  # an address
    r"|\b[A-Z]{2}\d{2}[ ]?[A-Z0-9 ]{10,30}\b"  # an IBAN
    r"|\+?\d[\d ()/.-]{4,}\d"  # a telephone or card
    r"|(?<![\w-])[\w-]{0,40}\d{3,}[\w-]{0,40}"  # what holds a number of three digits: of a customer, in any form
    r"|\d{3,}"
)

_LITERAL = re.compile(r"'(?:[^']|'')*+(?:'|\Z)|(?<![\w\".])\d{3,}(?![\w\"])")

_FRAME = re.compile(r'^\s*File "(?:[^"]*/)?([^"/]+)", line (\d+), in (\S+)', re.MULTILINE)
_RAISED = re.compile(r"^([A-Za-z_][\w.]*(?:Error|Exception|Exit|Interrupt|Refused|Missing|Broken|Failure)): ", re.M)
_LAST_LINES = 12

_secrets: set[str] = set()
_words = re.compile(r"(?!)")


def keep_secret(values: Iterable[str]) -> None:
    """Mask from now on what is secret in these settings: of a URL its user information and a long path, else the whole.

    What is shorter than 8 characters, or one word of lower-case letters, is masked by its form alone: it would be found
    everywhere.
    """
    global _words  # noqa: PLW0603
    for value in values:
        url = _URL.match(value)
        info, rest = (url["info"] or "", url["rest"]) if url else ("", "")
        parts = [info, info.partition(":")[2], rest * (len(rest) >= _PATH)] if url else [value]
        forms = {form for part in parts for form in (part, unquote(part), quote(unquote(part), safe=""))}
        _secrets.update(s for s in forms if len(s) >= _SHORTEST and not (s.isalpha() and s.islower()))
    anywhere = [re.escape(s) for s in sorted(_secrets, key=len, reverse=True) if len(s) >= _ANYWHERE]
    as_words = [rf"(?<!\w){re.escape(s)}(?!\w)" for s in sorted(_secrets) if len(s) < _ANYWHERE]
    _words = re.compile("|".join([*anywhere, *as_words]) or r"(?!)")


def without_secrets(text: str) -> str:
    """The text without what a secret setting has held, and without what has the form of a credential."""
    said = _words.sub(MASK, text)
    for shape, instead in _SHAPES:
        said = shape.sub(instead, said)
    return said


def without_values(text: str, known: Collection[str] = ()) -> str:
    """The text without what may be a value of a row; quoted names that are `known`, and names of types, stay."""
    kept: list[str] = []

    def keep(found: re.Match[str]) -> str:
        if found[2] not in known and not (found[1] == "`" and _TYPE.fullmatch(found[2])):
            return found[0]
        kept.append(found[0])
        return chr(_PRIVATE + len(kept) - 1)

    said = _QUOTED.sub(keep, _RESERVED.sub(MASK, text))
    said = _DRAWN.sub(MASK, _BRACKETS.sub(f"({MASK})", said))
    said = _FROM_A_QUOTE.sub(rf"\1{MASK}\1", said)
    said = _LOOSE.sub(MASK, _BEHIND_A_COLON.sub(rf"\1\2{MASK}", said))
    return _RESERVED.sub(lambda found: kept[ord(found[0]) - _PRIVATE], said)


def foreign(text: str, known: Collection[str] = ()) -> str:
    """The first lines of what a library says of an error, without secrets and without what may be a value."""
    return without_values(without_secrets(text), known)[:LONGEST]


def without_literals(sql: str) -> str:
    """A query without its texts and long numbers, which may be values of rows."""
    return _LITERAL.sub(lambda found: f"'{MASK}'" if found[0].startswith("'") else MASK, sql)


def told_by_child(said: str) -> str:
    """What a child process said when it failed: kind, masked text and place of its last error, else its last lines."""
    last = [*_RAISED.finditer(said)]
    frames = [*_FRAME.finditer(said)]
    if not last:
        return foreign("\n".join(said.strip().splitlines()[-_LAST_LINES:]))
    error = last[-1]
    places = [f"{file}:{line} {function}" for file, line, function in (f.groups() for f in frames[-3:])]
    where = f"\nAt {' > '.join(places)}" if places else ""
    return f"{error[1]}: {foreign(said[error.end() :].strip())}{where}"
