"""What Dagster shows of a contract: its columns, made from the Pandera model and nothing else, and its check."""

import dagster as dg

from convergence.lake.contracts import Contract


def contract_check(
    asset: dg.AssetKey, description: str, partitions_def: dg.PartitionsDefinition | None
) -> dg.AssetCheckSpec:
    """The blocking check `contract`, which an asset reports itself, once per partition."""
    return dg.AssetCheckSpec(
        "contract",
        asset=asset,
        blocking=True,
        description=description,
        partitions_def=partitions_def,  # pyright: ignore[reportCallIssue]
    )


def column_schema(contract: Contract) -> dg.TableSchema:
    """Columns with type, description, rules, and the tags `unit`, `pii` and `subject` of the field's metadata."""
    return dg.TableSchema(
        columns=[
            dg.TableColumn(
                name=name,
                type=str(column.dtype),
                description=column.description,
                constraints=dg.TableColumnConstraints(
                    nullable=column.nullable,
                    unique=column.unique,
                    other=[str(c.error or c.name) for c in column.checks],
                ),
                tags={k: str(v) for k, v in (column.metadata or {}).items() if k in ("unit", "pii", "subject")},
            )
            for name, column in contract.to_schema().columns.items()
        ]
    )
