"""What semantic search consists of."""

from collections.abc import Mapping
from datetime import timedelta

from convergence.lake.tables import Lake
from convergence.marked_pages import MarkedPages
from convergence.search.use_case import Reencoding, SearchedUseCase
from convergence.use_case import UseCase
from convergence_assets.semantic_search.arrivals import FIRST_DAY, LAST_DAY, TOPIC


def _reencoding() -> Reencoding:
    from convergence_assets.semantic_search import reencoding

    return reencoding


def _numbers(lake: Lake) -> Mapping[str, str]:
    from convergence_assets.semantic_search.pages import numbers

    return numbers(lake)


USE_CASE = UseCase(
    name="semantic_search",
    owner="team:semantic_search",
    calendar=(FIRST_DAY, LAST_DAY),
    topics=(TOPIC,),
    services=(SearchedUseCase("semantic_search", _reencoding),),
    pages=(MarkedPages(("docs/search.md",), _numbers),),
    fresh={"semantic_search/search_index": timedelta(hours=25)},
)
