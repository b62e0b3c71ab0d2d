"""Softmax: any numbers to positive ones that add up to 1, for instance scores to probabilities.

    y[c] = e^x[c] / Σ_k e^x[k]                      along one axis, of which c and k are positions
    log_softmax:  z[c] = log y[c] = x[c] − log Σ_k e^x[k]
    softmin:      softmax of −x

Adding the same number to all x changes nothing, so the largest x is taken off first: e^(x − max)
cannot overflow and one term of the sum is 1. log_softmax is more than the logarithm of softmax:
where y underflows to 0, z is still exact.

    shapes    y and z have the shape of x
    cost      about one exponential for each number

Every output depends on every input: ∂y[c]/∂x[k] = y[c]·(1[c = k] − y[k]). Summed over c against dy,

    softmax:      dx[k] = y[k] · (dy[k] − Σ_c dy[c]·y[c])
    log_softmax:  dx[k] = dz[k] − e^z[k] · Σ_c dz[c]

Paper: Bridle, Probabilistic Interpretation of Feedforward Classification Network Outputs, 1990.

>>> import nanoconv as nc
>>> nc.functional.softmax(nc.tensor([0.0, 0.0, 1000.0, 1000.0]), dim=0)
tensor([0. , 0. , 0.5, 0.5])
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..dispatch import Op
from ..tensor import Tensor, apply, method
from .checks import check_dtypes
from .shaping import axis, converted

Array = np.ndarray


# --------------------------------------------------------------------------- the NumPy reference


def softmax_forward(x: Array, dim: int) -> Array:
    e = np.exp(x - x.max(dim, keepdims=True, initial=-np.inf))
    return e / e.sum(dim, keepdims=True)


def softmax_backward(dy: Array, y: Array, dim: int) -> Array:
    return y * (dy - (dy * y).sum(dim, keepdims=True))


def log_softmax_forward(x: Array, dim: int) -> Array:
    x = x - x.max(dim, keepdims=True, initial=-np.inf)
    return x - np.log(np.exp(x).sum(dim, keepdims=True))


def log_softmax_backward(dz: Array, z: Array, dim: int) -> Array:
    return dz - np.exp(z) * dz.sum(dim, keepdims=True)


SOFTMAX = Op(
    "softmax",
    forward=softmax_forward,
    vjp=lambda dy, y, x, dim: softmax_backward(dy, y, dim),
    keeps="y",
)
LOG_SOFTMAX = Op(
    "log_softmax",
    forward=log_softmax_forward,
    vjp=lambda dz, z, x, dim: log_softmax_backward(dz, z, dim),
    keeps="y",
)


# --------------------------------------------------------------------------- the public functions


@method
def softmax(input: Tensor, dim: int | None = None, *, dtype: Any = None) -> Tensor:
    """`input` as positive numbers with sum 1 along `dim`.

    As torch.nn.functional.softmax; with `dtype`, `input` is converted before. ValueError if
    there is no such axis, TypeError for integers.

    Unlike PyTorch: `dim` must be given; which axis None stands for depends on their number there.
    """
    input = converted("softmax", input, dtype)
    check_dtypes("softmax", input=input)
    return apply(SOFTMAX, input, dim=axis("softmax", dim, input.ndim))


@method
def log_softmax(input: Tensor, dim: int | None = None, *, dtype: Any = None) -> Tensor:
    """The logarithm of `softmax`, exact also where softmax underflows.

    As torch.nn.functional.log_softmax; with `dtype`, `input` is converted before. ValueError if
    there is no such axis, TypeError for integers.

    Unlike PyTorch: `dim` must be given; which axis None stands for depends on their number there.
    """
    input = converted("log_softmax", input, dtype)
    check_dtypes("log_softmax", input=input)
    return apply(LOG_SOFTMAX, input, dim=axis("log_softmax", dim, input.ndim))


def softmin(input: Tensor, dim: int | None = None, *, dtype: Any = None) -> Tensor:
    """`softmax` of −input, as torch.nn.functional.softmin: the smallest number gets the most.

    Unlike PyTorch: `dim` must be given, as for `softmax`.
    """
    input = converted("softmin", input, dtype)
    check_dtypes("softmin", input=input)
    return apply(SOFTMAX, -input, dim=axis("softmin", dim, input.ndim))
