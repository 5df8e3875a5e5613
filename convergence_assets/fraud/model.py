"""The fraud model behind its gate: its assets, made of the declaration and the fit."""

from convergence_assets._parts.gated import Parameters, gated_model
from convergence_assets.fraud.arrivals import LAST_DAY
from convergence_assets.fraud.features import DAILY
from convergence_assets.fraud.model_contracts import CONTRACTS
from convergence_assets.fraud.training import fit, model_card, parameters_as_of
from convergence_assets.fraud.use_case import MODEL

FRAUD = gated_model(
    MODEL,
    fit=fit,
    last_day=LAST_DAY,
    features_days=DAILY,
    contracts=CONTRACTS,
    card=model_card,
    parameters=Parameters("fraud/fraud_parameters", parameters_as_of),
    code_version="3",
    kinds=frozenset({"xgboost", "mlflow"}),
)
