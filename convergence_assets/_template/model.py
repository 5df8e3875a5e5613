"""The model behind its gate: what its tables hold, and its assets, made of the declaration and the fit."""

from convergence.models.gated_contracts import ServedForm, TrainedModel, contracts
from convergence_assets._parts.gated import gated_model
from convergence_assets._template.arrivals import LAST_DAY
from convergence_assets._template.contracts import ScoredTemplateEvent
from convergence_assets._template.features import DAILY
from convergence_assets._template.training import fit
from convergence_assets._template.use_case import MODEL

CONTRACTS = contracts(MODEL, version=TrainedModel, carried=ServedForm, row=ScoredTemplateEvent, module=__name__)
_, TemplatePromotion, TemplateChampion, TemplateScore, _, _ = CONTRACTS

GATED = gated_model(MODEL, fit=fit, last_day=LAST_DAY, features_days=DAILY, contracts=CONTRACTS)
