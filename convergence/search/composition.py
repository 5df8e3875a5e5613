"""What of an item is encoded and indexed by its words, and what of a query: the same when building and when asking.

A query that names a programming language is a web search, like "python sort dict by value"; one that does not describes
what is wanted. The two are ranked by what was learned of each.
"""

import re
from collections.abc import Collection, Mapping
from typing import Any

from convergence.search.sparse import Bm25

# Terms of a usual item of each modality, rounded: BM25 measures length by it
TERMS = {"text": Bm25(average=7.0), "code": Bm25(average=70.0), "image": Bm25(average=8.0)}
DESCRIPTION = "code_description"  # the ranker of code for queries that name no language
RANKERS = ("text", "code", DESCRIPTION, "image")

_NAMED = 2  # times that a name counts as a word: it says more than a word among many
_OTHERS = "javascript|java|golang|ruby"  # languages, beside Python
# Named also in "python3", in "pythonreturn" (typed in haste) and in PYTHONPATH; what is cut out is a word of its own
_NAMED_LANGUAGE = re.compile(rf"\bpython|\b(?:{_OTHERS})\d*\b", re.IGNORECASE)
_LANGUAGE = re.compile(rf"\b(?:(?:in|using|with) )?(?:python|{_OTHERS})(?: ?[23](?:\.\d+)*)?\b", re.IGNORECASE)


def content(item: Mapping[str, Any]) -> str:
    """What the dense vector of a text or a function is made of; `item` has text and code."""
    return item["text"] if item["code"] is None else item["code"]


def words(item: Mapping[str, Any]) -> str:
    """What the sparse vector of a text or a function is made of; `item` has title, text and code."""
    return " ".join(filter(None, (*[item["title"]] * _NAMED, item["text"], item["code"])))


def words_of_query(query: str) -> str:
    """The words of a query that items may share: the language is what an item is written in, not what it says."""
    rest = " ".join(_LANGUAGE.sub(" ", query).split())
    return rest if re.search(r"\w", rest) else query


def ranker(modality: str, query: str, there: Collection[str]) -> str:
    """What ranks a modality for a query: its own ranker, or the one for descriptions where there is one."""
    describes = modality == "code" and DESCRIPTION in there and not _NAMED_LANGUAGE.search(query)
    return DESCRIPTION if describes else modality


def modality_of(ranker: str) -> str:
    """The modality that a ranker ranks."""
    return "code" if ranker == DESCRIPTION else ranker
