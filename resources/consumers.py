"""Who reads a table or a column: assets, dbt models among them, and HTTP services; named where a contract breaks."""

from collections.abc import Iterable

import dagster as dg

from convergence.catalog.consumers import services
from convergence.serving.use_case import ServedUseCase
from convergence.versions.lineage import Column
from resources.keys import key_of
from resources.lineage import column_graph, said


class Readers:
    """Called with a table and a column (or None), names who reads it, assets first, in order."""

    def __init__(self, specs: Iterable[dg.AssetSpec], served: Iterable[ServedUseCase] = ()) -> None:
        self._specs = sorted(specs, key=lambda spec: spec.key)
        self._graph = column_graph(self._specs)
        self._services = services(served, self._graph.tables)

    def __call__(self, table: str, column: str | None = None) -> list[str]:
        """Assets directly downstream that read the column, and services that hold what is made from it.

        Of a column that the code no longer has, nothing is known: whatever reads the table then counts. Of a table as a
        whole, only services that hold a column of its own are named.
        """
        key = key_of(table)
        assets = [
            f"dbt model {spec.key.to_user_string()}" if "dbt" in spec.kinds else spec.key.to_user_string()
            for spec in self._specs
            if any(dep.asset_key == key for dep in spec.deps) and self._reads(spec, table, column)
        ]
        changed = [Column(table, name) for name in self._graph.tables.get(table, ())]
        if column is not None:
            changed = [c for c in changed if c.name == column] or changed
            changed += self._graph.after(changed)
        return assets + [service.name for service in self._services if service.touched(changed).columns]

    def _reads(self, spec: dg.AssetSpec, table: str, column: str | None) -> bool:
        lineage = said(spec, "dagster/column_lineage")
        if not isinstance(lineage, dg.TableColumnLineage) or column not in self._graph.tables.get(table, ()):
            return True
        deps = (dep for each in lineage.deps_by_column.values() for dep in each if dep.asset_key == key_of(table))
        read = {dep.column_name for dep in deps}
        return column in read or not read
