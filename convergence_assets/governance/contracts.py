"""What the tables about the platform itself hold."""

from typing import Annotated

import pandera.polars as pa
import polars as pl

from convergence.lake.contracts import StrictColumns


class ChaosTrial(pa.DataFrameModel):
    """One trial: a random load, faults that its seed plans, and what the checker found afterwards."""

    seed: int = pa.Field(unique=True, ge=0, description="What load and faults are drawn from; repeats the trial")
    case: str = pa.Field(description="Line of the fault list, e.g. R-01")
    sent: int = pa.Field(
        ge=0, description="Messages that a reader of the topic is shown", metadata={"unit": "messages"}
    )
    landed: int = pa.Field(ge=0, description="Rows in the data, late and rejected tables", metadata={"unit": "rows"})
    lost: int = pa.Field(ge=0, description="Messages acknowledged or in the topic that are in no table")
    doubled: int = pa.Field(ge=0, description="Rows too many for their message, or for none")
    torn: int = pa.Field(ge=0, description="Rows of wrong table or content; commits that contradict themselves")
    failure: str = pa.Field(description="Why the platform did not come back or the trial could not be made; else empty")
    seconds: float = pa.Field(ge=0, description="How long the trial took", metadata={"unit": "s"})

    class Config(StrictColumns):
        """Columns are as declared."""

        metadata = {"made_here": "counted by the checker of `convergence chaos`"}


class LakeUpkeep(pa.DataFrameModel):
    """What the last housekeeping did to one table."""

    table: str = pa.Field(unique=True, description="Table of the lake")
    files_before: int = pa.Field(ge=0, description="Data files before")
    files_after: int = pa.Field(ge=0, description="Data files after")
    files_deleted: int = pa.Field(ge=0, description="Files of versions that nothing needs any more")
    seconds: float = pa.Field(ge=0, description="How long it took")
    left_for_next_time: bool = pa.Field(description="Somebody replaced a partition meanwhile; nothing was merged")
    rows_verified: int = pa.Field(ge=0, description="Rows that were held against their manifests")
    damaged: int = pa.Field(ge=0, description="Files, partitions and log entries that are not as they were written")
    damages: str = pa.Field(description="The first of them, a line each: table, partition, version, file")

    class Config(StrictColumns):
        """Columns are as declared."""

        metadata = {"made_here": "counted while the lake's files are kept up"}


_Moment = Annotated[pl.Datetime, "us", "UTC"]


class QualityScore(pa.DataFrameModel):
    """How one check of one asset has been going, by the history that Dagster keeps."""

    asset: str = pa.Field(description="The asset that is checked")
    check: str = pa.Field(description="Name of the check")
    verdict: str = pa.Field(
        isin=["passed", "failed", "warned", "never"], description="The newest; never: it has not run yet"
    )
    evaluations: int = pa.Field(ge=0, description="The newest evaluations that are counted here")
    pass_rate: float = pa.Field(ge=0, le=1, nullable=True, description="Share of them that passed; null: never ran")
    evaluated_at: _Moment = pa.Field(nullable=True, description="When it was evaluated last")
    failed_at: _Moment = pa.Field(nullable=True, description="When it failed last, among them")
    failing_partitions: int = pa.Field(
        ge=0, description="Partitions whose newest evaluation failed; 1 of a table without partitions"
    )
    rows_rejected: int = pa.Field(ge=0, description="Rows that these evaluations rejected", metadata={"unit": "rows"})

    class Config(StrictColumns):
        """Columns are as declared."""

        unique = ["asset", "check"]
        metadata = {"made_here": "counted from Dagster's history of evaluations"}
