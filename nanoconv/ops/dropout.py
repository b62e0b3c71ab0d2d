"""Dropout: in training, set numbers to 0 with probability p, and scale the others up.

    y[k] = x[k] · s[k],     s[k] = 0 with probability p, else 1 / (1 − p)

Nothing can rely on a single number any more. The factor keeps the expectation, E[y] = x, so that
evaluation, where y = x, needs no correction ("inverted" dropout). What is drawn once, and then
shared, is what differs between the kinds:

    dropout            an s for every number
    dropout1d, 2d, 3d  an s for every channel of every image: neighbouring pixels say nearly the
                       same, so that dropping single ones would hide nothing
    stochastic_depth   an s for every example ("row"), or one for all ("batch"): of a residual
                       branch, which then is not there at all

Alpha dropout sets to −α instead, where the activation selu saturates, and keeps mean 0 and
variance 1 of its inputs:

    y[k] = a·(x[k]·m[k] − α·(1 − m[k])) + b,   m[k] = 0 with probability p, else 1
    a = 1 / √((1 − p)·(1 + α²·p)),  b = a·α·p,  α = 1.7580993408473766

    shapes    x, y any; s and m broadcast over what shares them
    cost      a random number for each of s, and a multiplication for each of x
    gradient  dx[k] = dy[k] · s[k],  of alpha dropout  dx[k] = dy[k] · a·m[k]

Papers: Srivastava et al., Dropout, JMLR 15, 2014; Tompson et al., arXiv 1411.4280 (channels);
Klambauer et al., Self-Normalizing Neural Networks, arXiv 1706.02515 (alpha); Huang et al., Deep
Networks with Stochastic Depth, arXiv 1603.09382.

>>> import nanoconv as nc
>>> nc.manual_seed(0)
>>> nc.functional.dropout(nc.tensor([1.0, 1.0, 1.0, 1.0]), 0.5)
tensor([2., 2., 2., 0.])
>>> nc.manual_seed(0)
>>> nc.functional.dropout1d(nc.ones(4, 2)).tolist()
[[2.0, 2.0], [2.0, 2.0], [2.0, 2.0], [0.0, 0.0]]
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .. import config
from ..dispatch import Op, is_channels_last, nchw, nhwc
from ..tensor import Tensor, apply
from .checks import check_dtypes

Array = np.ndarray
Shape = tuple[int, ...]
ALPHA = 1.7580993408473766  # −α is the limit of selu at −∞


# --------------------------------------------------------------------------- the NumPy reference


def kept(x: Array, p: float, shape: Shape) -> Array:
    """1 where a number is kept and 0 with probability p, in the dtype and layout of x.

    One float32 is drawn per number of `shape`, in logical order, whatever x's dtype and layout.
    """
    m = np.empty_like(x, shape=shape)
    m[...] = config.generator().random(shape, np.float32) >= p
    return m


def times(x: Array, s: Array) -> Array:
    """x·s"""
    if s.shape == (*x.shape[:2], 1, 1) and is_channels_last(x):
        # For each pixel of a row, so that NumPy's inner loop has W·C numbers, not C.
        s = nchw(nhwc(np.broadcast_to(s, (*x.shape[:2], 1, x.shape[3]))))
    return x * s


def dropout_forward(x: Array, p: float, shape: Shape) -> tuple[Array, Array]:
    """y and s."""
    s = kept(x, p, shape)
    s *= 1 / (1 - p) if p < 1 else 0
    return times(x, s), s


def alpha_dropout_forward(x: Array, p: float, shape: Shape) -> tuple[Array, Array]:
    """y and a·m; if all are dropped, y is 0."""
    m = kept(x, p, shape)
    if p == 1:
        return x * m, m
    a = 1 / math.sqrt((1 - p) * (1 + ALPHA**2 * p))
    b = (m - 1) * (a * ALPHA) + a * ALPHA * p
    m *= a
    return x * m + b, m


DROPOUT = Op(
    "dropout",
    forward=dropout_forward,
    vjp=lambda dy, y_and_s, x, p, shape: times(dy, y_and_s[1]),
    keeps="",
)
ALPHA_DROPOUT = Op(
    "alpha_dropout",
    forward=alpha_dropout_forward,
    vjp=lambda dy, y_and_s, x, p, shape: dy * y_and_s[1],
    keeps="",
)


# --------------------------------------------------------------------------- the public functions


def check_probability(op: str, p: Any) -> float:
    """p is a probability; an error names the op or layer."""
    if not (isinstance(p, (int, float, np.number)) and 0 <= p <= 1):
        raise ValueError(f"{op}: p={p!r}, expected a probability from 0 to 1")
    return float(p)


def run(
    name: str, op: Op, input: Tensor, p: float, training: bool, axes: int | None = None
) -> Tensor:
    """`op` with a random number for each index of the first `axes` axes; if None, of all."""
    p = check_probability(name, p)
    if not training or p == 0:
        return input
    shape = input.shape[:axes]
    return apply(op, input, p=p, shape=shape + (1,) * (input.ndim - len(shape)))[0]


def dropout(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """`input` with a fraction `p` of its numbers set to 0 and the others scaled by 1 / (1 − p).

    As torch.nn.functional.dropout; the random numbers are those of `nc.manual_seed`. Gives back
    `input` itself unless `training`; `inplace` is accepted, and a new tensor returned. ValueError
    if `p` is not a probability.
    """
    check_dtypes("dropout", input=input)
    return run("dropout", DROPOUT, input, p, training)


def channels(op: str, input: Tensor, *axes: int) -> int:
    """How many axes of `input` count channels: 2, or 1 without a batch, the first of `axes`."""
    check_dtypes(op, input=input)
    if input.ndim not in axes:
        raise ValueError(
            f"{op}: input has shape {list(input.shape)}, expected {axes[0]} or {axes[1]} axes"
        )
    return 1 + axes.index(input.ndim)


def dropout1d(
    input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False
) -> Tensor:
    """`input` (N, C, L) or (C, L) with whole channels set to 0; else as `dropout`."""
    return run("dropout1d", DROPOUT, input, p, training, channels("dropout1d", input, 2, 3))


def dropout2d(
    input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False
) -> Tensor:
    """`input` (N, C, H, W) with whole channels set to 0; else as `dropout`.

    As torch.nn.functional.dropout2d, three axes are (N, C, L), not an image without a batch.

    Unlike PyTorch: an input with other than 3 or 4 axes is refused.
    """
    channels("dropout2d", input, 3, 4)
    return run("dropout2d", DROPOUT, input, p, training, 2)


def dropout3d(
    input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False
) -> Tensor:
    """`input` (N, C, D, H, W) or (C, D, H, W) with whole channels set to 0; else as `dropout`.

    Unlike PyTorch: an input with other than 4 or 5 axes is refused.
    """
    return run("dropout3d", DROPOUT, input, p, training, channels("dropout3d", input, 4, 5))


def alpha_dropout(
    input: Tensor, p: float = 0.5, training: bool = False, inplace: bool = False
) -> Tensor:
    """`input` with a fraction `p` of its numbers set to where selu saturates, then normalised.

    As torch.nn.functional.alpha_dropout, whose `training` is False if not given; else as `dropout`.
    """
    check_dtypes("alpha_dropout", input=input)
    return run("alpha_dropout", ALPHA_DROPOUT, input, p, training)


def feature_alpha_dropout(
    input: Tensor, p: float = 0.5, training: bool = False, inplace: bool = False
) -> Tensor:
    """As `alpha_dropout`, of whole channels of `input` (N, C, …)."""
    check_dtypes("feature_alpha_dropout", input=input)
    if input.ndim < 2:
        raise ValueError(
            f"feature_alpha_dropout: input has shape {list(input.shape)}, expected 2 axes or more"
        )
    return run("feature_alpha_dropout", ALPHA_DROPOUT, input, p, training, 2)


def stochastic_depth(input: Tensor, p: float, mode: str, training: bool = True) -> Tensor:
    """`input`, a residual branch, set to 0 with probability `p` or scaled by 1 / (1 − p).

    As torchvision.ops.stochastic_depth: `mode` "row" decides for each example of the first axis,
    "batch" for all at once. Gives back `input` itself unless `training`. ValueError if `p` is not
    a probability, for another mode, and for "row" without an axis.
    """
    check_dtypes("stochastic_depth", input=input)
    check_mode("stochastic_depth", mode)
    if mode == "row" and input.ndim == 0:
        raise ValueError("stochastic_depth: mode='row' needs an axis of examples, got a scalar")
    return run("stochastic_depth", DROPOUT, input, p, training, 1 if mode == "row" else 0)


def check_mode(op: str, mode: str) -> None:
    """`mode` is one of stochastic_depth's; an error names the op or layer."""
    if mode not in ("batch", "row"):
        raise ValueError(f"{op}: mode={mode!r}, expected 'batch' or 'row'")
