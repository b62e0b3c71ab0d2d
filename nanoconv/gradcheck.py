"""Gradients against finite differences: the last word on whether a gradient is right.

For a function f with the Jacobian J, and small ε,

    J·v ≈ (f(x + ε·v) − f(x − ε·v)) / 2ε        numeric: the error shrinks with ε²
    Jᵀ·u                                        analytic: what backward(u) computes

With unit vectors v and u, each number of J is compared alone. The fast mode compares one number,
uᵀ·J·v with random u and v, computed from either side. It cannot say which element is wrong, and a
small error of one element among many may drown in the tolerance.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .tape import enable_grad, no_grad
from .tensor import Array, Tensor, tensor


class GradcheckError(RuntimeError):
    """An analytic gradient that finite differences contradict."""


class _Function:
    """A function of Tensors as one of arrays: of the inputs that require a gradient."""

    def __init__(self, function: Callable, inputs: tuple) -> None:
        self.function, self.inputs = function, inputs
        self.checked = [
            k for k, t in enumerate(inputs) if isinstance(t, Tensor) and t.requires_grad
        ]
        if not self.checked:
            raise ValueError("gradcheck: no input requires a gradient")
        for k in self.checked:
            if inputs[k].dtype != np.float64:
                raise TypeError(
                    f"gradcheck: inputs[{k}] is {inputs[k].dtype}, expected float64: differences "
                    "of float32 numbers are mostly rounding error"
                )
        self.arrays = [inputs[k]._data for k in self.checked]

    def outputs(self, arrays: Sequence[Array]) -> tuple[list[Tensor], tuple[Tensor, ...]]:
        leaves = [tensor(array, requires_grad=True) for array in arrays]
        every = list(self.inputs)
        for k, leaf in zip(self.checked, leaves, strict=True):
            every[k] = leaf
        result = self.function(*every)
        outputs = result if isinstance(result, tuple) else (result,)
        for k, y in enumerate(outputs):
            if not isinstance(y, Tensor) or y.dtype != np.float64:
                found = y.dtype if isinstance(y, Tensor) else type(y).__name__
                raise TypeError(f"gradcheck: output {k} is {found}, expected a float64 tensor")
        return leaves, outputs

    def values(self, arrays: Sequence[Array]) -> list[Array]:
        with no_grad():
            return [y._data.copy() for y in self.outputs(arrays)[1]]

    def difference(self, k: int, v: Array, eps: float) -> list[Array]:
        """J·v for each output, where only input k moves."""
        ahead, behind = (
            self.values([a + s * eps * v if j == k else a for j, a in enumerate(self.arrays)])
            for s in (1, -1)
        )
        return [(a - b) / (2 * eps) for a, b in zip(ahead, behind, strict=True)]

    def backward(self, us: Sequence[Array | None]) -> list[Array]:
        """Jᵀ·u for each input, summed over the outputs."""
        with enable_grad():
            leaves, outputs = self.outputs(self.arrays)
        for y, u in zip(outputs, us, strict=True):
            if u is not None and y.requires_grad:
                y.backward(u, retain_graph=True)
        return [np.zeros(t.shape) if t.grad is None else t.grad._data for t in leaves]


def _units(shape: tuple[int, ...]) -> Any:
    """Each position of an array, and the array that is 1 there and 0 elsewhere."""
    for position in np.ndindex(shape):
        unit = np.zeros(shape)
        unit[position] = 1
        yield position, unit


def gradcheck(
    function: Callable[..., Any],
    inputs: Tensor | Sequence[Any],
    eps: float = 1e-6,
    atol: float = 1e-5,
    rtol: float = 1e-3,
    fast_mode: bool = False,
) -> bool:
    """True if backward() agrees with finite differences: |analytic − n| ≤ atol + rtol·|n|.

    Checks every float64 tensor in `inputs` that requires a gradient, for each tensor that
    `function(*inputs)` returns. GradcheckError names the element with both values; TypeError for
    float32; ValueError if no input requires a gradient.

    >>> gradcheck(lambda x: x * x, nc.tensor([1.0, 2.0], dtype="float64", requires_grad=True))
    True
    """
    f = _Function(function, (inputs,) if isinstance(inputs, Tensor) else tuple(inputs))
    first, again = f.values(f.arrays), f.values(f.arrays)
    for k, (a, b) in enumerate(zip(first, again, strict=True)):
        if not np.array_equal(a, b, equal_nan=True):
            raise GradcheckError(f"gradcheck: output {k} differs between two runs on equal inputs")
    compare = _compare_directions if fast_mode else _compare_elements
    with np.errstate(all="ignore"):
        compare(f, first, eps, atol, rtol)
    return True


def _close(analytic: Any, numeric: Any, atol: float, rtol: float) -> Any:
    return np.abs(analytic - numeric) <= atol + rtol * np.abs(numeric)


def _compare_elements(f: _Function, ys: list[Array], eps: float, atol: float, rtol: float) -> None:
    numeric = [
        {at: f.difference(k, unit, eps) for at, unit in _units(x.shape)}
        for k, x in enumerate(f.arrays)
    ]
    for o, y in enumerate(ys):
        for at_y, unit in _units(y.shape):
            us = [unit if k == o else None for k in range(len(ys))]
            for k, gradient in enumerate(f.backward(us)):
                for at_x, differences in numeric[k].items():
                    a, n = gradient[at_x], differences[o][at_y]
                    if not _close(a, n, atol, rtol):
                        raise GradcheckError(
                            f"gradcheck: the derivative of output {o} at {at_y} by input "
                            f"{f.checked[k]} at {at_x}: analytic {a:.10g}, numeric {n:.10g}"
                        )


def _compare_directions(
    f: _Function, ys: list[Array], eps: float, atol: float, rtol: float
) -> None:
    rng = np.random.default_rng(0)

    def direction(shape: tuple[int, ...]) -> Array:
        return rng.uniform(0.5, 1.5, shape) * rng.choice((-1, 1), shape)  # no element near 0

    us = [direction(y.shape) for y in ys]
    for k, gradient in enumerate(f.backward(us)):
        v = direction(gradient.shape)
        a = np.vdot(gradient, v)
        n = sum(np.vdot(u, jv) for u, jv in zip(us, f.difference(k, v, eps), strict=True))
        if not _close(a, n, atol, rtol):
            raise GradcheckError(
                f"gradcheck: along a random direction of input {f.checked[k]}: analytic {a:.10g}, "
                f"numeric {n:.10g}; without fast_mode the element is named"
            )
