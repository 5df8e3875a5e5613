"""Weekly churn models: what they may know, who serves, what they are worth, and the leaderboard they come from."""

import io
import json
from datetime import date, timedelta
from functools import cache
from typing import Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal
from sklearn.metrics import roc_auc_score

from convergence.errors import ModelError, SettingsError
from convergence.lake.contracts import schema_of
from convergence.models import automl, families, gated, h2o_leaderboard, splits, stored
from convergence.models.automl import Entry
from convergence_assets._parts import cards
from convergence_assets.churn import evaluation, leaderboard, training
from convergence_assets.churn.feature_views import MODEL_INPUT
from convergence_assets.churn.leaderboard import LeaderboardConfig
from convergence_assets.churn.model import CHURN
from convergence_assets.churn.model_contracts import (
    ChurnEvaluation,
    ChurnLeaderboard,
    ChurnModel,
    ChurnPromotion,
    ChurnScore,
)
from convergence_assets.churn.use_case import MODEL
from tests.convergence_assets.churn.frames import AS_OF, WEEK, at, model_of, world

QUICK = LeaderboardConfig(trials=1, folds=2)


@cache
def searched() -> tuple[list[dict[str, Any]], list[Entry]]:
    """A leaderboard as of a week before."""
    return leaderboard.search(*world(), AS_OF - WEEK, QUICK)


def champions(**versions: date) -> pl.DataFrame:
    """A champion for each day, named day=as-of date."""
    rows = []
    for day, as_of in versions.items():
        made = model_of(as_of)
        served = {name: made[name] for name in ("model_version", "sha256", "onnx", "model")}
        rows.append({"event_date": date.fromisoformat(day), "model_as_of": as_of, "release": None, **served})
    return pl.DataFrame(rows, schema_overrides={"release": pl.Int64})


# What a model knows


@pytest.mark.parametrize("moment", [AS_OF, date(2024, 1, 29), date(2024, 1, 30)])
def test_exactly_the_labels_known_at_the_start_of_the_date_are_given(moment: date) -> None:
    features, labels = world()
    known = MODEL.known(features, labels, moment)
    expected = labels.filter(pl.col("label_time") <= at(moment))
    truth = dict(expected.select("customer_id", "churned").iter_rows())
    assert dict(known.select("customer_id", "churned").iter_rows()) == truth


def test_no_feature_is_an_identifier_a_gender_or_a_time() -> None:
    assert not {"customer_id", "gender", "event_date", "event_time"} & set(MODEL_INPUT)


def test_a_model_row_keeps_its_contract_and_leaves_the_newest_week_to_the_gate() -> None:
    model = model_of(AS_OF)
    ChurnModel.validate(pl.DataFrame([model]), lazy=True)
    newest_known = AS_OF - timedelta(days=29)
    assert model["training_last_day"] == newest_known - WEEK
    assert model["training_first_day"] == date(2024, 1, 1)


def test_what_happens_after_the_date_changes_no_model() -> None:
    features, labels = world()
    cut = at(AS_OF)
    later = labels.with_columns(churned=pl.col("churned") ^ (pl.col("label_time") > cut))
    assert later["churned"].sum() != labels["churned"].sum()
    again = gated.version(MODEL, training.fit, features, later, AS_OF, None)
    assert again["sha256"] == model_of(AS_OF)["sha256"]


def test_the_stored_graph_ranks_customers_that_the_fit_has_not_seen() -> None:
    features, labels = world()
    row = evaluation.evaluate(model_of(AS_OF), features, labels)
    ChurnEvaluation.validate(pl.DataFrame([row]), lazy=True)
    week = features.filter(pl.col("event_date").is_between(AS_OF, AS_OF + timedelta(days=6)))
    truth = dict(labels.select("customer_id", "churned").iter_rows())
    scores = stored.load(model_of(AS_OF)["onnx"], sha256=model_of(AS_OF)["sha256"]).score_rows(week)
    expected = roc_auc_score([truth[c] for c in week["customer_id"]], scores)
    assert row["roc_auc"] == pytest.approx(expected, abs=1e-12)
    assert row["roc_auc"] > 0.75
    assert row["test_rows"] == week.height
    assert evaluation.figures(pl.DataFrame([row]))["roc_auc"] == row["roc_auc"]


def test_the_model_card_names_weights_and_strongest_features() -> None:
    card = training.model_card(pl.DataFrame([model_of(AS_OF)]))
    assert card["training_rows"] == model_of(AS_OF)["training_rows"]
    assert "month_to_month" in card["model_card"].value
    assert card["parity"] <= 1e-5


# The leaderboard


def test_the_leaderboard_keeps_its_contract_and_a_model_takes_its_parameters() -> None:
    rows = pl.DataFrame(searched()[0]).select(schema_of(ChurnLeaderboard).names())
    ChurnLeaderboard.validate(rows, lazy=True)
    taken = training.parameters_as_of(rows, AS_OF)
    assert taken.keys() == set(training.MEMBERS)
    found = dict(rows.select("family", "parameters").iter_rows())
    assert taken == {name: json.loads(found[name]) for name in training.MEMBERS}
    model = gated.version(MODEL, training.fit, *world(), AS_OF, taken)
    assert json.loads(model["parameters"]) == {**taken, "seed": training.SEED}


def test_the_leaderboard_has_seen_no_label_of_the_first_models_gate() -> None:
    search = leaderboard.SEARCHED.get_last_partition_key()
    first = CHURN.weeks.get_first_partition_key()
    assert search is not None
    assert first is not None
    features, labels = world()
    at_search = date.fromisoformat(search)
    known = MODEL.known(features, labels, at_search)
    seen = splits.training_rows(known, at_search, days=84, delay=MODEL.schedule.delay_days)["event_date"].max()
    assert isinstance(seen, date)
    assert seen < date.fromisoformat(first) - timedelta(days=MODEL.schedule.delay_days + MODEL.schedule.gate_days)


def test_a_model_of_before_the_search_has_no_parameters() -> None:
    rows = pl.DataFrame(searched()[0])
    with pytest.raises(ModelError, match="materialize churn/churn_leaderboard"):
        training.parameters_as_of(rows, AS_OF - 2 * WEEK)


def test_a_leaderboard_that_was_cut_before_a_member_says_which() -> None:
    rows = pl.DataFrame(searched()[0]).filter(pl.col("family") != families.BOOSTED)
    with pytest.raises(ModelError, match=r"no parameters of \['boosted'\]"):
        training.parameters_as_of(rows, AS_OF)


def test_the_shown_leaderboard_has_seconds_that_no_row_has() -> None:
    rows, entries = searched()
    shown = leaderboard.standing(entries, QUICK)
    assert shown["search_s"] > 0
    assert "seconds" in shown["leaderboard"].records[0].data
    assert "seconds" not in schema_of(ChurnLeaderboard)
    assert len(shown["leaderboard"].records) == len(rows) == 5


def test_h2os_rows_stand_beside_ours_and_no_model_takes_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """The engine itself is tested in test_h2o_leaderboard; here it only answers."""
    ours = searched()[1]
    answer = h2o_leaderboard.Found([ours[0]._replace(engine="h2o", family="linear")], "3", 1.0)
    monkeypatch.setattr(automl, "leaderboard", lambda *_, **__: ours)
    monkeypatch.setattr(h2o_leaderboard, "leaderboard", lambda *_, **__: answer)
    config = LeaderboardConfig(engines=["convergence", "h2o"], folds=2)
    rows = pl.DataFrame(leaderboard.search(*world(), AS_OF - WEEK, config)[0])
    assert rows["engine"].unique().sort().to_list() == ["convergence", "h2o"]
    taken = training.parameters_as_of(rows, AS_OF)["linear"]
    assert taken == json.loads(rows.filter(engine="convergence", family="linear")["parameters"].item())


@pytest.mark.parametrize("engines", [["h2o"], ["convergence", "autogluon"]], ids=" ".join)
def test_an_engine_that_is_not_there_is_refused(engines: list[str]) -> None:
    with pytest.raises(SettingsError, match="expected convergence"):
        leaderboard.search(*world(), AS_OF, LeaderboardConfig(engines=engines))


# The gate


def test_a_first_model_passes_and_serves() -> None:
    decision = gated.decide(MODEL, model_of(AS_OF), None, *world())
    assert decision is not None
    ChurnPromotion.validate(pl.DataFrame([decision], schema=schema_of(ChurnPromotion)), lazy=True)
    assert decision["promoted"]
    assert decision["model_version"] == model_of(AS_OF)["model_version"]
    assert cards.decision_card(MODEL, pl.DataFrame([decision]))["promoted"]


def test_a_model_of_inverted_labels_is_refused_and_the_champion_stays() -> None:
    features, labels = world()
    before = gated.decide(MODEL, model_of(AS_OF - WEEK), None, features, labels)
    inverted = gated.version(MODEL, training.fit, features, labels.with_columns(~pl.col("churned")), AS_OF, None)
    decision = gated.decide(MODEL, inverted, before, features, labels)
    assert before is not None
    assert decision is not None
    assert not decision["promoted"]
    assert decision["model_version"] == before["model_version"]
    assert "beats_trivial_baseline FAILED" in decision["reason"]
    assert gated.decide(MODEL, inverted, None, features, labels) is None


def test_the_gate_judges_the_newest_known_week_which_the_fit_has_not_seen() -> None:
    features, labels = world()
    week = [AS_OF - timedelta(days=28 + n) for n in range(1, 8)]
    only = features.filter(pl.col("event_date").is_in(week))
    whole, part = (gated.decide(MODEL, model_of(AS_OF), None, f, labels) for f in (features, only))
    assert whole == part
    assert model_of(AS_OF)["training_last_day"] < min(week)


# Scores


def test_each_customer_is_scored_by_the_champion_of_its_own_day() -> None:
    features, _ = world()
    days = {"2024-03-18": AS_OF - WEEK, "2024-03-19": AS_OF}
    rows = features.filter(pl.col("event_date").cast(pl.String).is_in(list(days)))
    found = gated.issue(MODEL, ChurnScore, rows, champions(**days))
    ChurnScore.validate(found, lazy=True)
    for day, as_of in days.items():
        mine = rows.filter(pl.col("event_date") == date.fromisoformat(day))
        model = model_of(as_of)
        expected = stored.load(model["onnx"], sha256=model["sha256"]).score_rows(mine)
        got = found.filter(pl.col("event_date") == date.fromisoformat(day))
        assert dict(got.select("customer_id", "score").iter_rows()) == dict(
            zip(mine["customer_id"], expected, strict=True)
        )
        assert got["model_as_of"].unique().to_list() == [as_of]
    assert isinstance(cards.score_card(MODEL, found)["mean_score"], float)


def test_scores_made_again_are_the_same_bytes_whatever_the_order_of_rows() -> None:
    features, _ = world()
    rows = features.filter(pl.col("event_date") == AS_OF)
    written = []
    for frame in (rows, rows.sample(fraction=1, shuffle=True, seed=1)):
        buffer = io.BytesIO()
        gated.issue(MODEL, ChurnScore, frame, champions(**{str(AS_OF): AS_OF})).write_parquet(buffer)
        written.append(buffer.getvalue())
    assert written[0] == written[1]


def test_a_day_without_champion_is_refused() -> None:
    features, _ = world()
    with pytest.raises(ModelError, match="materialize churn/churn_champions"):
        gated.issue(
            MODEL, ChurnScore, features.filter(pl.col("event_date") == AS_OF), champions(**{"2024-03-19": AS_OF})
        )


def test_no_customers_are_no_scores() -> None:
    features, _ = world()
    found = gated.issue(MODEL, ChurnScore, features.head(0), champions(**{str(AS_OF): AS_OF}))
    assert_frame_equal(found, pl.DataFrame(schema=schema_of(ChurnScore)))


def test_a_label_known_at_the_very_moment_counts_and_one_a_tick_later_does_not() -> None:
    features, labels = world()
    two = labels.sort("customer_id").head(2)
    times = pl.Series([at(AS_OF), at(AS_OF) + timedelta(microseconds=1)]).cast(pl.Datetime("us", "UTC"))
    known = MODEL.known(features, two.with_columns(label_time=times), AS_OF)
    assert known["customer_id"].to_list() == two["customer_id"].head(1).to_list()
