"""Activations."""

from __future__ import annotations

from harness import Case
from hypothesis import strategies as st

from nanoconv.ops import (
    activations,
)

from .draws import any_shape, around_kinks, moderate

ELEMENTWISE = [
    Case(
        name,
        lambda F, x, name=name, **attrs: getattr(F, name)(x, **attrs),
        any_shape()
        if name != "leaky_relu"
        else st.tuples(
            any_shape().map(lambda drawn: drawn[0]),
            st.sampled_from(({}, {"negative_slope": 0.25}, {"negative_slope": -1.5})),
        ),
        lambda shapes, attrs: 8,  # roundings of a polynomial and a division
        (activations.FORWARD[name], activations.BACKWARD[name]),
        # PyTorch's own gradient takes 1/6 in float32; this is the definition of its authors.
        oracle=(lambda F, x: F.relu6(x + 3) / 6) if name == "hardsigmoid" else None,
        values=moderate if name in ("sigmoid", "tanh", "silu") else around_kinks,
    )
    for name in activations.TABLE
]
