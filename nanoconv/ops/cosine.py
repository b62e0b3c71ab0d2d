"""Directions: vectors of length 1, the cosine between two, and the loss that turns them.

    normalize               y = x / max(‖x‖, ε)           ‖x‖ = (Σ_k |x[k]|^p)^(1/p)
    cosine_similarity       cos(a, b) = Σ_k a[k]·b[k] / (max(‖a‖, ε)·max(‖b‖, ε))        p = 2
    cosine_embedding_loss   1 − cos where t = 1,   max(cos − margin, 0) where t = −1

k runs along one axis, or several; the rest are examples. The third brings pairs that belong
together (t = 1) into one direction, and others at least as far apart as the margin says.

    shapes    normalize: y as x     cosine_similarity: the common shape without the axis
    cost      two multiply-adds for each number, and a root for each vector

What would only make the vector longer has no effect on y, and is taken away from dy. With n = ‖x‖
and s = dn/dx = sign(x)·(|x|/n)^(p − 1), which is x/n for p = 2, and taken as 0 where n = 0:

    dx = dy/n − s · Σ_k dy[k]·x[k] / n²             (dy/ε where n < ε)
    da = dcos · (b/‖b‖ − cos·a/‖a‖) / ‖a‖           db likewise

Paper of the loss: Hadsell, Chopra, LeCun, Dimensionality Reduction by Learning an Invariant
Mapping, CVPR 2006 (of distances instead of cosines).

>>> import nanoconv as nc
>>> nc.functional.normalize(nc.tensor([[3.0, 4.0]]))
tensor([[0.6, 0.8]])
>>> nc.functional.cosine_similarity(nc.tensor([[3.0, 4.0]]), nc.tensor([[0.0, 2.0]]))
tensor([0.8])
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..dispatch import Op
from ..tape import told
from ..tensor import Tensor, apply
from .arithmetic import clamp, where
from .checks import check_dtypes
from .distances import REDUCTIONS, reduced
from .shaping import axes, axis, expand

Array = np.ndarray
TINY = float(np.float32(1e-12))  # PyTorch adds it to both squares of cosine_embedding_loss


# --------------------------------------------------------------------------- the NumPy reference


def norm(x: Array, p: float, dim: Any) -> Array:
    if p == np.inf:
        return np.abs(x).max(dim, keepdims=True, initial=0)
    if p == 2:
        return np.sqrt((x * x).sum(dim, keepdims=True))
    return (np.abs(x) ** p).sum(dim, keepdims=True) ** (1 / p)


def norm_slope(x: Array, n: Array, p: float, dim: Any) -> Array:
    """∂‖x‖/∂x; equal maxima share it."""
    if p == np.inf:
        largest = np.abs(x) == n
        return np.sign(x) * largest / np.maximum(largest.sum(dim, keepdims=True, dtype=x.dtype), 1)
    if p == 1:
        return np.sign(x)
    slope = x / n if p == 2 else np.sign(x) * (np.abs(x) / n) ** (p - 1)
    return np.where(n == 0, 0, slope)


def normalize_forward(x: Array, p: float, dim: Any, eps: float) -> Array:
    return x / np.maximum(norm(x, p, dim), x.dtype.type(eps))


def normalize_backward(dy: Array, y: None, x: Array, p: float, dim: Any, eps: float) -> Array:
    n = norm(x, p, dim)
    length = np.maximum(n, x.dtype.type(eps))
    along = (dy * (x / length)).sum(dim, keepdims=True) / length
    return dy / length - norm_slope(x, n, p, dim) * np.where(n < eps, 0, along)


def cosine_forward(a: Array, b: Array, dim: int, eps: float) -> Array:
    return (normalize_forward(a, 2, dim, eps) * normalize_forward(b, 2, dim, eps)).sum(dim)


def cosine_backward(dy: Array, a: Array, b: Array, dim: int, eps: float) -> Array:
    """The gradient by a. As in PyTorch it goes through a length below eps as if it were above."""
    n = norm(a, 2, dim)
    length, v = np.maximum(n, a.dtype.type(eps)), normalize_forward(b, 2, dim, eps)
    cos = (a / length * v).sum(dim, keepdims=True)
    return np.expand_dims(dy, dim) * (v - cos * norm_slope(a, n, 2, dim)) / length


NORMALIZE = Op("normalize", forward=normalize_forward, vjp=(normalize_backward,))
COSINE_SIMILARITY = Op(
    "cosine_similarity",
    forward=cosine_forward,
    vjp=(
        lambda dy, y, a, b, **attrs: cosine_backward(dy, a, b, **attrs),
        lambda dy, y, a, b, **attrs: cosine_backward(dy, b, a, **attrs),
    ),
)


def embedding_forward(a: Array, b: Array) -> tuple[Array, ...]:
    """The cosine c of rows, 1/√(α·β), c/α and c/β, where α = Σ a² + TINY and β likewise."""
    dot, alpha, beta = (np.einsum("...k,...k->...", *ab) for ab in ((a, b), (a, a), (b, b)))
    alpha, beta = alpha + a.dtype.type(TINY), beta + a.dtype.type(TINY)
    scale = 1 / np.sqrt(alpha * beta)
    c = dot * scale
    return c, scale, c / alpha, c / beta


def embedding_backward(dy: Array, scale: Array, share: Array, a: Array, b: Array) -> Array:
    """The gradient by a: dc·(b/√(α·β) − a·c/α)."""
    da = (dy * scale)[..., None] * b
    da -= (dy * share)[..., None] * a
    return da


COSINE_OF_EMBEDDINGS = Op(
    "cosine_of_embeddings",
    forward=embedding_forward,
    vjp=(
        lambda dy, y, a, b: embedding_backward(dy, y[1], y[2], a, b),
        lambda dy, y, a, b: embedding_backward(dy, y[1], y[3], b, a),
    ),
)


# --------------------------------------------------------------------------- the public functions


def normalize(
    input: Tensor, p: float = 2.0, dim: int | Sequence[int] = 1, eps: float = 1e-12
) -> Tensor:
    """`input` divided by its p-norm along `dim`, or by eps where that is smaller.

    As torch.nn.functional.normalize, for p > 0 (inf too), without `out`. ValueError if there is no
    such axis.

    Unlike PyTorch: p ≤ 0 is refused, and there is no `out`.
    """
    check_dtypes("normalize", input=input)
    if not p > 0:
        raise ValueError(f"normalize: p={p!r} must be positive")
    if not eps >= 0:
        raise ValueError(f"normalize: eps={eps!r} must not be negative")
    along = axes("normalize", dim, input.ndim)
    return apply(NORMALIZE, input, p=float(p), dim=along, eps=float(eps))


def cosine_similarity(x1: Tensor, x2: Tensor, dim: int = 1, eps: float = 1e-8) -> Tensor:
    """The cosine of the angle between `x1` and `x2` along `dim` of their common shape.

    As torch.nn.functional.cosine_similarity. ValueError where the shapes do not broadcast.
    """
    check_dtypes("cosine_similarity", x1=x1, x2=x2)
    if not eps >= 0:
        raise ValueError(f"cosine_similarity: eps={eps!r} must not be negative")
    try:
        shape = np.broadcast_shapes(x1.shape, x2.shape)
    except ValueError:
        raise ValueError(
            f"cosine_similarity: x2 has shape {list(x2.shape)}, which does not broadcast with "
            f"{list(x1.shape)} of x1"
        ) from None
    along = axis("cosine_similarity", dim, len(shape))
    a, b = (x if x.shape == shape else expand(x, *shape) for x in (x1, x2))
    return apply(COSINE_SIMILARITY, a, b, dim=along, eps=float(eps))


def cosine_embedding_loss(
    input1: Tensor,
    input2: Tensor,
    target: Tensor,
    margin: float = 0,
    *,
    reduction: str = "mean",
) -> Tensor:
    """1 − the cosine of pairs (N, K) whose `target` (N,) is 1; what of it exceeds `margin` for −1.

    As torch.nn.functional.cosine_embedding_loss, without its deprecated arguments; one pair (K,)
    has a target (). ValueError where shapes do not fit or a target is neither 1 nor −1.

    Unlike PyTorch: targets other than 1 and −1 are refused, and both inputs have one shape; no
    deprecated `size_average` or `reduce`.
    """
    op = "cosine_embedding_loss"
    check_dtypes(op, input1=input1, input2=input2)
    if not isinstance(target, Tensor):
        raise TypeError(f"{op}: target must be a nanoconv Tensor, got {type(target).__name__}")
    if input1.ndim not in (1, 2) or input2.shape != input1.shape:
        raise ValueError(
            f"{op}: inputs have shapes {list(input1.shape)} and {list(input2.shape)}, expected "
            "(N, K) or (K,) for both"
        )
    if target.shape != input1.shape[:-1]:
        raise ValueError(
            f"{op}: target has shape {list(target.shape)}, expected {list(input1.shape[:-1])}"
        )
    if not (np.abs(target._data.astype(np.float64)) == 1).all():
        raise ValueError(f"{op}: target has values other than 1 and -1")
    if reduction not in REDUCTIONS:
        names = ", ".join(map(repr, REDUCTIONS))
        raise ValueError(f"{op}: reduction={reduction!r}, expected one of {names}")
    told(target, op)
    cos = apply(COSINE_OF_EMBEDDINGS, input1, input2)[0]
    apart = clamp(cos - margin, min=0)
    return reduced(where(Tensor(target._data == 1), 1 - cos, apart), reduction)
