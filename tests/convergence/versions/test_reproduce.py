from datetime import timedelta

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from convergence.errors import TableMissing
from convergence.lake.content_hash import content_hash
from convergence.lake.maintenance import compact, vacuum
from convergence.lake.manifests import InputRead, Provenance, states
from convergence.lake.tables import Lake
from convergence.versions.reproduce import first_difference, pins, recorded, restore, rows_at, version_of_model
from tests.convergence.lake import conftest as lakes
from tests.convergence.lake.frames import TABLE, day, rows, write

any_lake, s3_options = lakes.any_lake, lakes.s3_options

MODEL = "fraud/fraud_model"


def made(lake: Lake, number: int, reads: list[str], **columns: object) -> None:
    """A partition of MODEL that has read these days of TABLE as they are now."""
    handle = lake.open(TABLE)
    assert handle
    held = {k: s.content_hash for k, s in states(lake, [TABLE])[TABLE].items() if k in reads}
    read = InputRead(handle.version(), held)
    provenance = Provenance("run", "1", inputs={TABLE: read}, reads={day(number): {TABLE: reads}})
    write(lake, rows(number, 1, **columns), table=MODEL, provenance=provenance)


@pytest.fixture
def scratch(tmp_path) -> Lake:
    return Lake(str(tmp_path / "scratch"))


def test_inputs_are_restored_as_they_were_read_and_no_more_of_them(any_lake: Lake, scratch: Lake) -> None:
    write(any_lake, rows(0, 1), rows(1, 2), rows(2, 3))
    made(any_lake, 3, [day(0), day(1)])
    write(any_lake, rows(1, 20))

    (restored,) = restore(any_lake, scratch, recorded(any_lake, MODEL, day(3)))

    assert (restored.partitions, restored.rows, restored.changed) == (2, 2, [])
    assert sorted(scratch.scan(TABLE).collect()["value"]) == [1, 2]


def test_an_input_of_which_nothing_was_read_is_there_without_rows(lake: Lake, scratch: Lake) -> None:
    write(lake, rows(0, 1))
    made(lake, 3, [])

    (restored,) = restore(lake, scratch, recorded(lake, MODEL, day(3)))

    assert restored.partitions == 0
    assert scratch.scan(TABLE).collect().columns == lake.scan(TABLE).collect().columns
    assert scratch.scan(TABLE).collect().is_empty()


def test_the_past_of_a_table_is_that_of_its_commit(lake: Lake, scratch: Lake) -> None:
    write(lake, rows(0, 1))
    write(lake, rows(0, 5), rows(1, 6), rows(2, 7), table=MODEL)
    wanted = recorded(lake, MODEL, day(1))
    write(lake, rows(0, 50), table=MODEL)

    restore(lake, scratch, wanted, past=True)

    assert scratch.scan(MODEL).collect()["value"].to_list() == [5]


def test_a_model_is_found_by_its_version_after_it_was_trained_again(lake: Lake) -> None:
    for version in ("first", "second"):
        write(lake, rows(0, 1, model_version=version), table=MODEL)
    first = version_of_model(lake, MODEL, day(0), "first")
    assert recorded(lake, MODEL, day(0), first).version == first < version_of_model(lake, MODEL, day(0), "second")
    assert rows_at(lake, recorded(lake, MODEL, day(0), first))["model_version"].item() == "first"
    with pytest.raises(TableMissing, match="never held a model third"):
        version_of_model(lake, MODEL, day(0), "third")


def test_only_what_has_changed_since_it_was_read_is_pinned(any_lake: Lake) -> None:
    write(any_lake, rows(0, 1), rows(1, 2))
    made(any_lake, 3, [day(0)])
    made(any_lake, 4, [day(1)])
    assert pins(any_lake, [TABLE, MODEL]) == {}

    compact(any_lake, TABLE)
    assert pins(any_lake, [TABLE, MODEL]) == {}

    read = recorded(any_lake, MODEL, day(4)).inputs[TABLE]["version"]
    write(any_lake, rows(1, 20))
    assert pins(any_lake, [TABLE, MODEL]) == {TABLE: {read}}

    made(any_lake, 4, [day(1)])
    assert pins(any_lake, [TABLE, MODEL]) == {}


@settings(deadline=None, max_examples=25)
@given(st.lists(st.tuples(st.integers(0, 3), st.booleans()), min_size=1, max_size=12))
def test_whatever_was_written_in_whatever_order_vacuuming_around_the_pins_keeps_all_inputs(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[int, bool]]
) -> None:
    folder = tmp_path_factory.mktemp("lake")
    lake = Lake(str(folder / "lake"))
    write(lake, *(rows(n, n) for n in range(4)))
    for value, (number, makes) in enumerate(steps):
        if makes:
            made(lake, number, [day(n) for n in range(number + 1)])
        else:
            write(lake, rows(number, 100 + value))
    vacuum(lake, TABLE, pins(lake, [TABLE, MODEL]).get(TABLE, ()), timedelta(0))

    for partition in states(lake, [MODEL])[MODEL] if lake.open(MODEL) else ():
        (restored,) = restore(lake, Lake(str(folder / partition)), recorded(lake, MODEL, partition))
        assert restored.changed == []


FRAME = pl.DataFrame({"key": [1, 2, 3], "score": [0.5, None, 1e9], "name": ["a", "b", None]})


def test_equal_rows_in_another_order_do_not_differ() -> None:
    assert first_difference(FRAME, FRAME.reverse()) is None
    assert content_hash(FRAME) == content_hash(FRAME.reverse())


@pytest.mark.parametrize(
    ("after", "what", "relative"),
    [
        (FRAME.drop("name"), "columns: name", None),
        (FRAME.cast({"key": pl.Int32}), "columns: key", None),
        (FRAME.head(2), "rows: 3 were recorded, 2 were made", None),
        (FRAME.with_columns(name=pl.lit("a")), "column name in 2 of 3 rows", None),
        (FRAME.with_columns(pl.col("score") * (1 + 1e-9)), "column score in 2 of 3 rows, by 1.0e-09 at most", 1e-9),
        (FRAME.with_columns(pl.col("score").fill_null(0)), "column score in 1 of 3 rows, by inf at most", float("inf")),
    ],
    ids=["column gone", "type", "rows", "text", "last digit", "null"],
)
def test_the_first_difference_names_what_differs_and_how_far(
    after: pl.DataFrame, what: str, relative: float | None
) -> None:
    found = first_difference(FRAME, after)
    assert found is not None
    assert found.what == what
    assert found.relative == (None if relative is None else pytest.approx(relative, rel=1e-3))
