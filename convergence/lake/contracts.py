"""Rows are judged before they are written: a partition with one bad row is bad as a whole, its neighbours are not.

A contract is a `pandera.polars.DataFrameModel`. Frames are always collected first: on a lazy frame Pandera checks the
schema only and lets bad values pass.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import pandera.polars as pa
import polars as pl
from pandera.api.polars.model_config import BaseConfig
from pandera.errors import SchemaErrors

from convergence.errors import ContractBroken
from convergence.lake.tables import DAY, WHOLE, by_day

Contract = type[pa.DataFrameModel]


class StrictColumns(BaseConfig):
    """Base of a contract's Config: columns are as declared, none missing, none extra."""

    strict = True


REJECTED = pl.Schema({DAY: pl.Date(), "reason": pl.String(), "row": pl.String()})


def schema_of(contract: Contract) -> pl.Schema:
    """Names and Polars types of a contract's columns, in order."""
    return pl.Schema({name: column.dtype.type for name, column in contract.to_schema().columns.items()})  # pyright: ignore


@dataclass(frozen=True)
class Judged:
    """Partitions that keep the contract, and the offending rows (REJECTED columns) of those that do not."""

    good: Mapping[str, pl.DataFrame]
    bad: Mapping[str, pl.DataFrame]


def judge(contract: Contract, frame: pl.DataFrame, keys: list[str]) -> Judged:
    """Cut a frame into the partitions `keys` and validate each. Raises ContractBroken for rows outside all of them."""
    if keys == [WHOLE]:
        parts = {WHOLE: frame}
    else:
        found = by_day(frame)
        strangers = sorted(set(found) - set(keys))
        if strangers:
            rows = sum(found[k].height for k in strangers)
            raise ContractBroken(
                f"{rows} of {frame.height} rows belong to {', '.join(strangers[:3])}, outside {keys[0]} to {keys[-1]}. "
                f"Filter the asset's result to the partitions of its run by {DAY}."
            )
        parts = {key: found.get(key, frame.head(0)) for key in keys}
    if not contract.to_schema().checks:  # rules of single rows and columns: one pass over the range, if all is well
        try:
            whole = contract.validate(frame, lazy=True)
            return Judged({WHOLE: whole} if keys == [WHOLE] else _cut(whole, keys), {})
        except SchemaErrors:
            pass  # at least one partition is bad: find out which
    good, bad = {}, {}
    for key, part in parts.items():
        try:
            good[key] = contract.validate(part, lazy=True)
        except SchemaErrors as error:
            bad[key] = offending_rows(part, error)
    return Judged(good, bad)


def offending_rows(frame: pl.DataFrame, error: SchemaErrors) -> pl.DataFrame:
    """The rows that break a rule, with the rules they break; all rows when the rule is about the frame as a whole."""
    cases = reasons(error)
    numbered = frame.with_row_index("index").with_columns(row=pl.struct(frame.columns).struct.json_encode())
    if DAY not in frame.columns:
        numbered = numbered.with_columns(pl.lit(None, pl.Date).alias(DAY))
    by_row = cases.drop_nulls("index").group_by("index", maintain_order=True).agg(pl.col("reason").str.join("; "))
    whole = "; ".join(cases.filter(pl.col("index").is_null())["reason"].unique(maintain_order=True))
    marked = numbered.join(by_row, on="index", how="left" if whole else "inner", maintain_order="left")
    return marked.with_columns(
        pl.concat_str("reason", pl.lit(whole or None), separator="; ", ignore_nulls=True)
    ).select(REJECTED.names())


def reasons(error: SchemaErrors) -> pl.DataFrame:
    """One row per broken rule and row: `index` (null for a rule about the whole frame) and `reason`, without values."""
    cases = pl.DataFrame(error.failure_cases)
    return cases.select(
        pl.col("index").cast(pl.UInt32),
        reason=pl.format("{}: {}", pl.col("column").fill_null("frame"), pl.col("check")),
    )


def _cut(frame: pl.DataFrame, keys: list[str]) -> dict[str, pl.DataFrame]:
    found = by_day(frame)
    return {key: found.get(key, frame.head(0)) for key in keys}
