"""Where a server learns what to serve, and gets the model: the release log says what, Redis says when to read it.

Only the log's release serves: Redis can be lost, restored to an older one, or shared with another lake. One get tells
whether it has another record than the log had; if it is behind, it is told. What a canary's guards found goes the other
way: to the log first, then to Redis for the other servers.

Before anything was ever released, the newest promotion of the gate serves, as release 0.
"""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import polars as pl

from convergence.errors import ModelError, TableMissing
from convergence.features.online_store import OnlineStore, OnlineStoreError
from convergence.lake.tables import Lake
from convergence.models.kept import onnx, trees
from convergence.models.release_log import end_canary, newest
from convergence.models.releases import Release, current, publish
from convergence.models.stored import Scorer, load
from convergence.privacy.masking import foreign
from convergence.serving.use_case import ServedModel
from convergence.versions.audit import AuditLog

GUARD = "guard"  # who ends a canary in the audit log
LOG_EVERY, LOG_ALONE_EVERY = 10.0, 1.0  # seconds between two looks into the log; and where Redis is silent

log = logging.getLogger(__name__)


@dataclass
class ReleaseSource:
    """The newest release of a model and its scorer; one thread asks."""

    served: ServedModel
    lake: Lake
    store: OnlineStore
    clock: Callable[[], float] = time.monotonic
    _newest: Release | None = field(default=None, init=False)  # as the log had it
    _read_at: float = field(default=float("-inf"), init=False)
    _heard: Release | None = field(default=None, init=False)  # from Redis, when the log was read
    _unread: Exception | None = field(default=None, init=False)  # why the log could not be read
    _said: str | None = field(default=None, init=False)

    def released(self) -> Release | None:
        """What is released; None where nothing is, and nothing was promoted.

        The log is read at first, every LOG_EVERY seconds, and as soon as Redis has another record than it had. While
        it cannot be read, the release that it had or that Redis has is the one. Raises LakeError and whatever else it
        cannot be read for where there is neither, or the two differ.
        """
        told, answers = None, True
        try:
            told = self.store.asked(lambda: current(self.store.redis, self.served.name))
        except OnlineStoreError:
            answers = False
        except ModelError as error:
            self._say(f"{error}; the log decides")
        news = answers and told not in (self._heard, self._newest)
        every = LOG_EVERY if answers and self._unread is None else LOG_ALONE_EVERY
        if news or self.clock() - self._read_at >= every:
            self._read_at, self._heard = self.clock(), told
            try:
                self._newest = newest(AuditLog(self.lake.store), self.served.name) or self._promoted()
            except Exception as error:  # whatever it is, what is known serves
                self._say(f"the release log cannot be read ({type(error).__name__}: {foreign(str(error))})")
                self._unread = error
            else:
                self._unread = None
                if answers:
                    self._correct(told)
        if self._unread is None:
            return self._newest
        known = [release for release in (self._newest, told) if release]
        if not known or known[0] != known[-1]:
            raise self._unread.with_traceback(None)
        return known[0]

    def load(self, release: Release) -> Scorer:
        """The model of a release, checked against its hash and the inputs. Raises ModelError."""
        blob = onnx(self.lake.store, release.sha256) if release.number else self._decisions("onnx")[0]
        return load(blob, sha256=release.sha256, features=self.served.inputs)

    def trees(self, release: Release) -> str | None:
        """The trees of a release's model as XGBoost JSON; None where it has none. Raises ModelError, LakeError."""
        if release.number:
            return trees(self.lake.store, release.sha256)
        decisions = self.lake.scan(self.served.decisions)
        if "model" not in decisions.collect_schema():
            return None
        found = decisions.filter(pl.col("sha256") == release.sha256).select("model").tail(1).collect()
        return found.item() if found.height else None

    def end_canary(self, release: Release, reason: str) -> None:
        """Put on record, once, that the challenger of a release is tried no longer, and tell the other servers.

        Raises LakeError, OnlineStoreError; doing it again does no harm.
        """
        if release.canary is None:
            return
        log, version = AuditLog(self.lake.store), release.canary["model_version"]
        ended = end_canary(log, release.name, version, actor=GUARD, reason=reason, release=release.number)
        self.store.asked(lambda: publish(self.store.redis, ended))

    def _correct(self, told: Release | None) -> None:
        """Tell Redis what the log says; say it where Redis holds a release that the log does not have."""
        release, name = self._newest, self.served.name
        if told == release:
            self._said = None
            return
        if release is not None and release.number:
            try:
                if self.store.asked(lambda: publish(self.store.redis, release)):
                    return
            except OnlineStoreError:
                return  # it is told with the next look
        if told is not None:
            self._say(
                f"Redis has release {told.number} of {name}, the log of this lake ends at "
                f"{release.number if release else 0}: the log is followed. Another lake uses this Redis, or the record "
                f"is left over: `convergence release publish {name} --force`"
            )

    def _say(self, what: str) -> None:
        if what != self._said:
            log.error("%s", what)
        self._said = what

    def _promoted(self) -> Release | None:
        try:
            version, sha256 = self._decisions("model_version", "sha256")
        except TableMissing:
            return None
        layout = self.store.layout
        namespace = f"{layout.view.name}/{layout.fingerprint}"
        return Release(self.served.name, 0, version, sha256, layout.view.name, layout.fingerprint, namespace)

    def _decisions(self, *columns: str) -> tuple:
        rows = self.lake.scan(self.served.decisions).sort("valid_from", "decided_at").tail(1).select(*columns).collect()
        if rows.is_empty():
            raise ModelError(f"{self.served.decisions} is empty: materialize it first")
        return rows.row(0)
