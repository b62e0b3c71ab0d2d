"""Pooling of signals: that of images, which here are one row high.

    y[n,c,j] = max, mean or norm of x[n, c, j·s + v·d − p] over the taps v

with signal n of the batch, channel c, output position j, stride s, dilation d and padding p. With a
row axis of length 1 in front of the last axis, everything else is as in two dimensions: the
windows, the gradients, the kernels. See `pool2d`, `adaptive_pool2d`, `lp_pool2d`, `max_unpool2d`. A
position h·W + w in such an image is w.

    shapes    x (N, C, L)   y (N, C, OL)
              OL = ⌊(L + 2p − d·(K − 1) − 1) / s⌋ + 1, or rounded up with ceil_mode
    cost      N·C·OL · K comparisons or additions

Paper: Waibel et al., Phoneme Recognition Using Time-Delay Neural Networks, IEEE Transactions on
Acoustics, Speech and Signal Processing 37, 1989 (what such layers are for).

>>> import nanoconv as nc
>>> x = nc.tensor([[[1.0, 3.0, 2.0, 5.0]]])
>>> nc.functional.max_pool1d(x, 2).tolist(), nc.functional.avg_pool1d(x, 2).tolist()
([[[3.0, 5.0]]], [[[2.0, 3.5]]])
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

from ..tape import state
from ..tensor import Tensor, apply, wrap
from .adaptive_pool2d import ADAPTIVE_AVG_POOL2D, ADAPTIVE_MAX_POOL2D, cells
from .arithmetic import abs as magnitude
from .checks import batched, check_dtypes
from .geometry import LARGEST, Geometry, check_output, integers
from .lp_pool2d import LP_POOL2D, checked_norm
from .max_unpool2d import MAX_UNPOOL2D, check_indices, unpooled_shape
from .pool2d import (
    AVG_POOL2D,
    MAX_POOL2D,
    Means,
    check_half,
    is_recorded,
    pooled_size,
    with_indices,
)
from .shaping import reshape, squeeze, unsqueeze

Single = int | tuple[int]


# --------------------------------------------------------------------------- shapes


def single(op: str, name: str, value: Any, least: int) -> int:
    """An integer, or a sequence of one, from `least` up."""
    found = integers(value, least)
    if len(found) != 1:
        raise ValueError(
            f"{op}: {name}={value!r}, expected an integer from {least} up to {LARGEST}"
        )
    return found[0]


def pool1d_shape(
    op: str,
    x: tuple[int, ...],
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
) -> Geometry:
    """Check that the windows fit into x (N, C, L) or (C, L); the sizes are those of its image."""
    kernel = single(op, "kernel_size", kernel_size, 1)
    step = kernel if stride is None else single(op, "stride", stride, 1)
    around, apart = single(op, "padding", padding, 0), single(op, "dilation", dilation, 1)
    return _pool1d_geometry(op, x, kernel, step, around, apart, bool(ceil_mode))


@lru_cache(maxsize=4096)
def _pool1d_geometry(
    op: str, x: tuple[int, ...], K: int, s: int, p: int, d: int, ceil_mode: bool
) -> Geometry:
    N, (C, L) = math.prod(x[:-2]), x[-2:]
    check_half(op, p, K)
    OL = pooled_size(op, "length", L, K, s, (p, p), d, ceil_mode)
    check_output(op, (*x[:-1], OL), kernel_size=K, stride=s)
    return Geometry(N, C, 1, L, C, 1, OL, 1, K, 1, s, 0, 0, p, p, 1, d)


def adaptive_pool1d_shape(op: str, x: tuple[int, ...], output_size: Any) -> Means:
    """The cells of x (N, C, L) or (C, L) as an image."""
    OL = single(op, "output_size", output_size, 0)
    if x[-1] == 0:
        raise ValueError(f"{op}: input {list(x)} has no elements along its last axis")
    check_output(op, (*x[:-1], OL), output_size=OL)
    return cells(1, x[-1], 1, OL)


def as_image(op: str, input: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
    """`input` (N, C, L) or (C, L) as (N, C, 1, L), and how to take the new axes off a result."""
    x, unbatch = batched(op, input, 3)
    check_dtypes(op, input=x)
    if not (is_recorded(x) or state.observers):  # who needs no record of two views is spared them
        return wrap(x._data[:, :, None]), lambda y: unbatch(wrap(y._data[:, :, 0]))
    return unsqueeze(x, 2), lambda y: unbatch(squeeze(y, 2))


# --------------------------------------------------------------------------- the public functions


def max_pool1d(
    input: Tensor,
    kernel_size: Single,
    stride: Single | None = None,
    padding: Single = 0,
    dilation: Single = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """The maximum of every window of `input` (N, C, L) or (C, L).

    As torch.nn.functional.max_pool1d; the stride is the kernel's size if not given. With
    `return_indices` also the position of each maximum. Raises as `max_pool2d` does.

    Unlike PyTorch: a dilated window that steps over the whole signal, and so sees nothing but
    padding, is refused.
    """
    x, back = as_image("max_pool1d", input)
    geo = pool1d_shape("max_pool1d", input.shape, kernel_size, stride, padding, dilation, ceil_mode)
    indices = return_indices or is_recorded(x)
    return with_indices(apply(MAX_POOL2D, x, geo=geo, indices=indices), back, return_indices)


def avg_pool1d(
    input: Tensor,
    kernel_size: Single,
    stride: Single | None = None,
    padding: Single = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Tensor:
    """The mean of every window of `input` (N, C, L) or (C, L).

    As torch.nn.functional.avg_pool1d; padding counts as zeros, or not at all unless
    `count_include_pad`. Raises as `avg_pool2d` does.
    """
    x, back = as_image("avg_pool1d", input)
    geo = pool1d_shape("avg_pool1d", input.shape, kernel_size, stride, padding, 1, ceil_mode)
    counted = bool(count_include_pad)
    return back(apply(AVG_POOL2D, x, geo=geo, count_include_pad=counted, divisor_override=None))


def lp_pool1d(
    input: Tensor,
    norm_type: float,
    kernel_size: Single,
    stride: Single | None = None,
    ceil_mode: bool = False,
) -> Tensor:
    """The `norm_type`-norm, up to signs, of every window of `input` (N, C, L) or (C, L).

    As torch.nn.functional.lp_pool1d; the stride is the kernel's size if not given. Signs, ceil_mode
    and errors are as in `lp_pool2d`.

    Unlike PyTorch: a `norm_type` of NaN is refused.
    """
    x, back = as_image("lp_pool1d", input)
    p = checked_norm("lp_pool1d", norm_type)
    geo = pool1d_shape("lp_pool1d", input.shape, kernel_size, stride, ceil_mode=ceil_mode)
    if math.isinf(p):
        sign = 1 if p > 0 else -1
        largest = max_pool1d(sign * magnitude(input), kernel_size, stride, ceil_mode=ceil_mode)
        return sign * largest
    return back(apply(LP_POOL2D, x, geo=geo, p=p)[0])


def max_unpool1d(
    input: Tensor,
    indices: Tensor,
    kernel_size: Single,
    stride: Single | None = None,
    padding: Single = 0,
    output_size: Sequence[int] | None = None,
) -> Tensor:
    """`input` (N, C, L) or (C, L) put at `indices` into longer signals of zeros.

    As torch.nn.functional.max_unpool1d, with the arguments of the max_pool1d that it undoes;
    `output_size` is the shape that was pooled, with N and C or without. Errors are as in
    `max_unpool2d`.

    Unlike PyTorch: a stride of 0, negative padding and an output without elements are refused.
    """
    op = "max_unpool1d"
    x, back = as_image(op, input)
    kernel = single(op, "kernel_size", kernel_size, 1)
    step = kernel if stride is None else single(op, "stride", stride, 1)
    around = single(op, "padding", padding, 0)
    OL = unpooled_shape(op, input.shape, (kernel,), (step,), (around,), output_size)[-1]
    check_indices(op, indices, input, OL)
    return back(apply(MAX_UNPOOL2D, x, reshape(indices, x.shape), size=(1, OL)))


def adaptive_max_pool1d(input: Tensor, output_size: Single, return_indices: bool = False) -> Any:
    """The maxima of `output_size` cells of `input` (N, C, L) or (C, L).

    As torch.nn.functional.adaptive_max_pool1d; with `return_indices` also their positions.
    """
    x, back = as_image("adaptive_max_pool1d", input)
    windows = adaptive_pool1d_shape("adaptive_max_pool1d", input.shape, output_size)
    indices = return_indices or is_recorded(x)
    result = apply(ADAPTIVE_MAX_POOL2D, x, cells=windows, indices=indices)
    return with_indices(result, back, return_indices)


def adaptive_avg_pool1d(input: Tensor, output_size: Single) -> Tensor:
    """The means of `output_size` cells of `input` (N, C, L) or (C, L).

    As torch.nn.functional.adaptive_avg_pool1d.
    """
    x, back = as_image("adaptive_avg_pool1d", input)
    windows = adaptive_pool1d_shape("adaptive_avg_pool1d", input.shape, output_size)
    return back(apply(ADAPTIVE_AVG_POOL2D, x, cells=windows))
