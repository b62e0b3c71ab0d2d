"""Every op × rung × drawn geometry against PyTorch, forward and backward."""

from __future__ import annotations

import numpy as np
import pytest
from cases import CASES
from harness import (
    arrays_of,
    assert_within,
    bounds,
    gradient_for,
    poisoned_buffers,
    run,
    run_torch,
    rungs_taken,
)
from hypothesis import assume, given
from hypothesis import strategies as st

import nanoconv as nc
from nanoconv.dispatch import LANGUAGES, Op

EPS32, EPS64 = float(np.finfo(np.float32).eps), float(np.finfo(np.float64).eps)
EVERY_RUNG = [(case, rung) for case in CASES for rung in case.rungs]


def installed(case, rung):
    """None, or why the rung cannot be tested here."""
    for ladder in case.ladders:
        for kernel in ladder.kernels:
            if kernel.name == rung and isinstance(ladder._body(kernel), ImportError):
                return str(ladder._body(kernel))
    return None


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
@given(data=st.data())
def test_reference_equals_pytorch_in_float64(case, data):
    problem = data.draw(case.problems())
    arrays = arrays_of(case, problem)
    with nc.use("numpy"):
        dy = gradient_for(run(case, problem, arrays, np.float64)[0].shape, problem)
        results = run(case, problem, arrays, np.float64, dy)
    truth = run_torch(case, problem, arrays, dy)
    assert_within(case, results, truth, bounds(case, problem, arrays, dy, truth, EPS64), "numpy")


@pytest.mark.parametrize(
    ("case", "rung"), EVERY_RUNG, ids=[f"{case.name}-{rung}" for case, rung in EVERY_RUNG]
)
@given(data=st.data())
def test_rung_equals_pytorch(case, rung, data):
    missing = installed(case, rung)
    if missing:
        pytest.skip(f"{rung} is not installed: {missing}")
    problem = data.draw(case.problems())
    arrays = arrays_of(case, problem)
    with nc.use("numpy"):
        dy = gradient_for(run(case, problem, arrays, np.float32)[0].shape, problem)
    truth = run_torch(case, problem, arrays, dy)
    allowed = bounds(case, problem, arrays, dy, truth, EPS32)
    with nc.use(rung), rungs_taken() as taken, poisoned_buffers():
        results = run(case, problem, arrays, np.float32, dy)
    assume(not case.ladders or rung in {name for _, name in taken})
    assert_within(case, results, truth, allowed, rung)
    with nc.use(rung), poisoned_buffers():  # the same bits again, whatever the number of threads
        for threads in (1, 2, 3):
            before = nc.get_num_threads()
            nc.set_num_threads(threads)
            try:
                again = run(case, problem, arrays, np.float32, dy)
            finally:
                nc.set_num_threads(before)
            for first, second in zip(results, again, strict=True):
                np.testing.assert_array_equal(first, second)


def test_the_table_is_complete():
    """Every op with a ladder has a case, and every rung of every ladder a known language."""
    named = {case.name.partition(".")[0] for case in CASES}
    for case in CASES:
        for rung in case.rungs:
            assert rung.partition(".")[0] in LANGUAGES
    ladders = {ladder.name.partition(".")[0] for case in CASES for ladder in case.ladders}
    assert ladders <= named
    assert {name for name in Op.registry if name in ladders} <= named
