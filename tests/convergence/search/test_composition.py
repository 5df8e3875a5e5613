"""What is taken of an item and of a query."""

import pytest

from convergence.search.composition import DESCRIPTION, RANKERS, content, modality_of, ranker, words, words_of_query

FUNCTION = {"title": "readFile", "text": "Reads a file.", "code": "def readFile(p): ..."}


def test_a_functions_meaning_is_in_its_code_and_its_words_in_all_of_it() -> None:
    assert content(FUNCTION) == "def readFile(p): ..."
    assert words(FUNCTION) == "readFile readFile Reads a file. def readFile(p): ..."
    assert content({"title": None, "text": "a bus", "code": None}) == "a bus"
    assert words({"title": None, "text": "a bus", "code": None}) == "a bus"


@pytest.mark.parametrize(
    ("query", "left"),
    [
        ("python sort dict by value", "sort dict by value"),
        ("how to read a file in Python 3", "how to read a file"),
        ("javascript", "javascript"),
        ("a pythonic way", "a pythonic way"),
        ("datetime to epoch python2", "datetime to epoch"),
        ("python3.8 read file", "read file"),
        ("python 2.7 read file", "read file"),
        ("python 2.7.3 read file", "read file"),
        ("pythonreturn json", "pythonreturn json"),
        ("add a folder to PYTHONPATH", "add a folder to PYTHONPATH"),
        ("check python_version", "check python_version"),
        ("python, java?", "python, java?"),
        ("python 3d plot", "3d plot"),
        ("javabean to json", "javabean to json"),
    ],
)
def test_the_language_is_no_word_that_items_share(query: str, left: str) -> None:
    assert words_of_query(query) == left


@pytest.mark.parametrize(
    ("query", "by"),
    [
        ("python sort dict", "code"),
        ("sort dict python3", "code"),
        ("pythonreturn json", "code"),
        ("Java8 stream to list", "code"),
        ("javabean to json", DESCRIPTION),
        ("sorts a map by its values", DESCRIPTION),
    ],
)
def test_code_is_ranked_by_what_was_learned_of_queries_like_this_one(query: str, by: str) -> None:
    assert ranker("code", query, RANKERS) == by
    assert ranker("code", query, ["code"]) == "code"
    assert ranker("text", query, RANKERS) == "text"


def test_a_ranker_ranks_one_modality() -> None:
    assert [modality_of(name) for name in RANKERS] == ["text", "code", "code", "image"]
