"""The check that an id lives on one day, in runs: of a day, of a range, and beside days that no run is about."""

from collections.abc import Mapping
from typing import Any

import dagster as dg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asset_checks.one_day import on_several_days, one_day_check
from convergence.lake.tables import Lake
from tests.resources.readings import DAYS, Values, frame_of, materialize, readings

IDS: Values = {DAYS[0]: [100001, 100002], DAYS[1]: [100002, 100003], DAYS[2]: [100004], DAYS[9]: [100001]}
CHECK = "one_day"


@pytest.fixture
def told(lake: Lake, instance: dg.DagsterInstance) -> Any:
    """What the check says of a run over these days: partition (None: the run) -> evaluation; the table holds IDS."""

    def run(*days: str) -> Mapping[str | None, dg.AssetCheckEvaluation]:
        root = readings(IDS)
        materialize([root], lake, instance, DAYS[0], DAYS[-1])
        result = materialize([root], lake, instance, *days, extra=[one_day_check(root, key="value")])
        assert result.success
        return {e.partition: e for e in result.get_asset_check_evaluations() if e.check_name == CHECK}

    return run


def test_an_id_on_another_day_fails_and_names_both_days_and_no_id(told: Any) -> None:
    (said,) = told(DAYS[1]).values()
    assert not said.passed
    assert said.description.startswith(f"1 value on several of the days {DAYS[0]}, {DAYS[1]}, such as 1…2. ")
    assert "convergence replay --from-beginning" in said.description
    assert said.metadata["ids_on_several_days"].value == 1
    assert "100002" not in str(said)


def test_what_follows_is_made_all_the_same(told: Any) -> None:
    (said,) = told(DAYS[1]).values()
    assert not said.blocking


def test_a_day_of_its_own_ids_passes(told: Any) -> None:
    (said,) = told(DAYS[2]).values()
    assert said.passed
    assert said.metadata["ids_on_several_days"].value == 0


def test_a_day_far_away_is_found_too(told: Any) -> None:
    (said,) = told(DAYS[9]).values()
    assert said.metadata["days"].value == f"{DAYS[0]}, {DAYS[9]}"


def test_each_day_of_a_range_has_its_own_verdict_and_the_run_all_of_them(told: Any) -> None:
    said = told(DAYS[0], DAYS[2])
    counts = {day: one.metadata["ids_on_several_days"].value for day, one in said.items()}
    assert counts == {DAYS[0]: 2, DAYS[1]: 1, DAYS[2]: 0, None: 2}
    assert {day: one.passed for day, one in said.items()} == {
        DAYS[0]: False,
        DAYS[1]: False,
        DAYS[2]: True,
        None: False,
    }


@given(st.dictionaries(st.sampled_from(DAYS), st.lists(st.integers(0, 6), max_size=4)), st.sets(st.sampled_from(DAYS)))
def test_exactly_the_ids_of_the_days_that_stand_on_others_are_found(ids: Values, asked: set[str]) -> None:
    on: dict[int, set[str]] = {}
    for day, values in ids.items():
        for value in values:
            on.setdefault(value, set()).add(day)
    expected = {value: sorted(days) for value, days in on.items() if len(days) > 1 and days & asked}
    found = on_several_days(frame_of(ids).lazy(), "value", sorted(asked))
    assert {value: [str(day) for day in days] for value, days in found.iter_rows()} == expected
