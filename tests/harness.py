"""What is asserted of every op and every rung, once, for everything.

`cases.py` says what an op is called, which problems to draw and what PyTorch calls the same thing.
Here a drawn problem becomes arrays, runs through nanoconv and PyTorch, forward and backward, and
is compared within an error bound that is computed, never typed:

    multilinear ops      |error| ≤ 2·K·ε·R    R: the op on absolute values, K: the longest sum
    all others           |error| ≤ 2·K·(ε·|y| + |Δy|)    Δy: what relative changes ε of the inputs do

Every buffer that nanoconv allocates during a run is filled with NaN and fenced at both ends.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from hypothesis import strategies as st

import nanoconv as nc
from nanoconv import dispatch
from nanoconv.dispatch import Ladder

torch = pytest.importorskip("torch")
torch.set_num_threads(1)

LAYOUTS = ("contiguous", "channels_last", "strided")


@dataclass(frozen=True)
class Problem:
    """What Hypothesis draws: shapes and attributes; NumPy fills in the values from the seed."""

    shapes: dict[str, tuple[int, ...] | None]
    attrs: dict[str, Any]
    layout: str = "contiguous"
    seed: int = 0


@dataclass(frozen=True)
class Case:
    """One row of the table.

    function   (F, tensors…, **attrs): the op in nanoconv, and in PyTorch if `oracle` is not given
    oracle     (torch.nn.functional, tensors…, **attrs) where PyTorch's call differs
    draw       a strategy for (shapes, attrs)
    length     (shapes, attrs) → the longest sum behind one number, forward or backward
    ladders    the op's ladders: every rung of theirs is tested
    multilinear  linear in every tensor taken alone
    values     (name, shape, rng) → float64 array; default: standard normal
    integers   names of the arguments that are indices and have no gradient
    """

    name: str
    function: Callable
    draw: st.SearchStrategy
    length: Callable[[dict, dict], int]
    ladders: tuple[Ladder, ...] = ()
    oracle: Callable | None = None
    multilinear: bool = False
    values: Callable[[str, tuple, np.random.Generator], np.ndarray] | None = None
    integers: tuple[str, ...] = field(default=())

    def problems(self) -> st.SearchStrategy:
        """Problems of this case in every memory format."""
        return st.builds(
            lambda drawn, layout, seed: Problem(*drawn, layout, seed),
            self.draw,
            st.sampled_from(LAYOUTS),
            st.integers(0, 2**32 - 1),
        )

    @property
    def rungs(self) -> list[str]:
        """The names of all rungs that any ladder of the op has; "numpy" is always one."""
        return list(dict.fromkeys([r for ladder in self.ladders for r in ladder.rungs] + ["numpy"]))


# --------------------------------------------------------------------------- values and layouts


def arrays_of(case: Case, problem: Problem) -> dict[str, np.ndarray | None]:
    """float64 arrays whose values are exact in float32, so that both precisions start equal."""
    rng = np.random.default_rng(problem.seed)
    arrays: dict[str, np.ndarray | None] = {}
    for name, shape in problem.shapes.items():
        if shape is None:
            arrays[name] = None
        elif case.values is not None:
            arrays[name] = case.values(name, shape, rng)
        else:
            arrays[name] = rng.standard_normal(shape)
        if arrays[name] is not None and name not in case.integers:
            arrays[name] = arrays[name].astype(np.float32).astype(np.float64)
    return arrays


def laid_out(array: np.ndarray, layout: str) -> np.ndarray:
    """The same values in another memory format, read-only."""
    if layout == "channels_last" and array.ndim == 4:
        array = np.ascontiguousarray(array.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    elif layout == "strided" and array.ndim:
        wide = np.full((*array.shape[:-1], 2 * array.shape[-1]), np.nan, array.dtype)
        if array.dtype.kind != "f":
            wide = np.zeros_like(wide, array.dtype)
        wide[..., ::2] = array
        array = wide[..., ::2]
    else:
        array = np.array(array, order="C")
    array.flags.writeable = False
    return array


# --------------------------------------------------------------------------- running


def run(
    case: Case, problem: Problem, arrays: dict, dtype: Any, dy: np.ndarray | None = None
) -> list[np.ndarray]:
    """[y, gradient by each float input, extra outputs…] of nanoconv in `dtype`."""
    inputs = []
    for name, array in arrays.items():
        if array is None:
            inputs.append(None)
        elif name in case.integers:
            inputs.append(nc.from_numpy(laid_out(array, "contiguous")))
        else:
            tensor = nc.from_numpy(laid_out(array.astype(dtype), problem.layout))
            inputs.append(tensor.requires_grad_())
    result = case.function(nc.functional, *inputs, **problem.attrs)
    y, *extra = result if isinstance(result, tuple) else (result,)
    assert y.dtype == dtype
    outputs = [y.detach().numpy()]
    if dy is not None:
        y.backward(laid_out(dy.astype(dtype), problem.layout))
        for name, tensor in zip(arrays, inputs, strict=True):
            if tensor is not None and name not in case.integers:
                assert tensor.grad.shape == tensor.shape and tensor.grad.dtype == dtype
                outputs.append(tensor.grad.numpy())
    return outputs + [e.numpy() if isinstance(e, nc.Tensor) else e for e in extra]


def run_torch(
    case: Case, problem: Problem, arrays: dict, dy: np.ndarray | None
) -> list[np.ndarray]:
    """The same from PyTorch in float64."""
    inputs = []
    for name, array in arrays.items():
        if array is None:
            inputs.append(None)
        else:
            tensor = torch.from_numpy(np.array(array, order="C"))
            inputs.append(tensor if name in case.integers else tensor.requires_grad_())
    result = (case.oracle or case.function)(torch.nn.functional, *inputs, **problem.attrs)
    y, *extra = result if isinstance(result, tuple) else (result,)
    outputs = [y.detach().numpy()]
    if dy is not None:
        y.backward(torch.from_numpy(np.asarray(dy)))
        for name, tensor in zip(arrays, inputs, strict=True):
            if tensor is not None and name not in case.integers:
                gradient = torch.zeros_like(tensor) if tensor.grad is None else tensor.grad
                outputs.append(gradient.numpy())
    return outputs + [e.numpy() for e in extra]


def gradient_for(y_shape: tuple[int, ...], problem: Problem) -> np.ndarray:
    """A random output gradient, exact in float32."""
    rng = np.random.default_rng(problem.seed + 1)
    return rng.standard_normal(y_shape).astype(np.float32).astype(np.float64)


# --------------------------------------------------------------------------- comparing


def bounds(
    case: Case, problem: Problem, arrays: dict, dy: np.ndarray, truth: list, eps: float
) -> list[np.ndarray]:
    """How far each number of a run in precision eps may be from `truth`."""
    length = max(case.length(problem.shapes, problem.attrs), 1)

    def changed(how: Callable[[np.ndarray], np.ndarray]) -> list[np.ndarray]:
        inputs = {
            name: array if array is None or name in case.integers else how(array)
            for name, array in arrays.items()
        }
        return run_torch(case, problem, inputs, how(dy))

    if case.multilinear:
        return [2 * length * eps * r for r in changed(np.abs)]
    rng = np.random.default_rng(problem.seed + 2)
    allowed = [eps * np.abs(t) + 1e-3 * eps for t in truth]
    for _ in range(4):
        moved = changed(lambda a: a * (1 + eps * rng.choice((-1.0, 1.0), a.shape)))
        allowed = [
            np.maximum(a, np.abs(m - t) + eps * np.abs(t))
            for a, m, t in zip(allowed, moved, truth, strict=True)
        ]
    return [2 * length * a for a in allowed]


def assert_within(case: Case, results: list, truth: list, allowed: list, what: str) -> None:
    assert len(results) == len(truth)
    for k, (result, expected, limit) in enumerate(zip(results, truth, allowed, strict=True)):
        part = ("output", *(f"gradient {g}" for g in range(1, len(truth))))[k]
        label = f"{case.name}, {what}: {part}"
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
    """Every buffer is NaN (integers: the minimum) at first, and fenced: writes outside are found."""
    blocks: list[tuple[np.ndarray, Any]] = []

    def allocate(size: int, dtype: np.dtype) -> np.ndarray:
        poison = np.nan if dtype.kind == "f" else np.iinfo(dtype).min if dtype.kind == "i" else 1
        block = np.full(size + 2 * FENCE, poison, dtype)
        blocks.append((block, poison))
        return block[FENCE : FENCE + size]

    before, dispatch.allocate = dispatch.allocate, allocate
    try:
        yield
        for block, poison in blocks:
            for fence in (block[:FENCE], block[-FENCE:]):
                np.testing.assert_array_equal(fence, np.full_like(fence, poison), "fence broken")
    finally:
        dispatch.allocate = before


@contextlib.contextmanager
def rungs_taken() -> Iterator[set[tuple[str, str]]]:
    """Which rung each ladder ran inside: a set of (ladder, rung)."""
    taken: set[tuple[str, str]] = set()
    original = Ladder.run

    def run_and_note(self: Ladder, rung: str, *args: Any) -> Any:
        taken.add((self.name, rung))
        return original(self, rung, *args)

    Ladder.run = run_and_note  # type: ignore[method-assign]
    try:
        yield taken
    finally:
        Ladder.run = original  # type: ignore[method-assign]
