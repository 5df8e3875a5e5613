"""The SQL warehouse as a resource, and dbt's command line on it."""

import io
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import dagster as dg

from convergence.errors import ServiceError, SettingsError
from convergence.privacy.masking import foreign, without_secrets, without_values
from convergence.warehouse.duckdb import DuckDB
from convergence.warehouse.postgres import PostgreSQL
from convergence.warehouse.warehouse import Warehouse

if TYPE_CHECKING:
    from dagster_dbt import DbtCliInvocation

PROJECT = Path(__file__).parents[1] / "dbt"
_PARSED = "Errors parsed from dbt logs:"  # what dagster-dbt writes before them
POOL = "warehouse"  # steps that use it wait for each other: dagster.yaml gives every pool one slot


class ToldByDbt(io.StringIO):
    """What dagster-dbt prints, an event of dbt at a time, each masked: that of a failed model may quote a row."""

    def write(self, text: str, /) -> int:
        """Add what one event says."""
        return super().write(without_values(without_secrets(text)))


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
        """A dbt command on this warehouse. Raises ServiceError where it fails, with what dbt says, masked."""
        from dagster_dbt import DbtCliResource  # two seconds, which whoever only reads settings need not wait
        from dagster_dbt.errors import DagsterDbtCliRuntimeError

        from resources.environments import environment_with

        cli = DbtCliResource(
            project_dir=PROJECT,
            profiles_dir=PROJECT,
            target=self.plain.target,
            dbt_executable=Path(sys.executable).with_name("dbt"),
            global_config_flags=["--no-use-colors"],
        )
        with environment_with(self.plain.environment):  # dagster-dbt hands on this process's, and takes no other
            try:
                yield cli.cli([*args], **invocation)  # pyright: ignore[reportArgumentType]
            except DagsterDbtCliRuntimeError as error:  # the engine's error is in it, which may quote a row
                said = (error.description or "").partition(_PARSED)[2].strip().split("\n\n")
                raise ServiceError("\n".join(["dbt did not end well:", *map(foreign, said)])) from None
