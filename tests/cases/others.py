"""Channel shuffle, linear, dropout, softmax."""

from __future__ import annotations

import math

import numpy as np
from harness import Case, torch
from hypothesis import strategies as st

import nanoconv as nc
from nanoconv.ops import (
    channel_shuffle,
    linear,
)

from .draws import any_shape, batches, channels


@st.composite
def shuffles(draw):
    groups = draw(st.integers(1, 6))
    pixels = draw(st.sampled_from(((1, 1), (3, 5), (0, 2), (4,), (2, 2, 2))))
    return {"x": (draw(batches), groups * draw(channels), *pixels)}, {"groups": groups}


@st.composite
def products(draw):
    C, O = draw(channels), draw(channels)
    examples = tuple(draw(st.lists(st.sampled_from((0, 1, 2, 3, 5, 8, 13)), max_size=3)))
    return {"x": (*examples, C), "w": (O, C), "b": draw(st.sampled_from(((O,), None)))}, {}


@st.composite
def along_an_axis(draw):
    shape = tuple(draw(st.lists(st.sampled_from((1, 2, 3, 7, 0)), min_size=0, max_size=4)))
    limit = max(len(shape), 1)
    return {"x": shape}, {"dim": draw(st.integers(-limit, limit - 1))}


SEED = 20


def dropped(F, x, p):
    """The mask is NumPy's; PyTorch multiplies."""
    mask = np.random.default_rng(SEED).random(tuple(x.shape), np.float32) >= p
    return x * torch.from_numpy(np.asarray(mask / (1 - p)))


def seeded_dropout(F, x, p):
    nc.manual_seed(SEED)
    return F.dropout(x, p)


OTHERS = [
    Case(
        "channel_shuffle",
        lambda F, x, **attrs: F.channel_shuffle(x, **attrs),
        shuffles(),
        lambda shapes, attrs: 1,
        (channel_shuffle.LADDER,),
        multilinear=True,
    ),
    Case(
        "linear",
        lambda F, x, w, b: F.linear(x, w, b),
        products(),
        lambda shapes, attrs: 1 + max(*shapes["w"], math.prod(shapes["x"][:-1])),
        (linear.LADDER,),
        multilinear=True,
    ),
    Case(
        "dropout",
        seeded_dropout,
        st.tuples(
            any_shape().map(lambda drawn: drawn[0]),
            st.fixed_dictionaries({"p": st.sampled_from((0.1, 0.5, 0.9))}),
        ),
        oracle=dropped,
        multilinear=True,
    ),
    Case(
        "softmax",
        lambda F, x, dim: F.softmax(x, dim),
        along_an_axis(),
        lambda shapes, attrs: 8 + math.prod(shapes["x"]),
    ),
    Case(
        "softmin",
        lambda F, x, dim: F.softmin(x, dim),
        along_an_axis(),
        lambda shapes, attrs: 8 + math.prod(shapes["x"]),
    ),
    Case(
        "log_softmax",
        lambda F, x, dim: F.log_softmax(x, dim),
        along_an_axis(),
        lambda shapes, attrs: 8 + math.prod(shapes["x"]),
    ),
]
