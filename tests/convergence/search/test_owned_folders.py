"""A folder lives as long as its owner; copies have the bytes and the holes of what they are copies of."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from convergence.errors import SearchError
from convergence.search.owned_folders import copied, owned, sweep

ROOT = Path(__file__).parents[3]
HOLDER = """
import sys, time
from pathlib import Path
from convergence.search.owned_folders import owned
with owned(Path(sys.argv[1]), "test") as folder:
    print(folder, flush=True)
    time.sleep(60)
"""


def test_a_folder_is_gone_with_the_block_that_owned_it_however_it_ends(tmp_path: Path) -> None:
    seen: list[Path] = []

    def fail() -> None:
        with owned(tmp_path, "test") as folder:
            (folder / "deep").mkdir()
            seen.append(folder)
            raise SearchError("on purpose")

    with pytest.raises(SearchError, match="on purpose"):
        fail()
    assert [folder.exists() for folder in seen] == [False]


def test_a_folder_that_was_renamed_meanwhile_stays(tmp_path: Path) -> None:
    with owned(tmp_path, "test") as folder:
        folder.rename(tmp_path / "kept")
    assert (tmp_path / "kept").is_dir()


def test_the_folder_of_a_living_process_stays_and_that_of_a_killed_one_goes(tmp_path: Path) -> None:
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, tmp_path], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    folder = Path(holder.stdout.readline().strip())
    with owned(tmp_path, "other") as mine:
        sweep(tmp_path)
        assert folder.is_dir()
        assert mine.is_dir()
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()
    holder.stdout.close()
    with owned(tmp_path, "other"):
        assert not folder.exists()


@settings(deadline=None, max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    size=st.integers(0, 40_000),
    writes=st.lists(st.tuples(st.integers(0, 39_999), st.binary(min_size=1, max_size=9_000)), max_size=4),
)
def test_a_copy_has_the_bytes_of_the_original(tmp_path: Path, size: int, writes: list[tuple[int, bytes]]) -> None:
    (source := tmp_path / "source" / "deep").mkdir(parents=True, exist_ok=True)
    with (source / "file").open("wb") as file:
        file.truncate(size)
        for at, content in writes:
            file.seek(at)
            file.write(content)
    copied(tmp_path / "source", tmp_path / "target")
    assert (tmp_path / "target" / "deep" / "file").read_bytes() == (source / "file").read_bytes()


def test_a_copy_takes_no_more_room_than_the_original(tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    with (tmp_path / "source" / "file").open("wb") as file:
        file.truncate(1 << 28)
        file.seek(1 << 27)
        file.write(b"in the middle")
    copied(tmp_path / "source", tmp_path / "target")
    stat = (tmp_path / "target" / "file").stat()
    assert stat.st_size == 1 << 28
    assert stat.st_blocks * 512 < 1 << 20
