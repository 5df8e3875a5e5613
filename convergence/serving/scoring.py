"""One request from rows to answer: features, score, and the line that lets the parity check repeat it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import numpy.typing as npt

from convergence.errors import ConvergenceError
from convergence.features.keys import microseconds_of, time_of
from convergence.features.online import OnlineView, Row
from convergence.observability.traces import OFF, Tracer
from convergence.serving.champion import Champion, Serving, Trial
from convergence.serving.metrics import Metrics, timed
from convergence.serving.reading import FeatureReader, Vectors
from convergence.serving.served_log import ServedLog
from convergence.serving.variants import Variants


class NotReady(ConvergenceError):
    """No model can answer."""


def row_of(given: Mapping[str, Any], now: datetime) -> dict[str, Any]:
    """A row of a view's source from what was asked: times as microseconds; it arrives `now` if it does not say."""
    arrived = given.get("arrived_at") or now
    return {
        **given,
        "event_time": microseconds_of(given["event_time"]),
        "arrived_at": microseconds_of(arrived),
    }


@dataclass(frozen=True)
class Scoring:
    """Answers for one use case; threads may share it. `log` None: nothing is logged."""

    use_case: str
    online: OnlineView
    reader: FeatureReader
    champion: Champion
    variants: Variants
    metrics: Metrics
    log: ServedLog | None
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    tracer: Tracer = OFF

    def row(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """A row of the view's source from a request that arrives now."""
        return row_of(given, self.now())

    def score(self, rows: Sequence[Row], request_id: str, *, reasons: bool = False) -> dict[str, Any]:
        """Scores of rows, with all that they came from; `reasons`: and why each is what it is.

        Raises NotReady where no model is loaded; NotExplainable or NoReasons where reasons cannot be given.
        """
        serving = self._serving()
        found = self._vectors(serving.namespace, rows)
        given = self.variants.answer(
            serving, request_id, lambda names: self._inputs(names, rows, found.values), reasons=reasons
        )
        about = self._about(serving, found, request_id) | {"model_version": given.model_version}
        self._write(about, rows, found, given.scores)
        key = self.online.view.sequence
        answers = zip(rows, given.scores.tolist(), found.hits, strict=True)
        scores = [{key: row[key], "score": score, "cache_hit": hit} for row, score, hit in answers]
        if given.reasons is not None:
            scores = [{**score, "reasons": why} for score, why in zip(scores, given.reasons, strict=True)]
        return {**about, "scores": scores}

    def features(self, rows: Sequence[Row], names: Sequence[str], request_id: str) -> dict[str, Any]:
        """Features of rows as `score` would use them; names of the view's features."""
        serving = self.champion.serving
        namespace = serving.namespace if serving else self.reader.store.newest()
        found = self._vectors(namespace, rows)
        about = self._about(serving, found, request_id)
        self._write(about, rows, found, None)
        places = [self.online.view.features.index(name) for name in names]
        key = self.online.view.sequence
        answers = zip(rows, found.values[:, places].tolist(), found.hits, strict=True)
        named = [
            {key: row[key], "features": dict(zip(names, map(or_none, values), strict=True)), "cache_hit": hit}
            for row, values, hit in answers
        ]
        return {**about, "rows": named}

    def health(self) -> dict[str, Any]:
        """What works and what does not; `usable` is whether scores can be given from real features."""
        serving, problems = self.champion.serving, []
        if serving is None:
            problems.append(f"no model: {self.champion.refused or 'none was looked for yet'}")
        elif self.champion.refused:
            problems.append(f"the newest release is refused: {self.champion.refused}")
        if self.champion.storeless:
            problems.append(f"the newest namespace is not known: {self.champion.storeless}")
        if self.champion.challenger_refused:
            problems.append(f"the challenger is not tried: {self.champion.challenger_refused}")
        if self.champion.unrecorded:
            problems.append(f"the end of the canary is not on record yet: {self.champion.unrecorded}")
        store = self.reader.vectors(serving.namespace if serving else None, [])
        if store.degraded:
            problems.append(f"no features: {store.degraded}")
        return {
            "usable": serving is not None and store.degraded is None,
            "model_version": serving and serving.release.model_version,
            "release": serving and serving.release.number,
            "canary": serving and serving.trial and _trial(serving.trial),
            "state": _state(serving and serving.namespace, store),
            "problems": problems,
        }

    def _serving(self) -> Serving:
        serving = self.champion.serving
        if serving is None:
            raise NotReady(f"no model is loaded: {self.champion.refused or 'the server has only begun'}")
        return serving

    def _vectors(self, namespace: str | None, rows: Sequence[Row]) -> Vectors:
        with self.tracer.span("features") as span:
            with timed(self.metrics.features, "request_id"):
                found = self.reader.vectors(namespace, rows)
            span.set(rows=len(rows), degraded=found.degraded)
        self.metrics.rows.labels("true" if found.degraded else "false").inc(len(rows))
        if found.meta:
            self.metrics.feature_age.set((microseconds_of(self.now()) - found.meta.newest) / 1e6)
        return found

    def _inputs(
        self, names: Sequence[str], rows: Sequence[Row], values: npt.NDArray[np.float64]
    ) -> npt.NDArray[np.float32]:
        """A model's inputs by their names, shape (rows, inputs): features, and columns of the row itself."""
        place = {name: n for n, name in enumerate(self.online.view.features)}
        columns = [
            values[:, place[name]] if name in place else np.array([row[name] for row in rows], np.float64)
            for name in names
        ]
        return np.column_stack(columns).astype(np.float32)

    def _about(self, serving: Serving | None, found: Vectors, request_id: str) -> dict[str, Any]:
        return {
            "request_id": request_id,
            "model_version": serving and serving.release.model_version,
            "release": serving and serving.release.number,
            "view": self.online.view.name,
            "fingerprint": self.online.layout.fingerprint,
            "state": _state(serving and serving.namespace, found),
            "degraded": found.degraded is not None,
            "degraded_reason": found.degraded,
        }

    def _write(
        self,
        about: Mapping[str, Any],
        rows: Sequence[Row],
        found: Vectors,
        scores: npt.NDArray[np.float64] | None,
    ) -> None:
        if self.log is None:
            return
        at, meta = self.now().isoformat(), found.meta and asdict(found.meta)
        shared = {"at": at, **about, "meta": meta}
        given = scores.tolist() if scores is not None else [None] * len(rows)
        columns = self.online.inputs
        self.log.add(
            [
                {
                    **shared,
                    "row": {column: row[column] for column in columns},
                    "features": list(map(or_none, values)),
                    "cache_hit": hit,
                    "score": score,
                }
                for row, values, hit, score in zip(rows, found.values.tolist(), found.hits, given, strict=True)
            ]
        )


def _trial(trial: Trial) -> dict[str, Any]:
    canary = trial.canary
    return {"model_version": canary.challenger, "share": canary.shares["challenger"], "verdict": canary.verdict}


def _state(namespace: str | None, found: Vectors) -> dict[str, Any] | None:
    meta = found.meta
    if meta is None:
        return None
    return {
        "namespace": namespace,
        "table": meta.table,
        "generation": meta.generation,
        "version": meta.version,
        "newest_event": time_of(meta.newest).isoformat(),
        "exact_from": time_of(meta.floor).isoformat(),
    }


def or_none(value: float) -> float | None:
    """The value, or None for NaN, which JSON does not have."""
    return None if value != value else value  # noqa: PLR0124
