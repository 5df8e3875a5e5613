"""A gated model of every kind of task goes through the same, from features to rollback, in process."""

from collections.abc import Iterator
from datetime import date
from pathlib import Path

import dagster as dg
import numpy as np
import polars as pl
import pytest

from convergence.lake.contracts import judge
from convergence.lake.manifests import states
from convergence.lake.tables import Lake
from convergence.models import release_log
from convergence.models.gated import Fitted, version
from convergence.models.stored import digest, load
from convergence.monitoring.drift import DRIFT
from convergence.versions.audit import AuditLog
from convergence.versions.reproduce import recorded, restore
from convergence_assets._parts.gated import retraining
from sensors.drift import drift_sensor
from tests.convergence_assets._parts.worlds import (
    FIRST,
    GOOD,
    INSANE,
    KINDS,
    LAST,
    NEWEST,
    ROWS,
    SHIFTED,
    USELESS,
    WEEKS,
    WRONG,
    World,
    fit_of,
    margins_of,
    weights_of,
    world_in,
)

SETTLED = date(2024, 3, 8)  # the last day before people chose the champion
JUDGED = [date(2024, 2, 19), date(2024, 2, 26), NEWEST]  # when issued scores of a week could be judged
ACTOR = {"actor": "tester", "reason": "to see"}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("toys")


@pytest.fixture(scope="module", params=KINDS, ids=lambda kind: kind.name)
def world(request: pytest.FixtureRequest, home: Path) -> Iterator[World]:
    """Everything made once: five models, two promotions by hand on the last day but one, a rollback on the last."""
    with dg.DagsterInstance.ephemeral() as instance:
        made = world_in(home / request.param.name, request.param, instance)
        made.run(FIRST, LAST, "features", "labels", "model_profiles")
        made.run(GOOD, NEWEST, "model", "model_promotions", "model_score_references")
        made.run(GOOD, SETTLED, "model_champions", "model_scores", "model_score_profiles")
        made.run(GOOD, WRONG, "model_evaluation")
        made.run(JUDGED[0], JUDGED[-1], "model_score_performance")
        log, releasable = AuditLog(made.lake.store), made.gated.declared.releasable
        for week in (NEWEST, GOOD):
            candidate = releasable.candidate(made.lake, made.versions()[week])
            release_log.promote(log, "model", candidate, releasable.span(made.lake), **ACTOR)
        made.run(SHIFTED, SHIFTED, "model_champions")
        release_log.rollback(log, "model", releasable.span(made.lake), **ACTOR)
        made.run(LAST, LAST, "model_champions", "model_scores", "model_score_profiles", "model_drift")
        yield made


def broken(world: World, week: date) -> set[str]:
    """The rules that the challenger of a week does not keep."""
    return {name for name, rule in world.rules(week).items() if not rule["passed"]}


def champion(world: World, week: date) -> str:
    """Who serves from a week on, by the gate."""
    return world.rows("model_promotions").filter(event_date=week)["model_version"].item()


def test_the_first_good_model_passes_every_rule_and_serves(world: World) -> None:
    assert broken(world, GOOD) == set()
    assert champion(world, GOOD) == world.versions()[GOOD]
    rules = {"invalid_scores", "beats_trivial_baseline", "size", "onnx_parity"}
    calibrated = {"calibration"} if world.kind.task.calibration else set()
    assert world.rules(GOOD).keys() == rules | calibrated
    assert world.rules(NEWEST).keys() == rules | calibrated | {"not_worse_than_champion"}


def test_a_model_that_has_learned_nothing_is_refused_and_the_champion_stays(world: World) -> None:
    assert {"beats_trivial_baseline", "not_worse_than_champion"} <= broken(world, USELESS)
    assert champion(world, USELESS) == world.versions()[GOOD]


def test_a_graph_that_is_not_what_was_fitted_is_refused_by_its_parity_alone(world: World) -> None:
    assert broken(world, WRONG) == {"onnx_parity"}
    assert champion(world, WRONG) == world.versions()[GOOD]


def test_scores_that_cannot_be_meant_are_refused_and_nothing_is_measured_by_them(world: World) -> None:
    assert world.rules(INSANE)["invalid_scores"]["value"] == 7 * ROWS
    assert world.rules(INSANE)["beats_trivial_baseline"]["value"] is None
    decision = world.rows("model_promotions").filter(event_date=INSANE)
    assert decision["model_version"].item() == world.versions()[GOOD]
    assert decision[world.gated.declared.gate_measure].item() is None
    assert world.kind.task.domain in decision["reason"].item()


def test_a_later_model_that_is_no_worse_takes_over(world: World) -> None:
    assert broken(world, NEWEST) == set()
    assert champion(world, NEWEST) == world.versions()[NEWEST]


def test_the_champion_of_a_day_is_the_gates_until_people_promote_and_roll_back(world: World) -> None:
    version_of, serves = (
        world.versions(),
        dict(world.rows("model_champions").select("event_date", "model_version").iter_rows()),
    )
    assert serves[date(2024, 3, 3)] == version_of[GOOD]
    assert serves[SETTLED] == version_of[NEWEST]
    assert serves[SHIFTED] == version_of[GOOD]  # promoted by hand
    assert serves[LAST] == version_of[NEWEST]  # rolled back
    by = dict(world.rows("model_champions").select("event_date", "release").iter_rows())
    assert by[SETTLED] is None
    assert None not in (by[SHIFTED], by[LAST])


def test_scores_are_those_of_the_library_that_was_fitted(world: World) -> None:
    features, labels, declared = world.rows("features"), world.rows("labels"), world.gated.declared
    weights = weights_of(world.kind, declared.training_rows(declared.known(features, labels, GOOD), GOOD))
    day = date(2024, 2, 14)
    rows = features.filter(event_date=day).sort("row_id")
    issued = world.rows("model_scores").filter(event_date=day).sort("row_id")["score"]
    assert issued.dtype == (pl.List(pl.Float64) if world.kind.task.classes else pl.Float64)
    expected = world.kind.squashed(margins_of(world.kind, rows, weights))
    np.testing.assert_allclose(np.array(issued.to_list()), expected, atol=1e-6)


def test_each_model_is_evaluated_on_the_week_after_its_date_with_an_interval(world: World) -> None:
    task, rows = world.kind.task, world.rows("model_evaluation")
    measure = task.measure
    assert rows["event_date"].to_list() == [GOOD, USELESS, WRONG]
    assert rows["model_version"].to_list() == [world.versions()[week] for week in (GOOD, USELESS, WRONG)]
    assert rows["test_rows"].to_list() == rows["judged_rows"].to_list() == [7 * ROWS] * 3
    assert (rows[f"{measure.name}_low"] <= rows[measure.name]).all()
    assert (rows[measure.name] <= rows[f"{measure.name}_high"]).all()
    good, useless = rows.row(0, named=True), rows.row(1, named=True)
    assert measure.gain(good[measure.name], good["baseline"]) > 0.1
    assert measure.gain(useless[measure.name], useless["baseline"]) < 0.1
    assert ("calibration_error" in rows.columns) is (task.calibration is not None)


def test_a_model_whose_scores_cannot_be_meant_is_not_evaluated(world: World) -> None:
    with pytest.raises(dg.Failure, match=rf"84 of 84 scores of {INSANE}\..* train it again"):
        world.run(INSANE, INSANE, "model_evaluation")


def test_issued_scores_are_judged_once_their_labels_are_known(world: World) -> None:
    measure, rows = world.kind.task.measure.name, world.rows("model_score_performance")
    gate = world.rows("model_promotions")[world.gated.declared.gate_measure][0]
    assert rows["event_date"].to_list() == JUDGED
    assert rows["baseline"].to_list() == [pytest.approx(gate)] * 3
    assert (rows[f"{measure}_low"] <= rows[f"{measure}_high"]).all()
    assert DRIFT not in rows["verdict"].to_list()


def test_an_input_that_has_moved_is_told_and_the_other_is_not(world: World) -> None:
    day = world.rows("model_drift").filter(window_days=1)
    verdicts = dict(day.select("feature", "verdict").iter_rows())
    scores = {f"score[{name}]" for name in world.kind.task.classes} or {"score"}
    assert verdicts.keys() == {"x", "y"} | scores
    assert (verdicts["x"], verdicts["y"]) == (DRIFT, "stable")
    spans = dict(day.select("feature", "reference_first_day").iter_rows())
    assert {spans[name] for name in scores} == {date(2024, 2, 19)}  # the week of its gate
    assert spans["x"] == date(2024, 2, 5)  # what it was fitted on


def test_drift_asks_for_the_newest_model_to_be_made_again(world: World) -> None:
    sensor = drift_sensor([retraining(world.gated.declared)])
    resources = world.at(world.home)
    definitions = dg.Definitions(world.assets, sensors=[sensor], resources=resources)
    context = dg.build_sensor_context(world.instance, definitions=definitions, resources=resources)
    (request,) = list(sensor.evaluate_tick(context).run_requests or [])
    assert request.partition_key == str(NEWEST)
    assert request.tags["cause"].startswith("drift:")
    assert set(request.asset_selection or ()) == {world.gated.model.key, world.gated.promotions.key}


def test_the_cards_tell_of_model_decision_champion_and_scores(world: World) -> None:
    def card(table: str, day: date) -> dict[str, object]:
        records = world.instance.fetch_materializations(
            dg.AssetRecordsFilter(dg.AssetKey(["toy", table]), asset_partitions=[str(day)]), limit=1
        ).records
        materialized = records[0].asset_materialization
        assert materialized
        return {name: value.value for name, value in materialized.metadata.items()}

    model, decision = card("model", WRONG), card("model_promotions", WRONG)
    assert float(str(model["parity"])) > world.kind.task.limits.parity
    assert {"largest_weight", "size_mb", "model_card", "mlflow_run"} <= model.keys()
    assert (decision["champion"], decision["promoted"]) == (world.versions()[GOOD], False)
    assert world.gated.declared.gate_measure in decision
    assert card("model_champions", LAST)["champion"] == world.versions()[NEWEST]
    scores = card("model_scores", LAST)
    assert scores["scored"] == ROWS
    assert ("mean_score" in scores) is not bool(world.kind.task.classes)
    assert world.kind.task.measure.name in card("model_evaluation", GOOD)


def test_what_was_made_comes_out_again_from_what_it_was_made_from(world: World, tmp_path: Path) -> None:
    made = {"model": USELESS, "model_promotions": WRONG, "model_champions": SHIFTED, "model_scores": LAST}
    for table, day in made.items():
        wanted = recorded(world.lake, f"toy/{table}", str(day))
        scratch = Lake(str(tmp_path / table / "lake"))
        release_log.copy(world.lake.store, scratch.store)
        restored = restore(world.lake, scratch, wanted, past=table == "model_promotions")
        assert [each.changed for each in restored if each.changed] == []
        world.run(day, day, table, home=tmp_path / table)
        assert states(scratch, [f"toy/{table}"])[f"toy/{table}"][str(day)].content_hash == wanted.content_hash


def test_an_issued_score_that_cannot_be_meant_is_set_aside_with_the_reason(world: World) -> None:
    rows, other = world.rows("model_scores").filter(event_date=LAST), world.rows("model_scores").filter(event_date=GOOD)
    wrong = pl.col("score") * 2 if world.kind.task.classes else pl.lit(float("nan"))
    one = pl.col("row_id") == rows["row_id"][0]
    frame = pl.concat([rows.with_columns(score=pl.when(one).then(wrong).otherwise("score")), other])
    judged = judge(world.gated.contracts.score, frame, [str(GOOD), str(LAST)])
    assert list(judged.good) == [str(GOOD)]
    (found,) = judged.bad[str(LAST)].iter_rows(named=True)
    assert "score" in found["reason"]


def test_a_stored_graph_says_what_it_takes_and_how_much_it_tells(world: World) -> None:
    row = world.rows("model").row(0, named=True)
    signature = load(row["onnx"], sha256=digest(row["onnx"])).signature
    assert (signature.features, signature.steps, signature.width) == (("x", "y"), world.kind.steps, world.kind.width)


def test_a_fit_that_does_not_compare_graph_and_library_is_told(world: World) -> None:
    fit = fit_of(world.kind)

    def silent(rows: pl.DataFrame, parameters: object) -> Fitted:
        return Fitted(fit(rows, parameters).onnx, {}, {})

    with pytest.raises(Exception, match=r"report of model has no `parity`.*stored\.parity"):
        version(world.gated.declared, silent, world.rows("features"), world.rows("labels"), WEEKS[0], None)
