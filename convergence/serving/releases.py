"""Where a server learns what to serve, and gets the model: Redis in one get, the release log where Redis is silent.

What a canary's guards found goes the other way: to the log first, then to Redis for the other servers.

Before anything was ever released, the newest promotion of the gate serves, as release 0.
"""

from dataclasses import dataclass

import polars as pl

from convergence.errors import ModelError, TableMissing
from convergence.features.online_store import OnlineStore, OnlineStoreError
from convergence.lake.tables import Lake
from convergence.models.kept import onnx, trees
from convergence.models.release_log import end_canary, newest
from convergence.models.releases import Release, current, publish
from convergence.models.stored import Scorer, load
from convergence.serving.use_case import ServedModel
from convergence.versions.audit import AuditLog

GUARD = "guard"  # who ends a canary in the audit log


@dataclass(frozen=True)
class ReleaseSource:
    """The newest release of a model and its scorer."""

    served: ServedModel
    lake: Lake
    store: OnlineStore

    def released(self) -> Release | None:
        """What is released; None where nothing is, and nothing was promoted. Raises ModelError, LakeError."""
        try:
            told = self.store.asked(lambda: current(self.store.redis, self.served.name))
        except OnlineStoreError:
            told = None
        return told or newest(AuditLog(self.lake.store), self.served.name) or self._promoted()

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
