"""Fit and predict meet only in XGBoost's JSON."""

import json
import pickle

import numpy as np
import polars as pl
import pytest
import xgboost

from convergence.errors import ConvergenceError, ModelError
from convergence.models.boosting import fit, importance, predict, rounds


def training(rows: int = 400) -> tuple[pl.DataFrame, pl.Series]:
    random = np.random.default_rng(0)
    amount, risk = random.normal(size=rows), random.random(rows)
    features = pl.DataFrame({"risk": risk, "amount": amount, "night": random.random(rows) < 0.3, "constant": 1})
    features = features.with_columns(amount=pl.when(pl.col("risk") > 0.1).then("amount"))
    return features, pl.Series("is_fraud", amount + 2 * risk > 1.5)


def model() -> str:
    return fit(*training(), rounds=10, params={"max_depth": 3, "subsample": 0.7})


def test_equal_inputs_give_equal_text() -> None:
    assert model() == model()


def test_equal_inputs_give_equal_text_with_two_threads() -> None:
    features, label = training()
    assert fit(features, label, rounds=2, nthread=2) == fit(features, label, rounds=2, nthread=2)


def test_another_seed_gives_another_model() -> None:
    features, label = training()
    params = {"subsample": 0.5}
    assert fit(features, label, rounds=5, params=params, seed=1) != fit(
        features, label, rounds=5, params=params, seed=2
    )


def test_a_stored_model_predicts_as_the_trained_one() -> None:
    features, label = training()
    values = features.cast(pl.Float32).fill_null(float("nan")).to_numpy()
    settings = {"objective": "binary:logistic", "tree_method": "hist", "seed": 0, "nthread": 1}
    matrix = xgboost.DMatrix(values, label=label.to_numpy(), feature_names=features.columns)
    expected = xgboost.train(settings, matrix, 10).predict(matrix)
    np.testing.assert_allclose(predict(fit(features, label, rounds=10), features), expected, atol=1e-6)


def test_predictions_are_probabilities_that_separate_the_classes() -> None:
    features, label = training()
    score = predict(model(), features)
    assert score.shape == (400,)
    assert score.dtype == np.float32
    assert 0 <= score.min() < score[label.to_numpy()].mean() - 0.4 < score.max() <= 1


def test_a_model_in_bytes_predicts_like_its_text() -> None:
    features, _ = training()
    np.testing.assert_array_equal(predict(model().encode(), features), predict(model(), features))


def test_a_null_goes_the_way_of_missing_values() -> None:
    features, _ = training()
    as_nan = features.with_columns(pl.col("amount").fill_null(float("nan")))
    as_zero = features.with_columns(pl.col("amount").fill_null(0.0))
    np.testing.assert_array_equal(predict(model(), features), predict(model(), as_nan))
    assert not np.array_equal(predict(model(), features), predict(model(), as_zero))


def test_feature_names_are_stored_in_the_text_in_order() -> None:
    assert json.loads(model())["learner"]["feature_names"] == ["risk", "amount", "night", "constant"]


def test_features_in_another_order_are_refused() -> None:
    features, _ = training()
    with pytest.raises(ConvergenceError, match=r"the order differs\): expected \['risk', 'amount'.*found \['amount'"):
        predict(model(), features.select("amount", "risk", "night", "constant"))


def test_a_missing_feature_is_named() -> None:
    features, _ = training()
    with pytest.raises(ConvergenceError, match=r"missing \['night'\], unexpected \['day'\]"):
        predict(model(), features.rename({"night": "day"}))


def test_a_truncated_text_is_refused() -> None:
    text = model()
    with pytest.raises(ModelError, match=f"found {len(text) // 2} characters that fail with JSONDecodeError"):
        predict(text[: len(text) // 2], training()[0])


def test_a_pickle_is_refused() -> None:
    booster = xgboost.Booster()
    booster.load_model(bytearray(model().encode()))
    with pytest.raises(ModelError, match="pickles are never read"):
        predict(pickle.dumps(booster), training()[0])


@pytest.mark.parametrize("text", ["{}", "[]", "3", '{"learner": {"feature_names": ["risk"]}}'])
def test_json_that_is_no_model_is_refused(text) -> None:
    with pytest.raises(ModelError, match="not a whole XGBoost JSON model"):
        predict(text, training()[0])


def test_importance_lists_every_feature_by_gain() -> None:
    table = importance(model())
    assert table["feature"].to_list() == ["amount", "risk", "constant", "night"]
    assert table["gain"].to_list() == sorted(table["gain"], reverse=True)
    assert table.filter(pl.col("feature") == "constant")["gain"].item() == 0


def test_a_label_of_another_length_is_refused() -> None:
    features, label = training()
    with pytest.raises(ConvergenceError, match="found 400 rows, 399 labels, 0 null"):
        fit(features, label.head(399))


def test_a_null_label_is_refused() -> None:
    features, _ = training()
    with pytest.raises(ConvergenceError, match="400 labels, 1 null"):
        fit(features, pl.Series([None, *[True, False] * 199, True]))


def test_a_text_feature_is_named() -> None:
    features, label = training()
    with pytest.raises(ConvergenceError, match=r"\['country'\] are neither numeric nor Boolean"):
        fit(features.with_columns(country=pl.lit("BE")), label)


def test_an_infinite_feature_is_named() -> None:
    features, label = training()
    with pytest.raises(ConvergenceError, match=r"\['risk'\] hold infinite values"):
        fit(features.with_columns(risk=1 / pl.lit(0.0)), label)


def test_parameters_that_repeat_an_argument_are_refused() -> None:
    with pytest.raises(ConvergenceError, match=r"params sets \['seed'\]"):
        fit(*training(), params={"seed": 3})


def test_a_weight_of_two_counts_as_two_rows() -> None:
    features, label = training()
    twice = fit(pl.concat([features, features]), pl.concat([label, label]), rounds=5)
    weighted = fit(features, label, rounds=5, weight=np.full(features.height, 2.0))
    np.testing.assert_allclose(predict(twice, features), predict(weighted, features), atol=1e-5)


def test_a_model_grown_from_another_keeps_its_trees_and_goes_on_as_one_fit_would() -> None:
    features, label = training()
    params = {"max_depth": 3}
    grown = fit(features, label, rounds=4, params=params, grown_from=fit(features, label, rounds=6, params=params))
    assert rounds(grown) == 10
    whole = fit(features, label, rounds=10, params=params)
    np.testing.assert_allclose(predict(grown, features), predict(whole, features), atol=1e-6)


def test_a_model_of_other_features_is_not_grown() -> None:
    features, label = training()
    with pytest.raises(ModelError, match="cannot grow a model of"):
        fit(features.select("amount", "risk"), label, grown_from=model())
    with pytest.raises(ModelError, match="not a whole XGBoost JSON model"):
        fit(features, label, grown_from=model()[:100])
