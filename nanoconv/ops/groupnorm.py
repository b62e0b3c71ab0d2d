"""Group and instance norm: every image by itself is given mean 0 and variance 1, group by group.

    x̂ = (x − μ) · r,    μ = Σ_S x / |S|,    σ² = Σ_S (x − μ)² / |S|,    r = 1 / √(σ² + ε)
    y[n,c,m] = x̂[n,c,m] · w[c] + b[c]

    group_norm      S: K = C/G neighbouring channels of one image, all of its pixels
    instance_norm   the same with G = C: each channel of each image by itself

n image, c one of C channels, g = ⌊c/K⌋ one of G groups, m one of M pixels. Unlike batch norm they
do not look at other images, so that training and evaluation are the same. instance_norm may keep
running statistics nevertheless, which are batch norm's averaged over the images:

    running_mean[c] ← (1 − momentum)·running_mean[c] + momentum/N · Σ_n μ[n,c]
    running_var[c]  ← (1 − momentum)·running_var[c]  + momentum/N · Σ_n σ²[n,c]·M/(M − 1)

    shapes    x and y (N, C, …)   w, b (C,)   μ, σ², r (N, G)
    cost      one multiply-add for each number, and two more readings for the statistics

Where the channels of one pixel are neighbours in memory, a group's statistics follow from those of
its channels, each of M pixels: the variance of a whole is the mean variance of its parts plus the
variance of their means,

    μ[n,g] = Σ_c μ[n,c]/K        σ²[n,g] = Σ_c (σ²[n,c] + (μ[n,c] − μ[n,g])²)/K        c in g

and where the pixels of one channel are, a group is one row of K·M numbers. The gradient is batch
norm's (see batchnorm.py), its sums taken over S with dx̂ = dy·w:

    dx = r · (dx̂ − Σ_S dx̂/|S| − x̂·Σ_S dx̂·x̂/|S|)
    dw[c] = Σ dy·x̂      db[c] = Σ dy      over all images and pixels

Papers: Wu, He, Group Normalization, arXiv 1803.08494; Ulyanov et al., Instance Normalization,
1607.08022. Two channels, as two groups and as one:

>>> import nanoconv as nc
>>> x = nc.tensor([[[1.0, 3.0], [5.0, 7.0]]])
>>> nc.functional.group_norm(x, num_groups=2, eps=0.0)
tensor([[[-1.,  1.],
         [-1.,  1.]]])
>>> nc.functional.group_norm(x, num_groups=1, eps=11.0)  # mean 4, variance 5, r = 1/4
tensor([[[-0.75, -0.25],
         [ 0.25,  0.75]]])
"""

from __future__ import annotations

import math
import operator
from typing import Any

import numpy as np

from ..dispatch import Ladder, Op
from ..tape import no_grad
from ..tensor import Tensor, apply
from .batchnorm import (
    BACKWARD_KERNELS,
    KERNELS,
    batch_norm,
    call_norm,
    call_norm_backward,
    filled,
    norm_backward_loops,
    norm_loops,
    of_channels,
    per_channel,
)
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


def check_eps(op: str, eps: float) -> None:
    if not eps >= 0:
        raise ValueError(f"{op}: eps={eps!r} must not be negative")


# --------------------------------------------------------------------------- the NumPy reference


def by_group(x: Array, G: int) -> Array:
    """(N, C, …) → (N, G, K·M)."""
    return x.reshape(x.shape[0], G, x.size // (x.shape[0] * G))


def groups_norm(
    x: Array, w: Array, b: Array, eps: float, G: int
) -> tuple[Array, Array, Array, Array]:
    """y, and μ, σ² and r (N, G)."""
    xg = by_group(x, G)
    mean = xg.mean(2)
    xhat = xg - mean[:, :, None]
    var = np.square(xhat).mean(2)
    invstd = (1 / np.sqrt(var + eps)).astype(x.dtype)
    xhat *= invstd[:, :, None]
    return xhat.reshape(x.shape) * per_channel(w, x) + per_channel(b, x), mean, var, invstd


def groups_norm_backward(
    dy: Array, x: Array, mean: Array, invstd: Array, w: Array
) -> tuple[Array, Array, Array]:
    """dx, dw and db."""
    G, r = mean.shape[1], invstd[:, :, None]
    xhat = (by_group(x, G) - mean[:, :, None]) * r
    g = by_group(dy * per_channel(w, x), G)
    dx = r * (g - g.mean(2, keepdims=True) - xhat * (g * xhat).mean(2, keepdims=True))
    dw = (dy * xhat.reshape(x.shape)).sum(of_channels(x))
    return dx.reshape(x.shape), dw, dy.sum(of_channels(x))


# --------------------------------------------------------------------------- the ladder


FORWARD = Ladder(
    "group_norm", reference=groups_norm, kernels=KERNELS, call=call_norm, loops=norm_loops
)
BACKWARD = Ladder(
    "group_norm.backward",
    reference=groups_norm_backward,
    kernels=BACKWARD_KERNELS,
    call=call_norm_backward,
    loops=norm_backward_loops,
)


def group_norm_forward(
    x: Array, w: Array | None, b: Array | None, num_groups: int, eps: float
) -> tuple[Array, Array, Array, Array]:
    """y, and μ, σ² and r (N, G) of the groups."""
    N, C = x.shape[:2]
    if not x.size:  # no statistics, and nothing that needs them
        return x.copy(), *np.zeros((3, N, num_groups), x.dtype)
    return FORWARD(x, filled(w, C, 1, x.dtype), filled(b, C, 0, x.dtype), eps, num_groups)


def group_norm_backward(
    dy: Array,
    outputs: tuple[Any, Array, Array, Array],
    x: Array,
    w: Array | None,
    b: Array | None,
    num_groups: int,
    eps: float,
) -> tuple[Array, Array, Array]:
    if not x.size:
        return dy.copy(), *np.zeros((2, x.shape[1]), x.dtype)
    _, mean, _, invstd = outputs
    return BACKWARD(dy, x, mean, invstd, filled(w, x.shape[1], 1, x.dtype))


GROUP_NORM = Op("group_norm", forward=group_norm_forward, vjp=group_norm_backward, keeps="01")


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
