"""Drawings with captions, and small functions: stands in where the published images, captions and code are not.

An item is a pure function of its number and the seed, its bytes too: `simulated:7` can be drawn again by who reads it.
"""

from datetime import UTC, datetime, timedelta
from functools import cache
from hashlib import sha256
from io import BytesIO
from itertools import product
from typing import NamedTuple

import numpy as np
import polars as pl

from convergence.errors import ConvergenceError

_TEXTS = ("title", "text", "code", "language", "object_uri", "object_sha256", "parent_id", "licence")
SCHEMA = pl.Schema(
    {"time": pl.Datetime("us", "UTC"), "item_id": pl.String(), "modality": pl.String()}
    | dict.fromkeys(_TEXTS, pl.String())
)
START, DAYS = datetime(2024, 1, 1, tzinfo=UTC), 14
LICENCE = "CC0-1.0"
SIDE, CELL = 192, 64  # pixels of a drawing, and of each of its 3 x 3 places
RADIUS = {"small": 13, "large": 29}
COLOURS = ("red", "green", "blue", "yellow", "orange", "purple", "black", "brown")
GROUNDS = ("white", "silver", "beige", "lavender")
SHAPES = ("circle", "square", "triangle")
PLACES = (
    *("at the top left", "at the top", "at the top right", "on the left", "in the middle", "on the right"),
    *("at the bottom left", "at the bottom", "at the bottom right"),
)
_IMAGES, _FUNCTIONS = range(2)  # second word of each random stream's seed; the third is the number of the item

_THINGS = (
    *("prices", "temperatures", "ages", "weights", "distances", "scores", "salaries", "durations", "heights"),
    *("ratings", "speeds", "balances"),
)
_SUMMARIES = {
    "sum": "sum({0})", "average": "sum({0}) / len({0})", "largest": "max({0})", "smallest": "min({0})",
    "median": "sorted({0})[len({0}) // 2]", "range": "max({0}) - min({0})",
}  # fmt: skip
_CHOICES = {"above": ">", "below": "<", "equal_to": "=="}
_CONVERSIONS = {
    ("celsius", "fahrenheit"): "{0} * 9 / 5 + 32", ("fahrenheit", "celsius"): "({0} - 32) * 5 / 9",
    ("miles", "kilometres"): "{0} * 1.609344", ("kilometres", "miles"): "{0} / 1.609344",
    ("pounds", "kilograms"): "{0} * 0.45359237", ("hours", "seconds"): "{0} * 3600",
    ("degrees", "radians"): "{0} * 3.141592653589793 / 180", ("bytes", "megabytes"): "{0} / 1_000_000",
    ("days", "weeks"): "{0} / 7", ("inches", "centimetres"): "{0} * 2.54",
}  # fmt: skip
_WORDS = {
    "reverse_words": ("Reverse the order of the words in a text.", '" ".join(text.split()[::-1])'),
    "count_vowels": ("Count the vowels of a text.", 'sum(text.lower().count(v) for v in "aeiou")'),
    "is_palindrome": ("Check whether a text reads the same backwards.", "text == text[::-1]"),
    "capitalise_words": ("Write every word of a text with a capital.", '" ".join(w.title() for w in text.split())'),
    "longest_word": ("Find the longest word of a text.", "max(text.split(), key=len)"),
    "remove_digits": ("Remove all digits from a text.", '"".join(c for c in text if not c.isdigit())'),
    "count_lines": ("Count the lines of a text.", "len(text.splitlines())"),
    "parse_pairs": ("Parse key=value pairs into a dictionary.", 'dict(p.split("=", 1) for p in text.split())'),
    "is_email": ("Check whether a text looks like an e-mail address.", '"@" in text and "." in text.split("@")[-1]'),
    "to_snake_case": ("Join the words of a text with underscores.", '"_".join(text.lower().split())'),
}


class Shape(NamedTuple):
    """One drawn shape; `place` counts from 0, row by row."""

    size: str
    colour: str
    kind: str
    place: int

    @property
    def name(self) -> str:
        """As captions call it."""
        return f"{self.size} {self.colour} {self.kind}"


class Function(NamedTuple):
    """A function of Python: its name, the first line of its docstring, and its whole source."""

    name: str
    says: str
    code: str


def simulate(*, images: int = 60, functions: int = 80, seed: int = 0) -> pl.DataFrame:
    """Simulate the messages of two weeks: drawings, three captions of each, and functions.

    Args:
        images: number of drawings, not negative.
        functions: number of functions, at most as many as there are different ones (128).
        seed: not negative; equal arguments give equal frames.

    Returns:
        A row per item with the columns of SCHEMA, in order of time. An image has `object_uri` and `object_sha256`, of
        the bytes that `drawn` gives; a caption has `text` and its image as `parent_id`; a function has its name as
        `title`, its docstring as `text`, `code` and `language`. What an item does not have is null.

    Raises:
        ConvergenceError: a number out of these bounds.
    """
    most = len(_catalogue())
    if images < 0 or not 0 <= functions <= most or seed < 0:
        raise ConvergenceError(
            f"expected images and seed of at least 0 and 0 to {most} functions; found images={images}, "
            f"functions={functions}, seed={seed}"
        )
    rows = [row for n in range(images) for row in _of_image(n, images, seed)]
    order = np.random.default_rng([seed, _FUNCTIONS]).permutation(most)
    for n, function in enumerate(_catalogue()[int(at)] for at in order[:functions]):
        of = {"title": function.name, "text": function.says, "code": function.code, "language": "python"}
        rows.append(_row(f"code-{n}", "code", _at(n, functions), **of))
    return pl.DataFrame(rows, SCHEMA).sort("time", "item_id")


def scene(n: int, seed: int = 0) -> tuple[str, list[Shape]]:
    """Colour of the ground, and one to three shapes, of which no two have the same colour or place."""
    draw = np.random.default_rng([seed, _IMAGES, n])
    number = int(draw.integers(1, 4))
    colours, places = draw.permutation(len(COLOURS)), draw.permutation(len(PLACES))
    shapes = [
        Shape(str(draw.choice([*RADIUS])), COLOURS[colours[i]], str(draw.choice(SHAPES)), int(places[i]))
        for i in range(number)
    ]
    return str(draw.choice(GROUNDS)), shapes


def drawn(n: int, seed: int = 0) -> bytes:
    """The drawing with this number as a PNG of 192 x 192 pixels, the same bytes each time."""
    from PIL import Image, ImageDraw

    ground, shapes = scene(n, seed)
    image = Image.new("RGB", (SIDE, SIDE), ground)
    pencil = ImageDraw.Draw(image)
    for shape in shapes:
        x, y = (CELL * at + CELL // 2 for at in (shape.place % 3, shape.place // 3))
        r = RADIUS[shape.size]
        if shape.kind == "triangle":
            pencil.polygon([(x, y - r), (x - r, y + r), (x + r, y + r)], fill=shape.colour)
        else:
            pencil_for = pencil.ellipse if shape.kind == "circle" else pencil.rectangle
            pencil_for((x - r, y - r, x + r, y + r), fill=shape.colour)
    out = BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


def captions(n: int, seed: int = 0) -> list[str]:
    """Three descriptions of the drawing: where each shape is, what is beside what, and its colours on their ground."""
    ground, shapes = scene(n, seed)
    placed = [f"a {shape.name} {PLACES[shape.place]}" for shape in shapes]
    first, *others = shapes
    beside = f"a {first.name}" + "".join(f" {_seen_from(first, other)} a {other.name}" for other in others[:1])
    beside += "".join(f", and a {other.name}" for other in others[1:])
    coloured = [f"a {shape.colour} {shape.kind}" for shape in shapes]
    return [_listed(placed), f"{beside} in a drawing", f"{_listed(coloured)} on a {ground} background"]


def _seen_from(shape: Shape, other: Shape) -> str:
    (row, column), (to_row, to_column) = divmod(shape.place, 3), divmod(other.place, 3)
    if column != to_column:
        return "left of" if column < to_column else "right of"
    return "above" if row < to_row else "below"


def _listed(parts: list[str]) -> str:
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if parts[1:] else parts).replace("a orange", "an orange")


def _of_image(n: int, images: int, seed: int) -> list[dict[str, object]]:
    content, at = drawn(n, seed), _at(n, images)
    name = f"image-{n}"
    of = {"title": f"Drawing {n}", "object_uri": f"simulated:{n}", "object_sha256": sha256(content).hexdigest()}
    said = enumerate(captions(n, seed))
    later = [
        _row(f"caption-{n}-{i}", "text", at + timedelta(minutes=1 + i), text=text, parent_id=name) for i, text in said
    ]
    return [_row(name, "image", at, **of), *later]


def _row(item: str, modality: str, at: datetime, **texts: str) -> dict[str, object]:
    return {"time": at, "item_id": item, "modality": modality, "licence": LICENCE, **texts}


def _at(n: int, of: int) -> datetime:
    """Items are spread evenly, from the first minute to the last day."""
    return START + timedelta(minutes=DAYS * 24 * 60 * n // max(of, 1))


@cache
def _catalogue() -> tuple[Function, ...]:
    """Every function that there is."""
    found = [
        _function(f"{name}_of_{things}", f"Return the {name} of a list of {things}.", things, expression.format(things))
        for (name, expression), things in product(_SUMMARIES.items(), _THINGS)
    ]
    found += [
        _function(f"{things}_{name}", f"Keep the {things} that are {name.replace('_', ' ')} a limit.",
                  f"{things}, limit", f"[one for one in {things} if one {sign} limit]")
        for (name, sign), things in product(_CHOICES.items(), _THINGS)
    ]  # fmt: skip
    found += [
        _function(f"{here}_to_{there}", f"Convert {here} to {there}.", here, expression.format(here))
        for (here, there), expression in _CONVERSIONS.items()
    ]
    found += [_function(name, says, "text", expression) for name, (says, expression) in _WORDS.items()]
    return tuple(found)


def _function(name: str, says: str, parameters: str, expression: str) -> Function:
    return Function(name, says, f'def {name}({parameters}):\n    """{says}"""\n    return {expression}\n')
