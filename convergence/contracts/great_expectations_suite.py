"""Makes and runs Great Expectations' suites, as a process of the Python that has it: ours is kept free of pandas.

`great_expectations_suite.py build SPECIFICATIONS FOLDER` writes a suite for each specification of a JSON list.
`great_expectations_suite.py run SPECIFICATION PARQUET...` prints what each expectation found in each file, as JSON on
the last line: counts, never values. It stands alone: nothing of ours can be imported there.
"""

# pyright: reportMissingImports=false

import json
import sys
from pathlib import Path
from typing import Any


def build(specifications: str, folder: str) -> list[str]:
    """Write the suites; the names of the files."""
    written = []
    for one in json.loads(Path(specifications).read_text()):
        suite = _made(one)
        file = Path(folder, one["name"].replace("/", ".") + ".json")
        file.write_text(json.dumps(_sorted(suite.to_json_dict()), indent=1) + "\n")
        written.append(file.name)
    return written


def run(specification: str, *parquet: str) -> list[list[dict[str, Any]]]:
    """What each expectation found in each file; those about a column that is not there are left out: one says so."""
    import great_expectations as gx

    suite = _made(json.loads(Path(specification).read_text()))
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False}
    asset = context.data_sources.add_pandas("files").add_dataframe_asset("file")
    batches = asset.add_batch_definition_whole_dataframe("whole")
    quiet = {"result_format": "BASIC", "partial_unexpected_count": 0}
    found = []
    for file in parquet:
        frame = _frame(file, _columns(suite.expectations, "expect_column_values_to_not_be_null"))
        results = batches.get_batch({"dataframe": frame}).validate(suite, result_format=quiet).results
        failed = _columns(
            (r.expectation_config for r in results if not r.success), "expect_column_values_to_be_of_type"
        )
        told = (_told(result, frame, failed) for result in results)
        found.append([one for one in told if one])
    return found


def _made(specification: dict[str, Any]) -> Any:
    import great_expectations as gx
    from great_expectations.expectations.registry import get_expectation_impl

    made = [get_expectation_impl(e["type"])(**e["kwargs"], meta=e["meta"]) for e in specification["expectations"]]
    return gx.ExpectationSuite(name=specification["name"], expectations=made, meta=specification["meta"])


def _columns(expectations: Any, kind: str) -> set[str]:
    """The columns that have an expectation of this kind."""
    configurations = (getattr(e, "configuration", e) for e in expectations)
    return {c.kwargs["column"] for c in configurations if c.type == kind}


def _told(result: Any, frame: Any, wrong_types: set[str]) -> dict[str, Any] | None:
    """What one expectation found: whether it holds, in how many rows it does not, and columns that are too many."""
    asked, column = result.expectation_config, result.expectation_config.kwargs.get("column")
    if column not in {*frame.columns, None} and asked.type != "expect_column_to_exist":
        return None
    rows, details = result.result.get("unexpected_count"), result.result.get("details", {}).get("mismatched", {})
    if result.exception_info.get("raised_exception", True):
        if column not in wrong_types:
            raise SystemExit(f"{asked.type} of {column or 'the table'} could not be evaluated: {result.exception_info}")
        rows = len(frame)  # values of another type cannot be compared: none of them keeps the rule
    rule, success = asked.meta["rule"], bool(result.success)
    return {"rule": rule, "success": success, "rows": rows, "unexpected_columns": list(details.get("unexpected", ()))}


def _frame(parquet: str, never_null: set[str]) -> Any:
    """The rows with the types that they have: pandas would make floats of integers with nulls, and lose dates.

    Of a number that must not be null, NaN is as bad as null: pandas' plain floats hold both as one.
    """
    import pandas as pd
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pq.read_table(parquet)
    whole = {getattr(pa, n.lower())(): getattr(pd, f"{n}Dtype")() for n in _INTEGERS}
    floats = {pa.float32(): pd.Float32Dtype(), pa.float64(): pd.Float64Dtype()}
    columns = {}
    for field in table.schema:
        mapped: dict[Any, Any] = {
            **whole,
            pa.bool_(): pd.BooleanDtype(),
            **({} if field.name in never_null else floats),
        }
        kind = mapped.get(field.type)
        if kind is None and not (pa.types.is_timestamp(field.type) or pa.types.is_floating(field.type)):
            kind = pd.ArrowDtype(field.type)
        column = table.select([field.name]).to_pandas(types_mapper=lambda _, kind=kind: kind)
        columns[field.name] = column[field.name]
    return pd.DataFrame(columns)


_INTEGERS = [f"{u}Int{n}" for u in ("", "U") for n in (8, 16, 32, 64)]


def _sorted(suite: dict[str, Any]) -> dict[str, Any]:
    """The suite with its expectations in order of their rules, so that two exports are the same text."""
    return {**suite, "expectations": sorted(suite["expectations"], key=lambda e: (e["meta"]["rule"], e["type"]))}


if __name__ == "__main__":
    print(json.dumps({"build": build, "run": run}[sys.argv[1]](*sys.argv[2:])))
