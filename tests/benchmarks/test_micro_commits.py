from pathlib import Path

from benchmarks.micro_commits import ROWS, TOPIC, Trickle, continuously, read, seconds_each, unmerged
from convergence.lake.tables import Lake


def test_both_ways_make_a_commit_of_every_batch_and_the_same_rows(tmp_path: Path):
    lakes = [Lake(str(tmp_path / name)) for name in ("merged", "left")]
    for land, lake in zip((continuously, unmerged), lakes, strict=True):
        assert len(seconds_each(land(lake, Trickle(3)))) == 3
        assert len(list(lake.commits(TOPIC.table))) == 3
    merged, left = map(read, lakes)
    assert merged["len"].item() == 3 * ROWS
    assert merged.equals(left)
