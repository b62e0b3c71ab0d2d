"""Randomised leaky ReLU: in training, each negative number is multiplied by a slope of its own.

    y[k] = x[k] where x[k] > 0, else a[k]·x[k]

    training     a[k] is drawn from the uniform distribution on [lower, upper)
    evaluation   a[k] = (lower + upper) / 2, their mean: `leaky_relu`

As in dropout, no number can rely on the exact value of another; here what varies is how much of the
negative side is seen.

    shapes    x, y and a any
    cost      a random number and a multiplication for each number
    gradient  dx[k] = dy[k] where x[k] > 0, else a[k]·dy[k]

Paper: Xu et al., Empirical Evaluation of Rectified Activations, arXiv 1505.00853.

>>> import nanoconv as nc
>>> x = nc.tensor([-8.0, 4.0])
>>> nc.functional.rrelu(x, lower=0.0, upper=0.5).tolist()
[-2.0, 4.0]
>>> nc.manual_seed(0)
>>> y = nc.functional.rrelu(x, lower=0.0, upper=0.5, training=True)
>>> -4 <= y[0].item() <= 0, y[1].item()
(True, 4.0)
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .. import config
from ..dispatch import Op
from ..tensor import Tensor, apply
from .activations import leaky_relu, real
from .checks import check_dtypes

Array = np.ndarray


def rrelu_forward(x: Array, lower: float, upper: float) -> tuple[Array, Array]:
    """y and its slopes: a where x ≤ 0, else 1."""
    a = np.ones_like(x)
    drawn = config.generator().random(x.shape, np.float32)  # whatever x's dtype and layout
    np.copyto(a, lower + (upper - lower) * drawn.astype(x.dtype), where=x <= 0)
    return x * a, a


RRELU = Op(
    "rrelu",
    forward=rrelu_forward,
    vjp=lambda dy, y_and_a, x, lower, upper: dy * y_and_a[1],
    keeps="",
)


def check_bounds(op: str, lower: Any, upper: Any) -> tuple[float, float]:
    """Two finite numbers in order; an error names the op or layer."""
    low, high = real(op, "lower", lower), real(op, "upper", upper)
    if not -math.inf < low <= high < math.inf:
        raise ValueError(
            f"{op}: lower={lower!r} and upper={upper!r}, expected finite numbers in this order"
        )
    return low, high


def rrelu(
    input: Tensor,
    lower: float = 1 / 8,
    upper: float = 1 / 3,
    training: bool = False,
    inplace: bool = False,
) -> Tensor:
    """x where x > 0, else a·x, with a drawn from [lower, upper) in training, else their mean.

    As torch.nn.functional.rrelu; the random numbers are those of `nc.manual_seed`. `inplace` as in
    `relu`. ValueError unless lower ≤ upper.
    """
    check_dtypes("rrelu", input=input)
    low, high = check_bounds("rrelu", lower, upper)
    if not training:
        return leaky_relu(input, (low + high) / 2)
    return apply(RRELU, input, lower=low, upper=high)[0]
