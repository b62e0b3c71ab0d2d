"""Activations."""

from __future__ import annotations

import numpy as np
from harness import Case
from hypothesis import strategies as st

from nanoconv.ops import activations, glu, prelu

from .draws import any_shape, around_kinks, batches, channels, moderate

# Attributes by name. Powers of two where PyTorch compares a product with a threshold: it must be
# the same in both precisions.
ATTRIBUTES = {
    "leaky_relu": ({}, {"negative_slope": 0.25}, {"negative_slope": -1.5}),
    "hardtanh": ({}, {"min_val": -0.5, "max_val": 3}, {"min_val": 2.0, "max_val": 2.0}),
    "threshold": ({"threshold": 0.5, "value": 7.0}, {"threshold": -2, "value": -0.25}),
    "hardshrink": ({}, {"lambd": 2}, {"lambd": 0.0}, {"lambd": -1.0}),
    "softshrink": ({}, {"lambd": 2}, {"lambd": 0.0}),
    "elu": ({}, {"alpha": 0.25}, {"alpha": 0}, {"alpha": -1.5}),
    "celu": ({}, {"alpha": 0.25}, {"alpha": 3}, {"alpha": -1.5}),
    "gelu": ({}, {"approximate": "none"}),
    "gelu_tanh": ({"approximate": "tanh"},),
    "softplus": ({}, {"beta": 2, "threshold": 1}, {"beta": 0.5}, {"beta": -1.0}),
}
# PyTorch's own gradient takes 1/6 in float32; this is the definition of its authors.
ORACLES = {"hardsigmoid": lambda F, x: F.relu6(x + 3) / 6}
SMOOTH = ("sigmoid", "tanh", "softplus", "logsigmoid", "softsign")
BOTTOMS = {"silu": -1.28, "gelu": -0.75, "gelu_tanh": -0.75, "mish": -1.19}  # where y is least


def function_of(name):
    """gelu has two rows, one for each of its formulas."""
    function = "gelu" if name == "gelu_tanh" else name
    return lambda F, x, **attrs: getattr(F, function)(x, **attrs)


def off_the_bottom(bottom):
    """Where y is least, its derivative is all rounding, in PyTorch's float64, too."""

    def values(name, shape, rng):
        x = moderate(name, shape, rng)
        return np.where(np.abs(x - bottom) < 0.2, x + 0.4, x)

    return values


def far_from_zero(name, shape, rng):
    """Where x − tanh(x) has digits left."""
    x = around_kinks(name, shape, rng)
    return x + np.copysign(0.5, x)


@st.composite
def leaks(draw):
    """An input of any rank, and one weight, or one for each channel."""
    pixels = draw(st.sampled_from(((4, 4), (5,), (), (2, 3, 2), None, (3, 0))))
    if pixels is None:  # no channel axis
        shape = draw(st.sampled_from(((), (1,), (7,))))
        return {"x": shape, "w": draw(st.sampled_from(((), (1,))))}, {}
    shape = (draw(batches), draw(channels), *pixels)
    return {"x": shape, "w": draw(st.sampled_from(((), (1,), shape[1:2], shape[1:2])))}, {}


def with_zeros(name, shape, rng):
    """Both zeros are among the x: there the slope is w."""
    values = rng.standard_normal(shape)
    if name == "x":
        values = np.where(rng.random(shape) < 0.3, rng.choice((0.0, -0.0), shape), values)
    return values


@st.composite
def halves(draw):
    shape = list(draw(st.sampled_from(((1,), (3, 4), (2, 3, 5), (2, 3, 4, 5), (1, 8, 7, 1)))))
    dim = draw(st.integers(-len(shape), len(shape) - 1))
    shape[dim] = 2 * draw(st.sampled_from((2, 1, 3, 8, 17, 0)))
    return {"x": tuple(shape)}, {} if dim == -1 else {"dim": dim}


# Roundings of a polynomial and a division are 8; gradients of two terms have more of them, and in
# PyTorch's gelu by tanh, 1 ± tanh(z) cancels.
LENGTHS = dict.fromkeys(BOTTOMS, 16) | {"gelu_tanh": 32}
ELEMENTWISE = [
    *(
        Case(
            "gelu.tanh" if name == "gelu_tanh" else name,
            function_of(name),
            st.tuples(
                any_shape().map(lambda drawn: drawn[0]),
                st.sampled_from(ATTRIBUTES.get(name, ({},))),
            ),
            lambda shapes, attrs, name=name: LENGTHS.get(name, 8),
            (activations.FORWARD[name], activations.BACKWARD[name]),
            oracle=ORACLES.get(name),
            values=(
                off_the_bottom(BOTTOMS[name])
                if name in BOTTOMS
                else moderate
                if name in SMOOTH
                else around_kinks
            ),
        )
        for name in activations.FORWARD
    ),
    Case(
        "tanhshrink",
        lambda F, x: F.tanhshrink(x),
        any_shape(),
        lambda shapes, attrs: 8,
        values=far_from_zero,
    ),
    Case(
        "prelu",
        lambda F, x, w: F.prelu(x, w),
        leaks(),
        lambda shapes, attrs: 1 + int(np.prod(shapes["x"])),
        (prelu.FORWARD, prelu.INPUT_GRAD, prelu.WEIGHT_GRAD),
        values=with_zeros,
    ),
    Case(
        "glu",
        lambda F, x, **attrs: F.glu(x, **attrs),
        halves(),
        lambda shapes, attrs: 8,
        (glu.FORWARD, glu.BACKWARD),
        values=moderate,
    ),
]
