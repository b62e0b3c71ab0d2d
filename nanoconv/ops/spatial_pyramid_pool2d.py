"""Spatial pyramid pooling: an image of any size to a vector of one size.

    y[n] = the cells of k×k grids over x[n], one grid after the other, k in (1, 2, 4) for instance
    y[n, start(k) + (c·k + i)·k + j] = adaptive pooling of x to k×k, at channel c and cell (i, j)

with image n, and start(k) the number of cells times C in the grids before. A linear layer needs its
input to have one size; put between it and the convolutions, which take any size, this lets a
network take images as they are. The coarse grids say what is there, the fine ones where.

    shapes    x (N, C, H, W)   y (N, C·Σ k²)
    cost      that of one adaptive pooling for each level
    gradient  the sum over the levels of the gradients of their poolings

Paper: He, Zhang, Ren, Sun, Spatial Pyramid Pooling in Deep Convolutional Networks for Visual
Recognition, arXiv 1406.4729.

>>> import nanoconv as nc
>>> x = nc.tensor([[[[1.0, 2.0, 3.0], [4.0, 5.0, 6.0], [7.0, 8.0, 9.0]]]])
>>> nc.functional.spatial_pyramid_pool2d(x, levels=(1, 2)).tolist()
[[9.0, 5.0, 6.0, 8.0, 9.0]]
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..dispatch import Op, nchw, nhwc
from ..tensor import Tensor, apply
from .adaptive_pool2d import ADAPTIVE_MAX, adaptive_pool2d_shape
from .checks import batched, check_dtypes
from .geometry import check_output, integers
from .pool2d import MAX_BACKWARD, MEAN, MEAN_BACKWARD, WINDOW_MAX, is_recorded

Array = np.ndarray
OP = "spatial_pyramid_pool2d"
MODES = ("max", "avg")


def pyramid_forward(x: Array, sides: tuple[int, ...], mode: str, indices: bool) -> Any:
    """y; or, where the gradient of maxima will want their places, (y, those of each level)."""
    x = nchw(nhwc(x))  # as compiled poolings read it: one copy for all levels
    grids = [adaptive_pool2d_shape(OP, x.shape, k) for k in sides]
    ladder = MEAN if mode == "avg" else ADAPTIVE_MAX if indices else WINDOW_MAX
    levels, places = [ladder(x, cells) for cells in grids], []
    if ladder is ADAPTIVE_MAX:
        levels, places = map(list, zip(*levels, strict=True))
    C = x.shape[1]
    rows = [y.reshape(len(x), C * k * k) for y, k in zip(levels, sides, strict=True)]
    return (np.concatenate(rows, 1), *places)


def pyramid_backward(
    dy: Array, y: Any, x: Array, sides: tuple[int, ...], mode: str, indices: bool
) -> Array:
    N, C = x.shape[:2]
    dx, start = None, 0
    for level, k in enumerate(sides):
        part = dy[:, start : start + C * k * k].reshape(N, C, k, k)
        if mode == "avg":
            grad = MEAN_BACKWARD(part, adaptive_pool2d_shape(OP, x.shape, k))
        else:
            grad = MAX_BACKWARD(part, y[1 + level], x.shape)
        dx = grad if dx is None else np.add(dx, grad, out=dx)
        start += C * k * k
    assert dx is not None
    return dx


SPATIAL_PYRAMID_POOL2D = Op(OP, pyramid_forward, pyramid_backward, keeps="")


def spatial_pyramid_pool2d(
    input: Tensor, levels: int | Sequence[int] = (1, 2, 4), mode: str = "max"
) -> Tensor:
    """`input` (N, C, H, W) pooled to k×k cells for each k of `levels`: (N, C·Σ k²).

    `mode` is "max" or "avg"; (C, H, W) gives (C·Σ k²,). ValueError for a level below 1, no level
    at all, or an image without pixels.
    """
    x, unbatch = batched(OP, input, 4)
    check_dtypes(OP, input=x)
    sides = check_pyramid(OP, levels, mode)
    if 0 in x.shape[2:]:
        raise ValueError(f"{OP}: input {list(input.shape)} has no pixels")
    check_output(OP, (*x.shape[:2], sum(k * k for k in sides)), levels=levels)
    indices = mode == "max" and is_recorded(x)
    y = apply(SPATIAL_PYRAMID_POOL2D, x, sides=sides, mode=mode, indices=indices)
    return unbatch(y[0] if indices else y)


def check_pyramid(op: str, levels: int | Sequence[int], mode: str) -> tuple[int, ...]:
    """The levels as a tuple; an error names the op or layer."""
    sides = integers(levels, 1)
    if not sides:
        raise ValueError(f"{op}: levels={levels!r}, expected integers from 1 up")
    if mode not in MODES:
        raise ValueError(f"{op}: mode={mode!r}, expected 'max' or 'avg'")
    return sides
