"""Dropout of every kind, and rrelu: NumPy draws the numbers on both sides, PyTorch multiplies."""

from __future__ import annotations

import math

import numpy as np
from harness import Case, torch
from hypothesis import strategies as st

import nanoconv as nc

from .draws import any_shape, around_kinks

SEED = 20
sizes = st.sampled_from((5, 3, 2, 1, 8, 0))


def mask(x, p, axes):
    """Ones and zeros, one for each index of the first `axes` axes of x."""
    shape = tuple(x.shape[:axes])
    drawn = np.random.default_rng(SEED).random(shape, np.float32) >= p
    drawn = np.asarray(drawn, np.float64).reshape(shape + (1,) * (x.ndim - len(shape)))
    return torch.from_numpy(drawn)


def scaled(axes):
    """PyTorch's side of an op that drops, with an s for each index of `axes(x)` axes."""
    return lambda F, x, p, **attrs: x * (mask(x, p, axes(x, **attrs)) / (1 - p))


def saturated(axes):
    """PyTorch's side of alpha dropout, with torch.nn.functional's constants."""

    def oracle(F, x, p):
        alpha, kept = 1.7580993408473766, mask(x, p, axes(x))
        a = 1 / math.sqrt((alpha**2 * p + 1) * (1 - p))
        return x * (kept * a) + ((kept - 1) * alpha * a + alpha * a * p)

    return oracle


def seeded(name, **fixed):
    def function(F, x, p, **attrs):
        nc.manual_seed(SEED)
        return getattr(F, name)(x, p, **attrs, **fixed)

    return function


@st.composite
def drops(draw, *lengths):
    """A shape of one of so many axes, or of any."""
    if lengths:
        n = draw(st.sampled_from(lengths))
        shape = tuple(draw(st.lists(sizes, min_size=n, max_size=n)))
    else:
        shape = draw(any_shape())[0]["x"]
    return {"x": shape}, {"p": draw(st.sampled_from((0.1, 0.5, 0.9)))}


def sloped(F, x, lower, upper):
    """PyTorch's side of rrelu in training."""
    drawn = np.random.default_rng(SEED).random(tuple(x.shape), np.float32)
    a = lower + (upper - lower) * torch.from_numpy(np.asarray(drawn, np.float64))
    return torch.where(x <= 0, a * x, x)


def seeded_rrelu(F, x, lower, upper):
    nc.manual_seed(SEED)
    return F.rrelu(x, lower, upper, training=True)


@st.composite
def slopes(draw):
    shapes, _ = draw(any_shape())
    lower, upper = draw(st.sampled_from(((0.125, 0.25), (0.5, 0.5), (0.0, 1.0))))
    return shapes, {"lower": lower, "upper": upper}


@st.composite
def residuals(draw):
    shapes, attrs = draw(drops(1, 2, 4))
    return shapes, attrs | {"mode": draw(st.sampled_from(("batch", "row")))}


def case(name, draw, oracle, **fixed):
    return Case(name, seeded(name, **fixed), draw, oracle=oracle, multilinear=True)


REGULARISATION = [
    case("dropout", drops(), scaled(lambda x: x.ndim)),
    case("dropout1d", drops(2, 3), scaled(lambda x: x.ndim - 1)),
    case("dropout2d", drops(3, 4), scaled(lambda x: 2)),
    case("dropout3d", drops(4, 5), scaled(lambda x: x.ndim - 3)),
    case("alpha_dropout", drops(), saturated(lambda x: x.ndim), training=True),
    case("feature_alpha_dropout", drops(2, 3, 4), saturated(lambda x: 2), training=True),
    Case("rrelu", seeded_rrelu, slopes(), lambda *_: 8, oracle=sloped, values=around_kinks),
    case("stochastic_depth", residuals(), scaled(lambda x, mode: int(mode == "row"))),
]
