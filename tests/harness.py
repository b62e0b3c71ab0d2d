"""What is asserted of every op and every rung, once, for everything.

`cases/` says what an op is called, which problems to draw and what PyTorch calls the same thing.
Here a drawn problem becomes arrays, runs through nanoconv and PyTorch, forward and backward, and
is compared within an error bound that is computed, never typed:

    multilinear ops   |error| ≤ 2·K·ε·R             K: the longest sum, R: the op on absolute values
    all others        |error| ≤ 2·K·(ε·|y| + |Δy|)  Δy: what relative changes ε of the inputs do

A kernel that loses more declares an R of its own (`Kernel.error`), which takes the place of that R.

Every buffer that nanoconv allocates during a run is filled with NaN and fenced at both ends.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import strategies as st

import nanoconv as nc
from nanoconv import dispatch
from nanoconv.dispatch import Ladder

torch = pytest.importorskip("torch")
torch.set_num_threads(1)

EPS = {np.dtype(name): float(np.finfo(name).eps) for name in ("float32", "float64")}
LAYOUTS = ("contiguous", "channels_last", "strided", "reversed", "overlapping")
Signs = Callable[[tuple[int, ...]], np.ndarray]  # −1 or 1 for each number of a shape
Arrays = dict[str, Any]  # name of the argument → array or None


@dataclass(frozen=True)
class Problem:
    """What Hypothesis draws: shapes and attributes; NumPy fills in the values from the seed."""

    shapes: dict[str, tuple[int, ...] | None]
    attrs: dict[str, Any]
    layout: str = "contiguous"
    seed: int = 0


@dataclass(frozen=True, repr=False)
class Case:
    """One row of the table.

    function   (F, tensors…, **attrs): the op in nanoconv, and in PyTorch if `oracle` is not given
    draw       a strategy for (shapes, attrs)
    length     (shapes, attrs) → the longest sum behind one number, forward or backward
    ladders    the op's ladders: every rung of theirs is tested
    oracle     (torch.nn.functional, tensors…, **attrs) where PyTorch's call differs
    multilinear  linear in every tensor taken alone
    values     (name, shape, rng) → array; default: standard normal
    constants  names of the arguments that have no gradient, such as indices
    without    rungs of the ladders that the drawn problems do not reach
    """

    name: str
    function: Callable
    draw: st.SearchStrategy
    length: Callable[[dict, dict], int] = lambda shapes, attrs: 4
    ladders: tuple[Ladder, ...] = ()
    oracle: Callable | None = None
    multilinear: bool = False
    values: Callable[[str, tuple, np.random.Generator], np.ndarray] | None = None
    constants: tuple[str, ...] = ()
    without: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return self.name

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:  # what Hypothesis prints
        printer.text(self.name)

    def problems(self, *layouts: str) -> st.SearchStrategy:
        """Problems of this case in every memory format, or in the ones given."""
        return st.builds(
            lambda drawn, layout, seed: Problem(*drawn, layout, seed),
            self.draw,
            st.sampled_from(layouts or LAYOUTS),
            st.integers(0, 2**32 - 1),
        )

    @property
    def rungs(self) -> list[str]:
        """The names of all rungs that any ladder of the op has; "numpy" is always one."""
        rungs = [rung for ladder in self.ladders for rung in ladder.rungs] + ["numpy"]
        return [rung for rung in dict.fromkeys(rungs) if rung not in self.without]

    def differentiable(self, arrays: Arrays) -> list[str]:
        """The names of the arguments that have a gradient here."""
        return [name for name, a in arrays.items() if a is not None and name not in self.constants]


def installed_rungs(ladder: Ladder) -> list[str]:
    """The rungs of a ladder that can run here, with this compiler and these packages."""
    missing = {k.name for k in ladder.kernels if isinstance(ladder._body(k), ImportError)}
    return [rung for rung in ladder.rungs if rung not in missing]


# --------------------------------------------------------------------------- values and layouts


def arrays_of(case: Case, problem: Problem) -> Arrays:
    """float64 arrays whose values are exact in float32, so that both precisions start equal."""
    rng = np.random.default_rng(problem.seed)
    arrays: Arrays = dict.fromkeys(problem.shapes)
    for name, shape in problem.shapes.items():
        if shape is not None:
            array = case.values(name, shape, rng) if case.values else rng.standard_normal(shape)
            if array.dtype.kind == "f":
                array = array.astype(np.float32).astype(np.float64)
            overlapping = problem.layout == "overlapping" and name not in case.constants
            arrays[name] = overlapped(array) if overlapping else array
    return arrays


def overlapped(array: np.ndarray) -> np.ndarray:
    """array[k₀, k₁, …] ← array[k₀ + k₁ + …]: a view whose elements lie on top of each other."""
    if array.size == 0:
        return array
    line = np.resize(array, sum(array.shape) - array.ndim + 1)
    strides = array.itemsize * np.ones(array.ndim, int)
    return np.lib.stride_tricks.as_strided(line, array.shape, strides)


def laid_out(array: np.ndarray, layout: str, writeable: bool = False) -> np.ndarray:
    """The same values in another memory format; "overlapping" is for what `overlapped` made."""
    if layout == "channels_last" and array.ndim == 4:
        array = np.ascontiguousarray(array.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    elif layout == "strided" and array.ndim:
        wide = np.full((*array.shape[:-1], 2 * array.shape[-1]), 99, array.dtype)
        wide[..., ::2] = array
        array = wide[..., ::2]
    elif layout == "reversed" and array.ndim:
        array = np.array(array[..., ::-1], order="C")[..., ::-1]
    elif layout == "overlapping" and array.size and array.ndim:
        axes = range(array.ndim)  # the line runs along the first axis, then the second, …
        parts = [
            array[(-1,) * k + (slice(k > 0, None),) + (0,) * (array.ndim - k - 1)] for k in axes
        ]
        array = np.lib.stride_tricks.as_strided(
            np.concatenate([*parts, []], dtype=array.dtype),
            array.shape,
            (array.itemsize,) * array.ndim,
        )
    else:
        array = np.array(array, order="C")
    if not writeable:
        array.flags.writeable = False
    return array


# --------------------------------------------------------------------------- running


def run(
    case: Case,
    problem: Problem,
    arrays: Arrays,
    dtype: Any,
    dy: np.ndarray | None = None,
    writeable: bool = False,
) -> list[np.ndarray]:
    """[y, gradient by each input that has one, extra outputs…] of nanoconv in `dtype`.

    The inputs are read-only, or must at least come out as they went in.
    """
    inputs: dict[str, nc.Tensor | None] = dict.fromkeys(arrays)
    for name, array in arrays.items():
        if array is not None:
            constant = name in case.constants
            array = array.astype(dtype) if array.dtype.kind == "f" else array
            layout = "contiguous" if constant else problem.layout
            inputs[name] = nc.from_numpy(laid_out(array, layout, writeable))
            inputs[name].requires_grad = not constant
    result = case.function(nc.functional, *inputs.values(), **problem.attrs)
    y, *extra = result if isinstance(result, tuple) else (result,)
    assert y.dtype == dtype
    outputs = [y.detach().numpy()]
    if dy is not None:
        layout = "contiguous" if problem.layout == "overlapping" else problem.layout
        y.backward(laid_out(dy.astype(dtype), layout, writeable))
        for name in case.differentiable(arrays):
            gradient = inputs[name].grad
            assert gradient.shape == inputs[name].shape, name
            assert gradient.dtype == dtype, name
            outputs.append(gradient.numpy())
    for name, array in arrays.items():
        if array is not None:
            same = array.astype(dtype) if array.dtype.kind == "f" else array
            np.testing.assert_array_equal(inputs[name].detach().numpy(), same, f"{name} changed")
    return outputs + [e.numpy() for e in extra]


def run_torch(
    case: Case, problem: Problem, arrays: Arrays, dy: np.ndarray | None
) -> list[np.ndarray]:
    """The same from PyTorch in float64."""
    inputs = dict.fromkeys(arrays)
    for name, array in arrays.items():
        if array is not None:
            inputs[name] = torch.from_numpy(np.array(array, order="C"))
            inputs[name].requires_grad = name not in case.constants
    result = (case.oracle or case.function)(torch.nn.functional, *inputs.values(), **problem.attrs)
    y, *extra = result if isinstance(result, tuple) else (result,)
    outputs = [y.detach().numpy()]
    if dy is not None:
        y.backward(torch.from_numpy(np.asarray(dy)))
        for name in case.differentiable(arrays):
            gradient = inputs[name].grad
            outputs.append(
                (torch.zeros_like(inputs[name]) if gradient is None else gradient).numpy()
            )
    return outputs + [e.numpy() for e in extra]


def gradient_for(y_shape: tuple[int, ...], problem: Problem) -> np.ndarray:
    """A random output gradient, exact in float32."""
    rng = np.random.default_rng(problem.seed + 1)
    return np.asarray(rng.standard_normal(y_shape)).astype(np.float32).astype(np.float64)


# --------------------------------------------------------------------------- comparing


def bounds(
    case: Case,
    problem: Problem,
    arrays: Arrays,
    dy: np.ndarray,
    truth: list,
    eps: float,
    declared: np.ndarray | None = None,
) -> list[np.ndarray]:
    """How far each number of a run in precision eps may be from `truth`.

    `declared` is the R of y where the kernel has one of its own.
    """
    length = max(case.length(problem.shapes, problem.attrs), 1)
    if declared is not None:
        others = bounds(case, problem, arrays, dy, truth, eps)[1:]
        return [2 * length * eps * declared, *others]

    given = {**arrays, "dy": dy}
    floats = [name for name, a in given.items() if a is not None and a.dtype.kind == "f"]

    def changed(how: Callable[[np.ndarray], np.ndarray], *names: str) -> list[np.ndarray]:
        inputs = given | {name: np.asarray(how(given[name])) for name in names or floats}
        return run_torch(case, problem, inputs, inputs.pop("dy"))

    if case.multilinear:
        return [2 * length * eps * np.abs(r) for r in changed(np.abs)]
    rng = np.random.default_rng(problem.seed + 2)

    def moved(signs: Signs, *names: str, step: float = eps) -> list[np.ndarray]:
        results = changed(lambda a: a * (1 + step * signs(a.shape)), *names)
        return [eps / step * np.abs(m - t) for m, t in zip(results, truth, strict=True)]

    def drawn(shape: tuple[int, ...]) -> np.ndarray:
        return rng.choice((-1.0, 1.0), shape)

    def one_way_and_other(name: str) -> list[np.ndarray]:
        """Once with random signs, once with every second one changed: of a vector of two numbers,
        one of them turns it and the other makes it longer."""
        signs = drawn(given[name].shape)
        apart = signs * (-1.0) ** np.indices(signs.shape).sum(0)
        both = moved(lambda shape: signs, name), moved(lambda shape: apart, name)
        return [np.maximum(*pair) for pair in zip(*both, strict=True)]

    # Each input alone, because in x − μ changes of both may cancel; all at once, some times over,
    # because the signs within one input may be unlucky.
    alone = [sum(parts) for parts in zip(*map(one_way_and_other, floats), strict=True)]
    # In float64 a change by ε may be lost in rounding; one of 2⁻⁴⁰ is not, so it counts in part.
    runs = [moved(drawn) for _ in range(4)]
    runs += [moved(drawn, step=max(eps, 2.0**-40)) for _ in range(2)]
    together = [np.max(parts, 0) for parts in zip(*runs, strict=True)]
    return [
        2 * length * (np.maximum(a, b) + eps * np.abs(t) + 1e-3 * eps)
        for a, b, t in zip(alone, together, truth, strict=True)
    ]


def assert_within(case: Case, results: list, truth: list, allowed: list, what: str) -> None:
    assert len(results) == len(truth)
    for k, (result, expected, limit) in enumerate(zip(results, truth, allowed, strict=True)):
        label = f"{case.name}, {what}: {f'gradient {k}' if k else 'output'}"
        assert result.shape == expected.shape, label
        if expected.dtype.kind != "f":
            np.testing.assert_array_equal(result, expected, label)
            continue
        error = np.abs(result.astype(np.float64) - expected)
        both_odd = ~np.isfinite(expected) & (
            (result == expected) | (np.isnan(result) & np.isnan(expected))
        )
        bad = ~((error <= limit) | both_odd)
        assert not bad.any(), (
            f"{label} differs in {bad.sum()} of {bad.size} places; the first, "
            f"{tuple(int(k) for k in np.argwhere(bad)[0])}: got {result[bad][0]!r}, "
            f"expected {expected[bad][0]!r} ± {np.broadcast_to(limit, bad.shape)[bad][0]:.2e}"
        )


# --------------------------------------------------------------------------- fences


FENCE = 32


@contextlib.contextmanager
def poisoned_buffers() -> Iterator[None]:
    """Every buffer is NaN (integers: the minimum) at first, and fenced against writes outside."""
    blocks: list[tuple[np.ndarray, Any]] = []

    def allocate(size: int, dtype: np.dtype) -> np.ndarray:
        poison = np.nan if dtype.kind == "f" else np.iinfo(dtype).min if dtype.kind == "i" else 1
        block = np.full(size + 2 * FENCE, poison, dtype)
        blocks.append((block, poison))
        return block[FENCE : FENCE + size]

    def lend(size: int) -> np.ndarray:
        return allocate(size, np.dtype(np.float32))

    before = dispatch.allocate, dispatch.lend
    dispatch.allocate, dispatch.lend = allocate, lend
    try:
        yield
        for block, poison in blocks:
            for fence in (block[:FENCE], block[-FENCE:]):
                np.testing.assert_array_equal(fence, np.full_like(fence, poison), "fence broken")
    finally:
        dispatch.allocate, dispatch.lend = before


@dataclass(frozen=True)
class Taken:
    """One run of a ladder: the rung, what it was given and what it returned."""

    ladder: Ladder
    rung: str
    args: tuple
    result: Any

    def declared(self) -> np.ndarray | None:
        """The R of the error bound, if the kernel declares one of its own."""
        (error,) = [k.error for k in self.ladder.kernels if k.name == self.rung] or [None]
        with np.errstate(invalid="ignore"):
            return error(*self.args) if error else None


def declared_for_output(taken: list[Taken]) -> np.ndarray | None:
    """The R that the rung of the first ladder, which made y, declares."""
    return taken[0].declared() if taken and taken[0].ladder.name.endswith(".forward") else None


@contextlib.contextmanager
def rungs_taken() -> Iterator[list[Taken]]:
    """What each ladder ran inside."""
    taken: list[Taken] = []
    original = Ladder.run

    def run_and_note(self: Ladder, rung: str, *args: Any) -> Any:
        result = original(self, rung, *args)
        taken.append(Taken(self, rung, args, result))
        return result

    Ladder.run = run_and_note  # type: ignore[method-assign]
    try:
        yield taken
    finally:
        Ladder.run = original  # type: ignore[method-assign]


@contextlib.contextmanager
def threads(n: int) -> Iterator[None]:
    """Run with n threads inside."""
    before = nc.get_num_threads()
    nc.set_num_threads(n)
    try:
        yield
    finally:
        nc.set_num_threads(before)
