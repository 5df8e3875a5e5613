"""Merges what the use cases are as assets, and adds resources, sensors and policy."""

from importlib import import_module

import dagster as dg

from convergence_assets import declared, topics, use_cases
from convergence_assets._parts.gated import retraining
from resources.arrivals import overdue_when_silent
from resources.configured import resources
from resources.environments import settings
from resources.lineage import with_column_lineage
from sensors.arrivals import arrival_sensor
from sensors.drift import drift_sensor
from sensors.reconcile import reconcile

graphs: list[dg.Definitions] = [import_module(f"convergence_assets.{one.name}.definitions").defs for one in use_cases()]


def checks() -> list[dg.AssetChecksDefinition]:
    """Every stand-alone check: what can be run again without its asset."""
    return [c for each in graphs for c in each.asset_checks or () if isinstance(c, dg.AssetChecksDefinition)]


defs = dg.Definitions.merge(
    *graphs,
    dg.Definitions(
        resources=resources(settings()),
        jobs=[dg.define_asset_job("checks", selection=dg.AssetSelection.checks(*checks()))],
        sensors=[
            arrival_sensor(topics().values()),
            reconcile,
            drift_sensor(map(retraining, declared(lambda one: one.models))),
        ],
        executor=dg.in_process_executor,  # a process per step costs seconds each
    ),
)
if settings().kafka:  # one name: Dagster refuses a module with two Definitions
    defs = overdue_when_silent(defs, topics().values(), dict(declared(lambda one: one.fresh.items())))
defs = with_column_lineage(defs)
