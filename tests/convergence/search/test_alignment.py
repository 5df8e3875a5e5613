"""An alignment finds a space that is there, is chosen without the images it is measured on, and is one graph."""

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from convergence.search.alignment import (
    Alignment,
    flat,
    folds,
    out_of_fold,
    ridge_regression,
    targets,
    unit,
    unseen_scores,
)
from convergence.search.encoders import INPUT, opened
from convergence.search.image_backbone import SIZE
from convergence.search.image_encoder import aligned
from convergence.search.judgements import ranks
from tests.convergence.search.tiny_encoders import encoder

F, C, D, N = 12, 5, 3, 60
RNG = np.random.default_rng(0)
FEATURES = RNG.normal(size=(N, F)).astype(np.float32)
TRUE = RNG.normal(size=(F, D))
CAPTIONS = [unit(FEATURES[i] @ TRUE + 0.1 * RNG.normal(size=(2, D))) for i in range(N)]
CLASSES = unit(RNG.normal(size=(C, D)))
LOGITS = 8 * (FEATURES @ TRUE @ CLASSES.T).astype(np.float32)
TO_LOGITS = (RNG.normal(size=(3, C)) / 50).astype(np.float32)
NOISE = RNG.normal(size=(N, C)).astype(np.float32)


def test_ridge_regression_is_what_scikit_learn_finds() -> None:
    from sklearn.linear_model import Ridge
    from sklearn.preprocessing import StandardScaler

    scaled = StandardScaler().fit_transform(FEATURES)
    expected = Ridge(alpha=0.3 * F).fit(scaled, targets(CAPTIONS)).predict(scaled)
    weights, intercept = ridge_regression(FEATURES, targets(CAPTIONS), 0.3)
    np.testing.assert_allclose(FEATURES @ weights + intercept, expected, atol=1e-4)


@pytest.mark.parametrize("logits", [LOGITS, NOISE], ids=["classes that tell", "classes that do not"])
def test_images_of_other_folds_are_found_by_their_captions(logits: np.ndarray) -> None:
    found = out_of_fold(FEATURES, logits, CAPTIONS, CLASSES, shares=(0.5, 0.8), count=5)
    wanted = np.repeat(np.arange(N), 2)
    assert np.median(ranks(found, wanted)) < 5


def test_the_mix_is_chosen_for_what_tells_more() -> None:
    nothing = RNG.normal(size=FEATURES.shape).astype(np.float32)
    assert Alignment.fit(FEATURES, NOISE, CAPTIONS, CLASSES).share >= 0.8
    assert Alignment.fit(nothing, LOGITS, CAPTIONS, CLASSES).share <= 0.2


def test_features_that_tell_nothing_find_nothing() -> None:
    nothing = RNG.normal(size=(4 * N, F)).astype(np.float32)
    captions = [unit(RNG.normal(size=(2, D))) for _ in nothing]
    logits = RNG.normal(size=(4 * N, C)).astype(np.float32)
    scores = out_of_fold(nothing, logits, captions, CLASSES, shares=(0.8,), count=5)
    found = ranks(scores, flat(captions)[1])
    assert 0.45 < found.mean() / len(captions) < 0.55


def test_what_a_caption_says_has_no_part_in_the_scores_it_is_given() -> None:
    changed = [unit(RNG.normal(size=(2, D))) if i == 7 else own for i, own in enumerate(CAPTIONS)]
    seen: list[set[int]] = []

    def vectors(unseen: frozenset[int]) -> np.ndarray:
        out = np.isin(fold, list(unseen))
        seen.append(set(np.flatnonzero(~out)))
        weights, intercept = ridge_regression(FEATURES[~out], targets([changed[i] for i in np.flatnonzero(~out)]), 1)
        return FEATURES[out] @ weights + intercept

    fold = folds(N, 1)
    first = out_of_fold(FEATURES, LOGITS, CAPTIONS, CLASSES, shares=(0.5,), count=5)
    second = out_of_fold(FEATURES, LOGITS, changed, CLASSES, shares=(0.5,), count=5)
    kept = fold == fold[7]  # images of the fold of the one whose captions changed: no model of theirs has seen it
    asked = np.repeat(fold != fold[7], 2)
    assert (first[np.ix_(asked, kept)] == second[np.ix_(asked, kept)]).all()
    assert (first[np.ix_(asked, ~kept)] != second[np.ix_(asked, ~kept)]).any()
    unseen_scores(vectors, *flat(changed), fold)
    assert all(len({*fold[list(rest)]}) >= 3 for rest in seen)


def tiny_backbone() -> bytes:
    """Features: the brightest of each colour; logits: a product of that."""
    nodes = [helper.make_node("Cast", ["pixels"], ["floats"], to=TensorProto.FLOAT),
             helper.make_node("ReduceMax", ["floats"], ["features"], axes=[1, 2], keepdims=0),
             helper.make_node("MatMul", ["features", "to_logits"], ["logits"])]  # fmt: skip
    graph = helper.make_graph(
        nodes, "tiny", [helper.make_tensor_value_info(INPUT["pixels"], TensorProto.UINT8, [1, SIZE, SIZE, 3])],
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, [1, 3]),
         helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, C])],
        initializer=[numpy_helper.from_array(TO_LOGITS, "to_logits")],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()


def test_the_graph_makes_the_vectors_of_the_alignment_and_queries_of_the_text_encoder() -> None:
    images = RNG.integers(0, 256, (N, 1, 1, 3), np.uint8)
    features = images[:, 0, 0].astype(np.float32)
    logits = features @ TO_LOGITS
    alignment = Alignment.fit(features, logits, CAPTIONS, CLASSES, shares=(0.5,))
    stored = aligned(tiny_backbone(), alignment, encoder("text"))
    found = opened(stored).encode_documents(np.broadcast_to(images[:4], (4, SIZE, SIZE, 3)))
    np.testing.assert_allclose(found, alignment.vectors(features[:4], logits[:4]), atol=2e-4)
    assert (stored.role, stored.query) == ("image", encoder("text").query)


def test_ranks_count_those_before_and_equals_are_no_credit() -> None:
    scores = np.array([[1.0, 0.5, 0.5], [0.5, 1, 1], [0.5, 1, 1]])
    assert ranks(scores, np.array([0, 0, 1])).tolist() == [0, 2, 1]
