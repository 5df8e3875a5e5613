"""Rows that broke a contract wait in a table of their own, beside the one that they were kept from."""

import polars as pl

from convergence.lake.contracts import REJECTED, Judged
from convergence.lake.manifests import Provenance, build_manifest, record, states
from convergence.lake.tables import Lake


def quarantine(lake: Lake, table: str, judged: Judged, provenance: Provenance) -> None:
    """Keep the offending rows of bad partitions in `<table>_rejected`, and clear those of partitions now good."""
    name = f"{table}_rejected"
    base = lake.open(name)
    held = states(lake, [name])[name] if base else {}
    cleared = {key: pl.DataFrame(schema=REJECTED) for key in judged.good if key in held and held[key].rows}
    rows = {**judged.bad, **cleared}
    if rows:
        lake.replace(name, rows, build_manifest(rows, "replace", provenance), base)
        record(lake, [name])
