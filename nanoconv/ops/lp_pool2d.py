"""Power-average pooling: the p-norm of each window, between the sum (p = 1) and the maximum (∞).

    m[n,c,i,j] = mean of x[n, c, i·s + u, j·s + v]ᵖ over the taps (u, v) inside of the image
    y[n,c,i,j] = (KH·KW · m[n,c,i,j])^(1/p)

with image n, channel c, output pixel (i, j), stride s, a window of KH×KW taps and exponent p. It is
PyTorch's definition, and differs in two ways from a norm. The powers are of x, not of |x|: an odd p
keeps signs, so that a window of sum 0 gives 0 and a negative one NaN. And with ceil_mode, a window
that hangs over has its mean multiplied by KH·KW, as if the rest of it were like what it sees.
For p = ±∞, as in PyTorch, y is the largest or the smallest |x| of the window.

    shapes    x (N, C, H, W)   y (N, C, OH, OW), as in `pool2d`
    cost      a power per input and one per output pixel, and the additions of avg_pool2d
    gradient  dm = dy · KH·KW / p · (KH·KW · m)^(1/p − 1),  0 where m = 0
              dx = p · xᵖ⁻¹ · (the gradient of the mean at dm)

Papers: Sermanet et al., Convolutional Neural Networks Applied to House Numbers Digit
Classification, arXiv 1204.3968; Gulcehre et al., Learned-Norm Pooling, arXiv 1311.1780.

>>> import nanoconv as nc
>>> nc.functional.lp_pool2d(nc.tensor([[[3.0, 4.0], [0.0, 0.0]]]), 2, kernel_size=2).tolist()
[[[5.0]]]
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..dispatch import Op
from ..tensor import Tensor, apply
from .arithmetic import abs as magnitude
from .checks import batched, check_dtypes
from .geometry import Geometry
from .pool2d import MEAN, MEAN_BACKWARD, Means, average_means, max_pool2d, pool2d_shape

Array = np.ndarray


def power(x: Array, p: float) -> Array:
    """xᵖ; by products where those are the same numbers and many times faster."""
    if p == 1:
        return x
    if p in (2, 3):
        y = x * x
        if p == 3:
            y *= x
        return y
    if abs(p) == 0.5:
        return np.sqrt(x) if p > 0 else 1 / np.sqrt(x)
    return np.power(x, x.dtype.type(p))


def sums(geo: Geometry, dtype: np.dtype) -> tuple[Means, Array]:
    """The windows with weight 1, whose sums of opposite numbers are exact; and KH·KW / area."""
    area = average_means(geo, True, None).area
    return average_means(geo, True, 1), (geo.KH * geo.KW / area).astype(dtype)


def lp_pool2d_forward(x: Array, geo: Geometry, p: float) -> tuple[Array, Array]:
    """y and KH·KW·m."""
    means, ratio = sums(geo, x.dtype)
    total = MEAN(power(x, p), means)
    total *= ratio
    return total.copy() if p == 1 else power(total, 1 / p), total


def lp_pool2d_backward(dy: Array, total: Array, x: Array, geo: Geometry, p: float) -> Array:
    means, ratio = sums(geo, x.dtype)
    dm = np.where(total == 0, dy.dtype.type(0), dy * ratio * power(total, 1 / p - 1))
    dx = MEAN_BACKWARD(dm, means)  # times p, as dm is: there 1/p is left out
    if p != 1:
        dx *= power(x, p - 1)
    return dx


LP_POOL2D = Op(
    "lp_pool2d",
    forward=lp_pool2d_forward,
    vjp=lambda dy, y_and_total, x, geo, p: lp_pool2d_backward(dy, y_and_total[1], x, geo, p),
)


def lp_pool2d(
    input: Tensor,
    norm_type: float,
    kernel_size: int | tuple[int, int],
    stride: int | tuple[int, int] | None = None,
    ceil_mode: bool = False,
) -> Tensor:
    """The `norm_type`-norm of every window of `input` (N, C, H, W) or (C, H, W).

    As torch.nn.functional.lp_pool2d, with all that is said above about signs and `ceil_mode`; the
    stride is the kernel's size if not given. ValueError where no window fits or norm_type is 0.

    Unlike PyTorch: `norm_type` NaN is refused.
    """
    x, unbatch = batched("lp_pool2d", input, 4)
    check_dtypes("lp_pool2d", input=x)
    p = checked_norm("lp_pool2d", norm_type)
    if math.isinf(p):
        pool2d_shape("lp_pool2d", x.shape, kernel_size, stride, ceil_mode=ceil_mode)
        sign = 1 if p > 0 else -1
        largest = max_pool2d(sign * magnitude(x), kernel_size, stride, ceil_mode=ceil_mode)
        return unbatch(sign * largest)
    geo = pool2d_shape("lp_pool2d", x.shape, kernel_size, stride, ceil_mode=ceil_mode)
    return unbatch(apply(LP_POOL2D, x, geo=geo, p=p)[0])


def checked_norm(op: str, norm_type: Any) -> float:
    """`norm_type` as a float: any number but 0 and NaN; an error names the op or layer."""
    try:
        p = float(norm_type)
    except (TypeError, ValueError):
        p = 0.0
    if p == 0 or math.isnan(p):
        raise ValueError(f"{op}: norm_type={norm_type!r}, expected a number other than 0")
    return p
