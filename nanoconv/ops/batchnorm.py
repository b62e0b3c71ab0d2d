"""Batch normalisation: give every channel mean 0 and variance 1 over the batch, then w and b.

    x̂[m,c] = (x[m,c] − μ[c]) · r[c],   r[c] = 1 / √(σ²[c] + ε)
    y[m,c] = x̂[m,c] · w[c] + b[c]

c channel, m any pixel of any image: x (N, C, H, W) is read as M = N·H·W rows of C channels. In
training μ and σ² are those of the batch; in evaluation the running statistics, which every training
batch has moved towards its own by the fraction `momentum`:

    μ[c] = Σ_m x[m,c] / M      σ²[c] = Σ_m (x[m,c] − μ[c])² / M
    running_mean ← (1 − momentum)·running_mean + momentum·μ
    running_var  ← (1 − momentum)·running_var  + momentum·σ²·M/(M − 1)

    shapes    x and y (N, C), (N, C, L), (N, C, H, W) …   w, b, μ, σ² (C,)
    cost      one multiply-add for each number; in training two more readings for the statistics

The gradients of w and b are sums over what they multiply:

    dw[c] = Σ_m dy[m,c] · x̂[m,c]            db[c] = Σ_m dy[m,c]

In evaluation μ and r are constants, and dx = dy·w·r. In training x[m] reaches L by three ways:
through x̂[m] directly, and through μ and r, which change every x̂. Write dx̂ = dy·w for one channel.
As x̂ depends on μ by −r and on σ² by −x̂·r²/2, and Σ_m (x[m] − μ) = 0,

    dμ  = −r · Σ_m dx̂[m]                    dσ² = −r²/2 · Σ_m dx̂[m]·x̂[m]
    dx[m] = dx̂[m]·r + dμ·∂μ/∂x[m] + dσ²·∂σ²/∂x[m],    ∂μ/∂x[m] = 1/M,    ∂σ²/∂x[m] = 2·x̂[m]/(r·M)

and with Σ dx̂ = w·db and Σ dx̂·x̂ = w·dw, the sums that are known already,

    dx[m] = w·r · (dy[m] − db/M − x̂[m]·dw/M)

It takes away from dy what would only move the mean or stretch the channel, for the normalisation
undoes that. Per channel it has the form a·dy + k·x + d, which is what the compiled loops compute.

Paper: Ioffe, Szegedy, Batch Normalization, arXiv 1502.03167. One channel of two examples:

>>> import nanoconv as nc
>>> x = nc.tensor([[1.0], [3.0]])
>>> nc.functional.batch_norm(x, None, None, training=True, eps=0.0)  # mean 2, variance 1
tensor([[-1.],
        [ 1.]])
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..dispatch import Body, Kernel, Ladder, Op, at_least, empty, rows, unrows
from ..tape import no_grad
from ..tensor import Tensor, apply
from .checks import check_dtypes, given

Array = np.ndarray


# --------------------------------------------------------------------------- shapes


def batch_norm_shape(x: tuple[int, ...], training: bool, **vectors: Tensor) -> int:
    """Check that x (N, C, …) and the vectors (C,) fit; returns M, the number of rows."""
    if len(x) < 2:
        raise ValueError(f"batch_norm: input has shape {list(x)}, expected (N, C) or (N, C, …)")
    for name, vector in vectors.items():
        if vector.shape != (x[1],):
            raise ValueError(
                f"batch_norm: {name} has shape {list(vector.shape)}, expected [{x[1]}]"
            )
    M = math.prod(x[:1] + x[2:])
    if training and M == 1:
        raise ValueError(
            f"batch_norm: input {list(x)} has one value per channel, of which training cannot "
            "take a variance; expected a larger batch or image, or training=False"
        )
    return M


# --------------------------------------------------------------------------- the literal loops


def channel_stats_loops(mean, var, x, sizes):
    N, M, C = sizes
    for n in range(N):
        for c in range(C):
            total = 0.0
            for m in range(M):
                total += x[n, m, c]
            mean[n, c] = total / M
            total = 0.0
            for m in range(M):
                total += (x[n, m, c] - mean[n, c]) ** 2
            var[n, c] = total / M


def channel_affine_loops(y, x, scale, shift, sizes):
    N, M, C = sizes
    for n in range(N):
        for m in range(M):
            for c in range(C):
                y[n, m, c] = x[n, m, c] * scale[n, c] + shift[n, c]


def channel_grad_sums_loops(db, dw, dy, x, mean, invstd, sizes):
    N, M, C = sizes
    db[...] = 0
    dw[...] = 0
    for n in range(N):
        for m in range(M):
            for c in range(C):
                db[n, c] += dy[n, m, c]
                dw[n, c] += dy[n, m, c] * (x[n, m, c] - mean[n, c]) * invstd[n, c]


def channel_input_grad_loops(dx, dy, x, a, k, d, sizes):
    N, M, C = sizes
    for n in range(N):
        for m in range(M):
            for c in range(C):
                dx[n, m, c] = a[n, c] * dy[n, m, c] + k[n, c] * x[n, m, c] + d[n, c]


# --------------------------------------------------------------------------- the NumPy reference
#
# One statistic per channel, a vector (C,), is what batch norm wants. Group norm starts from one per
# image and channel, (N, C): the same sums over fewer pixels. So do the ladders: `each` image apart,
# or all pixels as if they were one image's.


def per_channel(vector: Array, x: Array) -> Array:
    """(C,) as (C, 1, …), and (N, C) as (N, C, 1, …), so that it meets the axes of x (N, C, …)."""
    return vector.reshape(*vector.shape, *(1,) * (x.ndim - 2))


def pixels(x: Array, each: bool) -> tuple[int, ...]:
    """The axes that are summed over."""
    return (*(() if each else (0,)), *range(2, x.ndim))


def channel_stats(x: Array, each: bool) -> tuple[Array, Array]:
    mean = x.mean(pixels(x, each))  # (C,) or (N, C)
    centred = x - per_channel(mean, x)
    return mean, np.square(centred, out=centred).mean(pixels(x, each))


def channel_affine(x: Array, scale: Array, shift: Array) -> Array:
    return x * per_channel(scale, x) + per_channel(shift, x)


def channel_grad_sums(dy: Array, x: Array, mean: Array, invstd: Array) -> tuple[Array, Array]:
    xhat = (x - per_channel(mean, x)) * per_channel(invstd, x)
    axes = pixels(x, mean.ndim == 2)
    return dy.sum(axes), (dy * xhat).sum(axes)


def channel_input_grad(dy: Array, x: Array, a: Array, k: Array, d: Array) -> Array:
    return dy * per_channel(a, x) + x * per_channel(k, x) + per_channel(d, x)


# --------------------------------------------------------------------------- the ladder


def images(x: Array, vectors: tuple[int, ...]) -> Array:
    """x as (N, M, C) where the vectors are (N, C), as (1, N·M, C) where they are (C,)."""
    xr = rows(x)  # (N·M, C)
    N = vectors[0] if len(vectors) == 2 else 1
    return xr.reshape(N, len(xr) // max(N, 1), xr.shape[1])


def table(vector: Array) -> Array:
    """(C,) as (1, C), and (N, C) as it is."""
    return vector if vector.ndim == 2 else vector[None]


def call_stats(body: Body, x: Array, each: bool) -> tuple[Array, Array]:
    shape = x.shape[:2] if each else x.shape[1:2]
    xr = images(x, shape)
    mean, var = empty(shape, x.dtype), empty(shape, x.dtype)
    body(table(mean), table(var), xr, sizes=xr.shape)
    return mean, var


def call_affine(body: Body, x: Array, scale: Array, shift: Array) -> Array:
    xr = images(x, scale.shape)
    yr = empty(xr.shape, x.dtype)
    body(yr, xr, table(scale), table(shift), sizes=xr.shape)
    return unrows(yr, x.shape)


def call_grad_sums(
    body: Body, dy: Array, x: Array, mean: Array, invstd: Array
) -> tuple[Array, Array]:
    xr = images(x, mean.shape)
    db, dw = empty(mean.shape, x.dtype), empty(mean.shape, x.dtype)
    outputs = table(db), table(dw)
    body(*outputs, images(dy, mean.shape), xr, table(mean), table(invstd), sizes=xr.shape)
    return db, dw


def call_input_grad(body: Body, dy: Array, x: Array, a: Array, k: Array, d: Array) -> Array:
    xr = images(x, a.shape)
    dx = empty(xr.shape, x.dtype)
    body(dx, images(dy, a.shape), xr, table(a), table(k), table(d), sizes=xr.shape)
    return unrows(dx, x.shape)


STATS = Ladder(
    "batch_norm.stats",
    reference=channel_stats,
    kernels=[
        Kernel("cython.rows", "norm_cy:channel_stats_f32"),
        Kernel("numba.rows", "norm_nb:channel_stats_f32"),
        Kernel("numba.loops", "jit"),
    ],
    call=call_stats,
    loops=channel_stats_loops,
)
AFFINE = Ladder(
    "batch_norm.affine",
    reference=channel_affine,
    kernels=[
        Kernel("cython.rows", "norm_cy:channel_affine_f32", auto=at_least(1 << 14)),
        Kernel("numba.rows", "norm_nb:channel_affine_f32", auto=at_least(1 << 14)),
        Kernel("numba.loops", "jit"),
    ],
    call=call_affine,
    loops=channel_affine_loops,
)
GRAD_SUMS = Ladder(
    "batch_norm.grad_sums",
    reference=channel_grad_sums,
    kernels=[
        Kernel("cython.rows", "norm_cy:channel_grad_sums_f32"),
        Kernel("numba.rows", "norm_nb:channel_grad_sums_f32"),
        Kernel("numba.loops", "jit"),
    ],
    call=call_grad_sums,
    loops=channel_grad_sums_loops,
)
INPUT_GRAD = Ladder(
    "batch_norm.input_grad",
    reference=channel_input_grad,
    kernels=[
        Kernel("cython.rows", "norm_cy:channel_input_grad_f32"),
        Kernel("numba.rows", "norm_nb:channel_input_grad_f32"),
        Kernel("numba.loops", "jit"),
    ],
    call=call_input_grad,
    loops=channel_input_grad_loops,
)


def batch_norm_forward(
    x: Array,
    w: Array | None,
    b: Array | None,
    mean: Array | None,
    var: Array | None,
    eps: float,
) -> tuple[Array, Array, Array, Array]:
    """y, and μ, σ² and r for the gradient; of the batch unless μ and σ² are given."""
    if mean is not None and var is not None:
        mean, var = mean.copy(), var.copy()  # the next training batch will change the originals
    elif x.size:
        mean, var = STATS(x, False)
    else:  # no statistics, and nothing that needs them
        mean = var = np.zeros(x.shape[1], x.dtype)
    invstd = (1 / np.sqrt(var + eps)).astype(x.dtype)  # (C,)
    scale = invstd if w is None else invstd * w
    shift = -mean * scale if b is None else b - mean * scale
    return AFFINE(x, scale, shift), mean, var, invstd


def batch_norm_backward(
    dy: Array,
    outputs: tuple[Any, Array, Array, Array],
    x: Array,
    w: Array | None,
    b: Array | None,
    running_mean: Array | None,
    running_var: Array | None,
    eps: float,
) -> tuple[Array, Array, Array]:
    _, mean, _, invstd = outputs
    db, dw = GRAD_SUMS(dy, x, mean, invstd)
    a = invstd if w is None else invstd * w
    if running_mean is not None:  # in evaluation
        return AFFINE(dy, a, np.zeros_like(a)), dw, db
    M = dy.size // max(dy.shape[1], 1)
    k = -a * invstd * dw / M
    d = -a * db / M - k * mean
    return INPUT_GRAD(dy, x, a, k, d), dw, db  # a·dy + k·x + d


BATCH_NORM = Op("batch_norm", forward=batch_norm_forward, vjp=batch_norm_backward, keeps="01")


# --------------------------------------------------------------------------- the public function


def batch_norm(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """`input` (N, C, …), normalised for each channel, times `weight` (C,) plus `bias` (C,).

    As torch.nn.functional.batch_norm: in training with the statistics of the batch, and the running
    ones are updated in place if given; otherwise with the running ones. ValueError where shapes do
    not fit, where training sees one value per channel, and where evaluation has no statistics.

    Unlike PyTorch: evaluation without running statistics is refused for an empty batch too.
    """
    vectors = given(running_mean=running_mean, running_var=running_var, weight=weight, bias=bias)
    check_dtypes("batch_norm", input=input, **vectors)
    M = batch_norm_shape(input.shape, training, **vectors)
    if eps < 0:
        raise ValueError(f"batch_norm: eps={eps} must not be negative")
    if not training:
        if running_mean is None or running_var is None:
            raise ValueError(
                "batch_norm: running_mean and running_var are needed unless training=True"
            )
        return apply(BATCH_NORM, input, weight, bias, running_mean, running_var, eps=eps)[0]
    y, mean, var, _ = apply(BATCH_NORM, input, weight, bias, None, None, eps=eps)
    if M:
        with no_grad():
            for statistic, batch in ((running_mean, mean), (running_var, var * (M / (M - 1)))):
                if statistic is not None:
                    statistic.mul_(1 - momentum).add_(Tensor(batch), alpha=momentum)
    return y
