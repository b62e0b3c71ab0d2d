"""Focal loss: binary cross entropy that pays less and less attention to what is right already.

    ℓ = −α_t · (1 − p_t)^γ · log p_t        p_t = p where the answer t is yes (1), else 1 − p
                                            α_t = α where it is yes, else 1 − α

p = σ(x) is the probability that the score x says. With γ = 0 and no α it is binary cross entropy;
with γ = 2 an example with p_t = 0.9 counts a hundredth of that, so that the thousands of easy
negatives of a detector do not drown its few hard examples. Between no and yes, 0 < t < 1,
everything is interpolated: p_t = t·p + (1 − t)·(1 − p), α_t likewise, and cross entropy as it is
defined (see distances.py).

    shapes    x and t alike, any; ℓ the same
    cost      an exponential, a logarithm and a power for each number
    gradient  dx = α_t · (1 − p_t)^γ · (γ·p_t·log p_t + p_t − 1) · (2t − 1)          for t 0 or 1

and in general, with q = 1 − p_t, the cross entropy c and its derivative p − t by x,

    dx = α_t·(γ·q^(γ − 1)·c·p·(1 − p)·(1 − 2t) + q^γ·(p − t))
    dt = q^γ·c·(2α − 1) + α_t·(γ·q^(γ − 1)·c·(1 − 2p) − q^γ·x)

Paper: Lin et al., Focal Loss for Dense
Object Detection, arXiv 1708.02002. A score of 0 (p = 1/2) where yes is right, ¼·¼·log 2:

>>> import nanoconv as nc
>>> nc.functional.sigmoid_focal_loss(nc.tensor([0.0]), nc.tensor([1.0]))
tensor([0.0433217])
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..tensor import Tensor, apply
from .distances import check_pair, distance, reduced, softplus
from .smooth_activations import sigmoid_forward

Array = np.ndarray


# --------------------------------------------------------------------------- the NumPy reference


def focal_parts(x: Array, t: Array, alpha: float) -> tuple[Array, Array, Array | float]:
    """q = 1 − p_t, the cross entropy c and α_t."""
    q = sigmoid_forward(x) * (1 - t) + sigmoid_forward(-x) * t
    c = (1 - t) * x + softplus(-x)
    return q, c, alpha * t + (1 - alpha) * (1 - t) if alpha >= 0 else 1.0


def focal_forward(x: Array, t: Array, alpha: float, gamma: float) -> Array:
    q, c, counts = focal_parts(x, t, alpha)
    return c * q**gamma * counts


def focal_slope(q: Array, gamma: float) -> Array | float:
    """∂q^γ/∂q."""
    return gamma * q ** (gamma - 1) if gamma else 0.0


def focal_input_slope(x: Array, t: Array, alpha: float, gamma: float) -> Array:
    q, c, counts = focal_parts(x, t, alpha)
    p, other = sigmoid_forward(x), sigmoid_forward(-x)
    return counts * (focal_slope(q, gamma) * c * (p * other * (1 - 2 * t)) + q**gamma * (p - t))


def focal_target_slope(x: Array, t: Array, alpha: float, gamma: float) -> Array:
    q, c, counts = focal_parts(x, t, alpha)
    c_inside = c * sigmoid_forward(-x) - c * sigmoid_forward(x)  # NaN if infinite, as in PyTorch
    through_q = focal_slope(q, gamma) * c_inside
    slope = 2 * alpha - 1 if alpha >= 0 else 0.0
    return q**gamma * c * slope + counts * (through_q - q**gamma * x)


# --------------------------------------------------------------------------- the ladder


def gamma_of_2(*args: Any) -> bool:
    """The predicate of the kernels: q² needs no power."""
    return bool(args[-1] == 2)


FOCAL = distance(
    "sigmoid_focal_loss", focal_forward, focal_input_slope, focal_target_slope, gamma_of_2
)


# --------------------------------------------------------------------------- the public function


def sigmoid_focal_loss(
    inputs: Tensor,
    targets: Tensor,
    alpha: float = 0.25,
    gamma: float = 2,
    reduction: str = "none",
) -> Tensor:
    """The focal loss of scores `inputs` at the answers `targets`, 0 to 1.

    As torchvision.ops.sigmoid_focal_loss: a negative `alpha` leaves the α_t out. ValueError where
    shapes differ, and for gamma < 0.
    """
    check_pair("sigmoid_focal_loss", inputs, targets, reduction, plural=True)
    if not alpha <= 1:
        raise ValueError(f"sigmoid_focal_loss: alpha={alpha!r}, expected 0 to 1, or less for none")
    if not gamma >= 0:
        raise ValueError(f"sigmoid_focal_loss: gamma={gamma!r} must not be negative")
    losses = apply(FOCAL, inputs, targets, alpha=float(alpha), gamma=float(gamma))
    return reduced(losses, reduction)
