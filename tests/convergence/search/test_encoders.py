"""A stored encoder survives its row, is opened by its hashes alone, and a vector depends on its own input alone."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from convergence.errors import EncoderError, ModelError
from convergence.search import encoders
from convergence.search.encoders import Graph, StoredEncoder, opened
from tests.convergence.search.tiny_encoders import WORDS, encoder, pixel_graph, text_graph

TEXTS = st.lists(st.lists(st.sampled_from(WORDS[1:]), min_size=1, max_size=12).map(" ".join), max_size=6)


@pytest.mark.parametrize("role", ["text", "image"])
def test_an_encoder_survives_its_row_in_a_table(role: encoders.Role) -> None:
    frame = pl.DataFrame([encoder(role, fidelity=0.99, precision="int8").as_row()])
    assert StoredEncoder.from_row(frame.row(0, named=True)) == encoder(role, fidelity=0.99, precision="int8")


def test_a_graph_that_both_sides_share_is_stored_once() -> None:
    assert encoder().as_row()["query_onnx"] is None
    assert encoder("image").as_row()["query_onnx"] == text_graph().onnx


def test_equal_encoders_have_equal_digests_whatever_their_role_and_name() -> None:
    assert encoder("text").digest == encoder("code", name="other", source="folder:b").digest


@pytest.mark.parametrize("side", ["document", "query"])
def test_other_numbers_or_other_settings_on_either_side_are_another_encoder(side: str) -> None:
    digests = {encoder(**{side: graph}).digest for graph in (text_graph(), text_graph(1), text_graph(prompt="a "))}
    assert len(digests) == 3


@pytest.mark.parametrize("column", ["document_settings", "query_sha256", "document_kind"])
def test_a_row_changed_after_it_was_stored_is_refused(column: str) -> None:
    with pytest.raises(EncoderError, match="not as it was stored"):
        StoredEncoder.from_row(encoder().as_row() | {column: "pixels"})


def test_a_row_without_a_column_is_refused() -> None:
    row = encoder().as_row()
    del row["dimension"]
    with pytest.raises(EncoderError, match="column 'dimension' is missing"):
        StoredEncoder.from_row(row)


def test_bytes_other_than_the_hash_names_are_refused() -> None:
    swapped = replace(text_graph(5), onnx=text_graph(6).onnx)
    with pytest.raises(ModelError, match="expected sha256"):
        opened(encoder(document=swapped))


def test_a_graph_with_another_input_is_refused() -> None:
    with pytest.raises(EncoderError, match="expected input 'tokens'"):
        opened(encoder(document=Graph.of(pixel_graph().onnx, kind="text", settings={})))


def test_a_role_of_nobody_is_refused() -> None:
    with pytest.raises(EncoderError, match="found role 'audio'"):
        opened(encoder("audio"))  # pyright: ignore[reportArgumentType]


@settings(deadline=None, max_examples=50)
@given(TEXTS, st.randoms(use_true_random=False))
def test_a_vector_does_not_depend_on_its_neighbours_or_their_order(texts: list[str], random: object) -> None:
    made = opened(encoder())
    alone = [made.encode_documents([text])[0].tobytes() for text in texts]
    assert [row.tobytes() for row in made.encode_documents(texts)] == alone
    order = list(range(len(texts)))
    random.shuffle(order)  # pyright: ignore[reportAttributeAccessIssue]
    assert [row.tobytes() for row in made.encode_documents([texts[i] for i in order])] == [alone[i] for i in order]


def test_vectors_are_of_length_one_and_no_input_makes_no_rows() -> None:
    vectors = opened(encoder()).encode_documents(["a red bus", "cat"])
    assert (vectors.shape, vectors.dtype) == ((2, 3), np.float32)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-6)
    assert opened(encoder()).encode_queries([]).shape == (0, 3)


def test_an_image_encoder_takes_pixels_and_queries_of_text() -> None:
    made = opened(encoder("image"))
    red = np.zeros((4, 4, 3), np.uint8)
    red[..., 0] = 255
    np.testing.assert_array_equal(made.encode_documents(np.stack([red, 255 - red])).round(3),
                                  np.array([[1, 0, 0], [0, 0.707, 0.707]], np.float32))  # fmt: skip
    assert (made.encode_queries(["bus"]) == opened(encoder()).encode_queries(["bus"])).all()


@pytest.mark.parametrize("image", [np.zeros((4, 5, 3), np.uint8), np.zeros((4, 4, 3), np.float32)])
def test_pixels_of_another_size_or_type_are_refused(image: np.ndarray) -> None:
    with pytest.raises(EncoderError, match="expected uint8 pixels of shape"):
        opened(encoder("image")).encode_documents([image])


def test_half_a_surrogate_pair_is_refused() -> None:
    with pytest.raises(EncoderError, match="surrogate"):
        opened(encoder()).encode_queries(["a \ud800 bus"])


def test_an_input_without_a_direction_is_refused() -> None:
    with pytest.raises(EncoderError, match="1 of 2 inputs have no vector"):
        opened(encoder("image")).encode_documents(
            np.stack([np.zeros((4, 4, 3), np.uint8), np.ones((4, 4, 3), np.uint8)])
        )


def test_a_prompt_is_put_before_each_text() -> None:
    prompted = opened(encoder(document=text_graph(prompt="red ")))
    assert (prompted.encode_documents(["bus"]) == prompted.encode_queries(["red bus"])).all()


def test_roles_that_share_a_graph_share_its_session() -> None:
    text, image = opened(encoder("text")), opened(encoder("image"))
    assert encoders._session(text_graph()) is encoders._session(text_graph())
    assert len({text.digest, image.digest}) == 2


def test_a_session_is_let_go_with_its_last_encoder() -> None:
    made = opened(encoder(document=text_graph(77), query=text_graph(77)))
    assert text_graph(77).sha256 in encoders._SESSIONS
    del made
    assert text_graph(77).sha256 not in encoders._SESSIONS
