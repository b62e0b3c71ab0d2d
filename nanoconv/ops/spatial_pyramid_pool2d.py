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

from ..tensor import Tensor
from .adaptive_pool2d import adaptive_avg_pool2d, adaptive_max_pool2d
from .checks import batched, check_dtypes
from .geometry import check_output, integers
from .shaping import cat, channels_last, contiguous, flatten

POOLS = {"max": adaptive_max_pool2d, "avg": adaptive_avg_pool2d}


def spatial_pyramid_pool2d(
    input: Tensor, levels: int | Sequence[int] = (1, 2, 4), mode: str = "max"
) -> Tensor:
    """`input` (N, C, H, W) pooled to k×k cells for each k of `levels`: (N, C·Σ k²).

    `mode` is "max" or "avg"; (C, H, W) gives (C·Σ k²,). ValueError for a level below 1, no level
    at all, or an image without pixels.
    """
    x, unbatch = batched("spatial_pyramid_pool2d", input, 4)
    check_dtypes("spatial_pyramid_pool2d", input=x)
    sides = check_pyramid("spatial_pyramid_pool2d", levels, mode)
    if 0 in x.shape[2:]:
        raise ValueError(f"spatial_pyramid_pool2d: input {list(input.shape)} has no pixels")
    cells = sum(k * k for k in sides)
    check_output("spatial_pyramid_pool2d", (*x.shape[:2], cells), levels=levels)
    x = contiguous(x, channels_last)  # as compiled poolings read it: one copy for all levels
    return unbatch(cat([flatten(POOLS[mode](x, k), 1) for k in sides], 1))


def check_pyramid(op: str, levels: int | Sequence[int], mode: str) -> tuple[int, ...]:
    """The levels as a tuple; an error names the op or layer."""
    sides = integers(levels, 1)
    if not sides:
        raise ValueError(f"{op}: levels={levels!r}, expected integers from 1 up")
    if mode not in POOLS:
        raise ValueError(f"{op}: mode={mode!r}, expected 'max' or 'avg'")
    return sides
