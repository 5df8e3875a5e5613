import json
import threading
from pathlib import Path

from convergence.serving.served_log import ServedLog


def test_lines_are_on_disk_once_and_in_order_when_it_is_closed(tmp_path: Path) -> None:
    log = ServedLog(tmp_path / "served", lambda: None)
    for n in range(0, 500, 2):
        log.add([{"n": n}, {"n": n + 1}])
    log.close()
    lines = [json.loads(line)["n"] for file in sorted((tmp_path / "served").iterdir()) for line in file.open()]
    assert lines == list(range(500))
    assert (tmp_path / "served").stat().st_mode & 0o077 == 0


def test_a_disk_that_fails_costs_lines_that_are_counted_and_no_request(tmp_path: Path) -> None:
    lost: list[int] = []
    (tmp_path / "served").write_text("a file where the folder should be")
    log = ServedLog(tmp_path / "served", lambda: lost.append(1))
    log.add([{"n": 1}, {"n": 2}])
    log.close()
    assert len(lost) == 2


def test_a_disk_that_hangs_costs_lines_that_are_counted_and_no_request(tmp_path: Path) -> None:
    lost: list[int] = []
    held = threading.Event()

    class Hanging(ServedLog):
        def _write(self) -> None:
            held.wait()
            super()._write()

    log = Hanging(tmp_path, lambda: lost.append(1), waiting=3)
    for n in range(5):
        log.add([{"n": n}])
    assert len(lost) == 2
    held.set()
    log.close()
    assert sum(len(file.read_text().splitlines()) for file in tmp_path.iterdir()) == 3


def test_the_line_that_a_killed_server_left_torn_takes_no_other_with_it(tmp_path: Path) -> None:
    def serve(n: int) -> Path:
        log = ServedLog(tmp_path, lambda: None)
        log.add([{"n": n}])
        log.close()
        (file,) = tmp_path.iterdir()
        return file

    serve(1)
    with serve(2).open("a") as file:
        file.write('{"n": 3, "un')
    assert serve(4).read_text().splitlines() == ['{"n":1}', '{"n":2}', '{"n": 3, "un', '{"n":4}']
