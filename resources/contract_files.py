"""The contracts of the graph as documents: what the files in `contracts/` must say, one for each use case."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import timedelta
from importlib import import_module

import dagster as dg

from convergence.contracts.changes import Consumers
from convergence.contracts.standard import Table
from convergence.errors import ConvergenceError
from convergence.lake.contracts import Contract
from resources.keys import table_of

_DAYS = {dg.DailyPartitionsDefinition: 1, dg.WeeklyPartitionsDefinition: 7}


def contract_of(spec: dg.AssetSpec) -> Contract | None:
    """The Pandera model of a lake table; None for assets that are none. Raises ConvergenceError if it is not there."""
    named = spec.metadata.get("contract")
    named = named.value if isinstance(named, dg.MetadataValue) else named
    if not named:
        return None
    module, _, name = str(named).rpartition(".")
    if model := getattr(import_module(module), name, None):
        return model
    raise ConvergenceError(
        f"{table_of(spec.key)} names {named} as its contract, and {module} has no {name}: name it so"
    )


def promised(
    specs: Iterable[dg.AssetSpec], consumers: Consumers, fresh: Mapping[str, timedelta]
) -> dict[str, list[Table]]:
    """The tables of each use case that have a contract. `fresh`: how long after its last run a table is overdue."""
    found: dict[str, list[Table]] = defaultdict(list)
    for spec in specs:
        if contract := contract_of(spec):
            table = table_of(spec.key)
            late = fresh.get(table)
            found[table.partition("/")[0]].append(
                Table(
                    name=table,
                    contract=contract,
                    description=(spec.description or "").split("\n")[0],
                    layer=spec.tags.get("layer", ""),
                    owners=tuple(spec.owners),
                    every_days=_DAYS.get(type(spec.partitions_def)),  # pyright: ignore[reportArgumentType]
                    late_after_hours=late.total_seconds() / 3600 if late else None,
                    consumers=consumers(table, None),
                )
            )
    return dict(found)
