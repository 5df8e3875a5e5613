"""A contract as a suite of Great Expectations, for those who check with that; each expectation names the rule it is.

What has no expectation of the same meaning is listed in the suite's `not_translated`, never left out in silence.
"""

import json
import re
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from convergence.contracts import great_expectations_suite
from convergence.contracts.rules import EXTRA, MISSING, NOT_NULL, TYPE, UNIQUE, UNIQUE_TOGETHER, Rule, rules_of
from convergence.errors import ServiceError, SettingsError
from convergence.lake.contracts import Contract, judge
from convergence.lake.tables import WHOLE
from convergence.privacy.masking import told_by_child

PYTHON = Path(__file__).parents[2] / ".venv" / "companions" / "bin" / "python"

Found = dict[str, int | None]
"""Reasons of broken rules, each with the rows that break it; None for a rule about a column or table as a whole."""

_Arguments = Mapping[str, Any]

# pandas' name of what a column of each type is read as; of other types it has none to ask for
_TYPES = {
    **{f"{u}Int{n}": f"{u}int{n}".lower() for u in ("", "U") for n in (8, 16, 32, 64)},
    **{"Float32": "float32", "Float64": "float64", "Boolean": "bool", "String": "str", "Binary": "bytes"},
}


def _lengths(arguments: _Arguments) -> dict[str, Any]:
    exact = arguments.get("exact_value")
    held = {name: arguments.get(name, exact) for name in ("min_value", "max_value")}
    return {name: value if value is not None else exact for name, value in held.items()}


_BETWEEN, _MATCH = "expect_column_values_to_be_between", "expect_column_values_to_match_regex"
_AS_COLUMN: Mapping[str, tuple[str, Callable[[_Arguments], dict[str, Any]]]] = {
    MISSING: ("expect_column_to_exist", lambda a: {}),
    NOT_NULL: ("expect_column_values_to_not_be_null", lambda a: {}),
    UNIQUE: ("expect_column_values_to_be_unique", lambda a: {}),
    "greater_than_or_equal_to": (_BETWEEN, lambda a: {"min_value": a["min_value"]}),
    "greater_than": (_BETWEEN, lambda a: {"min_value": a["min_value"], "strict_min": True}),
    "less_than_or_equal_to": (_BETWEEN, lambda a: {"max_value": a["max_value"]}),
    "less_than": (_BETWEEN, lambda a: {"max_value": a["max_value"], "strict_max": True}),
    "in_range": (
        _BETWEEN,
        lambda a: {
            **{name: a[name] for name in ("min_value", "max_value")},
            **{"strict_min": not a["include_min"], "strict_max": not a["include_max"]},
        },
    ),
    "equal_to": ("expect_column_values_to_be_in_set", lambda a: {"value_set": [a["value"]]}),
    "not_equal_to": ("expect_column_values_to_not_be_in_set", lambda a: {"value_set": [a["value"]]}),
    "isin": ("expect_column_values_to_be_in_set", lambda a: {"value_set": list(a["allowed_values"])}),
    "notin": ("expect_column_values_to_not_be_in_set", lambda a: {"value_set": list(a["forbidden_values"])}),
    "unique_values_eq": ("expect_column_distinct_values_to_equal_set", lambda a: {"value_set": list(a["values"])}),
    "str_matches": (_MATCH, lambda a: {"regex": f"^(?:{a['pattern']})"}),
    "str_contains": (_MATCH, lambda a: {"regex": a["pattern"]}),
    "str_startswith": (_MATCH, lambda a: {"regex": f"^{re.escape(a['string'])}"}),
    "str_endswith": (_MATCH, lambda a: {"regex": f"{re.escape(a['string'])}\\Z"}),
    "str_length": ("expect_column_value_lengths_to_be_between", _lengths),
}


def suite(table: str, contract: Contract) -> dict[str, Any]:
    """The specification of a table's suite: name, expectations (type, kwargs, meta), and in `meta` what has none."""
    made, untranslated = [], []
    for rule in rules_of(contract):
        expectation = _translated(rule)
        if isinstance(expectation, str):
            untranslated.append({"rule": rule.reason, "why": expectation})
        else:
            kind, arguments = expectation
            column = {"column": rule.column} if rule.column else {}
            made.append({"type": kind, "kwargs": {**column, **arguments}, "meta": {"rule": rule.reason}})
    contract_name = f"{contract.__module__}.{contract.__name__}"
    return {
        "name": table,
        "expectations": made,
        "meta": {"contract": contract_name, "not_translated": untranslated},
    }


def write_suites(tables: Mapping[str, Contract], folder: Path, *, python: Path = PYTHON) -> list[str]:
    """Write the suite of each table as JSON, made by the library itself; names of the files. Raises as `run`."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="convergence-expectations-") as place:
        specifications = Path(place, "suites.json")
        specifications.write_text(json.dumps([suite(table, contract) for table, contract in tables.items()]))
        return _child(python, "build", specifications, folder)


def run(contract: Contract, frames: Sequence[pl.DataFrame], *, python: Path = PYTHON) -> list[Found]:
    """What Great Expectations finds wrong with each frame, under the names that Pandera has for the rules.

    Raises:
        SettingsError: there is no Python that has the library.
        ServiceError: it failed; with the end of what it said.
    """
    with tempfile.TemporaryDirectory(prefix="convergence-expectations-") as place:
        specification = Path(place, "suite.json")
        specification.write_text(json.dumps(suite(contract.__name__, contract)))
        files = [Path(place, f"{number}.parquet") for number in range(len(frames))]
        for frame, file in zip(frames, files, strict=True):
            frame.write_parquet(file)
        return [_found(told) for told in _child(python, "run", specification, *files)]


def _found(told: Sequence[Mapping[str, Any]]) -> Found:
    found: Found = {}
    for each in told:
        if each["rule"].endswith(f": {EXTRA}"):  # it fails for columns that are missing as well, which others say
            found |= {f"{column}: {EXTRA}": None for column in each["unexpected_columns"]}
        elif not each["success"]:
            found[each["rule"]] = each["rows"]
    return found


def judged(contract: Contract, frame: pl.DataFrame) -> Found:
    """What the lake's own judgement finds wrong with a frame, taken as one partition."""
    bad = judge(contract, frame, [WHOLE]).bad.get(WHOLE)
    if bad is None:
        return {}
    reasons = pl.format("; {}; ", pl.col("reason"))
    found: Found = {}
    for rule in rules_of(contract):
        rows = bad.select(reasons.str.contains(f"; {rule.reason}; ", literal=True).sum()).item()
        if rows and rule.name != EXTRA:
            found[rule.reason] = None if _is_about_the_whole(rule) else rows
    declared = set(contract.to_schema().columns)
    extra = [c for c in frame.columns if c not in declared] if contract.to_schema().strict else []
    return found | {f"{column}: {EXTRA}": None for column in extra}


def _translated(rule: Rule) -> tuple[str, dict[str, Any]] | str:
    """An expectation's type and arguments, or why there is none."""
    if rule.name == TYPE:
        kind = str(rule.arguments["type"])
        name = "Timestamp" if kind.startswith("Datetime") and "time_zone='" in kind else _TYPES.get(kind)
        if name is None:
            return f"pandas, on which it works, has no name for the type {kind}"
        return "expect_column_values_to_be_of_type", {"type_": name}
    if rule.column is None and rule.name == UNIQUE_TOGETHER:
        return "expect_compound_columns_to_be_unique", {
            "column_list": list(rule.arguments["columns"]),
            "ignore_row_if": "never",
        }
    if rule.column is None and rule.name == EXTRA:
        return "expect_table_columns_to_match_set", {"column_set": list(rule.arguments["columns"]), "exact_match": True}
    if rule.column is None or rule.name not in _AS_COLUMN:
        return "a rule of our own, in Python: only Pandera runs it"
    kind, arguments = _AS_COLUMN[rule.name]
    return kind, arguments(rule.arguments)


def _is_about_the_whole(rule: Rule) -> bool:
    return rule.name in (MISSING, TYPE, EXTRA, "unique_values_eq")


def _child(python: Path, *arguments: str | Path) -> Any:
    if not python.exists():
        raise SettingsError(f"Great Expectations is not there: expected {python}; `make setup` installs it")
    # its own folder has modules (-P) that would hide others of their name; it reports its use otherwise
    quietly = ("env", "GX_ANALYTICS_ENABLED=false", python, "-P", "-W", "ignore")
    command = [*quietly, great_expectations_suite.__file__, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ServiceError(
            f"Great Expectations could not {arguments[0]}, and ended with:\n{told_by_child(done.stderr)}"
        )
    return json.loads(done.stdout.splitlines()[-1])
