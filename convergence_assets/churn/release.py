"""Releasing the churn model: what `convergence promote` and `rollback` release, and the same from the UI."""

from convergence.features.online_state import fingerprint
from convergence.lake.contracts import schema_of
from convergence.models.releasable import Releasable
from convergence_assets.churn.contracts import Account, KnownLabel
from convergence_assets.churn.feature_views import CUSTOMER_FEATURES
from resources.release_job import release_job

RELEASABLE = Releasable(
    name="churn_model",
    models="churn/churn_model",
    decisions="churn/churn_promotions",
    champions="churn/churn_champions",
    view=CUSTOMER_FEATURES.name,
    fingerprint=fingerprint(CUSTOMER_FEATURES, {"accounts": schema_of(Account), "churn_labels": schema_of(KnownLabel)}),
)

churn_model_release = release_job(RELEASABLE)
