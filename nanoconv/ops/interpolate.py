"""Interpolation: an image in another size.

    y[n,c,i,j] = Σ_h Σ_w A[i,h] · B[j,w] · x[n,c,h,w]        for each channel:  y = A·x·Bᵀ

n image, c channel, (h, w) input pixel, (i, j) output pixel. A (OH×H) says how each output row is
mixed from input rows, B (OW×W) the same of columns, and a row of either has few entries, its taps:

    nearest    1 tap,  1 at ⌊i·H/OH⌋
    bilinear   2 taps, 1 − t at h and t at h + 1,        h = ⌊p⌋, t = p − h
    bicubic    4 taps, k(1 + t), k(t), k(1 − t), k(2 − t) at h − 1 … h + 2

where p is the place among the input rows of output row i. A pixel is a square with its value in the
middle, or, with `align_corners`, a point, and then the outermost points stay where they are:

    p = (i + ½)·H/OH − ½        or        p = i·(H − 1)/(OH − 1)

A given `scale_factor` takes the place of OH/H in ⌊i·H/OH⌋ and the first p, unless
`recompute_scale_factor`. "area" is no mixing of taps but the mean over the pixels of a cell, that
is adaptive_avg_pool2d(x, (OH, OW)).

"nearest" measures from the upper edge of row i, "nearest-exact" from its middle. Rows outside of
the image are those at its border. k is the cubic of Keys with a = −¾, k(s) = (a + 2)s³ − (a + 3)s²
+ 1 up to s = 1 and a(s³ − 5s² + 8s − 4) from there to 2: it is 1 at 0 and 0 at 1 and 2, so that
the curve goes through all pixels, and smoothly.

    shapes   x (N, C, H, W)   y (N, C, OH, OW)
    cost     T·N·C·OH·(W + OW) multiply-adds with T taps: A first, a row at a time, then B

The gradient takes each tap backwards, dx = Aᵀ·dy·B: the same computation with transposed taps.

    dx[n,c,h,w] = Σ_i Σ_j A[i,h] · B[j,w] · dy[n,c,i,j]

Paper: Keys, Cubic Convolution Interpolation for Digital Image Processing, IEEE TASSP 29, 1981.

>>> import nanoconv as nc
>>> x = nc.tensor([[[[0.0, 4.0]]]], requires_grad=True)
>>> nc.functional.interpolate(x, size=(1, 4)).tolist()
[[[[0.0, 0.0, 4.0, 4.0]]]]
>>> y = nc.functional.interpolate(x, size=(1, 4), mode="bilinear")
>>> y.tolist()  # the middles of the four lie at −¼ (so at the border, 0), ¼, ¾ and 1¼ (so 1)
[[[[0.0, 1.0, 3.0, 4.0]]]]
>>> y[0, 0, 0, 1].backward()
>>> x.grad.tolist()
[[[[0.75, 0.25]]]]
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np

from ..dispatch import Body, Kernel, Ladder, Op, empty, is_channels_last
from ..tensor import Tensor, apply
from .adaptive_pool2d import adaptive_avg_pool2d
from .checks import check_dtypes
from .geometry import LARGEST, check_output
from .shaping import integer, squeeze, unsqueeze

Array = np.ndarray
NEAREST = ("nearest", "nearest-exact")
MODES = {3: (*NEAREST, "linear", "area"), 4: (*NEAREST, "bilinear", "bicubic", "area")}  # by axes
A = -0.75  # of the cubic
FEW = 8  # channels: with fewer, vectors along a row are longer than vectors of channels


# --------------------------------------------------------------------------- where to read


@dataclass(frozen=True, eq=False)
class Taps:
    """A sparse matrix: row i has weight[k] in column index[k], start[i] ≤ k < start[i + 1]."""

    columns: int
    start: Array
    index: Array
    weight: Array

    @property
    def rows(self) -> int:
        return len(self.start) - 1

    @cached_property
    def transposed(self) -> Taps:
        row = np.repeat(np.arange(self.rows), np.diff(self.start))
        order = np.argsort(self.index, kind="stable")
        start = np.searchsorted(self.index[order], np.arange(self.columns + 1))
        return Taps(self.rows, start.astype(np.int64), row[order], self.weight[order])

    @property
    def arrays(self) -> tuple[Array, Array, Array]:
        return self.start, self.index, self.weight


def cubic(t: Array) -> list[Array]:
    """k at the distances 1 + t, t, 1 − t and 2 − t."""
    a = t.dtype.type(A)

    def near(s: Array) -> Array:
        return ((a + 2) * s - (a + 3)) * s * s + 1

    def far(s: Array) -> Array:
        return ((a * s - 5 * a) * s + 8 * a) * s - 4 * a

    return [far(1 + t), near(t), near(1 - t), far(2 - t)]


@lru_cache(maxsize=4096)
def interpolation_taps(
    mode: str, size: int, out: int, scale: float | None, align_corners: bool, dtype: np.dtype
) -> Taps:
    """The matrix A of one axis, `size` pixels to `out`, rounded wherever PyTorch rounds.

    `scale` takes the place of out / size. PyTorch's positions are of x's dtype, those of the
    nearest pixel always float32, and products are fused with sums, which float64 does for float32.
    """
    float_ = np.dtype(np.float32 if mode in NEAREST else dtype).type
    i = np.arange(out)
    step = float_(1 / scale) if scale else float_(size) / float_(out)
    if mode in NEAREST:
        places = i.astype(float_) + float_(0.5 if mode == "nearest-exact" else 0)
        h = np.minimum(np.floor(places * step).astype(np.int64), size - 1)
        if mode == "nearest" and out in (size, 2 * size):  # exact, whatever the scale says
            h = i // (out // size)
        return _taps(size, [h], [np.ones(out, dtype)])
    linear = mode != "bicubic"
    if linear and size == out:
        return _taps(size, [i, i], [np.ones(out, dtype), np.zeros(out, dtype)])
    if align_corners:
        step = float_(size - 1) / float_(out - 1) if out > 1 else float_(0)
        p = (np.float64(step) * i).astype(dtype)
    else:
        p = (np.float64(step) * (i + 0.5) - 0.5).astype(dtype)
    p = np.maximum(p, 0) if linear and not align_corners else p
    h = np.minimum(np.floor(p.astype(np.float32)).astype(np.int64), size - 1)
    t = np.clip(p - h.astype(dtype), 0, 1).astype(dtype)
    if linear:
        return _taps(size, [h, np.minimum(h + 1, size - 1)], [1 - t, t])
    return _taps(size, [np.clip(h + k, 0, size - 1) for k in (-1, 0, 1, 2)], cubic(t))


def _taps(size: int, index: list[Array], weight: list[Array]) -> Taps:
    start = np.arange(len(index[0]) + 1) * len(index)
    return Taps(size, start, np.stack(index, 1).reshape(-1), np.stack(weight, 1).reshape(-1))


def taps_of(
    x: Array,
    mode: tuple[str, str],
    size: tuple[int, int],
    scale: tuple[float | None, float | None],
    align_corners: bool,
) -> tuple[Taps, Taps]:
    """A and B."""
    dtype = np.dtype(x.dtype)
    axes = zip(mode, x.shape[2:], size, scale, strict=True)
    rows, cols = (interpolation_taps(*axis, align_corners, dtype) for axis in axes)
    return rows, cols


# --------------------------------------------------------------------------- the literal loops


def interpolate_loops(
    y, x, row_start, row_index, row_weight, col_start, col_index, col_weight, sizes
):
    N, C, H, W, OH, OW = sizes
    for n in range(N):
        for c in range(C):
            for i in range(OH):
                for j in range(OW):
                    total = x.dtype.type(0)
                    for a in range(row_start[i], row_start[i + 1]):
                        for b in range(col_start[j], col_start[j + 1]):
                            pixel = x[n, c, row_index[a], col_index[b]]
                            total += row_weight[a] * col_weight[b] * pixel
                    y[n, c, i, j] = total


# --------------------------------------------------------------------------- the NumPy reference


def _mixed(x: Array, taps: Taps) -> Array:
    """The last axis mixed: the first tap of every output, then the second …"""
    y = np.zeros((*x.shape[:-1], taps.rows), x.dtype)
    counts = np.diff(taps.start)
    for k in range(int(counts.max(initial=0))):
        having = np.flatnonzero(counts > k)
        tap = taps.start[having] + k
        y[..., having] += x[..., taps.index[tap]] * taps.weight[tap]
    return y


def interpolate_forward(x: Array, rows: Taps, cols: Taps) -> Array:
    y = empty((*x.shape[:2], rows.rows, cols.rows), x.dtype, is_channels_last(x))
    y[...] = _mixed(_mixed(x.swapaxes(2, 3), rows).swapaxes(2, 3), cols)
    return y


# --------------------------------------------------------------------------- the ladder


def call(body: Body, x: Array, rows: Taps, cols: Taps) -> Array:
    shape = (*x.shape[:2], rows.rows, cols.rows)
    planes = x.flags.c_contiguous and not is_channels_last(x)
    if planes and x.shape[1] < FEW and body.kind != "loops":
        y = empty(shape, x.dtype)  # each plane is an image of its own, and no copy is needed
        yk, xk = (a.reshape(a.shape[0] * a.shape[1], *a.shape[2:], 1) for a in (y, x))
        sizes = (len(xk), 1, *x.shape[2:], *shape[2:])
    else:
        y = body.empty(shape, x.dtype)
        yk, xk, sizes = body.image(y), body.image(x), (*x.shape, *shape[2:])
    body(yk, xk, *rows.arrays, *cols.arrays, sizes=sizes)
    return y


LADDER = Ladder(
    "interpolate",
    reference=interpolate_forward,
    kernels=[
        Kernel("cython.lines", "interpolate_cy:interpolate_f32"),
        Kernel("numba.lines", "interpolate_nb:interpolate_f32"),
        Kernel("numba.loops", "jit"),
    ],
    call=call,
    loops=interpolate_loops,
)
INTERPOLATE = Op(
    "interpolate",
    forward=lambda x, **attrs: LADDER(x, *taps_of(x, **attrs)),
    vjp=lambda dy, y, x, **attrs: LADDER(dy, *(taps.transposed for taps in taps_of(x, **attrs))),
    keeps="",
)


# --------------------------------------------------------------------------- the public function


def _list(name: str, value: Any, axes: int) -> tuple:
    """One value for all axes, or one for each."""
    if not isinstance(value, (tuple, list)):
        return (value,) * axes
    if len(value) != axes:
        raise ValueError(
            f"interpolate: {name}={value} has {len(value)} values, expected one or {axes}, "
            "one for each axis of the image"
        )
    return tuple(value)


def _scale(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float, np.number)):
        raise TypeError(f"interpolate: scale_factor={value!r}, expected a number or one per axis")
    if not 0 < value < math.inf:
        raise ValueError(f"interpolate: scale_factor={value}, expected a positive, finite number")
    return float(value)


def interpolate(
    input: Tensor,
    size: int | Sequence[int] | None = None,
    scale_factor: float | Sequence[float] | None = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
    recompute_scale_factor: bool | None = None,
    antialias: bool = False,
) -> Tensor:
    """The images `input` (N, C, H, W) in the size `size`, or ⌊scale_factor · their size⌋.

    As torch.nn.functional.interpolate: `mode` is "nearest", "nearest-exact", "bilinear", "bicubic"
    or "area" (adaptive_avg_pool2d); of lines (N, C, W) "linear" in the place of the bi-modes. A
    `scale_factor` also says where the pixels lie, unless `recompute_scale_factor` asks for the
    ratio of the sizes. ValueError for what does not fit together, and for `antialias`.

    Unlike PyTorch: antialias=True, volumes (5 axes) and integer tensors are refused. Where PyTorch
    picks one of two neighbours by the size and format of the image, this is the same for all: with
    "nearest" an output of the input's size or its double is a copy or has every pixel twice,
    whatever `scale_factor` says; with "nearest-exact" a place on the edge of two pixels is rounded
    in float32.
    """
    check_dtypes("interpolate", input=input)
    if input.ndim not in MODES:
        raise ValueError(
            f"interpolate: input has shape {list(input.shape)}, expected (N, C, H, W) or (N, C, W)"
        )
    if mode not in MODES[input.ndim]:
        raise ValueError(
            f"interpolate: mode={mode!r}, expected one of {', '.join(MODES[input.ndim])} "
            f"for an input of {input.ndim} axes"
        )
    if antialias:
        raise ValueError("interpolate: antialias=True is not supported, expected False")
    if align_corners is not None and mode in (*NEAREST, "area"):
        raise ValueError(
            f"interpolate: align_corners={align_corners} has no meaning for mode={mode!r}, "
            "expected None"
        )
    if (size is None) == (scale_factor is None):
        raise ValueError(
            f"interpolate: size={size} and scale_factor={scale_factor}, expected one of them"
        )
    if size is not None and recompute_scale_factor:
        raise ValueError(f"interpolate: recompute_scale_factor has no meaning for size={size}")
    image = input.shape[2:]
    scales: tuple[float | None, ...] = (None,) * len(image)
    if size is not None:
        wanted = tuple(integer("interpolate", "size", k) for k in _list("size", size, len(image)))
    else:
        factors = tuple(map(_scale, _list("scale_factor", scale_factor, len(image))))
        wanted = tuple(math.floor(n * factor) for n, factor in zip(image, factors, strict=True))
        scales = scales if recompute_scale_factor else factors
    if min(*wanted, *input.shape[1:]) < 1:
        raise ValueError(
            f"interpolate: input of shape {list(input.shape)} to the size {list(wanted)}: "
            "expected at least one channel, and one pixel in each direction"
        )
    modes = (mode, mode)
    if input.ndim == 3:  # a line is an image of one row, which stays as it is
        input, wanted, scales = unsqueeze(input, 2), (1, *wanted), (None, *scales)
        modes = ("nearest", mode)
    check_output("interpolate", (*input.shape[:2], *wanted), size=wanted)
    if max(wanted) > LARGEST:
        raise ValueError(f"interpolate: size={list(wanted)}, expected at most {LARGEST} per axis")
    if mode == "area":
        y = adaptive_avg_pool2d(input, wanted)
    else:
        attrs = {"size": wanted, "scale": scales, "align_corners": bool(align_corners)}
        y = apply(INTERPOLATE, input, mode=modes, **attrs)
    return squeeze(y, 2) if len(image) == 1 else y
