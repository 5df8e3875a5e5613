from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Histogram

from convergence.observability.context import bind, bound, current, exemplar


def test_what_is_bound_holds_within_and_no_longer() -> None:
    with bound(run_id="r", asset=None):
        with bound(trace_id="t"):
            assert current() == {"run_id": "r", "trace_id": "t"}
        assert current() == {"run_id": "r"}
    assert current() == {}


def test_who_is_called_in_another_thread_adds_to_what_the_caller_is_about() -> None:
    with ThreadPoolExecutor(1) as pool, bound(request_id="a"):
        pool.submit(copy_context().run, lambda: bind(model_version="m")).result()
        assert current() == {"request_id": "a", "model_version": "m"}


def test_adding_outside_of_anything_changes_nothing() -> None:
    bind(model_version="m")
    assert current() == {}


def test_two_requests_at_once_do_not_see_each_other() -> None:
    def request(name: str) -> dict[str, str | int]:
        with bound(request_id=name):
            bind(model_version=f"m-{name}")
            return dict(current())

    with ThreadPoolExecutor(4) as pool:
        seen = list(pool.map(request, map(str, range(200))))
    assert seen == [{"request_id": str(n), "model_version": f"m-{n}"} for n in range(200)]


@given(st.text(), st.text())
def test_an_exemplar_of_any_ids_is_one_that_prometheus_takes(trace_id: str, request_id: str) -> None:
    histogram = Histogram("seconds", "Seconds", registry=CollectorRegistry())
    with bound(trace_id=trace_id[:32], request_id=request_id):
        histogram.observe(1.0, exemplar("request_id"))


def test_without_a_trace_to_look_up_there_is_no_exemplar() -> None:
    with bound(request_id="a"):
        assert exemplar("request_id") is None
