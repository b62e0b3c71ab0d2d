"""Every op × rung × drawn geometry: PyTorch, the literal loops, finite differences, the adjoint."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator

import numpy as np
import pytest
from cases import CASES, ELEMENTWISE
from cases.draws import beside_kinks
from harness import (
    EPS,
    Case,
    Problem,
    arrays_of,
    assert_within,
    bounds,
    declared_for_output,
    gradient_for,
    installed_rungs,
    poisoned_buffers,
    run,
    run_torch,
    rungs_taken,
    threads,
)
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import nanoconv as nc
from nanoconv import ops
from nanoconv.dispatch import LANGUAGES, Ladder, is_channels_last

EVERY_RUNG = [(case, rung) for case in CASES for rung in case.rungs]
WITH_LOOPS = [case for case in CASES if "loops" in case.rungs]


def skip_unless_installed(case: Case, rung: str) -> None:
    if not any(rung in installed_rungs(ladder) for ladder in case.ladders) and rung != "numpy":
        pytest.skip(f"{rung} is not installed")


def drawn(case: Case, data: st.DataObject, *layouts: str):
    """A problem, its arrays, and an output gradient."""
    problem = data.draw(case.problems(*layouts))
    arrays = arrays_of(case, problem)
    with nc.use("numpy"):
        y = run(case, problem, arrays, np.float32)[0]
    return problem, arrays, gradient_for(y.shape, problem)


def small(case: Case, problem: Problem, y: np.ndarray) -> bool:
    """Few enough multiply-adds for Python's loops."""
    return y.size * max(case.length(problem.shapes, problem.attrs), 1) < 20_000


def stays_channels_last(result) -> bool:
    """Every image in what a ladder returned lies channels-last."""
    arrays = result if isinstance(result, tuple) else (result,)
    return all(is_channels_last(array) for array in arrays if array.ndim == 4)


# --------------------------------------------------------------------------- one answer


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
@given(data=st.data())
def test_reference_equals_pytorch_in_float64(case, data):
    problem, arrays, dy = drawn(case, data)
    with nc.use("numpy"):
        results = run(case, problem, arrays, np.float64, dy)
    truth = run_torch(case, problem, arrays, dy)
    allowed = bounds(case, problem, arrays, dy, truth, EPS[dy.dtype])
    assert_within(case, results, truth, allowed, "numpy")


@pytest.mark.parametrize("case", WITH_LOOPS, ids=lambda case: case.name)
@given(data=st.data())
def test_loops_equal_reference_in_float64(case, data):
    problem, arrays, dy = drawn(case, data)
    assume(small(case, problem, dy))
    with nc.use("numpy"):
        truth = run(case, problem, arrays, np.float64, dy)
    with nc.use("loops"), rungs_taken() as taken, poisoned_buffers():
        results = run(case, problem, arrays, np.float64, dy)
    assert {ran.rung for ran in taken} == {"loops"}
    allowed = bounds(case, problem, arrays, dy, truth, EPS[dy.dtype])
    assert_within(case, results, truth, allowed, "loops")


@pytest.mark.parametrize(
    ("case", "rung"), EVERY_RUNG, ids=[f"{case.name}-{rung}" for case, rung in EVERY_RUNG]
)
def test_rung_equals_pytorch(case, rung):
    """In float32, from poisoned and fenced buffers; and twice the same bits, on 1, 2, 3 threads."""
    skip_unless_installed(case, rung)
    reached = set()  # the ladders that took the rung, in any of the examples

    @given(data=st.data())
    def every_example(data):
        problem, arrays, dy = drawn(case, data)
        assume(rung != "loops" or small(case, problem, dy))
        # Numba would compile the loops once more for read-only arrays.
        options = {"dtype": np.float32, "dy": dy, "writeable": rung == "numba.loops"}
        with nc.use(rung), rungs_taken() as taken, poisoned_buffers():
            results = run(case, problem, arrays, **options)
        own = [ran for ran in taken if ran.rung == rung]
        reached.update(ran.ladder.name for ran in own)
        assume(own or not case.ladders)
        if problem.layout == "channels_last" and not rung.endswith(("numpy", "loops")):
            for ran in own:
                name = ran.ladder.name
                assert name.endswith("weight_grad") or stays_channels_last(ran.result), name
        truth, eps = run_torch(case, problem, arrays, dy), EPS[results[0].dtype]
        allowed = bounds(case, problem, arrays, dy, truth, eps, declared_for_output(taken))
        assert_within(case, results, truth, allowed, rung)
        for n in (1, 2, 3) if rung.startswith(("cython.", "simd.")) else (1,):
            with nc.use(rung), threads(n), poisoned_buffers():
                again = run(case, problem, arrays, **options)
            for first, second in zip(results, again, strict=True):
                np.testing.assert_array_equal(first, second)

    every_example()
    having = {ladder.name for ladder in case.ladders if rung in installed_rungs(ladder)}
    missed = having - reached if settings().max_examples >= 15 else ()  # fewer only look
    assert not missed, f"no problem drawn for {case.name} made these take {rung}: {missed}"


def test_bounds_allow_for_inputs_that_nearly_cancel():
    """x − μ is small in one place here, and its error is that of x, μ and the shift."""
    (case,) = (case for case in CASES if case.name == "batch_norm.evaluation")
    shapes = {"x": (3, 23, 5), "running_mean": (23,), "running_var": (23,), "w": None, "b": None}
    problem = Problem(shapes, {"training": False, "eps": 1e-05}, "overlapping", 13098)
    arrays, dy = arrays_of(case, problem), gradient_for(shapes["x"], problem)
    with nc.use("numpy"):
        results = run(case, problem, arrays, np.float32, dy)
    truth = run_torch(case, problem, arrays, dy)
    allowed = bounds(case, problem, arrays, dy, truth, EPS[results[0].dtype])
    assert_within(case, results, truth, allowed, "numpy")


# PyTorch's gradient of these at NaN is one value in vectors and another in what is left over.
UNDECIDED_AT_NAN = (
    "relu6", "hardtanh", "hardsigmoid", "hardswish", "hardshrink", "softshrink", "elu", "selu",
    "celu",
)  # fmt: skip


TAKES_NAN = [(case, rung) for case, rung in EVERY_RUNG if case.name != "binary_cross_entropy"]


@pytest.mark.parametrize(
    ("case", "rung"), TAKES_NAN, ids=[f"{case.name}-{rung}" for case, rung in TAKES_NAN]
)
@settings(max_examples=max(settings().max_examples // 3, 1))
@given(data=st.data())
def test_nan_and_inf_spread_as_in_pytorch(case, rung, data):
    skip_unless_installed(case, rung)
    problem, arrays, dy = drawn(case, data, "contiguous", "channels_last")
    assume(rung != "loops" or small(case, problem, dy))
    name = next(iter(arrays))
    x = arrays[name] = arrays[name].copy()
    odd = data.draw(st.lists(st.sampled_from((np.nan, np.inf, -np.inf)), min_size=1, max_size=3))
    rng = np.random.default_rng(problem.seed + 4)
    where = rng.permutation(x.size)[: len(odd)]
    x.reshape(-1)[where] = odd[: len(where)]
    with nc.use(rung), rungs_taken() as taken:
        results = run(case, problem, arrays, np.float32, dy, writeable=rung == "numba.loops")
    declared = declared_for_output(taken)
    for k, (ours, theirs) in enumerate(
        zip(results, run_torch(case, problem, arrays, dy), strict=True)
    ):
        if ours.dtype.kind == "i":
            np.testing.assert_array_equal(ours, theirs)
        elif k == 0 and declared is not None:  # NaN spreads to all of a tile, and infinity as NaN
            assert np.isfinite(ours[np.isfinite(declared)]).all()
            assert not np.isfinite(ours[~np.isfinite(theirs)]).any()
        elif k == 2 and case.name.startswith("conv_transpose"):
            # What was sent beyond the edge meets nothing, or zeros in PyTorch's matrix product.
            assert np.isfinite(ours[np.isfinite(theirs)]).all()
        else:
            decided = ~np.isnan(x) if k == 1 and case.name in UNDECIDED_AT_NAN else ...
            for kind in (np.isnan, np.isposinf, np.isneginf):
                np.testing.assert_array_equal(
                    kind(ours[decided]), kind(theirs[decided]), kind.__name__
                )


# --------------------------------------------------------------------------- right gradients


@pytest.mark.parametrize("case", [c for c in CASES if c.multilinear], ids=lambda case: case.name)
@given(data=st.data())
def test_adjoint_identity(case, data):
    """⟨dy, f(v)⟩ = ⟨fᵀ(dy), v⟩ for each argument alone: no oracle is needed for that."""
    problem, arrays, dy = drawn(case, data, "contiguous")
    rng = np.random.default_rng(problem.seed + 3)
    length = max(case.length(problem.shapes, problem.attrs), 1) + dy.size
    with nc.use("numpy"):
        _, *gradients = run(case, problem, arrays, np.float64, dy)
        for name, gradient in zip(case.differentiable(arrays), gradients, strict=False):
            v = rng.standard_normal(gradient.shape)
            ahead, there, size = (
                run(case, problem, {**arrays, name: changed}, np.float64)[0]
                for changed in (v, np.zeros_like(v), np.abs(v))
            )
            scale = np.vdot(np.abs(dy), np.abs(ahead) + np.abs(there) + np.abs(size))
            scale += np.vdot(np.abs(gradient), np.abs(v))
            error = np.vdot(dy, ahead - there) - np.vdot(gradient, v)
            assert abs(error) <= 2 * length * EPS[dy.dtype] * scale, name


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
@given(data=st.data())
def test_gradients_equal_differences(case, data):
    problem, arrays, _ = drawn(case, data, "contiguous")
    rng = np.random.default_rng(problem.seed + 3)
    inputs = dict.fromkeys(arrays)
    for name, array in arrays.items():
        if array is not None:
            smooth = name not in case.constants
            if smooth:  # no equal maxima, no corner of relu6: further apart than gradcheck steps
                array = array + (rng.permutation(array.size).reshape(array.shape) + 1) * 2e-5
                array = beside_kinks(array) if case in ELEMENTWISE else array
            inputs[name] = nc.tensor(array, requires_grad=smooth)

    def function(*tensors):
        result = case.function(nc.functional, *tensors, **problem.attrs)
        return result[0] if isinstance(result, tuple) else result

    with nc.use("numpy"):
        assume(np.isfinite(function(*inputs.values()).detach().numpy()).all())
        assert nc.gradcheck(function, inputs.values(), fast_mode=True)


# --------------------------------------------------------------------------- completeness


def every_ladder() -> Iterator[Ladder]:
    """All that a module of nanoconv.ops defines."""
    for info in pkgutil.iter_modules(ops.__path__):
        for value in vars(importlib.import_module(f"nanoconv.ops.{info.name}")).values():
            values = value.values() if isinstance(value, dict) else (value,)
            yield from (ladder for ladder in values if isinstance(ladder, Ladder))


def test_every_ladder_is_in_the_table():
    tested = {ladder.name for case in CASES for ladder in case.ladders}
    assert {ladder.name for ladder in every_ladder()} == tested


def test_every_op_of_the_functional_interface_is_in_the_table():
    tested = {case.name.partition(".")[0] for case in CASES}
    # test_indexing.py; and what adaptive_avg_pool2d is
    elsewhere = {"one_hot", "global_avg_pool2d"}
    assert set(nc.functional.__all__) - tested == elsewhere


def test_every_rung_has_a_body():
    """Each string of a ladder names a function; only whole modules may be missing."""
    for ladder in every_ladder():
        for kernel in ladder.kernels:
            assert kernel.language in LANGUAGES
            body = ladder._body(kernel)  # AttributeError if the module lacks the function
            assert isinstance(body, ImportError) or callable(body)
