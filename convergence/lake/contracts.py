"""Rows are judged before they are written: a partition with one bad row is bad as a whole, its neighbours are not.

A contract is a `pandera.polars.DataFrameModel`. Frames are always collected first: on a lazy frame Pandera checks the
schema only and lets bad values pass.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from functools import cache

import pandera.polars as pa
import polars as pl
import polars.selectors as cs
from pandera.api.polars.model_config import BaseConfig
from pandera.errors import SchemaError, SchemaErrors

from convergence.errors import ContractBroken
from convergence.lake.tables import DAY, WHOLE, by_day

Contract = type[pa.DataFrameModel]


class StrictColumns(BaseConfig):
    """Base of a contract's Config: columns are as declared, none missing, none extra."""

    strict = True

    def __init_subclass__(cls) -> None:
        cls.strict = True  # Pandera 0.35 reads what the Config itself defines, and nothing that it inherits


ROW_BY_ROW = "row by row"  # title of a frame's check that looks at each row alone; unsaid, it may look at all
_ROW_BY_ROW = {
    *("equal_to", "not_equal_to", "greater_than", "greater_than_or_equal_to", "less_than", "less_than_or_equal_to"),
    *("in_range", "isin", "notin", "str_matches", "str_contains", "str_startswith", "str_endswith", "str_length"),
}

REJECTED = pl.Schema({DAY: pl.Date(), "reason": pl.String(), "row": pl.String()})


def schema_of(contract: Contract) -> pl.Schema:
    """Names and Polars types of a contract's columns, in order."""
    return pl.Schema({name: column.dtype.type for name, column in contract.to_schema().columns.items()})  # pyright: ignore


def subjects_of(contract: Contract) -> dict[str, str]:
    """The column that names a data subject, by kind of subject: {"customer": "customer_id"}."""
    columns = contract.to_schema().columns
    return {str(c.metadata["subject"]): name for name, c in columns.items() if (c.metadata or {}).get("subject")}


@dataclass(frozen=True)
class Judged:
    """Partitions that keep the contract, and the offending rows (REJECTED columns) of those that do not."""

    good: Mapping[str, pl.DataFrame]
    bad: Mapping[str, pl.DataFrame]


def partitions_of(frame: pl.DataFrame, keys: list[str]) -> dict[str, pl.DataFrame]:
    """A frame cut into the partitions `keys`, empty ones too. Raises ContractBroken for rows outside all of them."""
    if keys == [WHOLE]:
        return {WHOLE: frame}
    if frame.schema.get(DAY) != pl.Date or frame[DAY].null_count():
        raise ContractBroken(
            f"the result must have a column {DAY} of type Date without nulls, found {frame.schema.get(DAY, 'none')}"
            f"{f' with {nulls} nulls' if (nulls := frame[DAY].null_count() if DAY in frame.columns else 0) else ''}. "
            "Derive it: event_time.dt.date()."
        )
    found = by_day(frame)
    strangers = sorted(set(found) - set(keys))
    if strangers:
        rows = sum(found[k].height for k in strangers)
        raise ContractBroken(
            f"{rows} of {frame.height} rows belong to {', '.join(strangers[:3])}, outside {keys[0]} to {keys[-1]}. "
            f"Filter the asset's result to the partitions of its run by {DAY}."
        )
    return {key: found.get(key, frame.head(0)) for key in keys}


def judge(contract: Contract, frame: pl.DataFrame, keys: list[str]) -> Judged:
    """Cut a frame into the partitions `keys` and validate each. Raises ContractBroken for rows outside all of them."""
    parts = partitions_of(frame, keys)
    if _is_row_by_row(contract):  # then one pass over the range will do, if all is well
        try:
            whole = _without_unique(contract).validate(frame, lazy=True)
            good = {WHOLE: whole} if keys == [WHOLE] else _cut(whole, keys)
            if all(part[name].n_unique() == part.height for name in _unique(contract) for part in good.values()):
                return Judged(good, {})
        except SchemaErrors:
            pass  # at least one partition is bad: find out which
    good, bad = {}, {}
    for key, part in parts.items():
        try:
            good[key] = _validated(contract, part)
        except SchemaErrors as error:
            bad[key] = offending_rows(part, error) if part.height else _without_rows(key, error)
    return Judged(good, bad)


def _validated(contract: Contract, frame: pl.DataFrame) -> pl.DataFrame:
    try:
        return contract.validate(frame, lazy=True)
    except pl.exceptions.SchemaError:  # Pandera 0.35 cannot list a broken rule of rows beside one of the whole frame
        try:
            return contract.validate(frame)
        except SchemaError as error:
            raise SchemaErrors(contract.to_schema(), [error], frame) from None  # pyright: ignore[reportArgumentType]


def offending_rows(frame: pl.DataFrame, error: SchemaErrors) -> pl.DataFrame:
    """The rows that break a rule, with the rules they break; all rows when the rule is about the frame as a whole."""
    cases = reasons(error)
    printable = frame.with_columns(cs.binary().bin.encode("base64"))  # JSON has no bytes
    numbered = frame.with_row_index("index").with_columns(
        printable.select(row=pl.struct(pl.all()).struct.json_encode())["row"]
    )
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
    about_columns = pl.col("check").is_in(["column_in_dataframe", "column_in_schema"])
    where = pl.when(about_columns).then(pl.col("failure_case").cast(pl.String)).otherwise("column")
    return cases.select(
        pl.col("index").cast(pl.UInt32),
        reason=pl.format("{}: {}", where.fill_null("frame"), pl.col("check")),
    )


def _without_rows(key: str, error: SchemaErrors) -> pl.DataFrame:
    day = date.fromisoformat(key) if key else None
    return pl.DataFrame(
        [(day, "; ".join(reasons(error)["reason"].unique(maintain_order=True)), None)], REJECTED, orient="row"
    )


def _is_row_by_row(contract: Contract) -> bool:
    """Whether no rule needs more than one row, so that a range which keeps the contract keeps it on every day."""
    schema = contract.to_schema()
    checks = [check for column in schema.columns.values() for check in column.checks]
    return all(check.title == ROW_BY_ROW for check in schema.checks or ()) and all(
        check.element_wise or check.name in _ROW_BY_ROW for check in checks
    )


def _unique(contract: Contract) -> list[str]:
    return [name for name, column in contract.to_schema().columns.items() if column.unique and not column.regex]


@cache
def _without_unique(contract: Contract) -> pa.DataFrameSchema:
    """All rules but unique columns, which Pandera takes ten times as long over as counting distinct values does."""
    return contract.to_schema().update_columns({name: {"unique": False} for name in _unique(contract)})


def _cut(frame: pl.DataFrame, keys: list[str]) -> dict[str, pl.DataFrame]:
    found = by_day(frame)
    return {key: found.get(key, frame.head(0)) for key in keys}
