"""Fused ops: each is the composition that it replaces, as PyTorch computes that."""

from __future__ import annotations

import math

import numpy as np
import pytest
from cases.convolution import convolutions
from cases.draws import any_shape, around_kinks, batches, channels
from harness import EPS, Case, arrays_of, assert_within, bounds, run, run_torch
from hypothesis import given
from hypothesis import strategies as st

import nanoconv as nc
from nanoconv.ops import conv2d
from nanoconv.ops.fused import (
    ADD_ACT,
    CHANNELS,
    CONV2D_ACT,
    DEPTHWISE_CONV2D_ACT,
    IDENTITY,
    LINEAR_ACT,
    Activation,
)
from nanoconv.tensor import apply

ACTIVATIONS = {  # each with PyTorch's
    IDENTITY: lambda F, y: y,
    Activation("clamp", 0.0, math.inf): lambda F, y: F.relu(y),
    Activation("clamp", 0.0, 6.0): lambda F, y: F.relu6(y),
    Activation("clamp", -math.inf, 0.5): lambda F, y: y.clamp(max=0.5),
    Activation("leaky_relu", 0.25): lambda F, y: F.leaky_relu(y, 0.25),
    Activation("hardswish"): lambda F, y: F.hardswish(y),
    Activation("hardsigmoid"): lambda F, y: F.relu6(y + 3) / 6,
    Activation("sigmoid"): lambda F, y: F.sigmoid(y),
    Activation("silu"): lambda F, y: F.silu(y),
}
activations = st.sampled_from(list(ACTIVATIONS))


def geometry(x, w, attrs):
    groups = attrs.get("groups", x[1])
    return conv2d.conv2d_shape(
        tuple(x), tuple(w), attrs["stride"], attrs["padding"], attrs["dilation"], groups
    )


@st.composite
def fused(draw, kind):
    shapes, attrs = draw(convolutions(kind))
    geo = geometry(shapes["x"], shapes["w"], attrs)
    shapes["r"] = draw(st.sampled_from((geo.y_shape, None)))
    return shapes, {"geo": geo, "activation": draw(activations)}


@st.composite
def linear(draw):
    C, O = draw(channels), draw(channels)
    b = draw(st.sampled_from(((O,), None)))
    return {"x": (draw(batches), C), "w": (O, C), "b": b}, {"activation": draw(activations)}


@st.composite
def sums(draw):
    shape = draw(any_shape())[0]["x"]
    return {"a": shape, "b": shape}, {"activation": draw(activations)}


def convolved(F, x, w, b, r, geo, activation):
    x = F.pad(x, (geo.pl, geo.pr, geo.pt, geo.pb))
    y = F.conv2d(x, w, b, (geo.sh, geo.sw), 0, (geo.dh, geo.dw), geo.G)
    return ACTIVATIONS[activation](F, y if r is None else y + r)


def window(shapes, attrs):
    return 8 + math.prod(shapes["w"][1:])


CASES = [
    *(
        Case(
            f"{op.name}.{kind}",
            lambda F, *tensors, op=op, **attrs: apply(op, *tensors, **attrs),
            fused(kind),
            window,
            oracle=convolved,
        )
        for op, kind in (
            (CONV2D_ACT, "dense"),
            (CONV2D_ACT, "grouped"),
            (CONV2D_ACT, "pointwise"),
            (DEPTHWISE_CONV2D_ACT, "depthwise"),
        )
    ),
    Case(
        "linear_act",
        lambda F, *tensors, **attrs: apply(LINEAR_ACT, *tensors, **attrs),
        linear(),
        window,
        oracle=lambda F, x, w, b, activation: ACTIVATIONS[activation](F, F.linear(x, w, b)),
    ),
    Case(
        "add_act",
        lambda F, *tensors, **attrs: apply(ADD_ACT, *tensors, **attrs),
        sums(),
        lambda shapes, attrs: 8,
        oracle=lambda F, a, b, activation: ACTIVATIONS[activation](F, a + b),
        values=around_kinks,
    ),
]


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
@given(data=st.data())
def test_fused_equals_the_composition_in_pytorch(case, dtype, data):
    problem = data.draw(case.problems())
    arrays = arrays_of(case, problem)
    truth = run_torch(case, problem, arrays, None)
    results = run(case, problem, arrays, dtype)
    eps = EPS[np.dtype(dtype)]
    assert_within(case, results, truth, bounds(case, problem, arrays, None, truth, eps), case.name)


@given(
    st.lists(st.integers(0, 4), min_size=1, max_size=3),
    st.sampled_from(((2,), (1, 3, 2), (0, 2, 2))),
    st.data(),
)
def test_channels_are_those_of_the_index(lengths, shape, data):
    rng = np.random.default_rng(0)
    xs = [rng.standard_normal((shape[0], C, *shape[1:])).astype(np.float32) for C in lengths]
    index = data.draw(st.lists(st.integers(-1, sum(lengths) - 1), max_size=9))
    y = apply(CHANNELS, *map(nc.tensor, xs), index=tuple(index)).numpy()
    joined = np.concatenate(xs, 1)
    assert y.shape == (shape[0], len(index), *shape[1:])
    for k, c in enumerate(index):
        np.testing.assert_array_equal(y[:, k], joined[:, c] if c >= 0 else 0)


def test_multiply_adds_are_those_of_the_layer():
    x, w = nc.ones(1, 4, 5, 5), nc.ones(4, 1, 3, 3)
    geo = geometry(x.shape, w.shape, {"stride": 1, "padding": 0, "dilation": 1})
    y = apply(DEPTHWISE_CONV2D_ACT, x, w, None, None, geo=geo, activation=IDENTITY)
    assert DEPTHWISE_CONV2D_ACT.macs(y, x, w, None, None, geo, IDENTITY) == 4 * 9 * 9
    w = nc.ones(3, 4, 1, 1)
    geo = geometry(x.shape, w.shape, {"stride": 1, "padding": 0, "dilation": 1, "groups": 1})
    y = apply(CONV2D_ACT, x, w, None, None, geo=geo, activation=IDENTITY)
    assert CONV2D_ACT.macs(y, x, w, None, None, geo, IDENTITY) == 3 * 25 * 4
    rows, w = nc.ones(2, 4), nc.ones(3, 4)
    y = apply(LINEAR_ACT, rows, w, None, activation=IDENTITY)
    assert LINEAR_ACT.macs(y, rows, w, None, IDENTITY) == 2 * 3 * 4


def test_there_is_no_gradient():
    a = nc.ones(2, requires_grad=True)
    y = apply(ADD_ACT, a, a, activation=IDENTITY)
    with pytest.raises(RuntimeError, match="add_act has no gradient"):
        y.sum().backward()
