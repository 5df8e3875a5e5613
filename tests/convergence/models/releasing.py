"""A use case with three weekly models, its decisions and champions, for tests of releases: tables as fraud has them."""

from datetime import date, timedelta
from hashlib import sha256

import polars as pl

from convergence.lake.manifests import Provenance, build_manifest, record
from convergence.lake.tables import Lake
from convergence.models.releasable import Releasable

WEEKS = [date(2018, 7, 18) + timedelta(days=7 * n) for n in range(4)]
FRAUD = Releasable(
    name="fraud_model",
    models="fraud/fraud_model",
    decisions="fraud/fraud_promotions",
    champions="fraud/fraud_champions",
    view="transaction_features",
    fingerprint="f1",
)
REFUSED = 2  # the week whose challenger the gate refused
LAST_SETTLED = date(2018, 8, 10)


def version(week: int) -> str:
    return f"v{week}"


def onnx(week: int) -> bytes:
    return f"graph of v{week}".encode()


def write(lake: Lake, table: str, frame: pl.DataFrame) -> None:
    days = {str(d): part for (d,), part in frame.partition_by("event_date", as_dict=True).items()}
    lake.replace(table, days, build_manifest(days, "replace", Provenance("test", "1")), lake.open(table))
    record(lake, [table])


def models(number: int = 4) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "event_date": WEEKS[:number],
            "model_version": [version(n) for n in range(number)],
            "onnx": [onnx(n) for n in range(number)],
            "sha256": [sha256(onnx(n)).hexdigest() for n in range(number)],
        }
    )


def decisions(number: int = 4) -> pl.DataFrame:
    serving = [n - 1 if n == REFUSED else n for n in range(number)]
    return pl.DataFrame(
        {
            "event_date": WEEKS[:number],
            "valid_from": WEEKS[:number],
            "challenger_version": [version(n) for n in range(number)],
            "promoted": [n != REFUSED for n in range(number)],
            "reason": [f"v{n} {'is refused: too slow' if n == REFUSED else 'passes'}." for n in range(number)],
            "model_version": [version(n) for n in serving],
            "model_as_of": [WEEKS[n] for n in serving],
            "onnx": [onnx(n) for n in serving],
            "sha256": [sha256(onnx(n)).hexdigest() for n in serving],
        }
    )


def make(lake: Lake) -> Lake:
    """Models and decisions of four weeks, champions up to LAST_SETTLED."""
    write(lake, FRAUD.models, models())
    write(lake, FRAUD.decisions, decisions())
    days = [WEEKS[0], LAST_SETTLED]
    write(lake, FRAUD.champions, pl.DataFrame({"event_date": days, "model_version": ["v0", "v2"]}))
    return lake
