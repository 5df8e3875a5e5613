"""Calibration changes probabilities, never the ranking, and is the same in ONNX."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from convergence.models import calibration, stored
from convergence.models.onnx_graph import INPUT, Graph

DOUBLE = 11


def skewed(seed: int, rows: int = 4_000) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Margins that are twice as sure as they should be, and labels."""
    random = np.random.default_rng(seed)
    truth = random.normal(-3, 2, rows)
    return 2 * truth + 1, random.random(rows) < calibration.probability(truth)


@pytest.mark.parametrize("kind", calibration.KINDS)
@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 2**32 - 1))
def test_no_two_rows_change_places(kind: calibration.Kind, seed: int) -> None:
    margins, label = skewed(seed, 300)
    if label.any() and not label.all():
        ordered = np.sort(margins)
        wide = np.concatenate([[ordered[0] - 20], ordered, [ordered[-1] + 20]])
        rising = np.diff(calibration.fit(kind, margins, label).apply(wide))
        assert (rising[np.diff(wide) > 1e-9] > 0).all()


@pytest.mark.parametrize("kind", calibration.KINDS)
def test_calibration_lowers_the_log_loss_of_later_rows(kind: calibration.Kind) -> None:
    margins, label = skewed(0)
    later, truth = skewed(1)
    fitted = calibration.fit(kind, margins, label)
    assert calibration.log_loss(fitted.apply(later), truth) < 0.9 * calibration.log_loss(later, truth)


def test_platt_finds_the_slope_and_bias_that_made_the_margins() -> None:
    fitted = calibration.fit("platt", *skewed(0, 200_000))
    assert fitted.weights[0] == pytest.approx(0.5, abs=0.02)
    assert fitted.bias == pytest.approx(-0.5, abs=0.04)


def test_isotonic_gives_each_block_its_share_of_positives() -> None:
    margins = np.repeat([-1.0, 0.0, 1.0], 1000)
    label = np.concatenate([np.arange(1000) < n for n in (100, 300, 600)])
    got = calibration.probability(calibration.fit("isotonic", margins, label).apply(np.array([-1.0, 0.0, 1.0])))
    np.testing.assert_allclose(got, [0.1, 0.3, 0.6], atol=1e-3)


@pytest.mark.parametrize("kind", calibration.KINDS)
def test_the_onnx_graph_gives_the_same_log_odds(kind: calibration.Kind) -> None:
    fitted = calibration.fit(kind, *skewed(0))
    graph = Graph()
    graph_of = fitted.add_to(graph, graph.add("Cast", INPUT, to=DOUBLE))
    blob = graph.to_bytes({"probability": graph_of}, ["margin"], "log odds")
    values = np.linspace(-40, 40, 1_001).astype(np.float32)
    found = stored.load(blob, sha256=stored.digest(blob)).score(values[:, None])
    np.testing.assert_allclose(found, fitted.apply(values.astype(np.float64)), rtol=1e-9, atol=1e-9)


def test_the_kind_with_the_least_loss_on_later_rows_comes_first() -> None:
    margins, label = skewed(0)
    later = np.arange(len(margins)) >= 2_000
    losses = calibration.choose(margins, label, later)
    assert set(losses) == set(calibration.KINDS)
    assert list(losses.values()) == sorted(losses.values())
    assert losses["platt"] == pytest.approx(
        calibration.log_loss(calibration.fit("platt", margins[:2000], label[:2000]).apply(margins[2000:]), label[2000:])
    )


def test_the_choice_does_not_depend_on_what_the_later_labels_taught() -> None:
    margins, label = skewed(0)
    later = np.arange(len(margins)) >= 2_000
    twisted = np.where(later, ~label, label)
    fitted = [calibration.fit("beta", margins[~later], y[~later]).weights.tolist() for y in (label, twisted)]
    assert fitted[0] == fitted[1]


@settings(deadline=None)
@given(st.floats(-700, 700), st.booleans())
def test_log_loss_is_that_of_the_probability(margin: float, label: bool) -> None:
    p = calibration.probability(np.array([margin]))[0]
    of_truth = p if label else calibration.probability(np.array([-margin]))[0]
    if of_truth > 0:
        found = calibration.log_loss(np.array([margin]), np.array([label]))
        assert found == pytest.approx(-np.log(of_truth), rel=1e-6, abs=1e-12)


def test_weights_of_a_rising_logistic_regression_are_never_negative() -> None:
    margins, label = skewed(0)
    misleading = np.random.default_rng(2).normal(size=len(label)) - label
    weights, _ = calibration.rising_logistic(np.column_stack([margins, misleading]), label)
    assert weights[1] == 0
    assert weights[0] == pytest.approx(calibration.fit("platt", margins, label).weights[0], rel=0.01)
