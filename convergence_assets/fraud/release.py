"""Releasing the fraud model: what `convergence promote` and `rollback` release, and the same from the UI."""

from convergence.models.releasable import Releasable
from convergence_assets.fraud.feature_views import TRANSACTION_FEATURES
from convergence_assets.fraud.online import FEATURES
from resources.release_job import release_job

RELEASABLE = Releasable(
    name="fraud_model",
    models="fraud/fraud_model",
    decisions="fraud/fraud_promotions",
    champions="fraud/fraud_champions",
    view=TRANSACTION_FEATURES.name,
    fingerprint=FEATURES.online.layout.fingerprint,
)

fraud_model_release = release_job(RELEASABLE)
