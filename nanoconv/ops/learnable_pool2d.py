"""Learnable pooling: a weighted mean of each window, whose weights are learned.

    a[u,v]       = e^w[u,v] / Σ_{u',v'} e^w[u',v']        positive, with sum 1
    y[n,c,i,j]   = Σ_{u,v} a[u,v] · x[n, c, i·s + u − p, j·s + v − p]

with image n, channel c, output pixel (i, j), tap (u, v) of a window of KH×KW, stride s and padding
p, which counts as zeros. All channels share w, or each has one of its own. Every y lies between the
least and the largest number of its window, as a maximum and a mean do: what is learned is only
where to look. w = 0 is average pooling; where one w is much larger than the rest, y is that pixel.

    shapes    x (N, C, H, W)   w (1, 1, KH, KW) or (C, 1, KH, KW)   y (N, C, OH, OW)
              OH = ⌊(H + 2p − KH) / s⌋ + 1
    cost      N·C·OH·OW · KH·KW multiply-adds
    gradient  that of `depthwise_conv2d`, with a for its weight, then that of `softmax`:
              dw[u,v] = a[u,v] · (da[u,v] − Σ_{u',v'} da[u',v'] · a[u',v'])

It is those two ops, one after the other. Pooling by learned filters is of Lee, Gallagher, Tu,
Generalizing Pooling Functions, arXiv 1509.08985, where they are the leaves of a tree; that they
add up to 1 by a softmax is a choice made here.

>>> import nanoconv as nc
>>> x, w = nc.tensor([[[1.0, 2.0], [3.0, 4.0]]]), nc.zeros(1, 1, 2, 2)
>>> nc.functional.learnable_pool2d(x, w).tolist()
[[[2.5]]]
>>> w[0, 0, 1, 0] = 100.0
>>> nc.functional.learnable_pool2d(x, w).tolist()
[[[3.0]]]
"""

from __future__ import annotations

from ..tensor import Tensor
from .checks import batched, check_dtypes
from .depthwise_conv2d import depthwise_conv2d
from .geometry import check_output, output_size, pair
from .softmax import softmax


def learnable_pool2d(
    input: Tensor,
    weight: Tensor,
    stride: int | tuple[int, int] | None = None,
    padding: int | tuple[int, int] = 0,
) -> Tensor:
    """The mean of every window of `input` (N, C, H, W) or (C, H, W), weighted by softmax(`weight`).

    `weight` is (1, 1, KH, KW) for all channels or (C, 1, KH, KW) with one window for each; the
    stride is the window's size if not given. ValueError where shapes do not fit or no window does.
    """
    x, unbatch = batched("learnable_pool2d", input, 4)
    check_dtypes("learnable_pool2d", input=x, weight=weight)
    C, w = x.shape[1], weight.shape
    if len(w) != 4 or w[0] not in (1, C) or w[1] != 1 or 0 in w:
        raise ValueError(
            f"learnable_pool2d: weight has shape {list(w)}, expected [1, 1, KH, KW] or "
            f"[{C}, 1, KH, KW]"
        )
    strides = pair("learnable_pool2d", "stride", w[2:] if stride is None else stride, 1)
    around = pair("learnable_pool2d", "padding", padding, 0)
    image = []
    for axis, k in (("height", 0), ("width", 1)):
        if 2 * around[k] > w[2 + k]:
            raise ValueError(
                f"learnable_pool2d: padding={padding!r} must be at most half of the window "
                f"{list(w[2:])}"
            )
        size = x.shape[2 + k]
        window = around[k], around[k], w[2 + k], strides[k], 1
        image.append(output_size("learnable_pool2d", axis, size, *window))
    check_output("learnable_pool2d", (*x.shape[:2], *image), padding=padding, stride=stride)
    shares = softmax(weight.reshape(w[0], w[2] * w[3]), 1).reshape(w).expand(C, *w[1:])
    return unbatch(depthwise_conv2d(x, shares, None, strides, around))
