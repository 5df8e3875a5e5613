"""Each member learns, ignores scale and gaps, gives equal bytes for equal rows, and is the same in ONNX."""

from collections.abc import Callable
from functools import cache

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from convergence.errors import ModelError
from convergence.models import boosting, linear, network, scaling, stored
from convergence.models.ensemble import Member, Rows
from convergence.models.onnx_graph import INPUT, Graph

NAMES = ["amount", "count", "rate", "age", "constant", "empty"]
DOUBLE = 11


def rows(seed: int = 0, count: int = 3_000) -> Rows:
    """Long tails, gaps that mean something, a column that says nothing and one that is always missing."""
    random = np.random.default_rng(seed)
    values = np.exp(random.normal(size=(count, 6)) * 2).astype(np.float32)
    values[:, 2] = -values[:, 2]
    values[:, 4], values[:, 5] = 3, np.nan
    odds = np.log(values[:, 0]) - np.log(-values[:, 2]) - 2
    gap = random.random(count) < 0.2
    values[gap, 3] = np.nan
    label = random.random(count) < 1 / (1 + np.exp(-odds - 2 * gap))
    day = np.datetime64("2018-07-01") + np.arange(count) * 30 // count
    return Rows(values, label, day, np.ones(count))


def trees(few: Rows) -> boosting.Trees:
    frame = pl.DataFrame(few.values, schema=NAMES).fill_nan(None)
    return boosting.Trees(boosting.fit(frame, pl.Series(few.label), rounds=30, params={"base_score": 0.3}))


def linear_member(few: Rows) -> linear.Linear:
    return linear.fit(few.values, few.label, few.weight, scaling.fit(few.values))


def network_member(few: Rows) -> network.Network:
    return network.fit(
        few.values,
        few.label,
        few.weight,
        scaling.fit(few.values),
        newest=few.newest(5),
        hidden=(16, 8),
        epochs=8,
        batch=64,
    )


FITS: dict[str, Callable[[Rows], Member]] = {"trees": trees, "linear": linear_member, "network": network_member}


@cache
def fitted(name: str) -> Member:
    return FITS[name](rows())


def onnx(member: Member) -> bytes:
    graph = Graph()
    return graph.to_bytes({"probability": graph.add("Cast", member.add_to(graph, INPUT), to=DOUBLE)}, NAMES, "log odds")


def odd(count: int = 1_000) -> NDArray[np.float32]:
    """Rows far outside what a member has seen, gaps everywhere."""
    random = np.random.default_rng(5)
    values = (random.normal(size=(count, 6)) * 10.0 ** random.integers(-3, 6, (count, 6))).astype(np.float32)
    values[random.random(values.shape) < 0.2] = np.nan
    return values


@pytest.mark.parametrize("name", FITS)
def test_a_member_ranks_rows_it_has_not_seen(name: str) -> None:
    new = rows(1)
    assert roc_auc_score(new.label, fitted(name).margins(new.values)) > 0.85


@pytest.mark.parametrize("name", FITS)
def test_equal_rows_give_an_equal_model(name: str) -> None:
    assert onnx(FITS[name](rows())) == onnx(fitted(name))


@pytest.mark.parametrize("values", [rows(1).values, odd()], ids=["usual", "odd"])
@pytest.mark.parametrize("name", FITS)
def test_the_onnx_graph_gives_the_same_log_odds(name: str, values: NDArray[np.float32]) -> None:
    blob = onnx(fitted(name))
    found = stored.load(blob, sha256=stored.digest(blob), features=NAMES).score(values)
    expected = fitted(name).margins(values)
    assert np.isfinite(expected).all()
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["linear", "network"])
def test_a_rows_weight_counts_as_so_many_rows(name: str) -> None:
    """Without the weights a thinned sample would make everything look like fraud."""
    thin = rows(0, 20_000).thinned(8, seed=3)
    share = rows(0, 20_000).label.mean()
    probabilities = 1 / (1 + np.exp(-FITS[name](thin).margins(rows(1).values)))
    assert probabilities.mean() == pytest.approx(share, abs=0.05)
    assert thin.label.mean() > 1.5 * share


def test_thinning_keeps_every_positive_and_the_sum_of_weights() -> None:
    whole = rows(0, 20_000)
    thin = whole.thinned(4, seed=1)
    assert thin.label.sum() == whole.label.sum()
    assert thin.weight.sum() == pytest.approx(20_000, rel=0.03)


def test_another_seed_gives_another_network() -> None:
    few = rows()
    other = network.fit(few.values, few.label, few.weight, scaling.fit(few.values), newest=few.newest(5),
                        hidden=(16, 8), epochs=8, batch=64, seed=1)  # fmt: skip
    assert onnx(other) != onnx(fitted("network"))


def test_training_stops_where_the_newest_days_say() -> None:
    """Newest days with inverted labels get worse with every epoch: the first one is kept, however many are allowed."""
    few = rows()
    twisted = np.where(few.newest(5), ~few.label, few.label)
    kept = [
        network.fit(few.values, twisted, few.weight, scaling.fit(few.values), newest=few.newest(5), hidden=(8,),
                    epochs=epochs, batch=64)
        for epochs in (1, 10)
    ]  # fmt: skip
    assert onnx(kept[0]) == onnx(kept[1])


def test_the_newest_days_teach_the_network_nothing_but_when_to_stop() -> None:
    few = rows()
    values = np.where(few.newest(5)[:, None], np.float32(1), few.values)
    one, other = (
        network.fit(
            v, few.label, few.weight, scaling.fit(few.values), newest=few.newest(5), hidden=(8,), epochs=1, batch=64
        )
        for v in (few.values, values)
    )
    assert onnx(one) == onnx(other)


def test_training_leaves_torchs_threads_as_they_were() -> None:
    import torch

    before = torch.get_num_threads()
    network_member(rows(0, 300))
    assert torch.get_num_threads() == before


def test_scaled_features_are_finite_and_centred_whatever_the_tails() -> None:
    scaled = scaling.fit(rows().values).apply(rows().values)
    assert np.isfinite(scaled).all()
    assert abs(np.median(scaled[:, 0])) < 1e-3
    assert (scaled[:, [4, 5]] == 0).all()
    assert scaled.shape[1] == 6 + 1  # one column has gaps among values


def test_contributions_add_up_to_the_log_odds() -> None:
    model = fitted("trees")
    assert isinstance(model, boosting.Trees)
    found = model.contributions(odd())
    np.testing.assert_allclose(found.sum(axis=1), model.margins(odd()), atol=1e-4)


def test_trees_over_another_objective_are_not_turned_into_onnx() -> None:
    few = rows(0, 300)
    frame = pl.DataFrame(few.values, schema=NAMES).fill_nan(None)
    text = boosting.fit(frame, pl.Series(few.label), rounds=2, params={"objective": "reg:squarederror"})
    with pytest.raises(ModelError, match="expected trees of binary:logistic"):
        boosting.Trees(text).add_to(Graph(), INPUT)


def test_the_trees_onnx_graph_is_that_of_onnxmltools() -> None:
    """The published converter as the oracle."""
    import onnxruntime
    from onnxmltools import convert_xgboost
    from onnxmltools.convert.common.data_types import FloatTensorType
    from xgboost import XGBClassifier

    model = fitted("trees")
    assert isinstance(model, boosting.Trees)
    reference = XGBClassifier()
    reference.load_model(bytearray(model.model.encode()))
    reference.get_booster().feature_names = [f"f{i}" for i in range(6)]
    converted = convert_xgboost(reference, initial_types=[("x", FloatTensorType([None, 6]))])
    session = onnxruntime.InferenceSession(converted.SerializeToString(), providers=["CPUExecutionProvider"])
    expected = session.run(None, {"x": odd()})[1][:, 1]
    blob = onnx(model)
    margins = stored.load(blob, sha256=stored.digest(blob)).score(odd())
    np.testing.assert_allclose(1 / (1 + np.exp(-margins)), expected, atol=1e-6)
