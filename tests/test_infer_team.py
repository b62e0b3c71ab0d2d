"""How many threads run an image together, and that it does not show in the result."""

import sys
import threading
from itertools import pairwise
from time import perf_counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import nanoconv as nc
from nanoconv import _kernels, nn
from nanoconv.infer.team import PAUSE, TRIAL, Team

TAKEN, FREE = 0.6, 0.1  # of the time of a run that two threads lost
ALONE, BOTH, LATE = 0.010, 0.006, 0.015  # seconds: with one thread, with two, and if one is late


def sizes(team: Team, taken: list[bool], wanted: int = 2, begin: float = 0.0) -> list[int]:
    """How many threads ran each time, if a core was taken from two or more in these runs."""
    found, now = [], begin
    for core in taken:
        threads = team.threads(wanted)
        found.append(threads)
        seconds = ALONE if threads == 1 else LATE if core else BOTH
        lost = 0.0 if threads == 1 else TAKEN if core else FREE
        now += seconds
        team.learn(threads, seconds, lost, now)
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
    pauses = {b - a for a, b in pairwise(tried)} - {1}  # a trial is a run or two
    assert min(pauses) * ALONE >= PAUSE


def test_a_thread_that_is_late_but_of_use_stays() -> None:
    team = Team()
    found = []
    for k in range(500):  # small networks: to wake it takes long, but two are quicker than one
        found.append(team.threads(2))
        seconds = 0.6e-3 if found[-1] == 2 else 1e-3
        team.learn(found[-1], seconds, 0.5 if found[-1] == 2 else 0.0, k * 0.6e-3)
    assert team.absent == 0
    assert 0 < found.count(1) <= 2 * TRIAL / 1e-3  # a trial or two


def test_a_core_that_is_free_again_is_used_again() -> None:
    team = Team()
    assert sizes(team, [True] * 60)[-1] == 1
    found = sizes(team, [False] * 100, begin=2.0)
    back = found.index(2)
    assert set(found[back:]) == {2}
    assert sizes(team, [True, False, False], begin=9.0) == [2, 2, 2]  # and what was, is forgotten


def test_after_a_while_without_a_call_the_thread_is_tried_at_once() -> None:
    team = Team()
    sizes(team, [True] * 20)
    assert team.threads(2) == 1
    assert sizes(team, [False] * 10, begin=100.0) == [1] + [2] * 9


def test_each_core_that_is_taken_is_one_thread_less() -> None:
    team, now, sizes = Team(), 0.0, []
    seconds = {4: 0.030, 3: 0.020, 2: 0.012, 1: 0.010}  # four, of which three are late
    for _ in range(400):
        sizes.append(team.threads(4))
        now += seconds[sizes[-1]]
        team.learn(sizes[-1], seconds[sizes[-1]], 0.45 * (sizes[-1] - 1), now)
    assert {*sizes[:200]} == {4, 3, 2, 1}
    assert {*sizes[-30:]} <= {1, 2}
    assert sizes[-30:].count(1) > 20


def test_fewer_threads_than_before() -> None:
    team = Team()
    team.have_absent(2, 0.0)  # of four
    assert [team.threads(4), team.threads(2)] == [2, 1]
    assert sizes(team, [False] * 100, begin=1.0)[-1] == 2  # and is found to be of use again


def test_what_began_before_a_trial_says_nothing_about_it() -> None:
    team = Team()
    sizes(team, [True] * 8)
    while team.trial is None:  # what a core that is taken costs, until one thread is tried
        team.learn(team.threads(2), LATE, TAKEN, 1.0)
    assert team.threads(2) == 1
    team.learn(2, LATE, TAKEN, 1.0)
    assert team.trial == []


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
        team.learn(threads, seconds, lost, float(len(losses)))
        before = threads


def test_several_threads_may_learn_at_once() -> None:
    team, found = Team(), []

    def calls(seed: int) -> None:
        rng = np.random.default_rng(seed)
        for lost in rng.choice([FREE, TAKEN, 2.0], 2000):
            threads = team.threads(2)
            team.learn(threads, TRIAL, float(lost), perf_counter())  # a trial's whole time
            found.append(threads)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)  # so that they interrupt each other
    try:
        callers = [threading.Thread(target=calls, args=(seed,)) for seed in range(4)]
        for caller in callers:
            caller.start()
        for caller in callers:
            caller.join()
    finally:
        sys.setswitchinterval(interval)
    assert len(found) == 4 * 2000  # none of them failed
    assert {*found} == {1, 2}  # never more than a plan has memory for
    assert team.absent in (0, 1)


@pytest.mark.parametrize("images", [1, 3])
def test_the_result_does_not_depend_on_the_team(images: int) -> None:
    pytest.importorskip("nanoconv._kernels.plan_cy", reason="needs compiled kernels")
    model = nn.Sequential(nn.Conv2d(3, 20, 3, 2, 1), nn.ReLU(), nn.Conv2d(20, 7, 1)).eval()
    session = nc.compile(model, (images, 3, 18, 18), threads=2)
    x = np.random.default_rng(0).standard_normal((images, 3, 18, 18)).astype(np.float32)
    before = session(x)
    (segment,) = session.segments
    segment.team.have_absent(1, perf_counter())
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


def test_a_program_refuses_arrays_that_do_not_fit() -> None:
    pytest.importorskip("nanoconv._kernels.plan_cy", reason="needs compiled kernels")
    session = nc.compile(nn.Conv2d(3, 8, 3).eval(), (1, 3, 8, 8), threads=2)
    program = session.segments[0].program
    x, y = np.ones((1, 3, 8, 8), np.float32), np.empty((1, 8, 6, 6), np.float32)
    for inputs, outputs in (
        ([], [y]),
        ([x], [y, y]),
        ([x[:, :2].copy()], [y]),
        ([x], [y[:, :7].copy()]),
        ([x.view(np.int32)], [y]),
        ([x.astype(np.float64)[:, :, :4].copy()], [y]),  # as many bytes
        ([x[..., ::-1]], [y]),
    ):
        with pytest.raises(ValueError, match=r"expected|contiguous"):
            program.run(inputs, outputs, 1, 2, 2)


@pytest.mark.parametrize("floats", [0, 1, 100, 300_000, 1_000_000])
def test_memory_for_weights_begins_a_cache_line_and_is_zero(floats: int) -> None:
    plan_cy = pytest.importorskip("nanoconv._kernels.plan_cy", reason="needs compiled kernels")
    array = np.asarray(plan_cy.memory(floats))
    assert array.shape == (max(floats, 1),)
    assert array.dtype == np.float32
    assert array.ctypes.data % (2**21 if array.nbytes > 2**20 else 64) == 0
    assert not array.any()
    array[:] = 1  # and it may be written to
