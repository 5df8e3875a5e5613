import time

import pytest

from benchmarks.measure import Times, alternately, compare, ratio


def test_works_are_timed_in_turns_after_one_untimed_round():
    calls: list[str] = []
    ours, reference = alternately(
        2, lambda: calls.append("a"), lambda: calls.append("b"), before=lambda: calls.append(".")
    )
    assert "".join(calls) == ".a.b" * 3
    assert len(ours.wall) == len(reference.cpu) == 2


def test_waiting_counts_as_wall_time_and_not_as_cpu_time():
    (slept,) = alternately(1, lambda: time.sleep(0.1))
    assert slept.wall[0] >= 0.1
    assert slept.cpu[0] < 0.1


def test_the_ratio_is_of_medians_so_one_disturbed_repetition_does_not_count():
    assert ratio([1.0, 1.0, 50.0], [2.0, 2.0, 2.0]) == 0.5


@pytest.mark.parametrize(("wall", "cpu", "met"), [(0.9, 0.9, True), (1.1, 0.9, False), (0.9, 1.1, False)])
def test_a_goal_holds_for_wall_and_cpu_time_alike(wall: float, cpu: float, met: bool):
    row = compare("case", Times([wall], [cpu]), Times([1.0], [1.0]), at_most=1.0)
    assert row.met is met
