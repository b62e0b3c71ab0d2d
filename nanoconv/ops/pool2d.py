"""Pooling: the maximum, or the mean, of each window of each channel.

    max    y[n,c,i,j] = max_{u,v} x[n, c, i·s + u·d − p, j·s + v·d − p]      over taps in the image
    mean   y[n,c,i,j] = scale[i,j] · Σ_{h in rows(i), w in cols(j)} x[n,c,h,w]

with the letters of `conv2d`: n image, c channel, (i, j) output pixel, (u, v) tap, stride s, padding
p, dilation d. There are three averages, and they differ only in their windows and scale:

    avg_pool2d            rows(i) = i·s − p … i·s − p + KH, cut off at the image's border;
                          scale = 1 / the window's area, with its padding or without
    adaptive_avg_pool2d   rows(i) = ⌊i·H/OH⌋ … ⌈(i+1)·H/OH⌉: any image to OH×OW; scale = 1 / area
    global_avg_pool2d     the window is the whole image: OH = OW = 1

    shapes    x (N, C, H, W)   y (N, C, OH, OW)
              OH = ⌊(H + 2p − d·(KH − 1) − 1) / s⌋ + 1;  ceil_mode rounds up, so that a window may
              hang over, but none starts behind the image; padding "same" is TensorFlow's: as
              little as gives OH = ⌈H/s⌉, half of it before, and the odd pixel after the image
    cost      N·C·OH·OW · KH·KW comparisons or additions

A maximum passes its gradient on to the pixel that it came from, a mean to all its pixels alike:

    max    dx[n,c,h,w] = Σ_{i,j: the maximum of (i,j) is at (h,w)} dy[n,c,i,j]
    mean   dx[n,c,h,w] = Σ_{i,j: h in rows(i), w in cols(j)} scale[i,j] · dy[n,c,i,j]

Of equal maxima the first one, in reading order, takes all; a NaN is taken for larger than any
number, and a later NaN for larger than an earlier one, as in PyTorch. Where it was is found out
only if someone will ask, which takes longer than the maximum itself.

Papers: LeCun et al., Gradient-Based Learning Applied to Document Recognition, Proc. IEEE 86, 1998
(mean); Riesenhuber, Poggio, Nature Neuroscience 2, 1999 (maximum); Lin et al., Network in Network,
arXiv 1312.4400 (global).

>>> import nanoconv as nc
>>> x = nc.tensor([[[[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]]], requires_grad=True)
>>> y, index = nc.functional.max_pool2d(x, 2, stride=1, return_indices=True)
>>> y.tolist(), index.tolist()  # 5 is pixel 1·3 + 1 of the image, 6 pixel 1·3 + 2
([[[[5.0, 6.0]]]], [[[[4, 5]]]])
>>> nc.functional.avg_pool2d(x, 2, stride=1).tolist()
[[[[3.0, 4.0]]]]
>>> y.sum().backward()
>>> x.grad.tolist()
[[[[0.0, 0.0, 0.0], [0.0, 1.0, 1.0]]]]
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from ..dispatch import Body, Kernel, Ladder, Op, empty, is_channels_last
from ..tape import is_grad_enabled
from ..tensor import Tensor, apply, beside
from .checks import batched, check_dtypes
from .geometry import Geometry, check_output, extent, four_sides, pair

Array = np.ndarray


# --------------------------------------------------------------------------- shapes


def pool2d_shape(
    op: str,
    x: tuple[int, ...],
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
) -> Geometry:
    """Check that the windows fit into x (N, C, H, W); returns every size of the equation."""
    kernel = pair(op, "kernel_size", kernel_size, 1)
    strides = kernel if stride is None else pair(op, "stride", stride, 1)
    dilations = pair(op, "dilation", dilation, 1)
    around = pooled_padding(op, padding)
    if not isinstance(around, str):
        for pad, taps in zip(around[::2], kernel, strict=True):
            check_half(op, pad, taps)
    return _pool_geometry(op, x, kernel, strides, around, dilations, bool(ceil_mode))


def check_half(op: str, pad: int, kernel: int) -> None:
    """More padding would make windows that see nothing else."""
    if 2 * pad > kernel:
        raise ValueError(f"{op}: padding={pad} must be at most half of kernel_size={kernel}")


def pooled_padding(op: str, padding: Any) -> tuple[int, int, int, int] | str:
    """Any form of the `padding` argument as (top, bottom, left, right), or "same"."""
    if isinstance(padding, str):
        if padding != "same":
            raise ValueError(f"{op}: padding={padding!r}, expected 'same' or one or two integers")
        return padding
    ph, pw = pair(op, "padding", padding, 0)
    return ph, ph, pw, pw


@lru_cache(maxsize=4096)
def _pool_geometry(
    op: str,
    x: tuple[int, ...],
    kernel: tuple[int, int],
    stride: tuple[int, int],
    padding: tuple[int, int, int, int] | str,
    dilation: tuple[int, int],
    ceil_mode: bool,
) -> Geometry:
    (N, C, H, W), (KH, KW), (sh, sw), (dh, dw) = x, kernel, stride, dilation
    pt, pb, pl, pr = four_sides(op, padding, (H, W), kernel, stride, dilation)
    OH = pooled_size(op, "height", H, KH, sh, (pt, pb), dh, ceil_mode)
    OW = pooled_size(op, "width", W, KW, sw, (pl, pr), dw, ceil_mode)
    check_output(op, (N, C, OH, OW), kernel_size=kernel, stride=stride)
    return Geometry(N, C, H, W, C, OH, OW, KH, KW, sh, sw, pt, pb, pl, pr, dh, dw)


def pooled_size(
    op: str,
    axis: str,
    size: int,
    kernel: int,
    stride: int,
    padding: tuple[int, int],
    dilation: int,
    ceil: bool,
) -> int:
    """OH (or OW): the number of windows along one axis."""
    before, after = padding
    room = size + before + after - extent(kernel, dilation)  # how far a window can move
    out = (-(-room // stride) if ceil else room // stride) + 1
    if ceil and (out - 1) * stride >= size + before:
        out -= 1  # this one would start behind the image
    if size < 1 or out < 1:
        raise ValueError(
            f"{op}: a window of {extent(kernel, dilation)} pixels (kernel {kernel}, dilation "
            f"{dilation}) does not fit into the input's {axis} {size} padded by {before} and "
            f"{after}"
        )
    if dilation > size:  # a window that starts in the padding may step over all pixels
        starts = np.arange(min(out, -(-before // stride))) * stride - before
        stepped_over = bool(np.any(starts % dilation >= size))  # the first tap that is not before
    else:
        stepped_over = False
    if stepped_over:
        raise ValueError(
            f"{op}: with dilation={dilation} and padding={before}, a window steps over the whole "
            f"{axis} {size} of the input"
        )
    return out


@dataclass(frozen=True, eq=False)
class Means:
    """The windows of a mean: output row i sees the rows rows[i,0] ≤ h < rows[i,1]."""

    H: int
    W: int
    rows: Array  # (OH, 2)
    cols: Array  # (OW, 2)
    area: Array  # (OH, OW): what the sum over the window is divided by

    def scale(self, dtype: np.dtype) -> Array:
        return (1 / self.area).astype(dtype)


@lru_cache(maxsize=4096)
def signals(windows: Means, planes: int) -> Means:
    """The same windows of `planes` signals that are the rows of one image."""
    rows = np.stack([np.arange(planes), np.arange(planes) + 1], 1)
    return Means(planes, windows.W, rows, windows.cols, windows.area.repeat(planes, 0))


@lru_cache(maxsize=4096)
def average_means(geo: Geometry, count_include_pad: bool, divisor_override: int | None) -> Means:
    """The windows of avg_pool2d, cut off at the image's border."""
    start_h, start_w = np.arange(geo.OH) * geo.sh - geo.pt, np.arange(geo.OW) * geo.sw - geo.pl
    rows = np.stack([start_h, np.minimum(start_h + geo.KH, geo.H + geo.pb)], 1)  # with padding
    cols = np.stack([start_w, np.minimum(start_w + geo.KW, geo.W + geo.pr)], 1)
    inside_rows, inside_cols = np.clip(rows, 0, geo.H), np.clip(cols, 0, geo.W)
    counted = (rows, cols) if count_include_pad else (inside_rows, inside_cols)
    area = np.outer(*(np.diff(spans)[:, 0].astype(np.float64) for spans in counted))
    if divisor_override is not None:
        area[...] = divisor_override
    return Means(geo.H, geo.W, inside_rows, inside_cols, area)


# --------------------------------------------------------------------------- the literal loops


def max_pool2d_loops(y, index, x, sizes):
    N, C, H, W, OH, OW, KH, KW, sh, sw, pt, pl, dh, dw = sizes
    for n in range(N):
        for c in range(C):
            for i in range(OH):
                for j in range(OW):
                    best = -1
                    for u in range(KH):
                        for v in range(KW):
                            h = i * sh + u * dh - pt
                            q = j * sw + v * dw - pl
                            if 0 <= h < H and 0 <= q < W:
                                value = x[n, c, h, q]
                                if best < 0 or value > y[n, c, i, j] or value != value:
                                    y[n, c, i, j] = value
                                    best = h * W + q
                    index[n, c, i, j] = best


def window_max_loops(y, x, rows, cols, sizes):
    N, C, H, W, OH, OW = sizes
    for n in range(N):
        for c in range(C):
            for i in range(OH):
                for j in range(OW):
                    y[n, c, i, j] = x[n, c, rows[i, 0], cols[j, 0]]
                    for h in range(rows[i, 0], rows[i, 1]):
                        for w in range(cols[j, 0], cols[j, 1]):
                            value = x[n, c, h, w]
                            if value > y[n, c, i, j] or value != value:
                                y[n, c, i, j] = value


def max_pool2d_backward_loops(dx, dy, index, sizes):
    N, C, H, W, OH, OW = sizes
    dx[...] = 0
    for n in range(N):
        for c in range(C):
            for i in range(OH):
                for j in range(OW):
                    k = index[n, c, i, j]
                    dx[n, c, k // W, k % W] += dy[n, c, i, j]


def window_mean_loops(y, x, rows, cols, scale, sizes):
    N, C, H, W, OH, OW = sizes
    for n in range(N):
        for c in range(C):
            for i in range(OH):
                for j in range(OW):
                    total = 0.0
                    for h in range(rows[i, 0], rows[i, 1]):
                        for w in range(cols[j, 0], cols[j, 1]):
                            total += x[n, c, h, w]
                    y[n, c, i, j] = scale[i, j] * total


def window_mean_backward_loops(dx, dy, rows, cols, scale, sizes):
    N, C, H, W, OH, OW = sizes
    dx[...] = 0
    for n in range(N):
        for c in range(C):
            for i in range(OH):
                for j in range(OW):
                    for h in range(rows[i, 0], rows[i, 1]):
                        for w in range(cols[j, 0], cols[j, 1]):
                            dx[n, c, h, w] += scale[i, j] * dy[n, c, i, j]


# --------------------------------------------------------------------------- the NumPy reference


def max_pool2d_forward(x: Array, geo: Geometry) -> tuple[Array, Array]:
    xp = geo.padded(x)
    y = empty(geo.y_shape, x.dtype, is_channels_last(x))
    index = np.full_like(y, -1, np.int64)  # h·W + w of the maximum so far
    for u, v in geo.taps():
        h = np.arange(geo.OH)[:, None] * geo.sh + u * geo.dh - geo.pt  # (OH, 1)
        w = np.arange(geo.OW) * geo.sw + v * geo.dw - geo.pl  # (OW,)
        seen = xp[geo.tap(u, v)]  # (N, C, OH, OW)
        better = (index < 0) | (seen > y) | np.isnan(seen)
        better &= (h >= 0) & (h < geo.H) & (w >= 0) & (w < geo.W)
        np.copyto(y, seen, where=better)
        np.copyto(index, h * geo.W + w, where=better)
    return y, index


def window_max_forward(x: Array, windows: Means) -> Array:
    """The maxima without their places, of windows as those of a mean."""
    (N, C, _, W), (OH, OW) = x.shape, windows.area.shape
    lines = empty((N, C, OH, W), x.dtype)
    for i, (start, stop) in enumerate(windows.rows):
        lines[:, :, i] = x[:, :, start:stop].max(2)
    y = empty((N, C, OH, OW), x.dtype, is_channels_last(x))
    for j, (start, stop) in enumerate(windows.cols):
        y[..., j] = lines[..., start:stop].max(3)
    return y


def max_pool2d_backward(dy: Array, index: Array, x_shape: tuple[int, ...]) -> Array:
    N, C, H, W = x_shape
    dx = np.zeros((N, C, H * W), dy.dtype)
    n, c = np.ogrid[:N, :C]
    pixels = index.reshape(N, C, math.prod(index.shape[2:]))
    np.add.at(dx, (n[..., None], c[..., None], pixels), dy.reshape(pixels.shape))
    return dx.reshape(x_shape)


def window_mean_forward(x: Array, means: Means) -> Array:
    (N, C, _, W), (OH, OW) = x.shape, means.area.shape
    sums = empty((N, C, OH, W), x.dtype)
    for i, (start, stop) in enumerate(means.rows):
        sums[:, :, i] = x[:, :, start:stop].sum(2)
    y = empty((N, C, OH, OW), x.dtype, is_channels_last(x))
    for j, (start, stop) in enumerate(means.cols):
        y[..., j] = sums[..., start:stop].sum(3)
    y *= means.scale(x.dtype)
    return y


def window_mean_backward(dy: Array, means: Means) -> Array:
    N, C, OH, OW = dy.shape
    scaled = dy * means.scale(dy.dtype)
    sums = np.zeros((N, C, OH, means.W), dy.dtype)
    for j, (start, stop) in enumerate(means.cols):
        sums[..., start:stop] += scaled[..., j, None]
    dx = np.zeros((N, C, means.H, means.W), dy.dtype)
    for i, (start, stop) in enumerate(means.rows):
        dx[:, :, start:stop] += sums[:, :, i, None]
    return dx


# --------------------------------------------------------------------------- the ladder


def call_max(body: Body, x: Array, geo: Geometry) -> tuple[Array, Array]:
    y, index = body.empty(geo.y_shape, x.dtype), body.empty(geo.y_shape, np.int64)
    body(body.image(y), body.image(index), body.image(x), sizes=geo.pool_sizes)
    return y, index


def call_window_max(body: Body, x: Array, windows: Means) -> Array:
    y = body.empty((*x.shape[:2], *windows.area.shape), x.dtype)
    sizes = (*x.shape, *y.shape[2:])
    body(body.image(y), body.image(x), windows.rows, windows.cols, sizes=sizes)
    return y


def call_max_backward(body: Body, dy: Array, index: Array, x_shape: tuple[int, ...]) -> Array:
    dx = body.empty(x_shape, dy.dtype)
    sizes = (*x_shape, *dy.shape[2:])
    body(body.image(dx), body.image(dy), body.image(index), sizes=sizes)
    return dx


def call_mean(body: Body, x: Array, means: Means) -> Array:
    y = body.empty((*x.shape[:2], *means.area.shape), x.dtype)
    windows, sizes = (means.rows, means.cols, means.scale(x.dtype)), (*x.shape, *y.shape[2:])
    body(body.image(y), body.image(x), *windows, sizes=sizes)
    return y


def call_mean_backward(body: Body, dy: Array, means: Means) -> Array:
    dx = body.empty((*dy.shape[:2], means.H, means.W), dy.dtype)
    windows, sizes = (means.rows, means.cols, means.scale(dy.dtype)), (*dx.shape, *dy.shape[2:])
    body(body.image(dx), body.image(dy), *windows, sizes=sizes)
    return dx


MAX = Ladder(
    "max_pool2d.forward",
    reference=max_pool2d_forward,
    kernels=[
        Kernel("cython.direct", "pool_cy:max_pool_f32"),
        Kernel("numba.direct", "pool_nb:max_pool_f32"),
        Kernel("numba.loops", "jit"),
    ],
    call=call_max,
    loops=max_pool2d_loops,
)
WINDOW_MAX = Ladder(
    "window_max.forward",
    reference=window_max_forward,
    kernels=[
        Kernel("cython.direct", "pool_cy:window_max_only_f32"),
        Kernel("numba.direct", "pool_nb:window_max_only_f32"),
        Kernel("numba.loops", "jit"),
    ],
    call=call_window_max,
    loops=window_max_loops,
)
MAX_BACKWARD = Ladder(
    "max_pool2d.backward",
    reference=max_pool2d_backward,
    kernels=[
        Kernel("cython.direct", "pool_cy:max_pool_backward_f32"),
        Kernel("numba.direct", "pool_nb:max_pool_backward_f32"),
        Kernel("numba.loops", "jit"),
    ],
    call=call_max_backward,
    loops=max_pool2d_backward_loops,
)
MEAN = Ladder(
    "window_mean.forward",
    reference=window_mean_forward,
    kernels=[
        Kernel("cython.direct", "pool_cy:window_mean_f32"),
        Kernel("numba.direct", "pool_nb:window_mean_f32"),
        Kernel("numba.loops", "jit"),
    ],
    call=call_mean,
    loops=window_mean_loops,
)
MEAN_BACKWARD = Ladder(
    "window_mean.backward",
    reference=window_mean_backward,
    kernels=[
        Kernel("cython.direct", "pool_cy:window_mean_backward_f32"),
        Kernel("numba.direct", "pool_nb:window_mean_backward_f32"),
        Kernel("numba.loops", "jit"),
    ],
    call=call_mean_backward,
    loops=window_mean_backward_loops,
)


def max_pool2d_op(x: Array, geo: Geometry, indices: bool) -> Any:
    """(y, index), or y alone, which dilated windows are not worth a kernel for."""
    if indices:
        return MAX(x, geo)
    if geo.dh > 1 or geo.dw > 1:
        return MAX(x, geo)[0]
    windows = average_means(geo, True, 1)
    if geo.H == geo.OH == 1 and x.flags.c_contiguous:  # signals, as they lie there: no copy
        planes = geo.N * geo.C
        rows = x.reshape(1, 1, planes, geo.W)
        return WINDOW_MAX(rows, signals(windows, planes)).reshape(geo.y_shape)
    return WINDOW_MAX(x, windows)


MAX_POOL2D = Op(
    "max_pool2d",
    forward=max_pool2d_op,
    vjp=lambda dy, y_and_index, x, geo, indices: MAX_BACKWARD(dy, y_and_index[1], x.shape),
    keeps="",
)
AVG_POOL2D = Op(
    "avg_pool2d",
    forward=lambda x, **windows: MEAN(x, average_means(**windows)),
    vjp=lambda dy, y, x, **windows: MEAN_BACKWARD(dy, average_means(**windows)),
    keeps="",
)


# --------------------------------------------------------------------------- the public functions


def max_pool2d(
    input: Tensor,
    kernel_size: int | tuple[int, int],
    stride: int | tuple[int, int] | None = None,
    padding: int | tuple[int, int] | str = 0,
    dilation: int | tuple[int, int] = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """The maximum of every window of `input` (N, C, H, W) or (C, H, W).

    As torch.nn.functional.max_pool2d; the stride is the kernel's size if not given. With
    `return_indices` also the position h·W + w of each maximum in its image. ValueError where a
    window does not fit, or sees nothing but padding (as it may with a dilation).

    Unlike PyTorch: a dilated window that steps over the whole image, and so sees nothing but
    padding, is refused; and `padding` may be "same".
    """
    x, unbatch = batched("max_pool2d", input, 4)
    check_dtypes("max_pool2d", input=x)
    geo = pool2d_shape("max_pool2d", x.shape, kernel_size, stride, padding, dilation, ceil_mode)
    indices = return_indices or is_recorded(x)
    return with_indices(apply(MAX_POOL2D, x, geo=geo, indices=indices), unbatch, return_indices)


def is_recorded(x: Tensor) -> bool:
    """True if the gradient of what is computed from `x` may be asked for."""
    return x.requires_grad and is_grad_enabled()


def with_indices(result: Any, back: Callable[[Tensor], Tensor], wanted: bool) -> Any:
    """What a maximum returns: y, and the positions if they are wanted."""
    if not wanted:
        return back(result[0] if isinstance(result, tuple) else result)
    y, index = result
    return back(y), back(beside(y, index))


def avg_pool2d(
    input: Tensor,
    kernel_size: int | tuple[int, int],
    stride: int | tuple[int, int] | None = None,
    padding: int | tuple[int, int] | str = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Tensor:
    """The mean of every window of `input` (N, C, H, W) or (C, H, W).

    As torch.nn.functional.avg_pool2d; the stride is the kernel's size if not given. Padding counts
    as zeros, or not at all unless `count_include_pad`; `divisor_override` replaces the count.
    ValueError where a window does not fit or the divisor is 0.

    Unlike PyTorch: `padding` may be "same"; TensorFlow, whose word it is, never counts it.
    """
    x, unbatch = batched("avg_pool2d", input, 4)
    check_dtypes("avg_pool2d", input=x)
    geo = pool2d_shape("avg_pool2d", x.shape, kernel_size, stride, padding, 1, ceil_mode)
    if divisor_override is not None and (
        not isinstance(divisor_override, int) or divisor_override == 0
    ):
        raise ValueError(
            f"avg_pool2d: divisor_override={divisor_override!r}, expected an integer other than 0"
        )
    y = apply(
        AVG_POOL2D,
        x,
        geo=geo,
        count_include_pad=bool(count_include_pad),
        divisor_override=divisor_override,
    )
    return unbatch(y)
