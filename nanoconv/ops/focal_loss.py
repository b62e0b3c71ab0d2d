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

It is composed of elementary ops, and so is its gradient. Paper: Lin et al., Focal Loss for Dense
Object Detection, arXiv 1708.02002. A score of 0 (p = 1/2) where yes is right, ¼·¼·log 2:

>>> import nanoconv as nc
>>> nc.functional.sigmoid_focal_loss(nc.tensor([0.0]), nc.tensor([1.0]))
tensor([0.0433217])
"""

from __future__ import annotations

from ..tensor import Tensor
from .distances import binary_cross_entropy_with_logits, check_pair, reduced
from .smooth_activations import sigmoid


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
    p = sigmoid(inputs)
    losses = binary_cross_entropy_with_logits(inputs, targets, reduction="none")
    p_t = p * targets + (1 - p) * (1 - targets)
    losses = losses * (1 - p_t) ** gamma
    if alpha >= 0:
        losses = losses * (alpha * targets + (1 - alpha) * (1 - targets))
    return reduced(losses, reduction)
