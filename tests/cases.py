"""THE TABLE: for each op what it is called, which problems to draw, and PyTorch's name for it."""

from __future__ import annotations

import numpy as np
from harness import Case
from hypothesis import strategies as st

from nanoconv.ops import conv2d, depthwise_conv2d

# Around the vector lengths (4, 8, 16 lanes) and the tiles of the kernels.
channels = st.sampled_from((1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 23, 24, 25, 31, 32, 33, 47, 49))
few_channels = st.integers(1, 5)
batches = st.sampled_from((1, 1, 2, 3, 0))


@st.composite
def window(draw, batch=batches, largest=9):
    """(image size, kernel size, attributes) of a window that fits at least once."""
    kernel = draw(st.tuples(st.integers(1, 4), st.integers(1, 4)))
    dilation = draw(st.sampled_from((1, 1, 1, 2, (1, 2), (3, 1))))
    stride = draw(st.sampled_from((1, 1, 2, (1, 2), (3, 2), 5)))
    padding = draw(
        st.one_of(
            st.integers(0, 3),
            st.tuples(st.integers(0, 3), st.integers(0, 3)),
            st.tuples(*[st.integers(0, 4)] * 4),
            st.sampled_from(("same", "valid")),
        )
    )
    d = (dilation, dilation) if isinstance(dilation, int) else dilation
    sides = {"same": (0,) * 4, "valid": (0,) * 4}.get(padding) if isinstance(padding, str) else None
    if sides is None:
        sides = (padding,) * 4 if isinstance(padding, int) else padding
        sides = (sides[0], sides[0], sides[1], sides[1]) if len(sides) == 2 else sides
    image = []
    for axis in (0, 1):
        least = 1
        if padding != "same":
            least = max(1, d[axis] * (kernel[axis] - 1) + 1 - sides[2 * axis] - sides[2 * axis + 1])
        image.append(draw(st.integers(least, max(least, largest))))
    attrs = {"stride": stride, "padding": padding, "dilation": dilation}
    return tuple(image), kernel, attrs


@st.composite
def convolutions(draw, kind="dense"):
    (H, W), (KH, KW), attrs = draw(window())
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
            total = max((int(np.ceil(size / s)) - 1) * s + (w.shape[2 + axis] - 1) * d + 1 - size, 0)
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


CONV_LADDERS = (conv2d.FORWARD, conv2d.INPUT_GRAD, conv2d.WEIGHT_GRAD)
DEPTHWISE_LADDERS = (
    depthwise_conv2d.FORWARD,
    depthwise_conv2d.INPUT_GRAD,
    depthwise_conv2d.WEIGHT_GRAD,
)

CASES = [
    *(
        Case(
            f"conv2d.{kind}",
            lambda F, x, w, b, **attrs: F.conv2d(x, w, b, **attrs),
            convolutions(kind),
            conv_length,
            CONV_LADDERS,
            oracle=padded_by_torch,
            multilinear=True,
        )
        for kind in ("dense", "pointwise", "grouped")
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
