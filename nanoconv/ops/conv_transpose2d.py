"""Transposed convolution: every input pixel is sent to a window of the output, times the weights.

    y[n,o,i,j] = b[o] + Σ x[n,c,h,q] · w[c,o',u,v]
                 over c of the group, and all h, u with h·s + u·d − p = i, all q, v with
                 q·s + v·d − p = j

n image, o output channel, o' = o mod O/G its place in the group, (i, j) output pixel, c input
channel of that group, (h, q) input pixel, (u, v) kernel tap; stride s, padding p (here: what is cut
off the output), dilation d, G groups. Where `conv2d` reads a window for each output pixel, this
writes one for each input pixel, and where windows overlap, they add up. A stride makes the image
larger, which is what it is for: generators and the decoders of segmentation nets.

    shapes    x (N, C, H, W)   w (C, O/G, KH, KW)   b (O,)   y (N, O, OH, OW)
              OH = (H − 1)·s − 2·p + d·(KH − 1) + 1 + output_padding, OW alike
    cost      N·C·H·W · O/G·KH·KW multiply-adds

Without its bias it is the adjoint of the convolution that has these weights and goes from y's shape
to x's: the map by which that one's gradients go back. (Some outputs of different sizes shrink to
one input by a stride; `output_padding` says which is meant.) So nothing is left to derive. With
⋆ for that convolution,

    dx = dy ⋆ w                                                          conv2d's forward
    dw[c,o',u,v] = Σ_{n,h,q} x[n,c,h,q] · dy[n,o, h·s + u·d − p, q·s + v·d − p]     its gradient
    db[o] = Σ_{n,i,j} dy[n,o,i,j]                              by w, x and dy exchanged

and the ladders are conv2d's, or those of `depthwise_conv2d` where each group has one output
channel. In their letters, and so in a `Geometry`, C H W are the sizes of y, and O OH OW those of x.

Papers: Zeiler et al., Deconvolutional Networks, CVPR 2010; Long, Shelhamer, Darrell, Fully
Convolutional Networks, arXiv 1411.4038; Dumoulin, Visin, A Guide to Convolution Arithmetic, arXiv
1603.07285. Two pixels, each spread over three; the middle one gets both:

>>> import nanoconv as nc
>>> x = nc.tensor([[[[1.0, 10.0]]]])
>>> w = nc.tensor([[[[1.0, 2.0, 3.0]]]])
>>> nc.functional.conv_transpose2d(x, w, stride=(1, 2))
tensor([[[[ 1.,  2., 13., 20., 30.]]]])
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from ..dispatch import Ladder, Op
from ..tensor import Tensor, apply
from . import conv2d as convolution
from . import depthwise_conv2d as depthwise
from .checks import batched, check_bias, check_dtypes, check_groups, given
from .geometry import Geometry, check_output, extent, pair

Array = np.ndarray


# --------------------------------------------------------------------------- shapes


def conv_transpose2d_shape(
    x: tuple[int, ...],
    w: tuple[int, ...],
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
    op: str = "conv_transpose2d",
) -> Geometry:
    """Check that x (N, C, H, W) and w (C, O/G, KH, KW) fit; returns the convolution from y to x."""
    if len(x) != 4 or len(w) != 4:
        raise ValueError(
            f"{op}: expected input (N, C, H, W) and weight (C, O/groups, KH, KW), "
            f"got {list(x)} and {list(w)}"
        )
    check_groups(op, groups, x[1], x[1])
    if w[0] != x[1] or 0 in w:
        raise ValueError(
            f"{op}: weight {list(w)} does not fit {x[1]} input channels; "
            f"expected ({x[1]}, O/groups, KH, KW) without an empty axis"
        )
    strides, dilations = pair(op, "stride", stride, 1), pair(op, "dilation", dilation, 1)
    paddings = pair(op, "padding", padding, 0)
    more = pair(op, "output_padding", output_padding, 0)
    return _geometry(op, x, w, strides, paddings, more, int(groups), dilations)


@lru_cache(maxsize=4096)
def _geometry(
    op: str,
    x: tuple[int, ...],
    w: tuple[int, ...],
    stride: tuple[int, int],
    padding: tuple[int, int],
    output_padding: tuple[int, int],
    groups: int,
    dilation: tuple[int, int],
) -> Geometry:
    sizes = []
    for k, axis in enumerate(("height", "width")):
        s, p, d, more = stride[k], padding[k], dilation[k], output_padding[k]
        if more >= max(s, d):
            raise ValueError(
                f"{op}: output_padding={more} of the {axis}, expected less than stride {s} or "
                f"dilation {d}"
            )
        sizes.append((x[2 + k] - 1) * s - 2 * p + extent(w[2 + k], d) + more)
        if x[2 + k] < 1 or sizes[k] < 1:
            raise ValueError(
                f"{op}: the input's {axis} {x[2 + k]}, kernel {w[2 + k]}, stride {s}, padding {p}, "
                f"dilation {d} and output_padding {more} leave {sizes[k]} pixels of output"
            )
    (N, C, H, W), (OH, OW), (KH, KW) = x, sizes, w[2:]
    O, (sh, sw), (ph, pw), (dh, dw) = w[1] * groups, stride, padding, dilation
    check_output(op, (N, O, OH, OW), stride=stride, dilation=dilation)
    return Geometry(N, O, OH, OW, C, H, W, KH, KW, sh, sw, ph, ph, pw, pw, dh, dw, groups)


# --------------------------------------------------------------------------- the literal loops


def conv_transpose2d_loops(y, x, w, sizes):
    N, O, OH, OW, C, H, W, KH, KW, sh, sw, pt, pl, dh, dw, G = sizes
    y[...] = 0
    for n in range(N):
        for c in range(C):
            g = c // (C // G)
            for h in range(H):
                for q in range(W):
                    for o in range(O // G):
                        for u in range(KH):
                            for v in range(KW):
                                i = h * sh + u * dh - pt
                                j = q * sw + v * dw - pl
                                if 0 <= i < OH and 0 <= j < OW:
                                    y[n, g * (O // G) + o, i, j] += x[n, c, h, q] * w[c, o, u, v]


# --------------------------------------------------------------------------- the NumPy reference


def conv_transpose2d_forward(x: Array, w: Array, geo: Geometry) -> Array:
    """Without the bias. Told in `conv2d`, for the gradients of a convolution by its input."""
    return convolution.conv2d_input_grad(x, w, geo)


def conv_transpose2d_input_grad(dy: Array, w: Array, geo: Geometry) -> Array:
    """dx: each input pixel collects from the window that it was sent to."""
    return convolution.FORWARD(dy, w, None, geo)


def conv_transpose2d_weight_grad(dy: Array, x: Array, geo: Geometry) -> Array:
    """dw: x stands where the gradient of a convolution would, dy where its input would."""
    return convolution.WEIGHT_GRAD(x, dy, geo)


def plus_bias(y: Array, b: Array | None) -> Array:
    """y + b[o] in place, since y is new."""
    if b is not None:
        y += b[:, None, None]
    return y


# --------------------------------------------------------------------------- the ladder

FORWARD = Ladder(
    "conv_transpose2d.forward",
    reference=conv_transpose2d_forward,
    kernels=convolution.INPUT_GRAD.kernels,
    call=convolution.call_input_grad,
    loops=conv_transpose2d_loops,
)
CONV_TRANSPOSE2D = Op(
    "conv_transpose2d",
    forward=lambda x, w, b, geo: plus_bias(FORWARD(x, w, geo), b),
    vjp=(
        lambda dy, y, x, w, b, geo: conv_transpose2d_input_grad(dy, w, geo),
        lambda dy, y, x, w, b, geo: conv_transpose2d_weight_grad(dy, x, geo),
        lambda dy, y, x, w, b, geo: convolution.conv2d_bias_grad(dy),
    ),
    keeps="01",
    macs=lambda y, x, w, b, geo: x.numel() * (geo.C // geo.G) * geo.KH * geo.KW,
)
DEPTHWISE_CONV_TRANSPOSE2D = Op(
    "depthwise_conv_transpose2d",
    forward=lambda x, w, b, geo: plus_bias(depthwise.INPUT_GRAD(x, w, geo), b),
    vjp=(
        lambda dy, y, x, w, b, geo: depthwise.FORWARD(dy, w, None, geo),
        lambda dy, y, x, w, b, geo: depthwise.WEIGHT_GRAD(x, dy, geo),
        lambda dy, y, x, w, b, geo: convolution.conv2d_bias_grad(dy),
    ),
    keeps="01",
    macs=lambda y, x, w, b, geo: x.numel() * geo.KH * geo.KW,
)


# --------------------------------------------------------------------------- the public function


def conv_transpose2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int | tuple[int, int] = 1,
    padding: int | tuple[int, int] = 0,
    output_padding: int | tuple[int, int] = 0,
    groups: int = 1,
    dilation: int | tuple[int, int] = 1,
) -> Tensor:
    """The transposed convolution of `input` (N, C, H, W) with `weight` (C, O/groups, KH, KW).

    As torch.nn.functional.conv_transpose2d: `padding` is cut off all four sides, `output_padding`,
    less than the stride or the dilation, is added at the bottom and right, and counts for how far
    windows reach there. (C, H, W) gives one image. Raises ValueError where shapes do not fit and
    TypeError where dtypes differ.
    """
    x, unbatch = batched("conv_transpose2d", input, 4)
    check_dtypes("conv_transpose2d", input=x, weight=weight, **given(bias=bias))
    geo = conv_transpose2d_shape(
        x.shape, weight.shape, stride, padding, output_padding, groups, dilation
    )
    return unbatch(transposed("conv_transpose2d", x, weight, bias, geo))


def transposed(op: str, x: Tensor, weight: Tensor, bias: Tensor | None, geo: Geometry) -> Tensor:
    """The op that suits the groups; `geo` is the convolution from y to x."""
    check_bias(op, bias, geo.C)
    kind = DEPTHWISE_CONV_TRANSPOSE2D if geo.G == geo.C > 1 else CONV_TRANSPOSE2D
    return apply(kind, x, weight, bias, geo=geo)
