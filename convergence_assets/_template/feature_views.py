"""The features of an event, declared once: computed by batch, backfill, checks and documentation alike."""

from datetime import timedelta

import narwhals as nw

from convergence.features.contract import feature_contract
from convergence.features.groups import FeatureTable
from convergence.features.views import Aggregate, FeatureView, RowExpression
from convergence_assets._template.contracts import TemplateEvent

_ENTITY, _WEEK = ("entity_id",), timedelta(days=7)

VIEW = FeatureView(
    "template_features",
    description="What was known about the entity when an event arrived",
    source="template_events",
    sequence="event_id",
    keep=("event_date", "event_id", "entity_id", "value"),
    aggregates=(
        Aggregate("count_7d", entity=_ENTITY, function="count", window=_WEEK,
                  description="Events of the entity in the last 7 days, this one included"),
        Aggregate("mean_7d", entity=_ENTITY, function="mean", column="value", resolution=0.01, window=_WEEK,
                  description="Mean value of the entity in the last 7 days"),
    ),
    expressions=(
        RowExpression("value_to_mean", nw.col("value") / nw.col("mean_7d"), "Value relative to the entity's mean"),
    ),
)  # fmt: skip

_SOURCES = {"template_events": TemplateEvent}
TemplateFeatures = feature_contract(VIEW, "TemplateFeatures", TemplateEvent, _SOURCES, module=__name__)
MODEL_INPUT = ("value", *VIEW.features)

VIEWS = (FeatureTable("template/template_features", VIEW, TemplateFeatures, MODEL_INPUT),)
