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

from ..dispatch import Op
from ..tensor import Array, Tensor, apply, method
from .reductions import restore
from .shaping import axis, converted


def _wide(x: Array) -> Any:
    """What sums and products of this dtype are computed in."""
    return x.dtype if x.dtype.kind == "f" else np.int64


CUMSUM = Op(
    "cumsum",
    lambda x, dim: np.cumsum(x, axis=dim, dtype=_wide(x)),
    lambda dy, y, x, dim: np.flip(np.cumsum(np.flip(dy, dim), axis=dim), dim),
    keeps="",
)


def _before(x: Array, dim: int) -> Array:
    """Π_{k < m} x[k]."""
    first = np.ones_like(np.take(x, [0], dim))
    rest = x[(slice(None),) * dim + (slice(-1),)]
    return np.cumprod(np.concatenate([first, rest], dim), axis=dim)


def _cumprod_vjp(dy: Array, y: Array, x: Array, dim: int) -> Array:
    if x.all():  # as in PyTorch, also where that is ∞ / ∞
        return np.flip(np.cumsum(np.flip(dy * y, dim), axis=dim), dim) / x
    s = dy.copy()
    sums, factors = np.moveaxis(s, dim, 0), np.moveaxis(x, dim, 0)
    for m in range(len(sums) - 2, -1, -1):
        sums[m] += factors[m + 1] * sums[m + 1]
    return _before(x, dim) * s


CUMPROD = Op(
    "cumprod",
    lambda x, dim: np.cumprod(x, axis=dim, dtype=_wide(x)),
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


def _running(op: Op, input: Tensor, dim: int, dtype: Any) -> Tensor:
    input = converted(op.name, input, dtype)
    k = axis(op.name, dim, input.ndim)
    x = input.reshape(1) if input.ndim == 0 else input
    y = apply(op, x, dim=k)
    return converted(op.name, y.reshape(()) if input.ndim == 0 else y, dtype)


@method
def cumsum(input: Tensor, dim: int, *, dtype: Any = None) -> Tensor:
    """The sum of all elements up to and including each one, along `dim`; integers as int64."""
    return _running(CUMSUM, input, dim, dtype)


@method
def cumprod(input: Tensor, dim: int, *, dtype: Any = None) -> Tensor:
    """The product of all elements up to and including each one, along `dim`; integers as int64."""
    return _running(CUMPROD, input, dim, dtype)


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
