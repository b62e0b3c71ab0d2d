"""Transposed and one-dimensional convolutions, fold and unfold, padding."""

from __future__ import annotations

import math

from harness import Case
from hypothesis import strategies as st

from nanoconv.ops import conv2d, conv_transpose2d, depthwise_conv2d
from nanoconv.ops.pad import MODES, RANKS

from .convolution import CONV_LADDERS, DEPTHWISE_LADDERS, WINOGRAD
from .draws import batches, channels, few_channels

TRANSPOSED_LADDERS = (conv_transpose2d.FORWARD, conv2d.FORWARD, conv2d.WEIGHT_GRAD)
TRANSPOSED_DEPTHWISE_LADDERS = (
    depthwise_conv2d.INPUT_GRAD,
    depthwise_conv2d.FORWARD,
    depthwise_conv2d.WEIGHT_GRAD,
)


@st.composite
def one_axis(draw, kernels=(1, 2, 3, 4)):
    """(size, kernel, stride, padding, output_padding, dilation) of one axis, with some output."""
    size, kernel = draw(st.integers(1, 6)), draw(st.sampled_from(kernels))
    stride, dilation = draw(st.sampled_from((1, 2, 2, 3, 5))), draw(st.sampled_from((1, 1, 2, 3)))
    more = draw(st.integers(0, max(stride, dilation) - 1))
    full = (size - 1) * stride + dilation * (kernel - 1) + 1 + more
    padding = 0 if kernels == (1,) else draw(st.integers(0, min(4, (full - 1) // 2)))
    return size, kernel, stride, padding, more, dilation


def channels_of(draw, kind):
    """(C, O/groups, groups) of a transposed convolution."""
    if kind == "depthwise":
        groups = draw(channels.filter(lambda k: k > 1))
        return groups * draw(st.integers(1, 3)), 1, groups
    if kind == "grouped":
        groups = draw(st.integers(2, 4))
        return groups * draw(few_channels), draw(st.integers(2, 5)), groups
    return draw(channels), draw(channels), 1


@st.composite
def transposed(draw, kind, ndim=2):
    C, O, groups = channels_of(draw, kind)
    along = [draw(one_axis((1,)) if kind == "pointwise" else one_axis()) for _ in range(ndim)]
    image, kernel, stride, padding, more, dilation = zip(*along, strict=True)
    shapes = {
        "x": (draw(batches), C, *image),
        "w": (C, O, *kernel),
        "b": draw(st.sampled_from(((O * groups,), None))),
    }
    attrs = {"stride": stride, "padding": padding, "output_padding": more, "dilation": dilation}
    attrs |= {"groups": groups}
    if draw(st.booleans()) and all(len(set(value)) == 1 for value in along):
        attrs = {name: v[0] if isinstance(v, tuple) else v for name, v in attrs.items()}
    return shapes, attrs


def transposed_length(shapes, attrs):
    """The longest sum: into one output, over a window, over all pixels of x or (the bias) of y."""
    (N, C, *image), (_, O, *kernel) = shapes["x"], shapes["w"]
    taps, groups = math.prod(kernel), attrs["groups"]
    sizes = [(n - 1) * 5 + 3 * (k - 1) + 5 for n, k in zip(image, kernel, strict=True)]
    return max(C // groups * taps + 1, O * taps, N * math.prod(sizes))


TRANSPOSED = [
    *(
        Case(
            f"conv_transpose2d.{kind}",
            lambda F, x, w, b, **attrs: F.conv_transpose2d(x, w, b, **attrs),
            transposed(kind),
            transposed_length,
            TRANSPOSED_DEPTHWISE_LADDERS if kind == "depthwise" else TRANSPOSED_LADDERS,
            multilinear=True,
            without=WINOGRAD if kind == "pointwise" else ("simd.pointwise", *WINOGRAD),
        )
        for kind in ("dense", "pointwise", "grouped", "depthwise")
    ),
    *(
        Case(
            f"conv_transpose1d.{kind}",
            lambda F, x, w, b, **attrs: F.conv_transpose1d(x, w, b, **attrs),
            transposed(kind, 1),
            transposed_length,
            TRANSPOSED_DEPTHWISE_LADDERS if kind == "depthwise" else TRANSPOSED_LADDERS,
            multilinear=True,
            without=("simd.pointwise", *WINOGRAD),
        )
        for kind in ("grouped", "depthwise")
    ),
]


# --------------------------------------------------------------------------- one dimension


@st.composite
def signals(draw, kind):
    kernel, dilation = draw(st.integers(1, 4)), draw(st.sampled_from((1, 1, 2, 3)))
    padding = draw(st.one_of(st.integers(0, 4), st.sampled_from(("same", "valid"))))
    stride = 1 if padding == "same" else draw(st.sampled_from((1, 2, 3, 5)))
    around = 0 if padding == "valid" else 9 if padding == "same" else padding
    least = max(dilation * (kernel - 1) + 1 - 2 * around, 1)
    O, C, groups = channels_of(draw, kind)  # C is that of a group
    shapes = {
        "x": (draw(batches), C * groups, draw(st.integers(least, max(least, 12)))),
        "w": (O, C, kernel),
        "b": draw(st.sampled_from(((O,), None))),
    }
    attrs = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    return shapes, attrs


def padded_first(F, x, w, b, stride, padding, dilation, groups):
    """PyTorch warns if "same" padding has an odd length; its rule is written out here."""
    if padding == "same":
        total = dilation * (w.shape[2] - 1)
        x, padding = F.pad(x, (total // 2, total - total // 2)), 0
    return F.conv1d(x, w, b, stride, padding, dilation, groups)


SIGNALS = [
    Case(
        f"conv1d.{kind}",
        lambda F, x, w, b, **attrs: F.conv1d(x, w, b, **attrs),
        signals(kind),
        lambda shapes, attrs: max(
            math.prod(shapes["w"][1:]) + 1,
            shapes["w"][0] * shapes["w"][2],
            shapes["x"][0] * (shapes["x"][2] + 8),
        ),
        DEPTHWISE_LADDERS if kind == "depthwise" else CONV_LADDERS,
        oracle=padded_first,
        multilinear=True,
        without=("simd.pointwise", *WINOGRAD),
    )
    for kind in ("dense", "grouped", "depthwise")
]


# --------------------------------------------------------------------------- fold and unfold


@st.composite
def folded(draw, back=False):
    along = []
    for _ in range(2):
        kernel, padding = draw(st.integers(1, 4)), draw(st.integers(0, 3))
        dilation, stride = draw(st.sampled_from((1, 1, 2, 3))), draw(st.sampled_from((1, 2, 3, 5)))
        least = max(dilation * (kernel - 1) + 1 - 2 * padding, 1)
        size = draw(st.integers(least, max(least, 8)))
        outputs = (size + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1
        along.append((size, kernel, dilation, padding, stride, outputs))
    image, kernel, dilation, padding, stride, outputs = zip(*along, strict=True)
    N, C = draw(batches), draw(few_channels)
    attrs = {"kernel_size": kernel, "dilation": dilation, "padding": padding, "stride": stride}
    if back:
        shape = (N, C * math.prod(kernel), math.prod(outputs))
        return {"x": shape}, {"output_size": image, **attrs}
    return {"x": (N, C, *image)}, attrs


FOLDS = [
    Case(
        "unfold",
        lambda F, x, **attrs: F.unfold(x, **attrs),
        folded(),
        lambda shapes, attrs: math.prod(attrs["kernel_size"]),
        multilinear=True,
    ),
    Case(
        "fold",
        lambda F, x, **attrs: F.fold(x, **attrs),
        folded(back=True),
        lambda shapes, attrs: math.prod(attrs["kernel_size"]),
        multilinear=True,
    ),
]


# --------------------------------------------------------------------------- padding


@st.composite
def borders(draw):
    """Where PyTorch's circular border is longer than what it goes round, it reads what it writes:
    its gradient is wrong then, and so is its result if that border comes first."""
    mode = draw(st.sampled_from(MODES))
    count = draw(st.integers(1, 3))
    more = draw(st.integers(0, 2)) if mode == "constant" else draw(st.sampled_from((0, 1)))
    if mode != "constant":
        more += RANKS[2 * count][0] - count
    image, widths = [], []
    for _ in range(count):
        n = draw(st.integers(1, 5))
        a, b = draw(st.integers(-2, 4)), draw(st.integers(-2, 4))
        if mode == "reflect":
            a, b = min(a, n - 1), min(b, n - 1)
        left = n + min(a, 0) + min(b, 0)
        if left < 1:
            a, b, left = max(a, 0), max(b, 0), n
        if mode == "circular":
            a, b = min(a, left), min(b, left)
        image.append(n)
        widths = [a, b, *widths]
    shape = (*(draw(st.integers(1, 3)) for _ in range(more)), *image)
    attrs = {"pad": tuple(widths), "mode": mode}
    if mode == "constant":
        attrs["value"] = draw(st.sampled_from((None, 0.0, -1.5)))
    return {"x": shape}, attrs


PADS = [
    Case(
        "pad",
        lambda F, x, **attrs: F.pad(x, **attrs),
        borders(),
        lambda shapes, attrs: math.prod(1 + max(k, 0) for k in attrs["pad"]),
        multilinear=True,
    ),
]
