"""What the use case consists of: its calendar, and the model behind its gate."""

from datetime import date, timedelta

from convergence.features.online_state import fingerprint
from convergence.lake.contracts import schema_of
from convergence.models.gated import GatedModel, Schedule
from convergence.models.tasks import Limits, binary
from convergence_assets._template.contracts import TemplateEvent
from convergence_assets._template.feature_views import MODEL_INPUT, VIEW

FIRST_DAY, LAST_DAY = date(2024, 1, 1), date(2024, 2, 11)
LABEL_DELAY = timedelta(days=1)

MODEL = GatedModel(
    use_case="template",
    name="template_model",
    task=binary("outcome", "event_id", limits=Limits(of_baseline=1.2)),
    schedule=Schedule(
        first=date(2024, 1, 29),
        last=date(2024, 2, 5),
        training_days=14,
        gate_days=7,
        delay_days=LABEL_DELAY.days,
        oldest_champion_days=14,
    ),
    features="template/template_features",
    labels="template/template_labels",
    inputs=MODEL_INPUT,
    view=VIEW.name,
    fingerprint=fingerprint(VIEW, {"template_events": schema_of(TemplateEvent)}),
    window_days=(7,),  # a day alone says too little
)
