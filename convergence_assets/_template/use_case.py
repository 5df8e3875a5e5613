"""What the use case consists of."""

from datetime import date

from convergence.features.online_state import fingerprint
from convergence.lake.contracts import schema_of
from convergence.models.gated import GatedModel, Schedule
from convergence.models.tasks import Limits, binary
from convergence.use_case import UseCase
from convergence_assets._template.arrivals import FIRST_DAY, LAST_DAY, TOPIC
from convergence_assets._template.contracts import TemplateEvent
from convergence_assets._template.datasets import LABEL_DELAY, event_rows
from convergence_assets._template.feature_views import MODEL_INPUT, VIEW, VIEWS

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

USE_CASE = UseCase(
    name="template",
    owner="team:template",
    calendar=(FIRST_DAY, LAST_DAY),
    topics=(TOPIC,),
    models=(MODEL,),
    views=VIEWS,
    as_of_now={"template/template_events": event_rows},
)
