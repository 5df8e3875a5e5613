"""What the tables of a use case say of a version that is to be released."""

from datetime import date
from hashlib import sha256

import polars as pl
import pytest

from convergence.errors import ModelError, TableMissing
from convergence.lake.tables import Lake
from convergence.models.releasable import Span
from tests.convergence.models.releasing import FRAUD, LAST_SETTLED, WEEKS, decisions, make, models, onnx, write


def test_the_newest_version_is_the_candidate_by_default(lake: Lake) -> None:
    found = FRAUD.candidate(make(lake))
    assert (found.model_version, found.sha256, found.passed) == ("v3", sha256(onnx(3)).hexdigest(), True)
    assert (found.view, found.namespace) == ("transaction_features", "transaction_features/f1")


def test_a_refused_version_comes_with_the_gates_words(lake: Lake) -> None:
    found = FRAUD.candidate(make(lake), "v2")
    assert (found.passed, found.gate) == (False, "v2 is refused: too slow.")


def test_a_version_that_was_never_judged_has_not_passed(lake: Lake) -> None:
    write(lake, FRAUD.models, models())
    assert "v3 was never judged: materialize fraud/fraud_promotions of 2018-08-08" in FRAUD.candidate(lake).gate
    write(lake, FRAUD.decisions, decisions(2))
    assert not FRAUD.candidate(lake, "v3").passed
    assert FRAUD.candidate(lake, "v1").passed


def test_an_unknown_version_is_refused_with_those_there_are(lake: Lake) -> None:
    with pytest.raises(ModelError, match="no version v9 in fraud/fraud_model; there are: v0, v1, v2, v3"):
        FRAUD.candidate(make(lake), "v9")


def test_a_model_that_does_not_give_its_hash_is_refused(lake: Lake) -> None:
    write(lake, FRAUD.models, models().with_columns(onnx=pl.lit(b"evil")))
    with pytest.raises(ModelError, match="v3 in fraud/fraud_model has hash"):
        FRAUD.candidate(lake)


@pytest.mark.parametrize("place", [1, 12, 63])
def test_every_digit_of_a_candidates_hash_counts(lake: Lake, place: int) -> None:
    wrong = [f"{one[:place]}{'1' if one[place] == '0' else '0'}{one[place + 1 :]}" for one in models()["sha256"]]
    write(lake, FRAUD.models, models().with_columns(sha256=pl.Series(wrong)))
    with pytest.raises(ModelError, match="v3 in fraud/fraud_model has hash"):
        FRAUD.candidate(lake)


def test_without_models_the_table_is_named(lake: Lake) -> None:
    with pytest.raises(TableMissing, match="fraud/fraud_model"):
        FRAUD.candidate(lake)


def test_a_release_scores_from_the_first_day_without_a_champion(lake: Lake) -> None:
    assert FRAUD.span(make(lake)) == Span(date(2018, 8, 11), date(2018, 8, 11))
    assert date(2018, 8, 10) == LAST_SETTLED


def test_a_release_overrules_decisions_for_days_without_a_champion(lake: Lake) -> None:
    write(lake, FRAUD.decisions, decisions())
    write(lake, FRAUD.champions, pl.DataFrame({"event_date": [date(2018, 8, 2)], "model_version": ["v0"]}))
    assert FRAUD.span(lake) == Span(date(2018, 8, 3), WEEKS[3])


def test_before_any_score_a_release_counts_with_the_newest_decision(lake: Lake) -> None:
    write(lake, FRAUD.decisions, decisions(2))
    assert FRAUD.span(lake) == Span(WEEKS[1], WEEKS[1])


def test_before_any_decision_there_is_nothing_to_release(lake: Lake) -> None:
    with pytest.raises(ModelError, match="has no decision of the gate yet"):
        FRAUD.span(lake)
