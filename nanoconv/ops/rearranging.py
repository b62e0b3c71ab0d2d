"""More ops that move numbers: flip, roll, repeat, tile, movedim, narrow, unbind, tril and triu.

    flip     y[k] = x[n − 1 − k]                     dx[k] = dy[n − 1 − k]
    roll     y[(k + s) mod n] = x[k]                 dx[k] = dy[(k + s) mod n]
    repeat   y[r·n + k] = x[k]                       dx[k] = Σ_r dy[r·n + k]
    tril     y[i, j] = x[i, j] if j ≤ i + d else 0   dx[i, j] = dy[i, j] if j ≤ i + d else 0

    shapes    y as x, but for repeat and tile (…, r·n, …) and narrow and unbind, which take a part
    cost      moving each number of y once; none for movedim, narrow and unbind, which are views

n is the length of the axis, s the shift, r a repetition, d the diagonal above which there are
zeros; triu has them below. All others are a permutation of the axes or a slice, as in `shaping.py`.

>>> import nanoconv as nc
>>> x = nc.arange(4)
>>> nc.flip(x, (0,)), nc.roll(x, 1)
(tensor([3, 2, 1, 0]), tensor([3, 0, 1, 2]))
>>> x.repeat(2)
tensor([0, 1, 2, 3, 0, 1, 2, 3])
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..dispatch import Op
from ..tensor import Array, Tensor, apply, method
from .geometry import check_output
from .shaping import axes, axis, check_countable, integer, integers, permute, transpose

# --------------------------------------------------------------------------- the other way round

FLIP = Op("flip", lambda x, dims: np.flip(x, dims), lambda dy, y, x, dims: np.flip(dy, dims), "")
ROLL = Op(
    "roll",
    lambda x, shifts, dims: np.roll(x, shifts, dims),
    lambda dy, y, x, shifts, dims: np.roll(dy, tuple(-s for s in shifts), dims),
    keeps="",
)


@method
def flip(input: Tensor, *order: Any, dims: Any = None) -> Tensor:
    """The axes `dims` from their end to their start."""
    named = integers("flip", "dims", order, dims)
    found = axes("flip", named, input.ndim, " in dims") if named else ()
    return apply(FLIP, input, dims=found)


@method
def roll(input: Tensor, shifts: Any, dims: Any = None) -> Tensor:
    """Elements moved `shifts` places along the axes `dims`; what leaves at the end enters in front.

    Without `dims`, in the flattened tensor, which then gets its shape back.
    """
    places = integers("roll", "shifts", (shifts,))
    along = () if dims is None else integers("roll", "dims", (dims,))
    if len(places) != (len(along) or 1):
        raise ValueError(
            f"roll: shifts={shifts} and dims={dims}, expected one shift for each of the dims, or "
            "one without dims"
        )
    if not along:
        return roll(input.reshape(-1), places, 0).reshape(input.shape)
    if input.ndim == 0:
        raise ValueError(f"roll: dims={dims}, expected none for a scalar")
    along = tuple(axis("roll", k, input.ndim, "dims") for k in along)
    return apply(ROLL, input, shifts=places, dims=along)


# --------------------------------------------------------------------------- several times


def _unrepeat(dy: Array, y: None, x: Array, repeats: tuple[int, ...]) -> Array:
    lengths = (1,) * (len(repeats) - x.ndim) + x.shape
    pairs = [size for pair in zip(repeats, lengths, strict=True) for size in pair]
    return dy.reshape(pairs).sum(tuple(range(0, len(pairs), 2))).reshape(x.shape)


REPEAT = Op("repeat", lambda x, repeats: np.tile(x, repeats), _unrepeat, keeps="")


def _repeated(op: str, input: Tensor, repeats: tuple[int, ...]) -> Tensor:
    lengths = (1,) * (len(repeats) - input.ndim) + input.shape
    if len(repeats) < input.ndim or any(r < 0 for r in repeats):
        raise ValueError(
            f"{op}: {list(repeats)} repetitions, expected at least {input.ndim}, none negative, "
            f"for an input of shape {list(input.shape)}"
        )
    shape = tuple(r * n for r, n in zip(repeats, lengths, strict=True))
    check_countable(op, "shape", shape, input)
    check_output(op, shape, repeats=list(repeats))
    return apply(REPEAT, input, repeats=repeats)


@method
def repeat(input: Tensor, *sizes: Any, repeats: Any = None) -> Tensor:
    """The tensor `repeats[k]` times along axis k; more of them than axes make new axes in front."""
    return _repeated("repeat", input, integers("repeat", "repeats", sizes, repeats))


@method
def tile(input: Tensor, *sizes: Any, dims: Any = None) -> Tensor:
    """As `repeat`, with 1 for the first axes where `dims` has fewer than there are."""
    times = integers("tile", "dims", sizes, dims)
    return _repeated("tile", input, (1,) * (input.ndim - len(times)) + times)


# --------------------------------------------------------------------------- axes and slices


@method
def movedim(input: Tensor, source: Any, destination: Any) -> Tensor:
    """The axes `source` in the places `destination`; all others keep their order."""
    start, end = (
        [axis("movedim", k, input.ndim, name) for k in integers("movedim", name, (value,))]
        for name, value in (("source", source), ("destination", destination))
    )
    if len(start) != len(end) or len(set(start)) < len(start) or len(set(end)) < len(end):
        raise ValueError(
            f"movedim: source={source} and destination={destination}, expected as many axes in "
            "both, none twice"
        )
    if input.ndim == 0:
        return permute(input)
    order = [k for k in range(input.ndim) if k not in start]
    for place, k in sorted(zip(end, start, strict=True)):
        order.insert(place, k)
    return permute(input, order)


@method
def swapaxes(input: Tensor, axis0: int, axis1: int) -> Tensor:
    """Another name of `transpose`."""
    return transpose(input, axis0, axis1)


@method
def moveaxis(input: Tensor, source: Any, destination: Any) -> Tensor:
    """Another name of `movedim`."""
    return movedim(input, source, destination)


@method
def swapdims(input: Tensor, dim0: int, dim1: int) -> Tensor:
    """Another name of `transpose`."""
    return transpose(input, dim0, dim1)


@method
def narrow(input: Tensor, dim: int, start: int, length: int) -> Tensor:
    """A view of the elements start, start + 1 … start + length − 1 along an axis."""
    if input.ndim == 0:
        raise ValueError("narrow: expected at least one axis, got a scalar")
    k = axis("narrow", dim, input.ndim)
    size, first = input.shape[k], integer("narrow", "start", start)
    begin, end = first + (size if first < 0 else 0), integer("narrow", "length", length)
    if not 0 <= begin <= size or not 0 <= end <= size - begin:
        raise ValueError(
            f"narrow: start={start} and length={length} do not fit the {size} elements of axis {k}"
        )
    return input[(slice(None),) * k + (slice(begin, begin + end),)]


@method
def unbind(input: Tensor, dim: int = 0) -> tuple[Tensor, ...]:
    """Views of all slices along an axis, without that axis."""
    if input.ndim == 0:
        raise ValueError("unbind: expected at least one axis, got a scalar")
    k = axis("unbind", dim, input.ndim)
    return tuple(input[(slice(None),) * k + (n,)] for n in range(input.shape[k]))


# --------------------------------------------------------------------------- triangles

TRIL = Op(
    "tril",
    lambda x, diagonal: np.tril(x, diagonal),
    lambda dy, y, x, diagonal: np.tril(dy, diagonal),
    "",
)
TRIU = Op(
    "triu",
    lambda x, diagonal: np.triu(x, diagonal),
    lambda dy, y, x, diagonal: np.triu(dy, diagonal),
    "",
)


def _triangle(op: Op, input: Tensor, diagonal: int) -> Tensor:
    if input.ndim < 2:
        raise ValueError(f"{op.name}: input has shape {list(input.shape)}, expected matrices")
    return apply(op, input, diagonal=integer(op.name, "diagonal", diagonal))


@method
def tril(input: Tensor, diagonal: int = 0) -> Tensor:
    """The lower triangle of each matrix (…, M, N); zeros above `diagonal`."""
    return _triangle(TRIL, input, diagonal)


@method
def triu(input: Tensor, diagonal: int = 0) -> Tensor:
    """The upper triangle of each matrix (…, M, N); zeros below `diagonal`."""
    return _triangle(TRIU, input, diagonal)
