from datetime import date, timedelta

import polars as pl
from hypothesis import given
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from convergence.lake.tables import by_day

FIRST = date(2024, 2, 27)


@given(st.lists(st.integers(0, 4)), st.booleans())
def test_each_day_gets_its_own_rows_in_their_order_whether_days_come_sorted_or_not(days: list[int], in_order: bool):
    days = sorted(days) if in_order else days
    dates = pl.Series([FIRST + timedelta(days=d) for d in days], dtype=pl.Date)
    frame = pl.DataFrame({"event_date": dates, "number": range(len(days))})

    found = by_day(frame)

    assert list(found) == sorted({str(d) for d in dates})
    for day, part in found.items():
        assert_frame_equal(part, frame.filter(pl.col("event_date") == date.fromisoformat(day)))
