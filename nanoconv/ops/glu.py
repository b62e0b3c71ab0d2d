"""Gated linear unit: one half of the channels decides how much of the other half passes.

    y[k] = a[k] · σ(b[k]),   a = x[: K], b = x[K :] along one axis of 2K positions

σ(b) = 1 / (1 + e⁻ᵇ) is the gate, between 0 and 1. Unlike an activation it is learned apart from
what it acts on, and where it is open, gradients pass unchanged.

    shapes    x (…, 2K, …)   y (…, K, …)
    cost      an exponential and a division for each output

Both halves have a gradient, in terms of σ′(b) = σ(b)·(1 − σ(b)):

    da[k] = dy[k] · σ(b[k])                 db[k] = dy[k] · a[k] · σ′(b[k])

Paper: Dauphin et al., Language Modeling with Gated Convolutional Networks, arXiv 1612.08083. A gate
that is half open, and one that is closed:

>>> import nanoconv as nc
>>> nc.functional.glu(nc.tensor([8.0, 8.0, 0.0, -1000.0]))
tensor([4., 0.])
"""

from __future__ import annotations

import math

import numpy as np

from ..dispatch import Body, Kernel, Ladder, Op, empty, is_channels_last
from ..tensor import Tensor, apply
from .activations import flat, unflat
from .checks import check_dtypes
from .shaping import axis
from .smooth_activations import sigmoid_forward, sigmoid_slope

Array = np.ndarray


def glu_shape(x: tuple[int, ...], dim: int) -> tuple[int, ...]:
    """The shape of y: half of the axis `dim`."""
    if not x or x[dim] % 2:
        raise ValueError(f"glu: input has shape {list(x)}, expected an even size along dim={dim}")
    return (*x[:dim], x[dim] // 2, *x[dim + 1 :])


# --------------------------------------------------------------------------- the literal loops


def glu_loops(y, x, sizes):
    M, K = sizes
    for m in range(M):
        for k in range(K):
            y[m * K + k] = x[2 * m * K + k] / (1 + np.exp(-x[(2 * m + 1) * K + k]))


def glu_backward_loops(dx, dy, x, sizes):
    M, K = sizes
    for m in range(M):
        for k in range(K):
            a, b, d = x[2 * m * K + k], x[(2 * m + 1) * K + k], dy[m * K + k]
            dx[2 * m * K + k] = d / (1 + np.exp(-b))
            dx[(2 * m + 1) * K + k] = d * a / (4 * np.cosh(b / 2) ** 2)


# --------------------------------------------------------------------------- the NumPy reference


def glu_forward(x: Array, dim: int) -> Array:
    a, b = np.split(x, 2, dim)
    return a * sigmoid_forward(b)


def glu_backward(dy: Array, x: Array, dim: int) -> Array:
    a, b = np.split(x, 2, dim)
    return np.concatenate([dy * sigmoid_forward(b), dy * a * sigmoid_slope(b)], dim)


# --------------------------------------------------------------------------- the ladder


def rows_of_halves(x: Array, dim: int, last: bool) -> tuple[int, int]:
    """M and K: in memory x is (M, 2, K), with the two halves of `dim` in the middle."""
    order = (0, 2, 3, 1) if last else range(x.ndim)
    before = list(order)[: list(order).index(dim)]
    M = math.prod(x.shape[k] for k in before)
    return M, x.size // (2 * M) if M else 0


def call_forward(body: Body, x: Array, dim: int) -> Array:
    last = is_channels_last(x)
    y = empty((x.size // 2,), x.dtype)
    body(y, flat(x, last), sizes=rows_of_halves(x, dim, last))
    return unflat(y, glu_shape(x.shape, dim), last)


def call_backward(body: Body, dy: Array, x: Array, dim: int) -> Array:
    last = is_channels_last(x)
    dx = empty((x.size,), x.dtype)
    body(dx, flat(dy, last), flat(x, last), sizes=rows_of_halves(x, dim, last))
    return unflat(dx, x.shape, last)


FORWARD = Ladder(
    "glu.forward",
    reference=glu_forward,
    kernels=[
        Kernel("cython.rows", "activation_cy:glu_f32"),
        Kernel("numba.rows", "activation_nb:glu_f32"),
        Kernel("numba.loops", "jit"),
    ],
    call=call_forward,
    loops=glu_loops,
)
BACKWARD = Ladder(
    "glu.backward",
    reference=glu_backward,
    kernels=[
        Kernel("cython.rows", "activation_cy:glu_backward_f32"),
        Kernel("numba.rows", "activation_nb:glu_backward_f32"),
        Kernel("numba.loops", "jit"),
    ],
    call=call_backward,
    loops=glu_backward_loops,
)
GLU = Op(
    "glu",
    forward=lambda x, dim: FORWARD(x, dim),
    vjp=lambda dy, y, x, dim: BACKWARD(dy, x, dim),
)


# --------------------------------------------------------------------------- the public function


def glu(input: Tensor, dim: int = -1) -> Tensor:
    """The first half of `input` along `dim`, times the sigmoid of the second.

    As torch.nn.functional.glu. ValueError if there is no such axis, or its size is odd.
    """
    check_dtypes("glu", input=input)
    dim = axis("glu", dim, input.ndim)
    glu_shape(input.shape, dim)
    return apply(GLU, input, dim=dim)
