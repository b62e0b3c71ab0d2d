"""Softmax: any numbers to positive ones that add up to 1, for instance scores to probabilities.

    y[c] = e^x[c] / Σ_k e^x[k]                      along one axis, of which c and k are positions
    log_softmax:  z[c] = log y[c] = x[c] − log Σ_k e^x[k]
    softmin:      softmax of −x

Adding the same number to all x changes nothing, so the largest x is taken off first: e^(x − max)
cannot overflow and one term of the sum is 1. log_softmax is more than the logarithm of softmax:
where y underflows to 0, z is still exact.

    shapes    y and z have the shape of x
    cost      about one exponential for each number

Every output depends on every input: ∂y[c]/∂x[k] = y[c]·(1[c = k] − y[k]). Summed over c against dy,

    softmax:      dx[k] = y[k] · (dy[k] − Σ_c dy[c]·y[c])
    log_softmax:  dx[k] = dz[k] − e^z[k] · Σ_c dz[c]

Paper: Bridle, Probabilistic Interpretation of Feedforward Classification Network Outputs, 1990.

>>> import nanoconv as nc
>>> nc.functional.softmax(nc.tensor([0.0, 0.0, 1000.0, 1000.0]), dim=0)
tensor([0. , 0. , 0.5, 0.5])
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..dispatch import Body, Kernel, Ladder, Op, empty, is_channels_last
from ..tensor import Tensor, apply, method
from .activations import unflat
from .checks import check_dtypes
from .shaping import axis, converted

Array = np.ndarray


# --------------------------------------------------------------------------- the literal loops
#
# The axis is the middle one of (A, C, B).


def softmax_loops(y, x, sizes):
    A, C, B = sizes
    for a in range(A):
        for b in range(B):
            largest = -np.inf
            for c in range(C):
                largest = max(largest, x[a, c, b])
            total = 0.0
            for c in range(C):
                total += np.exp(x[a, c, b] - largest)
            for c in range(C):
                y[a, c, b] = np.exp(x[a, c, b] - largest) / total


def softmax_backward_loops(dx, dy, y, sizes):
    A, C, B = sizes
    for a in range(A):
        for b in range(B):
            total = 0.0
            for c in range(C):
                total += dy[a, c, b] * y[a, c, b]
            for c in range(C):
                dx[a, c, b] = y[a, c, b] * (dy[a, c, b] - total)


def log_softmax_loops(z, x, sizes):
    A, C, B = sizes
    for a in range(A):
        for b in range(B):
            largest = -np.inf
            for c in range(C):
                largest = max(largest, x[a, c, b])
            total = 0.0
            for c in range(C):
                total += np.exp(x[a, c, b] - largest)
            for c in range(C):
                z[a, c, b] = x[a, c, b] - largest - np.log(total)


def log_softmax_backward_loops(dx, dz, z, sizes):
    A, C, B = sizes
    for a in range(A):
        for b in range(B):
            total = 0.0
            for c in range(C):
                total += dz[a, c, b]
            for c in range(C):
                dx[a, c, b] = dz[a, c, b] - np.exp(z[a, c, b]) * total


# --------------------------------------------------------------------------- the NumPy reference


def softmax_forward(x: Array, dim: int) -> Array:
    e = np.exp(x - x.max(dim, keepdims=True, initial=-np.inf))
    return e / e.sum(dim, keepdims=True)


def softmax_backward(dy: Array, y: Array, dim: int) -> Array:
    return y * (dy - (dy * y).sum(dim, keepdims=True))


def log_softmax_forward(x: Array, dim: int) -> Array:
    x = x - x.max(dim, keepdims=True, initial=-np.inf)
    return x - np.log(np.exp(x).sum(dim, keepdims=True))


def log_softmax_backward(dz: Array, z: Array, dim: int) -> Array:
    return dz - np.exp(z) * dz.sum(dim, keepdims=True)


# --------------------------------------------------------------------------- the ladder


def lines(x: Array, dim: int, last: bool) -> Array:
    """x as (A, C, B), where C is axis `dim`; if `last`, of channels-last images as they lie."""
    if last:
        x, dim = x.transpose(0, 2, 3, 1), (0, 3, 1, 2)[dim]
    x = np.atleast_1d(x)
    shape = math.prod(x.shape[:dim]), x.shape[dim], math.prod(x.shape[dim + 1 :])
    return np.ascontiguousarray(x).reshape(shape)


def call_forward(body: Body, x: Array, dim: int) -> Array:
    last = is_channels_last(x)
    xl = lines(x, dim, last)
    y = empty(xl.shape, x.dtype)
    body(y, xl, sizes=xl.shape)
    return unflat(y.reshape(-1), x.shape, last)


def call_backward(body: Body, dy: Array, y: Array, dim: int) -> Array:
    last = is_channels_last(y)
    dyl, yl = lines(dy, dim, last), lines(y, dim, last)
    dx = empty(yl.shape, y.dtype)
    body(dx, dyl, yl, sizes=yl.shape)
    return unflat(dx.reshape(-1), y.shape, last)


def kernels(function: str) -> list[Kernel]:
    return [
        Kernel("cython.lines", f"softmax_cy:{function}_f32"),
        Kernel("numba.lines", f"softmax_nb:{function}_f32"),
        Kernel("numba.loops", "jit"),
    ]


FORWARD = Ladder(
    "softmax.forward", softmax_forward, kernels("softmax"), call_forward, softmax_loops
)
BACKWARD = Ladder(
    "softmax.backward",
    softmax_backward,
    kernels("softmax_backward"),
    call_backward,
    softmax_backward_loops,
)
LOG_FORWARD = Ladder(
    "log_softmax.forward",
    log_softmax_forward,
    kernels("log_softmax"),
    call_forward,
    log_softmax_loops,
)
LOG_BACKWARD = Ladder(
    "log_softmax.backward",
    log_softmax_backward,
    kernels("log_softmax_backward"),
    call_backward,
    log_softmax_backward_loops,
)
SOFTMAX = Op(
    "softmax",
    forward=lambda x, dim: FORWARD(x, dim),
    vjp=lambda dy, y, x, dim: BACKWARD(dy, y, dim),
    keeps="y",
)
LOG_SOFTMAX = Op(
    "log_softmax",
    forward=lambda x, dim: LOG_FORWARD(x, dim),
    vjp=lambda dz, z, x, dim: LOG_BACKWARD(dz, z, dim),
    keeps="y",
)


# --------------------------------------------------------------------------- the public functions


@method
def softmax(input: Tensor, dim: int | None = None, *, dtype: Any = None) -> Tensor:
    """`input` as positive numbers with sum 1 along `dim`.

    As torch.nn.functional.softmax; with `dtype`, `input` is converted before. ValueError if
    there is no such axis, TypeError for integers.

    Unlike PyTorch: `dim` must be given; which axis None stands for depends on their number there.
    """
    input = converted("softmax", input, dtype)
    check_dtypes("softmax", input=input)
    return apply(SOFTMAX, input, dim=axis("softmax", dim, input.ndim))


@method
def log_softmax(input: Tensor, dim: int | None = None, *, dtype: Any = None) -> Tensor:
    """The logarithm of `softmax`, exact also where softmax underflows.

    As torch.nn.functional.log_softmax; with `dtype`, `input` is converted before. ValueError if
    there is no such axis, TypeError for integers.

    Unlike PyTorch: `dim` must be given; which axis None stands for depends on their number there.
    """
    input = converted("log_softmax", input, dtype)
    check_dtypes("log_softmax", input=input)
    return apply(LOG_SOFTMAX, input, dim=axis("log_softmax", dim, input.ndim))


def softmin(input: Tensor, dim: int | None = None, *, dtype: Any = None) -> Tensor:
    """`softmax` of −input, as torch.nn.functional.softmin: the smallest number gets the most.

    Unlike PyTorch: `dim` must be given, as for `softmax`.
    """
    input = converted("softmin", input, dtype)
    check_dtypes("softmin", input=input)
    return apply(SOFTMAX, -input, dim=axis("softmin", dim, input.ndim))
