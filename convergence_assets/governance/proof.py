"""The proof of exactly-once landing as an asset: the command `convergence chaos` runs, its report is the table.

The trials run in processes of their own: they kill what they start, and the run that asks for them must survive it.
"""

import json
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl

from convergence.errors import ServiceError
from convergence.lake.contracts import schema_of
from convergence.lake.tables import Lake
from convergence.privacy.masking import told_by_child
from convergence_assets.governance.contracts import ChaosTrial
from resources.lake import failures, lake_asset

_WRONG = ("lost", "doubled", "torn")
_LIBRARIES = ("confluent-kafka", "dagster", "deltalake", "polars")


def trials(report: str) -> pl.DataFrame:
    """Rows of ChaosTrial from the command's report, a JSON object a line."""
    rows = [json.loads(line) for line in report.splitlines()]
    schema = schema_of(ChaosTrial)
    return pl.DataFrame([{name: row[name] for name in schema} for row in rows], schema=schema)


def totals(rows: pl.DataFrame) -> dict[str, Any]:
    """Metadata of a report: what was found, with which seeds, cases and versions."""
    cases = dict(rows["case"].value_counts().sort("case").iter_rows())
    return {
        **{name: int(rows[name].sum()) for name in ("sent", "landed", *_WRONG)},
        "failed_trials": rows.filter(_is_wrong()).height,
        "seeds": ", ".join(map(str, rows["seed"].sort())),
        "trials_by_case": ", ".join(f"{case}: {number}" for case, number in cases.items()),
        "versions": ", ".join(f"{library} {version(library)}" for library in _LIBRARIES),
    }


@lake_asset(
    contract=ChaosTrial,
    describe=totals,
    config_schema={
        "runs": dg.Field(int, default_value=10, description="Number of trials; each takes half a minute"),
        "seed": dg.Field(int, default_value=0, description="Seed of the first; the others follow"),
        "parallel": dg.Field(int, default_value=1, description="Trials at once; each has a broker of its own"),
    },
    code_version="1",
    key_prefix="governance",
    group_name="governance",
    owners=["team:platform"],
    kinds={"kafka", "deltalake"},
    tags={"layer": "operations", "not_partitioned": "each-run-is-a-proof-of-its-own"},
)
def chaos_report(context: dg.AssetExecutionContext) -> pl.DataFrame:
    """Trials of exactly-once landing under killed processes and other faults.

    Grain: trial. Each lands random messages on real processes while faults strike, then an independent checker counts
    what was lost, doubled or torn. `convergence chaos --case CASE --seed SEED` repeats one.
    """
    return trials(run_chaos(**context.op_execution_context.op_config))


def run_chaos(*, runs: int, seed: int, parallel: int) -> str:
    """The report of `convergence chaos`. Raises ServiceError if it could not carry out every trial."""
    with tempfile.TemporaryDirectory(prefix="convergence-chaos-report-") as folder:
        report = Path(folder, "report.jsonl")
        options = {"--runs": runs, "--seed": seed, "--parallel": parallel, "--report": report}
        command = [sys.executable, "-m", "convergence.cli", "chaos", *(str(w) for o in options.items() for w in o)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
            try:
                said, _ = process.communicate()
            except BaseException:
                process.terminate()  # it ends what it has started; left alone, it would go on when this run is gone
                raise
        made = report.read_text() if report.exists() else ""
    if len(made.splitlines()) != runs:
        raise ServiceError(
            f"the proof made {len(made.splitlines())} of {runs} trials, then ended:\n{told_by_child(said)}"
        )
    return made


@dg.asset_check(
    asset=chaos_report,
    blocking=True,
    required_resource_keys={"lake"},
    description="No trial lost, doubled or tore a message, and the platform came back from every fault.",
)
def exactly_once(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
    """Passes only if there are trials and all of them passed."""
    lake: Lake = context.resources.lake.lake
    if lake.open("governance/chaos_report") is None:
        return dg.AssetCheckResult(
            passed=False,
            severity=dg.AssetCheckSeverity.WARN,
            description="The proof has not been run: materialize governance/chaos_report (Assets, in `make ui`).",
        )
    with failures():
        rows = lake.scan("governance/chaos_report").collect()
    wrong = rows.filter(_is_wrong())
    again = [
        f"convergence chaos --case {case} --seed {seed}" for case, seed in wrong.select("case", "seed").iter_rows()
    ]
    return dg.AssetCheckResult(
        passed=bool(rows.height) and not wrong.height,
        description=f"{wrong.height} of {rows.height} trials failed. Repeat: {'; '.join(again[:5])}" if again else None,
        metadata={"trials": rows.height, **{name: int(rows[name].sum()) for name in _WRONG}},
    )


def _is_wrong() -> pl.Expr:
    return (pl.sum_horizontal(_WRONG) > 0) | (pl.col("failure") != "")
