"""Reductions: many numbers to one, along the axes `dim` or, by default, along all.

A sum of functions of its terms, y = Σ_k f(x[k]), sends each term its own derivative,

    dx[k] = dy · f'(x[k])

    shapes    x any; y without the axes `dim`, or with length 1 there
    cost      reading x once; var and std twice

while a maximum passes dy on to the element that it chose. The reduced axes stay with length 1 if
`keepdim`, otherwise they go; the gradients below first put them back (`restore`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..dispatch import Op
from ..tensor import Array, Tensor, apply, beside, method, wrap
from .arithmetic import floating, maximum, minimum
from .shaping import axes, axis, converted

Dim = int | Sequence[int] | None


class Extremes(NamedTuple):
    """What `max` and `min` along an axis return."""

    values: Tensor
    indices: Tensor


def restore(y: Array, dim: tuple[int, ...], keepdim: bool) -> Array:
    """y with the reduced axes, as length 1."""
    return y if keepdim else np.expand_dims(y, dim)


# --------------------------------------------------------------------------- sums and means


def _sum(x: Array, dim: tuple[int, ...], keepdim: bool) -> Any:
    dtype = x.dtype if x.dtype.kind == "f" else np.int64
    return np.sum(x, axis=dim, dtype=dtype, keepdims=keepdim)


def _count(x: Array, dim: tuple[int, ...]) -> int:
    return math.prod(x.shape[k] for k in dim)


SUM = Op("sum", _sum, lambda dy, y, x, **attrs: restore(dy, **attrs), keeps="")
MEAN = Op(
    "mean",
    lambda x, dim, keepdim: np.divide(_sum(x, dim, keepdim), x.dtype.type(_count(x, dim))),
    lambda dy, y, x, **attrs: restore(dy, **attrs) / _count(x, attrs["dim"]),
    keeps="",
)


@method
def sum(input: Tensor, dim: Dim = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    """Σ x; of integers and bools as int64, as in PyTorch. The sum of nothing is 0.

    With `dtype`, x is converted before, and the sum has that dtype.

    >>> nc.tensor([[1.0, 2.0], [3.0, 4.0]]).sum(dim=1)
    tensor([3., 7.])
    """
    input = converted("sum", input, dtype)
    y = apply(SUM, input, dim=axes("sum", dim, input.ndim), keepdim=keepdim)
    return converted("sum", y, dtype)


@method
def mean(input: Tensor, dim: Dim = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    """Σ x / n of a floating tensor; NaN where n = 0. With `dtype`, x is converted before."""
    input = floating("mean", converted("mean", input, dtype))
    return apply(MEAN, input, dim=axes("mean", dim, input.ndim), keepdim=keepdim)


def _deviations(x: Array, dim: tuple[int, ...], correction: float) -> tuple[Array, Array]:
    """x − mean, and the degrees of freedom n − correction, not below 0."""
    n = x.dtype.type(_count(x, dim))
    freedom = np.maximum(n - x.dtype.type(correction), x.dtype.type(0))
    return x - _sum(x, dim, keepdim=True) / n, freedom


def _var(x: Array, dim: tuple[int, ...], correction: float, keepdim: bool) -> Array:
    deviations, freedom = _deviations(x, dim, correction)
    return _sum(np.square(deviations), dim, keepdim) / freedom


def _var_vjp(
    dy: Array, y: None, x: Array, dim: tuple[int, ...], correction: float, keepdim: bool
) -> Array:
    deviations, freedom = _deviations(x, dim, correction)
    return 2 / freedom * restore(dy, dim, keepdim) * deviations


VAR = Op("var", _var, _var_vjp)


@method
def var(
    input: Tensor,
    dim: Dim | bool = None,
    unbiased: bool | None = None,
    keepdim: bool = False,
    *,
    correction: float | None = None,
) -> Tensor:
    """The variance Σ (x − mean)² / (n − correction), dx = 2·dy·(x − mean) / (n − correction).

    `unbiased` is the older name: True is correction=1, the default, and False correction=0. As in
    torch.var, var(False) means var(unbiased=False).
    """
    if isinstance(dim, bool):
        dim, unbiased = None, dim
    if unbiased is not None and correction is not None:
        raise ValueError("var: unbiased and correction exclude each other")
    if correction is None:
        correction = 0 if unbiased is False else 1
    attrs = {"dim": axes("var", dim, input.ndim), "correction": correction, "keepdim": keepdim}
    return apply(VAR, floating("var", input), **attrs)


# --------------------------------------------------------------------------- log-sum-exp
#
#   y = log Σ_k e^x[k] = m + log Σ_k e^(x[k]−m)        dx[k] = dy · e^(x[k]−y)
#
# with m the largest x, which keeps e^(x−m) ≤ 1 from overflowing.


def _logsumexp(x: Array, dim: tuple[int, ...], keepdim: bool) -> Array:
    m = np.max(x, axis=dim, keepdims=True, initial=-np.inf)
    m = np.where(np.isinf(m), x.dtype.type(0), m)
    y = np.log(_sum(np.exp(x - m), dim, keepdim))
    return y + m.reshape(y.shape)


LOGSUMEXP = Op(
    "logsumexp",
    _logsumexp,
    lambda dy, y, x, **attrs: restore(dy, **attrs) * np.exp(x - restore(y, **attrs)),
    keeps="xy",
)


@method
def logsumexp(input: Tensor, dim: Dim = None, keepdim: bool = False) -> Tensor:
    """log Σ eˣ without overflow; −inf for no terms."""
    input = floating("logsumexp", input)
    return apply(LOGSUMEXP, input, dim=axes("logsumexp", dim, input.ndim), keepdim=keepdim)


# --------------------------------------------------------------------------- largest and smallest


def _shared(dy: Array, winners: Array, dim: tuple[int, ...]) -> Array:
    """dy shared evenly among the winners along `dim`."""
    return dy * winners / np.sum(winners, axis=dim, dtype=dy.dtype, keepdims=True)


def _ties(dy: Array, y: Array, x: Array, dim: tuple[int, ...], keepdim: bool) -> Array:
    return _shared(restore(dy, dim, keepdim), x == restore(y, dim, keepdim), dim)


def _ties_or_nans(dy: Array, y: Array, x: Array) -> Array:
    return _shared(dy, (x == y) | (np.isnan(x) & np.isnan(y)), tuple(range(x.ndim)))


def _choose(argument: Callable) -> Callable:
    def forward(x: Array, dim: int, keepdim: bool) -> tuple[Array, Array]:
        index = argument(x, axis=dim, keepdims=True)
        values = np.take_along_axis(x, index, dim)
        return (values, index) if keepdim else (values.squeeze(dim), index.squeeze(dim))

    return forward


def _to_chosen(dy: Array, y: tuple[None, Array], x: Array, dim: int, keepdim: bool) -> Array:
    dx = np.zeros_like(dy, shape=x.shape)
    np.put_along_axis(dx, restore(y[1], (dim,), keepdim), restore(dy, (dim,), keepdim), dim)
    return dx


AMAX = Op("amax", lambda x, dim, keepdim: np.max(x, axis=dim, keepdims=keepdim), _ties, keeps="xy")
AMIN = Op("amin", lambda x, dim, keepdim: np.min(x, axis=dim, keepdims=keepdim), _ties, keeps="xy")
MAX = Op("max", np.max, _ties_or_nans, keeps="xy")
MIN = Op("min", np.min, _ties_or_nans, keeps="xy")
MAX_ALONG = Op("max_along", _choose(np.argmax), _to_chosen, keeps="")
MIN_ALONG = Op("min_along", _choose(np.argmin), _to_chosen, keeps="")
ARGMAX = Op("argmax", lambda x, dim, keepdim: np.argmax(x, axis=dim, keepdims=keepdim), None, "")
ARGMIN = Op("argmin", lambda x, dim, keepdim: np.argmin(x, axis=dim, keepdims=keepdim), None, "")


def _not_empty(op: str, input: Tensor, dim: tuple[int, ...]) -> None:
    for k in dim:
        if input.shape[k] == 0:
            raise ValueError(f"{op}: axis {k} of shape {list(input.shape)} has no elements")


def _extreme(op: Op, input: Tensor, dim: Dim, keepdim: bool) -> Tensor:
    found = axes(op.name, dim, input.ndim)
    _not_empty(op.name, input, found)
    return apply(op, input, dim=found, keepdim=keepdim)


@method
def amax(input: Tensor, dim: Dim = None, keepdim: bool = False) -> Tensor:
    """The largest element; equal ones share its gradient evenly. NaN if there is one."""
    return _extreme(AMAX, input, dim, keepdim)


@method
def amin(input: Tensor, dim: Dim = None, keepdim: bool = False) -> Tensor:
    """The smallest element; equal ones share its gradient evenly. NaN if there is one."""
    return _extreme(AMIN, input, dim, keepdim)


def _max_or_min(
    op: Op, along: Op, elementwise: Callable, input: Tensor, dim: Any, keepdim: bool, other: Any
) -> Any:
    if isinstance(dim, Tensor):
        dim, other = None, dim
    if other is not None:
        return elementwise(input, other)
    if dim is None:
        _not_empty(op.name, input, tuple(range(input.ndim)))
        return apply(op, input)
    k = axis(op.name, dim, input.ndim)
    if input.ndim == 0:  # a scalar is its own extreme, at index 0
        return Extremes(apply(op, input), wrap(np.zeros((), np.int64)))
    _not_empty(op.name, input, (k,))
    values, index = apply(along, input, dim=k, keepdim=keepdim)
    return Extremes(values, beside(values, index))


@method
def max(input: Tensor, dim: Any = None, keepdim: bool = False, *, other: Any = None) -> Any:
    """The largest element; or along `dim` (values, indices); or the larger of two tensors.

    As torch.max: max(x) shares the gradient evenly among equal elements, max(x, dim) gives it to
    the first of them, max(x, other) is maximum(x, other). The first NaN wins.

    >>> nc.tensor([[1.0, 3.0, 2.0]]).max(dim=1)
    Extremes(values=tensor([3.]), indices=tensor([1]))
    """
    return _max_or_min(MAX, MAX_ALONG, maximum, input, dim, keepdim, other)


@method
def min(input: Tensor, dim: Any = None, keepdim: bool = False, *, other: Any = None) -> Any:
    """The smallest element; or along `dim` (values, indices); or the smaller of two tensors."""
    return _max_or_min(MIN, MIN_ALONG, minimum, input, dim, keepdim, other)


def _argument(op: Op, input: Tensor, dim: int | None, keepdim: bool) -> Tensor:
    k = None if dim is None or input.ndim == 0 else axis(op.name, dim, input.ndim)
    _not_empty(op.name, input, tuple(range(input.ndim)) if k is None else (k,))
    return apply(op, input, dim=k, keepdim=keepdim)


@method
def argmax(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor:
    """The position of the first largest element along `dim`, or in the flattened tensor."""
    return _argument(ARGMAX, input, dim, keepdim)


@method
def argmin(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor:
    """The position of the first smallest element along `dim`, or in the flattened tensor."""
    return _argument(ARGMIN, input, dim, keepdim)
