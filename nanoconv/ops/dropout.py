"""Dropout: in training, set each number to 0 with probability p, and scale the others up.

    y[k] = x[k] · s[k],     s[k] = 0 with probability p, else 1 / (1 − p)

Nothing can rely on a single number any more. The factor keeps the expectation, E[y] = x, so that
evaluation, where y = x, needs no correction ("inverted" dropout).

    shapes    x, s, y any
    cost      a random number for each number
    gradient  dx[k] = dy[k] · s[k]

Paper: Srivastava et al., Dropout, JMLR 15, 2014.

>>> import nanoconv as nc
>>> nc.manual_seed(0)
>>> nc.functional.dropout(nc.tensor([1.0, 1.0, 1.0, 1.0]), 0.5)
tensor([2., 2., 2., 0.])
"""

from __future__ import annotations

import numpy as np

from .. import config
from ..dispatch import Op
from ..tensor import Tensor, apply
from .checks import check_dtypes

Array = np.ndarray


def dropout_forward(x: Array, p: float) -> tuple[Array, Array]:
    """y and s. One float32 is drawn per number, in logical order, whatever x's dtype and layout."""
    s = np.zeros_like(x)
    s[config.generator().random(x.shape, np.float32) >= p] = 1 / (1 - p) if p < 1 else 0
    return x * s, s


DROPOUT = Op(
    "dropout",
    forward=dropout_forward,
    vjp=lambda dy, y_and_s, x, p: dy * y_and_s[1],
    keeps="",
)


def dropout(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """`input` with a fraction `p` of its numbers set to 0 and the others scaled by 1 / (1 − p).

    As torch.nn.functional.dropout; the random numbers are those of `nc.manual_seed`. Gives back
    `input` itself unless `training`; `inplace` is accepted, and a new tensor returned. ValueError
    if `p` is not a probability.
    """
    check_dtypes("dropout", input=input)
    if not 0 <= p <= 1:
        raise ValueError(f"dropout: p={p!r}, expected a probability from 0 to 1")
    return apply(DROPOUT, input, p=float(p))[0] if training and p > 0 else input
