"""What Prometheus is told of a search service: beside every service's requests, the index, its cache and its images."""

from prometheus_client import Counter, Gauge, Histogram

from convergence.search.following import Searching
from convergence.serving.metrics import RequestMetrics

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.25, 0.5, 1, 5)


class SearchMetrics(RequestMetrics):
    """Duration of a search by what it is asked with, share of answers that were known, images that were refused."""

    def __init__(self) -> None:
        super().__init__()
        of = self.registry
        self.search = Histogram(
            "convergence_search_seconds", "From question to results", ["by"], buckets=_SECONDS, registry=of
        )
        self.cache = Counter(
            "convergence_search_cache", "Questions, by whether the answer was known", ["known"], registry=of
        )
        self.cache_ratio = Gauge(
            "convergence_search_cache_hit_ratio", "Share of questions whose answer was known", registry=of
        )
        self.images_refused = Counter("convergence_search_images_refused", "Images that cannot be decoded", registry=of)
        self.index = Gauge("convergence_search_index", "1 for the index that answers", ["index_version"], registry=of)
        self.items = Gauge("convergence_search_items", "Items of the index that answers", ["modality"], registry=of)
        self.refused = Gauge("convergence_search_index_refused", "1 while the live index does not answer", registry=of)
        self._asked = {False: 0, True: 0}
        for known in ("false", "true"):  # a share needs the zero before the first
            self.cache.labels(known)

    def cached(self, known: bool) -> None:
        """A question, and whether its answer was known."""
        self._asked[known] += 1
        self.cache.labels("true" if known else "false").inc()

    def told(self, searching: Searching) -> None:
        """What answers now."""
        self.cache_ratio.set(self._asked[True] / max(sum(self._asked.values()), 1))
        state = searching.state()
        self.index.clear()
        self.items.clear()
        if state.version:
            self.index.labels(state.version).set(1)
        for modality, count in state.counts.items():
            self.items.labels(modality).set(count)
        self.refused.set(state.refused is not None)
