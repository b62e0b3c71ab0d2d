"""How many threads run an image together, and that it does not show in the result."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import nanoconv as nc
from nanoconv import _kernels, nn
from nanoconv.infer.team import PAUSE, Team

TAKEN, FREE = 0.6, 0.1  # of the time of a run that two threads lost
ALONE, BOTH, LATE = 0.010, 0.006, 0.015  # seconds: with one thread, with two, and if one is late


def sizes(team: Team, taken: list[bool], wanted: int = 2) -> list[int]:
    """How many threads ran each time, if a core was taken from two or more in these runs."""
    found = []
    for core in taken:
        threads = team.threads(wanted)
        found.append(threads)
        if threads == 1:
            team.learn(1, ALONE, 0.0)
        else:
            team.learn(threads, LATE if core else BOTH, TAKEN if core else FREE)
    return found


def test_a_slow_run_now_and_then_changes_nothing() -> None:
    assert sizes(Team(), [False, True, True, False, False] * 20) == [2] * 100


def test_a_core_that_stays_taken_is_gone_without_and_tried_now_and_then() -> None:
    found = sizes(Team(), [True] * 300)
    first = found.index(1)
    assert 1 < first < 15  # more than one such run, but not many
    tried = [k for k, threads in enumerate(found) if threads == 2 and k > first]
    assert tried
    assert len(tried) < 0.1 * len(found)
    pauses = {b - a for a, b in pairwise(tried)}
    assert pauses <= {1, round(PAUSE / ALONE) + 1}  # a trial is a run or two, then there is a pause


def test_a_core_that_is_free_again_is_used_again() -> None:
    team = Team()
    assert sizes(team, [True] * 60)[-1] == 1
    found = sizes(team, [False] * 100)
    back = found.index(2)
    assert set(found[back:]) == {2}
    assert sizes(team, [True, False, False]) == [2, 2, 2]  # and what was, is forgotten


def test_each_core_that_is_taken_is_one_thread_less() -> None:
    team = Team()
    found = sizes(team, [True] * 60, wanted=4)
    down = found[: found.index(1) + 1]
    assert set(down) == {4, 3, 2, 1}
    assert down == sorted(down, reverse=True)
    assert sizes(team, [False] * 300, wanted=4)[-1] == 2  # three take no less time than two here


runs = st.tuples(st.floats(0, 1), st.floats(-0.1, 8))


@given(st.integers(1, 8), st.lists(runs, max_size=100))
def test_a_team_has_at_least_one_thread_and_no_more_than_it_may(
    wanted: int, losses: list[tuple[float, float]]
) -> None:
    team, before = Team(), wanted
    for seconds, lost in losses:
        threads = team.threads(wanted)
        assert 1 <= threads <= wanted
        assert abs(threads - before) <= 1
        team.learn(threads, seconds, lost)
        before = threads


@pytest.mark.parametrize("images", [1, 3])
def test_the_result_does_not_depend_on_the_team(images: int) -> None:
    pytest.importorskip("nanoconv._kernels.plan_cy", reason="needs compiled kernels")
    model = nn.Sequential(nn.Conv2d(3, 20, 3, 2, 1), nn.ReLU(), nn.Conv2d(20, 7, 1)).eval()
    session = nc.compile(model, (images, 3, 18, 18), threads=2)
    x = np.random.default_rng(0).standard_normal((images, 3, 18, 18)).astype(np.float32)
    before = session(x)
    (segment,) = session.segments
    segment.team.have_absent(1)
    assert segment.team.threads(2) == 1
    np.testing.assert_array_equal(session(x), before, strict=True)
    heard = images == 1 and nc.get_num_threads() > 1
    assert (segment.team.average > 0) == heard  # several are computed side by side, as ever


def test_a_run_says_what_it_lost() -> None:
    plan_cy = pytest.importorskip("nanoconv._kernels.plan_cy", reason="needs compiled kernels")
    session = nc.compile(nn.Conv2d(3, 8, 3).eval(), (1, 3, 8, 8), threads=2)
    (segment,) = session.segments
    assert isinstance(segment.program, plan_cy.Program)
    x, y = np.ones(3 * 8 * 8, np.float32), np.empty(8 * 6 * 6, np.float32)
    assert segment.program.run([x], [y], 1, 2, 1) == 0  # one thread waits for nobody
    lost = [segment.program.run([x], [y], 1, 2, 2) for _ in range(20)]
    assert all(part <= 2 for part in lost)  # both, all the time, at most
    if _kernels.openmp():
        assert any(part > 0 for part in lost)  # the second needs a while to begin


@pytest.mark.parametrize("floats", [0, 1, 100, 300_000, 1_000_000])
def test_memory_for_weights_begins_a_cache_line_and_is_zero(floats: int) -> None:
    plan_cy = pytest.importorskip("nanoconv._kernels.plan_cy", reason="needs compiled kernels")
    array = np.asarray(plan_cy.memory(floats))
    assert array.shape == (max(floats, 1),)
    assert array.dtype == np.float32
    assert array.ctypes.data % 64 == 0
    assert not array.any()
    array[:] = 1  # and it may be written to
