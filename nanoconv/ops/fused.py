"""Fused ops: what compiled inference runs in one go. The reference is the composition it replaces.

    conv2d_act             y = f(conv2d(x, w, b) + r)
    depthwise_conv2d_act   y = f(depthwise_conv2d(x, w, b) + r)
    linear_act             y = f(linear(x, w, b))
    add_act                y = f(a + b)
    channels               y[:, k] = cat(inputs, axis 1)[:, index[k]];  index[k] = −1: y[:, k] = 0

f is an `Activation`; b and r (a residual of the shape of y) may be missing. Eager code never calls
these, and none has a gradient: the passes in `graph/passes/` put them into graphs. Nothing is saved
by the references here. What a kernel saves is memory traffic, for y is written once, and the sum
and f happen while it is in registers; and `channels`, which computes nothing, can be a matter of
addresses.

    shapes    those of the composition; channels any inputs (N, C, …) that agree but in C
    cost      that of the sum of products

Paper: Chen et al., TVM, arXiv 1802.04799, section 3, which says which ops can be fused.

>>> import numpy as np
>>> a = np.array([[-1.0, 3.0, 9.0]], np.float32)
>>> ADD_ACT.forward(a, a, activation=Activation("clamp", 0.0, 6.0))
array([[0., 6., 6.]], dtype=float32)
>>> CHANNELS.forward(a, a, index=(5, 0, -1))
array([[ 9., -1.,  0.]], dtype=float32)
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from ..dispatch import Op
from . import smooth_activations  # noqa: F401 (adds its ladders to FORWARD)
from .activations import FORWARD
from .conv2d import CONV2D
from .depthwise_conv2d import DEPTHWISE_CONV2D
from .geometry import Geometry
from .linear import LINEAR

Array = np.ndarray


class Activation(NamedTuple):
    """A function of a number.

    name    "clamp" (between `low` and `high`), "leaky_relu" (`low` is the slope), "hardswish",
            "hardsigmoid", "sigmoid" or "silu"
    """

    name: str
    low: float = 0.0
    high: float = 0.0


IDENTITY = Activation("clamp", -math.inf, math.inf)


def activate(x: Array, f: Activation) -> Array:
    """f(x), by the ladder of the activation."""
    if f == IDENTITY:
        return x
    if f.name == "leaky_relu":
        return FORWARD[f.name](x, f.low)
    if f.name != "clamp":
        return FORWARD[f.name](x)
    if (f.low, f.high) == (0, math.inf):
        return FORWARD["relu"](x)
    return FORWARD["hardtanh"](x, f.low, f.high)


def convolved(
    op: Op, x: Array, w: Array, b: Array | None, r: Array | None, geo: Geometry, f: Activation
) -> Array:
    """f(op(x, w, b) + r)"""
    y = op.forward(x, w, b, geo)
    return activate(y if r is None else y + r, f)


def channels_forward(*xs: Array, index: tuple[int, ...]) -> Array:
    N, _, *pixels = xs[0].shape
    zeros = [np.zeros((N, 1, *pixels), xs[0].dtype)] * (-1 in index)  # the last, so number −1
    return np.concatenate([*xs, *zeros], axis=1).take(np.array(index, np.intp), axis=1)


CONV2D_ACT = Op(
    "conv2d_act",
    lambda x, w, b, r, geo, activation: convolved(CONV2D, x, w, b, r, geo, activation),
    vjp=None,
    macs=lambda y, x, w, b, r, geo, activation: CONV2D.macs(y, x, w, b, geo),
)
DEPTHWISE_CONV2D_ACT = Op(
    "depthwise_conv2d_act",
    lambda x, w, b, r, geo, activation: convolved(DEPTHWISE_CONV2D, x, w, b, r, geo, activation),
    vjp=None,
    macs=lambda y, x, w, b, r, geo, activation: DEPTHWISE_CONV2D.macs(y, x, w, b, geo),
)
LINEAR_ACT = Op(
    "linear_act",
    lambda x, w, b, activation: activate(LINEAR.forward(x, w, b), activation),
    vjp=None,
    macs=lambda y, x, w, b, activation: LINEAR.macs(y, x, w, b),
)
ADD_ACT = Op("add_act", lambda a, b, activation: activate(a + b, activation), vjp=None)
CHANNELS = Op("channels", channels_forward, vjp=None)
