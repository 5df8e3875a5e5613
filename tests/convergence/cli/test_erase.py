"""A customer is erased from the fraud use case as it runs: tables, features of others, online states, served lines."""

import json
from collections import Counter
from datetime import timedelta
from pathlib import Path

import dagster as dg
import polars as pl
import pytest
from click.testing import CliRunner
from pydantic import SecretStr

from convergence.cli import cli
from convergence.cli.erase import carry_out, keepers_of, subject_named
from convergence.cli.reproduce import reproduced
from convergence.errors import Erased, LakeError
from convergence.features.online_state import key_name
from convergence.features.online_store import OnlineStore
from convergence.features.online_updates import fill, keep_up
from convergence.lake.manifests import Provenance, build_manifest, record, states
from convergence.lake.tables import by_day
from convergence.services.redis import connect, stop_embedded
from convergence.versions.reconcile import stale_partitions
from convergence_assets.fraud.arrivals import FIRST_DAY
from convergence_assets.fraud.datasets import label_rows, transaction_rows
from convergence_assets.fraud.features import feature_rows
from convergence_assets.fraud.requests import FEATURES
from resources import environments
from resources.graph import lake_nodes
from sensors.reconcile import FROM_STREAMS
from tests.convergence.cli import conftest as deployment
from tests.convergence.cli.conftest import DAYS, DERIVED, House, day
from tests.convergence_assets.fraud.worlds import at, messages

lived_in, house = deployment.lived_in, deployment.house

TYPED = [*DERIVED, "fraud/raw_transactions_late"]


def rows_by_customer(house: House) -> dict[str, Counter[int]]:
    return {t: Counter(house.lake.scan(t).collect()["customer_id"].to_list()) for t in TYPED}


@pytest.fixture
def customer(house: House) -> int:
    """Somebody who is in every table, what was rejected and what was late included."""
    late, unusable = (set(messages().slice(n, 3)["CUSTOMER_ID"]) for n in (200, 400))
    return min(late) if not late & unusable else min(late & unusable)


def erase(house: House, customer: int) -> dict:
    return carry_out(subject_named(f"customer:{customer}"), house.instance, actor="me", reason="asked")


def test_a_customer_leaves_every_fraud_table_and_nobody_else_does(house: House, customer: int) -> None:
    before = rows_by_customer(house)

    told = erase(house, customer)

    after = rows_by_customer(house)
    assert after == {t: Counter({c: n for c, n in held.items() if c != customer}) for t, held in before.items()}
    assert {one["table"]: one["rows"] for one in told["tables"] if one["table"] in TYPED} == {
        t: held[customer] for t, held in before.items() if held[customer]
    }
    waiting = house.lake.scan("fraud/raw_transactions_rejected").collect()["row"]
    assert customer not in {json.loads(row)["CUSTOMER_ID"] for row in waiting}


def test_scores_of_a_customers_transactions_go_with_them(house: House, customer: int) -> None:
    transactions = house.lake.scan("fraud/transactions").collect()
    rows = transactions.select(
        "event_date",
        "event_time",
        "transaction_id",
        score=pl.lit(0.5),
        model_version=pl.lit("m"),
        model_as_of=pl.lit(FIRST_DAY),
    )
    parts = by_day(rows)
    made = build_manifest(parts, "replace", Provenance("run", "1"))
    house.lake.replace("fraud/fraud_scores", parts, made, None)
    record(house.lake, ["fraud/fraud_scores"])

    erase(house, customer)

    left = set(house.lake.scan("fraud/fraud_scores").collect()["transaction_id"])
    assert left == set(transactions.filter(pl.col("customer_id") != customer)["transaction_id"])


def test_reconciling_afterwards_makes_the_features_of_others_without_the_customer_and_comes_to_rest(
    house: House, customer: int
) -> None:
    erase(house, customer)
    nodes = [n for n in lake_nodes(house._definitions.resolve_all_asset_specs()) if n.layer in FROM_STREAMS]
    assert {s.table for s in stale_partitions(nodes, states(house.lake, DERIVED))} >= {"fraud/transactions"}

    house.catch_up()

    mine = [n for n in nodes if n.table in DERIVED]
    assert stale_partitions(mine, states(house.lake, DERIVED)) == []
    assert all(customer not in held for held in rows_by_customer(house).values())
    raw = house.lake.scan(DERIVED[0])
    expected = feature_rows(transaction_rows(raw), label_rows(raw), at(FIRST_DAY), at(FIRST_DAY + timedelta(days=DAYS)))
    order = ["event_date", "transaction_id"]
    made = house.lake.scan("fraud/transaction_features").sort(order).collect()
    assert made.equals(expected.sort(order).select(made.columns))


def test_a_customer_who_was_erased_stays_out_of_what_is_landed_and_rebuilt(house: House, customer: int) -> None:
    from convergence.cli.rebuild import rebuild

    erase(house, customer)
    house.drop("again.jsonl", messages().filter(pl.col("CUSTOMER_ID") == customer).head(5), hours=0)
    house.catch_up()
    assert all(customer not in held for held in rows_by_customer(house).values())

    rebuild("fraud", house.instance)

    assert house.lake.generation(DERIVED[0]) == 2
    assert all(customer not in held for held in rows_by_customer(house).values())


def test_the_online_store_and_the_served_lines_forget_a_customer(house: House, customer: int) -> None:
    home = house.here.home
    redis = connect(None, home)
    try:
        store = OnlineStore(redis, FEATURES.online.layout)
        before = fill(house.lake, FEATURES, store)
        name = key_name(("customer_id",), (customer,))
        assert redis.exists(f"{before}/{name}")
        served = home / "served" / FEATURES.online.view.name / "2018-04-06.jsonl"
        served.parent.mkdir(parents=True)
        served.write_text("".join(json.dumps({"row": {"customer_id": c}}) + "\n" for c in (customer, customer + 1)))

        erase(house, customer)

        now = store.newest()
        assert now != before
        assert not list(redis.scan_iter(f"*{name}"))
        assert not list(redis.scan_iter(f"{before}/*"))
        assert keep_up(house.lake, FEATURES, store) == (now, 0)
        assert [json.loads(line)["row"]["customer_id"] for line in served.open()] == [customer + 1]
        assert (home / "online" / "redis.rdb").exists()
    finally:
        redis.close()
        stop_embedded(home)


def test_reproducing_what_was_made_from_erased_rows_names_certificate_date_and_table(
    house: House, customer: int
) -> None:
    told = erase(house, customer)
    touched = next(d for d in map(day, range(DAYS)) if d in told["tables"][0]["partitions"])

    with pytest.raises(Erased, match=rf"fraud/transactions .* {told['completed_at'][:10]} \(certificate 1\)"):
        reproduced(f"fraud/transactions@{touched}")

    house.catch_up()
    assert reproduced(f"fraud/transactions@{touched}")


def test_nothing_is_erased_while_a_run_is_in_progress(house: House, customer: int, monkeypatch) -> None:
    before = rows_by_customer(house)
    with dg.DagsterInstance.ephemeral() as busy:
        run = busy.create_run_for_job(dg.GraphDefinition(name="g", node_defs=[]).to_job())
        busy.report_run_canceling(run)
        with pytest.raises(LakeError, match="1 runs are in progress"):
            carry_out(subject_named(f"customer:{customer}"), busy, actor="me", reason="asked")

    assert rows_by_customer(house) == before
    assert not (house.here.home / "erasure.key").exists()


def test_a_dry_run_names_places_and_nobody(house: House, customer: int) -> None:
    told = CliRunner().invoke(cli, ["erase", f"customer:{customer}", "--dry-run"])

    assert told.exit_code == 0, told.output
    assert {line.split()[1] for line in told.output.splitlines()[:-1]} >= {*DERIVED, "inbox/fraud.transactions"}
    assert "nothing was changed" in told.output


@pytest.mark.parametrize("who", ["card:1", "customer:", "customer"])
def test_a_kind_that_no_contract_knows_is_refused_without_repeating_the_id(house: House, who: str) -> None:
    told = CliRunner().invoke(cli, ["erase", who])

    assert told.exit_code == 2
    assert "customer:ID" in told.output


def test_stores_are_looked_through_that_were_configured_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = SecretStr("postgresql://somebody:secret@127.0.0.1:1/database")
    here = environments.Settings(home=tmp_path, postgres=url)
    monkeypatch.setattr(environments, "settings", lambda: here)
    (tmp_path / "warehouse").mkdir()
    (tmp_path / "warehouse" / "warehouse.duckdb").touch()

    for configured in ("duckdb", "postgres"):
        here = here.model_copy(update={"warehouse": configured})
        names = {store.name for store in keepers_of(subject_named("customer:1")).stores}
        assert {"warehouse, DuckDB", "warehouse, PostgreSQL", "offline store, PostgreSQL"} <= names
