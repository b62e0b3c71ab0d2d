"""unfold: the windows of an image as the columns of a matrix, and fold, which adds them up again.

    y[n, (c·KH + u)·KW + v, i·OW + j] = x[n, c, i·s + u·d − p, j·s + v·d − p]     0 outside of it

with the letters of `conv2d`: column (i, j) holds what that output pixel sees. The numbers are those
of `im2col` in PyTorch's order of axes, where the pixel is innermost: a convolution is then the
matrix product w · y, with w as (O, C·KH·KW). Each row is one plane of the image, shifted by a tap,
so all copies are long and NumPy's are fast.

    shapes    x (N, C, H, W)   y (N, C·KH·KW, OH·OW)
    cost      moving N·C·KH·KW · OH·OW numbers

fold is the transpose of unfold, and each is the gradient of the other: what came from one pixel is
added up there.

    x[n, c, h, w] = Σ_{(i,u): i·s+u·d−p=h, (j,v): j·s+v·d−p=w} y[n, (c·KH + u)·KW + v, i·OW + j]

Where no windows overlap, fold puts together what unfold took apart; elsewhere it counts a pixel as
often as windows see it. Paper: see `im2col`. Two windows of 1×2 pixels, one for each column:

>>> import nanoconv as nc
>>> y = nc.functional.unfold(nc.tensor([[[[1.0, 2.0, 3.0]]]]), (1, 2))
>>> y
tensor([[[1., 2.],
         [2., 3.]]])
>>> nc.functional.fold(y, (1, 3), (1, 2))  # 2 was seen twice
tensor([[[[1., 4., 3.]]]])
"""

from __future__ import annotations

import math

import numpy as np

from ..dispatch import Op
from ..tensor import Tensor, apply
from .checks import batched, check_dtypes
from .geometry import Geometry, check_output, pair
from .im2col import im2col_shape

Array = np.ndarray


def unfold_forward(x: Array, geo: Geometry) -> Array:
    xp = geo.padded(x)
    y = np.empty((geo.N, geo.C, geo.KH, geo.KW, geo.OH, geo.OW), x.dtype)
    for u, v in geo.taps():
        y[:, :, u, v] = xp[geo.tap(u, v)]
    return y.reshape(geo.N, geo.C * geo.KH * geo.KW, geo.OH * geo.OW)


def fold_forward(y: Array, geo: Geometry) -> Array:
    y = y.reshape(geo.N, geo.C, geo.KH, geo.KW, geo.OH, geo.OW)
    xp = geo.padded(np.zeros(geo.x_shape, y.dtype))
    for u, v in geo.taps():  # every tap sends its numbers back to where it read
        xp[geo.tap(u, v)] += y[:, :, u, v]
    return geo.unpad(xp)  # (N, C, H, W)


UNFOLD = Op(
    "unfold",
    unfold_forward,
    lambda dy, y, x, geo: fold_forward(dy, geo),
    keeps="",
)
FOLD = Op(
    "fold",
    fold_forward,
    lambda dx, x, y, geo: unfold_forward(dx, geo),
    keeps="",
)


def unfold(
    input: Tensor,
    kernel_size: int | tuple[int, int],
    dilation: int | tuple[int, int] = 1,
    padding: int | tuple[int, int] = 0,
    stride: int | tuple[int, int] = 1,
) -> Tensor:
    """The windows of `input` (N, C, H, W) as the columns of (N, C·KH·KW, OH·OW).

    As torch.nn.functional.unfold; (C, H, W) gives (C·KH·KW, OH·OW). ValueError where a window does
    not fit.
    """
    x, unbatch = batched("unfold", input, 4)
    check_dtypes("unfold", input=x)
    sides = pair("unfold", "padding", padding, 0)
    geo = im2col_shape("unfold", x.shape, kernel_size, stride, sides, dilation)
    shape = geo.N, geo.C * geo.KH * geo.KW, geo.OH * geo.OW
    check_output("unfold", shape, kernel_size=kernel_size, padding=padding, stride=stride)
    return unbatch(apply(UNFOLD, x, geo=geo))


def fold(
    input: Tensor,
    output_size: int | tuple[int, int],
    kernel_size: int | tuple[int, int],
    dilation: int | tuple[int, int] = 1,
    padding: int | tuple[int, int] = 0,
    stride: int | tuple[int, int] = 1,
) -> Tensor:
    """The image (N, C, H, W) whose pixels are the sums of their copies in `input`, as of `unfold`.

    As torch.nn.functional.fold: (H, W) is `output_size`, and (C·KH·KW, OH·OW) gives (C, H, W).
    ValueError where unfolding that would not give an `input` of this shape.
    """
    y, unbatch = batched("fold", input, 3)
    check_dtypes("fold", input=y)
    H, W = pair("fold", "output_size", output_size, 1)
    taps = math.prod(pair("fold", "kernel_size", kernel_size, 1))
    N, rows, columns = y.shape
    if rows % taps or rows == 0:
        raise ValueError(
            f"fold: input has shape {list(input.shape)}, expected a multiple of the {taps} taps of "
            f"kernel_size={kernel_size!r} as its last axis but one"
        )
    check_output("fold", (N, rows // taps, H, W), output_size=output_size)
    sides = pair("fold", "padding", padding, 0)
    geo = im2col_shape("fold", (N, rows // taps, H, W), kernel_size, stride, sides, dilation)
    if columns != geo.OH * geo.OW:
        raise ValueError(
            f"fold: input has shape {list(input.shape)}, expected {geo.OH}·{geo.OW} columns for an "
            f"image {[H, W]} with this kernel_size, dilation, padding and stride"
        )
    return unbatch(apply(FOLD, y, geo=geo))
