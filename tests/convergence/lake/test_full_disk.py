"""A disk that is full in the middle of a commit, for real."""

from pathlib import Path

import pytest

from convergence.cli.disk import told
from convergence.lake import acknowledged, tables
from convergence.lake.manifests import states
from convergence.lake.tables import Lake
from convergence.lake.verification import verify
from tests.convergence.disks import fill, small_disk
from tests.convergence.lake.frames import TABLE, rows, values, write


@pytest.mark.parametrize("point", ["files_written", "before_acknowledged", "a data file"])
def test_a_table_is_whole_after_a_full_disk_and_goes_on_when_there_is_space(
    point: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = point == "before_acknowledged"  # it is full when the commit has happened, and is to be recorded

    def filled(at: str) -> None:
        if at == point:
            fill(disk)

    with small_disk(tmp_path / "disk") as disk:
        lake = Lake(str(disk / "lake"))
        write(lake, rows(0, 1, 2), rows(1, 3))
        before = states(lake, [TABLE])
        monkeypatch.setattr(tables, "fault", filled)
        monkeypatch.setattr(acknowledged, "fault", filled)
        filled("a data file")
        with pytest.raises(Exception, match="No space left") as failed:
            write(lake, rows(0, 7, 8))
        assert "no space is left on the disk. Next: " in (told(failed.value, disk) or "")
        assert values(lake) == ([3, 7, 8] if counts else [1, 2, 3])
        monkeypatch.undo()

        (disk / ".ballast").unlink()
        assert (states(lake, [TABLE]) == before) is not counts
        assert verify(lake, TABLE).damages == []
        write(lake, rows(0, 7, 8))
        assert values(lake) == [3, 7, 8]
        assert verify(lake, TABLE).damages == []
