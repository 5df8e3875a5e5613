from convergence.search.matching import MOST, matched_words
from convergence.search.sparse import Bm25

BM25 = Bm25(average=10)


def matched(query: str, text: str) -> tuple[str, ...]:
    return matched_words(BM25.query(query).indices, text, BM25)


def test_a_word_is_matched_in_another_form_as_it_stands_in_the_item() -> None:
    assert matched("red cat", "Two Cats, one RED; the Cat sits") == ("Cats", "RED", "Cat")


def test_an_identifier_is_matched_by_a_part_of_it() -> None:
    assert matched("read a file", "def readFile(path): return open_file(path)") == ("readFile", "open_file")


def test_words_that_say_nothing_are_not_matched() -> None:
    assert matched("the bus of a man", "the car of a woman") == ()


def test_a_word_is_told_once_and_no_more_than_are_of_use() -> None:
    assert matched("bus", "bus bus bus") == ("bus",)
    forms = " ".join(f"bus_{n}" for n in range(MOST + 5))
    assert len(matched("bus", forms)) == MOST


def test_markup_in_a_text_is_no_word() -> None:
    assert matched("script", "<script>alert(1)</script>") == ("script",)
