"""The rules of the simulated search data: drawings hold what their captions say, and functions what they promise."""

import ast
from datetime import timedelta
from functools import cache
from hashlib import sha256
from io import BytesIO
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageColor

from convergence.arrivals.simulators.search import (
    CELL,
    COLOURS,
    DAYS,
    LICENCE,
    PLACES,
    SCHEMA,
    SIDE,
    START,
    captions,
    drawn,
    scene,
    simulate,
)
from convergence.errors import ConvergenceError
from convergence.objects.fetching import Fetcher
from convergence.objects.images import ImageDecoder
from convergence.objects.store import Objects


@cache
def messages(seed: int = 0) -> pl.DataFrame:
    return simulate(seed=seed)


def of(modality: str) -> pl.DataFrame:
    return messages().filter(modality=modality)


def pixels(n: int, seed: int = 0) -> np.ndarray:
    return np.asarray(Image.open(BytesIO(drawn(n, seed))).convert("RGB"))


def test_there_is_a_message_for_each_drawing_caption_and_function() -> None:
    assert messages().schema == SCHEMA
    assert dict(messages().group_by("modality").len().iter_rows()) == {"image": 60, "text": 180, "code": 80}
    assert messages()["item_id"].is_unique().all()
    assert set(messages()["licence"]) == {LICENCE}


def test_equal_seeds_give_equal_messages_and_others_give_others() -> None:
    assert messages().equals(simulate())
    assert not messages().equals(messages(1))


def test_messages_come_in_order_and_on_each_of_the_days() -> None:
    assert messages()["time"].is_sorted()
    for modality in ("image", "text", "code"):
        days = of(modality)["time"].dt.date().unique().sort().to_list()
        assert days == [(START + timedelta(days=n)).date() for n in range(DAYS)]


def test_each_modality_has_what_it_needs_and_nothing_else() -> None:
    filled = {
        "image": {"title", "object_uri", "object_sha256"},
        "text": {"text", "parent_id"},
        "code": {"title", "text", "code", "language"},
    }
    for modality, columns in filled.items():
        nulls = of(modality).drop("time", "item_id", "modality", "licence").null_count().row(0, named=True)
        assert {name for name, number in nulls.items() if number == 0} == columns
        assert {number for name, number in nulls.items() if name not in columns} == {of(modality).height}


def test_each_drawing_has_three_captions_that_name_it_and_come_after_it() -> None:
    both = of("text").join(of("image"), left_on="parent_id", right_on="item_id", suffix="_of_image")
    assert both.height == 180
    assert set(both.group_by("parent_id").len()["len"]) == {3}
    assert (both["time"] > both["time_of_image"]).all()
    assert both.filter(pl.col("parent_id") == "image-7").sort("item_id")["text"].to_list() == captions(7)


def test_the_address_of_a_drawing_is_fetched_as_the_bytes_whose_hash_the_message_has(tmp_path: Path) -> None:
    fetcher = Fetcher(None, Objects.at(str(tmp_path)), simulated=drawn)
    for uri, digest in of("image").select("object_uri", "object_sha256").iter_rows():
        assert sha256(fetcher.get(uri)).hexdigest() == digest


def test_a_drawing_is_an_image_that_the_decoder_takes() -> None:
    with ImageDecoder(within=60) as decoder:
        assert decoder.describe(drawn(3))[:3] == ("PNG", SIDE, SIDE)


@settings(deadline=None, max_examples=60)
@given(n=st.integers(0, 10**6), seed=st.integers(0, 5))
def test_a_drawing_holds_its_shapes_on_its_ground_and_nothing_else(n: int, seed: int) -> None:
    ground, shapes = scene(n, seed)
    found = pixels(n, seed)
    for shape in shapes:
        row, column = divmod(shape.place, 3)
        cell = found[row * CELL : (row + 1) * CELL, column * CELL : (column + 1) * CELL]
        inked = (cell == ImageColor.getrgb(shape.colour)).all(axis=2)
        assert inked[CELL // 2, CELL // 2]
        height = inked.any(axis=1).sum()
        assert (height > 40) == (shape.size == "large")
        share = inked.sum() / height**2  # of the square around it
        expected = {"circle": np.pi / 4, "square": 1, "triangle": 0.5}[shape.kind]
        assert share == pytest.approx(expected, abs=0.06)
    colours = {tuple(colour) for colour in found.reshape(-1, 3).tolist()}
    assert colours == {ImageColor.getrgb(name) for name in (ground, *(shape.colour for shape in shapes))}


@given(n=st.integers(0, 10**6), seed=st.integers(0, 5))
def test_captions_say_what_is_drawn_and_nothing_else(n: int, seed: int) -> None:
    ground, shapes = scene(n, seed)
    placed, beside, coloured = captions(n, seed)
    for shape in shapes:
        assert f"{shape.name} {PLACES[shape.place]}" in placed
        assert shape.name in beside
        assert f"{shape.colour} {shape.kind}" in coloured
    assert f"on a {ground} background" in coloured
    absent = set(COLOURS) - {shape.colour for shape in shapes}
    assert not any(f" {colour} " in f" {caption} " for caption in captions(n, seed) for colour in absent)


@given(n=st.integers(0, 10**6))
def test_what_is_beside_what_is_where_the_caption_says(n: int) -> None:
    _, shapes = scene(n)
    (row, column), (to_row, to_column) = (divmod(shape.place, 3) for shape in (shapes * 2)[:2])
    _, beside, _ = captions(n)
    assert (" left of " in beside) == (column < to_column)
    assert (" right of " in beside) == (column > to_column)
    assert (" above " in beside) == (column == to_column and row < to_row)
    assert (" below " in beside) == (column == to_column and row > to_row)


def test_every_function_is_valid_has_its_docstring_and_is_there_once() -> None:
    functions = simulate(images=0, functions=128)
    for title, text, code in functions.select("title", "text", "code").iter_rows():
        (function,) = ast.parse(code).body
        assert isinstance(function, ast.FunctionDef)
        assert (function.name, ast.get_docstring(function)) == (title, text)
    assert functions["title"].is_unique().all()
    assert functions["text"].is_unique().all()


@pytest.mark.parametrize(
    ("name", "given", "result"),
    [
        ("average_of_ages", ([1, 2, 6],), 3),
        ("median_of_prices", ([5, 1, 3],), 3),
        ("prices_above", ([1, 2, 3], 1), [2, 3]),
        ("fahrenheit_to_celsius", (212,), 100),
        ("reverse_words", ("one two",), "two one"),
        ("parse_pairs", ("a=1 b=2",), {"a": "1", "b": "2"}),
    ],
)
def test_functions_do_what_their_docstring_says(name: str, given: tuple, result: object) -> None:
    ((code,),) = simulate(images=0, functions=128).filter(title=name).select("code").rows()
    names: dict = {}
    exec(code, names)
    assert names[name](*given) == result


@pytest.mark.parametrize("wrong", [{"images": -1}, {"functions": -1}, {"functions": 129}, {"seed": -1}])
def test_numbers_out_of_bounds_are_refused_and_named(wrong: dict[str, int]) -> None:
    ((name, value),) = wrong.items()
    with pytest.raises(ConvergenceError, match=f"0 to 128 functions; found.*{name}={value}"):
        simulate(**wrong)


def test_no_drawings_and_no_functions_is_an_empty_frame_of_the_same_schema() -> None:
    assert simulate(images=0, functions=0).schema == SCHEMA
