"""Depthwise convolution: every channel is filtered on its own, by m filters of its own.

    y[n,o,i,j] = b[o] + Σ_{u,v} x[n, ⌊o/m⌋, i·s + u·d − p, j·s + v·d − p] · w[o,0,u,v]

with channel multiplier m = O/C (nearly always 1) and the other letters of `conv2d`, whose case
G = C this is. Followed by a 1×1 convolution, which mixes the channels, it replaces a standard
convolution at 1/O + 1/(KH·KW) of its cost: the idea of MobileNet.

    shapes    x (N, C, H, W)   w (O, 1, KH, KW)   b (O,)   y (N, O, OH, OW)
    cost      N·O·OH·OW · KH·KW multiply-adds, C/G times fewer than the standard convolution

There is no sum over channels, so there is no matrix product in it: as a GEMM it would have inner
dimension KH·KW = 9. Each number read from memory meets only a few multiplications, and a fast
implementation is one that reads each input once and keeps whole vectors of channels in registers.

    dx[n,c,h,w]  = Σ_{o of c, (i,u): i·s+u·d−p=h, (j,v): j·s+v·d−p=w}  dy[n,o,i,j] · w[o,0,u,v]
    dw[o,0,u,v]  = Σ_{n,i,j}  dy[n,o,i,j] · x[n, ⌊o/m⌋, i·s + u·d − p, j·s + v·d − p]
    db[o]        = Σ_{n,i,j}  dy[n,o,i,j]

Papers: Sifre, Rigid-Motion Scattering for Image Classification, 2014; Howard et al., MobileNets,
arXiv 1704.04861. Each channel of this example has a filter of its own, one doubles, one negates:

>>> import nanoconv as nc
>>> x = nc.ones(1, 2, 2, 2)
>>> w = nc.tensor([[[[2.0]]], [[[-1.0]]]])
>>> nc.functional.depthwise_conv2d(x, w).numpy()[0].tolist()
[[[2.0, 2.0], [2.0, 2.0]], [[-1.0, -1.0], [-1.0, -1.0]]]
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..dispatch import Body, Kernel, Ladder, Op, empty
from ..tensor import Tensor, apply
from .checks import batched, check_bias, check_dtypes, given
from .geometry import Geometry, conv_geometry, extent

Array = np.ndarray


# --------------------------------------------------------------------------- shapes


def depthwise_conv2d_shape(
    x: tuple[int, ...],
    w: tuple[int, ...],
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
) -> Geometry:
    """Check that x (N, C, H, W) and w (C·m, 1, KH, KW) fit; returns the sizes of the equation."""
    if len(x) != 4 or len(w) != 4:
        raise ValueError(
            "depthwise_conv2d: expected input (N, C, H, W) and weight (C·m, 1, KH, KW), "
            f"got {list(x)} and {list(w)}"
        )
    if w[1] != 1 or x[1] == 0 or w[0] % x[1] or 0 in w:
        raise ValueError(
            f"depthwise_conv2d: weight {list(w)} does not fit {x[1]} input channels; "
            f"expected (a multiple of {x[1]}, 1, KH, KW) without an empty axis"
        )
    return conv_geometry("depthwise_conv2d", x, w, stride, padding, dilation, groups=x[1])


# --------------------------------------------------------------------------- the literal loops
#
# w and its gradient are laid out (KH, KW, O) for compiled code: the channel innermost.


def depthwise_conv2d_loops(y, x, w, b, sizes):
    N, C, H, W, O, OH, OW, KH, KW, sh, sw, pt, pl, dh, dw, G = sizes
    for n in range(N):
        for o in range(O):
            for i in range(OH):
                for j in range(OW):
                    total = b[o]
                    for u in range(KH):
                        for v in range(KW):
                            h = i * sh + u * dh - pt
                            q = j * sw + v * dw - pl
                            if 0 <= h < H and 0 <= q < W:
                                total += x[n, o // (O // C), h, q] * w[u, v, o]
                    y[n, o, i, j] = total


def depthwise_conv2d_input_grad_loops(dx, dy, w, sizes):
    N, C, H, W, O, OH, OW, KH, KW, sh, sw, pt, pl, dh, dw, G = sizes
    dx[...] = 0
    for n in range(N):
        for o in range(O):
            for i in range(OH):
                for j in range(OW):
                    for u in range(KH):
                        for v in range(KW):
                            h = i * sh + u * dh - pt
                            q = j * sw + v * dw - pl
                            if 0 <= h < H and 0 <= q < W:
                                dx[n, o // (O // C), h, q] += dy[n, o, i, j] * w[u, v, o]


def depthwise_conv2d_weight_grad_loops(dw_, dy, x, sizes):
    N, C, H, W, O, OH, OW, KH, KW, sh, sw, pt, pl, dh, dw, G = sizes
    dw_[...] = 0
    for n in range(N):
        for o in range(O):
            for i in range(OH):
                for j in range(OW):
                    for u in range(KH):
                        for v in range(KW):
                            h = i * sh + u * dh - pt
                            q = j * sw + v * dw - pl
                            if 0 <= h < H and 0 <= q < W:
                                dw_[u, v, o] += dy[n, o, i, j] * x[n, o // (O // C), h, q]


# --------------------------------------------------------------------------- the NumPy reference


def depthwise_conv2d_forward(x: Array, w: Array, b: Array | None, geo: Geometry) -> Array:
    y = np.einsum("ncijuv,cmuv->ncmij", geo.windows(x), by_channel(w, geo), optimize=True)
    y = y.reshape(geo.y_shape)  # (N, O, OH, OW)
    return y if b is None else y + b[:, None, None]


def depthwise_conv2d_input_grad(dy: Array, w: Array, geo: Geometry) -> Array:
    dyc = dy.reshape(geo.N, geo.C, geo.O // geo.C, geo.OH, geo.OW)  # (N, C, m, OH, OW)
    wc = by_channel(w, geo)  # (C, m, KH, KW)
    dxp = geo.padded(np.zeros(geo.x_shape, dy.dtype))
    for u, v in geo.taps():  # every tap sends its gradient back to where it read
        dxp[geo.tap(u, v)] += np.einsum("ncmij,cm->ncij", dyc, wc[..., u, v])
    return geo.unpad(dxp)  # (N, C, H, W)


def depthwise_conv2d_weight_grad(dy: Array, x: Array, geo: Geometry) -> Array:
    dyc = dy.reshape(geo.N, geo.C, geo.O // geo.C, geo.OH, geo.OW)  # (N, C, m, OH, OW)
    dw = np.einsum("ncmij,ncijuv->cmuv", dyc, geo.windows(x), optimize=True)
    return dw.reshape(geo.w_shape)  # (O, 1, KH, KW)


def by_channel(w: Array, geo: Geometry) -> Array:
    """(C, m, KH, KW): the m filters of each channel."""
    return w.reshape(geo.C, geo.O // geo.C, geo.KH, geo.KW)


# --------------------------------------------------------------------------- the ladder


def taps_first(w: Array) -> Array:
    """(O, 1, KH, KW) to (KH, KW, O)."""
    return np.ascontiguousarray(w[:, 0].transpose(1, 2, 0))


def call_forward(body: Body, x: Array, w: Array, b: Array | None, geo: Geometry) -> Array:
    y, out = body.output(geo.y_shape, x.dtype)
    b = np.zeros(geo.O, x.dtype) if b is None else np.ascontiguousarray(b)
    body(out, body.image(x), taps_first(w), b, sizes=geo.sizes)
    return y


def call_input_grad(body: Body, dy: Array, w: Array, geo: Geometry) -> Array:
    dx, out = body.output(geo.x_shape, dy.dtype)
    body(out, body.image(dy), taps_first(w), sizes=geo.sizes)
    return dx


def call_weight_grad(body: Body, dy: Array, x: Array, geo: Geometry) -> Array:
    dw = empty((geo.KH, geo.KW, geo.O), dy.dtype)
    body(dw, body.image(dy), body.image(x), sizes=geo.sizes)
    return dw.transpose(2, 0, 1)[:, None]  # (O, 1, KH, KW)


MOST_ROWS = 512  # of x under two rows of y; depthwise_rows.h has the same


def one_low_window_each(x: Array, w: Array, b: Array | None, geo: Geometry) -> bool:
    return geo.O == geo.C and extent(geo.KH, geo.dh) + geo.sh <= MOST_ROWS


one_low_window_each.__name__ = f"one filter per channel and less than {MOST_ROWS} rows under it"


def less_than_a_vector(x: Array, w: Array, b: Array | None, geo: Geometry) -> bool:
    return geo.C < 4  # the other compiled rungs take such channels one by one


less_than_a_vector.__name__ = "less than 4 channels"


FORWARD = Ladder(
    "depthwise_conv2d.forward",
    reference=depthwise_conv2d_forward,
    kernels=[
        Kernel(
            "simd.rows",
            "depthwise_rows_cy:depthwise_rows_f32",
            when=one_low_window_each,
            auto=less_than_a_vector,
        ),
        Kernel("cython.direct", "depthwise_cy:depthwise_f32"),
        Kernel("numba.direct", "depthwise_nb:depthwise_f32"),
        Kernel("numba.loops", "jit"),
    ],
    call=call_forward,
    loops=depthwise_conv2d_loops,
)
INPUT_GRAD = Ladder(
    "depthwise_conv2d.input_grad",
    reference=depthwise_conv2d_input_grad,
    kernels=[
        Kernel("cython.direct", "depthwise_cy:depthwise_input_grad_f32"),
        Kernel("numba.direct", "depthwise_nb:depthwise_input_grad_f32"),
        Kernel("numba.loops", "jit"),
    ],
    call=call_input_grad,
    loops=depthwise_conv2d_input_grad_loops,
)
WEIGHT_GRAD = Ladder(
    "depthwise_conv2d.weight_grad",
    reference=depthwise_conv2d_weight_grad,
    kernels=[
        Kernel("cython.direct", "depthwise_cy:depthwise_weight_grad_f32"),
        Kernel("numba.direct", "depthwise_nb:depthwise_weight_grad_f32"),
        Kernel("numba.loops", "jit"),
    ],
    call=call_weight_grad,
    loops=depthwise_conv2d_weight_grad_loops,
)
DEPTHWISE_CONV2D = Op(
    "depthwise_conv2d",
    forward=lambda x, w, b, geo: FORWARD(x, w, b, geo),
    is_ladder=True,
    vjp=(
        lambda dy, y, x, w, b, geo: INPUT_GRAD(dy, w, geo),
        lambda dy, y, x, w, b, geo: WEIGHT_GRAD(dy, x, geo),
        lambda dy, y, x, w, b, geo: dy.sum((0, 2, 3)),  # (O,)
    ),
    macs=lambda y, x, w, b, geo: y.numel() * geo.KH * geo.KW,
)


# --------------------------------------------------------------------------- the public function


def depthwise_conv2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int | tuple[int, int] = 1,
    padding: int | tuple[int, ...] | str = 0,
    dilation: int | tuple[int, int] = 1,
) -> Tensor:
    """`input` (N, C, H, W) filtered channel by channel with `weight` (C·m, 1, KH, KW).

    The same as `conv2d` with groups=C, which calls it. Output channels c·m … c·m + m − 1 belong
    to input channel c. Raises as `conv2d` does.
    """
    x, unbatch = batched("depthwise_conv2d", input, 4)
    check_dtypes("depthwise_conv2d", input=x, weight=weight, **given(bias=bias))
    geo = depthwise_conv2d_shape(x.shape, weight.shape, stride, padding, dilation)
    check_bias("depthwise_conv2d", bias, geo.O)
    return unbatch(apply(DEPTHWISE_CONV2D, x, weight, bias, geo=geo))
