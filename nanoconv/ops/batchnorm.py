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

Group norm (see groupnorm.py) is the same for other sets of numbers that share a mean, so both have
one body. It sees A batches that are normalised apart, of R images whose C channels form G groups:

    batch_norm   A = 1, R = N, G = C          group_norm   A = N, R = 1

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

from ..dispatch import Body, Kernel, Ladder, Op, empty
from ..tape import is_grad_enabled, no_grad
from ..tensor import Tensor, apply
from .checks import check_dtypes, given

Array = np.ndarray


# --------------------------------------------------------------------------- shapes


def batch_norm_shape(x: tuple[int, ...], training: bool, **vectors: Tensor) -> int:
    """Check that x (N, C, …) and the vectors (C,) fit; returns M, the number of rows."""
    if len(x) < 2:
        raise ValueError(f"batch_norm: input has shape {list(x)}, expected (N, C) or (N, C, …)")
    for name, vector in vectors.items():
        if vector._data.shape != x[1:2]:
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


def norm_loops(y, mean, var, invstd, x, w, b, eps, sizes):
    A, R, C, M, G, _ = sizes
    K = C // G
    for a in range(A):
        for g in range(G):
            total = 0.0
            for n in range(a * R, (a + 1) * R):
                for c in range(g * K, (g + 1) * K):
                    for m in range(M):
                        total += x[n, c, m]
            mean[a, g] = total / (R * K * M)
            total = 0.0
            for n in range(a * R, (a + 1) * R):
                for c in range(g * K, (g + 1) * K):
                    for m in range(M):
                        total += (x[n, c, m] - mean[a, g]) ** 2
            var[a, g] = total / (R * K * M)
            invstd[a, g] = 1 / np.sqrt(var[a, g] + eps)
            for n in range(a * R, (a + 1) * R):
                for c in range(g * K, (g + 1) * K):
                    for m in range(M):
                        y[n, c, m] = (x[n, c, m] - mean[a, g]) * invstd[a, g] * w[c] + b[c]


def norm_backward_loops(dx, dw, db, dy, x, mean, invstd, w, sizes):
    A, R, C, M, G, _, training = sizes
    K = C // G
    dw[...] = 0
    db[...] = 0
    for a in range(A):
        for g in range(G):
            total, total_x = 0.0, 0.0
            for n in range(a * R, (a + 1) * R):
                for c in range(g * K, (g + 1) * K):
                    for m in range(M):
                        xhat = (x[n, c, m] - mean[a, g]) * invstd[a, g]
                        dw[c] += dy[n, c, m] * xhat
                        db[c] += dy[n, c, m]
                        total += dy[n, c, m] * w[c] / (R * K * M)
                        total_x += dy[n, c, m] * w[c] * xhat / (R * K * M)
            for n in range(a * R, (a + 1) * R):
                for c in range(g * K, (g + 1) * K):
                    for m in range(M):
                        dx[n, c, m] = dy[n, c, m] * w[c] * invstd[a, g]
                        if training:
                            xhat = (x[n, c, m] - mean[a, g]) * invstd[a, g]
                            dx[n, c, m] -= (total + xhat * total_x) * invstd[a, g]


def running_norm_loops(y, invstd, x, w, b, mean, var, eps, sizes):
    N, C, M, _ = sizes
    for c in range(C):
        invstd[c] = 1 / np.sqrt(var[c] + eps)
        for n in range(N):
            for m in range(M):
                y[n, c, m] = (x[n, c, m] - mean[c]) * invstd[c] * w[c] + b[c]


# --------------------------------------------------------------------------- the NumPy reference


def per_channel(vector: Array, x: Array) -> Array:
    """(C,) as (C, 1, …), so that it meets the axes of x (N, C, …)."""
    return vector.reshape(*vector.shape, *(1,) * (x.ndim - 2))


def of_channels(x: Array) -> tuple[int, ...]:
    """The axes that are summed over for one number per channel."""
    return (0, *range(2, x.ndim))


def channel_norm(x: Array, w: Array, b: Array, eps: float) -> tuple[Array, Array, Array, Array]:
    """y, and μ, σ² and r (C,)."""
    mean = x.mean(of_channels(x))
    y = x - per_channel(mean, x)
    var = np.square(y).mean(of_channels(x))
    invstd = (1 / np.sqrt(var + eps)).astype(x.dtype)
    y *= per_channel(invstd * w, x)
    y += per_channel(b, x)
    return y, mean, var, invstd


def channel_norm_backward(
    dy: Array, x: Array, mean: Array, invstd: Array, w: Array, training: bool
) -> tuple[Array, Array, Array]:
    """dx, dw and db."""
    xhat = (x - per_channel(mean, x)) * per_channel(invstd, x)
    dw, db = (dy * xhat).sum(of_channels(x)), dy.sum(of_channels(x))
    if training:
        M = x.size // x.shape[1]
        dy = dy - per_channel(db / M, x) - xhat * per_channel(dw / M, x)
    return dy * per_channel(w * invstd, x), dw, db


def running_norm(
    x: Array, w: Array, b: Array, mean: Array, var: Array, eps: float
) -> tuple[Array, Array]:
    """y, and r (C,), with μ and σ² that are given: one multiply-add for each number."""
    invstd = (1 / np.sqrt(var + eps)).astype(x.dtype)
    scale = invstd * w
    return x * per_channel(scale, x) + per_channel(b - mean * scale, x), invstd


# --------------------------------------------------------------------------- the ladder

LONG = 16  # numbers of a plane, from which on it is quicker to read planes than to copy them


def in_planes(body: Body, x: Array) -> bool:
    """True if the body shall read the pixels of each channel together, as NCHW has them."""
    return body.kind == "loops" or (x.flags.c_contiguous and math.prod(x.shape[2:]) >= LONG)


def images(x: Array, planes: bool) -> Array:
    """x (N, C, …) as (N, C, M), or as (N, M, C), in C order: a view if memory has that order."""
    N, C, M = *x.shape[:2], math.prod(x.shape[2:])
    if not planes:
        x = x.transpose(0, *range(2, x.ndim), 1)
    return np.ascontiguousarray(x).reshape((N, C, M) if planes else (N, M, C))


def unimages(xr: Array, shape: tuple[int, ...], planes: bool) -> Array:
    """And back."""
    if planes:
        return xr.reshape(shape)
    N, C, *pixels = shape
    return xr.reshape(N, *pixels, C).transpose(0, len(shape) - 1, *range(1, len(shape) - 1))


def call_norm(
    body: Body, x: Array, w: Array, b: Array, eps: float, groups: int | None = None
) -> tuple[Array, Array, Array, Array]:
    N, C = x.shape[:2]
    A, R, G = (1, N, C) if groups is None else (N, 1, groups)
    planes = in_planes(body, x)
    xr = images(x, planes)
    yr, statistics = empty(xr.shape, x.dtype), empty((3, A, G), x.dtype)
    sizes = (A, R, C, math.prod(x.shape[2:]), G, int(not planes))
    body(yr, *statistics, xr, w, b, eps, sizes=sizes)
    mean, var, invstd = statistics[:, 0] if groups is None else statistics
    return unimages(yr, x.shape, planes), mean, var, invstd


def call_norm_backward(
    body: Body, dy: Array, x: Array, mean: Array, invstd: Array, w: Array, training: bool = True
) -> tuple[Array, Array, Array]:
    N, C = x.shape[:2]
    A, R, G = (1, N, C) if mean.ndim == 1 else (N, 1, mean.shape[1])
    planes = in_planes(body, x)
    xr = images(x, planes)
    dx, dw, db = empty(xr.shape, x.dtype), empty((C,), x.dtype), empty((C,), x.dtype)
    arrays = images(dy, planes), xr, mean.reshape(A, G), invstd.reshape(A, G), w
    sizes = (A, R, C, math.prod(x.shape[2:]), G, int(not planes), int(training))
    body(dx, dw, db, *arrays, sizes=sizes)
    return unimages(dx, x.shape, planes), dw, db


def call_running(
    body: Body, x: Array, w: Array, b: Array, mean: Array, var: Array, eps: float
) -> tuple[Array, Array]:
    planes = in_planes(body, x)
    xr = images(x, planes)
    yr, invstd = empty(xr.shape, x.dtype), empty(mean.shape, x.dtype)
    sizes = (*x.shape[:2], math.prod(x.shape[2:]), int(not planes))
    body(yr, invstd, xr, w, b, mean, var, eps, sizes=sizes)
    return unimages(yr, x.shape, planes), invstd


KERNELS = [
    Kernel("cython.fused", "norm_cy:norm_f32"),
    Kernel("numba.fused", "norm_nb:norm_f32"),
    Kernel("numba.loops", "jit"),
]
BACKWARD_KERNELS = [
    Kernel("cython.fused", "norm_cy:norm_backward_f32"),
    Kernel("numba.fused", "norm_nb:norm_backward_f32"),
    Kernel("numba.loops", "jit"),
]
FORWARD = Ladder(
    "batch_norm", reference=channel_norm, kernels=KERNELS, call=call_norm, loops=norm_loops
)
BACKWARD = Ladder(
    "batch_norm.backward",
    reference=channel_norm_backward,
    kernels=BACKWARD_KERNELS,
    call=call_norm_backward,
    loops=norm_backward_loops,
)
RUNNING = Ladder(
    "batch_norm.running",
    reference=running_norm,
    kernels=[
        Kernel("cython.fused", "norm_cy:running_norm_f32"),
        Kernel("numba.fused", "norm_nb:running_norm_f32"),
        Kernel("numba.loops", "jit"),
    ],
    call=call_running,
    loops=running_norm_loops,
)


def filled(vector: Array | None, size: int, instead: float, dtype: Any) -> Array:
    """A weight or bias as one row of memory, or a constant where there is none."""
    if vector is None:
        return np.full(size, instead, dtype)
    return np.ascontiguousarray(vector).reshape(size)


def batch_norm_forward(
    x: Array,
    w: Array | None,
    b: Array | None,
    mean: Array | None,
    var: Array | None,
    eps: float,
) -> tuple[Array, Array, Array | None, Array]:
    """y, and μ, σ² and r for the gradient; of the batch unless μ and σ² are given: then no σ²."""
    C = x.shape[1]
    w, b = filled(w, C, 1, x.dtype), filled(b, C, 0, x.dtype)
    if mean is None or var is None:
        if not x.size:  # no statistics, and nothing that needs them
            return x.copy(), *np.zeros((3, C), x.dtype)
        return FORWARD(x, w, b, eps)
    if is_grad_enabled():  # the next training batch will change μ; the gradient needs no σ²
        mean = mean.copy()
    y, invstd = RUNNING(x, w, b, np.ascontiguousarray(mean), np.ascontiguousarray(var), eps)
    return y, mean, None, invstd


def batch_norm_backward(
    dy: Array,
    outputs: tuple[Any, Array, Array | None, Array],
    x: Array,
    w: Array | None,
    b: Array | None,
    running_mean: Array | None,
    running_var: Array | None,
    eps: float,
) -> tuple[Array, Array, Array]:
    _, mean, _, invstd = outputs
    if not x.size:
        return dy.copy(), *np.zeros((2, x.shape[1]), x.dtype)
    w = filled(w, x.shape[1], 1, x.dtype)
    return BACKWARD(dy, x, mean, invstd, w, running_mean is None)


BATCH_NORM = Op(
    "batch_norm",
    forward=batch_norm_forward,
    vjp=batch_norm_backward,
    keeps="01",
    is_ladder=True,
)


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
    M = batch_norm_shape(input._data.shape, training, **vectors)
    if not eps >= 0:
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
