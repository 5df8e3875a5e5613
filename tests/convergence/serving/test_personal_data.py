"""What a request brings that is personal is in no refusal, log line or trace of the service."""

import json
from pathlib import Path
from typing import Any

from convergence.cli.serve import composed
from convergence.lake.tables import Lake
from convergence.observability.logs import log_beside
from convergence.observability.traces import tracer
from convergence.serving.access import Access
from convergence_assets.fraud.use_case import SERVED
from tests.convergence.redis_servers import redis_server
from tests.convergence.serving.service import ask, running
from tests.convergence.serving.test_service import GET, SCORE, VIEW, one

MAIL, CARD, PHONE = "erika.mustermann@example.org", "4111111111111111", "+49 170 5550123"
CUSTOMER = 7_001_002_003
REFUSED = {
    "a text for an id": one(customer_id=MAIL),
    "a text for an amount": one(amount=PHONE),
    "a number out of range": one(amount=float(CARD)),
    "a time that is none": one(event_time=MAIL),
    "no JSON": f'{{"rows": [{MAIL}',
    "a row that is a text": {"rows": [MAIL]},
    "a field of that name": {"rows": [one()["rows"][0] | {MAIL: 1}]},
    "a field that nobody declared": {"rows": [one()["rows"][0] | {"mail": MAIL}]},
}


def test_no_refusal_log_line_or_trace_repeats_what_was_sent(world: tuple[Lake, Path], tmp_path: Path) -> None:
    lake, _ = world
    spans = tracer("convergence-service", tmp_path / "traces", None, 1.0)
    answers: dict[str, tuple[int, Any]] = {}
    with redis_server() as redis, log_beside(tmp_path / "logs"):
        app = composed(
            SERVED, lake, Access([], rate=1e6, burst=10**6), home=tmp_path, redis=redis, within=1.0, tracer=spans
        )
        with running(app) as port:
            for name, body in REFUSED.items():
                raw = body.encode() if isinstance(body, str) else None
                status, told, _ = ask(port, "POST", SCORE, None if raw else body, raw=raw)
                answers[name] = status, told
            answers["a feature of that name"] = ask(port, "POST", GET, one() | {"view": VIEW.name, "features": [MAIL]})[
                :2
            ]
            status, _, _ = ask(port, "POST", SCORE, one(customer_id=CUSTOMER))
            assert status == 200

    assert {status for status, _ in answers.values()} <= {404, 422}
    kept = [p.read_text() for folder in ("logs", "traces") for p in (tmp_path / folder).rglob("*") if p.is_file()]
    assert any(SCORE in text for text in kept)
    for canary in (MAIL, CARD, PHONE, str(CUSTOMER)):
        assert [name for name, (_, told) in answers.items() if canary in json.dumps(told)] == []
        assert [text for text in kept if canary in text] == []
