"""Padding: a border around the input, of one value or made of the input itself.

Along one axis of n numbers, with `a` new ones before it and `b` after it,

    y[i] = x[source(i − a)]        0 ≤ i < n + a + b

where only the positions t = i − a outside of 0 … n − 1 are a matter of the mode:

    constant     none, y[i] = value              v v|1 2 3 4|v v
    reflect      |t|, and 2·(n − 1) − t behind   3 2|1 2 3 4|3 2      the edge is not repeated
    replicate    the nearest: 0 or n − 1         1 1|1 2 3 4|4 4
    circular     t mod n                         3 4|1 2 3 4|1 2

A negative width takes numbers away. reflect and replicate still read the whole input; circular goes
round what is left of it. Several axes are padded one after the other, in any order.

    shapes    x (…, n, …)   y (…, n + a + b, …)
    cost      moving the numbers of y

A number went to every place that reads it, so its gradient is the sum of what comes back:

    dx[k] = Σ_{i: source(i − a) = k} dy[i]

An axis falls into a few runs of y which each read a slice of x: forwards, backwards, or one number
again and again. Both directions walk over these runs: y is put together from the blocks that the
runs of all axes make, each written once; dx is folded up along one axis after the other.

>>> import nanoconv as nc
>>> x = nc.tensor([[1.0, 2.0, 3.0, 4.0]])
>>> nc.functional.pad(x, (2, 1), mode="reflect")
tensor([[3., 2., 1., 2., 3., 4., 3.]])
>>> nc.functional.pad(x, (1, -2), mode="circular")
tensor([[2., 1., 2.]])
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from ..dispatch import Op
from ..tape import fit
from ..tensor import Tensor, apply, operand
from .geometry import LARGEST, check_output
from .shaping import integers

Array = np.ndarray
Widths = tuple[tuple[int, int], ...]  # (before, after) for each axis
MODES = ("constant", "reflect", "replicate", "circular")
SHORT = 8  # lines: NumPy adds so few quicker one by one
RANKS = {2: (2, 3), 4: (3, 4), 6: (4, 5)}  # widths: the numbers of axes, but for "constant"


# --------------------------------------------------------------------------- one axis


def runs(n: int, a: int, b: int, mode: str) -> list[tuple[slice, slice]]:
    """The slices of an axis of y, each with the slice of the axis of x that it reads."""
    inside = max(-a, 0), min(n, n + b)
    found = [(slice(inside[0] + a, inside[1] + a), slice(*inside))]  # t = i − a is inside
    if mode == "circular":
        found += around(*inside, -a, inside[0], a)
        found += around(*inside, inside[1], n + b, a)
    elif mode != "constant":
        first, last = min(0, n + b), max(n, -a)
        if mode == "reflect":
            stop = 2 * (n - 1) - (n + b)
            before, after = slice(a, -first, -1), slice(2 * (n - 1) - last, max(stop, 0), -1)
            if stop < 0:  # down to 0; as an end, -1 would be the last one
                after = slice(after.start, None, -1)
        else:
            before, after = slice(0, 1), slice(n - 1, n)
        found += [(slice(0, first + a), before)] * (-a < first)
        found += [(slice(last + a, n + b + a), after)] * (last < n + b)
    return found if inside[0] < inside[1] else found[1:]


def around(low: int, high: int, t: int, end: int, a: int) -> Iterator[tuple[slice, slice]]:
    """The runs of the positions t … end − 1, when x goes round from low to high − 1."""
    while t < end:
        source = low + (t - low) % (high - low)
        length = min(end - t, high - source)
        yield slice(t + a, t + a + length), slice(source, source + length)
        t += length


@lru_cache(maxsize=1024)
def blocks(shape: tuple[int, ...], widths: Widths, mode: str) -> list[tuple[tuple, tuple]]:
    """The same for all axes at once: indices of y, each with the index of x that it reads."""
    along = [runs(n, a, b, mode) for n, (a, b) in zip(shape, widths, strict=True)]
    return [
        (tuple(to for to, _ in block), tuple(source for _, source in block))
        for block in itertools.product(*along)
    ]


# --------------------------------------------------------------------------- all axes


def pad_forward(x: Array, widths: Widths, mode: str, value: Any) -> Array:
    shape = tuple(n + a + b for n, (a, b) in zip(x.shape, widths, strict=True))
    y = np.empty_like(x, shape=shape)
    if mode == "constant":
        y.fill(value)
    for to, source in blocks(x.shape, widths, mode):
        y[to] = x[source]
    return y


def pad_backward(dy: Array, shape: tuple[int, ...], widths: Widths, mode: str) -> Array:
    for axis, (n, (a, b)) in enumerate(zip(shape, widths, strict=True)):
        if a or b:
            dy = folded(dy, axis, n, a, b, mode)
    return dy


def folded(dy: Array, axis: int, n: int, a: int, b: int, mode: str) -> Array:
    """The gradient by what one axis read: what was inside is moved, the borders are added to it."""
    dx = np.empty_like(dy, shape=(*dy.shape[:axis], n, *dy.shape[axis + 1 :]))
    found = runs(n, a, b, mode)
    if min(a, b) < 0:  # not all of x was inside
        dx.fill(0)
    elif found:
        to, _ = found.pop(0)
        dx[...] = dy[along(axis, to)]
    for to, source in found:
        lines, read = range(n + a + b)[to], range(n)[source]
        if len(lines) > SHORT:
            part = dx[along(axis, source)]
            part += fit(dy[along(axis, to)], part.shape)
        else:
            for i, k in zip(lines, itertools.cycle(read), strict=False):  # `read` may be one
                dx[along(axis, k)] += dy[along(axis, i)]
    return dx


def along(axis: int, part: slice | int) -> tuple[slice | int, ...]:
    """The index of this part of an axis."""
    return (*[slice(None)] * axis, part)


PAD = Op(
    "pad",
    pad_forward,
    lambda dy, y, x, widths, mode, value: pad_backward(dy, x.shape, widths, mode),
    keeps="",
)


# --------------------------------------------------------------------------- the public function


@lru_cache(maxsize=1024)
def pad_widths(shape: tuple[int, ...], flat: tuple[int, ...], mode: str) -> Widths:
    """Check `pad` for an input of this shape; returns (before, after) for each axis."""
    if len(flat) % 2 or len(flat) > 2 * len(shape):
        raise ValueError(
            f"pad: pad={list(flat)}, expected two widths for each of at most {len(shape)} axes"
        )
    if mode != "constant" and len(shape) not in RANKS.get(len(flat), ()):
        raise ValueError(
            f"pad: pad={list(flat)} and an input of shape {list(shape)}, but mode={mode!r} "
            "expected 2 widths for 2 or 3 axes, 4 for 3 or 4, or 6 for 4 or 5"
        )
    widths = [(0, 0)] * (len(shape) - len(flat) // 2)
    widths += list(zip(flat[::2], flat[1::2], strict=True))[::-1]
    for n, (a, b) in zip(shape, widths, strict=True):
        left = n + min(a, 0) + min(b, 0)
        if (n + a + b if mode in ("reflect", "replicate") else left) < 0:
            raise ValueError(f"pad: pad={list(flat)} crops more than shape {list(shape)} has")
        most = LARGEST
        if mode != "constant":  # what there is to read
            most = {"reflect": max(n - 1, 0), "circular": n if left else 0}.get(mode, n and LARGEST)
        if max(a, b, 0) > most:
            raise ValueError(
                f"pad: pad={list(flat)} with mode={mode!r}, expected at most {most} for an axis of "
                f"{n} in shape {list(shape)}"
            )
    padded = tuple(n + a + b for n, (a, b) in zip(shape, widths, strict=True))
    check_output("pad", padded, pad=list(flat))
    return tuple(widths)


def pad(
    input: Tensor, pad: Sequence[int], mode: str = "constant", value: float | None = None
) -> Tensor:
    """A border around `input`: of `value` (default 0), or of the input's own numbers.

    As torch.nn.functional.pad, `pad` starts at the last axis: (left, right, top, bottom, …), and
    negative widths crop. "constant" pads any axes; "reflect", "replicate" and "circular" the last
    one, two or three of a tensor that has one or two axes more. Reflected and circular borders are
    limited by what there is to read.

    >>> nc.functional.pad(nc.ones(1, 2), (1, 0, 0, 1))
    tensor([[0., 1., 1.],
            [0., 0., 0.]])

    Unlike PyTorch: in circular mode, widths that crop an axis away and extend it on the other side
    are refused; where a width exceeds what cropping has left, the rest goes round as often as it
    takes.
    """
    if not isinstance(input, Tensor):
        raise TypeError(f"pad: input must be a nanoconv Tensor, got {type(input).__name__}")
    if mode not in MODES:
        raise ValueError(f"pad: mode={mode!r}, expected one of {', '.join(map(repr, MODES))}")
    widths = pad_widths(input.shape, integers("pad", "pad", (pad,)), mode)
    if mode != "constant" and value:
        raise ValueError(f"pad: value={value!r} with mode={mode!r}, expected None")
    fill = input.dtype.type(0)
    if not (value is None or isinstance(value, (bool, int, float, np.generic, Tensor))):
        raise TypeError(f"pad: value={value!r}, expected a number")
    if value is not None and mode == "constant":
        fill = operand(value, input, "pad").item()
    return apply(PAD, input, widths=widths, mode=mode, value=fill)
