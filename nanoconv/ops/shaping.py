"""Ops that rearrange numbers without changing them; their gradients rearrange back.

    y has the numbers of x in another order     dx = dy in the order of x
    y has some of the numbers of x              dx = dy where they were taken, 0 elsewhere
    y has numbers of x repeatedly               dx = Σ dy over the repetitions

    shapes    each its own, in its docstring
    cost      none where y shares the memory of x; else moving each number of y once

Results share the memory of x wherever strides can express them, as in NumPy and PyTorch. No
gradient here needs the values of x, only its shape, so the tape holds no array (`keeps=""`).
"""

from __future__ import annotations

import itertools
import math
import operator
import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..dispatch import (
    Body,
    Kernel,
    Ladder,
    Op,
    at_least,
    is_channel_slice,
    is_channels_last,
    nchw,
    nhwc,
)
from ..tape import Part
from ..tensor import DTYPES, Index, Tensor, apply, method, operand, plain_index

Array = np.ndarray
FLOAT32 = np.dtype(np.float32)
contiguous_format, channels_last = "contiguous", "channels_last"  # for `memory_format`


# --------------------------------------------------------------------------- arguments


def integer(op: str, name: str, value: Any) -> int:
    """`value` if it is an integer."""
    try:
        return operator.index(value)
    except TypeError:
        raise TypeError(f"{op}: {name}={value!r}, expected an integer") from None


def integers(op: str, name: str, values: tuple, named: Any = None) -> tuple[int, ...]:
    """The integers of f(1, 2, 3), of f((1, 2, 3)), or of f(name=(1, 2, 3)), which is `named`."""
    if named is not None:
        if values:
            raise TypeError(f"{op}: {name} is given twice, by position and by name")
        values = (named,)
    if len(values) == 1 and isinstance(values[0], Sequence):
        values = tuple(values[0])
    return tuple(integer(op, name, value) for value in values)


def axis(op: str, dim: Any, ndim: int, name: str = "dim", of: str = "") -> int:
    """`dim` counted from the front. A scalar has, as in PyTorch, the axes 0 and -1."""
    k, limit = integer(op, name, dim), max(ndim, 1)
    if not -limit <= k < limit:
        raise ValueError(f"{op}: {name}={k}{of}, expected {-limit} to {limit - 1} for {ndim} axes")
    return k % limit


def axes(op: str, dim: Any, ndim: int, of: str = "") -> tuple[int, ...]:
    """The axes that `dim` names: an integer, a sequence of integers, or None for all.

    `of` is what an error says behind the dim: the name of the argument, if that is another.
    """
    if dim is None or (isinstance(dim, Sequence) and len(dim) == 0):
        return tuple(range(ndim))
    found = [axis(op, k, ndim, of=of) for k in (dim if isinstance(dim, Sequence) else (dim,))]
    if len(set(found)) != len(found):
        raise ValueError(f"{op}: dim={dim}{of} names an axis twice")
    return tuple(found) if ndim else ()


def check_countable(op: str, name: str, shape: Sequence[int], like: Tensor) -> None:
    """A shape whose elements can be counted in bytes, even if some lengths were not 0."""
    if math.prod(max(n, 1) for n in shape) * like.dtype.itemsize > sys.maxsize:
        raise ValueError(f"{op}: {name}={list(shape)} is larger than memory can be")


# --------------------------------------------------------------------------- another shape

RESHAPE = Op(
    "reshape",
    lambda x, shape: x.reshape(shape),
    lambda dy, y, x, shape: dy.reshape(x.shape),
    keeps="",
)


def _checked_shape(op: str, input: Tensor, shape: tuple[int, ...]) -> tuple[int, ...]:
    known = math.prod(size for size in shape if size != -1)
    fits = input.numel() == known
    if -1 in shape:
        fits = shape.count(-1) == 1 and known > 0 and input.numel() % known == 0
    if not fits or any(size < -1 for size in shape):
        raise ValueError(
            f"{op}: shape={list(shape)} does not fit the {input.numel()} elements "
            f"of a tensor of shape {list(input.shape)}"
        )
    check_countable(op, "shape", shape, input)
    return shape


@method
def reshape(input: Tensor, *sizes: Any, shape: Any = None) -> Tensor:
    """The same elements, in the same logical order, in another shape; one size may be -1.

    >>> nc.arange(6).reshape(2, -1)
    tensor([[0, 1, 2],
            [3, 4, 5]])
    """
    shape = integers("reshape", "shape", sizes, shape)
    return apply(RESHAPE, input, shape=_checked_shape("reshape", input, shape))


@method
def view(input: Tensor, *sizes: Any, size: Any = None) -> Tensor:
    """As `reshape`, and always sharing memory: ValueError where that would need a copy."""
    shape = _checked_shape("view", input, integers("view", "shape", sizes, size))
    try:
        input._data.reshape(shape, copy=False)
    except ValueError:
        raise ValueError(
            f"view: shape={list(shape)} needs a copy, because the elements of this tensor do not "
            "lie in that order in memory; use reshape()"
        ) from None
    return apply(RESHAPE, input, shape=shape)


def _flatten(x: Array, start_dim: int, end_dim: int) -> Array:
    length = math.prod(x.shape[start_dim : end_dim + 1])
    return x.reshape(*x.shape[:start_dim], length, *x.shape[end_dim + 1 :])


FLATTEN = Op("flatten", _flatten, lambda dy, y, x, **dims: dy.reshape(x.shape), keeps="")


@method
def flatten(input: Tensor, start_dim: int = 0, end_dim: int = -1) -> Tensor:
    """The axes from `start_dim` to `end_dim` as one axis."""
    start = axis("flatten", start_dim, input.ndim, "start_dim")
    end = axis("flatten", end_dim, input.ndim, "end_dim")
    if start > end:
        raise ValueError(f"flatten: start_dim={start_dim} is behind end_dim={end_dim}")
    return apply(FLATTEN, input, start_dim=start, end_dim=end)


SQUEEZE = Op(
    "squeeze",
    lambda x, dim: x.squeeze(dim),
    lambda dy, y, x, dim: dy.reshape(x.shape),
    keeps="",
)
UNSQUEEZE = Op(
    "unsqueeze",
    lambda x, dim: np.expand_dims(x, dim),
    lambda dy, y, x, dim: dy.reshape(x.shape),
    keeps="",
)


@method
def squeeze(input: Tensor, dim: int | Sequence[int] | None = None) -> Tensor:
    """Without the axes `dim`, or all axes, that have length 1; longer ones stay."""
    none = isinstance(dim, Sequence) and not dim  # which for `axes` would mean all
    found = () if none else axes("squeeze", dim, input.ndim)
    return apply(SQUEEZE, input, dim=tuple(k for k in found if input.shape[k] == 1))


@method
def unsqueeze(input: Tensor, dim: int) -> Tensor:
    """With an additional axis of length 1 at position `dim` of the result."""
    return apply(UNSQUEEZE, input, dim=axis("unsqueeze", dim, input.ndim + 1))


EXPAND = Op("expand", lambda x, size: np.broadcast_to(x, size), lambda dy, *_, size: dy, keeps="")


@method
def expand(input: Tensor, *sizes: Any, size: Any = None) -> Tensor:
    """Axes of length 1 repeated up to `size`, without a copy; -1 leaves an axis as it is."""
    target = integers("expand", "size", sizes, size)
    new = len(target) - input.ndim
    pairs = list(zip((1,) * new + input.shape, target, strict=False))
    wanted = tuple(h if w == -1 and k >= new else w for k, (h, w) in enumerate(pairs))
    if new < 0 or any(w < 0 or h not in (1, w) for (h, _), w in zip(pairs, wanted, strict=True)):
        raise ValueError(f"expand: size={list(target)} does not fit shape {list(input.shape)}")
    check_countable("expand", "size", wanted, input)
    return apply(EXPAND, input, size=wanted)


# --------------------------------------------------------------------------- another order of axes

PERMUTE = Op(
    "permute",
    lambda x, dims: x.transpose(dims),
    lambda dy, y, x, dims: dy.transpose(np.argsort(dims)),
    keeps="",
)


@method
def permute(input: Tensor, *order: Any, dims: Any = None) -> Tensor:
    """Axis k of the result is axis `dims[k]` of the input: (2, 0, 1) turns HWC into CHW."""
    named = integers("permute", "dims", order, dims)
    dims = tuple(axis("permute", k, input.ndim) for k in named)
    if sorted(dims) != list(range(input.ndim)):
        raise ValueError(f"permute: dims={list(dims)} must name each of {input.ndim} axes once")
    return apply(PERMUTE, input, dims=dims)


@method
def transpose(input: Tensor, dim0: int, dim1: int) -> Tensor:
    """With two axes exchanged."""
    order = list(range(max(input.ndim, 1)))
    a = axis("transpose", dim0, input.ndim, "dim0")
    b = axis("transpose", dim1, input.ndim, "dim1")
    order[a], order[b] = order[b], order[a]
    return apply(PERMUTE, input, dims=tuple(order[: input.ndim]))


@method
def t(input: Tensor) -> Tensor:
    """The transpose of a matrix; with fewer than two axes, the tensor itself."""
    if input.ndim > 2:
        raise ValueError(f"t: expected at most 2 axes, got {list(input.shape)}; use permute()")
    return input if input.ndim < 2 else transpose(input, 0, 1)


# --------------------------------------------------------------------------- joining and splitting


LEGACY_EMPTY = (0,)  # a tensor of this shape may stand among others of any shape: cat skips it


def cat_loops(y, xs, sizes):
    N, _, H, W = sizes
    before = 0
    for x in xs:
        C = x.shape[1]
        for n in range(N):
            for c in range(C):
                for h in range(H):
                    for w in range(W):
                        y[n, before + c, h, w] = x[n, c, h, w]
        before += C


def cat_forward(*xs: Array) -> Array:
    return np.concatenate(xs, axis=1)


def channels_innermost(*xs: Array) -> bool:
    """Channels-last images of 2×2 pixels or more, or some of their channels, in float32."""
    return xs[0].dtype == FLOAT32 and all(map(is_channel_slice, xs))


def call_cat(body: Body, *xs: Array) -> Array:
    N, _, H, W = xs[0].shape
    shape = (N, sum(x.shape[1] for x in xs), H, W)
    y, memory = body.output(shape, xs[0].dtype)
    body(memory, tuple(map(body.input, xs)), sizes=shape)
    return y


LARGE = at_least(1 << 16)  # below, no threads are worth it, and NumPy's call costs less

CHANNELS = Ladder(
    "cat",  # of images along axis 1; all others NumPy joins
    reference=cat_forward,
    kernels=[Kernel("cython.rows", "cat_cy:cat_f32", channels_innermost, LARGE)],
    call=call_cat,
    loops=cat_loops,
)


def _cat(*xs: Array, dim: int) -> Array:
    parts = [x for x in xs if x.shape != LEGACY_EMPTY] or xs
    if dim == 1 and parts[0].ndim == 4:
        return CHANNELS(*parts)
    return np.concatenate(parts, axis=dim)


def _uncat(dy: Array, y: None, *xs: Array, dim: int) -> tuple[Array, ...]:
    lengths = [0 if x.shape == LEGACY_EMPTY else x.shape[dim] for x in xs]
    pieces = np.split(dy, np.cumsum(lengths[:-1]), axis=dim)
    return tuple(piece.reshape(x.shape) for piece, x in zip(pieces, xs, strict=True))


CAT = Op("cat", _cat, _uncat, keeps="", is_ladder=True)
STACK = Op(
    "stack",
    lambda *xs, dim: np.stack(xs, axis=dim),
    lambda dy, y, *xs, dim: tuple(np.moveaxis(dy, dim, 0)),
    keeps="",
)


def _checked_list(op: str, tensors: Sequence[Tensor]) -> tuple[Tensor, ...]:
    tensors = tuple(tensors)
    if not tensors:
        raise ValueError(f"{op}: tensors is empty, expected at least one")
    for k, tensor in enumerate(tensors):
        if not isinstance(tensor, Tensor):
            raise TypeError(f"{op}: tensors[{k}] must be a Tensor, got {type(tensor).__name__}")
        if tensor.dtype is not tensors[0].dtype:  # the same object, nearly always
            operand(tensor, tensors[0], op)
    return tensors


def cat(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """Tensors one behind the other along an axis; all other axes must have equal lengths.

    As in PyTorch, a tensor of shape (0,) may stand anywhere: what a list is begun with.
    """
    tensors = _checked_list("cat", tensors)
    shapes = [tensor.shape for tensor in tensors]
    m = 0
    if shapes[0] == LEGACY_EMPTY:
        m = next((n for n, shape in enumerate(shapes) if shape != LEGACY_EMPTY), 0)
    first = shapes[m]
    if not first:
        raise ValueError(f"cat: tensors[{m}] is a scalar, expected at least one axis; use stack()")
    k = axis("cat", dim, len(first))
    for n, shape in enumerate(shapes):
        if shape in (first, LEGACY_EMPTY):
            continue
        others, expected = shape[:k] + shape[k + 1 :], first[:k] + first[k + 1 :]
        if len(shape) != len(first) or others != expected:
            raise ValueError(
                f"cat: tensors[{n}] has shape {list(shape)}, tensors[{m}] has "
                f"{list(first)}; they may differ only in axis {k}"
            )
    return apply(CAT, *tensors, dim=k)


def stack(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """Tensors of one shape one behind the other along a new axis."""
    tensors = _checked_list("stack", tensors)
    for n, tensor in enumerate(tensors):
        if tensor.shape != tensors[0].shape:
            raise ValueError(
                f"stack: tensors[{n}] has shape {list(tensor.shape)}, tensors[0] has "
                f"{list(tensors[0].shape)}; they must be equal"
            )
    return apply(STACK, *tensors, dim=axis("stack", dim, tensors[0].ndim + 1))


@method
def split(
    tensor: Tensor,
    split_size_or_sections: int | Sequence[int] | None = None,
    dim: int = 0,
    *,
    split_size: int | Sequence[int] | None = None,
) -> tuple[Tensor, ...]:
    """Views of consecutive pieces along an axis.

    One size holds for all pieces (the last may be smaller); a list has the size of each. Its name
    is `split_size` in PyTorch's method and split_size_or_sections in its function; here in both.
    """
    if (split_size is None) == (split_size_or_sections is None):
        raise TypeError("split: expected one of split_size and split_size_or_sections")
    pieces = split_size_or_sections if split_size is None else split_size
    if tensor.ndim == 0:
        raise ValueError("split: expected at least one axis, got a scalar")
    k = axis("split", dim, tensor.ndim)
    total = tensor.shape[k]
    if isinstance(pieces, Sequence):
        sizes = integers("split", "sections", tuple(pieces))
        if sum(sizes) != total or any(size < 0 for size in sizes):
            raise ValueError(f"split: sections={list(sizes)} must sum to the {total} of axis {k}")
    else:
        size = integer("split", "split_size", pieces)
        if size < 0 or (size == 0 and total > 0):
            raise ValueError(f"split: split_size={size} must be positive for an axis of {total}")
        count = max(-(-total // max(size, 1)), 1)
        sizes = (*[size] * (count - 1), total - size * (count - 1))
    ends = itertools.accumulate(sizes)
    before = (slice(None),) * k
    return tuple(tensor[(*before, slice(b - a, b))] for a, b in zip(sizes, ends, strict=True))


@method
def chunk(input: Tensor, chunks: int, dim: int = 0) -> tuple[Tensor, ...]:
    """At most `chunks` views of pieces of equal size (the last may be smaller) along an axis."""
    if integer("chunk", "chunks", chunks) < 1:
        raise ValueError(f"chunk: chunks={chunks}, expected at least 1")
    length = (*input.shape, 0)[axis("chunk", dim, input.ndim)]
    return split(input, -(-length // chunks) or [0] * chunks, dim)


# --------------------------------------------------------------------------- taking


def _take(x: Array, index: Index) -> Array:
    y = x[index.views]
    return y[index.arrays] if index.arrays else y


def _put_back(dy: Array, y: None, x: Array, index: Index) -> Array | Part:
    if not index.arrays:
        return Part(dy, x.shape, index.views)
    dx = np.zeros_like(dy, shape=x.shape)
    taken = dx[index.views]
    if any(isinstance(k, np.ndarray) and k.dtype.kind != "b" for k in index.arrays):
        np.add.at(taken, index.arrays, dy)  # an element that was taken twice gets both gradients
    else:
        taken[index.arrays] = dy
    return dx


GETITEM = Op("getitem", _take, _put_back, keeps="")


@method
def __getitem__(input: Tensor, index: Any) -> Tensor:  # noqa: N807 (attached to Tensor)
    """input[index]: a view by integers, slices, None, ...; a copy by masks and integer arrays."""
    return apply(GETITEM, input, index=plain_index(index, input.ndim))


# --------------------------------------------------------------------------- memory and dtype

CONTIGUOUS = Op(
    "contiguous",
    lambda x, memory_format: (
        nchw(nhwc(x)) if memory_format == channels_last else np.ascontiguousarray(x)
    ),
    lambda dy, y, x, memory_format: dy,
    keeps="",
)
CLONE = Op("clone", lambda x: x.copy(order="K"), lambda dy, y, x: dy, keeps="")
TO = Op(
    "to",
    lambda x, dtype: x.astype(dtype),
    lambda dy, y, x, dtype: dy.astype(x.dtype),
    keeps="",
)


@method
def is_contiguous(input: Tensor, memory_format: str = contiguous_format) -> bool:
    """True if the elements lie in memory densely in logical order, or as NHWC ("channels_last")."""
    if memory_format == channels_last:
        return is_channels_last(input._data)
    if memory_format != contiguous_format:
        raise ValueError(
            f"is_contiguous: memory_format={memory_format!r}, expected {contiguous_format!r} "
            f"or {channels_last!r}"
        )
    return input._data.flags.c_contiguous


@method
def contiguous(input: Tensor, memory_format: str = contiguous_format) -> Tensor:
    """The tensor in this memory format: itself if it has it already, else a copy.

    "channels_last" is for images (N, C, H, W): the same shape, laid out in memory as NHWC.
    """
    if is_contiguous(input, memory_format):
        return input
    if memory_format == channels_last and input.ndim != 4:
        raise ValueError(f"contiguous: channels_last needs 4 axes, got shape {list(input.shape)}")
    return apply(CONTIGUOUS, input, memory_format=memory_format)


@method
def clone(input: Tensor) -> Tensor:
    """A copy, through which gradients flow."""
    return apply(CLONE, input)


def converted(op: str, input: Tensor, dtype: Any) -> Tensor:
    """`input` in this dtype; itself if it has it already, or if dtype is None."""
    if not isinstance(input, Tensor):
        raise TypeError(f"{op}: input must be a nanoconv Tensor, got {type(input).__name__}")
    if dtype is None:
        return input
    wanted = np.dtype(dtype)
    if wanted not in DTYPES:
        names = ", ".join(d.name for d in DTYPES)
        raise TypeError(f"{op}: dtype {wanted} is not supported; expected one of {names}")
    return input if wanted == input.dtype else apply(TO, input, dtype=wanted)


@method
def to(input: Tensor, dtype: Any = None, memory_format: str | None = None) -> Tensor:
    """The tensor in this dtype and memory format; itself if it has them already."""
    input = converted("to", input, dtype)
    return input if memory_format is None else contiguous(input, memory_format)


def _conversion(name: str, dtype: Any) -> Callable[[Tensor], Tensor]:
    def convert(input: Tensor) -> Tensor:
        return to(input, dtype)

    convert.__name__, convert.__doc__ = name, f"The tensor as {dtype.__name__}."
    return method(convert)


to_float: Callable[[Tensor], Tensor] = _conversion("float", np.float32)
to_double: Callable[[Tensor], Tensor] = _conversion("double", np.float64)
to_long: Callable[[Tensor], Tensor] = _conversion("long", np.int64)
