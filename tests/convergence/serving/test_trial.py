"""A running service tries challengers: real Redis, real release log, and each request answered whatever they are."""

import json
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module

import polars as pl
import pytest
from click.testing import CliRunner
from redis import Redis

from convergence.features.online_store import OnlineStore
from convergence.models.releases import current
from convergence.serving.releases import ReleaseSource
from convergence_assets.fraud.requests import FEATURES
from convergence_assets.fraud.use_case import MODEL, SERVED
from resources import environments
from tests.convergence.models.releasing import write
from tests.convergence.serving.service import ask, model, sha256
from tests.convergence.serving.test_service import SCORE, one
from tests.convergence.serving.trials import NAME, House, failing, graph, nan, shifted, slow
from tests.convergence_assets.fraud.streams import CUT

RELEASABLE = MODEL.releasable

commands = import_module("convergence.cli.release")  # the package has a command of that name

WITHIN = 500
BAD = {
    "failing": (failing, "failed"),
    "nan": (nan, "gave invalid scores"),
    "shifted": (shifted, "are distributed otherwise"),
    "slow": (slow, "were slow"),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_challenger_is_rolled_back_within_500_requests_each_of_which_was_answered(
    house: House, kind: str
) -> None:
    output, words = BAD[kind]
    release = house.tries(kind, graph(output))
    by = [answer["model_version"] for answer in house.ask_many(WITHIN, kind)]
    house.until(lambda: house.release.canary is None)
    (end,) = [e for e in house.log.entries() if e.action == "canary_end" and e.number > release.number]
    assert (end.actor, end.detail["left"]) == ("guard", kind)
    assert words in end.detail["reason"]
    assert house.log.verify().fault is None
    house.until(lambda: current(house.redis, NAME) == house.release)
    exposed = house.exposures(release)
    assert {line["variant"] for line in exposed} == {"champion", "challenger"}
    assert len(exposed) < WITHIN
    assert set(by[len(exposed) :]) == {"v0"}
    asked = sum(line["variant"] == "challenger" for line in exposed)
    assert by.count(kind) == (0 if kind in {"failing", "nan"} else asked)
    house.until(lambda: house.health()["canary"] is None)
    outcome = {"failing": "failed", "nan": "invalid"}.get(kind, "answered")
    labels = f'experiment="{NAME}/{release.number}",outcome="{outcome}",variant="challenger"'
    assert f"convergence_canary_requests_total{{{labels}}} {asked}.0" in house.metrics()


def test_a_good_challenger_answers_its_share_under_its_name_and_is_promoted(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    blob = model(scale=1.0001e-7)
    release = house.tries("good", blob, share=0.2)
    assert house.health()["canary"] == {"model_version": "good", "share": 0.2, "verdict": None}
    by = {answer["request_id"]: answer["model_version"] for answer in house.ask_many(WITHIN, "good")}
    house.until(lambda: len(house.exposures(release)) == WITHIN)
    exposed = {line["unit"]: line["variant"] for line in house.exposures(release)}
    assert {unit: "good" if variant == "challenger" else "v0" for unit, variant in exposed.items()} == by
    served = [json.loads(line) for file in (house.home / "served" / RELEASABLE.view).iterdir() for line in file.open()]
    assert {line["request_id"]: line["model_version"] for line in served if line["request_id"] in by} == by

    here = environments.Settings(home=house.home, data=None, redis=house.redis_url)
    monkeypatch.setattr(environments, "settings", lambda: here)
    shown = CliRunner().invoke(commands.release, ["canary", NAME])
    assert shown.exit_code == 0, shown.output
    assert f"{NAME}/{release.number}: good for 20.0% of the requests, beside v0" in shown.output
    days = {"event_date": [CUT.date()], "valid_from": [CUT.date()]}
    mine = {"model_version": ["good"], "onnx": [blob], "sha256": [sha256(blob)]}
    verdict = {"challenger_version": ["good"], "promoted": [True], "reason": ["passes"]}
    write(house.lake, RELEASABLE.models, pl.DataFrame(days | mine))
    write(house.lake, RELEASABLE.decisions, pl.DataFrame(days | mine | verdict))
    promoted = CliRunner().invoke(commands.promote, [NAME, "--version", "good", "--reason", "as good"])
    assert promoted.exit_code == 0, promoted.output
    house.until(lambda: house.health()["model_version"] == "good")
    assert house.health()["canary"] is None
    assert {answer["model_version"] for answer in house.ask_many(50, "promoted")} == {"good"}
    assert len(house.exposures(release)) == WITHIN
    ended = CliRunner().invoke(commands.release, ["canary", NAME]).output
    assert "promote by" in ended
    assert "as good" in ended
    house.promotes("v0", model())


def test_a_split_that_lost_requests_is_called_broken(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    release = house.tries("same", model(scale=1.0001e-7), share=0.5)
    list(house.ask_many(200, "same"))
    house.until(lambda: len(house.exposures(release)) == 200)
    for file in (house.home / "served" / "exposures" / NAME).iterdir():
        whole = file.read_text().splitlines(keepends=True)
        lost = [n for n, line in enumerate(whole) if f"{NAME}/{release.number}" in line and '"challenger"' in line[:80]]
        file.write_text("".join(line for n, line in enumerate(whole) if n not in lost[:60]) + '{"torn":\n')
    here = environments.Settings(home=house.home, data=None, redis=house.redis_url)
    monkeypatch.setattr(environments, "settings", lambda: here)
    shown = CliRunner().invoke(commands.release, ["canary", NAME])
    assert shown.exit_code == 1
    assert "the split is BROKEN" in shown.output
    assert "200" not in shown.output
    house.promotes("v0b", model(scale=1.00005e-7))


def test_a_challenger_that_cannot_be_loaded_is_refused_and_the_champion_serves_all(house: House) -> None:
    release = house.tries("broken", graph(lambda made, total: made.add("Neg", made.add("Exp", total))), share=0.5)
    health = house.health()
    assert (health["usable"], health["canary"]) == (True, None)
    assert "the challenger is not tried: model broken answers" in health["problems"][0]
    assert {answer["model_version"] for answer in house.ask_many(20, "broken")} == {house.release.model_version}
    assert "convergence_challenger_refused 1.0" in house.metrics()
    assert house.exposures(release) == []
    house.tries("fine", model(scale=1.0001e-7))
    assert house.health()["problems"] == []
    assert "convergence_challenger_refused 0.0" in house.metrics()


def test_servers_that_find_the_same_write_it_once(house: House) -> None:
    release = house.tries("twice", model(scale=1.0002e-7))

    def server(_: int) -> None:
        store = OnlineStore(Redis.from_url(house.redis_url), FEATURES.online.layout)
        ReleaseSource(SERVED.model, house.lake, store).end_canary(release, "slow")

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(server, range(8)))
    assert [e.actor for e in house.log.entries() if e.number > release.number] == ["guard"]
    again = house.tries("twice", model(scale=1.0002e-7))
    server(0)
    assert house.release == again


def test_a_request_is_asked_of_the_same_model_again_and_the_report_says_so(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = house.tries("half", model(scale=1.0003e-7), share=0.5)
    first, second = ([a["model_version"] for a in house.ask_many(30, "retry")] for _ in range(2))
    assert first == second
    assert len(set(first)) == 2
    assert ask(house.port, "POST", SCORE, one())[0] == 200
    house.until(lambda: len(house.exposures(release)) == 61)
    here = environments.Settings(home=house.home, data=None, redis=house.redis_url)
    monkeypatch.setattr(environments, "settings", lambda: here)
    shown = CliRunner().invoke(commands.release, ["canary", NAME])
    assert shown.exit_code == 0, shown.output
    assert "30 requests came under an id that was there already" in shown.output
