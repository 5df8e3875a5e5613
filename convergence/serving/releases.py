"""Where a server learns what to serve, and gets the model: Redis in one get, the release log where Redis is silent.

Before anything was ever released, the newest promotion of the gate serves, as release 0.
"""

from dataclasses import dataclass

from convergence.errors import ModelError, TableMissing
from convergence.features.online_store import OnlineStore, OnlineStoreError
from convergence.lake.tables import Lake
from convergence.models.release_log import newest, onnx
from convergence.models.releases import Release, current
from convergence.models.stored import Scorer, load
from convergence.serving.use_case import ServedModel
from convergence.versions.audit import AuditLog


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
