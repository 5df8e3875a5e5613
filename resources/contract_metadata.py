"""What Dagster shows of a contract: one column table, made from the Pandera model and nothing else."""

import dagster as dg

from convergence.lake.contracts import Contract


def column_schema(contract: Contract) -> dg.TableSchema:
    """Columns with type, description, rules, and the tags `unit` and `pii` of the field's metadata."""
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
                tags={k: str(v) for k, v in (column.metadata or {}).items() if k in ("unit", "pii")},
            )
            for name, column in contract.to_schema().columns.items()
        ]
    )
