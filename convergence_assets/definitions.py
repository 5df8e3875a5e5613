"""Finds the use cases (folders without a leading underscore), merges them, adds resources, sensors and policy."""

from collections import ChainMap
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from types import ModuleType

import dagster as dg

from convergence.arrivals.topics import Topic
from convergence.versions.united import Derive
from resources.arrivals import overdue_when_silent
from resources.environments import resources, settings
from resources.lineage import with_column_lineage
from sensors.arrivals import arrival_sensor
from sensors.drift import drift_sensor
from sensors.reconcile import reconcile


def use_cases() -> Iterator[ModuleType]:
    """The `definitions` module of every use case, by name."""
    for found in iter_modules([str(Path(__file__).parent)]):
        if found.ispkg and not found.name.startswith("_"):
            yield import_module(f"convergence_assets.{found.name}.definitions")


def declared(name: str) -> list:
    """What each use case that has it declares under this name."""
    return [getattr(module, name) for module in use_cases() if hasattr(module, name)]


def topics() -> dict[str, Topic]:
    """Every topic that a use case declares as `TOPIC`."""
    return {topic.name: topic for topic in declared("TOPIC")}


def united() -> dict[str, Derive]:
    """What makes each dataset that can be asked as of this moment from the same days of its topic's raw table."""
    return dict(ChainMap(*declared("UNITED")))


def checks() -> list[dg.AssetChecksDefinition]:
    """Every stand-alone check: what can be run again without its asset."""
    return [c for each in declared("defs") for c in each.asset_checks or () if isinstance(c, dg.AssetChecksDefinition)]


defs = dg.Definitions.merge(
    *(module.defs for module in use_cases()),
    dg.Definitions(
        resources=resources(settings()),
        jobs=[dg.define_asset_job("checks", selection=dg.AssetSelection.checks(*checks()))],
        sensors=[arrival_sensor(topics().values()), reconcile, drift_sensor(declared("RETRAINING"))],
        executor=dg.in_process_executor,  # a process per step costs seconds each
    ),
)
if settings().kafka:  # one name: Dagster refuses a module with two Definitions
    defs = overdue_when_silent(defs, topics().values(), ChainMap(*declared("FRESH")))
defs = with_column_lineage(defs)
