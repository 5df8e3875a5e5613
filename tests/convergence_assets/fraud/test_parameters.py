"""The parameters that a model is trained with come from a search that saw only earlier weeks."""

import json
from collections.abc import Iterator
from datetime import date, timedelta
from functools import cache, partial
from typing import Any

import numpy as np
import polars as pl
import pytest

from convergence.errors import ModelError
from convergence.models.gated import version
from convergence.models.tuning import Range
from convergence_assets.fraud import parameters, training
from convergence_assets.fraud.model import FRAUD
from convergence_assets.fraud.parameters import SEARCHED, FraudParameters, folds, search, search_card
from convergence_assets.fraud.training import fit, in_use, parameters_as_of
from convergence_assets.fraud.use_case import MODEL
from tests.convergence_assets.fraud.worlds import at, world

(AS_OF,) = (date.fromisoformat(key) for key in SEARCHED.get_partition_keys())


@pytest.fixture(autouse=True)
def short() -> Iterator[None]:
    """Trees and trials enough for a small world."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "ROUNDS", 20)
        patch.setattr(parameters, "TRIALS", 3)
        patch.setitem(parameters.SPACE, "rounds", Range(10, 30))
        yield


@cache
def searched() -> dict[str, Any]:
    return search(*world(), AS_OF)


def test_a_search_keeps_its_contract_and_begins_with_what_was_in_use() -> None:
    row = searched()
    FraudParameters.validate(pl.DataFrame([row]), lazy=True)
    trials = json.loads(row["trials"])
    assert trials[0]["parameters"] == in_use()
    assert len(trials) == 3
    assert json.loads(row["parameters"]) in [trial["parameters"] for trial in trials]
    assert json.loads(row["importance"]).keys() == parameters.SPACE.keys()


def test_a_search_repeats_itself_whatever_the_order_of_its_rows() -> None:
    features, labels = (frame.sample(fraction=1, shuffle=True, seed=3) for frame in world())
    assert search(features, labels, AS_OF) == searched()


def test_nothing_after_the_date_changes_a_search() -> None:
    features, labels = world()
    unknown = pl.col("label_time") > at(AS_OF)
    changed = labels.with_columns(is_fraud=pl.when(unknown).then(~pl.col("is_fraud")).otherwise("is_fraud"))
    assert search(features.filter(pl.col("event_time") < at(AS_OF)), changed, AS_OF) == searched()


def test_each_fold_is_fitted_on_labels_known_at_the_start_of_the_week_that_it_is_judged_on() -> None:
    made = folds(MODEL.known(*world(), AS_OF), AS_OF)
    starts = [date(2018, 6, 13), date(2018, 6, 20), date(2018, 6, 27)]
    assert [fold.judged_on.day.min().item() for fold in made] == starts
    assert [fold.judged_on.day.max().item() for fold in made] == [day + timedelta(days=6) for day in starts]
    assert [fold.fitted_on.day.max().item() for fold in made] == [day - timedelta(days=8) for day in starts]


def test_a_fold_keeps_every_fraud_and_weighs_genuine_rows_to_their_number() -> None:
    known = MODEL.known(*world(), AS_OF)
    for fold in folds(known, AS_OF):
        there = known.filter(pl.col("event_date") <= fold.fitted_on.day.max().item())
        assert fold.fitted_on.label.sum() == there["is_fraud"].sum()
        assert fold.fitted_on.weight.sum() == pytest.approx(there.height, rel=0.1)
        assert (fold.judged_on.weight == np.ones(len(fold.judged_on.label))).all()


def test_every_week_that_a_search_saw_is_over_before_a_gate_or_an_evaluation_begins() -> None:
    first = date.fromisoformat(FRAUD.weeks.get_partition_keys()[0])
    assert searched()["last_judged"] < first - timedelta(days=MODEL.schedule.gate_days + MODEL.schedule.delay_days)


def test_a_model_is_trained_with_the_newest_parameters_of_its_date() -> None:
    rows = pl.DataFrame(
        [{"event_date": AS_OF + timedelta(weeks=n), "parameters": json.dumps({"rounds": n})} for n in (0, 1, 2)]
    )
    assert parameters_as_of(rows, AS_OF + timedelta(days=8)) == {"rounds": 1}
    with pytest.raises(ModelError, match="no parameters as of 2018-07-10"):
        parameters_as_of(rows, AS_OF - timedelta(days=1))


def test_a_model_says_which_parameters_it_was_trained_with(monkeypatch: pytest.MonkeyPatch) -> None:
    for other in ("_network", "_linear"):  # what is slow and takes no parameters
        monkeypatch.setattr(training, other, partial(training.trees, parameters={"rounds": 2}))
    others = {**in_use(), "rounds": 12, "max_depth": 2}
    row = version(MODEL, fit, *world(), AS_OF + timedelta(days=7), others)
    assert json.loads(row["parameters"]) == {**others, "seed": training.SEED}
    assert len(json.loads(row["model"])["learner"]["gradient_booster"]["model"]["trees"]) == 12


def test_the_card_lists_trials_from_the_best_and_says_what_was_decided() -> None:
    text = search_card(pl.DataFrame([searched()]))["search_card"].value
    best = max(json.loads(searched()["trials"]), key=lambda t: t["value"])
    assert f"| {best['number']} | {best['value']:.4g} |" in text
    assert searched()["reason"] in text
    assert "colsample_bytree" in text
