"""Channel shuffle: deal the channels of G groups out like cards, so that groups can meet.

    y[n, k·G + g, h, w] = x[n, g·(C/G) + k, h, w]

n image, g group, k channel within the group, (h, w) pixel. Channel g·(C/G) + k is card k of hand g;
the output takes card 0 of every hand, then card 1 of every hand, and so on: read the C channels as
a G × C/G matrix, transpose it, and write it out in a row. After a grouped convolution every group
would otherwise see only its own channels for ever; shuffled, the next one sees some of each.

    shapes    x and y (N, C, …), any number of pixel axes; G divides C
    cost      nothing but moving each number once

What one transposition has done the other undoes, so the gradient is a shuffle with C/G groups:

    dx[n, g·(C/G) + k, h, w] = dy[n, k·G + g, h, w]

Paper: Zhang et al., ShuffleNet, arXiv 1707.01083.

>>> import nanoconv as nc
>>> x = nc.tensor([0.0, 1.0, 2.0, 3.0, 4.0, 5.0]).reshape(1, 6, 1, 1)
>>> nc.functional.channel_shuffle(x, 2).flatten()
tensor([0., 3., 1., 4., 2., 5.])
"""

from __future__ import annotations

import numpy as np

from ..dispatch import Body, Kernel, Ladder, Op, at_least, empty, rows, unrows
from ..tensor import Tensor, apply
from .checks import check_dtypes, check_groups

Array = np.ndarray


# --------------------------------------------------------------------------- the literal loops


def channel_shuffle_loops(y, x, sizes):
    M, C, G = sizes  # M pixels
    for m in range(M):
        for g in range(G):
            for k in range(C // G):
                y[m, k * G + g] = x[m, g * (C // G) + k]


# --------------------------------------------------------------------------- the NumPy reference


def channel_shuffle_forward(x: Array, groups: int) -> Array:
    N, C, *pixels = x.shape
    hands = x.reshape(N, groups, C // groups, *pixels)
    return hands.swapaxes(1, 2).reshape(x.shape)


# --------------------------------------------------------------------------- the ladder


def channels_innermost(x: Array, groups: int) -> bool:
    """The channels of a pixel are neighbours in memory; else NumPy moves whole planes at once."""
    return x.transpose(0, *range(2, x.ndim), 1).flags.c_contiguous


def call(body: Body, x: Array, groups: int) -> Array:
    xr = rows(x)  # (M, C)
    yr = empty(xr.shape, x.dtype)
    body(yr, xr, sizes=(*xr.shape, groups))
    return unrows(yr, x.shape)


LARGE = at_least(1 << 15)  # below, NumPy's call costs less

LADDER = Ladder(
    "channel_shuffle",
    reference=channel_shuffle_forward,
    kernels=[
        Kernel("cython.rows", "shuffle_cy:channel_shuffle_f32", channels_innermost, LARGE),
        Kernel("numba.rows", "shuffle_nb:channel_shuffle_f32", channels_innermost, LARGE),
        Kernel("numba.loops", "jit"),
    ],
    call=call,
    loops=channel_shuffle_loops,
)
CHANNEL_SHUFFLE = Op(
    "channel_shuffle",
    forward=lambda x, groups: LADDER(x, groups),
    vjp=lambda dy, y, x, groups: LADDER(dy, dy.shape[1] // groups or 1),  # 1: there may be none
    keeps="",
)


# --------------------------------------------------------------------------- the public function


def channel_shuffle(input: Tensor, groups: int) -> Tensor:
    """The channels of `input` (N, C, …), dealt out from `groups` groups.

    As torch.nn.functional.channel_shuffle. ValueError if `groups` does not divide the channels.
    """
    check_dtypes("channel_shuffle", input=input)
    if input.ndim < 3:
        raise ValueError(
            f"channel_shuffle: input has shape {list(input.shape)}, expected (N, C, …) with pixels"
        )
    check_groups("channel_shuffle", groups, input.shape[1], input.shape[1])
    return apply(CHANNEL_SHUFFLE, input, groups=groups)
