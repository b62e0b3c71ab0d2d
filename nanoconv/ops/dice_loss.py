"""Dice loss: how little two regions overlap, each pixel belonging to a region more or less.

    D[n,c] = (2·Σ_m p·t + s) / (Σ_m p² + Σ_m t² + s)          ℓ[n,c] = 1 − D[n,c]

n image, c one of C classes, m pixel; p[n,c,m] how far the network says that the pixel belongs to
class c, t[n,c,m] the truth, both between 0 and 1; s smooths: it makes D = 1 where a class is
neither said nor there, and leaves a gradient where it is nearly so. D is 1 if p = t (of zeros and
ones), and near 0 if they are apart. Because both sums grow with the region, a small one counts as
much as a large one, which is not so for cross entropy. The loss is the mean over images and
classes.

    shapes    p (N, C, …)     t the same, or (N, …) integers: the class of each pixel     ℓ (N, C)
    cost      three multiply-adds for each number
    gradient  dp = −2·dℓ · (t − D·p) / (Σ p² + Σ t² + s)

It is composed of elementary ops, and so is its gradient. Paper: Milletari et al., V-Net, arXiv
1606.04797, which has the squares below; s there is 0.

>>> import nanoconv as nc
>>> p, t = nc.tensor([[[1.0, 1.0, 0.0]]]), nc.tensor([[[1.0, 0.0, 0.0]]])
>>> nc.functional.dice_loss(p, t, smooth=0.0)  # 1 − 2·1 / (2 + 1)
tensor(0.3333333)
"""

from __future__ import annotations

import numpy as np

from ..tape import told
from ..tensor import Tensor
from .checks import check_dtypes
from .distances import REDUCTIONS, check_pair, reduced
from .losses import check_classes
from .smooth_activations import sigmoid
from .softmax import softmax

ACTIVATIONS = (None, "sigmoid", "softmax")


def one_hot(target: Tensor, like: Tensor) -> Tensor:
    """Classes (N, …) as (N, C, …) of zeros and ones."""
    told(target, "dice_loss")
    classes = np.arange(like.shape[1]).reshape(-1, *(1,) * (like.ndim - 2))  # (C, 1, …)
    return Tensor((target._data[:, None] == classes).astype(like.dtype))


def dice_loss(
    input: Tensor,
    target: Tensor,
    smooth: float = 1.0,
    reduction: str = "mean",
    activation: str | None = None,
) -> Tensor:
    """1 − the overlap of `input` (N, C, …) with `target`, alike, or classes (N, …) as integers.

    `input` are probabilities, or scores of which `activation` makes them: "sigmoid" by themselves,
    "softmax" over the classes. ValueError where shapes do not fit or a target is no class.
    """
    check_dtypes("dice_loss", input=input)
    if activation not in ACTIVATIONS:
        names = ", ".join(map(repr, ACTIVATIONS))
        raise ValueError(f"dice_loss: activation={activation!r}, expected one of {names}")
    if not smooth >= 0:
        raise ValueError(f"dice_loss: smooth={smooth!r} must not be negative")
    if reduction not in REDUCTIONS:
        names = ", ".join(map(repr, REDUCTIONS))
        raise ValueError(f"dice_loss: reduction={reduction!r}, expected one of {names}")
    if input.ndim < 2:
        raise ValueError(f"dice_loss: input has shape {list(input.shape)}, expected (N, C, …)")
    if isinstance(target, Tensor) and target.dtype.kind in "iu":
        check_classes("dice_loss", input, target, ignore_index=0)
        target = one_hot(target, input)
    check_pair("dice_loss", input, target, reduction)
    p = input
    if activation is not None:
        p = sigmoid(input) if activation == "sigmoid" else softmax(input, 1)
    pixels = tuple(range(2, input.ndim))

    def total(product: Tensor) -> Tensor:
        return product.sum(pixels) if pixels else product

    overlap = (2 * total(p * target) + smooth) / (total(p * p) + total(target * target) + smooth)
    return reduced(1 - overlap, reduction)
