"""The contract of a feature table, made from its view: what is declared once is not described a second time."""

from collections.abc import Mapping
from datetime import UTC, datetime

import pandera.polars as pa
import polars as pl

from convergence.features.sources import feature_sources
from convergence.features.views import FeatureView
from convergence.features.windows import compute
from convergence.lake.contracts import Contract, schema_of


def feature_contract(
    view: FeatureView, name: str, kept: Contract, sources: Mapping[str, Contract], *, module: str | None = None
) -> Contract:
    """The columns of `kept`, then the features of the view with the types that it computes from `sources`.

    `module` is where the contract can be found under its name; default: where `kept` is. Aggregates other than counts
    and sums may be null, and so may expressions. Each feature says what it is computed `from`: the columns of the
    view's sources, or what the contract of a source says that those are from.
    """
    day = datetime(1970, 1, 1, tzinfo=UTC)
    nothing = {source: pl.DataFrame(schema=schema_of(contract)) for source, contract in sources.items()}
    computed = compute(view, nothing, day, day).schema
    never_null = {a.name for a in view.aggregates if a.function in ("count", "sum")}
    renamed = {
        (source, column): (said.metadata or {}).get("from", [f"{source}.{column}"])
        for source, contract in sources.items()
        for column, said in contract.to_schema().columns.items()
    }
    schema = pl.Schema({**schema_of(sources[view.source]), **computed})
    read = {
        feature: list(dict.fromkeys(text for pair in pairs for text in renamed[pair]))
        for feature, pairs in feature_sources(view, schema).items()
    }
    fields = {
        feature: pa.Field(nullable=feature not in never_null, description=description, metadata={"from": read[feature]})
        for feature, description in view.descriptions.items()
    }
    annotations = {feature: type(computed[feature]) for feature in fields}
    config = type("Config", (kept.Config,), {"metadata": {"rows_of": view.source}})
    body = {"__annotations__": annotations, "__module__": module or kept.__module__, "Config": config, **fields}
    return type(name, (kept,), body)
