from pathlib import Path

import numpy as np
import pytest

from benchmarks.feast import COMPANIONS, Ours, beside, feast, in_turns, load
from benchmarks.online import NAMES, rows
from convergence.errors import ServiceError
from convergence.services.redis import connect, stop_embedded

FEW = 30


@pytest.mark.skipif(not COMPANIONS.is_file(), reason="no companions' environment: `make test` makes it")
def test_both_stores_on_one_server_answer_with_the_rows_that_were_loaded(tmp_path: Path):
    frame = rows().head(FEW)
    frame.write_parquet(file := tmp_path / "rows.parquet")
    redis = connect(None, tmp_path)
    socket = redis.connection_pool.connection_kwargs["path"]
    with feast() as other:
        assert other.ask({"socket": socket, "rows": str(file), "names": NAMES, "folder": str(tmp_path)}) > 0
        ours = Ours(redis, file)
        assert in_turns(ours, other, customers=5, times=2, held=FEW).min() > 0
        _, total = other.ask([3])
    expected = frame.row(3, named=True)
    assert np.allclose(ours.values([3]).ravel(), [expected[name] for name in NAMES], rtol=1e-12)
    assert np.isclose(total, sum(expected[name] for name in NAMES), rtol=1e-12)
    stop_embedded(tmp_path)


def test_without_its_python_the_next_step_is_named(tmp_path: Path):
    with pytest.raises(ServiceError, match="make bench"), feast(tmp_path / "python"):
        pass


@pytest.mark.parametrize(("ours", "met"), [(30.0, True), (34.0, False)], ids=["a third", "more than a third"])
def test_a_read_meets_its_goal_by_the_median_however_long_one_call_took(ours: float, met: bool):
    assert beside("read", np.array([ours, ours, 9_000.0]), np.full(3, 100.0), 3).met is met


@pytest.mark.parametrize(("theirs", "met"), [(15.0, True), (14.0, False)], ids=["15 times", "14 times"])
def test_loading_meets_its_goal_when_it_is_15_times_as_fast(theirs: float, met: bool):
    assert load(1.0, theirs).met is met
