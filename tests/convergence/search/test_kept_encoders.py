"""Encoders are kept under their digest, found by it, and refused where they are not what it says."""

from pathlib import Path

import obstore
import pytest

from convergence.errors import EncoderError, EncoderMismatch
from convergence.lake.store import open_store
from convergence.search.kept_encoders import FOLDER, keep, kept
from tests.convergence.search.small_world import encoders


def test_an_encoder_is_found_by_its_digest_and_keeping_it_again_changes_nothing(tmp_path: Path) -> None:
    store, encoder = open_store(str(tmp_path), {}), encoders()["text"]
    keep(store, encoder)
    (file,) = (tmp_path / FOLDER).iterdir()
    before = file.stat().st_mtime_ns
    keep(store, encoder)
    assert file.stat().st_mtime_ns == before
    assert kept(store, encoder.digest) == encoder


def test_one_that_was_never_kept_is_named_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(EncoderMismatch, match="is not kept in this lake: restore"):
        kept(open_store(str(tmp_path), {}), "a" * 64)


@pytest.mark.parametrize("content", [b"", b"PAR1 not a table PAR1"])
def test_a_damaged_one_is_refused(tmp_path: Path, content: bytes) -> None:
    store, encoder = open_store(str(tmp_path), {}), encoders()["text"]
    obstore.put(store, f"{FOLDER}/{encoder.digest}.parquet", content)
    with pytest.raises(EncoderError, match="not as it was when it was kept"):
        kept(store, encoder.digest)


def test_another_encoder_under_its_name_is_refused(tmp_path: Path) -> None:
    store, encoder, other = open_store(str(tmp_path), {}), encoders()["text"], encoders("odd")["code"]
    keep(store, other)
    (tmp_path / FOLDER / f"{other.digest}.parquet").rename(tmp_path / FOLDER / f"{encoder.digest}.parquet")
    with pytest.raises(EncoderError, match="not as it was when it was kept"):
        kept(store, encoder.digest)
