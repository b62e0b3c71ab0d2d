"""Channel shuffle, linear, softmax, running sums."""

from __future__ import annotations

import math

from harness import Case
from hypothesis import strategies as st

from nanoconv.ops import (
    channel_shuffle,
    cumulative,
    linear,
    softmax,
)

from .draws import batches, channels


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
    shape = draw(st.lists(st.sampled_from((1, 2, 3, 7, 0)), min_size=0, max_size=4))
    if shape:  # one axis that a kernel cuts into pieces, perhaps
        k = draw(st.integers(0, len(shape) - 1))
        shape[k] = draw(st.sampled_from((shape[k], 16, 37, 300)))
    limit = max(len(shape), 1)
    return {"x": tuple(shape)}, {"dim": draw(st.integers(-limit, limit - 1))}


def along_the_axis(shapes, attrs):
    """The longest sum: along `dim`; and roundings of exponentials, which small x do not show."""
    return 64 + (shapes["x"][attrs["dim"]] if shapes["x"] else 1)


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
        "softmax",
        lambda F, x, dim: F.softmax(x, dim),
        along_an_axis(),
        along_the_axis,
        (softmax.FORWARD, softmax.BACKWARD),
    ),
    Case(
        "softmin",
        lambda F, x, dim: F.softmin(x, dim),
        along_an_axis(),
        along_the_axis,
        (softmax.FORWARD, softmax.BACKWARD),
    ),
    Case(
        "log_softmax",
        lambda F, x, dim: F.log_softmax(x, dim),
        along_an_axis(),
        along_the_axis,
        (softmax.LOG_FORWARD, softmax.LOG_BACKWARD),
    ),
    Case(
        "cumsum",
        lambda F, x, dim: x.cumsum(dim),
        along_an_axis(),
        lambda shapes, attrs: max(*shapes["x"], 1, 1),
        (cumulative.RUNNING_SUM,),
        multilinear=True,
    ),
]
