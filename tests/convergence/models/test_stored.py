"""A stored model is opened by its hash, and nothing but a self-contained ONNX graph with a signature is opened."""

import hashlib
import json
import pickle
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import polars as pl
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from obstore.store import MemoryStore
from onnx import TensorProto, helper

from convergence.errors import ConvergenceError, ModelError
from convergence.models import kept, stored
from convergence.models.onnx_graph import INPUT, Graph

FEATURES = ("amount", "hour", "count")
WEIGHTS = np.array([0.5, -0.25, 2.0])


def good(features: tuple[str, ...] = FEATURES) -> bytes:
    """sigmoid(weights . features, a missing one counting as 1)."""
    graph = Graph()
    filled = graph.add("Where", graph.add("IsNaN", INPUT), graph.constant(np.float32(1)), INPUT)
    margin = graph.add("MatMul", graph.add("Cast", filled, to=TensorProto.DOUBLE), graph.constant(WEIGHTS[:, None]))
    return graph.to_bytes({"probability": graph.add("Sigmoid", margin)}, features, "probability")


def changed(change: Callable[[Any], None]) -> bytes:
    model = onnx.ModelProto.FromString(good())
    change(model)
    return model.SerializeToString()


def opened(blob: bytes, **more: Any) -> stored.Scorer:
    return stored.load(blob, sha256=hashlib.sha256(blob).hexdigest(), **more)


def test_a_model_scores_rows_with_missing_values() -> None:
    scorer = opened(good(), features=FEATURES)
    values = np.array([[1, 2, 3], [np.nan, 0, 0]], np.float32)
    expected = 1 / (1 + np.exp(-np.nan_to_num(values, nan=1.0).astype(float) @ WEIGHTS))
    np.testing.assert_allclose(scorer.score(values), expected, rtol=1e-12)
    assert (scorer.features, scorer.sha256) == (FEATURES, stored.digest(good()))


def test_rows_of_a_frame_are_taken_by_name_and_null_is_missing() -> None:
    frame = pl.DataFrame({"count": [3, None], "other": ["a", "b"], "hour": [2, 0], "amount": [1.0, 0.0]})
    values = np.array([[1, 2, 3], [0, 0, np.nan]], np.float32)
    assert opened(good()).score_rows(frame).to_list() == opened(good()).score(values).tolist()


def test_no_rows_give_no_scores() -> None:
    assert opened(good()).score(np.empty((0, 3), np.float32)).shape == (0,)


def test_a_scorer_is_shared_by_threads() -> None:
    scorer = opened(good())
    batches = [np.random.default_rng(seed).normal(size=(50, 3)).astype(np.float32) for seed in range(40)]
    expected = [scorer.score(batch) for batch in batches]
    with ThreadPoolExecutor(4) as pool:
        assert all((a == b).all() for a, b in zip(pool.map(scorer.score, batches), expected, strict=True))


def test_equal_models_are_equal_bytes() -> None:
    assert good() == good()


def test_another_hash_is_refused_and_both_are_named() -> None:
    with pytest.raises(ModelError, match=rf"expected sha256 {'0' * 64}, found {stored.digest(good())}.*copy the model"):
        stored.load(good(), sha256="0" * 64)


def test_one_flipped_bit_is_refused_by_the_hash() -> None:
    blob = bytearray(good())
    blob[len(blob) // 2] ^= 1
    with pytest.raises(ModelError, match="expected sha256"):
        stored.load(bytes(blob), sha256=stored.digest(good()))


@settings(deadline=None)
@given(st.integers(0, len(good()) - 1))
def test_a_truncated_model_is_refused_wherever_it_ends(length: int) -> None:
    with pytest.raises(ModelError, match=r"not a whole ONNX model|no signature|does not fit its graph"):
        opened(good()[:length])


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_bytes_that_are_no_model_are_refused(blob: bytes) -> None:
    with pytest.raises(ModelError):
        opened(blob)


class Malicious:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.write_text, (self.path, "owned"))


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_malicious_pickle_is_refused_and_never_runs(protocol: int, tmp_path: Path) -> None:
    trap = tmp_path / "owned"
    blob = pickle.dumps(Malicious(trap), protocol)
    with pytest.raises(ModelError, match=r"not a whole ONNX model.*pickles are never read"):
        opened(blob)
    assert not trap.exists()
    pickle.loads(blob)  # the trap does work
    assert trap.exists()


def external(model: Any) -> None:
    tensor = model.graph.initializer[0]
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="weights.bin")


def external_in_a_subgraph(model: Any) -> None:
    inside = helper.make_tensor("inside", TensorProto.FLOAT, [1], [1.0])
    external_tensor = helper.make_tensor("outside", TensorProto.FLOAT, [1], [1.0])
    external_tensor.external_data.add(key="location", value="weights.bin")
    body = helper.make_graph([helper.make_node("Identity", ["outside"], ["o"])], "body", [],
                             [helper.make_tensor_value_info("o", TensorProto.FLOAT, [1])],
                             initializer=[external_tensor])  # fmt: skip
    condition = helper.make_tensor("yes", TensorProto.BOOL, [], [True])
    model.graph.initializer.extend([inside, condition])
    model.graph.node.append(helper.make_node("If", ["yes"], ["unused"], then_branch=body, else_branch=body))


@pytest.mark.parametrize("change", [external, external_in_a_subgraph], ids=["graph", "subgraph"])
def test_numbers_in_other_files_are_refused(change: Callable[[Any], None]) -> None:
    with pytest.raises(ModelError, match=r"other files|not a whole ONNX model"):
        opened(changed(change))


def custom_node(model: Any) -> None:
    model.graph.node.append(helper.make_node("Shell", [INPUT], ["s"], domain="com.example"))
    model.opset_import.append(helper.make_opsetid("com.example", 1))


def custom_import(model: Any) -> None:
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))


def local_function(model: Any) -> None:
    node = helper.make_node("Identity", ["a"], ["b"])
    model.functions.append(helper.make_function("local", "F", ["a"], ["b"], [node], [helper.make_opsetid("", 17)]))


@pytest.mark.parametrize("change", [custom_node, custom_import, local_function], ids=lambda f: f.__name__)
def test_operators_that_are_not_standard_are_refused(change: Callable[[Any], None]) -> None:
    with pytest.raises(ModelError, match="expected those of ONNX alone"):
        opened(changed(change))


@pytest.mark.parametrize(
    ("features", "what"),
    [
        (("hour", "amount", "count"), "the order differs"),
        (("amount", "hour"), "missing ['count'], unexpected []"),
        (("amount", "hour", "counts"), "missing ['count'], unexpected ['counts']"),
    ],
    ids=["reordered", "missing", "renamed"],
)
def test_other_features_are_refused_and_both_lists_are_named(features: tuple[str, ...], what: str) -> None:
    with pytest.raises(ModelError) as refused:
        opened(good(), features=features)
    assert what in str(refused.value)
    assert f"expected {list(FEATURES)}, found {list(features)}" in str(refused.value)


def signature(**change: Any) -> Callable[[Any], None]:
    def change_it(model: Any) -> None:
        properties = {p.key: p.value for p in model.metadata_props}
        text = json.dumps({k: v for k, v in (json.loads(properties["signature"]) | change).items() if v is not None})
        del model.metadata_props[:]
        helper.set_model_props(model, {"signature": text})

    return change_it


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda m: m.ClearField("metadata_props"), "found no metadata"),
        (lambda m: helper.set_model_props(m, {"signature": "{"}), "has no signature"),
        (signature(features=None), "has no signature"),
        (signature(features=["amount", "hour"]), "does not fit its graph"),
        (signature(dtype="float64"), "does not fit its graph"),
    ],
    ids=["none", "broken", "without-features", "too-few", "other-type"],
)
def test_a_signature_that_is_missing_or_does_not_fit_is_refused(change: Callable[[Any], None], what: str) -> None:
    with pytest.raises(ModelError, match=what):
        opened(changed(change))


def test_a_model_without_the_output_asked_for_is_refused() -> None:
    with pytest.raises(ModelError, match="outputs \\['margin'\\]"):
        opened(good(), outputs=["margin"])


@pytest.mark.parametrize(
    "values",
    [np.zeros((2, 2), np.float32), np.zeros((2, 3)), np.zeros(3, np.float32)],
    ids=["columns", "type", "one-row"],
)
def test_rows_of_another_shape_or_type_are_refused(values: Any) -> None:
    with pytest.raises(ModelError, match="expected float32 rows of 3 features"):
        opened(good()).score(values)


def test_infinite_values_are_refused_by_feature() -> None:
    with pytest.raises(ModelError, match=r"features \['hour'\] hold infinite"):
        opened(good()).score(np.array([[0, np.inf, 0]], np.float32))


def test_a_frame_without_a_feature_is_refused() -> None:
    with pytest.raises(ModelError, match=r"missing \['count'\]"):
        opened(good()).score_rows(pl.DataFrame({"amount": [1.0], "hour": [2.0]}))


def test_text_features_are_refused() -> None:
    with pytest.raises(ConvergenceError, match="neither numeric nor Boolean"):
        opened(good()).score_rows(pl.DataFrame({"amount": ["a"], "hour": [2.0], "count": [1]}))


@given(st.integers(0, 63), st.sampled_from("0123456789abcdef"))
@settings(max_examples=40, deadline=None)
def test_every_digit_of_a_models_hash_counts_wherever_it_is_opened(place: int, digit: str) -> None:
    blob = good()
    right = stored.digest(blob)
    wrong = right[:place] + digit + right[place + 1 :]
    assume(wrong != right)
    with pytest.raises(ModelError, match="not the one asked for"):
        stored.load(blob, sha256=wrong)
    store = MemoryStore()
    row = pl.DataFrame({"onnx": [blob], "sha256": [wrong]})
    with pytest.raises(ModelError, match="not as it was"):
        kept.keep(store, row)
    with pytest.raises(ModelError, match="not as it was"):
        kept.onnx(store, wrong)


@pytest.mark.parametrize("wrong", ["", "short", "upper"])
def test_a_shortened_or_differently_written_hash_is_another(wrong: str) -> None:
    right = stored.digest(good())
    with pytest.raises(ModelError, match="not the one asked for"):
        stored.load(good(), sha256={"": "", "short": right[:12], "upper": right.upper()}[wrong])


@given(st.integers(0, 63))
@settings(max_examples=20, deadline=None)
def test_every_digit_of_a_kept_files_hash_counts(place: int) -> None:
    store, blob = MemoryStore(), good()
    name = stored.digest(blob)
    right = kept.keep(store, pl.DataFrame({"onnx": [blob], "sha256": [name]}))
    wrong = right[:place] + ("0" if right[place] != "0" else "1") + right[place + 1 :]
    assert kept.kept(store, name, right)["onnx"].item() == blob
    with pytest.raises(ModelError, match="not as it was"):
        kept.kept(store, name, wrong)


def wide(steps: int | None = None) -> bytes:
    """Two numbers a row: its amounts and hours, of a sequence their sums."""
    graph = Graph()
    values = graph.add("Cast", INPUT, to=TensorProto.DOUBLE)
    if steps:
        values = graph.add("ReduceSum", values, graph.constant(np.array([1])), keepdims=0)
    return graph.to_bytes({"score": values}, ("amount", "hour"), "sums", steps=steps, width=2)


def test_several_numbers_a_row_come_as_lists_and_as_a_matrix() -> None:
    rows = pl.DataFrame({"amount": [1.0, 2.0], "hour": [3, 4]})
    found = opened(wide()).score_rows(rows)
    assert found.dtype == pl.List(pl.Float64)
    assert found.to_list() == [[1, 3], [2, 4]]
    assert opened(wide()).score(np.array([[1, 3], [2, 4]], np.float32)).tolist() == found.to_list()


def test_a_sequence_is_taken_step_by_step_and_feature_by_feature() -> None:
    rows = pl.DataFrame({"hour": [[1, 2, 3], [4, 5, 6]], "amount": [[0.5, 0.5, 1.0], [1.0, 0.0, 0.0]]})
    assert opened(wide(3)).score_rows(rows).to_list() == [[2, 6], [1, 15]]
    assert opened(wide(3)).score_rows(rows.clear()).to_list() == []


def test_a_gap_in_a_sequence_is_missing() -> None:
    rows = pl.DataFrame({"amount": [[1.0, None]], "hour": [[1, 2]]})
    ((amount, hour),) = opened(wide(2)).score_rows(rows)
    assert np.isnan(amount)
    assert hour == 3


@pytest.mark.parametrize("value", [[1.0], [1.0, 2.0, 3.0], None], ids=["shorter", "longer", "none"])
def test_a_sequence_of_another_length_is_refused_by_name(value: list[float] | None) -> None:
    rows = pl.DataFrame({"amount": [[1.0, 2.0], [1.0, 2.0]], "hour": [value, [1.0, 2.0]]})
    with pytest.raises(ModelError, match="1 of 2 rows have no list of 2 numbers in hour"):
        opened(wide(2)).score_rows(rows)


def test_a_number_where_a_sequence_is_taken_is_refused_by_name() -> None:
    with pytest.raises(ModelError, match="2 of 2 rows have no list of 2 numbers in amount"):
        opened(wide(2)).score_rows(pl.DataFrame({"amount": [1.0, 2.0], "hour": [1.0, 2.0]}))


def test_infinite_values_in_a_sequence_are_refused_by_feature() -> None:
    values = np.zeros((2, 3, 2), np.float32)
    values[1, 2, 1] = np.inf
    with pytest.raises(ModelError, match=r"features \['hour'\] hold infinite"):
        opened(wide(3)).score(values)


@pytest.mark.parametrize("change", [{"steps": 4}, {"steps": None}, {"width": 3}, {"steps": "3"}], ids=str)
def test_a_signature_of_another_sequence_or_width_does_not_fit(change: dict[str, Any]) -> None:
    model = onnx.ModelProto.FromString(wide(3))
    signature(**change)(model)
    with pytest.raises(ModelError, match="does not fit its graph"):
        opened(model.SerializeToString())


def test_a_graph_of_columns_and_one_number_says_nothing_of_sequences() -> None:
    """So the bytes of graphs that were stored before there were any are what would be made today."""
    (told,) = (json.loads(p.value) for p in onnx.ModelProto.FromString(good()).metadata_props)
    assert told == {"features": list(FEATURES), "dtype": "float32", "missing": "NaN", "output": "probability"}


def test_parity_is_the_largest_difference_and_tells_of_nan() -> None:
    rows = pl.DataFrame({"amount": [1.0, 2.0], "hour": [3.0, 4.0]})
    assert stored.parity(wide(), rows, [[1, 3], [2, 4.5]]) == 0.5
    assert np.isnan(stored.parity(wide(), rows, [[1, 3], [2, np.nan]]))
    with pytest.raises(ModelError, match=r"in shape \(2, 2\), the library in \(2,\)"):
        stored.parity(wide(), rows, [1, 2])
