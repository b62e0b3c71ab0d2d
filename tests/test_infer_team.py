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


def sizes(team: Team, losses: list[float], wanted: int = 2) -> list[int]:
    """How many threads ran each time."""
    found = []
    for lost in losses:
        found.append(team.threads(wanted))
        team.learn(found[-1], lost if found[-1] > 1 else 0)
    return found


def test_a_slow_run_now_and_then_changes_nothing() -> None:
    assert sizes(Team(), [FREE, TAKEN, TAKEN, FREE, FREE] * 20) == [2] * 100


def test_a_core_that_stays_taken_is_gone_without_and_tried_now_and_then() -> None:
    found = sizes(Team(), [TAKEN] * 100)
    tried = [k for k, threads in enumerate(found) if threads == 2]
    first = tried.index(next(k for k in tried if k + 1 not in tried))
    assert 1 < first < 5  # more than one such run, but not many
    assert {after - before for before, after in pairwise(tried[first:])} == {PAUSE + 1}


def test_a_core_that_is_free_again_is_used_again() -> None:
    team = Team()
    sizes(team, [TAKEN] * 60)
    assert sizes(team, [FREE] * 60)[PAUSE:] == [2] * (60 - PAUSE)
    assert sizes(team, [TAKEN, FREE, FREE]) == [2, 2, 2]  # and what was, is forgotten


def test_each_core_that_is_taken_is_one_thread_less() -> None:
    team = Team()
    found = sizes(team, [TAKEN] * 12, wanted=4)
    assert set(found) == {4, 3, 2, 1}
    assert found == sorted(found, reverse=True)
    assert set(sizes(team, [FREE / 2] * 60, wanted=4)[3 * PAUSE + 3 :]) == {4}


@given(st.integers(1, 8), st.lists(st.floats(0, 8), max_size=100))
def test_a_team_has_at_least_one_thread_and_no_more_than_it_may(
    wanted: int, losses: list[float]
) -> None:
    found = sizes(Team(), losses, wanted)
    assert all(1 <= threads <= wanted for threads in found)
    assert all(abs(a - b) <= 1 for a, b in pairwise(found))


@pytest.mark.parametrize("images", [1, 3])
def test_the_result_does_not_depend_on_the_team(images: int) -> None:
    pytest.importorskip("nanoconv._kernels.plan_cy", reason="needs compiled kernels")
    model = nn.Sequential(nn.Conv2d(3, 20, 3, 2, 1), nn.ReLU(), nn.Conv2d(20, 7, 1)).eval()
    session = nc.compile(model, (images, 3, 18, 18), threads=2)
    x = np.random.default_rng(0).standard_normal((images, 3, 18, 18)).astype(np.float32)
    before = session(x)
    (segment,) = session.segments
    segment.team.absent, segment.team.left = 1, 2
    assert segment.team.threads(2) == 1
    np.testing.assert_array_equal(session(x), before, strict=True)
    assert segment.team.left == (2 if nc.get_num_threads() == 1 else 1)  # it heard of the run


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
