"""Products and running sums.

    cumsum   y[k] = Σ_{m ≤ k} x[m]    dx[m] = Σ_{k ≥ m} dy[k]
    cumprod  y[k] = Π_{m ≤ k} x[m]    dx[m] = Σ_{k ≥ m} dy[k]·y[k] / x[m] = Π_{k < m} x[k] · s[m],
                                      s[m] = dy[m] + x[m + 1]·s[m + 1]
    prod     y = Π_k x[k]             dx[m] = dy · y / x[m] = dy · Π_{k < m} x[k] · Π_{k > m} x[k]

    shapes    x and y alike; for prod, y without the axis
    cost      one addition or multiplication for each number

k and m run along the axis. Where an x is 0, running products, for prod one from each end, give the
product of all others without a division.

>>> import nanoconv as nc
>>> x = nc.tensor([2.0, 0.0, 3.0], requires_grad=True)
>>> nc.cumsum(x, 0).tolist()
[2.0, 2.0, 5.0]
>>> nc.prod(x).backward()
>>> x.grad
tensor([0., 6., 0.])
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..dispatch import Body, Kernel, Ladder, Op, empty, is_channels_last
from ..tensor import Array, Tensor, apply, method
from .activations import unflat
from .reductions import restore
from .shaping import axis, converted
from .softmax import lines


def _wide(x: Array) -> Any:
    """What products of this dtype are computed in."""
    return x.dtype if x.dtype.kind == "f" else np.int64


def _running(function: Any, x: Array, dim: int) -> Array:
    """Each number rounded once: float32 in float64, as in PyTorch; integers in int64."""
    if x.dtype.kind != "f":
        return function(x, axis=dim, dtype=np.int64)
    return function(x, axis=dim, dtype=np.float64).astype(x.dtype, copy=False)


def cumsum_loops(y, x, sizes):
    A, C, B, backwards = sizes
    for a in range(A):
        for b in range(B):
            total = 0.0
            for k in range(C):
                c = C - 1 - k if backwards else k
                total += float(x[a, c, b])  # in float64
                y[a, c, b] = total


def _cumsum(x: Array, dim: int, backwards: bool) -> Array:
    if backwards:
        return np.flip(_cumsum(np.flip(x, dim), dim, False), dim)
    return _running(np.cumsum, x, dim)


def call_cumsum(body: Body, x: Array, dim: int, backwards: bool) -> Array:
    last = is_channels_last(x)
    xl = lines(x, dim, last)
    y = empty(xl.shape, x.dtype)
    body(y, xl, sizes=(*xl.shape, int(backwards)))
    return unflat(y.reshape(-1), x.shape, last)


RUNNING_SUM = Ladder(
    "cumsum",
    reference=_cumsum,
    kernels=[
        Kernel("cython.lines", "cumsum_cy:cumsum_f32"),
        Kernel("numba.lines", "cumsum_nb:cumsum_f32"),
        Kernel("numba.loops", "jit"),
    ],
    call=call_cumsum,
    loops=cumsum_loops,
)
CUMSUM = Op(
    "cumsum",
    lambda x, dim: (RUNNING_SUM if x.dtype.kind == "f" else _cumsum)(x, dim, False),
    lambda dy, y, x, dim: RUNNING_SUM(dy, dim, True),
    keeps="",
)


def _before(x: Array, dim: int) -> Array:
    """Π_{k < m} x[k]."""
    first = np.ones_like(np.take(x, [0], dim))
    rest = x[(slice(None),) * dim + (slice(-1),)]
    return _running(np.cumprod, np.concatenate([first, rest], dim), dim)


def _cumprod_vjp(dy: Array, y: Array, x: Array, dim: int) -> Array:
    if x.all():  # as in PyTorch, also where that is ∞ / ∞
        return _cumsum(dy * y, dim, True) / x
    s = dy.copy()
    sums, factors = np.moveaxis(s, dim, 0), np.moveaxis(x, dim, 0)
    for m in range(len(sums) - 2, -1, -1):
        sums[m] += factors[m + 1] * sums[m + 1]
    return _before(x, dim) * s


CUMPROD = Op(
    "cumprod",
    lambda x, dim: _running(np.cumprod, x, dim),
    _cumprod_vjp,
    keeps="xy",
)


def _prod_vjp(dy: Array, y: Array, x: Array, dim: int, keepdim: bool) -> Array:
    if x.all():  # as in PyTorch, also where that is ∞ / ∞
        return restore(dy, (dim,), keepdim) * (restore(y, (dim,), keepdim) / x)
    others = _before(x, dim) * np.flip(_before(np.flip(x, dim), dim), dim)
    return restore(dy, (dim,), keepdim) * others


PROD = Op(
    "prod",
    lambda x, dim, keepdim: np.prod(x, axis=dim, dtype=_wide(x), keepdims=keepdim),
    _prod_vjp,
    keeps="xy",
)


def _applied(op: Op, input: Tensor, dim: int, dtype: Any) -> Tensor:
    input = converted(op.name, input, dtype)
    k = axis(op.name, dim, input.ndim)
    x = input.reshape(1) if input.ndim == 0 else input
    y = apply(op, x, dim=k)
    return converted(op.name, y.reshape(()) if input.ndim == 0 else y, dtype)


@method
def cumsum(input: Tensor, dim: int, *, dtype: Any = None) -> Tensor:
    """The sum of all elements up to and including each one, along `dim`; integers as int64."""
    return _applied(CUMSUM, input, dim, dtype)


@method
def cumprod(input: Tensor, dim: int, *, dtype: Any = None) -> Tensor:
    """The product of all elements up to and including each one, along `dim`; integers as int64.

    Unlike PyTorch: where there is a 0, gradients of NaN and infinity may be NaN that are not there.
    """
    return _applied(CUMPROD, input, dim, dtype)


@method
def prod(
    input: Tensor, dim: int | None = None, keepdim: bool = False, *, dtype: Any = None
) -> Tensor:
    """Π x, of all or along `dim`; of integers as int64. The product of nothing is 1."""
    input = converted("prod", input, dtype)
    if dim is None:
        x, k, keepdim = input.reshape(-1), 0, False
    else:
        k = axis("prod", dim, input.ndim)
        x = input.reshape(1) if input.ndim == 0 else input
        keepdim = keepdim and input.ndim > 0
    return converted("prod", apply(PROD, x, dim=k, keepdim=keepdim), dtype)
