"""The second data set: read as published or refused, weighted to the whole file, judged in order of time."""

from functools import cache
from pathlib import Path

import dagster as dg
import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from convergence.errors import ContractBroken, SettingsError
from convergence.lake.manifests import states
from convergence.models.metrics import base_rate_average_precision
from convergence_assets.fraud import creditcard, creditcard_evaluation
from convergence_assets.fraud.creditcard import FRAUDS, GENUINE, CreditcardTransaction, origin, read, transactions
from convergence_assets.fraud.creditcard_evaluation import CreditcardEvaluation, evaluate, figures
from resources.configured import resources
from resources.environments import Settings
from resources.published import Published

BASE_RATE = FRAUDS / (FRAUDS + GENUINE)


@cache
def published(frauds: int = 120, genuine: int = 900, seed: int = 0) -> pl.DataFrame:
    """Rows as published, of which the first component tells most frauds."""
    rng, rows = np.random.default_rng(seed), frauds + genuine
    label = rng.permutation(np.arange(rows) < frauds)
    components = {f"V{n}": rng.normal(size=rows) + 3.0 * label * (n == 1) for n in range(1, 29)}
    time, amount = np.floor(rng.uniform(0, 172_800, rows)), rng.integers(0, 9_999, rows) / 100
    return pl.DataFrame({"Time": time, **components, "Amount": amount, "Class": label.astype(np.int8)}).sort("Time")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(creditcard_evaluation, "ROUNDS", 20)
    monkeypatch.setattr(creditcard_evaluation, "SEEDS", 2)


@cache
def evaluated() -> pl.DataFrame:
    """Of the rows as they are."""
    return evaluate(transactions(published()))


def written(folder: Path, frame: pl.DataFrame) -> Path:
    frame.write_csv(folder / "creditcard.csv", quote_style="always")  # as published: quoted
    return folder / "creditcard.csv"


# Reading


def test_csv_and_parquet_give_the_same_rows(tmp_path: Path) -> None:
    published().write_parquet(tmp_path / "sample.parquet")
    assert_frame_equal(read(written(tmp_path, published())), read(tmp_path / "sample.parquet"))


def test_times_in_scientific_notation_are_read(tmp_path: Path) -> None:
    text = written(tmp_path, published().with_columns(Time=100_000.0)).read_text().replace('"100000.0"', "1e+05")
    (tmp_path / "creditcard.csv").write_text(text)
    assert read(tmp_path / "creditcard.csv")["Time"].unique().to_list() == [100_000]


V7 = pl.col("V7").cast(pl.String)
BROKEN = {
    "a column is missing": (pl.all().exclude("V7"), r"columns \['V7'\] missing"),
    "a column too many": (pl.lit(1).alias("V29"), r"and \['V29'\] unexpected"),
    "a class that is no label": (pl.lit(2).alias("Class"), r"classes \[2"),
    "one class only": (pl.lit(0).alias("Class"), r"classes \[0"),
    "a value that is no number": (pl.lit(float("nan")).alias("V7"), "no finite numbers: {'V7': 1020}"),
    "a value that is text": (pl.when(V7.first() == V7).then(pl.lit("x")).otherwise(V7).alias("V7"), "{'V7': 1}"),
    "a value that is missing": (pl.lit(None).alias("Amount"), "{'Amount': 1020}"),
    "a time on the third day": (pl.lit(172_800).alias("Time"), "1020 times outside the 2 days"),
}


@pytest.mark.parametrize(("change", "said"), BROKEN.values(), ids=BROKEN)
def test_a_file_that_is_not_as_published_is_refused(tmp_path: Path, change: pl.Expr, said: str) -> None:
    wrong = published().select(change) if "missing" in said else published().with_columns(change)
    with pytest.raises(ContractBroken, match=f"creditcard.csv is not the published .*{said}"):
        read(written(tmp_path, wrong))


# Weights


@given(st.integers(1, 30), st.integers(1, 200))
@settings(deadline=None)
def test_weights_give_every_sample_the_base_rate_of_the_whole(frauds: int, genuine: int) -> None:
    rows = transactions(published(frauds, genuine))
    CreditcardTransaction.validate(rows, lazy=True)
    assert base_rate_average_precision(rows["is_fraud"], weight=rows["weight"]) == pytest.approx(BASE_RATE)
    assert rows.filter("is_fraud")["weight"].unique().to_list() == [1.0]


def test_the_whole_file_counts_each_row_once_and_says_that_it_is_whole() -> None:
    rows = transactions(published(FRAUDS, GENUINE))
    assert rows["weight"].unique().to_list() == [1.0]
    assert origin(rows).endswith("real (whole)")
    assert "case-control sample: 120 frauds, 900 of 284,315 genuine" in origin(transactions(published()))


def test_rows_go_in_order_of_time_on_the_replay_clock() -> None:
    shuffled = published().sample(fraction=1, shuffle=True, seed=1)
    rows = transactions(shuffled)
    assert rows["event_time"].is_sorted()
    assert (rows["event_time"] - creditcard.CLOCK).dt.total_seconds().to_list() == published()["Time"].to_list()
    assert str(rows["event_time"].dt.date().max()) == "2013-09-02"


# Evaluation


def test_an_evaluation_keeps_its_contract_and_beats_the_trivial_baseline() -> None:
    found = evaluated()
    CreditcardEvaluation.validate(found, lazy=True)
    assert found["candidate"].to_list() == ["trees", "linear", "both"]
    assert found["chosen"].sum() == 1
    assert (found["average_precision"] > 10 * found["base_rate"]).all()
    assert (found["average_precision_low"] <= found["average_precision"]).all()
    shown = figures(found)
    assert all(name in shown["candidates"].value for name in ("| trees", "(chosen)", "0.866"))
    assert shown["candidate"] == found.filter("chosen")["candidate"][0]


def test_the_last_fifth_decides_nothing() -> None:
    rows = transactions(published())
    passed = rows["weight"].cum_sum() / rows["weight"].sum()
    last = pl.Series(passed > 0.8)
    swapped = rows.with_columns(v1=pl.when(last).then(-pl.col("v1")).otherwise("v1"))
    before, after = evaluated(), evaluate(swapped)
    kept = ["candidate", "chosen", "average_precision_validation", "training_rows", "training_frauds"]
    assert_frame_equal(before.select(kept), after.select(kept))
    assert (after["average_precision"] < before["average_precision"] - 0.1).all()


def test_probabilities_are_those_of_the_whole_and_not_of_the_sample() -> None:
    rows = transactions(published(400, 2000))
    model = creditcard_evaluation.candidates(rows)["linear"]
    values = rows.select(creditcard_evaluation.INPUT).to_numpy().astype(np.float32)
    mean = np.average(model.score(values), weights=rows["weight"])
    assert BASE_RATE / 2 < mean < BASE_RATE * 2  # without the correction it is 97 times as much


# As assets


def house(home: Path, file: Path | None) -> dg.ExecuteInProcessResult:
    """Both assets, on a file that takes the sample's place."""
    files = Published(folder=str(home), instead={creditcard.SETTING: str(file)} if file else {})
    assets = [creditcard.creditcard_transactions, creditcard_evaluation.creditcard_evaluation]
    made = dg.Definitions(assets=assets, resources=resources(Settings(home=home)) | {"published": files})
    job = made.resolve_implicit_global_asset_job_def()
    with dg.DagsterInstance.ephemeral() as instance:
        return job.execute_in_process(instance=instance, raise_on_error=False)


def test_what_is_made_from_the_file_says_where_it_comes_from(tmp_path: Path) -> None:
    assert house(tmp_path, written(tmp_path, published())).success
    tables = ["fraud/creditcard_transactions", "fraud/creditcard_evaluation"]
    held = states(resources(Settings(home=tmp_path))["lake"].lake, tables)
    assert {held[table][""].origins for table in tables} == {(origin(transactions(published())),)}


def test_without_the_file_the_asset_fails_and_names_it(tmp_path: Path) -> None:
    failed = house(tmp_path, None)
    (failure,) = [e.step_failure_data for e in failed.all_events if e.is_step_failure]
    assert failure.user_failure_data is not None
    assert "fraud/creditcard_10k.parquet is not in" in str(failure.user_failure_data.description)


def test_a_named_file_that_is_not_there_is_an_error_and_never_the_sample(tmp_path: Path) -> None:
    (tmp_path / "fraud").mkdir()
    published().write_parquet(tmp_path / creditcard.FILE)
    settings = Settings(home=tmp_path, data=tmp_path, creditcard=tmp_path / "nowhere.csv")
    with pytest.raises(SettingsError, match=r"nowhere.csv .*which is no file"):
        resources(settings)["published"].find(creditcard.FILE, creditcard.SETTING)
    named = Settings(home=tmp_path, data=tmp_path, creditcard=None)
    assert resources(named)["published"].find(creditcard.FILE, creditcard.SETTING) == tmp_path / creditcard.FILE


def test_the_real_sample_splits_as_others_split_the_whole_file(monkeypatch: pytest.MonkeyPatch) -> None:
    data = Settings().published_data
    if data is None or not (data / creditcard.FILE).exists():
        pytest.skip("no published data on this machine: set CONVERGENCE_DATA to their folder")
    monkeypatch.setattr(creditcard_evaluation, "ROUNDS", 100)
    monkeypatch.setattr(creditcard_evaluation, "SEEDS", 1)
    found = evaluate(transactions(read(data / creditcard.FILE)))
    assert found["test_frauds"].to_list() == [75] * 3  # as in the published evaluations by time
    assert (found["average_precision"] > 0.7).all()
    assert (found["average_precision_stratified"] > found["average_precision"]).all()
