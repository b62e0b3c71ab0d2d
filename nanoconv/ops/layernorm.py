"""Layer and RMS norm: the numbers of every row are given mean 0 and variance 1.

    x̂ = (x − μ) · r,    μ = Σ x / D,    σ² = Σ (x − μ)² / D,    r = 1 / √(σ² + ε)
    y = x̂ · w + b

    layer_norm      all D numbers of the last axes, as normalized_shape names them, are one row
    rms_norm        the same with 0 for μ and no b: r = 1 / √(Σ x²/D + ε)

    shapes    x and y (…, D₁, D₂ …)   w and b (D₁, D₂ …)   D = D₁·D₂…
    cost      one multiply-add for each number, and two more readings for the statistics

The gradient is batch norm's (see batchnorm.py), its sums taken over a row with dx̂ = dy·w:

    dx = r · (dx̂ − Σ dx̂/D − x̂·Σ dx̂·x̂/D)
    dw = Σ dy·x̂      db = Σ dy         over all rows

For rms_norm, where μ does not depend on x, the first sum is missing. Papers: Ba et al., Layer
Normalization, arXiv 1607.06450; Zhang, Sennrich, RMSNorm, 1910.07467.

>>> import nanoconv as nc
>>> x = nc.tensor([[[1.0, 3.0], [5.0, 7.0]]])
>>> nc.functional.layer_norm(x, (2, 2), eps=11.0)  # mean 4, variance 5, r = 1/4
tensor([[[-0.75, -0.25],
         [ 0.25,  0.75]]])
>>> nc.functional.rms_norm(nc.tensor([6.0, 8.0]), (2,), eps=14.0)  # mean square 50, r = 1/8
tensor([0.75, 1.  ])
"""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..dispatch import Body, Kernel, Ladder, Op, empty
from ..tensor import Tensor, apply
from .batchnorm import filled
from .checks import check_dtypes, given
from .groupnorm import check_eps

Array = np.ndarray


# --------------------------------------------------------------------------- shapes


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


# --------------------------------------------------------------------------- the literal loops


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


def layer_norm_forward(
    x: Array, w: Array | None, b: Array | None, axes: int, eps: float, centred: bool
) -> tuple[Array, Array, Array]:
    """y, and μ and r of each row for the gradient."""
    xr = as_rows(x, axes)
    w, b = (filled(a, xr.shape[1], k, x.dtype) for a, k in ((w, 1), (b, 0)))
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
    w = filled(w, xr.shape[1], 1, x.dtype)
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
