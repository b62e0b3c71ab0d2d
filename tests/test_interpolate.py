"""Where interpolation reads, in PyTorch's roundings; lines; and what it refuses."""

from __future__ import annotations

import math

import numpy as np
import pytest
from elementary import check
from harness import EPS, Case, torch
from hypothesis import given
from hypothesis import strategies as st

import nanoconv as nc
from nanoconv import nn
from nanoconv.functional import interpolate

torch_interpolate = torch.nn.functional.interpolate


@st.composite
def axes(draw):
    """One axis, in any size and scale."""
    size, attrs = draw(st.integers(1, 80)), {}
    if draw(st.booleans()):
        return size, draw(st.integers(1, 160)), None, attrs
    scale = draw(st.one_of(st.floats(0.2, 4), st.sampled_from((2, 3, 0.7, 1 / 3, 1.01))))
    if draw(st.booleans()):
        attrs["recompute_scale_factor"] = True
    size = max(size, math.ceil(1 / scale))
    return size, math.floor(size * scale), scale, attrs


def on_an_edge(drawn):
    """Whether "nearest-exact" rounds a place on the edge of two pixels as PyTorch does not always.

    For large images it takes half a pixel off in float64 and puts it on again.
    """
    size, out, scale, more = drawn
    given = scale and not more
    step = np.float32(1 / scale) if given else np.float32(size) / np.float32(out)
    i = np.arange(out)
    single = (i.astype(np.float32) + np.float32(0.5)) * step
    double = ((i + 0.5) * np.float64(step) - 0.5).astype(np.float32) + 0.5
    return bool((np.floor(single) != np.floor(double.astype(np.float32))).any())


def matrices(mode, dtype, drawn, **attrs):
    """The matrices by which nanoconv and PyTorch multiply an axis, and their transposes."""
    size, out, scale, more = drawn
    attrs |= more | ({"size": (out, 1)} if scale is None else {"scale_factor": (scale, 1.0)})
    x = np.eye(size, dtype=dtype)[:, None, :, None]  # one image for each column of the matrix
    ours, theirs = nc.tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    y = interpolate(ours, mode=mode, **attrs)
    expected = torch_interpolate(theirs, mode=mode, **attrs)
    return (y.detach().numpy()[:, 0, :, 0], expected.detach().numpy()[:, 0, :, 0])


@pytest.mark.parametrize("rung", ["numpy", "auto"])
@pytest.mark.parametrize("mode", ["nearest", "nearest-exact"])
@given(drawn=axes().filter(lambda drawn: not on_an_edge(drawn)))
def test_the_same_pixel_is_nearest(mode, rung, drawn):
    with nc.use(rung):
        ours, theirs = matrices(mode, np.float32, drawn)
    np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("mode", ["nearest", "nearest-exact"])
@pytest.mark.parametrize("scale", [1.05, 1.13, 1.24, 1.3, 2.05, 2.25, 2.4, 2.49])
def test_the_same_pixel_is_nearest_where_sizes_are_multiples(mode, scale):
    """Small images PyTorch copies or doubles, whatever `scale` says, if that is their new size."""
    for size in range(1, 14):
        ours, theirs = matrices(mode, np.float32, (size, math.floor(size * scale), scale, {}))
        np.testing.assert_array_equal(ours, theirs, str(size))


@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@given(drawn=axes(), align=st.booleans())
def test_weights_are_pytorchs(mode, dtype, drawn, align):
    """To the rounding of a place among `size` pixels, times the slope of the cubic."""
    ours, theirs = matrices(mode, dtype, drawn, align_corners=align)
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=4 * (8 + drawn[0]) * EPS[ours.dtype])


@pytest.mark.parametrize("mode", ["nearest", "nearest-exact", "bilinear", "bicubic"])
@pytest.mark.parametrize("scale", [0.5, 1.03, 2, 2.6])
def test_gradient_is_the_transpose(mode, scale):
    """PyTorch's own is not where a cubic keeps the size but not the scale: it copies there."""
    x = nc.tensor(np.eye(32)[:, None, :, None], requires_grad=True)
    y = interpolate(x, scale_factor=(scale, 1), mode=mode)
    out = y.shape[2]
    seeds = np.random.default_rng(0).standard_normal((out, 1, out, 1))
    x2 = nc.zeros(out, 1, 32, 1, dtype="float64", requires_grad=True)
    interpolate(x2, scale_factor=(scale, 1), mode=mode).backward(seeds)
    matrix = y.detach().numpy()[:, 0, :, 0]  # transposed: column k is image k
    np.testing.assert_allclose(
        x2.grad.numpy()[:, 0, :, 0], seeds[:, 0, :, 0] @ matrix.T, rtol=1e-12, atol=1e-12
    )


LINES = Case(
    "interpolate.lines",
    lambda F, x, **attrs: F.interpolate(x, **attrs),
    st.tuples(
        st.sampled_from([{"x": (2, 3, 4)}, {"x": (0, 2, 6)}, {"x": (1, 1, 8)}]),
        st.one_of(
            st.fixed_dictionaries(
                {
                    "mode": st.sampled_from(("nearest", "nearest-exact", "area")),
                    "size": st.sampled_from((2, 8, (16,))),
                }
            ),
            st.fixed_dictionaries(
                {
                    "mode": st.just("linear"),
                    "scale_factor": st.sampled_from((0.5, 2, (4.0,))),
                    "align_corners": st.sampled_from((None, False)),
                }
            ),
        ),
    ),
    lambda shapes, attrs: 256,
    multilinear=True,
)


@given(data=st.data())
def test_lines_equal_pytorch(data):
    check(LINES, data)


def test_infinity_in_a_line_stays_in_its_neighbourhood():
    x = np.array([[[0, np.inf, 0, 0]]], np.float32)
    expected = torch_interpolate(torch.tensor(x), size=8, mode="linear")
    ours = interpolate(nc.tensor(x), size=8, mode="linear")
    np.testing.assert_array_equal(ours.numpy(), expected.numpy())


@pytest.mark.parametrize("memory_format", ["contiguous", "channels_last"])
def test_memory_format_stays(memory_format):
    x = nc.randn(2, 3, 4, 5).contiguous(memory_format)
    for mode in ("nearest", "bilinear", "bicubic"):
        assert interpolate(x, size=(7, 3), mode=mode).is_contiguous(memory_format)


@pytest.mark.parametrize(
    ("shape", "attrs", "error", "message"),
    [
        ((1, 1, 2, 2), {}, ValueError, "size=None and scale_factor=None, expected one of them"),
        ((1, 1, 2, 2), {"size": 2, "scale_factor": 2}, ValueError, "size=2 and scale_factor=2"),
        ((1, 1, 2, 2), {"size": (3,)}, ValueError, "size=.* has 1 values, expected one or 2"),
        ((1, 1, 2, 2), {"scale_factor": (2, 2, 2)}, ValueError, "scale_factor=.* has 3 values"),
        ((1, 1, 2, 2), {"size": 2.0}, TypeError, "size=2.0, expected an integer"),
        ((1, 1, 2, 2), {"size": (0, 2)}, ValueError, r"to the size \[0, 2\]"),
        ((1, 1, 2, 2), {"scale_factor": 0.1}, ValueError, r"to the size \[0, 0\]"),
        ((1, 1, 2, 2), {"scale_factor": -1.0}, ValueError, "expected a positive, finite number"),
        ((1, 1, 2, 2), {"scale_factor": np.inf}, ValueError, "expected a positive, finite number"),
        ((1, 1, 2, 2), {"scale_factor": "2"}, TypeError, "scale_factor='2', expected a number"),
        ((1, 0, 2, 2), {"size": 2}, ValueError, "at least one channel"),
        ((1, 1, 0, 2), {"size": 2}, ValueError, "one pixel in each direction"),
        ((2, 2), {"size": 2}, ValueError, r"input has shape \[2, 2\]"),
        ((1, 1, 2, 2, 2), {"size": 2}, ValueError, "input has shape"),
        ((1, 1, 2, 2), {"size": 2, "mode": "linear"}, ValueError, "mode='linear', expected one of"),
        ((1, 1, 2), {"size": 2, "mode": "bilinear"}, ValueError, "mode='bilinear', expected"),
        (
            (1, 1, 2, 2),
            {"size": 2, "mode": "bilinear", "antialias": True},
            ValueError,
            "antialias=True is not supported",
        ),
        ((1, 1, 2, 2), {"size": 2, "align_corners": False}, ValueError, "align_corners=False has"),
        (
            (1, 1, 2, 2),
            {"size": 2, "recompute_scale_factor": True},
            ValueError,
            "recompute_scale_factor has no meaning",
        ),
        ((1, 1, 2, 2), {"size": 2**31}, ValueError, r"at most 2\*\*40"),
    ],
)
def test_refusals(shape, attrs, error, message):
    with pytest.raises(error, match=f"interpolate: .*{message}"):
        interpolate(nc.zeros(*shape), **attrs)


def test_integers_are_refused():
    with pytest.raises(TypeError, match="interpolate: input is int64"):
        interpolate(nc.zeros(1, 1, 2, 2, dtype="int64"), size=3)


# --------------------------------------------------------------------------- layers

LAYERS = {
    "Upsample": lambda lib: lib.Upsample(scale_factor=2),
    "Upsample.size": lambda lib: lib.Upsample((5, 3), mode="bilinear"),
    "Upsample.pair": lambda lib: lib.Upsample(None, (2, 1.5), "bicubic", True),
    "Upsample.recompute": lambda lib: lib.Upsample(
        scale_factor=1.3, mode="bilinear", recompute_scale_factor=True
    ),
    "UpsamplingNearest2d": lambda lib: lib.UpsamplingNearest2d(7),
    "UpsamplingBilinear2d": lambda lib: lib.UpsamplingBilinear2d(scale_factor=(2, 3)),
    "PixelShuffle": lambda lib: lib.PixelShuffle(2),
    "PixelUnshuffle": lambda lib: lib.PixelUnshuffle(2),
}


@pytest.mark.parametrize("make", LAYERS.values(), ids=LAYERS)
def test_layers_equal_pytorchs(make):
    ours, theirs = make(nn), make(torch.nn)
    assert repr(ours) == repr(theirs)
    assert not ours.state_dict()
    x = np.random.default_rng(0).standard_normal((2, 4, 6, 4))
    y, expected = ours(nc.tensor(x)), theirs(torch.tensor(x))
    np.testing.assert_allclose(y.numpy(), expected.numpy(), rtol=0, atol=64 * np.finfo(float).eps)


def test_pixel_shuffle_of_nothing():
    assert nc.functional.pixel_shuffle(nc.zeros(0, 4, 1, 1), 2).shape == (0, 1, 2, 2)
    assert nc.functional.pixel_unshuffle(nc.zeros(2, 1, 0, 4), 2).shape == (2, 4, 0, 2)
    x = nc.zeros(0, 4, 1, 1, requires_grad=True)
    nc.functional.pixel_shuffle(x, 2).sum().backward()
    assert x.grad.shape == (0, 4, 1, 1)


@pytest.mark.parametrize(
    ("function", "shape", "factor", "error", "message"),
    [
        ("pixel_shuffle", (1, 5, 2, 2), 2, ValueError, "its square must divide the 5 input"),
        ("pixel_shuffle", (4, 2), 2, ValueError, r"shape \[4, 2\], expected \(…, C, H, W\)"),
        ("pixel_shuffle", (1, 4, 2, 2), 0, ValueError, "upscale_factor=0, expected"),
        ("pixel_shuffle", (1, 4, 2, 2), 2.0, TypeError, "upscale_factor=2.0, expected an integer"),
        ("pixel_unshuffle", (1, 4, 3, 2), 2, ValueError, "downscale_factor=2 must divide"),
        ("pixel_unshuffle", (1, 4, 2, 2), -1, ValueError, "downscale_factor=-1, expected"),
    ],
)
def test_shuffles_that_do_not_fit(function, shape, factor, error, message):
    with pytest.raises(error, match=f"{function}: .*{message}"):
        getattr(nc.functional, function)(nc.zeros(*shape), factor)
