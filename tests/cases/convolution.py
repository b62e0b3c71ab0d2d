"""Convolutions and the windows they look through."""

from __future__ import annotations

import math

from harness import Case, torch
from hypothesis import strategies as st

from nanoconv.ops import (
    conv2d,
    depthwise_conv2d,
    im2col,
)

from .draws import batches, channels, few_channels, window

# Around one and two tiles of 2 and of 4; and enough for more than a block of either.
sides = st.sampled_from((3, 4, 5, 6, 7, 8, 9, 10, 11, 17, 33))


@st.composite
def convolutions(draw, kind="dense"):
    (H, W), (KH, KW), attrs = draw(window())
    if kind == "winograd":
        KH = KW = 3
        (H, W), padding = draw(st.tuples(sides, sides)), draw(st.sampled_from((0, 1, 2, "same")))
        if draw(st.booleans()):
            padding = draw(st.tuples(*[st.integers(0, 2)] * 4))
        attrs = {"stride": 1, "padding": padding, "dilation": 1}
    if kind == "pointwise":
        KH = KW = 1
        attrs = {"stride": attrs["stride"], "padding": 0, "dilation": 1}
    if kind == "grouped":
        groups = draw(st.integers(2, 4))
        C, O = groups * draw(few_channels), groups * draw(few_channels)
    elif kind == "depthwise":
        groups = C = draw(channels)
        O = C * draw(st.integers(1, 3))
    else:
        groups, C, O = 1, draw(channels), draw(channels)
    shapes = {
        "x": (draw(batches), C, H, W),
        "w": (O, C // groups, KH, KW),
        "b": draw(st.sampled_from(((O,), None))),
    }
    if kind != "depthwise":
        attrs["groups"] = groups
    return shapes, attrs


def padded_by_torch(F, x, w, b, stride, padding, dilation, groups):
    """PyTorch's conv2d has neither four-sided padding nor "same" with a stride: pad first."""
    geo = conv2d.conv2d_shape(tuple(x.shape), tuple(w.shape), stride, padding, dilation, groups)
    if padding == "same":
        for axis, (size, s, d, p) in enumerate(
            ((geo.H, geo.sh, geo.dh, (geo.pt, geo.pb)), (geo.W, geo.sw, geo.dw, (geo.pl, geo.pr)))
        ):  # TensorFlow's rule, written out again so that the test has its own
            total = max((math.ceil(size / s) - 1) * s + (w.shape[2 + axis] - 1) * d + 1 - size, 0)
            assert p == (total // 2, total - total // 2)
    x = F.pad(x, (geo.pl, geo.pr, geo.pt, geo.pb))
    return F.conv2d(x, w, b, stride, 0, dilation, groups)


def conv_length(shapes, attrs):
    """The longest of the three sums: over a window, over its transpose, over all output pixels."""
    (N, C, H, W), (O, I, KH, KW) = shapes["x"], shapes["w"]
    geo = conv2d.conv2d_shape(
        (N, C, H, W), (O, I, KH, KW), attrs["stride"], attrs["padding"], attrs["dilation"], C // I
    )
    return max(I * KH * KW + 1, O // (C // I) * KH * KW, N * geo.OH * geo.OW)


WINOGRAD = ("simd.winograd2", "simd.winograd4")
CONV_LADDERS = (conv2d.FORWARD, conv2d.INPUT_GRAD, conv2d.WEIGHT_GRAD)
DEPTHWISE_LADDERS = (
    depthwise_conv2d.FORWARD,
    depthwise_conv2d.INPUT_GRAD,
    depthwise_conv2d.WEIGHT_GRAD,
)
CONVOLUTIONS = [
    *(
        Case(
            f"conv2d.{kind}",
            lambda F, x, w, b, **attrs: F.conv2d(x, w, b, **attrs),
            convolutions(kind),
            conv_length,
            CONV_LADDERS,
            oracle=padded_by_torch,
            multilinear=True,
            without=tuple({"simd.pointwise", *WINOGRAD} - set(reached)),
        )
        for kind, reached in (
            ("dense", ()),
            ("winograd", WINOGRAD),
            ("pointwise", ("simd.pointwise",)),
            ("grouped", ()),
        )
    ),
    Case(
        "depthwise_conv2d",
        lambda F, x, w, b, **attrs: F.depthwise_conv2d(x, w, b, **attrs),
        convolutions("depthwise"),
        conv_length,
        DEPTHWISE_LADDERS,
        oracle=lambda F, x, w, b, **attrs: padded_by_torch(F, x, w, b, **attrs, groups=x.shape[1]),
        multilinear=True,
    ),
]


@st.composite
def images_to_columns(draw, back=False):
    image, kernel, attrs = draw(window())
    groups = draw(st.integers(1, 3))
    x = (draw(batches), groups * draw(st.sampled_from((1, 2, 4, 5, 8, 17))), *image)
    if not back:
        return {"x": x}, {"kernel_size": kernel, **attrs, "groups": groups}
    geo = im2col.im2col_shape("col2im", x, kernel, **attrs, groups=groups)
    return {"cols": im2col.cols_shape(geo)}, {"output_size": image, "kernel_size": kernel, **attrs}


def unfold(F, x, kernel_size, stride, padding, dilation, groups):
    geo = im2col.im2col_shape(
        "im2col", tuple(x.shape), kernel_size, stride, padding, dilation, groups
    )
    x = F.pad(x, (geo.pl, geo.pr, geo.pt, geo.pb))
    if not len(x):  # which F.unfold refuses
        return x.sum() + torch.zeros(im2col.cols_shape(geo), dtype=x.dtype)
    cols = F.unfold(x, kernel_size, dilation, 0, stride)  # (N, C·KH·KW, OH·OW)
    cols = cols.reshape(geo.N, groups, -1, geo.KH, geo.KW, geo.OH, geo.OW)
    return cols.permute(0, 5, 6, 1, 3, 4, 2)


def fold(F, cols, output_size, kernel_size, stride, padding, dilation):
    N, OH, OW, G, KH, KW, c = cols.shape
    x = (N, G * c, *output_size)
    geo = im2col.im2col_shape("col2im", x, kernel_size, stride, padding, dilation, G)
    if not N:
        return cols.sum() + torch.zeros(x, dtype=cols.dtype)
    H, W = geo.pt + geo.H + geo.pb, geo.pl + geo.W + geo.pr
    cols = cols.permute(0, 3, 6, 4, 5, 1, 2).reshape(N, G * c * KH * KW, OH * OW)
    xp = F.fold(cols, (H, W), kernel_size, dilation, 0, stride)
    return xp[:, :, geo.pt : geo.pt + geo.H, geo.pl : geo.pl + geo.W]


COLUMNS = [
    Case(
        "im2col",
        lambda F, x, **attrs: F.im2col(x, **attrs),
        images_to_columns(),
        lambda shapes, attrs: math.prod(attrs["kernel_size"]),
        (im2col.GATHER, im2col.SCATTER),
        oracle=unfold,
        multilinear=True,
    ),
    Case(
        "col2im",
        lambda F, cols, **attrs: F.col2im(cols, **attrs),
        images_to_columns(back=True),
        lambda shapes, attrs: math.prod(attrs["kernel_size"]),
        (im2col.SCATTER, im2col.GATHER),
        oracle=fold,
        multilinear=True,
    ),
]
