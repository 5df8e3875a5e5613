"""The model that answers: followed from the release record, loaded aside, and swapped only when it is known to work.

A model that cannot be loaded (other bytes, other features, no answer) is refused and the one before goes on serving; a
challenger that cannot be is refused and the champion serves all. What a canary's guards say is put on record here, away
from the requests.
"""

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import numpy.typing as npt

from convergence.errors import ConvergenceError, ModelError
from convergence.features.online_store import OnlineStoreError
from convergence.models.releases import Release
from convergence.privacy.masking import foreign
from convergence.serving.canary import Canary

log = logging.getLogger(__name__)

POLL = 0.25  # seconds


class Scores(Protocol):
    """A loaded model, such as `convergence.models.stored.Scorer`."""

    features: tuple[str, ...]
    sha256: str

    def score(self, values: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
        """Probabilities, shape (rows,)."""
        ...


@dataclass(frozen=True)
class Trial:
    """The challenger that `release` tries, its model, and what is known against it in this server."""

    release: Release
    challenger: Release
    scorer: Scores
    canary: Canary


@dataclass(frozen=True)
class Serving:
    """A release, its model, the namespace of the states, and the challenger that answers a share, if one is tried."""

    release: Release
    scorer: Scores
    namespace: str | None
    trial: Trial | None = None


class Champion:
    """Holds what serves now.

    Args:
        released: the newest release, None where there is none; ConvergenceError where it cannot be told.
        load: the model of a release; ModelError where it cannot be had.
        namespace: the namespace that was filled last for the view that this process computes; OnlineStoreError where
            it cannot be told.
        fingerprint: of the view version that this process computes.
        end_canary: put on record that the challenger of a release is tried no longer, and why. Doing it again, here or
            in another server, does no harm.
    """

    def __init__(
        self,
        released: Callable[[], Release | None],
        load: Callable[[Release], Scores],
        namespace: Callable[[], str | None],
        fingerprint: str,
        end_canary: Callable[[Release, str], None],
    ) -> None:
        self._end_canary = end_canary
        self._released, self._load, self._namespace = released, load, namespace
        self._fingerprint = fingerprint
        self.serving: Serving | None = None
        self.refused: str | None = None  # why the newest release does not serve
        self.refusals = 0
        self.storeless: str | None = None  # why the newest namespace is not known; the release serves all the same
        self.challenger_refused: str | None = None  # why the champion answers for the challenger too
        self.unrecorded: str | None = None  # why a verdict of the guards is not on record yet
        self._tried: tuple[Release, str] | None = None  # the newest that was refused, and why
        self._trial: Trial | None = None  # the newest: what its guards found holds as long as this server runs
        self._recorded: Trial | None = None
        self._untriable: Release | None = None
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def refresh(self) -> None:
        """Look once; load and swap where the release or its namespace is another."""
        try:
            self._record_verdict()
            self._look()
        except ConvergenceError as error:
            self._note(str(error))
        except Exception as error:  # whatever it is, requests are answered by what serves, and it is tried again
            self._note(f"{type(error).__name__}: {foreign(str(error))}", error)

    def _look(self) -> None:
        release = self._released()
        if release is None:
            self._note("nothing is released: promote a model first")
            return
        now = self.serving
        try:
            if now and now.release == release:
                trial = now.trial or self._tried_beside(release)
                namespace = self._newest_namespace(now)
                if (namespace, trial) != (now.namespace, now.trial):
                    self.serving = replace(now, namespace=namespace, trial=trial)
                self.refused = None
                return
            if self.refused and self._tried and self._tried[0] == release:
                self._note(self._tried[1])
                return  # it was refused before; another release is needed
            scorer = self._checked(release)
            self.serving = Serving(release, scorer, self._newest_namespace(now), self._tried_beside(release))
            self.refused = None
            log.info("serving %s, release %d", release.model_version, release.number)
        except ModelError as error:
            self._tried = release, str(error)
            self.refusals += 1
            self._note(str(error))

    def _newest_namespace(self, now: Serving | None) -> str | None:
        """The namespace that was filled last; that of `now` where there is none or it cannot be told."""
        before = now.namespace if now else None
        try:
            found = self._namespace()
        except OnlineStoreError as error:
            if self.storeless is None:
                log.error("the newest namespace is not known: %s", error)
            self.storeless = str(error)
            return before
        self.storeless = None
        return found or before

    def _tried_beside(self, release: Release) -> Trial | None:
        """The challenger of a release, loaded once; None where there is none, or it is refused."""
        challenger = release.challenger
        if challenger is None:
            self.challenger_refused = None
            return None
        if release == self._untriable:
            return None
        if self._trial is None or self._trial.release != release:
            try:
                self._trial = Trial(release, challenger, self._checked(challenger), Canary(release))
            except Exception as error:  # whatever it is, the champion serves all
                if str(error) != self.challenger_refused:
                    log.error("challenger %s is not tried: %s", challenger.model_version, error)
                self.challenger_refused = str(error)
                self._untriable = release if isinstance(error, ModelError) else None  # another may pass
                return None
        self.challenger_refused = None
        return self._trial

    def _record_verdict(self) -> None:
        """Put what the guards found on record; until that has worked, once at every look."""
        trial = self._trial
        if trial is None or trial is self._recorded or trial.canary.verdict is None:
            return
        try:
            self._end_canary(trial.release, trial.canary.verdict)
        except Exception as error:  # whatever it is, the challenger gets no request here, and it is tried again
            if str(error) != self.unrecorded:
                log.error("the end of the canary is not on record yet, it is tried again: %s", error)
            self.unrecorded = str(error)
            return
        self._recorded, self.unrecorded = trial, None
        log.warning("challenger %s is tried no longer: %s", trial.canary.challenger, trial.canary.verdict)

    def _checked(self, release: Release) -> Scores:
        """The loaded model, after it has answered once. Raises ModelError."""
        if release.fingerprint != self._fingerprint:
            raise ModelError(
                f"release {release.number} of {release.name} wants feature view {release.fingerprint}, this server "
                f"computes {self._fingerprint}: start the server from the code of that release"
            )
        scorer = self._load(release)
        if scorer.sha256 != release.sha256:
            raise ModelError(f"expected a model with sha256 {release.sha256}, found {scorer.sha256}: publish it anew")
        tried = scorer.score(np.full((1, len(scorer.features)), np.nan, np.float32))
        if tried.shape != (1,) or not 0 <= tried[0] <= 1:
            raise ModelError(
                f"model {release.model_version} answers {tried} for a row without values: not a probability"
            )
        return scorer

    def _note(self, why: str, unexpected: Exception | None = None) -> None:
        if why != self.refused:
            log.error("release not served: %s", why, exc_info=unexpected)
        self.refused = why

    def start(self) -> None:
        """Look now, and then again every POLL seconds, in a thread of its own."""
        self.refresh()
        self._thread = threading.Thread(target=self._follow, name="releases", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread; a verdict that is not on record yet is put there, if it can be."""
        self._stop.set()
        if self._thread:
            self._thread.join()
        self._record_verdict()

    def _follow(self) -> None:
        while not self._stop.wait(POLL):
            self.refresh()
