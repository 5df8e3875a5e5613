"""A lake table and its asset have one name: `fraud/transactions`."""

import dagster as dg


def table_of(key: dg.AssetKey) -> str:
    """The lake table of an asset."""
    return "/".join(key.path)


def key_of(table: str) -> dg.AssetKey:
    """The asset of a lake table."""
    return dg.AssetKey(table.split("/"))
