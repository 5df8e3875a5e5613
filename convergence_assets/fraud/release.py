"""Releasing the fraud model: what `convergence promote` and `rollback` release, and the same from the UI."""

from enum import Enum

import dagster as dg

from convergence.models.releasable import Releasable
from convergence_assets.fraud.feature_views import TRANSACTION_FEATURES
from convergence_assets.fraud.online import FEATURES
from resources.lake import failures
from resources.releases import Releases

RELEASABLE = Releasable(
    name="fraud_model",
    models="fraud/fraud_model",
    decisions="fraud/fraud_promotions",
    champions="fraud/fraud_champions",
    view=TRANSACTION_FEATURES.name,
    fingerprint=FEATURES.online.layout.fingerprint,
)


class Action(Enum):
    """What to do."""

    promote = "promote"
    rollback = "rollback"


class ReleaseConfig(dg.Config):
    """What the audit log will say."""

    action: Action
    actor: str  # who does it
    reason: str
    version: str | None = None  # promote: the newest; rollback: the release before the present one
    override: str | None = None  # promote a version that the gate refused, and why


@dg.op(required_resource_keys={"lake", "online", "experiments"})
def release_fraud_model(context: dg.OpExecutionContext, config: ReleaseConfig) -> None:
    """Promote a version, or roll back: one entry of the audit log, then Redis and MLflow are told."""
    releases = Releases(
        context.resources.lake.lake, context.resources.online.client, context.resources.experiments
    )  # fmt: skip
    with failures():
        if config.action is Action.promote:
            told = releases.promote(
                RELEASABLE, actor=config.actor, reason=config.reason, version=config.version, override=config.override
            )
        else:
            told = releases.rollback(RELEASABLE, actor=config.actor, reason=config.reason, to=config.version)
    context.add_output_metadata({"release": told.release.number, "model_version": told.release.model_version})
    if told.untold:
        raise dg.Failure(
            f"release {told.release.number} is made, but not everybody was told: {'; '.join(told.untold)}",
            allow_retries=False,
        )


@dg.job
def fraud_model_release() -> None:
    """Promote or roll back the fraud model; the run's config says who, what and why."""
    release_fraud_model()
