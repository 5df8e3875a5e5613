"""The SQL warehouse as a resource, and dbt's command line on it."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import dagster as dg

from convergence.errors import SettingsError
from convergence.warehouse.duckdb import DuckDB
from convergence.warehouse.postgres import PostgreSQL
from convergence.warehouse.warehouse import Warehouse

if TYPE_CHECKING:
    from dagster_dbt import DbtCliInvocation

PROJECT = Path(__file__).parents[1] / "dbt"
POOL = "warehouse"  # steps that use it wait for each other: dagster.yaml gives every pool one slot


class WarehouseResource(dg.ConfigurableResource):
    """Where dbt builds: a DuckDB file, or the PostgreSQL server at `url`."""

    engine: Literal["duckdb", "postgres"] = "duckdb"
    file: str
    url: str | None = None

    @property
    def plain(self) -> Warehouse:
        """The warehouse behind this resource. Raises SettingsError where PostgreSQL has no address."""
        if self.engine == "duckdb":
            from dagster_duckdb import DuckDBResource

            return DuckDB(
                Path(self.file).resolve(), DuckDBResource(database=str(Path(self.file).resolve())).get_connection
            )
        if not self.url:
            raise SettingsError("CONVERGENCE_WAREHOUSE is postgres: set CONVERGENCE_POSTGRES to the server's URL")
        return PostgreSQL(self.url)

    @contextmanager
    def dbt(self, args: Sequence[str], **invocation: object) -> "Iterator[DbtCliInvocation]":
        """A dbt command on this warehouse."""
        from dagster_dbt import DbtCliResource  # two seconds, which whoever only reads settings need not wait

        from resources.environments import environment_with

        cli = DbtCliResource(
            project_dir=PROJECT,
            profiles_dir=PROJECT,
            target=self.plain.target,
            dbt_executable=Path(sys.executable).with_name("dbt"),
            global_config_flags=["--no-use-colors"],
        )
        with environment_with(self.plain.environment):  # dagster-dbt hands on this process's, and takes no other
            yield cli.cli([*args], **invocation)  # pyright: ignore[reportArgumentType]
