"""Weight standardisation: what batch norm does to the numbers, done to the filters instead.

    ŵ[o] = (w[o] − μ[o]) / √(σ²[o] + ε)

o output channel; μ[o] and σ²[o] are the mean and the variance of all numbers of its filter, those
of every input channel and tap. It is `layer_norm` (see layernorm.py) with a filter for a row, and
so is its gradient, which takes away what would only move or stretch the filter. A convolution with
such filters, and group norm behind it, learns from batches of one or two images as well as batch
norm does from large ones.

    shapes    w and ŵ (O, C/G, KH, KW); any (O, …)
    cost      reading the filters three times, on each forward pass

Paper: Qiao et al., Micro-Batch Training with Batch-Channel Normalization and Weight
Standardization, arXiv 1903.10520. One filter of two taps, mean 4 and variance 9:

>>> import nanoconv as nc
>>> w = nc.tensor([[[[1.0, 7.0]]]])
>>> nc.functional.weight_standardization(w, eps=0.0)
tensor([[[[-1.,  1.]]]])
"""

from __future__ import annotations

from ..tensor import Tensor
from .checks import check_dtypes
from .layernorm import layer_norm


def weight_standardization(weight: Tensor, eps: float = 1e-5) -> Tensor:
    """The filters `weight` (O, …), each with mean 0 and variance 1.

    ValueError where there is nothing to take a mean of.
    """
    check_dtypes("weight_standardization", weight=weight)
    if weight.ndim < 2:
        raise ValueError(
            f"weight_standardization: weight has shape {list(weight.shape)}, expected (O, C, …)"
        )
    if not eps >= 0:
        raise ValueError(f"weight_standardization: eps={eps!r} must not be negative")
    return layer_norm(weight, weight.shape[1:], eps=eps)
