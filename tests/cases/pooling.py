"""Pooling."""

from __future__ import annotations

import math

import numpy as np
from harness import Case
from hypothesis import strategies as st

from nanoconv.ops import (
    pool2d,
)

from .draws import batches, channels


@st.composite
def pools(draw, maximum):
    """Windows that fit, overhang with ceil_mode, and see at least one pixel."""
    kernel = draw(st.tuples(st.integers(1, 5), st.integers(1, 5)))
    attrs = {
        "kernel_size": kernel if draw(st.booleans()) else kernel[0],
        "stride": draw(st.sampled_from((None, 1, 2, (2, 1), (3, 4), 7))),
        "padding": tuple(draw(st.integers(0, k // 2)) for k in kernel),
        "ceil_mode": draw(st.booleans()),
    }
    if isinstance(attrs["kernel_size"], int):
        kernel = (kernel[0],) * 2
        attrs["padding"] = attrs["padding"][0]
    if maximum:
        attrs["dilation"] = draw(st.sampled_from((1, 1, 2, (1, 3))))
        attrs["return_indices"] = draw(st.booleans())
    else:
        attrs["count_include_pad"] = draw(st.booleans())
        attrs["divisor_override"] = draw(st.sampled_from((None, None, 3, -2)))
    dilation = attrs.get("dilation", 1)
    spans = [d * (k - 1) + 1 for k, d in zip(kernel, np.broadcast_to(dilation, 2), strict=True)]
    image = tuple(draw(st.integers(max(1, span - 1), span + 6)) for span in spans)
    x = (draw(batches), draw(channels), *image)
    try:
        geometry_attrs = {k: v for k, v in attrs.items() if k in POOL_ATTRS}
        pool2d.pool2d_shape("pools", x, **geometry_attrs)
    except ValueError:
        attrs["padding"], image = 0, tuple(int(span) + 1 for span in spans)
    return {"x": (*x[:2], *image)}, attrs


POOL_ATTRS = ("kernel_size", "stride", "padding", "dilation", "ceil_mode")


def with_ties(name, shape, rng):
    """Random numbers with a few equal ones: of equal maxima the first must win."""
    return rng.integers(-8, 8, shape) + 0.5


@st.composite
def adaptive_pools(draw):
    size = st.integers(1, 7)
    output = draw(st.sampled_from(((draw(size), draw(size)), draw(size), (None, 3), (2, None), 1)))
    return {"x": (draw(batches), draw(channels), draw(size), draw(size))}, {"output_size": output}


def window_size(shapes, attrs):
    """A window's pixels, or as many windows, meet in one number."""
    return 2 + math.prod(shapes["x"][2:])


MEAN_LADDERS = (pool2d.MEAN, pool2d.MEAN_BACKWARD)
POOLS = [
    Case(
        "max_pool2d",
        lambda F, x, **attrs: F.max_pool2d(x, **attrs),
        pools(maximum=True),
        window_size,
        (pool2d.MAX, pool2d.MAX_BACKWARD),
        values=with_ties,
    ),
    Case(
        "avg_pool2d",
        lambda F, x, **attrs: F.avg_pool2d(x, **attrs),
        pools(maximum=False),
        window_size,
        MEAN_LADDERS,
        multilinear=True,
    ),
    Case(
        "adaptive_avg_pool2d",
        lambda F, x, **attrs: F.adaptive_avg_pool2d(x, **attrs),
        adaptive_pools(),
        window_size,
        MEAN_LADDERS,
        multilinear=True,
    ),
]
