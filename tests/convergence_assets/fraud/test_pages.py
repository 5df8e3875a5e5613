"""The numbers of the pages, from a small lake whose numbers are known."""

import json
from collections import Counter
from datetime import date, timedelta
from pathlib import Path

import polars as pl
import pytest

from convergence.errors import ConvergenceError, TableMissing
from convergence.lake.manifests import Provenance, build_manifest, record
from convergence.lake.tables import Lake
from convergence.marked_pages import injected, marked
from convergence_assets.fraud import pages
from convergence_assets.fraud.pages import CANDIDATES, judged_weeks, numbers
from convergence_assets.fraud.use_case import USE_CASE
from tests.convergence_assets.fraud.worlds import ORIGIN, datasets, messages, world
from tests.graph.house import ROOT

(PAGES,) = USE_CASE.pages
WEEKS = [date(2018, 7, 18), date(2018, 7, 25)]
DAYS = (WEEKS[0] - timedelta(days=14), WEEKS[1] + timedelta(days=6))
PRECISIONS = {"average_precision": [0.7, 0.8], "roc_auc": [0.8, 0.9], "card_precision_100": [0.2, 0.4]}
RULES = [{"rule": "size", "passed": True}, {"rule": "not_worse_than_champion", "passed": False}]


def write(lake: Lake, table: str, frame: pl.DataFrame) -> None:
    days = {str(d): part for (d,), part in frame.partition_by("event_date", as_dict=True).items()}
    made = Provenance("test", "1", revision="0123456789", origins=(ORIGIN,))
    lake.replace(table, days, build_manifest(days, "replace", made), lake.open(table))
    record(lake, [table])


def models() -> pl.DataFrame:
    comparison = [{"candidate": c, "average_precision": 0.5 + 0.1 * n} for n, c in enumerate(CANDIDATES)]
    report = {"served": "xgboost", "comparison": comparison, "parity": 2e-7}
    return pl.DataFrame(
        {
            "event_date": WEEKS,
            "model_version": ["first", "second"],
            "onnx": [b"x" * 150_000, b"x" * 300_000],
            "model": ["", ""],
            "candidates": [b"", b""],
            "report": [json.dumps(report), json.dumps(report | {"parity": 3e-6})],
        }
    )


def evaluations() -> pl.DataFrame:
    members = [dict.fromkeys(PRECISIONS, 0.1 * n) | {"candidate": c} for n, c in enumerate(CANDIDATES)]
    costs = [
        {"share": s, "alerts": a, "missed": 10.0, "cost": 10.0 + 5 * a} for s, a in ((0.0, 0), (0.005, 2), (1.0, 9))
    ]
    other = {
        "base_rate": 0.01, "average_precision_low": 0.6, "average_precision_high": 0.9, "calibration_error": 0.002,
        "brier": 0.003, "alert_false_positive_rate": 0.0039, "alert_precision": 0.5, "alert_recall": 0.6,
        "precision_at_fpr": 0.7, "recall_at_fpr": 0.8, "candidates": json.dumps(members),
        "cost_curve": json.dumps(costs),
    }  # fmt: skip
    ours = PRECISIONS | {f"{name}_7d": [0.25, 0.75] for name in PRECISIONS}
    return pl.DataFrame({"event_date": WEEKS, "model_version": ["first", "second"]} | ours).with_columns(
        **{name: pl.lit(value) for name, value in other.items()}
    )


def promotions() -> pl.DataFrame:
    return pl.DataFrame(
        {
            "event_date": WEEKS,
            "challenger_version": ["first", "second"],
            "gate_average_precision": [0.7, 0.6],
            "promoted": [True, False],
            "gate": [json.dumps(RULES[:1]), json.dumps(RULES)],
            "model_version": ["first", "first"],
        }
    )


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    lake = Lake(str(tmp_path_factory.mktemp("small")))
    features, labels = world()
    transactions, _ = datasets(messages())
    within = pl.col("event_date").is_between(*DAYS)
    frauds = labels.filter(within, "is_fraud").select("event_date", "transaction_id")
    genuine = labels.filter(within, ~pl.col("is_fraud")).select("event_date", "transaction_id")
    alerts = pl.concat([frauds.head(3), genuine.head(1)])
    for name, frame in {
        "raw_transactions": transactions.filter(within),
        "transactions": transactions.filter(within),
        "labels": labels.filter(within),
        "transaction_features": features.filter(within),
        "fraud_model": models(),
        "fraud_evaluation": evaluations(),
        "fraud_promotions": promotions(),
        "fraud_scores": pl.concat([alerts, genuine.tail(6)]),
        "fraud_alerts": alerts,
    }.items():
        write(lake, f"fraud/{name}", frame)
    return lake


@pytest.fixture(scope="module")
def parity() -> pl.DataFrame:
    return pl.DataFrame({"feature": ["a", "b"], "rows": [300, 300], "differing": [0, 1]})


@pytest.fixture(scope="module")
def found(small: Lake, parity: pl.DataFrame) -> dict[str, str]:
    whole = {"": parity}
    small.replace("fraud/served_parity", whole, build_manifest(whole, "replace", Provenance("test", "1")), None)
    return numbers(small) | pages.parity(small)


def test_the_pages_hold_every_number_once_known_and_no_other(found: dict[str, str]):
    held = [name for file in PAGES.files for name in marked((ROOT / file).read_text())]
    assert sorted(held) == sorted(found)


@pytest.mark.parametrize("file", PAGES.files)
def test_a_page_takes_the_numbers_of_a_lake_and_keeps_them(found: dict[str, str], file: str):
    page = injected((ROOT / file).read_text(), found)
    assert all(found[name] in page for name in marked(page))
    assert injected(page, found) == page


def test_the_run_is_told_by_day_revision_and_data(found: dict[str, str]):
    assert f"code revision 0123456, data {ORIGIN}" in found["run"]


def test_weeks_and_their_mean_are_those_of_the_evaluation(found: dict[str, str]):
    assert found["walk_forward"].splitlines()[2:] == [
        "| 2018-07-18 | 0.0100 | 0.250 | 0.700 [0.600, 0.900] | 0.800 | 0.200 |",
        "| 2018-07-25 | 0.0100 | 0.750 | 0.800 [0.600, 0.900] | 0.900 | 0.400 |",
        "| mean | 0.0100 | 0.500 | 0.750 | 0.850 | 0.300 |",
    ]
    assert found["result"].splitlines()[-2:] == [
        "| trained on 7 days, as the Handbook does | 0.500 | 0.500 | 0.500 |",
        "| trained on 84 days (`fraud_model`) | 0.750 | 0.850 | 0.300 |",
    ]


def test_members_stand_in_order_of_their_precision_and_the_served_one_is_named(found: dict[str, str]):
    names = [line.split(" | ")[0] for line in found["members"].splitlines()[3:-1]]
    assert names == ["| trees, served", "| network", "| linear", "| stack"]
    assert found["stack_gains"] == "+0.1000 and +0.1000"


def test_costs_leave_out_looking_at_everything(found: dict[str, str]):
    assert found["cost"].splitlines()[2:] == ["| none | 0 | 10 | 10 |", "| 0.5 % | 2 | 10 | 20 |"]


def test_a_refused_challenger_is_shown_with_the_rule_it_broke_and_the_champion_that_stays(found: dict[str, str]):
    assert found["promotions"].splitlines()[2:] == [
        "| 2018-07-18 | `first` | 0.700 | promoted | `first` |",
        "| 2018-07-25 | `second` | 0.600 | refused: `not_worse_than_champion` | `first` |",
    ]


def test_counts_and_sizes_are_those_of_the_tables(found: dict[str, str], small: Lake):
    rows = small.scan("fraud/transactions").collect()
    assert found["alerts"] == "4 alerts among 10 scores, 75.00 % of them frauds"
    assert found["parity"] == "300 served rows of 2 features, 1 values differ"
    assert (found["onnx_size"], found["onnx_parity"]) == ("0.3 MB", "3e-6")
    assert found["data"].startswith(f"{rows.height:,} transactions of {rows['customer_id'].n_unique()} customers")
    sizes = {line.split("`")[1]: line.split(" | ")[1:3] for line in found["sizes"].splitlines()[2:]}
    assert sizes["fraud/transactions"] == [f"{rows.height:,}", str((DAYS[1] - DAYS[0]).days + 1)]
    assert sizes["fraud/fraud_model"] == ["2", "2"]


def test_what_could_be_known_of_a_fraud_is_counted_from_its_own_past(found: dict[str, str], small: Lake):
    """An oracle row by row, from labels alone: no feature is read."""
    tables = {name: small.scan(f"fraud/{name}").collect() for name in ("labels", "transactions")}
    known, arrived, labels = tables["labels"], tables["transactions"], world()[1]
    when = dict(arrived.select("transaction_id", "event_time").iter_rows())
    frauds, knowable = Counter(), Counter()
    judged = pl.concat(judged_weeks(small, WEEKS)).filter("is_fraud")
    details = known.filter(pl.col("transaction_id").is_in(judged["transaction_id"].implode()))
    for row in details.iter_rows(named=True):
        past = labels.filter(
            pl.col("event_time") <= when[row["transaction_id"]] - timedelta(days=7),
            pl.col("event_time") > when[row["transaction_id"]] - timedelta(days=37),
        )
        there = past.filter(pl.col("is_fraud"), terminal_id=row["terminal_id"])
        mean = past.filter(~pl.col("is_fraud"), customer_id=row["customer_id"])["amount"].mean()
        tellable = {1: True, 2: there.height > 0, 3: mean is not None and row["amount"] >= 2 * float(str(mean))}
        frauds[row["fraud_scenario"]] += 1
        knowable[row["fraud_scenario"]] += tellable[row["fraud_scenario"]]
    assert sum(frauds.values()) > 20
    assert {found[f"frauds_{n}"]: found[f"knowable_{n}"] for n in (1, 2, 3)} == {
        str(frauds[n]): str(knowable[n]) for n in (1, 2, 3)
    }
    assert 0.5 < float(found["ceiling"]) < 1


def test_a_lake_without_a_table_says_which_one(tmp_path: Path):
    with pytest.raises(ConvergenceError, match="fraud_evaluation"):
        pages.numbers(Lake(str(tmp_path)))


def test_parity_says_how_it_is_made_where_nothing_was_served(tmp_path: Path):
    with pytest.raises(TableMissing, match="answer requests with `convergence serve fraud`, then materialize"):
        pages.parity(Lake(str(tmp_path)))
