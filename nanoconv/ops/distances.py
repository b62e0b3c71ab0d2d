"""Losses that compare two arrays number by number: each input x with the target t beside it.

    mse_loss        d²                                              d = x − t
    l1_loss         |d|
    smooth_l1_loss  d²/(2β) where |d| < β, else |d| − β/2           Girshick, arXiv 1504.08083
    huber_loss      d²/2 where |d| ≤ δ, else δ·(|d| − δ/2)          Huber, Ann. Math. Stat. 35, 1964
    kl_div          t·(log t − x)      x log-probabilities          Kullback, Leibler, 1951
                    eᵗ·(t − x)         if the target is given as logarithms (log_target)
    binary_cross_entropy              −(t·log x + (1 − t)·log(1 − x))          x probabilities
    binary_cross_entropy_with_logits  −(t·log σ(x) + (1 − t)·log(1 − σ(x)))    x any scores

The squares make large mistakes very large; the absolute values do not, but have a kink where
nothing is wrong; smooth_l1 and huber are round near 0 and straight beyond. The last two ask one
yes-or-no question per number.

The loss L is the mean of all ℓ, their sum, or every ℓ ("none"). So the gradient of one number is
that of one term:

    mse 2d      l1 sign(d)      smooth_l1 clip(d/β, −1, 1)      huber clip(d, −δ, δ)
    kl_div −t (−eᵗ)             bce (x − t) / (x·(1 − x))       with logits σ(x) − t

The first four depend on x − t alone, so the gradient by t is the opposite. For the others it is

    kl_div log t + 1 − x  (eᵗ·(t − x + 1))      bce log((1 − x)/x)      with logits −x

    shapes    x and t alike, any; ℓ the same
    cost      reading x and t; a logarithm or an exponential in the last three

>>> import nanoconv as nc
>>> x = nc.tensor([1.0, 5.0], requires_grad=True)
>>> loss = nc.functional.huber_loss(x, nc.tensor([0.5, 1.0]), reduction="sum")
>>> loss  # 0.5²/2 + (4 − 1/2)
tensor(3.625, op=sum)
>>> loss.backward()
>>> x.grad
tensor([0.5, 1. ])
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from ..dispatch import Body, Kernel, Ladder, Op, always, empty, is_channels_last
from ..tensor import Tensor, apply
from .activations import flat, unflat
from .checks import check_dtypes, given
from .smooth_activations import sigmoid_forward

Array = np.ndarray
REDUCTIONS = ("mean", "sum", "none")


# --------------------------------------------------------------------------- the NumPy reference


def sign(d: Array) -> Array:
    """−1, 0 or 1, and 0 for NaN, as in PyTorch."""
    return (d > 0).astype(d.dtype) - (d < 0)


def smooth_l1_forward(x: Array, t: Array, beta: float) -> Array:
    d = np.abs(x - t)
    return np.where(d < beta, d * d / (2 * beta or 1), d - beta / 2)


def smooth_l1_slope(x: Array, t: Array, beta: float) -> Array:
    d = x - t
    return np.clip(d / beta, -1, 1) if beta else sign(d)


def huber_forward(x: Array, t: Array, delta: float) -> Array:
    d = np.abs(x - t)
    return np.where(d <= delta, d * d / 2, delta * (d - delta / 2))


def kl_forward(x: Array, t: Array) -> Array:
    return np.where(t == 0, 0, t * np.log(t)) - t * x  # 0·log 0 = 0


def kl_target_slope(x: Array, t: Array) -> Array:
    return np.log(t) + t / t - x  # NaN at 0, where t·log t has no finite slope


def bce_forward(x: Array, t: Array) -> Array:
    # As PyTorch: no logarithm below −100, so that a certain mistake has a finite loss.
    return (t - 1) * np.maximum(np.log1p(-x), -100) - t * np.maximum(np.log(x), -100)


def bce_slope(x: Array, t: Array) -> Array:
    return (x - t) / np.maximum((1 - x) * x, 1e-12)


def softplus(x: Array) -> Array:
    """log(1 + eˣ), of which nothing overflows."""
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


Function = Callable[..., Array]
TABLE: dict[str, tuple[Function, Function, Function | None]] = {
    # ℓ(x, t), ∂ℓ/∂x and ∂ℓ/∂t, which of a function of |x − t| is ∂ℓ/∂x with x and t exchanged
    "mse_loss": (lambda x, t: (x - t) ** 2, lambda x, t: 2 * (x - t), None),
    "l1_loss": (lambda x, t: np.abs(x - t), lambda x, t: sign(x - t), None),
    "smooth_l1_loss": (smooth_l1_forward, smooth_l1_slope, None),
    "huber_loss": (huber_forward, lambda x, t, delta: np.clip(x - t, -delta, delta), None),
    "kl_div": (kl_forward, lambda x, t: -t, kl_target_slope),
    "kl_div_log": (
        lambda x, t: np.exp(t) * (t - x),
        lambda x, t: -np.exp(t),
        lambda x, t: np.exp(t) * (t - x + 1),
    ),
    "binary_cross_entropy": (
        bce_forward,
        bce_slope,
        lambda x, t: np.log1p(-x) - np.log(x),
    ),
    # −log σ(x) = softplus(−x), and −log(1 − σ(x)) = x + softplus(−x)
    "binary_cross_entropy_with_logits": (
        lambda x, t: (1 - t) * x + softplus(-x),
        lambda x, t: 1 - t - sigmoid_forward(-x),
        lambda x, t: -x,
    ),
}


# --------------------------------------------------------------------------- the ladder


def call_loss(body: Body, x: Array, t: Array, *attrs: float) -> Array:
    last = is_channels_last(x)
    y = empty((x.size,), x.dtype)
    body(y, flat(x, last), flat(t, last), *attrs, sizes=(x.size,))
    return unflat(y, x.shape, last)


def call_slope(body: Body, dy: Array, x: Array, t: Array, *attrs: float) -> Array:
    last = is_channels_last(x)
    dx = empty((x.size,), x.dtype)
    body(dx, *(flat(a, last) for a in (dy, x, t)), *attrs, sizes=(x.size,))
    return unflat(dx, x.shape, last)


def kernels(function: str, when: Callable[..., bool]) -> list[Kernel]:
    return [
        Kernel("cython.flat", f"loss_cy:{function}_f32", when),
        Kernel("numba.flat", f"loss_nb:{function}_f32", when),
    ]


def distance(
    name: str,
    loss: Function,
    by_input: Function,
    by_target: Function | None,
    when: Callable[..., bool] = always,
) -> Op:
    """The Op of one row of a table, with its ladders, which take attributes without their names."""

    def slope(which: str, f: Function) -> Ladder:
        body, reference = kernels(f"{name}_{which}", when), lambda dy, *args: dy * f(*args)
        return Ladder(f"{name}.{which}", reference, body, call_slope)

    LOSS[name] = Ladder(f"{name}.forward", loss, kernels(name, when), call_loss)
    BY_INPUT[name] = slope("by_x", by_input)
    if by_target is not None:
        BY_TARGET[name] = slope("by_t", by_target)

    def target_grad(dy: Array, y: None, x: Array, t: Array, **attrs: float) -> Array:
        if name in BY_TARGET:
            return BY_TARGET[name](dy, x, t, *attrs.values())
        return BY_INPUT[name](dy, t, x, *attrs.values())

    return Op(
        name,
        forward=lambda x, t, **attrs: LOSS[name](x, t, *attrs.values()),
        vjp=(
            lambda dy, y, x, t, **attrs: BY_INPUT[name](dy, x, t, *attrs.values()),
            target_grad,
        ),
    )


LOSS: dict[str, Ladder] = {}  # and that of sigmoid_focal_loss
BY_INPUT: dict[str, Ladder] = {}
BY_TARGET: dict[str, Ladder] = {}
DISTANCES = {name: distance(name, *row) for name, row in TABLE.items()}


def positive_weight(t: Array, p: Array) -> Array:
    """What the yes-part of a loss counts: p where t = 1, 1 where t = 0."""
    return 1 + (p - 1) * t


WEIGHTED_LOGITS = Op(
    "binary_cross_entropy_with_pos_weight",
    forward=lambda x, t, p: (1 - t) * x + positive_weight(t, p) * softplus(-x),
    vjp=(
        lambda dy, y, x, t, p: dy * (1 - t - positive_weight(t, p) * sigmoid_forward(-x)),
        lambda dy, y, x, t, p: dy * (p * softplus(-x) - softplus(x)),
    ),
)


# --------------------------------------------------------------------------- the public functions


def check_pair(
    op: str, x: Tensor, t: Tensor, reduction: str, *more: str, plural: bool = False
) -> None:
    """Input and target (of some, `inputs` and `targets`) are alike, and the reduction is known."""
    s = "s" if plural else ""
    check_dtypes(op, **{f"input{s}": x, f"target{s}": t})
    if x.shape != t.shape:
        raise ValueError(
            f"{op}: target{s} has shape {list(t.shape)}, expected {list(x.shape)} as the input{s}; "
            "expand() one of them"
        )
    if reduction not in (*REDUCTIONS, *more):
        names = ", ".join(map(repr, (*REDUCTIONS, *more)))
        raise ValueError(f"{op}: reduction={reduction!r}, expected one of {names}")


def weighted(op: str, losses: Tensor, **weights: Tensor | None) -> None:
    """Weights go with the losses, and have no gradient."""
    for name, w in given(**weights).items():
        check_dtypes(op, input=losses, **{name: w})
        try:
            fits = np.broadcast_shapes(w.shape, losses.shape) == losses.shape
        except ValueError:
            fits = False
        if not fits:
            raise ValueError(
                f"{op}: {name} has shape {list(w.shape)}, which does not broadcast to "
                f"{list(losses.shape)}"
            )
        if w.requires_grad:
            raise ValueError(f"{op}: {name} must not require a gradient, there is none")


def reduced(losses: Tensor, reduction: str) -> Tensor:
    if reduction == "batchmean":
        return losses.sum() / losses.shape[0] if losses.ndim else losses
    return {"mean": Tensor.mean, "sum": Tensor.sum, "none": lambda y: y}[reduction](losses)


def run(
    name: str,
    input: Tensor,
    target: Tensor,
    reduction: str,
    weight: Tensor | None = None,
    **attrs: float,
) -> Tensor:
    check_pair(name, input, target, reduction)
    if weight is not None:
        check_dtypes(name, input=input, weight=weight)
        if weight.shape != input.shape:
            raise ValueError(
                f"{name}: weight has shape {list(weight.shape)}, expected {list(input.shape)} as "
                "the input"
            )
    losses = apply(DISTANCES[name], input, target, **attrs)
    return reduced(losses if weight is None else losses * weight, reduction)


def weighted_mean(
    name: str, input: Tensor, target: Tensor, reduction: str, weight: Tensor | None
) -> Tensor:
    """As `run`, but the mean counts each number as often as its weight says."""
    if weight is None or reduction != "mean":
        return run(name, input, target, reduction, weight)
    return run(name, input, target, "sum", weight) / weight.sum()


def mse_loss(
    input: Tensor, target: Tensor, *, reduction: str = "mean", weight: Tensor | None = None
) -> Tensor:
    """The mean squared error of `input` and `target`, of one shape, as torch's mse_loss.

    `weight`, of their shape, is what each number counts, also in the mean. ValueError where shapes
    differ: PyTorch warns and broadcasts, mostly by mistake.

    Unlike PyTorch: `target` must have the shape of `input`; there is no broadcasting, and no
    deprecated `size_average` or `reduce`.
    """
    return weighted_mean("mse_loss", input, target, reduction, weight)


def l1_loss(
    input: Tensor, target: Tensor, *, reduction: str = "mean", weight: Tensor | None = None
) -> Tensor:
    """The mean absolute error; see `mse_loss`.

    Unlike PyTorch: `target` must have the shape of `input`, as for `mse_loss`.
    """
    return weighted_mean("l1_loss", input, target, reduction, weight)


def smooth_l1_loss(
    input: Tensor, target: Tensor, *, reduction: str = "mean", beta: float = 1.0
) -> Tensor:
    """The mean absolute error, rounded off where it is below `beta` ≥ 0; see `mse_loss`.

    Unlike PyTorch: `target` must have the shape of `input`, as for `mse_loss`, and `beta` must be
    finite.
    """
    if not 0 <= beta < math.inf:
        raise ValueError(f"smooth_l1_loss: beta={beta!r} must not be negative, infinite or NaN")
    return run("smooth_l1_loss", input, target, reduction, beta=float(beta))


def huber_loss(
    input: Tensor,
    target: Tensor,
    reduction: str = "mean",
    delta: float = 1.0,
    weight: Tensor | None = None,
) -> Tensor:
    """Half the squared error, continued straight where the error is above `delta` > 0.

    As torch's huber_loss, whose mean, unlike that of `mse_loss`, does not count by `weight`.

    Unlike PyTorch: `target` must have the shape of `input`, as for `mse_loss`, and `delta` must be
    finite.
    """
    if not 0 < delta < math.inf:
        raise ValueError(f"huber_loss: delta={delta!r} must be positive and finite")
    return run("huber_loss", input, target, reduction, weight, delta=float(delta))


def kl_div(
    input: Tensor, target: Tensor, *, reduction: str = "mean", log_target: bool = False
) -> Tensor:
    """How far the log-probabilities `input` are from the probabilities `target`.

    As torch.nn.functional.kl_div: "mean" is over all numbers, "batchmean" over the first axis,
    which is what the mathematics means, and of a scalar the sum. The gradient by a target of 0 is
    NaN, as there. With `log_target` the target is given as logarithms.

    Unlike PyTorch: `target` must have the shape of `input`, as for `mse_loss`.
    """
    check_pair("kl_div", input, target, reduction, "batchmean")
    losses = apply(DISTANCES["kl_div_log" if log_target else "kl_div"], input, target)
    return reduced(losses, reduction)


def binary_cross_entropy(
    input: Tensor, target: Tensor, weight: Tensor | None = None, *, reduction: str = "mean"
) -> Tensor:
    """The surprise of probabilities `input` at the answers `target`, between 0 (no) and 1 (yes).

    As torch.nn.functional.binary_cross_entropy: no logarithm is below −100. ValueError where an
    input or a target is not between 0 and 1.

    Unlike PyTorch: no deprecated `size_average` or `reduce`.
    """
    check_pair("binary_cross_entropy", input, target, reduction)
    weighted("binary_cross_entropy", input, weight=weight)
    if not ((input._data >= 0) & (input._data <= 1)).all():
        raise ValueError(
            "binary_cross_entropy: input has values outside of [0, 1] or NaN; for scores there is "
            "binary_cross_entropy_with_logits"
        )
    if not ((target._data >= 0) & (target._data <= 1)).all():
        raise ValueError("binary_cross_entropy: target has values outside of [0, 1] or NaN")
    losses = apply(DISTANCES["binary_cross_entropy"], input, target)
    return reduced(losses if weight is None else losses * weight, reduction)


def binary_cross_entropy_with_logits(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    *,
    reduction: str = "mean",
    pos_weight: Tensor | None = None,
) -> Tensor:
    """The same of scores `input`, of which sigmoid makes probabilities; nothing overflows.

    As torch.nn.functional.binary_cross_entropy_with_logits; `pos_weight` is what a yes counts.

    Unlike PyTorch: no deprecated `size_average` or `reduce`.
    """
    name = "binary_cross_entropy_with_logits"
    check_pair(name, input, target, reduction)
    weighted(name, input, weight=weight, pos_weight=pos_weight)
    if pos_weight is None:
        losses = apply(DISTANCES[name], input, target)
    else:
        losses = apply(WEIGHTED_LOGITS, input, target, pos_weight)
    return reduced(losses if weight is None else losses * weight, reduction)
