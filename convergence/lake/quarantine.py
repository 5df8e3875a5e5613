"""Rows that broke a contract, or could not be made, wait in a table beside the one that they were kept from."""

from collections.abc import Mapping

import polars as pl

from convergence.errors import ContractBroken
from convergence.lake.contracts import REJECTED, Judged
from convergence.lake.manifests import Provenance, build_manifest, record, states
from convergence.lake.tables import DAY, WHOLE, Lake, by_day


def quarantine(
    lake: Lake, table: str, judged: Judged, provenance: Provenance, set_aside: Mapping[str, pl.DataFrame]
) -> None:
    """Keep in `<table>_rejected` the offending rows of bad partitions and those set aside, and clear all others.

    What a partition had there is replaced. `set_aside`: as `by_partition` gives it.
    """
    name = f"{table}_rejected"
    base = lake.open(name)
    held = states(lake, [name])[name] if base else {}
    cleared = {key: pl.DataFrame(schema=REJECTED) for key in judged.good if key in held and held[key].rows}
    both = {key: pl.concat([judged.bad[key], set_aside[key]]) for key in judged.bad.keys() & set_aside.keys()}
    rows = {**cleared, **judged.bad, **set_aside, **both}
    if rows:
        lake.replace(name, rows, build_manifest(rows, "replace", provenance), base)
        record(lake, [name])


def by_partition(set_aside: pl.DataFrame, keys: list[str]) -> dict[str, pl.DataFrame]:
    """The rows that an asset set aside (columns REJECTED), cut into those partitions of `keys` that have any.

    Raises ContractBroken for other columns, for rows without a reason, and for rows outside `keys`.
    """
    if set_aside.schema != REJECTED or set_aside["reason"].null_count():
        raise ContractBroken(
            f"rows are set aside with the columns {dict(REJECTED)} and each with a reason; found "
            f"{dict(set_aside.schema)}. Build them with schema=REJECTED."
        )
    if set_aside.is_empty():
        return {}
    if keys == [WHOLE]:
        return {WHOLE: set_aside}
    found = by_day(set_aside.drop_nulls(DAY))
    if found.keys() - set(keys) or set_aside[DAY].null_count():
        raise ContractBroken(
            f"rows set aside belong to days outside {keys[0]} to {keys[-1]}, or to none. "
            f"Give each the {DAY} of the partition that it is missing from."
        )
    return found
