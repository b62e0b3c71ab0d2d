"""Convolution in one dimension: every output is a weighted sum of a window of a signal.

    y[n,o,j] = b[o] + Σ_{c,v} x[n, g·C/G + c, j·s + v·d − p] · w[o,c,v]

with the letters of `conv2d`, of which this is the case of images that are one pixel high: H = KH =
OH = 1. It is computed as that, by the same ladders, and so are its gradients; a filter of its own
for each channel (G = C) goes through `depthwise_conv2d`. `conv_transpose1d` is the same case of
`conv_transpose2d`:

    y[n,o,j] = b[o] + Σ_{c of g, q·s + v·d − p = j} x[n,c,q] · w[c,o mod O/G,v]

    shapes    x (N, C, L)   w (O, C/G, K)   b (O,)   y (N, O, ⌊(L + 2·p − d·(K − 1) − 1) / s⌋ + 1)
              transposed: w (C, O/G, K)   y (N, O, (L − 1)·s − 2·p + d·(K − 1) + 1 + output_padding)
    cost      N·O·OL · C/G·K multiply-adds, transposed N·C·L · O/G·K

Paper: Waibel et al., Phoneme Recognition Using Time-Delay Neural Networks, IEEE Transactions on
Acoustics, Speech and Signal Processing 37(3), 1989. The differences of neighbours, and their
transpose, which brings what each pair has back to both:

>>> import nanoconv as nc
>>> x = nc.tensor([[[1.0, 4.0, 9.0, 16.0]]])
>>> w = nc.tensor([[[-1.0, 1.0]]])
>>> y = nc.functional.conv1d(x, w)
>>> y
tensor([[[3., 5., 7.]]])
>>> nc.functional.conv_transpose1d(y, w)
tensor([[[-3., -2., -2.,  7.]]])
"""

from __future__ import annotations

from typing import Any

from ..tensor import Tensor
from .checks import batched, check_dtypes, given
from .conv2d import conv2d_shape, convolved
from .conv_transpose2d import conv_transpose2d_shape, transposed
from .geometry import LARGEST, integers
from .shaping import squeeze, unsqueeze


def single(op: str, name: str, value: Any, least: int) -> int:
    """An int, or a sequence of one, from `least` up."""
    found = integers(value, least)
    if len(found) != 1:
        raise ValueError(
            f"{op}: {name}={value!r}, expected an integer from {least} up to {LARGEST}"
        )
    return found[0]


def wide(
    op: str, input: Tensor, weight: Tensor, bias: Tensor | None, sizes: str
) -> tuple[Tensor, Tensor]:
    """The signal (N, C, L) and the weights as images that are one pixel high."""
    check_dtypes(op, input=input, weight=weight, **given(bias=bias))
    if weight.ndim != 3:
        raise ValueError(f"{op}: weight has shape {list(weight.shape)}, expected {sizes}")
    return unsqueeze(input, 2), unsqueeze(weight, 2)


def conv1d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int | tuple[int] = 1,
    padding: int | tuple[int] | str = 0,
    dilation: int | tuple[int] = 1,
    groups: int = 1,
) -> Tensor:
    """The convolution of `input` (N, C, L) with `weight` (O, C/groups, K) plus `bias` (O,).

    As torch.nn.functional.conv1d, and beyond it "same" for every stride, as in `conv2d`. A signal
    without a batch axis, (C, L), gives one. Raises ValueError where shapes do not fit and TypeError
    where dtypes differ.
    """
    x, unbatch = batched("conv1d", input, 3)
    image, filters = wide("conv1d", x, weight, bias, "(O, C/groups, K)")
    sides = padding if isinstance(padding, str) else (0, single("conv1d", "padding", padding, 0))
    geo = conv2d_shape(
        image.shape,
        filters.shape,
        (1, single("conv1d", "stride", stride, 1)),
        sides,
        (1, single("conv1d", "dilation", dilation, 1)),
        groups,
        "conv1d",
    )
    return unbatch(squeeze(convolved("conv1d", image, filters, bias, geo), 2))


def conv_transpose1d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int | tuple[int] = 1,
    padding: int | tuple[int] = 0,
    output_padding: int | tuple[int] = 0,
    groups: int = 1,
    dilation: int | tuple[int] = 1,
) -> Tensor:
    """The transposed convolution of `input` (N, C, L) with `weight` (C, O/groups, K).

    As torch.nn.functional.conv_transpose1d; (C, L) gives one signal. Raises as `conv1d` does.
    """
    op = "conv_transpose1d"
    x, unbatch = batched(op, input, 3)
    image, filters = wide(op, x, weight, bias, "(C, O/groups, K)")
    geo = conv_transpose2d_shape(
        image.shape,
        filters.shape,
        (1, single(op, "stride", stride, 1)),
        (0, single(op, "padding", padding, 0)),
        (0, single(op, "output_padding", output_padding, 0)),
        groups,
        (1, single(op, "dilation", dilation, 1)),
        op,
    )
    return unbatch(squeeze(transposed(op, image, filters, bias, geo), 2))
