"""Convolution in two dimensions: every output pixel is a weighted sum of a window of the input.

    y[n,o,i,j] = b[o] + Σ_{c,u,v} x[n, g·C/G + c, i·s + u·d − p, j·s + v·d − p] · w[o,c,u,v]

n image, o output channel, (i, j) output pixel, c input channel within the group g = ⌊o / (O/G)⌋ of
output channel o, (u, v) kernel tap; stride s, padding p (zeros), dilation d, G groups. The case
G = C, a filter of its own for each channel, is `depthwise_conv2d`.

    shapes    x (N, C, H, W)   w (O, C/G, KH, KW)   b (O,)   y (N, O, OH, OW)
    cost      N·O·OH·OW · C/G·KH·KW multiply-adds

The gradients follow from the equation by asking where each number went. The pixel x[h, w] went to
every output that reads it, so the output gradients come back along the same taps; the weight
w[u, v] met one input pixel for each output pixel:

    dx[n,gc,h,w] = Σ_{o in g, (i,u): i·s+u·d−p=h, (j,v): j·s+v·d−p=w}  dy[n,o,i,j] · w[o,c,u,v]
    dw[o,c,u,v]  = Σ_{n,i,j}  dy[n,o,i,j] · x[n, gc, i·s + u·d − p, j·s + v·d − p]
    db[o]        = Σ_{n,i,j}  dy[n,o,i,j]

Paper: LeCun et al., Backpropagation Applied to Handwritten Zip Code Recognition, Neural
Computation 1(4), 1989; groups: Krizhevsky et al., NIPS 2012. One worked example, the sum of each
pixel and its right neighbour, on a 3×3 image:

>>> import numpy as np
>>> import nanoconv as nc
>>> x = nc.tensor(np.arange(9.0, dtype=np.float32).reshape(1, 1, 3, 3), requires_grad=True)
>>> w = nc.tensor([[[[1.0, 1.0]]]])
>>> y = nc.functional.conv2d(x, w)
>>> y.detach().numpy()[0, 0]
array([[ 1.,  3.],
       [ 7.,  9.],
       [13., 15.]], dtype=float32)
>>> y.sum().backward()
>>> x.grad.numpy()[0, 0]  # the middle column was read twice
array([[1., 2., 1.],
       [1., 2., 1.],
       [1., 2., 1.]], dtype=float32)
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from ..dispatch import Body, Kernel, Ladder, Op, empty
from ..tensor import Tensor, apply
from . import depthwise_conv2d as depthwise
from .checks import batched, check_bias, check_dtypes, check_groups
from .geometry import Geometry, conv_geometry, is_pair
from .winograd import BOUNDS, dense_3x3, large_image

Array = np.ndarray


# --------------------------------------------------------------------------- shapes


def conv2d_shape(
    x: tuple[int, ...],
    w: tuple[int, ...],
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
    op: str = "conv2d",
) -> Geometry:
    """Check that x (N, C, H, W) and w (O, C/G, KH, KW) fit; returns every size of the equation."""
    # To a cache 1.0 and True would be 1, so it sees nothing but integers, as the layers pass them.
    pairs = is_pair(stride, 1) and is_pair(padding, 0) and is_pair(dilation, 1)
    shape = _remembered_shape if pairs and type(groups) is int else _conv2d_shape
    return shape(x, w, stride, padding, dilation, groups, op)


def _conv2d_shape(
    x: tuple[int, ...],
    w: tuple[int, ...],
    stride: Any,
    padding: Any,
    dilation: Any,
    groups: int,
    op: str,
) -> Geometry:
    if len(x) != 4 or len(w) != 4:
        raise ValueError(
            f"{op}: expected input (N, C, H, W) and weight (O, C/groups, KH, KW), "
            f"got {list(x)} and {list(w)}"
        )
    check_groups(op, groups, x[1], w[0])
    if w[1] != x[1] // groups or 0 in w:
        raise ValueError(
            f"{op}: weight {list(w)} does not fit {x[1]} input channels in {groups} groups; "
            f"expected (O, {x[1] // groups}, KH, KW) without an empty axis"
        )
    return conv_geometry(op, x, w, stride, padding, dilation, groups)


_remembered_shape = lru_cache(4096)(_conv2d_shape)


# --------------------------------------------------------------------------- the literal loops


def conv2d_loops(y, x, w, b, sizes):
    N, C, H, W, O, OH, OW, KH, KW, sh, sw, pt, pl, dh, dw, G = sizes
    for n in range(N):
        for o in range(O):
            g = o // (O // G)
            for i in range(OH):
                for j in range(OW):
                    total = b[o]
                    for c in range(C // G):
                        for u in range(KH):
                            for v in range(KW):
                                h = i * sh + u * dh - pt
                                q = j * sw + v * dw - pl
                                if 0 <= h < H and 0 <= q < W:
                                    total += x[n, g * (C // G) + c, h, q] * w[o, c, u, v]
                    y[n, o, i, j] = total


def conv2d_input_grad_loops(dx, dy, w, sizes):
    N, C, H, W, O, OH, OW, KH, KW, sh, sw, pt, pl, dh, dw, G = sizes
    dx[...] = 0
    for n in range(N):
        for o in range(O):
            g = o // (O // G)
            for i in range(OH):
                for j in range(OW):
                    for c in range(C // G):
                        for u in range(KH):
                            for v in range(KW):
                                h = i * sh + u * dh - pt
                                q = j * sw + v * dw - pl
                                if 0 <= h < H and 0 <= q < W:
                                    dx[n, g * (C // G) + c, h, q] += dy[n, o, i, j] * w[o, c, u, v]


def conv2d_weight_grad_loops(dw_, dy, x, sizes):
    N, C, H, W, O, OH, OW, KH, KW, sh, sw, pt, pl, dh, dw, G = sizes
    dw_[...] = 0
    for n in range(N):
        for o in range(O):
            g = o // (O // G)
            for i in range(OH):
                for j in range(OW):
                    for c in range(C // G):
                        for u in range(KH):
                            for v in range(KW):
                                h = i * sh + u * dh - pt
                                q = j * sw + v * dw - pl
                                if 0 <= h < H and 0 <= q < W:
                                    dw_[o, c, u, v] += dy[n, o, i, j] * x[n, g * (C // G) + c, h, q]


# --------------------------------------------------------------------------- the NumPy reference


def conv2d_forward(x: Array, w: Array, b: Array | None, geo: Geometry) -> Array:
    y = np.einsum("ngcijuv,gocuv->ngoij", windows(x, geo), grouped(w, geo), optimize=True)
    y = y.reshape(geo.y_shape)  # (N, O, OH, OW)
    return y if b is None else y + b[:, None, None]


def conv2d_input_grad(dy: Array, w: Array, geo: Geometry) -> Array:
    dyg = dy.reshape(geo.N, geo.G, geo.O // geo.G, geo.OH, geo.OW)  # (N, G, O/G, OH, OW)
    wg = grouped(w, geo)  # (G, O/G, C/G, KH, KW)
    dxp = geo.padded(np.zeros(geo.x_shape, dy.dtype))
    for u, v in geo.taps():  # every tap sends its gradient back to where it read
        dxp[geo.tap(u, v)] += np.einsum(
            "ngoij,goc->ngcij", dyg, wg[..., u, v], optimize=True
        ).reshape(geo.N, geo.C, geo.OH, geo.OW)
    return geo.unpad(dxp)  # (N, C, H, W)


def conv2d_weight_grad(dy: Array, x: Array, geo: Geometry) -> Array:
    dyg = dy.reshape(geo.N, geo.G, geo.O // geo.G, geo.OH, geo.OW)  # (N, G, O/G, OH, OW)
    dw = np.einsum("ngoij,ngcijuv->gocuv", dyg, windows(x, geo), optimize=True)
    return dw.reshape(geo.w_shape)  # (O, C/G, KH, KW)


def conv2d_bias_grad(dy: Array) -> Array:
    return dy.sum((0, 2, 3))  # (O,)


def windows(x: Array, geo: Geometry) -> Array:
    """(N, G, C/G, OH, OW, KH, KW): what each output pixel of each group sees."""
    xw = geo.windows(x)
    return xw.reshape(geo.N, geo.G, geo.C // geo.G, *xw.shape[2:], copy=False)


def grouped(w: Array, geo: Geometry) -> Array:
    return w.reshape(geo.G, geo.O // geo.G, geo.C // geo.G, geo.KH, geo.KW)


# --------------------------------------------------------------------------- the ladder
#
# Compiled bodies read and write channels-last memory: the innermost axis of every tensor is the
# channel, so that one vector instruction serves 4, 8 or 16 channels and no pixel needs a shuffle.


def pointwise(_a: Array, _b: Array, *rest: Any) -> bool:
    """A 1×1 kernel without padding or groups: a matrix product over pixels, nothing to gather."""
    geo = rest[-1]
    return geo.KH == geo.KW == geo.G == 1 and not (geo.pt or geo.pb or geo.pl or geo.pr)


def little_padding(_x: Array, _w: Array, _b: Array | None, geo: Geometry) -> bool:
    """The padded image is not gigantic beside the image: bands of rows are copied with padding."""
    padded = (geo.H + geo.pt + geo.pb) * (geo.W + geo.pl + geo.pr)
    return padded <= max(1 << 20, 4 * geo.H * geo.W)


def narrow(_x: Array, _w: Array, _b: Array | None, geo: Geometry) -> bool:
    """Several taps, that dilation does not spread over half of the image: then whole rows of them
    see padding only, which im2col leaves out."""
    taps_inside = max(geo.dh, geo.dw) == 1 or 2 * geo.dh * (geo.KH - 1) <= geo.H
    return geo.KH * geo.KW > 1 and taps_inside


def call_forward(body: Body, x: Array, w: Array, b: Array | None, geo: Geometry) -> Array:
    y, out = body.output(geo.y_shape, x.dtype)
    b = np.zeros(geo.O, x.dtype) if b is None else np.ascontiguousarray(b)
    body(out, body.input(x), np.ascontiguousarray(w), b, sizes=geo.sizes)
    return y


def call_input_grad(body: Body, dy: Array, w: Array, geo: Geometry) -> Array:
    dx, out = body.output(geo.x_shape, dy.dtype)
    body(out, body.image(dy), np.ascontiguousarray(w), sizes=geo.sizes)
    return dx


def call_weight_grad(body: Body, dy: Array, x: Array, geo: Geometry) -> Array:
    dw = empty(geo.w_shape, dy.dtype)
    body(dw, body.image(dy), body.image(x), sizes=geo.sizes)
    return dw


FORWARD = Ladder(
    "conv2d.forward",
    reference=conv2d_forward,
    kernels=[
        Kernel("simd.pointwise", "gemm_cy:pointwise_f32", when=pointwise),
        Kernel(
            "simd.winograd4",
            "winograd_cy:conv2d_winograd4_f32",
            when=dense_3x3,
            auto=large_image(600),
            error=BOUNDS[4],
        ),
        Kernel(
            "simd.winograd2",
            "winograd_cy:conv2d_winograd2_f32",
            when=dense_3x3,
            auto=large_image(196),
            error=BOUNDS[2],
        ),
        Kernel("simd.tiles", "tiles_cy:conv2d_tiles_f32", when=little_padding, auto=narrow),
        Kernel("cython.im2col", "conv_cy:conv2d_im2col_f32"),
        Kernel("numba.direct", "conv_nb:conv2d_direct_f32", auto=False),
        Kernel("numba.loops", "jit"),
    ],
    call=call_forward,
    loops=conv2d_loops,
)
INPUT_GRAD = Ladder(
    "conv2d.input_grad",
    reference=conv2d_input_grad,
    kernels=[
        Kernel("simd.pointwise", "gemm_cy:pointwise_input_grad_f32", when=pointwise),
        Kernel("cython.im2col", "conv_cy:conv2d_im2col_input_grad_f32"),
        Kernel("numba.direct", "conv_nb:conv2d_direct_input_grad_f32", auto=False),
        Kernel("numba.loops", "jit"),
    ],
    call=call_input_grad,
    loops=conv2d_input_grad_loops,
)
WEIGHT_GRAD = Ladder(
    "conv2d.weight_grad",
    reference=conv2d_weight_grad,
    kernels=[
        Kernel("simd.pointwise", "gemm_cy:pointwise_weight_grad_f32", when=pointwise),
        Kernel("cython.im2col", "conv_cy:conv2d_im2col_weight_grad_f32"),
        Kernel("numba.direct", "conv_nb:conv2d_direct_weight_grad_f32", auto=False),
        Kernel("numba.loops", "jit"),
    ],
    call=call_weight_grad,
    loops=conv2d_weight_grad_loops,
)
CONV2D = Op(
    "conv2d",
    forward=lambda x, w, b, geo: FORWARD(x, w, b, geo),
    is_ladder=True,
    vjp=(
        lambda dy, y, x, w, b, geo: INPUT_GRAD(dy, w, geo),
        lambda dy, y, x, w, b, geo: WEIGHT_GRAD(dy, x, geo),
        lambda dy, y, x, w, b, geo: conv2d_bias_grad(dy),
    ),
    macs=lambda y, x, w, b, geo: y.numel() * (geo.C // geo.G) * geo.KH * geo.KW,
)


# --------------------------------------------------------------------------- the public function


def conv2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int | tuple[int, int] = 1,
    padding: int | tuple[int, ...] | str = 0,
    dilation: int | tuple[int, int] = 1,
    groups: int = 1,
) -> Tensor:
    """The convolution of `input` (N, C, H, W) with `weight` (O, C/groups, KH, KW) plus `bias` (O,).

    As torch.nn.functional.conv2d, and beyond it: `padding` may be four values (top, bottom, left,
    right), and "same" works for every stride by TensorFlow's rule, ⌈H/s⌉ outputs with the odd
    padding pixel at the bottom and right. An image without a batch axis, (C, H, W), gives one.
    Raises ValueError where shapes do not fit and TypeError where dtypes differ.

    Unlike PyTorch: `input` must have channels; more than PyTorch: padding "same" with any stride,
    and four sides.
    """
    x, unbatch = batched("conv2d", input, 4)
    check_dtypes("conv2d", input=x, weight=weight, **({} if bias is None else {"bias": bias}))
    geo = conv2d_shape(x._data.shape, weight._data.shape, stride, padding, dilation, groups)
    return unbatch(convolved("conv2d", x, weight, bias, geo))


def convolved(op: str, x: Tensor, weight: Tensor, bias: Tensor | None, geo: Geometry) -> Tensor:
    """The op that suits the groups."""
    check_bias(op, bias, geo.O)
    kind = depthwise.DEPTHWISE_CONV2D if geo.G == geo.C > 1 else CONV2D
    return apply(kind, x, weight, bias, geo=geo)
