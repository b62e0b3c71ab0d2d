"""Losses of classification: how surprised the network is by the right answers.

    nll_loss        ℓ[n] = −w[t]·x[n,t]                     x log-probabilities
    cross_entropy   the same of z = log_softmax(x)          x any scores

n example (and pixel, if every pixel has a class), c one of C classes, t = t[n] the right one, w the
weight of each class, 1 if not given. With label smoothing, cross_entropy takes the share ε from the
right class and spreads it over all of them:

    ℓ[n] = −(1 − ε)·w[t]·z[n,t] − ε/C · Σ_c w[c]·z[n,c]
    L    = Σ_n ℓ[n] / Σ_n w[t[n]]                           reduction "mean"; "sum" has no divisor

An example whose target is `ignore_index` has loss 0 and does not count in the divisor. If targets
are given as probabilities q[n,c], ℓ[n] = −Σ_c w[c]·q[n,c]·z[n,c] and the divisor is N.

    shapes    x (N, C), (N, C, d₁, …) or (C,)   t (N,), (N, d₁, …) or ()   w (C,)   ℓ as t
    cost      reading x once; cross_entropy also an exponential for each number
    gradient  dz[n,c] = −dℓ[n] · ((1 − ε)·w[t]·1[c = t] + ε/C · w[c])

Through log_softmax this becomes, without weights, dx[n,c] = dℓ[n]·(softmax(x)[n,c] − q[n,c]): what
the network said minus what is true. Papers: Bridle, 1990 (see softmax); Szegedy et al., Rethinking
the Inception Architecture, arXiv 1512.00567 (smoothing).

>>> import nanoconv as nc
>>> x = nc.tensor([[0.0, 0.0]], requires_grad=True)
>>> loss = nc.functional.cross_entropy(x, nc.tensor([1]))
>>> loss  # log 2: one bit of surprise
tensor(0.6931472, op=mean_of_examples)
>>> loss.backward()
>>> x.grad
tensor([[ 0.5, -0.5]])
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..dispatch import Op
from ..tape import told
from ..tensor import Tensor, apply
from .checks import check_dtypes, given
from .shaping import squeeze, unsqueeze
from .softmax import log_softmax

Array = np.ndarray


# --------------------------------------------------------------------------- shapes


def check_arguments(op: str, x: Tensor, target: Any, weight: Tensor | None, reduction: str) -> None:
    """What both losses expect of their arguments, whatever kind of target."""
    check_dtypes(op, input=x, **given(weight=weight))
    if not isinstance(target, Tensor):
        raise TypeError(f"{op}: target must be a nanoconv Tensor, got {type(target).__name__}")
    if reduction not in ("mean", "sum", "none"):
        raise ValueError(f"{op}: reduction={reduction!r}, expected 'mean', 'sum' or 'none'")
    if x.ndim == 0 or classes(x) == 0:
        raise ValueError(f"{op}: input has shape {list(x.shape)}, expected (N, C, …) with C > 0")
    if weight is not None and weight.shape != (classes(x),):
        raise ValueError(
            f"{op}: weight has shape {list(weight.shape)}, expected one for each of the "
            f"{classes(x)} classes"
        )
    if weight is not None and weight.requires_grad and target.dtype.kind != "f":
        raise ValueError(
            f"{op}: weight must not require a gradient, there is none with classes as target"
        )


def check_classes(op: str, x: Tensor, target: Tensor, ignore_index: int) -> None:
    """`target` is one class of `x` for each example, or `ignore_index`."""
    if target.dtype.kind not in "iu":
        raise TypeError(f"{op}: target is {target.dtype}, expected integers: the right classes")
    shape = x.shape[:1] + x.shape[2:] if x.ndim > 1 else ()
    if target.shape != shape:
        raise ValueError(
            f"{op}: target has shape {list(target.shape)}, expected {list(shape)} "
            f"for input {list(x.shape)}"
        )
    t = target._data
    if t.size and t.min() >= 0 and t.max() < classes(x):
        return
    wrong = t[((t < 0) | (t >= classes(x))) & (t != ignore_index)]
    if wrong.size:
        raise ValueError(f"{op}: target {wrong[0]} is not one of the {classes(x)} classes")


def classes(x: Tensor) -> int:
    return x.shape[1] if x.ndim > 1 else x.shape[0]


# --------------------------------------------------------------------------- the NumPy reference


def at_right(shape: tuple[int, ...], t: Array, ignore_index: int) -> tuple[Array, Array, Array]:
    """The right class of each example, where x[n, t] lies in x (N, C, P), and what is ignored."""
    N, C, P = shape[0], shape[1], math.prod(shape[2:])
    ignored = t == ignore_index
    right = np.where(ignored, 0, t)  # (N, …)
    place = right.reshape(N, P) * P + np.arange(N)[:, None] * (C * P) + np.arange(P)
    return right, place, ignored


def nll_forward(x: Array, t: Array, w: Array | None, ignore_index: int, smoothing: float) -> Array:
    right, place, ignored = at_right(x.shape, t, ignore_index)
    if x.flags.c_contiguous:
        loss = -x.reshape(-1).take(place).reshape(t.shape)
    else:
        loss = -np.take_along_axis(x, right[:, None], 1)[:, 0]  # (N, …)
    if w is not None:
        loss *= w[right]
    if smoothing:
        w = np.ones(x.shape[1], x.dtype) if w is None else w  # (C,)
        every = np.moveaxis(x, 1, -1) @ w  # (N, …)
        loss = (1 - smoothing) * loss - smoothing / len(w) * every
    return np.where(ignored, 0, loss)


def nll_backward(
    dloss: Array, x: Array, t: Array, w: Array | None, ignore_index: int, smoothing: float
) -> Array:
    right, place, ignored = at_right(x.shape, t, ignore_index)
    dloss = np.where(ignored, 0, -dloss)  # (N, …)
    if smoothing:
        every = smoothing / x.shape[1] * (np.ones(x.shape[1], x.dtype) if w is None else w)
        dx = np.moveaxis(np.multiply.outer(dloss, every), -1, 1)  # (N, …, C) to (N, C, …)
        dx = np.ascontiguousarray(dx)
    else:
        dx = np.zeros(x.shape, x.dtype)
    dx.reshape(-1)[place] += ((1 - smoothing) * dloss * (1 if w is None else w[right])).reshape(
        place.shape
    )
    return dx


NLL_LOSS = Op(
    "nll_loss",
    forward=nll_forward,
    vjp=lambda dy, y, x, t, w, **attrs: nll_backward(dy, x, t, w, **attrs),
    keeps="12",
)


MEAN = Op(
    "mean_of_examples",  # Σ ℓ / total, where total is what the examples count
    lambda losses, total: np.divide(losses.sum(), losses.dtype.type(total)),
    lambda dy, y, losses, total: np.broadcast_to(dy / losses.dtype.type(total), losses.shape),
    keeps="",
)


# --------------------------------------------------------------------------- the public functions


def of_classes(
    op: str,
    x: Tensor,
    target: Tensor,
    weight: Tensor | None,
    ignore_index: int,
    reduction: str,
    smoothing: float = 0.0,
) -> Tensor:
    """The loss of log-probabilities x, the right classes given."""
    for known in (target, weight):
        if known is not None:
            told(known, f"{op}, which counts examples,")
    counted = target._data != ignore_index
    if weight is None:
        total = float(np.count_nonzero(counted))
    else:
        total = float(weight._data[target._data[counted]].sum())
    if x.ndim > 1:
        losses = apply(NLL_LOSS, x, target, weight, ignore_index=ignore_index, smoothing=smoothing)
        return reduced(losses, reduction, total)
    x, target = unsqueeze(x, 0), unsqueeze(target, 0)
    losses = apply(NLL_LOSS, x, target, weight, ignore_index=ignore_index, smoothing=smoothing)
    return reduced(squeeze(losses, 0), reduction, total)


def reduced(losses: Tensor, reduction: str, total: float) -> Tensor:
    if reduction == "none":
        return losses
    return losses.sum() if reduction == "sum" else apply(MEAN, losses, total=total)


def nll_loss(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    *,
    ignore_index: int = -100,
    reduction: str = "mean",
) -> Tensor:
    """The mean surprise −w[t]·x[t] of log-probabilities `input` (N, C, …) at the classes `target`.

    As torch.nn.functional.nll_loss, without its deprecated arguments. The mean over no example is
    NaN. ValueError where shapes do not fit or a target is no class.

    Unlike PyTorch: no deprecated `size_average` or `reduce`.
    """
    check_arguments("nll_loss", input, target, weight, reduction)
    check_classes("nll_loss", input, target, ignore_index)
    return of_classes("nll_loss", input, target, weight, ignore_index, reduction)


def cross_entropy(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    *,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """The mean surprise of the scores `input` (N, C, …) at `target`, classes or probabilities.

    As torch.nn.functional.cross_entropy, without its deprecated arguments. Integers (N, …) are
    classes, floats (N, C, …) probabilities, which do not go with `ignore_index`; with them `weight`
    may require a gradient. The mean over no
    example is NaN. ValueError where shapes do not fit or a target is no class.

    Unlike PyTorch: no deprecated `size_average` or `reduce`.
    """
    check_arguments("cross_entropy", input, target, weight, reduction)
    if not 0 <= label_smoothing <= 1:
        raise ValueError(f"cross_entropy: label_smoothing={label_smoothing!r}, expected 0 to 1")
    if target.dtype.kind == "f":
        check_probabilities(input, target, ignore_index)
    else:
        check_classes("cross_entropy", input, target, ignore_index)
    z = log_softmax(input, 1 if input.ndim > 1 else 0)
    if target.dtype.kind != "f":
        return of_classes(
            "cross_entropy", z, target, weight, ignore_index, reduction, label_smoothing
        )
    q = target
    if label_smoothing:
        q = q * (1 - label_smoothing) + label_smoothing / classes(input)
    if weight is not None:
        q = q * weight.reshape(-1, *(1,) * (input.ndim - 2))
    losses = -(z * q).sum(1 if input.ndim > 1 else 0)
    return reduced(losses, reduction, losses.numel())


def check_probabilities(x: Tensor, target: Tensor, ignore_index: int) -> None:
    check_dtypes("cross_entropy", input=x, target=target)
    if target.shape != x.shape:
        raise ValueError(
            f"cross_entropy: target has shape {list(target.shape)}, expected probabilities "
            f"{list(x.shape)} as the input, or integers"
        )
    if ignore_index >= 0:
        raise ValueError(
            f"cross_entropy: ignore_index={ignore_index} does not go with probabilities as target"
        )
