"""Pooling."""

from __future__ import annotations

import math

import numpy as np
from harness import Case, torch
from hypothesis import strategies as st

from nanoconv.ops import (
    adaptive_pool2d,
    depthwise_conv2d,
    max_unpool2d,
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
    """Random numbers with a few equal ones, of which the first must win; or NaN, then the last."""
    values = rng.integers(-8, 8, shape) + 0.5
    return np.where(rng.random(shape) < 0.4, np.nan, values) if rng.random() < 0.3 else values


@st.composite
def adaptive_pools(draw):
    size = st.integers(1, 7)
    output = draw(st.sampled_from(((draw(size), draw(size)), draw(size), (None, 3), (2, None), 1)))
    return {"x": (draw(batches), draw(channels), draw(size), draw(size))}, {"output_size": output}


def window_size(shapes, attrs):
    """A window's pixels, or as many windows, meet in one number."""
    return 2 + math.prod(shapes["x"][2:])


@st.composite
def adaptive_maxima(draw):
    shapes, attrs = draw(adaptive_pools())
    return shapes, attrs | {"return_indices": draw(st.booleans())}


@st.composite
def signals(draw, maximum):
    """A row of a problem of `pools`."""
    shapes, attrs = draw(pools(maximum))
    attrs.pop("divisor_override", None)
    for name in ("kernel_size", "stride", "padding", "dilation"):
        if isinstance(attrs.get(name), tuple):
            attrs[name] = attrs[name][1]
    return {"x": (*shapes["x"][:2], shapes["x"][3])}, attrs


@st.composite
def adaptive_signals(draw, maximum):
    (N, C, H, _), attrs = draw(adaptive_pools())[0]["x"], {"output_size": draw(st.integers(1, 7))}
    if maximum:
        attrs["return_indices"] = draw(st.booleans())
    return {"x": (N, C, H)}, attrs


@st.composite
def norms(draw):
    shapes, attrs = draw(pools(maximum=False))
    attrs = {name: attrs[name] for name in ("kernel_size", "stride", "ceil_mode")}
    kernel = np.broadcast_to(attrs["kernel_size"], 2)
    image = tuple(int(max(size, k)) for size, k in zip(shapes["x"][2:], kernel, strict=True))
    attrs["norm_type"] = draw(st.sampled_from((1, 2.0, 3, 4, 0.5, 1.5, -1, np.inf, -np.inf)))
    return {"x": (*shapes["x"][:2], *image)}, attrs


@st.composite
def norms_of_signals(draw):
    shapes, attrs = draw(norms())
    for name in ("kernel_size", "stride"):
        if isinstance(attrs[name], tuple):
            attrs[name] = attrs[name][1]
    return {"x": (*shapes["x"][:2], shapes["x"][3])}, attrs


def positive(name, shape, rng):
    """Away from 0, where powers have no slope or an infinite one."""
    return rng.uniform(0.25, 2, shape)


@st.composite
def unpools(draw):
    """Maxima at places of their own, in an output that is no smaller than the input."""
    kernel = draw(st.tuples(st.integers(1, 4), st.integers(1, 4)))
    padding = tuple(draw(st.integers(0, (k - 1) // 2)) for k in kernel)
    stride = draw(st.sampled_from((None, 1, 2, (1, 3))))
    steps = kernel if stride is None else np.broadcast_to(stride, 2).tolist()
    image = (draw(st.integers(1, 5)), draw(st.integers(1, 5)))
    x = (draw(batches), draw(channels), *image)
    attrs = {"kernel_size": kernel, "stride": stride, "padding": padding}
    if draw(st.booleans()):
        sides = zip(image, kernel, steps, padding, strict=True)
        size = [(n - 1) * s - 2 * p + k + draw(st.integers(0, s - 1)) for n, k, s, p in sides]
        attrs["output_size"] = draw(st.sampled_from((size, [*x[:2], *size])))
    return {"x": x, "index": x}, attrs


@st.composite
def unpools_of_signals(draw):
    shapes, attrs = draw(unpools())
    for name in ("kernel_size", "stride", "padding"):
        if isinstance(attrs[name], tuple):
            attrs[name] = attrs[name][1]
    if "output_size" in attrs:
        attrs["output_size"] = [*attrs["output_size"][:-2], attrs["output_size"][-1]]
    x = (*shapes["x"][:2], shapes["x"][3])
    return {"x": x, "index": x}, attrs


def places(name, shape, rng):
    if name == "x":
        return rng.standard_normal(shape)
    pixels = np.tile(np.arange(math.prod(shape[2:])), (*shape[:2], 1))
    return rng.permuted(pixels, axis=-1).reshape(shape)


@st.composite
def learnables(draw):
    kernel = draw(st.tuples(st.integers(1, 4), st.integers(1, 4)))
    image = tuple(k + draw(st.integers(0, 5)) for k in kernel)
    C = draw(channels)
    attrs = {
        "stride": draw(st.sampled_from((None, 1, 2, (1, 3)))),
        "padding": tuple(draw(st.integers(0, k // 2)) for k in kernel),
    }
    return {
        "x": (draw(batches), C, *image),
        "w": (draw(st.sampled_from((1, C))), 1, *kernel),
    }, attrs


def softmax_and_convolve(F, x, w, stride, padding):
    shares = F.softmax(w.flatten(1), 1).reshape(w.shape).expand(x.shape[1], -1, -1, -1)
    stride = w.shape[2:] if stride is None else stride
    return F.conv2d(x, shares, None, stride, padding, groups=x.shape[1])


@st.composite
def pyramids(draw):
    shapes, _ = draw(adaptive_pools())
    levels = draw(st.sampled_from(((1, 2, 4), (3,), (2, 1, 2), 2)))
    return shapes, {"levels": levels, "mode": draw(st.sampled_from(("max", "avg")))}


def pyramid(F, x, levels, mode):
    pool = F.adaptive_max_pool2d if mode == "max" else F.adaptive_avg_pool2d
    sides = (levels,) if isinstance(levels, int) else levels
    return torch.cat([pool(x, k).flatten(1) for k in sides], 1)


def named(name, draw, ladders, **options):
    """A case of the op of this name, called with x and the attributes."""

    def function(F, x, **attrs):
        return getattr(F, name)(x, **attrs)

    return Case(name, function, draw, window_size, ladders, **options)


@st.composite
def without_places(draw, problems):
    """A problem of these, of which no one wants the positions; and a factor, for a gradient."""
    shapes, attrs = draw(problems)
    attrs.pop("return_indices")
    N, C, *pixels = shapes["x"]
    last = len(pixels) == 2 and draw(st.booleans())
    x = (N, *pixels, C) if last else (N, C, *pixels)
    return {"x": x, "w": (1,)}, {**attrs, "last": last}


def maxima_alone(name, problems):
    """A case of maxima whose x has no gradient, in either memory format."""

    def function(F, x, w, last, **attrs):
        return getattr(F, name)(x.permute(0, 3, 1, 2) if last else x, **attrs) * w

    return Case(
        f"{name}.values",
        function,
        without_places(problems),
        lambda shapes, attrs: 50 * math.prod(shapes["x"]),  # the outputs, whose sum is dw
        (pool2d.WINDOW_MAX,),
        values=with_ties,
        constants=("x",),
    )


MAX_LADDERS = (pool2d.MAX, pool2d.MAX_BACKWARD)
MEAN_LADDERS = (pool2d.MEAN, pool2d.MEAN_BACKWARD)
ADAPTIVE_LADDERS = (adaptive_pool2d.ADAPTIVE_MAX, pool2d.MAX_BACKWARD)
DEPTHWISE_LADDERS = (
    depthwise_conv2d.FORWARD,
    depthwise_conv2d.INPUT_GRAD,
    depthwise_conv2d.WEIGHT_GRAD,
)
POOLS = [
    named("max_pool2d", pools(maximum=True), MAX_LADDERS, values=with_ties),
    named("max_pool1d", signals(maximum=True), MAX_LADDERS, values=with_ties),
    maxima_alone("max_pool2d", pools(maximum=True)),
    maxima_alone("max_pool1d", signals(maximum=True)),
    maxima_alone("adaptive_max_pool2d", adaptive_maxima()),
    named("avg_pool2d", pools(maximum=False), MEAN_LADDERS, multilinear=True),
    named("avg_pool1d", signals(maximum=False), MEAN_LADDERS, multilinear=True),
    named("adaptive_avg_pool2d", adaptive_pools(), MEAN_LADDERS, multilinear=True),
    named("adaptive_avg_pool1d", adaptive_signals(False), MEAN_LADDERS, multilinear=True),
    named("adaptive_max_pool2d", adaptive_maxima(), ADAPTIVE_LADDERS, values=with_ties),
    named("adaptive_max_pool1d", adaptive_signals(True), ADAPTIVE_LADDERS, values=with_ties),
    named("lp_pool2d", norms(), MEAN_LADDERS, values=positive),
    named("lp_pool1d", norms_of_signals(), MEAN_LADDERS, values=positive),
    named(
        "spatial_pyramid_pool2d",
        pyramids(),
        (*ADAPTIVE_LADDERS, *MEAN_LADDERS),
        oracle=pyramid,
        values=with_ties,
    ),
    *(
        Case(
            name,
            lambda F, x, index, name=name, **attrs: getattr(F, name)(x, index, **attrs),
            problems,
            window_size,
            (max_unpool2d.FORWARD, max_unpool2d.BACKWARD),
            multilinear=True,
            values=places,
            constants=("index",),
        )
        for name, problems in (
            ("max_unpool2d", unpools()),
            ("max_unpool1d", unpools_of_signals()),
        )
    ),
    Case(
        "learnable_pool2d",
        lambda F, x, w, **attrs: F.learnable_pool2d(x, w, **attrs),
        learnables(),
        lambda shapes, attrs: 8 + math.prod(shapes["x"]),
        DEPTHWISE_LADDERS,
        oracle=softmax_and_convolve,
    ),
]
