"""From customers in the drop folder through dbt to published accounts, labels and features."""

import json
import shutil
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import dagster as dg
import polars as pl
import pytest
import yaml

from convergence.cli.reproduce import reproduced
from convergence.lake.manifests import Provenance, build_manifest, manifest, record, states
from convergence.services.postgres import PostgresServer
from convergence.versions.reconcile import stale_partitions
from convergence.warehouse.warehouse import Warehouse
from convergence_assets.churn import definitions
from convergence_assets.churn.contracts import Account, Customer
from resources import environments
from resources.dbt import PROJECT
from resources.dbt import manifest as manifest_of_dbt
from resources.graph import lake_nodes
from sensors.reconcile import run_requests
from tests.convergence_assets.churn.worlds import House, day, failure, house_in

FIRST, LAST = day(0), day(111)
MARTS = ("stg_customers", "mart_accounts")


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """700 customers, landed and built once."""
    with dg.DagsterInstance.ephemeral() as instance:
        built = house_in(tmp_path_factory.mktemp("house"), instance)
        built.arrive(700)
        for assets in (["raw_customers"], ["customers"], [*MARTS, "accounts"], ["churn_labels"], ["customer_features"]):
            result = built.materialize(FIRST, LAST, *assets)
            assert result.success, failure(result)
        yield built


@pytest.fixture
def copy(house: House, tmp_path: Path, instance: dg.DagsterInstance) -> House:
    """The same deployment, to be changed."""
    shutil.copytree(house.settings.home, tmp_path / "copy")
    return house_in(tmp_path / "copy", instance)


def test_an_account_says_what_the_published_row_says(house: House) -> None:
    """Against plain Python, every row and column."""
    customers = {row["customerID"]: row for row in house.rows("customers").iter_rows(named=True)}
    words = {"Month-to-month": "month_to_month", "One year": "one_year", "Two year": "two_year"} | {
        "Electronic check": "electronic_check", "Mailed check": "mailed_check",
        "Bank transfer (automatic)": "bank_transfer", "Credit card (automatic)": "credit_card",
        "DSL": "dsl", "Fiber optic": "fiber_optic", "No": "none",
    }  # fmt: skip
    extras = {"multiple_lines": "MultipleLines", "online_security": "OnlineSecurity", "online_backup": "OnlineBackup",
              "device_protection": "DeviceProtection", "tech_support": "TechSupport", "streaming_tv": "StreamingTV",
              "streaming_movies": "StreamingMovies", "phone_service": "PhoneService"}  # fmt: skip
    accounts = house.rows("accounts")
    assert accounts.height == len(customers) == 700
    for account in accounts.iter_rows(named=True):
        row = customers[account["customer_id"]]
        blank = not row["TotalCharges"].strip()
        booked = {name: row[published] == "Yes" for name, published in extras.items()}
        total = 0.0 if blank else float(row["TotalCharges"])
        mean = total / row["tenure"] if row["tenure"] else row["MonthlyCharges"]
        assert account == {
            **{name: row[name] for name in ("event_date", "event_time", "arrived_at")},
            "customer_id": row["customerID"],
            "gender": row["gender"].lower(),
            "senior": row["SeniorCitizen"] == 1,
            "partner": row["Partner"] == "Yes",
            "dependents": row["Dependents"] == "Yes",
            "tenure_months": row["tenure"],
            "internet_service": words[row["InternetService"]],
            **booked,
            "contract": words[row["Contract"]],
            "paperless_billing": row["PaperlessBilling"] == "Yes",
            "payment_method": words[row["PaymentMethod"]],
            "monthly_charges": row["MonthlyCharges"],
            "total_charges": total,
            "mean_monthly_charges": mean,
            "charge_change": row["MonthlyCharges"] - mean,
            "service_count": sum(booked.values()) + (row["InternetService"] != "No"),
        }


def test_labels_are_known_28_days_after_the_customer_was_looked_at(house: House) -> None:
    labels = house.rows("churn_labels")
    raw = house.rows("raw_customers").select("customerID", left=pl.col("Churn") == "Yes")
    joined = labels.join(raw, left_on="customer_id", right_on="customerID")
    assert joined.height == 700
    assert (joined["churned"] == joined["left"]).all()
    assert (labels["label_time"] - labels["event_time"]).unique().to_list() == [timedelta(days=28)]


def test_a_rate_of_a_segment_counts_only_labels_that_were_known(house: House) -> None:
    """Against a plain loop over a sample of rows."""
    features = house.rows("customer_features").sort("event_time").gather_every(37)
    labels = house.rows("churn_labels").to_dicts()
    for row in features.iter_rows(named=True):
        alike = [
            label["churned"]
            for label in labels
            if label["contract"] == row["contract"]
            and label["label_time"] <= row["event_time"]
            and (row["event_time"] - label["label_time"]).days < 56
        ]
        expected = sum(alike) / len(alike) if alike else None
        assert row["contract_churn_rate_56d"] == (pytest.approx(expected) if alike else None)


def test_the_manifest_names_the_lake_table_and_the_metadata_the_warehouse(house: House) -> None:
    made = manifest(house.lake, "churn/accounts", day(50))
    read = states(house.lake, ["churn/customers"])["churn/customers"][day(50)].content_hash
    assert made["inputs"]["churn/customers"]["partitions"][day(50)] == read
    record = house.instance.fetch_materializations(
        dg.AssetRecordsFilter(asset_key=dg.AssetKey(["churn", "accounts"]), asset_partitions=[day(50)]), limit=1
    ).records[0]
    assert record.asset_materialization
    assert record.asset_materialization.metadata["warehouse"].value == "DuckDB"


def test_dbts_tests_are_blocking_checks_with_descriptions() -> None:
    specs = [c for a in definitions.defs.assets or () if isinstance(a, dg.AssetsDefinition) for c in a.check_specs]
    from_dbt = [c for c in specs if c.asset_key.path[-1] in MARTS]
    tests = [node for node in json.loads(manifest_of_dbt().read_text())["nodes"] if node.startswith("test.")]
    assert len(from_dbt) == len(tests) >= 15
    assert all(c.blocking and c.description for c in from_dbt)


def warehouse_rows(warehouse: Warehouse) -> pl.DataFrame:
    with warehouse.session() as session:
        return session.frame("select * from marts.mart_accounts").sort("event_time", "customer_id")


def test_accounts_are_made_again_through_dbt_and_come_out_equal(
    house: House, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(environments, "settings", lambda: house.settings)
    assert reproduced(f"churn/accounts@{day(20)}")
    rows = house.rows("accounts", day(20)).height
    assert f"equal: {rows} rows" in capsys.readouterr().out


def test_a_mart_of_another_version_is_not_published_and_a_run_of_that_day_mends_it(copy: House) -> None:
    before = warehouse_rows(copy.resources["warehouse"].plain)
    moved = copy.rows("raw_customers", day(5)).select(pl.exclude("event_date", "source", "offset")).head(1)
    time = pl.col("event_time").dt.replace_time_zone(None)
    copy.drop(
        moved.with_columns(time, arrived_at=time + pl.duration(hours=1), MonthlyCharges=pl.lit(77.0)), "correction"
    )
    assert copy.materialize(day(5), day(5), "raw_customers", "customers").success
    refused = copy.materialize(FIRST, LAST, "accounts")
    assert not refused.success
    assert f"not made from churn/customers as it is now, on {day(5)}" in failure(refused)
    assert copy.materialize(day(5), day(5), *MARTS, "accounts").success
    assert 77.0 in copy.rows("accounts", day(5))["monthly_charges"]
    after = warehouse_rows(copy.resources["warehouse"].plain)
    others = pl.col("event_date").cast(pl.String) != day(5)
    assert after.filter(others).equals(before.filter(others))
    assert not after.equals(before)


def test_a_failed_dbt_test_stops_what_would_be_published(copy: House) -> None:
    """A value that staging does not know, put behind the contract's back."""
    before = states(copy.lake, ["churn/accounts"])["churn/accounts"]
    parts = {day(7): copy.rows("customers", day(7)).with_columns(Contract=pl.lit("Half year"))}
    base = copy.lake.open("churn/customers")
    copy.lake.replace("churn/customers", parts, build_manifest(parts, "replace", Provenance("run", "1")), base)
    record(copy.lake, ["churn/customers"])
    result = copy.materialize(day(7), day(7), *MARTS, "accounts")
    failed = {e.check_name for e in result.get_asset_check_evaluations() if not e.passed}
    assert not result.success
    assert any(name.startswith("not_null_stg_customers_contract") for name in failed)
    assert states(copy.lake, ["churn/accounts"])["churn/accounts"] == before


def test_reconcile_asks_for_the_models_of_dbt_together_with_what_is_published(house: House) -> None:
    nodes = [n for n in lake_nodes(house.definitions.resolve_all_asset_specs()) if n.table.startswith("churn/")]
    held = states(house.lake, [n.table for n in nodes]) | {"churn/accounts": {}}
    stale = stale_partitions(nodes, held)
    asked = [r for r in run_requests(nodes, stale) if dg.AssetKey(["churn", "accounts"]) in (r.asset_selection or ())]
    (request,) = asked
    assert [key.path[-1] for key in request.asset_selection or ()] == [*MARTS, "accounts"]


def test_accounts_come_out_of_postgresql_as_out_of_duckdb(
    copy: House, postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CONVERGENCE_POSTGRES", postgres.url)
    there = house_in(copy.settings.home, copy.instance, warehouse="postgres", postgres=postgres.url)
    before = states(copy.lake, ["churn/accounts"])["churn/accounts"]
    result = there.materialize(FIRST, LAST, *MARTS, "accounts")
    assert result.success, failure(result)
    after = states(copy.lake, ["churn/accounts"])["churn/accounts"]
    assert {d: s.content_hash for d, s in after.items()} == {d: s.content_hash for d, s in before.items()}
    assert {s.run_id for s in after.values()} == {result.run_id}


def test_dbt_says_of_a_column_what_its_contract_says() -> None:
    document = yaml.safe_load((PROJECT / "models" / "churn" / "_churn.yml").read_text())
    (mart,) = (model for model in document["models"] if model["name"] == "mart_accounts")
    (source,) = document["sources"][0]["tables"]
    for table, contract in ((mart, Account), (source, Customer)):
        said = {name: column.description for name, column in contract.to_schema().columns.items()}
        assert {column["name"]: column["description"] for column in table["columns"]} == said
