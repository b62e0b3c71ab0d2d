"""Normalisation."""

from __future__ import annotations

import math

from harness import Case
from hypothesis import strategies as st

from nanoconv.ops import (
    batchnorm,
)

from .draws import channels


@st.composite
def normalised(draw, training):
    pixels = draw(st.sampled_from(((), (1,), (5,), (1, 1), (4, 4), (3, 7))))
    # Of two or three values x̂ hardly depends on what they are: all error, no derivative.
    examples = st.integers(-(-6 // math.prod(pixels)), 8) if training else st.integers(0, 4)
    C = draw(channels)
    affine = draw(st.booleans())
    shapes = {
        "x": (draw(examples), C, *pixels),
        "running_mean": None if training else (C,),
        "running_var": None if training else (C,),
        "w": (C,) if affine else None,
        "b": (C,) if affine else None,
    }
    eps = draw(st.sampled_from((1e-5, 1e-3, 0.5)))
    return shapes, {"training": training, "eps": eps}


def statistics(name, shape, rng):
    """Channels far from zero, and positive variances."""
    values = rng.standard_normal(shape)
    if name == "running_var":
        return values**2 + 0.1
    return values + 3 if name == "x" else values


NORM_LADDERS = (batchnorm.STATS, batchnorm.AFFINE, batchnorm.GRAD_SUMS, batchnorm.INPUT_GRAD)
NORMS = [
    Case(
        f"batch_norm.{name}",
        lambda F, *tensors, **attrs: F.batch_norm(*tensors, **attrs),
        normalised(training),
        lambda shapes, attrs: 4 + math.prod(shapes["x"]) // shapes["x"][1],
        NORM_LADDERS,
        values=statistics,
        constants=("running_mean", "running_var"),
    )
    for name, training in (("training", True), ("evaluation", False))
]
