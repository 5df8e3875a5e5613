"""On the published data set the model reaches what the demo promises."""

from dataclasses import replace
from datetime import date, timedelta

import polars as pl
import pytest

from convergence.lake.contracts import schema_of
from convergence.models.gated import version
from convergence_assets.fraud import evaluation, training
from convergence_assets.fraud.arrivals import TOPIC
from convergence_assets.fraud.contracts import Label, Transaction
from convergence_assets.fraud.datasets import LABEL_DELAY
from convergence_assets.fraud.features import feature_rows
from convergence_assets.fraud.use_case import MODEL
from resources.environments import Settings
from tests.convergence_assets.fraud.worlds import at

AS_OF, TRAINING_DAYS, NEWER_DAYS = date(2018, 7, 18), 14, 6


def test_the_first_protocol_week_reaches_an_average_precision_of_070(monkeypatch: pytest.MonkeyPatch) -> None:
    data = Settings().published_data  # raises where CONVERGENCE_DATA names what is not there
    if data is None:
        pytest.skip("no published data on this machine: set CONVERGENCE_DATA to their folder")
    published, origin = TOPIC.history(data)
    assert origin.startswith("published"), f"{data} holds no published transactions: correct CONVERGENCE_DATA"
    short = replace(MODEL, schedule=replace(MODEL.schedule, training_days=TRAINING_DAYS))
    monkeypatch.setattr(training, "NEWER_DAYS", NEWER_DAYS)
    first = AS_OF - timedelta(days=TRAINING_DAYS + 14)
    raw = published.rename(dict(TOPIC.renames)).with_columns(
        event_time=pl.col("event_time").dt.replace_time_zone("UTC"), event_date=pl.col("event_time").dt.date()
    )
    raw = raw.filter(pl.col("event_date").is_between(first - timedelta(days=37), AS_OF + timedelta(days=6)))
    raw = raw.with_columns(arrived_at="event_time", label_time=pl.col("event_time") + LABEL_DELAY).collect()
    transactions, labels = (raw.select(schema_of(c).names()).cast(dict(schema_of(c))) for c in (Transaction, Label))

    features = feature_rows(transactions.lazy(), labels.lazy(), at(first), at(AS_OF + timedelta(days=7)))
    row = evaluation.evaluate(version(short, training.fit, features, labels, AS_OF, None), features, labels)

    assert row["average_precision"] >= 0.70
    assert row["average_precision_7d"] >= 0.70
    assert row["roc_auc_7d"] >= 0.86
    assert row["card_precision_100_7d"] >= 0.26
