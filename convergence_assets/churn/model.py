"""The churn model behind its gate: its assets, made of the declaration and the fit."""

from convergence_assets._parts.gated import Parameters, gated_model
from convergence_assets.churn.arrivals import LAST_DAY
from convergence_assets.churn.features import DAILY
from convergence_assets.churn.model_contracts import CONTRACTS
from convergence_assets.churn.training import fit, model_card, parameters_as_of
from convergence_assets.churn.use_case import MODEL

CHURN = gated_model(
    MODEL,
    fit=fit,
    last_day=LAST_DAY,
    features_days=DAILY,
    contracts=CONTRACTS,
    card=model_card,
    parameters=Parameters("churn/churn_leaderboard", parameters_as_of),
    kinds=frozenset({"xgboost", "mlflow"}),
)
