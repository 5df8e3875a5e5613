"""Releasing a model: the log first, then what repeats it: Redis for servers, MLflow for people.

The log decides; a mirror that cannot be told is named with what to do about it, and telling it again does no harm.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from convergence.lake.tables import Lake
from convergence.models import kept, release_log
from convergence.models.registry import Registry
from convergence.models.releasable import Releasable
from convergence.models.releases import Release, current, publish
from convergence.privacy.masking import without_secrets
from convergence.versions.audit import AuditLog, process_user

if TYPE_CHECKING:
    from redis import Redis


class Told(NamedTuple):
    """A release, and the mirrors that do not know of it yet: which, why, and the next step."""

    release: Release
    untold: list[str]


@dataclass(frozen=True)
class Releases:
    """Where releases of a lake are written and repeated. `redis` is asked for its client when it is needed.

    Who releases is the user of this process: a request or a run's config could name anybody.
    """

    lake: Lake
    redis: Callable[[], "Redis"]
    registry: Registry

    @property
    def log(self) -> AuditLog:
        """The audit log of the lake."""
        return AuditLog(self.lake.store)

    def promote(
        self,
        model: Releasable,
        *,
        reason: str,
        version: str | None = None,
        share: float | None = None,
        override: str | None = None,
    ) -> Told:
        """Make a version (default: the newest) champion, or with a `share` let it answer that part of the requests.

        Raises ModelError for a version that the gate refused, unless `override` says why it is released all the same.
        """
        candidate = model.candidate(self.lake, version)
        who = {"actor": process_user(), "reason": reason, "override": override}
        if share is None:
            release = release_log.promote(self.log, model.name, candidate, model.span(self.lake), **who)
        else:
            release = release_log.start_canary(self.log, model.name, candidate, share, **who)
        return self.tell(release)

    def rollback(self, model: Releasable, *, reason: str, to: str | None = None) -> Told:
        """Go back to the release before, or to the last one of a version. Raises ModelError where there is none."""
        span = model.span(self.lake)
        return self.tell(release_log.rollback(self.log, model.name, span, actor=process_user(), reason=reason, to=to))

    def end_canary(self, model: Releasable, version: str, *, reason: str) -> Told:
        """Take the requests of a challenger away."""
        ended = release_log.end_canary(self.log, model.name, version, actor=process_user(), reason=reason)
        return self.tell(ended)

    def tell(self, release: Release, *, force: bool = False) -> Told:
        """Repeat a release to Redis, then to MLflow: servers do not wait for the seconds that its import takes.

        `force`: also where Redis holds a higher number, which no release of this lake has.
        """
        from redis.exceptions import RedisError

        from convergence.errors import ConvergenceError

        untold, again = [], f"`convergence release publish {release.name}`"
        try:
            redis = self.redis()
            there = None if publish(redis, release, force=force) else current(redis, release.name)
            if there and there.number > (release_log.newest(self.log, release.name) or release).number:
                untold.append(
                    f"Redis, which holds release {there.number} ({there.model_version}); the log of this lake ends at "
                    f"{release.number}. Another lake's servers use this Redis: set CONVERGENCE_REDIS to one of its "
                    f"own; or the record is left over: {again[:-1]} --force`"
                )
        except (RedisError, OSError, ConvergenceError) as error:
            said = without_secrets(str(error))
            untold.append(f"Redis, so servers look into the log themselves or keep what they have ({said}): {again}")

        from mlflow.exceptions import MlflowException
        from sqlalchemy.exc import SQLAlchemyError

        try:
            self._catalogue(release)
        except (MlflowException, SQLAlchemyError, OSError, ConvergenceError) as error:
            untold.append(f"MLflow ({without_secrets(str(error))}): {again}")
        return Told(release, untold)

    def _catalogue(self, release: Release) -> None:
        previous, canary = release_log.previous(self.log, release.name), release.canary
        versions = {release.model_version: release.sha256}
        versions |= {previous.model_version: previous.sha256} if previous else {}
        versions |= {canary["model_version"]: canary["sha256"]} if canary else {}
        for version, sha256 in versions.items():
            source = f"{self.lake.root}/{kept.place(sha256)}"
            self.registry.register(release.name, version, sha256=sha256, source=source)
        aliases = {
            "champion": release.model_version,
            "previous": previous and previous.model_version,
            "challenger": canary and canary["model_version"],
        }
        self.registry.point(release.name, aliases)
