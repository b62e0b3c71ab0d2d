"""Group, instance and layer norm: one equation; they differ in which numbers S make a group.

    x̂ = (x − μ) · r,    μ = Σ_S x / |S|,    σ² = Σ_S (x − μ)² / |S|,    r = 1 / √(σ² + ε)
    y = x̂ · w + b

    group_norm      S: K = C/G neighbouring channels of one image, all of its pixels  w[c], b[c]
    instance_norm   the same with G = C: each channel of each image by itself         w[c], b[c]
    layer_norm      S: all D numbers of the last axes, as normalized_shape names them  w, b (D)
    rms_norm        as layer_norm with 0 for μ and no b: r = 1 / √(Σ x²/D + ε)

n image, c one of C channels, g = ⌊c/K⌋ one of G groups, m one of M pixels, D = |S| for rows. Unlike
batch norm none of them looks at other images, so that training and evaluation are the same.
instance_norm alone may keep running statistics, which are batch norm's averaged over the images:

    running_mean[c] ← (1 − momentum)·running_mean[c] + momentum/N · Σ_n μ[n,c]
    running_var[c]  ← (1 − momentum)·running_var[c]  + momentum/N · Σ_n σ²[n,c]·M/(M − 1)

    shapes    group_norm x (N, C, …)   layer_norm x (…, D₁, D₂ …), w and b (D₁, D₂ …)   y as x
    cost      one multiply-add for each number, and two more readings for the statistics

A group's statistics follow from those of its channels, each of M pixels, as the variance of a whole
is the mean variance of its parts plus the variance of their means:

    μ[n,g] = Σ_c μ[n,c]/K        σ²[n,g] = Σ_c (σ²[n,c] + (μ[n,c] − μ[n,g])²)/K        c in g

The gradient is batch norm's (see batchnorm.py), its sums taken over S with dx̂ = dy·w:

    dx = r · (dx̂ − Σ_S dx̂/|S| − x̂·Σ_S dx̂·x̂/|S|)
    dw = Σ dy·x̂      db = Σ dy         over everything that shares one w: images and pixels, or rows

For rms_norm, where μ does not depend on x, the first sum is missing. Papers: Wu, He, Group
Normalization, arXiv 1803.08494; Ulyanov et al., Instance Normalization, 1607.08022; Ba et al.,
Layer Normalization, 1607.06450; Zhang, Sennrich, RMSNorm, 1910.07467. Two channels, as
two groups and as one:

>>> import nanoconv as nc
>>> x = nc.tensor([[[1.0, 3.0], [5.0, 7.0]]])
>>> nc.functional.group_norm(x, num_groups=2, eps=0.0)
tensor([[[-1.,  1.],
         [-1.,  1.]]])
>>> nc.functional.layer_norm(x, (2, 2), eps=11.0)  # mean 4, variance 5, r = 1/4
tensor([[[-0.75, -0.25],
         [ 0.25,  0.75]]])
"""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..dispatch import Body, Kernel, Ladder, Op, empty
from ..tape import no_grad
from ..tensor import Tensor, apply
from .batchnorm import AFFINE, GRAD_SUMS, INPUT_GRAD, STATS, batch_norm
from .checks import check_dtypes, given

Array = np.ndarray


# --------------------------------------------------------------------------- shapes


def group_norm_shape(op: str, x: tuple[int, ...], G: Any, **vectors: Tensor) -> None:
    """Check that x (N, C, …), its G groups and the vectors (C,) fit."""
    if len(x) < 2:
        raise ValueError(f"{op}: input has shape {list(x)}, expected (N, C, …)")
    try:
        count = operator.index(G)
    except TypeError:
        count = 0
    if count < 1 or x[1] % count:
        raise ValueError(
            f"{op}: num_groups={G!r}, expected an integer that divides the {x[1]} channels"
        )
    for name, vector in vectors.items():
        if vector.shape != (x[1],):
            raise ValueError(f"{op}: {name} has shape {list(vector.shape)}, expected [{x[1]}]")


def layer_norm_shape(op: str, x: tuple[int, ...], shape: Any, **of_row: Tensor) -> tuple[int, ...]:
    """Check that the last axes of x are `shape`, as those of weight and bias; returns them."""
    try:
        axes = tuple(operator.index(size) for size in shape)
    except TypeError:
        axes = ()
    if not axes:
        raise ValueError(f"{op}: normalized_shape={shape!r}, expected at least one size")
    if x[-len(axes) :] != axes:
        raise ValueError(
            f"{op}: input has shape {list(x)}, expected its last axes to be {list(axes)}, the "
            "normalized_shape"
        )
    for name, array in of_row.items():
        if array.shape != axes:
            raise ValueError(
                f"{op}: {name} has shape {list(array.shape)}, expected {list(axes)}, the "
                "normalized_shape"
            )
    return axes


def check_eps(op: str, eps: float) -> None:
    if not eps >= 0:
        raise ValueError(f"{op}: eps={eps!r} must not be negative")


# --------------------------------------------------------------------------- groups of channels


def of_groups(of_channels: Array, G: int) -> Array:
    """(N, C) → (N, G): the mean over the channels of each group."""
    N, C = of_channels.shape
    K = C // G
    return of_channels.reshape(N, G, K).sum(2) / max(K, 1)  # half the time of mean(2)


def of_channels(of_groups: Array, C: int) -> Array:
    """(N, G) → (N, C): each group's number for all of its channels."""
    return of_groups if of_groups.shape[1] == C else of_groups.repeat(C // of_groups.shape[1], 1)


def group_norm_forward(
    x: Array, w: Array | None, b: Array | None, num_groups: int, eps: float
) -> tuple[Array, Array, Array, Array]:
    """y, and μ, σ² and r (N, G) of the groups."""
    N, C = x.shape[:2]
    if x.size:
        mean, var = STATS(x, True)  # (N, C)
    else:  # no statistics, and nothing that needs them
        mean = var = np.zeros((N, C), x.dtype)
    if num_groups != C:
        of_parts, mean = mean, of_groups(mean, num_groups)
        apart = of_parts - of_channels(mean, C)
        var = of_groups(var + apart * apart, num_groups)
    invstd = (1 / np.sqrt(var + eps)).astype(x.dtype)
    scale = of_channels(invstd, C)
    scale = scale if w is None else scale * w
    shift = -of_channels(mean, C) * scale
    return AFFINE(x, scale, shift if b is None else shift + b), mean, var, invstd


def group_norm_backward(
    dy: Array,
    outputs: tuple[Any, Array, Array, Array],
    x: Array,
    w: Array | None,
    b: Array | None,
    num_groups: int,
    eps: float,
) -> tuple[Array, Array, Array]:
    C, M = x.shape[1], math.prod(x.shape[2:])
    mean, r = of_channels(outputs[1], C), of_channels(outputs[3], C)  # (N, C)
    db, dw = GRAD_SUMS(dy, x, mean, r)  # (N, C), of each image
    a, of_x, of_one = r, dw, db
    if w is not None:
        a, of_x, of_one = r * w, dw * w, db * w
    of_x = of_channels(of_groups(of_x, num_groups), C)  # means over the K channels
    of_one = of_channels(of_groups(of_one, num_groups), C)
    k = -r * r * of_x / max(M, 1)
    d = -r * of_one / max(M, 1) - k * mean
    return INPUT_GRAD(dy, x, a, k, d), dw.sum(0), db.sum(0)  # a·dy + k·x + d


GROUP_NORM = Op("group_norm", forward=group_norm_forward, vjp=group_norm_backward, keeps="01")


# --------------------------------------------------------------------------- rows: literal loops


def norm_rows_loops(y, mean, invstd, x, w, b, eps, sizes):
    R, D, centred = sizes
    for row in range(R):
        mean[row] = 0
        total = 0.0
        if centred:
            for c in range(D):
                total += x[row, c]
            mean[row] = total / max(D, 1)
        total = 0.0
        for c in range(D):
            total += (x[row, c] - mean[row]) ** 2
        invstd[row] = 1 / np.sqrt(total / max(D, 1) + eps)
        for c in range(D):
            y[row, c] = (x[row, c] - mean[row]) * invstd[row] * w[c] + b[c]


def norm_rows_input_grad_loops(dx, dy, x, mean, invstd, w, sizes):
    R, D, centred = sizes
    for row in range(R):
        total, total_x = 0.0, 0.0
        for c in range(D):
            total += dy[row, c] * w[c]
            total_x += dy[row, c] * w[c] * (x[row, c] - mean[row]) * invstd[row]
        if not centred:
            total = 0.0
        for c in range(D):
            xhat = (x[row, c] - mean[row]) * invstd[row]
            dx[row, c] = invstd[row] * (dy[row, c] * w[c] - total / D - xhat * total_x / D)


def norm_rows_weight_grad_loops(dw, db, dy, x, mean, invstd, sizes):
    R, D, _ = sizes
    for c in range(D):
        dw[c] = 0
        db[c] = 0
        for row in range(R):
            dw[c] += dy[row, c] * (x[row, c] - mean[row]) * invstd[row]
            db[c] += dy[row, c]


# --------------------------------------------------------------------------- the NumPy reference


def norm_rows(
    x: Array, w: Array, b: Array, eps: float, centred: bool
) -> tuple[Array, Array, Array]:
    """y (R, D), μ and r (R,)."""
    D = max(x.shape[1], 1)
    mean = x.sum(1) / D if centred else np.zeros(len(x), x.dtype)
    d = x - mean[:, None]
    invstd = (1 / np.sqrt((d * d).sum(1) / D + eps)).astype(x.dtype)
    return d * invstd[:, None] * w + b, mean.astype(x.dtype), invstd


def norm_rows_input_grad(
    dy: Array, x: Array, mean: Array, invstd: Array, w: Array, centred: bool
) -> Array:
    r, D = invstd[:, None], max(x.shape[1], 1)
    xhat, g = (x - mean[:, None]) * r, dy * w
    dx = g - xhat * (g * xhat).sum(1, keepdims=True) / D
    return r * (dx - g.sum(1, keepdims=True) / D if centred else dx)


def norm_rows_weight_grad(dy: Array, x: Array, mean: Array, invstd: Array) -> tuple[Array, Array]:
    return (dy * (x - mean[:, None]) * invstd[:, None]).sum(0), dy.sum(0)


# --------------------------------------------------------------------------- the ladder


def call_rows(
    body: Body, x: Array, w: Array, b: Array, eps: float, centred: bool
) -> tuple[Array, Array, Array]:
    x = np.ascontiguousarray(x)
    y, mean, invstd = (empty(s, x.dtype) for s in (x.shape, x.shape[:1], x.shape[:1]))
    body(y, mean, invstd, x, w, b, eps, sizes=(*x.shape, int(centred)))
    return y, mean, invstd


def call_rows_input_grad(
    body: Body, dy: Array, x: Array, mean: Array, invstd: Array, w: Array, centred: bool
) -> Array:
    dx, dy, x = empty(x.shape, x.dtype), np.ascontiguousarray(dy), np.ascontiguousarray(x)
    body(dx, dy, x, mean, invstd, w, sizes=(*x.shape, int(centred)))
    return dx


def call_rows_weight_grad(
    body: Body, dy: Array, x: Array, mean: Array, invstd: Array
) -> tuple[Array, Array]:
    dw, db = empty(x.shape[1:], x.dtype), empty(x.shape[1:], x.dtype)
    dy, x = np.ascontiguousarray(dy), np.ascontiguousarray(x)
    body(dw, db, dy, x, mean, invstd, sizes=(*x.shape, 1))
    return dw, db


ROWS = Ladder(
    "layer_norm",
    reference=norm_rows,
    kernels=[
        Kernel("cython.rows", "layernorm_cy:norm_rows_f32"),
        Kernel("numba.rows", "layernorm_nb:norm_rows_f32"),
        Kernel("numba.loops", "jit"),
    ],
    call=call_rows,
    loops=norm_rows_loops,
)
ROWS_INPUT_GRAD = Ladder(
    "layer_norm.input_grad",
    reference=norm_rows_input_grad,
    kernels=[
        Kernel("cython.rows", "layernorm_cy:norm_rows_input_grad_f32"),
        Kernel("numba.rows", "layernorm_nb:norm_rows_input_grad_f32"),
        Kernel("numba.loops", "jit"),
    ],
    call=call_rows_input_grad,
    loops=norm_rows_input_grad_loops,
)
ROWS_WEIGHT_GRAD = Ladder(
    "layer_norm.weight_grad",
    reference=norm_rows_weight_grad,
    kernels=[
        Kernel("cython.rows", "layernorm_cy:norm_rows_weight_grad_f32"),
        Kernel("numba.rows", "layernorm_nb:norm_rows_weight_grad_f32"),
        Kernel("numba.loops", "jit"),
    ],
    call=call_rows_weight_grad,
    loops=norm_rows_weight_grad_loops,
)


def as_rows(x: Array, axes: int) -> Array:
    """(…, D₁, D₂ …) → (R, D), where D₁, D₂ … are the last `axes`."""
    R = math.prod(x.shape[: x.ndim - axes])
    return x.reshape(R, math.prod(x.shape[x.ndim - axes :]))


def as_row(array: Array | None, D: int, instead: float, dtype: Any) -> Array:
    """A weight or bias as one row."""
    return np.full(D, instead, dtype) if array is None else np.ascontiguousarray(array).reshape(D)


def layer_norm_forward(
    x: Array, w: Array | None, b: Array | None, axes: int, eps: float, centred: bool
) -> tuple[Array, Array, Array]:
    """y, and μ and r of each row for the gradient."""
    xr = as_rows(x, axes)
    w, b = (as_row(a, xr.shape[1], k, x.dtype) for a, k in ((w, 1), (b, 0)))
    y, mean, invstd = ROWS(xr, w, b, eps, centred)
    return y.reshape(x.shape), mean, invstd


def layer_norm_input_grad(
    dy: Array,
    outputs: tuple[Any, Array, Array],
    x: Array,
    w: Array | None,
    b: Array | None,
    axes: int,
    eps: float,
    centred: bool,
) -> Array:
    xr, dyr = as_rows(x, axes), as_rows(dy, axes)
    w = as_row(w, xr.shape[1], 1, x.dtype)
    return ROWS_INPUT_GRAD(dyr, xr, *outputs[1:], w, centred).reshape(x.shape)


def layer_norm_backward(
    dy: Array,
    outputs: tuple[Any, Array, Array],
    x: Array,
    w: Array | None,
    b: Array | None,
    axes: int,
    eps: float,
    centred: bool,
) -> tuple[Array, Array | None, Array | None]:
    dx = layer_norm_input_grad(dy, outputs, x, w, b, axes, eps, centred)
    if w is None and b is None:
        return dx, None, None
    dw, db = ROWS_WEIGHT_GRAD(as_rows(dy, axes), as_rows(x, axes), *outputs[1:])
    shape = x.shape[x.ndim - axes :]
    return dx, dw.reshape(shape), db.reshape(shape)


LAYER_NORM = Op("layer_norm", forward=layer_norm_forward, vjp=layer_norm_backward, keeps="01")


# --------------------------------------------------------------------------- the public functions


def group_norm(
    input: Tensor,
    num_groups: int,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """`input` (N, C, …), normalised over each of `num_groups` groups of channels of each image.

    As torch.nn.functional.group_norm. ValueError where shapes do not fit, and where the whole input
    has one value per group.
    """
    vectors = given(weight=weight, bias=bias)
    check_dtypes("group_norm", input=input, **vectors)
    group_norm_shape("group_norm", input.shape, num_groups, **vectors)
    check_eps("group_norm", eps)
    if input.numel() and input.numel() == num_groups:
        raise ValueError(
            f"group_norm: input {list(input.shape)} has one value per group of {num_groups}, "
            "which has no variance; expected more channels, pixels or images"
        )
    return apply(GROUP_NORM, input, weight, bias, num_groups=int(num_groups), eps=eps)[0]


def instance_norm(
    input: Tensor,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """`input` (N, C, …), normalised over the pixels of each channel of each image.

    As torch.nn.functional.instance_norm: the running statistics are updated in place if given;
    without `use_input_stats` they are what is normalised with. ValueError where shapes do not fit,
    where images have one pixel, and where there are no statistics.
    """
    if not use_input_stats:
        if running_mean is None or running_var is None:
            raise ValueError(
                "instance_norm: running_mean and running_var are needed unless use_input_stats=True"
            )
        return batch_norm(input, running_mean, running_var, weight, bias, False, momentum, eps)
    vectors = given(running_mean=running_mean, running_var=running_var, weight=weight, bias=bias)
    check_dtypes("instance_norm", input=input, **vectors)
    if input.ndim < 2:
        raise ValueError(f"instance_norm: input has shape {list(input.shape)}, expected (N, C, …)")
    C, M = input.shape[1], math.prod(input.shape[2:])
    group_norm_shape("instance_norm", input.shape, max(C, 1), **vectors)
    check_eps("instance_norm", eps)
    if M == 1:
        raise ValueError(
            f"instance_norm: input {list(input.shape)} has one pixel per image, which has no "
            "variance; expected more, or use_input_stats=False"
        )
    y, mean, var, _ = apply(GROUP_NORM, input, weight, bias, num_groups=max(C, 1), eps=eps)
    if input.numel():
        with no_grad():
            for statistic, batch in ((running_mean, mean), (running_var, var * (M / (M - 1)))):
                if statistic is not None:
                    statistic.mul_(1 - momentum).add_(Tensor(batch.mean(0)), alpha=momentum)
    return y


def layer_norm(
    input: Tensor,
    normalized_shape: Sequence[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """`input` (…, D₁, D₂ …), normalised over its last axes, which `normalized_shape` names.

    As torch.nn.functional.layer_norm. ValueError where shapes do not fit.
    """
    of_row = given(weight=weight, bias=bias)
    check_dtypes("layer_norm", input=input, **of_row)
    axes = len(layer_norm_shape("layer_norm", input.shape, normalized_shape, **of_row))
    check_eps("layer_norm", eps)
    return apply(LAYER_NORM, input, weight, bias, axes=axes, eps=float(eps), centred=True)[0]


def rms_norm(
    input: Tensor,
    normalized_shape: Sequence[int],
    weight: Tensor | None = None,
    eps: float | None = None,
) -> Tensor:
    """`input` (…, D₁, D₂ …), divided by the root of its mean square over the last axes.

    As torch.nn.functional.rms_norm; eps=None is the smallest step from 1 in the input's dtype.
    """
    of_row = given(weight=weight)
    check_dtypes("rms_norm", input=input, **of_row)
    axes = len(layer_norm_shape("rms_norm", input.shape, normalized_shape, **of_row))
    eps = float(np.finfo(input.dtype).eps) if eps is None else float(eps)
    check_eps("rms_norm", eps)
    return apply(LAYER_NORM, input, weight, None, axes=axes, eps=eps, centred=False)[0]
