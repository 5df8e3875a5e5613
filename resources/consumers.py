"""Who reads a table or a column: assets, dbt models among them, and the HTTP API; named where a contract breaks."""

from collections.abc import Iterable, Mapping

import dagster as dg

from convergence.serving.use_case import ServedUseCase
from resources.keys import key_of

# What a service needs of the table that the gate's decisions are in.
_OF_DECISIONS = frozenset({"valid_from", "model_version", "onnx", "sha256", "model"})
_EVERY: frozenset[str] = frozenset()


class Readers:
    """Called with a table and a column (or None), names who reads it, assets first, in order."""

    def __init__(self, specs: Iterable[dg.AssetSpec], served: Iterable[ServedUseCase] = ()) -> None:
        self._specs = sorted(specs, key=lambda spec: spec.key)
        self._served = list(served)

    def __call__(self, table: str, column: str | None = None) -> list[str]:
        """Assets directly downstream that read the column (all of them, where nothing is known of columns); APIs."""
        key = key_of(table)
        assets = [
            f"dbt model {spec.key.to_user_string()}" if "dbt" in spec.kinds else spec.key.to_user_string()
            for spec in self._specs
            if any(dep.asset_key == key for dep in spec.deps) and _reads(spec, key, column)
        ]
        apis = [
            f"the HTTP API of {use_case.name}"
            for use_case in self._served
            if (columns := _served_tables(use_case).get(table)) is not None
            and (column is None or not columns or column in columns)
        ]
        return assets + apis


def _reads(spec: dg.AssetSpec, key: dg.AssetKey, column: str | None) -> bool:
    lineage = spec.metadata.get("dagster/column_lineage")
    lineage = lineage.value if isinstance(lineage, dg.MetadataValue) else lineage
    if column is None or not isinstance(lineage, dg.TableColumnLineage):
        return True
    read = {dep.column_name for deps in lineage.deps_by_column.values() for dep in deps if dep.asset_key == key}
    return column in read or not read


def _served_tables(use_case: ServedUseCase) -> Mapping[str, frozenset[str]]:
    """The tables that a service reads or computes alike, with the columns that it needs; none named: all."""
    view = use_case.features.online.view
    return {
        use_case.features.table: _EVERY,
        f"{use_case.name}/{view.name}": frozenset(use_case.model.inputs),
        use_case.model.decisions: _OF_DECISIONS,
        use_case.model.models: _EVERY,
        use_case.model.drift: _EVERY,
    }
