"""Order: sort, topk and argsort, all from one stable order along an axis.

    y[k] = x[index[k]]        index: the permutation for which y[0] ≤ y[1] ≤ y[2] …

or ≥ if `descending`. NaN counts as larger than any number, infinity included. The sort is stable:
equal elements stay in the order in which they were, going down too. PyTorch promises that only for
`stable=True`, and of equal elements topk may take any; here it takes the first.

    shapes    x, y and index (…, n, …)      topk: y and index (…, k, …)
    cost      n·log n comparisons per line; topk with a small k finds the k-th element, about n
              comparisons, and sorts what is beyond it

The index is all that a gradient needs; what was not taken gets none:

    dx[index[k]] = dy[k]

>>> import nanoconv as nc
>>> x = nc.tensor([2.0, 3.0, 1.0, 3.0], requires_grad=True)
>>> nc.topk(x, 3).indices
tensor([1, 3, 0])
>>> values, indices = nc.sort(x)
>>> indices
tensor([2, 0, 1, 3])
>>> values[0].backward()
>>> x.grad
tensor([0., 0., 1., 0.])
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..dispatch import Op
from ..tensor import Array, Tensor, apply, beside, method, wrap
from .shaping import axis, integer


class Sorted(NamedTuple):
    """What `sort` and `topk` return."""

    values: Tensor
    indices: Tensor


def _order(x: Array, dim: int, descending: bool) -> Array:
    """The permutation that sorts. NumPy's sort takes NaN for the largest, as PyTorch does."""
    if not descending:
        return np.argsort(x, axis=dim, kind="stable")
    # Going down, turned before and after, so that equal elements keep their order.
    backwards = np.flip(np.argsort(np.flip(x, dim), axis=dim, kind="stable"), dim)
    return x.shape[dim] - 1 - backwards


def _sort(x: Array, dim: int, descending: bool, k: int) -> tuple[Array, Array]:
    first = (slice(None),) * dim + (slice(k),)
    index = np.ascontiguousarray(_order(x, dim, descending)[first])
    return np.take_along_axis(x, index, dim), index


def _unsort(dy: Array, y: tuple[None, Array], x: Array, dim: int, **_: object) -> Array:
    dx = np.zeros_like(dy, shape=x.shape)
    np.put_along_axis(dx, y[1], dy, dim)
    return dx


def _select(x: Array, dim: int, largest: bool, k: int) -> tuple[Array, Array]:
    """The same as `_sort` of the first k, but that only they are put in order."""
    n = x.shape[dim]
    if not 0 < k <= n // 8:
        return _sort(x, dim, largest, k)
    lines = np.ascontiguousarray(np.moveaxis(x, dim, -1))
    last = n - k if largest else k - 1
    bound = np.partition(lines, last)[..., last, None]  # the k-th
    if (bound != bound).any():
        return _sort(x, dim, largest, k)
    taken = ~(lines < bound) if largest else lines <= bound  # NaN is the largest
    if np.count_nonzero(taken) > k * bound.size:  # the bound itself: its first ones, if any
        equal = lines == bound
        room = k - np.count_nonzero(taken & ~equal, axis=-1, keepdims=True)
        taken &= ~equal | (np.cumsum(equal, -1) <= room)
    index = (np.flatnonzero(taken) % n).reshape(*bound.shape[:-1], k)
    values = np.take_along_axis(lines, index, -1)
    index = np.take_along_axis(index, _order(values, -1, largest), -1)
    index = np.ascontiguousarray(np.moveaxis(index, -1, dim))
    return np.take_along_axis(x, index, dim), index


SORT = Op("sort", _sort, _unsort, keeps="")
TOPK = Op("topk", _select, _unsort, keeps="")


def _sorted(op: Op, input: Tensor, dim: int, descending: bool, k: int | None) -> Sorted:
    if not isinstance(input, Tensor):
        raise TypeError(f"{op.name}: input must be a nanoconv Tensor, got {type(input).__name__}")
    dim = axis(op.name, dim, input.ndim)
    length = (*input.shape, 1)[dim]
    if k is not None and not 0 <= integer(op.name, "k", k) <= length:
        raise ValueError(f"{op.name}: k={k}, expected 0 to {length}, the length of axis {dim}")
    k = length if k is None else integer(op.name, "k", k)
    if input.ndim == 0 and k == 1:  # a scalar is sorted
        return Sorted(input.clone(), wrap(np.zeros((), np.int64)))
    x = input.reshape(1) if input.ndim == 0 else input
    attrs = {"largest" if op is TOPK else "descending": bool(descending)}
    values, index = apply(op, x, dim=dim, k=k, **attrs)
    return Sorted(values, beside(values, index))


@method
def sort(input: Tensor, dim: int = -1, descending: bool = False, stable: bool = False) -> Sorted:
    """(values, indices) of the elements in order along `dim`, NaN as the largest.

    Equal elements stay in their order whether it is asked for by `stable` or not.
    """
    return _sorted(SORT, input, dim, descending, None)


@method
def argsort(input: Tensor, dim: int = -1, descending: bool = False, stable: bool = False) -> Tensor:
    """Where each element of the sorted tensor comes from: the indices of `sort`."""
    return _sorted(SORT, input, dim, descending, None).indices


@method
def topk(input: Tensor, k: int, dim: int = -1, largest: bool = True, sorted: bool = True) -> Sorted:
    """(values, indices) of the `k` largest, or smallest, elements along `dim`, NaN as the largest.

    In order, whether it is asked for by `sorted` or not; of equal elements the first ones.
    """
    return _sorted(TOPK, input, dim, largest, k)
