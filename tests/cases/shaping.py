"""Interpolation, pixel shuffle, joining channels."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
from elementary import nc_or_torch
from harness import Case
from hypothesis import strategies as st

from nanoconv.ops import interpolate, pixel_shuffle, pool2d, shaping

from .draws import batches, channels

# --------------------------------------------------------------------------- interpolation


def apart(mode, size, out, scale, align_corners):
    """No rounding takes one pixel for the next: places are exact, or between two pixels."""
    step, i = Fraction(1) / Fraction(scale) if scale else Fraction(size, out), range(out)
    if align_corners:
        step = Fraction(size - 1, max(out - 1, 1))
    before = {"nearest": 0, "nearest-exact": Fraction(1, 2)}.get(mode)
    if before is not None:
        places = [(k + before) * step for k in i if k + before]
    else:
        places = [
            k * step if align_corners else (k + Fraction(1, 2)) * step - Fraction(1, 2) for k in i
        ]
    exact = step.denominator & (step.denominator - 1) == 0
    return exact or all(place.denominator > 1 for place in places)


SIDES = st.sampled_from((4, 6, 3, 7, 2, 5, 1))
PLANES = st.sampled_from((3, 1, 17, 8, 5, 2, 7, 9, 33))  # few, which planes of numbers take; many


@st.composite
def interpolations(draw, *modes):
    mode = draw(st.sampled_from(modes))
    attrs = {"mode": mode}
    if mode in ("bilinear", "bicubic"):
        attrs["align_corners"] = draw(st.sampled_from((None, False, True)))
    scales = (None, None)
    image = (draw(SIDES), draw(SIDES))
    if draw(st.booleans()):
        wanted = draw(st.sampled_from((1, 3, 8, (5, 2), (4, 9), (12, 7))))
        attrs["size"], wanted = wanted, np.broadcast_to(wanted, 2).tolist()
    else:
        scales = draw(st.sampled_from((2, 3.0, 0.5, 1.5, (2, 2.25), (0.75, 1), (1.0, 3))))
        attrs["scale_factor"], scales = scales, np.broadcast_to(scales, 2).tolist()
        image = tuple(max(n, math.ceil(1 / s)) for n, s in zip(image, scales, strict=True))
        wanted = [math.floor(n * s) for n, s in zip(image, scales, strict=True)]
        if draw(st.booleans()):
            attrs["recompute_scale_factor"], scales = True, (None, None)
    for n, out, scale in zip(image, wanted, scales, strict=True):
        # PyTorch's gradient of a cubic of the same size is a copy, whatever its scale.
        copied = mode == "bicubic" and n == out and scale not in (None, 1)
        if mode != "area" and (
            copied or not apart(mode, n, out, scale, attrs.get("align_corners"))
        ):
            image, attrs = (3, 2), {k: v for k, v in attrs.items() if "scale" not in k}
            attrs["size"] = (5, 3)
            if not attrs.get("align_corners"):
                image, attrs["size"] = (4, 6), (8, 3)
            break
    return {"x": (draw(batches), draw(PLANES), *image)}, attrs


def taps_and_places(shapes, attrs):
    """T·T pixels, or the outputs that one pixel is in; a weight is as exact as its place."""
    return 512


# --------------------------------------------------------------------------- pixel shuffle

# PyTorch has no gradient of nothing: test_shaping.py has its forward pass.
LEADING = st.sampled_from(((), (1,), (2,), (2, 1), (2, 3)))


@st.composite
def blocks(draw, name):
    r, C = draw(st.sampled_from((1, 2, 2, 3, 4, 5))), draw(channels)
    H, W = draw(st.sampled_from(((1, 1), (2, 3), (3, 1))))
    image = (C * r * r, H, W) if name == "upscale_factor" else (C, H * r, W * r)
    return {"x": (*draw(LEADING), *image)}, {name: r}


# --------------------------------------------------------------------------- joining channels


@st.composite
def images(draw):
    """One to three images, of which all channels from `first` on are joined."""
    N, first = draw(batches), draw(st.sampled_from((0, 0, 2)))
    pixels = draw(st.sampled_from(((2, 3), (3, 5), (4, 2), (1, 1), (3, 1), (0, 2))))
    count = draw(st.integers(1, 3))
    return {name: (N, first + draw(channels), *pixels) for name in "abc"[:count]}, {"first": first}


SHAPING = [
    Case(
        "interpolate",
        lambda F, x, **attrs: F.interpolate(x, **attrs),
        interpolations("nearest", "nearest-exact", "bilinear"),
        taps_and_places,
        (interpolate.LADDER,),
        multilinear=True,
    ),
    Case(
        "interpolate.bicubic",  # has negative weights, so that |x| does not bound the sums
        lambda F, x, **attrs: F.interpolate(x, **attrs),
        interpolations("bicubic"),
        taps_and_places,
        (interpolate.LADDER,),
    ),
    Case(
        "interpolate.area",
        lambda F, x, **attrs: F.interpolate(x, **attrs),
        interpolations("area"),
        lambda shapes, attrs: 2 + 12 * 12,
        (pool2d.MEAN, pool2d.MEAN_BACKWARD),
        multilinear=True,
    ),
    Case(
        "pixel_shuffle",
        lambda F, x, **attrs: F.pixel_shuffle(x, **attrs),
        blocks("upscale_factor"),
        lambda shapes, attrs: 1,
        (pixel_shuffle.SHUFFLE, pixel_shuffle.UNSHUFFLE),
        multilinear=True,
    ),
    Case(
        "pixel_unshuffle",
        lambda F, x, **attrs: F.pixel_unshuffle(x, **attrs),
        blocks("downscale_factor"),
        lambda shapes, attrs: 1,
        (pixel_shuffle.SHUFFLE, pixel_shuffle.UNSHUFFLE),
        multilinear=True,
    ),
    Case(
        "cat",
        lambda F, *xs, first: nc_or_torch(xs[0]).cat([x[:, first:] for x in xs], 1),
        images(),
        lambda shapes, attrs: 1,
        (shaping.CHANNELS,),
        multilinear=True,
    ),
]
