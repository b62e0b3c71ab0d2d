"""Elements by the numbers in another tensor: gather, index_select, repeat_interleave, one_hot.

    gather         y[i, j, k] = x[index[i, j, k], j, k]        for dim = 0, and so for each axis
    index_select   y[i, j, k] = x[index[i], j, k]              whole slices
    repeat_interleave   the same, with index = 0 … 0, 1 … 1, …, each as often as it is told
    one_hot        y[i, j, c] = 1 if index[i, j] = c, else 0

    shapes    gather: y and index alike; no longer than x in the axes other than `dim`, which go on
              from the start.  one_hot: index (…), y (…, classes)
    cost      nothing but moving each number of y once

An element taken several times gets all of its gradients, an element not taken none:

    gather         dx[index[i, j, k], j, k] += dy[i, j, k]      (this is scatter_add)

>>> import nanoconv as nc
>>> x = nc.tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
>>> y = nc.gather(x, 1, nc.tensor([[0, 0, 1]]))
>>> y.tolist()
[[1.0, 1.0, 2.0]]
>>> y.sum().backward()
>>> x.grad.tolist()
[[2.0, 1.0], [0.0, 0.0]]
>>> nc.functional.one_hot(nc.tensor([0, 2])).tolist()
[[1, 0, 0], [0, 0, 1]]
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..dispatch import Op
from ..tape import told
from ..tensor import Array, Tensor, apply, method, wrap
from .geometry import check_output
from .shaping import axis, integer, reshape, unsqueeze


def _places(index: Array, dim: int) -> Any:
    """Where gather reads, one array for each axis of x."""
    grid = np.ogrid[tuple(map(slice, index.shape))]
    return (*grid[:dim], index, *grid[dim + 1 :])


def _scatter_add(dy: Array, y: None, x: Array, index: Array, dim: int) -> tuple[Array, None]:
    dx = np.zeros_like(dy, shape=x.shape)
    np.add.at(dx, _places(index, dim), dy)
    return dx, None


def _select_add(dy: Array, y: None, x: Array, index: Array, dim: int) -> tuple[Array, None]:
    dx = np.zeros_like(dy, shape=x.shape)
    np.add.at(np.moveaxis(dx, dim, 0), index, np.moveaxis(dy, dim, 0))
    return dx, None


GATHER = Op("gather", lambda x, index, dim: x[_places(index, dim)], _scatter_add, keeps="1")
INDEX_SELECT = Op("index_select", lambda x, index, dim: x.take(index, dim), _select_add, keeps="1")


def check_tensor(op: str, name: str, value: Any) -> None:
    if not isinstance(value, Tensor):
        raise TypeError(f"{op}: {name} must be a nanoconv Tensor, got {type(value).__name__}")


def _check_index(op: str, input: Tensor, index: Tensor, length: int | None) -> None:
    """`index` holds integers from 0 to length − 1."""
    check_tensor(op, "input", input)
    check_tensor(op, "index", index)
    if index.dtype not in (np.int64, np.int32):
        raise TypeError(f"{op}: index is {index.dtype}, expected int64 or int32; use .long()")
    if length is not None and index.numel():
        low, high = index._data.min(), index._data.max()
        if low < 0 or high >= length:
            wrong = low if low < 0 else high
            raise ValueError(f"{op}: index {wrong} is not in 0 … {length - 1}")


@method
def gather(input: Tensor, dim: int, index: Tensor) -> Tensor:
    """input[…, index[…, k, …], …]: along `dim`, for each element of `index` one of `input`.

    As torch.gather: `index` has as many axes as `input`, and may be shorter in all but `dim`.
    """
    _check_index("gather", input, index, None)
    if max(input.ndim, 1) != max(index.ndim, 1):
        raise ValueError(
            f"gather: index has shape {list(index.shape)}, expected as many axes as the input's "
            f"{list(input.shape)}"
        )
    k = axis("gather", dim, input.ndim)
    x = reshape(input, (1,)) if input.ndim == 0 else input
    positions = reshape(index, (1,)) if index.ndim == 0 else index
    for n, (short, long) in enumerate(zip(positions.shape, x.shape, strict=True)):
        if n != k and short > long and index.numel():
            raise ValueError(
                f"gather: index has shape {list(index.shape)}, longer in axis {n} than the input's "
                f"{list(input.shape)}"
            )
    _check_index("gather", x, positions, x.shape[k])
    y = apply(GATHER, x, positions, dim=k)
    return reshape(y, ()) if index.ndim == 0 else y


@method
def take_along_dim(input: Tensor, indices: Tensor, dim: int | None = None) -> Tensor:
    """As `gather`, with the other axes broadcast; what `argmax` and `argsort` find, it takes.

    Without `dim`, of both tensors flattened.
    """
    _check_index("take_along_dim", input, indices, None)
    if dim is None:
        input, indices, dim = reshape(input, (-1,)), reshape(indices, (-1,)), 0
    k = axis("take_along_dim", dim, input.ndim)
    if input.ndim != indices.ndim:
        raise ValueError(
            f"take_along_dim: indices has shape {list(indices.shape)}, expected as many axes as "
            f"the input's {list(input.shape)}"
        )
    others = [(*t.shape[:k], 1, *t.shape[k + 1 :]) for t in (input, indices)]
    try:
        shape = np.broadcast_shapes(*others)
    except ValueError:
        raise ValueError(
            f"take_along_dim: shapes {list(input.shape)} and {list(indices.shape)} do not "
            f"broadcast besides axis {k}"
        ) from None
    x, index = (
        t.expand(*shape[:k], t.shape[k], *shape[k + 1 :]) if t.ndim else t for t in (input, indices)
    )
    return gather(x, k, index)


@method
def index_select(input: Tensor, dim: int, index: Tensor) -> Tensor:
    """The slices of `input` along `dim` with the numbers in `index`, a vector."""
    _check_index("index_select", input, index, None)
    if index.ndim > 1:
        raise ValueError(f"index_select: index has shape {list(index.shape)}, expected a vector")
    k = axis("index_select", dim, input.ndim)
    x = reshape(input, (1,)) if input.ndim == 0 else input
    _check_index("index_select", x, index, x.shape[k])
    if input.ndim == 0 and index.numel() != 1:
        raise ValueError(
            f"index_select: index has {index.numel()} elements, expected one for a scalar"
        )
    y = apply(INDEX_SELECT, x, reshape(index, (-1,)), dim=k)
    return reshape(y, ()) if input.ndim == 0 else y


@method
def repeat_interleave(
    input: Tensor, repeats: int | Tensor, dim: int | None = None, *, output_size: int | None = None
) -> Tensor:
    """Each slice along `dim` several times in a row: `repeats` times, or one number for each.

    As torch.repeat_interleave; without `dim`, of the tensor flattened. The sum of the repeats must
    be `output_size`, if that is given.

    >>> nc.repeat_interleave(nc.tensor([1, 2, 3]), nc.tensor([2, 0, 1]))
    tensor([1, 1, 3])

    Unlike PyTorch: there is no form with `repeats` alone.
    """
    op = "repeat_interleave"
    check_tensor(op, "input", input)
    x = reshape(input, (-1,)) if dim is None or input.ndim == 0 else input
    k = axis(op, 0 if dim is None else dim, x.ndim)
    if isinstance(repeats, Tensor):
        if repeats.dtype not in (np.int64, np.int32):
            raise TypeError(f"{op}: repeats is {repeats.dtype}, expected int64 or int32")
        if repeats.shape not in ((), (1,), (x.shape[k],)):
            raise ValueError(
                f"{op}: repeats has shape {list(repeats.shape)}, expected one number or "
                f"{x.shape[k]}, one for each slice along axis {k} of {list(input.shape)}"
            )
        told(repeats, op)
        counts = np.broadcast_to(repeats._data, (x.shape[k],))
    else:
        counts = np.array([integer(op, "repeats", repeats)]).repeat(x.shape[k])
    if counts.size and counts.min() < 0:
        raise ValueError(f"{op}: repeats has {counts.min()}, expected none below 0")
    total = int(counts.sum(dtype=np.float64))  # exact up to 2**53
    check_output(op, (*x.shape[:k], total, *x.shape[k + 1 :]), repeats=repeats, dim=dim)
    if output_size is not None and output_size != total:
        raise ValueError(f"{op}: output_size={output_size}, but the repeats add up to {total}")
    if isinstance(repeats, Tensor):
        return index_select(x, k, wrap(np.arange(counts.size).repeat(counts)))
    copies = unsqueeze(x, k + 1).expand(*x.shape[: k + 1], int(repeats), *x.shape[k + 1 :])
    return reshape(copies, (*x.shape[:k], total, *x.shape[k + 1 :]))


def one_hot(input: Tensor, num_classes: int = -1) -> Tensor:
    """For each class c of `input` a row of zeros with a 1 in place c: int64, as in PyTorch.

    As torch.nn.functional.one_hot: −1 stands for the largest class + 1.
    """
    check_tensor("one_hot", "input", input)
    if input.dtype != np.int64:
        raise TypeError(f"one_hot: input is {input.dtype}, expected int64; use .long()")
    count = integer("one_hot", "num_classes", num_classes)
    told(input, "one_hot")
    classes = input._data
    if count < -1 or (count < 1 and input.numel() == 0):
        raise ValueError(f"one_hot: num_classes={count} for {input.numel()} classes, expected > 0")
    if input.numel() and classes.min() < 0:
        raise ValueError(f"one_hot: input has the class {classes.min()}, expected none below 0")
    if count == -1:
        count = int(classes.max()) + 1
    elif input.numel() and classes.max() >= count:
        raise ValueError(
            f"one_hot: input has the class {classes.max()}, expected less than num_classes={count}"
        )
    check_output("one_hot", (*input.shape, count), num_classes=count)
    return wrap((classes[..., None] == np.arange(count)).astype(np.int64))
