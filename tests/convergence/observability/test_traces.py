import gzip
import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from convergence.observability.context import current
from convergence.observability.span_export import WITHIN
from convergence.observability.traces import OFF, tracer

TRACE = "0af7651916cd43dd8448eb211c80319c"


def written(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for file in folder.glob("*.jsonl") for line in file.read_text().splitlines()]


def test_a_trace_gets_the_id_that_it_is_given_and_its_parts_are_below_it(tmp_path: Path) -> None:
    spans = tracer("test", tmp_path, None)
    with spans.trace("whole", trace_id=TRACE, began=10**18) as whole:
        assert current() == {"trace_id": TRACE}
        spans.past("before", 10**18, 2 * 10**18, version=3)
        with spans.span("part") as part:
            part.set(rows=5, note=None)
        whole.set(status=200)
    spans.flush()
    before, part, whole = written(tmp_path)
    assert {span["context"]["trace_id"] for span in (before, part, whole)} == {f"0x{TRACE}"}
    assert before["parent_id"] == part["parent_id"] == whole["context"]["span_id"]
    assert (before["attributes"], part["attributes"]) == ({"version": 3}, {"rows": 5})
    assert whole["start_time"] == before["start_time"] == "2001-09-09T01:46:40.000000Z"
    assert before["end_time"] == "2033-05-18T03:33:20.000000Z"


def test_the_next_trace_has_another_id(tmp_path: Path) -> None:
    spans = tracer("test", tmp_path, None)
    with spans.trace("one", trace_id=TRACE):
        pass
    with spans.trace("two"):
        assert current()["trace_id"] != TRACE


def test_of_an_error_its_kind_is_recorded_and_not_its_text(tmp_path: Path) -> None:
    spans = tracer("test", tmp_path, None)
    with pytest.raises(ValueError, match="4711"), spans.trace("whole"), spans.span("part"):
        raise ValueError("customer 4711")
    spans.flush()
    assert [span["status"] for span in written(tmp_path)] == [{"status_code": "ERROR", "description": "ValueError"}] * 2
    assert "4711" not in "".join(file.read_text() for file in tmp_path.iterdir())


@pytest.mark.parametrize(("flag", "kept"), [("01", True), ("00", False)], ids=["kept", "not kept"])
def test_the_caller_decides_whether_its_trace_is_kept(tmp_path: Path, flag: str, *, kept: bool) -> None:
    spans = tracer("test", tmp_path, None, 0.5)
    with spans.trace("whole", caller=f"00-{TRACE}-b7ad6b7169203331-{flag}"):
        assert (current() == {"trace_id": TRACE}) is kept
    spans.flush()
    assert [span["parent_id"] for span in written(tmp_path)] == ["0xb7ad6b7169203331"] * kept


@pytest.mark.parametrize("header", ["", "nonsense", "00-0-0-01", "ü" * 500])
def test_a_caller_that_cannot_be_understood_is_none(tmp_path: Path, header: str) -> None:
    spans = tracer("test", tmp_path, None)
    with spans.trace("whole", trace_id=TRACE, caller=header):
        assert current() == {"trace_id": TRACE}


@pytest.mark.parametrize("header", ["nonsense", f"00-{TRACE}-0000000000000000-01", f"00-{TRACE}-b7ad6b7169203331-zz"])
def test_a_caller_that_cannot_be_understood_does_not_have_its_trace_kept(tmp_path: Path, header: str) -> None:
    spans = tracer("test", tmp_path, None, 0.0)
    with spans.trace("whole", caller=header):
        assert current() == {}
    spans.flush()
    assert written(tmp_path) == []


def test_a_share_of_the_traces_is_kept_each_whole(tmp_path: Path) -> None:
    spans = tracer("test", tmp_path, None, 0.2)
    for _ in range(1_000):
        with spans.trace("whole"), spans.span("part"):
            pass
    spans.flush()
    names = [span["name"] for span in written(tmp_path)]
    assert names.count("part") == names.count("whole")
    assert 120 < names.count("whole") < 280  # six standard deviations


def test_traces_of_several_threads_do_not_mix(tmp_path: Path) -> None:
    spans = tracer("test", tmp_path, None)

    def request(n: int) -> None:
        with spans.trace(f"whole {n}"), spans.span(f"part {n}"):
            time.sleep(0.001)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(request, range(100)))
    spans.flush()
    found = {span["name"]: span for span in written(tmp_path)}
    for n in range(100):
        assert found[f"part {n}"]["parent_id"] == found[f"whole {n}"]["context"]["span_id"]


def test_a_tracer_that_is_off_writes_nothing_and_binds_nothing(tmp_path: Path) -> None:
    assert tracer("test", None, None) is OFF
    with OFF.trace("whole", trace_id=TRACE) as whole, OFF.span("part"):
        whole.set(status=200)
        assert current() == {}
    OFF.flush()


@contextmanager
def collector(answer: int = 200) -> Iterator[tuple[str, list[tuple[str, bytes]]]]:
    """The address of an HTTP server that takes what is posted, and what it took."""
    taken: list[tuple[str, bytes]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            packed = self.headers.get("content-encoding") == "gzip"
            taken.append((self.path, gzip.decompress(body) if packed else body))
            self.send_response(answer)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Nothing on stderr."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", taken
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_collector_gets_the_spans_in_place_of_the_files(tmp_path: Path) -> None:
    with collector() as (address, taken):
        spans = tracer("test-collected", tmp_path, address)
        with spans.trace("whole", trace_id=TRACE) as whole:
            whole.set(run_id="r")
        spans.flush()
    ((path, body),) = taken
    assert path == "/v1/traces"
    (resource,) = ExportTraceServiceRequest.FromString(body).resource_spans
    (span,) = resource.scope_spans[0].spans
    assert (span.name, span.trace_id.hex()) == ("whole", TRACE)
    assert [(a.key, a.value.string_value) for a in span.attributes] == [("run_id", "r")]
    assert "test-collected" in str(resource.resource)
    assert written(tmp_path) == []


def test_a_collector_that_is_busy_holds_up_the_work_only_for_a_moment(tmp_path: Path) -> None:
    with collector(503) as (address, taken):
        spans = tracer("test", tmp_path, address)
        with spans.trace("whole"):
            pass
        began = time.monotonic()
        spans.flush()
        assert time.monotonic() - began < WITHIN + 5
        assert taken
