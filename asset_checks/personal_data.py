"""The check for personal data where nobody declared them: values in text columns whose contract has no `pii` tag.

It never blocks: the rows are written, what they need is a person's decision, and a day's scores must not wait for it.
"""

from collections.abc import Iterator
from datetime import date
from typing import Any

import dagster as dg
import polars as pl

from convergence.errors import ConvergenceError
from convergence.lake.contracts import Contract, schema_of
from convergence.lake.tables import DAY
from convergence.privacy.detection import CERTAIN, find
from resources.contract_files import contract_of
from resources.keys import table_of
from resources.lake import failures

_NEXT_STEP = (
    'Declare the column in its contract: {"pii": "identifier"}, with "subject" where it names somebody, so that it '
    'can be found and erased; or keep such values out where rows arrive; or, if they only look so, {"pii": "none"}.'
)


def undeclared(contract: Contract) -> list[str]:
    """The text columns of a contract that have no `pii` tag."""
    columns = contract.to_schema().columns
    return [
        name
        for name, kind in schema_of(contract).items()
        if kind == pl.String and not (columns[name].metadata or {}).get("pii")
    ]


def personal_data_check(asset: dg.AssetsDefinition) -> dg.AssetChecksDefinition:
    """A check `personal_data` on a daily table.

    What check digits or the form of an address confirm fails with ERROR, what only looks like a telephone with WARN.
    Raises ConvergenceError for a table in which it could find nothing.
    """
    key = asset.key
    contract = contract_of(asset.specs_by_key[key])
    columns = undeclared(contract) if contract else []
    if not columns:
        raise ConvergenceError(f"{table_of(key)} has no text column without a pii tag: leave its personal_data out")
    spec = dg.AssetCheckSpec(
        "personal_data",
        asset=key,
        description="No address, telephone, IBAN or payment card stands in a text column that is not tagged pii.",
        partitions_def=asset.partitions_def,  # pyright: ignore[reportCallIssue]
    )

    @dg.multi_asset_check(specs=[spec], required_resource_keys={"lake"}, name=f"{key.path[-1]}_personal_data")
    def personal_data(context: dg.AssetCheckExecutionContext) -> Iterator[Any]:
        keys = list(context.partition_keys)
        with failures():
            found = find(context.resources.lake.lake.scan(table_of(key), keys).select(DAY, *columns).collect(), columns)
        for day in keys if len(keys) > 1 else ():
            yield dg.AssetCheckEvaluation(
                asset_key=key,
                check_name="personal_data",
                partition=day,
                **_verdict(found.filter(pl.col(DAY) == date.fromisoformat(day)), columns),
            )
        yield dg.AssetCheckResult(asset_key=key, check_name="personal_data", **_verdict(found, columns))

    return personal_data


def _verdict(found: pl.DataFrame, columns: list[str]) -> dict[str, Any]:
    """What the check says of FOUND rows: nothing of the text but first and last characters."""
    places = found.group_by("column", "kind").agg(pl.col("rows").sum(), pl.col("example").first())
    rows = list(places.sort("column", "kind").iter_rows(named=True))
    said = [f"{r['column']}: {r['kind']} in {r['rows']} rows, such as {r['example']}" for r in rows]
    certain = any(r["kind"] in CERTAIN for r in rows)
    table = {"found": dg.MetadataValue.table([dg.TableRecord(r) for r in rows])} if rows else {}
    return {
        "passed": not rows,
        "severity": dg.AssetCheckSeverity.ERROR if certain or not rows else dg.AssetCheckSeverity.WARN,
        "description": "\n".join([*said, _NEXT_STEP]) if rows else None,
        "metadata": {"columns_searched": len(columns), **table},
    }
