"""im2col: what every output pixel of a convolution sees, written out as one row of a matrix.

    cols[n,i,j,g,u,v,c] = x[n, g·C/G + c, i·s + u·d − p, j·s + v·d − p]      0 outside of the image

with the letters of `conv2d`. Row (n, i, j) of group g holds the KH·KW·C/G numbers which that output
pixel multiplies with the weights, so the convolution has become a matrix product, the best studied
computation of all:

    y[n, o, i, j] = b[o] + Σ_k cols[(n,i,j), g, k] · w[o, k],     k = (u, v, c)

Each input pixel is written down up to KH·KW times; that is the price. The channel c is innermost,
as in channels-last images: all channels of a tap are neighbours in the image and in the row, and
one copy moves them.

    shapes    x (N, C, H, W)   cols (N, OH, OW, G, KH, KW, C/G)
    cost      moving N·OH·OW · C·KH·KW numbers

Every number of x has gone to some places of cols; its gradient is the sum of what comes back from
them. This is `col2im`, the transpose of im2col (and not its inverse: it adds up the copies):

    dx[n, g·C/G + c, h, w] = Σ_{(i,u): i·s+u·d−p=h, (j,v): j·s+v·d−p=w} dcols[n,i,j,g,u,v,c]

and the gradient of col2im is in turn im2col. Paper: Chellapilla, Puri, Simard, High Performance
Convolutional Neural Networks for Document Processing, 2006. Two windows of 1×2 pixels:

>>> import nanoconv as nc
>>> x = nc.tensor([[[[1.0, 2.0, 3.0]]]])
>>> cols = nc.functional.im2col(x, (1, 2))
>>> cols.reshape(2, 2)
tensor([[1., 2.],
        [2., 3.]])
>>> nc.functional.col2im(cols, (1, 3), (1, 2))  # 2 was seen twice
tensor([[[[1., 4., 3.]]]])
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..dispatch import Body, Kernel, Ladder, Op, empty
from ..tensor import Tensor, apply
from .checks import check_dtypes, check_groups
from .geometry import Geometry, check_output, conv_geometry, pair

Array = np.ndarray


# --------------------------------------------------------------------------- shapes


def im2col_shape(
    op: str,
    x: tuple[int, ...],
    kernel_size: Any,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Geometry:
    """Check that the windows fit into x (N, C, H, W); returns every size of the equation."""
    if len(x) != 4:
        raise ValueError(f"{op}: expected input (N, C, H, W), got {list(x)}")
    check_groups(op, groups, x[1], x[1])
    w = (x[1], x[1] // groups, *pair(op, "kernel_size", kernel_size, 1))
    return conv_geometry(op, x, w, stride, padding, dilation, groups)


def cols_shape(geo: Geometry) -> tuple[int, ...]:
    return geo.N, geo.OH, geo.OW, geo.G, geo.KH, geo.KW, geo.C // geo.G


# --------------------------------------------------------------------------- the literal loops
#
# The output pixels (n, i, j) are counted through as m, the row of the matrix.


def im2col_loops(cols, x, sizes):
    N, C, H, W, O, OH, OW, KH, KW, sh, sw, pt, pl, dh, dw, G = sizes
    for n in range(N):
        for i in range(OH):
            for j in range(OW):
                m = (n * OH + i) * OW + j
                for g in range(G):
                    for u in range(KH):
                        for v in range(KW):
                            h = i * sh + u * dh - pt
                            q = j * sw + v * dw - pl
                            for c in range(C // G):
                                if 0 <= h < H and 0 <= q < W:
                                    cols[m, g, u, v, c] = x[n, g * (C // G) + c, h, q]
                                else:
                                    cols[m, g, u, v, c] = 0


def col2im_loops(dx, dcols, sizes):
    N, C, H, W, O, OH, OW, KH, KW, sh, sw, pt, pl, dh, dw, G = sizes
    dx[...] = 0
    for n in range(N):
        for i in range(OH):
            for j in range(OW):
                m = (n * OH + i) * OW + j
                for g in range(G):
                    for u in range(KH):
                        for v in range(KW):
                            h = i * sh + u * dh - pt
                            q = j * sw + v * dw - pl
                            if 0 <= h < H and 0 <= q < W:
                                for c in range(C // G):
                                    dx[n, g * (C // G) + c, h, q] += dcols[m, g, u, v, c]


# --------------------------------------------------------------------------- the NumPy reference


def im2col_forward(x: Array, geo: Geometry) -> Array:
    xw = geo.windows(x).transpose(0, 2, 3, 4, 5, 1)  # (N, OH, OW, KH, KW, C), a view
    xw = xw.reshape(*xw.shape[:5], geo.G, geo.C // geo.G, copy=False)
    return np.ascontiguousarray(xw.transpose(0, 1, 2, 5, 3, 4, 6))  # (N, OH, OW, G, KH, KW, C/G)


def col2im_forward(cols: Array, geo: Geometry) -> Array:
    cols = cols.transpose(0, 3, 6, 1, 2, 4, 5)  # (N, G, C/G, OH, OW, KH, KW)
    cols = cols.reshape(geo.N, geo.C, geo.OH, geo.OW, geo.KH, geo.KW)
    xp = geo.padded(np.zeros(geo.x_shape, cols.dtype))
    for u, v in geo.taps():  # every tap sends its numbers back to where it read
        xp[geo.tap(u, v)] += cols[..., u, v]
    return geo.unpad(xp)  # (N, C, H, W)


# --------------------------------------------------------------------------- the ladder


def as_matrix(cols: Array, geo: Geometry) -> Array:
    """(N·OH·OW, G, KH, KW, C/G)"""
    return np.ascontiguousarray(cols).reshape(geo.N * geo.OH * geo.OW, *cols.shape[3:])


def call_im2col(body: Body, x: Array, geo: Geometry) -> Array:
    cols = empty(cols_shape(geo), x.dtype)
    body(as_matrix(cols, geo), body.image(x), sizes=geo.sizes)
    return cols


def call_col2im(body: Body, cols: Array, geo: Geometry) -> Array:
    x = body.empty(geo.x_shape, cols.dtype)
    body(body.image(x), as_matrix(cols, geo), sizes=geo.sizes)
    return x


GATHER = Ladder(
    "im2col",
    reference=im2col_forward,
    kernels=[
        Kernel("cython.gather", "im2col_cy:im2col_f32"),
        Kernel("numba.gather", "conv_nb:im2col_f32"),
        Kernel("numba.loops", "jit"),
    ],
    call=call_im2col,
    loops=im2col_loops,
)
SCATTER = Ladder(
    "col2im",
    reference=col2im_forward,
    kernels=[
        Kernel("cython.scatter", "im2col_cy:col2im_f32"),
        Kernel("numba.scatter", "conv_nb:col2im_f32"),
        Kernel("numba.loops", "jit"),
    ],
    call=call_col2im,
    loops=col2im_loops,
)
IM2COL = Op(
    "im2col",
    forward=lambda x, geo: GATHER(x, geo),
    vjp=lambda dcols, y, x, geo: SCATTER(dcols, geo),
    keeps="",
)
COL2IM = Op(
    "col2im",
    forward=lambda cols, geo: SCATTER(cols, geo),
    vjp=lambda dx, y, cols, geo: GATHER(dx, geo),
    keeps="",
)


# --------------------------------------------------------------------------- the public functions


def im2col(
    input: Tensor,
    kernel_size: int | tuple[int, int],
    stride: int | tuple[int, int] = 1,
    padding: int | tuple[int, ...] | str = 0,
    dilation: int | tuple[int, int] = 1,
    groups: int = 1,
) -> Tensor:
    """The windows of `input` (N, C, H, W) as (N, OH, OW, groups, KH, KW, C/groups).

    The numbers of torch.nn.functional.unfold, in the order in which memory has them; `padding` as
    in `conv2d`. ValueError where a window does not fit.
    """
    check_dtypes("im2col", input=input)
    geo = im2col_shape("im2col", input.shape, kernel_size, stride, padding, dilation, groups)
    check_output("im2col", cols_shape(geo), kernel_size=kernel_size, padding=padding, stride=stride)
    return apply(IM2COL, input, geo=geo)


def col2im(
    input: Tensor,
    output_size: int | tuple[int, int],
    kernel_size: int | tuple[int, int],
    stride: int | tuple[int, int] = 1,
    padding: int | tuple[int, ...] | str = 0,
    dilation: int | tuple[int, int] = 1,
) -> Tensor:
    """The image (N, C, H, W) whose pixels are the sums of their copies in `input`, as of `im2col`.

    As torch.nn.functional.fold in another order of axes; (H, W) is `output_size`. ValueError where
    that would not give an `input` of this shape.
    """
    check_dtypes("col2im", input=input)
    if input.ndim != 7:
        raise ValueError(
            f"col2im: input has shape {list(input.shape)}, expected what im2col gives: "
            "(N, OH, OW, groups, KH, KW, C/groups)"
        )
    N, G, Cg = input.shape[0], input.shape[3], input.shape[6]
    x = (N, G * Cg, *pair("col2im", "output_size", output_size, 1))
    check_output("col2im", x, output_size=output_size)
    geo = im2col_shape("col2im", x, kernel_size, stride, padding, dilation, G)
    if input.shape != cols_shape(geo):
        raise ValueError(
            f"col2im: input has shape {list(input.shape)}, expected {list(cols_shape(geo))} "
            f"for an image {list(x)} with this kernel_size, stride, padding and dilation"
        )
    return apply(COL2IM, input, geo=geo)
