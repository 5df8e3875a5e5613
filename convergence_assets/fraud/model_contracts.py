"""What the tables of the fraud model hold, as its declaration has it."""

from convergence.models.gated_contracts import contracts
from convergence_assets.fraud.contracts import FraudModel, ScoredTransaction, ServedFraudModel
from convergence_assets.fraud.use_case import MODEL

CONTRACTS = contracts(MODEL, version=FraudModel, carried=ServedFraudModel, row=ScoredTransaction, module=__name__)
_, FraudPromotion, FraudChampion, FraudScore, FraudScorePerformance, _ = CONTRACTS
