"""Max unpooling: each maximum goes back to where it came from; all other pixels are 0.

    y[n, c, index[n,c,i,j]] = x[n,c,i,j]         0 everywhere else

with image n, channel c, and `index` the position h·OW + w that max_pool2d(…, return_indices=True)
gave for the pixel (i, j). It undoes the pooling as far as its result allows; SegNet's decoder
does so to keep edges where they were. Where two windows shared one maximum, the last one counts.

    shapes    x, index (N, C, H, W)   y (N, C, OH, OW)
              OH = (H − 1)·s − 2p + KH, where the last window ends; `output_size` may give another
              size less than a stride away, because the pooling rounded and forgot which it was
    cost      reading x and index, writing y; nothing is computed
    gradient  dx[n,c,i,j] = dy[n, c, index[n,c,i,j]]

Paper: Badrinarayanan et al., SegNet, arXiv 1511.00561.

>>> import nanoconv as nc
>>> x = nc.tensor([[[1.0, 2.0], [4.0, 3.0]]])
>>> y, index = nc.functional.max_pool2d(x, 2, return_indices=True)
>>> nc.functional.max_unpool2d(y, index, 2).tolist()
[[[0.0, 0.0], [4.0, 0.0]]]
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..dispatch import Body, Kernel, Ladder, Op
from ..tensor import Tensor, apply
from .checks import batched, check_dtypes
from .geometry import check_output, integers, pair

Array = np.ndarray


# --------------------------------------------------------------------------- shapes


def unpooled_shape(
    op: str,
    x: tuple[int, ...],
    kernel: tuple[int, ...],
    stride: tuple[int, ...],
    padding: tuple[int, ...],
    output_size: Sequence[int] | None,
) -> tuple[int, ...]:
    """The shape of y for x, whose last axes are as many as `kernel` has numbers."""
    axes = len(kernel)
    if 0 in x[-axes:]:
        raise ValueError(f"{op}: input {list(x)} has no pixels")
    least = [
        (size - 1) * s - 2 * p + k
        for size, k, s, p in zip(x[-axes:], kernel, stride, padding, strict=True)
    ]
    size = least
    if output_size is not None:
        given = integers(output_size, 0) if isinstance(output_size, (tuple, list)) else ()
        size = list(given[-axes:])
        if len(given) not in (axes, axes + 2) or any(
            abs(a - b) >= s for a, b, s in zip(size, least, stride, strict=True)
        ):
            ranges = " and ".join(
                f"{max(a - s + 1, 0)} to {a + s - 1}" for a, s in zip(least, stride, strict=True)
            )
            names = "a height and a width" if axes == 2 else "a length"
            raise ValueError(
                f"{op}: output_size={output_size!r}, expected {names} (also behind N and C) from "
                f"{ranges}"
            )
    if min(size) < 1:
        raise ValueError(
            f"{op}: with padding={list(padding)} and kernel_size={list(kernel)} the output "
            f"has size {size}, expected at least one pixel"
        )
    shape = *x[:-axes], *size
    check_output(op, shape, kernel_size=kernel, stride=stride)
    return shape


def check_indices(op: str, index: Tensor, x: Tensor, pixels: int) -> None:
    """`index` has for each number of x a position in an image of so many pixels."""
    if not isinstance(index, Tensor):
        raise TypeError(f"{op}: indices must be a nanoconv Tensor, got {type(index).__name__}")
    if index.dtype != np.int64:
        raise TypeError(f"{op}: indices is {index.dtype}, expected int64")
    if index.shape != x.shape:
        raise ValueError(
            f"{op}: indices has shape {list(index.shape)}, expected that of input, {list(x.shape)}"
        )
    if index.numel():
        for k in (index._data.min(), index._data.max()):
            if not 0 <= k < pixels:
                raise ValueError(
                    f"{op}: indices contains {k}, expected 0 to {pixels - 1}, the pixels "
                    "of an output image"
                )


# --------------------------------------------------------------------------- the literal loops


def max_unpool2d_loops(y, x, index, sizes):
    N, C, H, W, OH, OW = sizes
    y[...] = 0
    for n in range(N):
        for c in range(C):
            for i in range(H):
                for j in range(W):
                    k = index[n, c, i, j]
                    y[n, c, k // OW, k % OW] = x[n, c, i, j]


def max_unpool2d_backward_loops(dx, dy, index, sizes):
    N, C, H, W, OH, OW = sizes
    for n in range(N):
        for c in range(C):
            for i in range(H):
                for j in range(W):
                    k = index[n, c, i, j]
                    dx[n, c, i, j] = dy[n, c, k // OW, k % OW]


# --------------------------------------------------------------------------- the NumPy reference


def max_unpool2d_forward(x: Array, index: Array, size: tuple[int, int]) -> Array:
    N, C, H, W = x.shape
    y = np.zeros((N, C, size[0] * size[1]), x.dtype)
    np.put_along_axis(y, index.reshape(N, C, H * W), x.reshape(N, C, H * W), -1)
    return y.reshape(N, C, *size)


def max_unpool2d_backward(dy: Array, index: Array) -> Array:
    N, C, H, W = index.shape
    pixels = dy.reshape(N, C, dy.shape[2] * dy.shape[3])
    return np.take_along_axis(pixels, index.reshape(N, C, H * W), -1).reshape(index.shape)


# --------------------------------------------------------------------------- the ladder


def call_forward(body: Body, x: Array, index: Array, size: tuple[int, int]) -> Array:
    y = body.empty((*x.shape[:2], *size), x.dtype)
    body(body.image(y), body.image(x), body.image(index), sizes=(*x.shape, *size))
    return y


def call_backward(body: Body, dy: Array, index: Array) -> Array:
    dx = body.empty(index.shape, dy.dtype)
    sizes = (*index.shape, *dy.shape[2:])
    body(body.image(dx), body.image(dy), body.image(index), sizes=sizes)
    return dx


FORWARD = Ladder(
    "max_unpool2d.forward",
    reference=max_unpool2d_forward,
    kernels=[
        Kernel("cython.direct", "pool_cy:max_unpool_f32"),
        Kernel("numba.direct", "pool_nb:max_unpool_f32"),
        Kernel("numba.loops", "jit"),
    ],
    call=call_forward,
    loops=max_unpool2d_loops,
)
BACKWARD = Ladder(
    "max_unpool2d.backward",
    reference=max_unpool2d_backward,
    kernels=[
        Kernel("cython.direct", "pool_cy:max_unpool_backward_f32"),
        Kernel("numba.direct", "pool_nb:max_unpool_backward_f32"),
        Kernel("numba.loops", "jit"),
    ],
    call=call_backward,
    loops=max_unpool2d_backward_loops,
)
MAX_UNPOOL2D = Op(
    "max_unpool2d",
    forward=lambda x, index, size: FORWARD(x, index, size),
    vjp=(lambda dy, y, x, index, size: BACKWARD(dy, index),),
    keeps="1",
)


# --------------------------------------------------------------------------- the public function


def max_unpool2d(
    input: Tensor,
    indices: Tensor,
    kernel_size: int | tuple[int, int],
    stride: int | tuple[int, int] | None = None,
    padding: int | tuple[int, int] = 0,
    output_size: Sequence[int] | None = None,
) -> Tensor:
    """`input` (N, C, H, W) or (C, H, W) put at `indices` into a larger image of zeros.

    As torch.nn.functional.max_unpool2d, with the arguments of the max_pool2d that it undoes;
    `output_size` is the shape that was pooled, with N and C or without. ValueError for another
    size than one that pools to this, and for indices outside of it.

    Unlike PyTorch: a stride of 0, negative padding and an output without pixels are refused.
    """
    x, unbatch = batched("max_unpool2d", input, 4)
    check_dtypes("max_unpool2d", input=x)
    kernel = pair("max_unpool2d", "kernel_size", kernel_size, 1)
    strides = kernel if stride is None else pair("max_unpool2d", "stride", stride, 1)
    paddings = pair("max_unpool2d", "padding", padding, 0)
    OH, OW = unpooled_shape("max_unpool2d", input.shape, kernel, strides, paddings, output_size)[
        -2:
    ]
    check_indices("max_unpool2d", indices, input, OH * OW)
    index, _ = batched("max_unpool2d", indices, 4)
    return unbatch(apply(MAX_UNPOOL2D, x, index, size=(OH, OW)))
