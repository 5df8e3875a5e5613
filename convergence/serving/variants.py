"""The models that answer a request: the champion, or its challenger for a share, with reasons where they are asked for.

Whom a canary asked and what came of it goes to the exposure log and the metrics, beside the request.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from convergence.errors import ModelError
from convergence.models.releases import Release
from convergence.observability.context import bind
from convergence.observability.traces import OFF, Tracer
from convergence.serving.assignment import Exposure
from convergence.serving.canary import Score, Variant
from convergence.serving.champion import Scores, Serving
from convergence.serving.metrics import Metrics, timed
from convergence.serving.reasons import Reasons
from convergence.serving.served_log import ServedLog

Inputs = Callable[[Sequence[str]], npt.NDArray[np.float32]]  # names of inputs -> (rows, inputs)


class Given(NamedTuple):
    """Scores of a request's rows, the version that gave them, and reasons for each where they were asked for."""

    scores: npt.NDArray[np.float64]
    model_version: str
    reasons: list[list[dict[str, Any]]] | None


@dataclass(frozen=True)
class Variants:
    """Asks the model whose turn it is; threads may share it. `exposures` None: nothing is logged."""

    reasons: Reasons
    metrics: Metrics
    exposures: ServedLog | None
    run_of: Callable[[str], str | None] = lambda model_version: None  # the run that made a model, where it is known
    tracer: Tracer = OFF

    def answer(self, serving: Serving, unit: str, inputs: Inputs, *, reasons: bool = False) -> Given:
        """The scores of a request, whose id is `unit`.

        Raises what the champion raises, ModelError for rows that it cannot score; NotExplainable, NoReasons.
        """
        told: dict[Variant, list[list[dict[str, Any]]]] = {}

        def by(variant: Variant, release: Release, scorer: Scores) -> Score:
            def score() -> npt.NDArray[np.float64]:
                run = self.run_of(release.model_version) or (serving.trial and "unknown")  # not that of the other one
                bind(model_version=release.model_version, run_id=run)
                with self.tracer.span("model"), timed(self.metrics.model, "run_id"):
                    values = inputs(scorer.features)
                    scores = scorer.score(values)
                if scores.shape != (len(values),):
                    raise ModelError(f"{release.model_version} gives {scores.shape} scores for {len(values)} rows")
                if reasons:
                    with self.tracer.span("reasons"), timed(self.metrics.reasons, "run_id"):
                        told[variant] = self.reasons.of(release, scorer.features, values)
                return scores

            return score

        champion, trial = by("champion", serving.release, serving.scorer), serving.trial
        if trial is None:
            return Given(champion(), serving.release.model_version, told.get("champion"))
        challenger = by("challenger", trial.challenger, trial.scorer)
        scores, variant = trial.canary.answer(unit, champion, challenger, self._exposed)
        answering = trial.challenger if variant == "challenger" else serving.release
        return Given(scores, answering.model_version, told.get(variant))

    def _exposed(self, exposure: Exposure) -> None:
        self.metrics.trial.labels(exposure.experiment, exposure.variant, exposure.outcome).inc()
        self.metrics.trial_seconds.labels(exposure.variant).observe(exposure.seconds)
        if self.exposures:
            self.exposures.add([vars(exposure)])
