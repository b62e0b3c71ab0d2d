"""Adaptive pooling: an image of any size, averaged or maximised down to a grid of OH×OW cells.

    rows(i) = ⌊i·H/OH⌋ … ⌈(i+1)·H/OH⌉ − 1        cols(j) = ⌊j·W/OW⌋ … ⌈(j+1)·W/OW⌉ − 1

    average   y[n,c,i,j] = mean of x[n,c,h,w] over h in rows(i), w in cols(j)
    maximum   y[n,c,i,j] = max  of x[n,c,h,w] over h in rows(i), w in cols(j)

with image n, channel c and cell (i, j). The cells cover the image; where OH does not divide H, two
neighbours share a row, and where OH > H, rows are repeated. With OH = OW = 1 the cell is the whole
image (global pooling), so that a network's linear layers see one size whatever the image's is.

    shapes    x (N, C, H, W)   y (N, C, OH, OW)
    cost      about N·C·H·W additions or comparisons; more where cells overlap

The ladders, the gradients and the rules for equal maxima and NaN are those of `pool2d`, whose
windows these are: a mean sends its gradient to all its pixels alike, a maximum to where it was.

Papers: Lin et al., Network in Network, arXiv 1312.4400 (global); He et al., Spatial Pyramid
Pooling, arXiv 1406.4729 (cells in proportion to the image).

>>> import nanoconv as nc
>>> x = nc.tensor([[[1.0, 2.0, 3.0, 4.0, 5.0]]])
>>> nc.functional.adaptive_avg_pool2d(x, (1, 2)).tolist()  # both cells see the 3
[[[2.0, 4.0]]]
>>> y, index = nc.functional.adaptive_max_pool2d(x, (1, 2), return_indices=True)
>>> y.tolist(), index.tolist()
([[[3.0, 5.0]]], [[[2, 4]]])
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from ..dispatch import Body, Kernel, Ladder, Op, empty, is_channels_last
from ..tensor import Tensor, apply
from .checks import batched, check_dtypes
from .geometry import check_output, pair
from .pool2d import (
    MAX_BACKWARD,
    MEAN,
    MEAN_BACKWARD,
    WINDOW_MAX,
    Means,
    is_recorded,
    with_indices,
)

Array = np.ndarray


# --------------------------------------------------------------------------- shapes


def adaptive_pool2d_shape(op: str, x: tuple[int, ...], output_size: Any) -> Means:
    """The cells of x (…, H, W); None in `output_size` keeps an axis of x."""
    H, W = x[-2:]
    wanted = (H, W) if output_size is None else output_size
    if isinstance(wanted, (tuple, list)) and len(wanted) == 2:
        wanted = tuple(size if k is None else k for k, size in zip(wanted, (H, W), strict=True))
    OH, OW = pair(op, "output_size", wanted, 0)
    if 0 in (H, W):
        raise ValueError(f"{op}: input {list(x)} has no pixels")
    check_output(op, (*x[:-2], OH, OW), output_size=(OH, OW))
    return cells(H, W, OH, OW)


@lru_cache(maxsize=4096)
def cells(H: int, W: int, OH: int, OW: int) -> Means:
    """OH×OW cells over an image of H×W pixels."""
    rows, cols = (
        np.stack([np.arange(out) * size // out, -(-np.arange(1, out + 1) * size // out)], 1)
        for size, out in ((H, OH), (W, OW))
    )
    area = np.outer(*(np.diff(spans)[:, 0].astype(np.float64) for spans in (rows, cols)))
    return Means(H, W, rows, cols, area)


# --------------------------------------------------------------------------- the literal loops


def adaptive_max_pool2d_loops(y, index, x, rows, cols, sizes):
    N, C, H, W, OH, OW = sizes
    for n in range(N):
        for c in range(C):
            for i in range(OH):
                for j in range(OW):
                    best = -1
                    for h in range(rows[i, 0], rows[i, 1]):
                        for w in range(cols[j, 0], cols[j, 1]):
                            value = x[n, c, h, w]
                            if best < 0 or value > y[n, c, i, j] or value != value:
                                y[n, c, i, j] = value
                                best = h * W + w
                    index[n, c, i, j] = best


# --------------------------------------------------------------------------- the NumPy reference


def adaptive_max_pool2d_forward(x: Array, cells: Means) -> tuple[Array, Array]:
    y = empty((*x.shape[:2], *cells.area.shape), x.dtype, is_channels_last(x))
    index = np.empty_like(y, np.int64)
    for i, (h0, h1) in enumerate(cells.rows):
        for j, (w0, w1) in enumerate(cells.cols):
            pixels = x[:, :, h0:h1, w0:w1].reshape(*x.shape[:2], (h1 - h0) * (w1 - w0))
            k = last_nan_or_first_maximum(pixels)
            y[:, :, i, j] = np.take_along_axis(pixels, k[..., None], -1)[..., 0]
            index[:, :, i, j] = (h0 + k // (w1 - w0)) * cells.W + w0 + k % (w1 - w0)
    return y, index


def last_nan_or_first_maximum(pixels: Array) -> Array:
    """Where along the last axis `pool2d` says that the maximum is."""
    nan = np.isnan(pixels)
    last = pixels.shape[-1] - 1 - nan[..., ::-1].argmax(-1)
    return np.where(nan.any(-1), last, pixels.argmax(-1))


# --------------------------------------------------------------------------- the ladder


def call_max(body: Body, x: Array, cells: Means) -> tuple[Array, Array]:
    shape = (*x.shape[:2], *cells.area.shape)
    y, index = body.empty(shape, x.dtype), body.empty(shape, np.int64)
    outputs, sizes = (body.image(y), body.image(index)), (*x.shape, *shape[2:])
    body(*outputs, body.image(x), cells.rows, cells.cols, sizes=sizes)
    return y, index


ADAPTIVE_MAX = Ladder(
    "adaptive_max_pool2d.forward",
    reference=adaptive_max_pool2d_forward,
    kernels=[
        Kernel("cython.direct", "pool_cy:window_max_f32"),
        Kernel("numba.direct", "pool_nb:window_max_f32"),
        Kernel("numba.loops", "jit"),
    ],
    call=call_max,
    loops=adaptive_max_pool2d_loops,
)
ADAPTIVE_MAX_POOL2D = Op(
    "adaptive_max_pool2d",
    forward=lambda x, cells, indices: (ADAPTIVE_MAX if indices else WINDOW_MAX)(x, cells),
    vjp=lambda dy, y_and_index, x, cells, indices: MAX_BACKWARD(dy, y_and_index[1], x.shape),
    keeps="",
)
ADAPTIVE_AVG_POOL2D = Op(
    "adaptive_avg_pool2d",
    forward=lambda x, cells: MEAN(x, cells),
    vjp=lambda dy, y, x, cells: MEAN_BACKWARD(dy, cells),
    keeps="",
)


# --------------------------------------------------------------------------- the public functions


def adaptive_avg_pool2d(input: Tensor, output_size: Any) -> Tensor:
    """`input` (N, C, H, W) or (C, H, W) averaged down, or repeated, to `output_size`.

    As torch.nn.functional.adaptive_avg_pool2d: an int or a pair, whose None keeps that axis.
    ValueError for a negative size or an image without pixels.
    """
    x, unbatch = batched("adaptive_avg_pool2d", input, 4)
    check_dtypes("adaptive_avg_pool2d", input=x)
    cells = adaptive_pool2d_shape("adaptive_avg_pool2d", input.shape, output_size)
    return unbatch(apply(ADAPTIVE_AVG_POOL2D, x, cells=cells))


def adaptive_max_pool2d(input: Tensor, output_size: Any, return_indices: bool = False) -> Any:
    """The maximum of each cell of a grid of `output_size` over `input` (N, C, H, W) or (C, H, W).

    As torch.nn.functional.adaptive_max_pool2d: an int or a pair, whose None keeps that axis. With
    `return_indices` also the position h·W + w of each maximum in its image. ValueError for a
    negative size or an image without pixels.
    """
    x, unbatch = batched("adaptive_max_pool2d", input, 4)
    check_dtypes("adaptive_max_pool2d", input=x)
    cells = adaptive_pool2d_shape("adaptive_max_pool2d", input.shape, output_size)
    indices = return_indices or is_recorded(x)
    result = apply(ADAPTIVE_MAX_POOL2D, x, cells=cells, indices=indices)
    return with_indices(result, unbatch, return_indices)


def global_avg_pool2d(input: Tensor) -> Tensor:
    """The mean of every channel of `input` (N, C, H, W) or (C, H, W): gives (N, C, 1, 1).

    What adaptive_avg_pool2d gives for output_size 1; it ends nearly every convolutional network.
    """
    return adaptive_avg_pool2d(input, 1)
