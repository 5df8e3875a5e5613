"""Scores with reasons over HTTP: those of the model that answered, equal to those that the batch gives."""

from functools import cache
from typing import Any

import numpy as np
import polars as pl
import pytest

from convergence.errors import LakeError
from convergence.models import boosting
from convergence.models.explanation import explain, in_words, top
from convergence.models.releases import Release
from convergence.serving.reasons import NoReasons, NotExplainable, Reasons
from convergence_assets.fraud.feature_views import DESCRIPTIONS
from tests.convergence.serving.service import ask, model
from tests.convergence.serving.test_service import GET, SCORE, one
from tests.convergence.serving.trials import INPUTS, NAME, House

VIEW = "transaction_features"


@cache
def trees(seed: int = 0, names: tuple[str, ...] = INPUTS) -> str:
    random = np.random.default_rng(seed)
    frame = pl.DataFrame(random.lognormal(3, 2, size=(500, len(names))), schema=list(names))
    return boosting.fit(frame, pl.Series(random.random(500) < 0.3), rounds=5, params={"max_depth": 3})


def rows() -> dict[str, Any]:
    given = [one(transaction_id=10**9 + n, customer_id=n, terminal_id=n, amount=3.0**n)["rows"][0] for n in range(6)]
    return {"rows": given}


def expected(house: House, model: str) -> list[list[tuple[str, float | None, float]]]:
    """What the batch would say of the same features."""
    answer = ask(house.port, "POST", GET, rows() | {"view": VIEW})[1]
    both = zip(answer["rows"], rows()["rows"], strict=True)
    values = [told["features"] | {"amount": row["amount"]} for told, row in both]
    features = pl.DataFrame(values, infer_schema_length=None)
    return [[(n, None if np.isnan(v) else v, s) for n, v, s in row] for row in top(explain(model, features))]


def given(answer: dict[str, Any]) -> list[list[tuple[str, float | None, float]]]:
    return [[(r["feature"], r["value"], r["shap"]) for r in score["reasons"]] for score in answer["scores"]]


def test_each_score_has_the_five_reasons_that_the_batch_gives_in_words(house: House) -> None:
    house.promotes("explained", model(scale=1.000001e-7), trees())
    status, answer, _ = ask(house.port, "POST", SCORE, rows() | {"reasons": True})
    assert status == 200
    assert given(answer) == expected(house, trees())
    for score in answer["scores"]:
        assert len(score["reasons"]) == 5
        named = [(r["feature"], np.nan if r["value"] is None else r["value"], r["shap"]) for r in score["reasons"]]
        words = in_words(named, DESCRIPTIONS).splitlines()
        assert [f"{n}. {r['words']}" for n, r in enumerate(score["reasons"], 1)] == words


def test_without_being_asked_for_there_are_none_and_the_score_is_the_same(house: House) -> None:
    house.promotes("quiet", model(scale=1.00001e-7), trees())
    plain = ask(house.port, "POST", SCORE, rows())[1]
    explained = ask(house.port, "POST", SCORE, rows() | {"reasons": True})[1]
    assert all("reasons" not in score for score in plain["scores"])
    assert [s["score"] for s in plain["scores"]] == [s["score"] for s in explained["scores"]]


def test_the_reasons_are_those_of_the_model_that_answered(house: House) -> None:
    house.promotes("one", model(scale=1.00002e-7), trees())
    house.tries("other", model(scale=1.00003e-7), share=0.5, trees=trees(1))
    of = {"one": expected(house, trees()), "other": expected(house, trees(1))}
    seen = set()
    for _ in range(30):
        answer = ask(house.port, "POST", SCORE, rows() | {"reasons": True})[1]
        assert given(answer) == of[answer["model_version"]]
        seen.add(answer["model_version"])
    assert seen == {"one", "other"}


def test_a_challenger_without_reasons_leaves_the_request_to_the_champion(house: House) -> None:
    house.promotes("one", model(scale=1.00004e-7), trees())
    release = house.tries("mute", model(scale=1.00005e-7), share=0.5)
    answers = [ask(house.port, "POST", SCORE, rows() | {"reasons": True}) for _ in range(10)]
    assert [(status, answer["model_version"]) for status, answer, _ in answers] == [(200, "one")] * 10
    house.until(lambda: house.exposures(release))
    assert {e["outcome"] for e in house.exposures(release) if e["variant"] == "challenger"} == {"failed"}


def test_a_model_without_trees_says_so_and_still_scores(house: House) -> None:
    house.promotes("mute", model(scale=1.00006e-7))
    status, answer, _ = ask(house.port, "POST", SCORE, rows() | {"reasons": True})
    assert (status, answer["error"]["code"], answer["error"]["next"]) == (422, "not_explainable", "ask without reasons")
    assert "mute" in answer["error"]["message"]
    assert ask(house.port, "POST", SCORE, rows())[0] == 200


@pytest.mark.parametrize("given", ["yes", 1, None])
def test_reasons_are_asked_for_by_true_alone(house: House, given: Any) -> None:
    status, answer, _ = ask(house.port, "POST", SCORE, rows() | {"reasons": given})
    assert (status, answer["error"]["code"]) == (422, "invalid_request")


def test_damaged_trees_cost_the_reasons_and_not_the_score(house: House) -> None:
    house.promotes("damaged", model(scale=1.00007e-7), trees()[:1000])
    status, answer, _ = ask(house.port, "POST", SCORE, rows() | {"reasons": True})
    assert (status, answer["error"]["code"]) == (503, "no_reasons")
    assert ask(house.port, "POST", SCORE, rows())[0] == 200


def release(sha256: str = "ab") -> Release:
    return Release(NAME, 1, "v1", sha256, VIEW, "f", "n")


VALUES = np.ones((1, len(INPUTS)), np.float32)


def test_the_trees_of_a_model_are_read_once_and_again_only_where_they_could_not_be() -> None:
    asked: list[str] = []

    def read(release: Release) -> str:
        asked.append(release.sha256)
        if len(asked) == 1:
            raise LakeError("the bucket does not answer")
        return trees()

    reasons = Reasons(read, {})
    with pytest.raises(NoReasons, match="the bucket does not answer"):
        reasons.of(release(), INPUTS, VALUES)
    for sha256 in ("ab", "ab", "cd", "ab", "ef", "cd"):
        reasons.of(release(sha256), INPUTS, VALUES)
    assert asked == ["ab", "ab", "cd", "ef"]


def test_trees_over_other_features_are_not_the_models() -> None:
    with pytest.raises(NotExplainable, match="its trees read other features"):
        Reasons(lambda _: trees(0, INPUTS[:5]), {}).of(release(), INPUTS, VALUES)


def test_values_that_do_not_add_up_give_no_reasons(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(boosting.Trees, "contributions", lambda *_: np.ones((1, len(INPUTS) + 1), np.float32))
    with pytest.raises(NoReasons, match="miss their log odds"):
        Reasons(lambda _: trees(), {}).of(release(), INPUTS, VALUES)
