"""Releasing from the UI: a job per model that promotes a version or rolls back, by the functions of the commands."""

from enum import Enum

import dagster as dg

from convergence.models.releasable import Releasable
from convergence.models.releasing import Releases
from resources.lake import failures


class Action(Enum):
    """What to do."""

    promote = "promote"
    rollback = "rollback"


class ReleaseConfig(dg.Config):
    """What the audit log will say."""

    action: Action
    reason: str
    version: str | None = None  # promote: the newest; rollback: the release before the present one
    override: str | None = None  # promote a version that the gate refused, and why


def release_job(model: Releasable) -> dg.JobDefinition:
    """The job `<model>_release` with the op `release_<model>`; the run's config says what and why, never who."""

    @dg.op(name=f"release_{model.name}", required_resource_keys={"lake", "online", "experiments"})
    def release(context: dg.OpExecutionContext, config: ReleaseConfig) -> None:
        """Promote a version, or roll back: one entry of the audit log, then Redis and MLflow are told."""
        releases = Releases(
            context.resources.lake.lake, context.resources.online.client, context.resources.experiments.plain
        )  # fmt: skip
        with failures():
            if config.action is Action.promote:
                told = releases.promote(model, reason=config.reason, version=config.version, override=config.override)
            else:
                told = releases.rollback(model, reason=config.reason, to=config.version)
        context.add_output_metadata({"release": told.release.number, "model_version": told.release.model_version})
        if told.untold:
            raise dg.Failure(
                f"release {told.release.number} is made, but not everybody was told: {'; '.join(told.untold)}",
                allow_retries=False,
            )

    @dg.job(name=f"{model.name}_release", description=f"Promote or roll back {model.name}: config says what and why.")
    def job() -> None:
        release()

    return job
