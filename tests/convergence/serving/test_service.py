import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from redis import Redis

from convergence.features.online_store import OnlineStore
from convergence.lake.tables import Lake
from convergence.serving.access import Token, _digest
from convergence_assets.fraud.online import fill_online
from convergence_assets.fraud.requests import FEATURES
from tests.convergence.redis_servers import redis_server
from tests.convergence.serving.service import ask, service
from tests.convergence_assets.fraud.streams import CUT, batch

SCORE, GET = "/v1/fraud/score", "/v1/features/get"
VIEW = FEATURES.online.view


@pytest.fixture(scope="module")
def redis_url() -> Iterator[str]:
    with redis_server() as url:
        yield url


@pytest.fixture(scope="module")
def port(world: tuple[Lake, Path], redis_url: str) -> Iterator[int]:
    lake, home = world
    fill_online(lake, OnlineStore(Redis.from_url(redis_url), FEATURES.online.layout))
    with service(lake, home, redis_url) as port:
        yield port


def known(lake: Lake) -> pl.DataFrame:
    """The newest transactions of the batch, with features."""
    return batch(lake, CUT - timedelta(hours=12))


def asked(rows: pl.DataFrame) -> dict[str, Any]:
    columns = rows.select("transaction_id", "event_time", "arrived_at", "customer_id", "terminal_id", "amount")
    return {"rows": columns.with_columns(pl.col("event_time", "arrived_at").dt.strftime("%+")).to_dicts()}


def one(**changes: Any) -> dict[str, Any]:
    row = {"transaction_id": 10**9, "event_time": CUT.isoformat(), "customer_id": 1, "terminal_id": 2, "amount": 5.0}
    return {"rows": [row | changes]}


def test_served_features_are_those_of_the_batch(world: tuple[Lake, Path], port: int) -> None:
    rows = known(world[0])
    status, answer, _ = ask(port, "POST", GET, asked(rows) | {"view": VIEW.name})
    assert status == 200
    assert not answer["degraded"]
    expected = rows.select(pl.col(VIEW.features).cast(pl.Float64).fill_nan(None)).to_dicts()
    assert [row["features"] for row in answer["rows"]] == expected
    assert all(row["cache_hit"] for row in answer["rows"])


def test_a_score_says_all_that_it_came_from(world: tuple[Lake, Path], port: int) -> None:
    rows = known(world[0]).head(3)
    status, answer, headers = ask(port, "POST", SCORE, asked(rows))
    assert status == 200
    assert [s["transaction_id"] for s in answer["scores"]] == rows["transaction_id"].to_list()
    assert len({s["score"] for s in answer["scores"]}) == 3
    assert (answer["model_version"], answer["release"], answer["view"]) == ("2018-05-06-test", 0, VIEW.name)
    assert answer["fingerprint"] == FEATURES.online.layout.fingerprint
    assert answer["request_id"] == headers["x-request-id"]
    handle = world[0].open(FEATURES.table)
    assert answer["state"]["version"] == (handle and handle.version())


def test_an_unknown_entity_is_scored_on_the_defaults_and_that_is_not_degraded(port: int) -> None:
    status, answer, _ = ask(port, "POST", SCORE, one(customer_id=987_654))
    assert (status, answer["degraded"]) == (200, False)
    assert not answer["scores"][0]["cache_hit"]
    _, answer, _ = ask(port, "POST", GET, one(customer_id=987_654) | {"view": VIEW.name})
    named = answer["rows"][0]["features"]
    assert (named["customer_count_30d"], named["customer_mean_30d"], named["seconds_since_last"]) == (1, 5.0, None)


def test_a_transaction_older_than_the_state_reaches_back_is_marked_degraded(port: int) -> None:
    old = (CUT - timedelta(days=9)).isoformat()
    assert ask(port, "POST", SCORE, one(event_time=old))[1]["degraded"]


@pytest.mark.parametrize(
    ("path", "body", "status", "code"),
    [
        ("/v1/other/score", one(), 404, "not_found"),
        (GET, one() | {"view": "other"}, 404, "unknown_view"),
        (GET, one() | {"view": VIEW.name, "features": ["other"]}, 404, "unknown_feature"),
        (SCORE, {"rows": []}, 422, "invalid_request"),
        (SCORE, {}, 422, "invalid_request"),
        (SCORE, one(amount="much"), 422, "invalid_request"),
        (SCORE, one(amount=-1), 422, "invalid_request"),
        (SCORE, one(customer_id=2**63), 422, "invalid_request"),
        (SCORE, one(event_time=1526000000), 422, "invalid_request"),
        (SCORE, one(other=1), 422, "invalid_request"),
        (SCORE, one() | {"reason": True}, 422, "invalid_request"),
        (GET, one() | {"view": VIEW.name, "feature": ["amount"]}, 422, "invalid_request"),
        (SCORE, one(amount=True), 422, "invalid_request"),
        (SCORE, one(customer_id=True), 422, "invalid_request"),
        (SCORE, {"rows": one()["rows"] * 1_001}, 413, "too_many_rows"),
        (SCORE, {"rows": one()["rows"] * 10_000}, 413, "too_large"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_a_wrong_request_gets_a_stable_error(port: int, path: str, body: Any, status: int, code: str) -> None:
    got, answer, _ = ask(port, "POST", path, body)
    assert (got, answer["error"]["code"]) == (status, code)
    assert answer["error"].keys() == {"code", "message", "next"}
    assert "Traceback" not in json.dumps(answer)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"arrived_at": "0001-01-01T00:00:00Z"}, "event_time is more than 0:05:00 after arrived_at"),
        ({"arrived_at": "0001-01-01T00:00:00+14:00"}, "arrived_at: Value error, no time: expected ISO 8601"),
        ({"arrived_at": str(CUT - timedelta(seconds=301))}, "event_time is more than 0:05:00 after arrived_at"),
        ({"arrived_at": "9999-12-31T23:59:59Z"}, "arrived_at is more than 0:05:00 from now"),
        ({"event_time": "9999-12-31T23:59:59-23:59"}, "event_time: Value error, no time: expected ISO 8601"),
        ({"event_time": "1526000000"}, "event_time: Value error, no time: expected ISO 8601"),
        ({"event_time": "9999-12-31T23:59:59"}, "event_time is more than 0:05:00 after now"),
    ],
    ids=[
        "arrived-in-year-1",
        "arrived-before-year-1-in-utc",
        "arrived-first",
        "arrives-in-9999",
        "beyond-9999-in-utc",
        "number",
        "happens-in-9999",
    ],
)
def test_a_time_that_cannot_be_is_refused_in_words(port: int, changes: dict[str, str], said: str) -> None:
    status, answer, _ = ask(port, "POST", SCORE, one(**changes))
    assert (status, answer["error"]["code"]) == (422, "invalid_request")
    assert said in answer["error"]["message"]


def test_clocks_may_differ_by_as_much_as_in_landing(port: int) -> None:
    before = (CUT - timedelta(minutes=5)).isoformat()
    assert ask(port, "POST", SCORE, one(arrived_at=before))[0] == 200


@pytest.mark.parametrize("kind", ["application/openmetrics-text", "text/plain"])
def test_metrics_of_a_version_that_is_no_number_are_given_in_the_plain_form(port: int, kind: str) -> None:
    connection = HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("GET", "/metrics", headers={"Accept": f"{kind}; version=abc"})
    answer = connection.getresponse()
    assert (answer.status, answer.getheader("content-type")) == (200, "text/plain; version=0.0.4; charset=utf-8")
    assert b"convergence_request_seconds" in answer.read()
    connection.close()


@pytest.mark.parametrize("raw", [b"{", b"\xff\xfe", b"[1e999]", b'{"rows": [{"amount": NaN}]}'])
def test_a_body_that_is_no_request_gets_a_stable_error_without_its_content(port: int, raw: bytes) -> None:
    status, answer, _ = ask(port, "POST", SCORE, raw=raw)
    assert (status, answer["error"]["code"]) == (422, "invalid_request")


def test_a_long_body_that_does_not_say_how_long_it_is_is_refused(port: int) -> None:
    connection = HTTPConnection("127.0.0.1", port, timeout=30)
    headers = {"Transfer-Encoding": "chunked", "Content-Type": "application/json"}
    connection.request("POST", SCORE, iter([b"x" * 500_000] * 4), headers, encode_chunked=True)
    answer = connection.getresponse()
    assert (answer.status, json.loads(answer.read())["error"]["code"]) == (413, "too_large")
    connection.close()


def test_the_page_of_the_api_has_examples(port: int) -> None:
    schema = ask(port, "GET", "/openapi.json")[1]
    assert set(schema["paths"]) == {SCORE, GET, "/health", "/metrics"}
    assert schema["components"]["schemas"]["TransactionToScore"]["properties"]["amount"]["examples"] == [57.16]
    assert schema["components"]["schemas"]["ScoreRequest"]["properties"]["reasons"]["examples"] == [True]
    assert "terminal_fraud_rate_7d" in schema["components"]["schemas"]["Reason"]["properties"]["feature"]["examples"]
    assert ask(port, "GET", "/docs")[0] == 200


def test_metrics_tell_latency_feature_age_degraded_share_and_the_model(port: int) -> None:
    ask(port, "POST", SCORE, one())
    text = ask(port, "GET", "/metrics")[1]
    assert 'convergence_request_seconds_bucket{le="0.01",route="/v1/fraud/score",status="200"}' in text
    assert 'convergence_model_serving{model_version="2018-05-06-test",release="0",run_id="unknown"} 1.0' in text
    assert 'convergence_rows_total{degraded="false"}' in text
    age = next(float(line.split()[1]) for line in text.splitlines() if line.startswith("convergence_feature_age_s"))
    assert age > (datetime.now(UTC) - CUT).total_seconds()


def test_each_served_vector_is_logged_with_what_its_state_had_consumed(world: tuple[Lake, Path], port: int) -> None:
    number = time.time_ns()
    _, answer, _ = ask(port, "POST", SCORE, one(transaction_id=number))
    lines: list[dict[str, Any]] = []
    deadline = time.monotonic() + 10
    while not lines and time.monotonic() < deadline:
        time.sleep(0.05)
        files = (world[1] / "served" / VIEW.name).glob("*.jsonl")
        told = [json.loads(line) for file in files for line in file.read_text().splitlines()]
        lines = [line for line in told if line["row"]["transaction_id"] == number]
    (line,) = lines
    assert line["meta"]["version"] == answer["state"]["version"]
    assert line["score"] == answer["scores"][0]["score"]
    assert len(line["features"]) == len(VIEW.features)


def test_a_flushed_store_means_defaults_and_503_and_a_refill_equals_before(
    world: tuple[Lake, Path], redis_url: str, port: int
) -> None:
    lake, _ = world
    rows = asked(known(lake))
    before = ask(port, "POST", SCORE, rows)[1]["scores"]
    assert ask(port, "GET", "/health")[0] == 200
    Redis.from_url(redis_url).flushall()
    try:
        answer = ask(port, "POST", SCORE, rows)[1]
        assert answer["degraded"]
        assert answer["state"] is None
        status, health, _ = ask(port, "GET", "/health")
        assert status == 503
        assert "flushed" in " ".join(health["problems"])
    finally:
        fill_online(lake, OnlineStore(Redis.from_url(redis_url), FEATURES.online.layout))
    deadline = time.monotonic() + 20
    while (answer := ask(port, "POST", SCORE, rows)[1])["degraded"]:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert answer["scores"] == before


def test_with_tokens_the_role_decides_and_the_rate_is_bounded(
    world: tuple[Lake, Path], redis_url: str, port: int
) -> None:
    reader = Token("r", "reader", _digest("reader-token-0001"))
    scorer = Token("s", "scorer", _digest("scorer-token-0001"))
    gone = Token("g", "admin", _digest("gone-token-000001"), datetime(2020, 1, 1, tzinfo=UTC))
    with service(*world, redis_url, reader, scorer, gone, rate=5) as guarded:
        for token, path, status in [
            (None, SCORE, 401), ("wrong", SCORE, 401), ("gone-token-000001", SCORE, 401),
            ("reader-token-0001", SCORE, 403), ("scorer-token-0001", SCORE, 200),
        ]:  # fmt: skip
            got, answer, _ = ask(guarded, "POST", path, one(), token)
            assert got == status, answer
        assert ask(guarded, "GET", "/metrics")[0] == 401
        assert ask(guarded, "GET", "/health")[0] == 200
        answers = [ask(guarded, "POST", SCORE, one(), "scorer-token-0001") for _ in range(12)]
        assert {status for status, _, _ in answers} == {200, 429}
        limited = next(headers for status, _, headers in answers if status == 429)
        assert int(limited["retry-after"]) >= 1
        text = ask(guarded, "GET", "/metrics", token="reader-token-0001")[1]
        assert 'convergence_rate_limited_total{token="s"}' in text
        assert 'convergence_denied_total{code="unauthorized"} 4.0' in text
