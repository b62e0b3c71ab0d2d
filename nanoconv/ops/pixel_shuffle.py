"""Pixel shuffle: r² channels of a small image become one channel of an image r times as large.

    y[n, c, h·r + u, w·r + v] = x[n, c·r² + u·r + v, h, w]        0 ≤ u, v < r

n image, c output channel, (h, w) input pixel, (u, v) place within the r×r block that this pixel
becomes. A net for super-resolution does all its work at the small size, and only its last layer, a
convolution to C·r² channels and this, is as large as the picture. Pixel unshuffle is the way back:
it takes nothing away, where pooling and strides would.

    shapes    x (N, C·r², H, W)   y (N, C, H·r, W·r)
    cost      nothing but moving each number once

Each is the other's inverse, and so the other's gradient:

    dx[n, c·r² + u·r + v, h, w] = dy[n, c, h·r + u, w·r + v]

Paper: Shi et al., Real-Time Single Image and Video Super-Resolution Using an Efficient Sub-Pixel
Convolutional Neural Network, arXiv 1609.05158.

>>> import nanoconv as nc
>>> x = nc.tensor([1.0, 2.0, 3.0, 4.0]).reshape(1, 4, 1, 1)
>>> y = nc.functional.pixel_shuffle(x, 2)
>>> y
tensor([[[[1., 2.],
          [3., 4.]]]])
>>> nc.functional.pixel_unshuffle(y, 2).flatten()
tensor([1., 2., 3., 4.])
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..dispatch import Body, Kernel, Ladder, Op, at_least, empty, is_channels_last
from ..tensor import Tensor, apply
from .checks import check_dtypes
from .geometry import check_output
from .shaping import integer, reshape

Array = np.ndarray


# --------------------------------------------------------------------------- the literal loops


def pixel_shuffle_loops(y, x, sizes):
    N, C, H, W, r = sizes
    for n in range(N):
        for c in range(C):
            for h in range(H):
                for w in range(W):
                    for u in range(r):
                        for v in range(r):
                            y[n, c, h * r + u, w * r + v] = x[n, (c * r + u) * r + v, h, w]


def pixel_unshuffle_loops(x, y, sizes):
    N, C, H, W, r = sizes
    for n in range(N):
        for c in range(C):
            for h in range(H):
                for w in range(W):
                    for u in range(r):
                        for v in range(r):
                            x[n, (c * r + u) * r + v, h, w] = y[n, c, h * r + u, w * r + v]


# --------------------------------------------------------------------------- the NumPy reference


def pixel_shuffle_forward(x: Array, r: int) -> Array:
    N, D, H, W = x.shape
    y = empty((N, D // r**2, H * r, W * r), x.dtype, is_channels_last(x))
    for u in range(r):
        for v in range(r):
            y[:, :, u::r, v::r] = x[:, u * r + v :: r * r]
    return y


def pixel_unshuffle_forward(y: Array, r: int) -> Array:
    N, C, H, W = y.shape
    x = empty((N, C * r**2, H // r, W // r), y.dtype, is_channels_last(y))
    for u in range(r):
        for v in range(r):
            x[:, u * r + v :: r * r] = y[:, :, u::r, v::r]
    return x


# --------------------------------------------------------------------------- the ladder


def channels_last(x: Array, r: int) -> bool:
    """Channels-last memory; else NumPy moves whole planes at once."""
    return is_channels_last(x)


def call_shuffle(body: Body, x: Array, r: int) -> Array:
    N, D, H, W = x.shape
    y = body.empty((N, D // r**2, H * r, W * r), x.dtype)
    body(body.image(y), body.image(x), sizes=(N, D // r**2, H, W, r))
    return y


def call_unshuffle(body: Body, y: Array, r: int) -> Array:
    N, C, H, W = y.shape
    x = body.empty((N, C * r**2, H // r, W // r), y.dtype)
    body(body.image(x), body.image(y), sizes=(N, C, H // r, W // r, r))
    return x


LARGE = at_least(1 << 12)  # below, NumPy's call costs less


def ladder(name: str, reference: Callable, call: Callable, loops: Callable) -> Ladder:
    """The ladder of one direction: its compiled rungs have its name."""
    return Ladder(
        name,
        reference=reference,
        kernels=[
            Kernel("cython.blocks", f"pixel_shuffle_cy:{name}_f32", channels_last, LARGE),
            Kernel("numba.blocks", f"pixel_shuffle_nb:{name}_f32", channels_last, LARGE),
            Kernel("numba.loops", "jit"),
        ],
        call=call,
        loops=loops,
    )


SHUFFLE = ladder("pixel_shuffle", pixel_shuffle_forward, call_shuffle, pixel_shuffle_loops)
UNSHUFFLE = ladder(
    "pixel_unshuffle", pixel_unshuffle_forward, call_unshuffle, pixel_unshuffle_loops
)
PIXEL_SHUFFLE = Op(
    "pixel_shuffle",
    forward=lambda x, r: SHUFFLE(x, r),
    vjp=lambda dy, y, x, r: UNSHUFFLE(dy, r),
    keeps="",
)
PIXEL_UNSHUFFLE = Op(
    "pixel_unshuffle",
    forward=lambda x, r: UNSHUFFLE(x, r),
    vjp=lambda dy, y, x, r: SHUFFLE(dy, r),
    keeps="",
)


# --------------------------------------------------------------------------- the public functions


def _image(op: str, input: Tensor) -> Tensor:
    """Any axes before (C, H, W) as one."""
    check_dtypes(op, input=input)
    if input.ndim < 3:
        raise ValueError(f"{op}: input has shape {list(input.shape)}, expected (…, C, H, W)")
    if input.ndim == 4:
        return input
    batch = int(np.prod(input.shape[:-3], dtype=np.int64))
    return reshape(input, (batch, *input.shape[-3:]))


def _factor(op: str, name: str, value: Any) -> int:
    if (r := integer(op, name, value)) < 1:
        raise ValueError(f"{op}: {name}={r}, expected an integer from 1 up")
    return r


def pixel_shuffle(input: Tensor, upscale_factor: int) -> Tensor:
    """`input` (…, C·r², H, W) as (…, C, H·r, W·r), with r the `upscale_factor`.

    As torch.nn.functional.pixel_shuffle. ValueError if r² does not divide the channels.

    Unlike PyTorch: integer tensors are refused.
    """
    x, r = (
        _image("pixel_shuffle", input),
        _factor("pixel_shuffle", "upscale_factor", upscale_factor),
    )
    D, H, W = input.shape[-3:]
    if D % r**2:
        raise ValueError(
            f"pixel_shuffle: upscale_factor={r}: its square must divide the {D} input channels"
        )
    check_output("pixel_shuffle", (x.shape[0], D // r**2, H * r, W * r), upscale_factor=r)
    y = apply(PIXEL_SHUFFLE, x, r=r)
    return y if input.ndim == 4 else reshape(y, (*input.shape[:-3], *y.shape[1:]))


def pixel_unshuffle(input: Tensor, downscale_factor: int) -> Tensor:
    """`input` (…, C, H·r, W·r) as (…, C·r², H, W), with r the `downscale_factor`.

    As torch.nn.functional.pixel_unshuffle. ValueError if r does not divide height and width.

    Unlike PyTorch: integer tensors are refused.
    """
    x = _image("pixel_unshuffle", input)
    r = _factor("pixel_unshuffle", "downscale_factor", downscale_factor)
    if input.shape[-1] % r or input.shape[-2] % r:
        raise ValueError(
            f"pixel_unshuffle: downscale_factor={r} must divide height and width of an input of "
            f"shape {list(input.shape)}"
        )
    check_output("pixel_unshuffle", x.shape, downscale_factor=r)
    y = apply(PIXEL_UNSHUFFLE, x, r=r)
    return y if input.ndim == 4 else reshape(y, (*input.shape[:-3], *y.shape[1:]))
