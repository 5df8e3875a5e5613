"""The gate's verdict as a check on the table of its decisions, with the rules as a table.

It blocks where nobody may serve, or a decision contradicts its own rules. A refused challenger is only a warning: the
champion serves on, and what is downstream goes on with it.
"""

import json
from collections.abc import Iterator
from typing import Any

import dagster as dg
import polars as pl

from convergence.lake.tables import DAY
from resources.keys import table_of
from resources.lake import failures


def gate_check(asset: dg.AssetsDefinition) -> dg.AssetChecksDefinition:
    """A blocking check `gate` on decisions: event_date, challenger_version, promoted, reason, gate (JSON)."""
    key = asset.key
    spec = dg.AssetCheckSpec(
        "gate",
        asset=key,
        blocking=True,
        description="Every rule of the gate holds; a refused challenger warns, a day that nobody may serve blocks.",
        partitions_def=asset.partitions_def,  # pyright: ignore[reportCallIssue]
    )

    @dg.multi_asset_check(specs=[spec], required_resource_keys={"lake"}, name=f"{key.path[-1]}_gate")
    def gate(context: dg.AssetCheckExecutionContext) -> Iterator[Any]:
        keys = list(context.partition_keys)
        with failures():
            decisions = context.resources.lake.lake.scan(table_of(key), keys).collect()
        verdicts = {day: _verdict(decisions.filter(pl.col(DAY).cast(pl.String) == day)) for day in keys}
        for day, (severity, words, rules) in verdicts.items() if len(keys) > 1 else ():
            yield dg.AssetCheckEvaluation(
                asset_key=key,
                check_name="gate",
                passed=severity is None,
                severity=severity or dg.AssetCheckSeverity.ERROR,
                blocking=True,
                partition=day,
                metadata={"reason": words, "rules": _table(rules)},
            )
        severities = {severity for severity, _, _ in verdicts.values() if severity}
        blocks = dg.AssetCheckSeverity.ERROR in severities or not severities
        yield dg.AssetCheckResult(
            asset_key=key,
            check_name="gate",
            passed=not severities,
            severity=dg.AssetCheckSeverity.ERROR if blocks else dg.AssetCheckSeverity.WARN,
            description="\n".join(words for severity, words, _ in verdicts.values() if severity) or None,
            metadata={"rules": _table([r for _, _, rules in verdicts.values() for r in rules])},
        )

    return gate


def _verdict(decisions: pl.DataFrame) -> tuple[dg.AssetCheckSeverity | None, str, list[dict[str, Any]]]:
    """How bad it is (None: not at all), in words, and the rules."""
    if decisions.is_empty():
        return dg.AssetCheckSeverity.ERROR, "no decision: the gate let nobody serve", []
    row = decisions.row(-1, named=True)
    rules = [{"challenger": row["challenger_version"], **rule} for rule in json.loads(row["gate"])]
    holds = all(rule["passed"] for rule in rules)
    if row["promoted"] != holds:
        return dg.AssetCheckSeverity.ERROR, f"promoted is {row['promoted']}, its rules say {holds}", rules
    return None if holds else dg.AssetCheckSeverity.WARN, row["reason"], rules


def _table(rules: list[dict[str, Any]]) -> dg.TableMetadataValue:
    columns = {"challenger": "string", "rule": "string", "value": "float", "limit": "float", "passed": "bool"}
    schema = dg.TableSchema([dg.TableColumn(name, kind) for name, kind in columns.items()])
    return dg.MetadataValue.table([dg.TableRecord(rule) for rule in rules], schema=schema)
