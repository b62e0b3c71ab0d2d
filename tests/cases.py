"""THE TABLE: for each op what it is called, which problems to draw, and PyTorch's name for it."""

from __future__ import annotations

import math

import numpy as np
from harness import Case, torch
from hypothesis import strategies as st

import nanoconv as nc
from nanoconv.ops import (
    activations,
    batchnorm,
    channel_shuffle,
    conv2d,
    depthwise_conv2d,
    im2col,
    linear,
    pool2d,
)

# Around the vector lengths (4, 8, 16 lanes) and the tiles of the kernels.
channels = st.sampled_from((1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 23, 24, 25, 31, 32, 33, 47, 49))
few_channels = st.integers(1, 5)
batches = st.sampled_from((1, 1, 2, 3, 0))


# --------------------------------------------------------------------------- windows


@st.composite
def window(draw, largest=9):
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
    sides = {"same": (9,) * 4, "valid": (0,) * 4}.get(padding) if isinstance(padding, str) else None
    if sides is None:
        sides = (padding,) * 4 if isinstance(padding, int) else padding
        sides = (sides[0], sides[0], sides[1], sides[1]) if len(sides) == 2 else sides
    image = []
    for axis in (0, 1):
        least = d[axis] * (kernel[axis] - 1) + 1 - sides[2 * axis] - sides[2 * axis + 1]
        image.append(draw(st.integers(max(least, 1), max(least, largest))))
    attrs = {"stride": stride, "padding": padding, "dilation": dilation}
    return tuple(image), kernel, attrs


# --------------------------------------------------------------------------- convolution


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
            without=() if kind == "pointwise" else ("simd.pointwise",),
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


# --------------------------------------------------------------------------- im2col, col2im


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


# --------------------------------------------------------------------------- pooling


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
    """Random numbers with a few equal ones: of equal maxima the first must win."""
    return rng.integers(-8, 8, shape) + 0.5


@st.composite
def adaptive_pools(draw):
    size = st.integers(1, 7)
    output = draw(st.sampled_from(((draw(size), draw(size)), draw(size), (None, 3), (2, None), 1)))
    return {"x": (draw(batches), draw(channels), draw(size), draw(size))}, {"output_size": output}


def window_size(shapes, attrs):
    """A window's pixels, or as many windows, meet in one number."""
    return 2 + math.prod(shapes["x"][2:])


MEAN_LADDERS = (pool2d.MEAN, pool2d.MEAN_BACKWARD)
POOLS = [
    Case(
        "max_pool2d",
        lambda F, x, **attrs: F.max_pool2d(x, **attrs),
        pools(maximum=True),
        window_size,
        (pool2d.MAX, pool2d.MAX_BACKWARD),
        values=with_ties,
    ),
    Case(
        "avg_pool2d",
        lambda F, x, **attrs: F.avg_pool2d(x, **attrs),
        pools(maximum=False),
        window_size,
        MEAN_LADDERS,
        multilinear=True,
    ),
    Case(
        "adaptive_avg_pool2d",
        lambda F, x, **attrs: F.adaptive_avg_pool2d(x, **attrs),
        adaptive_pools(),
        window_size,
        MEAN_LADDERS,
        multilinear=True,
    ),
]


# --------------------------------------------------------------------------- normalisation


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


# --------------------------------------------------------------------------- elementwise


@st.composite
def any_shape(draw):
    size = st.sampled_from((0, 1, 2, 3, 5, 8, 17))
    shape = draw(st.one_of(st.lists(size, max_size=3), st.tuples(size, size, size, size)))
    return {"x": tuple(shape)}, {}


def around_kinks(name, shape, rng):
    """Where all pieces are met; not so far out that PyTorch's own 1 − y² loses its digits."""
    return np.clip(rng.standard_normal(shape) * 3, -7, 7)


def moderate(name, shape, rng):
    return np.clip(rng.standard_normal(shape), -2, 2)


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


# --------------------------------------------------------------------------- the rest


@st.composite
def shuffles(draw):
    groups = draw(st.integers(1, 6))
    pixels = draw(st.sampled_from(((1, 1), (3, 5), (0, 2), (4,), (2, 2, 2))))
    return {"x": (draw(batches), groups * draw(channels), *pixels)}, {"groups": groups}


@st.composite
def products(draw):
    C, O = draw(channels), draw(channels)
    examples = tuple(draw(st.lists(st.sampled_from((0, 1, 2, 3, 5, 8, 13)), max_size=3)))
    return {"x": (*examples, C), "w": (O, C), "b": draw(st.sampled_from(((O,), None)))}, {}


@st.composite
def along_an_axis(draw):
    shape = tuple(draw(st.lists(st.sampled_from((1, 2, 3, 7, 0)), min_size=0, max_size=4)))
    limit = max(len(shape), 1)
    return {"x": shape}, {"dim": draw(st.integers(-limit, limit - 1))}


@st.composite
def classified(draw, probabilities=False):
    N, C = draw(st.integers(1, 5)), draw(st.integers(1, 6))
    pixels = draw(st.sampled_from(((), (), (3,), (2, 2))))
    x = (C,) if not pixels and draw(st.booleans()) else (N, C, *pixels)
    target = x if probabilities else x[:1] + x[2:] if len(x) > 1 else ()
    return {"x": x, "target": target, "w": draw(st.sampled_from((None, (C,))))}, {
        "reduction": draw(st.sampled_from(("mean", "sum", "none")))
    }


@st.composite
def entropies(draw, probabilities=False):
    shapes, attrs = draw(classified(probabilities))
    attrs["label_smoothing"] = draw(st.sampled_from((0.0, 0.0, 0.1, 1.0)))
    if not probabilities:
        attrs["ignore_index"] = draw(st.sampled_from((-100, 0, -1)))
    return shapes, attrs


def scores(name, shape, rng):
    """Class 0 is met so seldom that, ignored, something is left; every weight is positive."""
    if name == "target":
        return np.asarray(rng.integers(0, 1 << 30, shape) % 1000)
    return rng.uniform(0.2, 2, shape) if name == "w" else rng.standard_normal(shape)


def with_classes(function):
    """The targets drawn are any integers; the classes are what remains of them modulo C."""

    def call(F, x, target, w, **attrs):
        C = x.shape[1] if len(x.shape) > 1 else x.shape[0]
        if isinstance(target, nc.Tensor):
            target = nc.from_numpy(np.asarray(target.numpy() % C))
        else:
            target = target % C
        return getattr(F, function)(x, target, weight=w, **attrs)

    return call


SEED = 20


def dropped(F, x, p):
    """The mask is NumPy's; PyTorch multiplies."""
    mask = np.random.default_rng(SEED).random(tuple(x.shape), np.float32) >= p
    return x * torch.from_numpy(np.asarray(mask / (1 - p)))


def seeded_dropout(F, x, p):
    nc.manual_seed(SEED)
    return F.dropout(x, p)


OTHERS = [
    Case(
        "channel_shuffle",
        lambda F, x, **attrs: F.channel_shuffle(x, **attrs),
        shuffles(),
        lambda shapes, attrs: 1,
        (channel_shuffle.LADDER,),
        multilinear=True,
    ),
    Case(
        "linear",
        lambda F, x, w, b: F.linear(x, w, b),
        products(),
        lambda shapes, attrs: 1 + max(*shapes["w"], math.prod(shapes["x"][:-1])),
        (linear.LADDER,),
        multilinear=True,
    ),
    Case(
        "dropout",
        seeded_dropout,
        st.tuples(
            any_shape().map(lambda drawn: drawn[0]),
            st.fixed_dictionaries({"p": st.sampled_from((0.1, 0.5, 0.9))}),
        ),
        oracle=dropped,
        multilinear=True,
    ),
    Case(
        "softmax",
        lambda F, x, dim: F.softmax(x, dim),
        along_an_axis(),
        lambda shapes, attrs: 8 + math.prod(shapes["x"]),
    ),
    Case(
        "log_softmax",
        lambda F, x, dim: F.log_softmax(x, dim),
        along_an_axis(),
        lambda shapes, attrs: 8 + math.prod(shapes["x"]),
    ),
    Case(
        "nll_loss",
        with_classes("nll_loss"),
        classified(),
        lambda shapes, attrs: 8 + math.prod(shapes["x"]),
        values=scores,
        constants=("target", "w"),
    ),
    Case(
        "cross_entropy",
        with_classes("cross_entropy"),
        entropies(),
        lambda shapes, attrs: 8 + math.prod(shapes["x"]),
        values=scores,
        constants=("target", "w"),
    ),
    Case(
        "cross_entropy.probabilities",
        lambda F, x, target, w, **attrs: F.cross_entropy(x, target, weight=w, **attrs),
        entropies(probabilities=True),
        lambda shapes, attrs: 8 + math.prod(shapes["x"]),
        constants=("w",),
    ),
]

# --------------------------------------------------------------------------- losses of numbers


@st.composite
def pairs(draw, more=(), reductions=("mean", "sum", "none")):
    """Input and target of one shape, perhaps weights that broadcast to it, and some attributes."""
    shape = tuple(draw(st.lists(st.sampled_from((0, 1, 2, 3, 5, 8)), max_size=4)))
    if "batchmean" in reductions and not shape:
        reductions = ("mean", "sum", "none")
    attrs = {"reduction": draw(st.sampled_from(reductions))}
    attrs |= {name: draw(st.sampled_from(values)) for name, values in more}
    return {"x": shape, "target": shape}, attrs


@st.composite
def weighted_pairs(draw, names):
    shapes, attrs = draw(pairs())
    shape = shapes["x"]
    options = st.sampled_from((None, shape, shape[-1:], tuple(min(n, 1) for n in shape)))
    return shapes | {name: draw(options) for name in names}, attrs


def probabilities(name, shape, rng):
    """Between 0 and 1, and not so near to either that PyTorch's own 1 − x has few digits."""
    return rng.uniform(0.1, 0.9, shape)


def scores_and_answers(name, shape, rng):
    return rng.standard_normal(shape) * 3 if name == "x" else rng.uniform(0.1, 2, shape)


def apart(name, shape, rng):
    """No x is near its target, where the absolute value has its kink."""
    values = rng.uniform(0.1, 1.9, shape) * rng.choice((-1, 1), shape)
    return values if name == "x" else 4 * np.round(rng.uniform(-1, 1, shape))


def divergence(F, x, target, reduction, log_target):
    """PyTorch warns that its mean is not the mathematical one."""
    if reduction != "mean":
        return F.kl_div(x, target, reduction=reduction, log_target=log_target)
    return F.kl_div(x, target, reduction="none", log_target=log_target).mean()


DISTANCE_LENGTH = 64  # roundings of a logarithm, a quotient and what the input's own error makes
DISTANCES = [
    *(
        Case(
            name,
            lambda F, x, target, name=name, **attrs: getattr(F, name)(x, target, **attrs),
            problems,
            lambda shapes, attrs: DISTANCE_LENGTH + math.prod(shapes["x"]),
            oracle=divergence if name == "kl_div" else None,
            values=values,
        )
        for name, problems, values in (
            ("mse_loss", pairs(), around_kinks),
            ("l1_loss", pairs(), apart),
            ("smooth_l1_loss", pairs((("beta", (1.0, 0.0, 0.3, 5)),)), apart),
            ("huber_loss", pairs((("delta", (1.0, 0.3, 5)),)), around_kinks),
            (
                "kl_div",
                pairs((("log_target", (False, True)),), ("mean", "sum", "none", "batchmean")),
                probabilities,
            ),
        )
    ),
    Case(
        "binary_cross_entropy",
        lambda F, x, target, w, **attrs: F.binary_cross_entropy(x, target, weight=w, **attrs),
        weighted_pairs(("w",)),
        lambda shapes, attrs: DISTANCE_LENGTH + math.prod(shapes["x"]),
        values=probabilities,
        constants=("w",),
    ),
    Case(
        "binary_cross_entropy_with_logits",
        lambda F, x, target, w, p, **attrs: F.binary_cross_entropy_with_logits(
            x, target, weight=w, pos_weight=p, **attrs
        ),
        weighted_pairs(("w", "p")),
        lambda shapes, attrs: DISTANCE_LENGTH + math.prod(shapes["x"]),
        values=scores_and_answers,
        constants=("w", "p"),
    ),
]

CASES = [*CONVOLUTIONS, *COLUMNS, *POOLS, *NORMS, *ELEMENTWISE, *OTHERS, *DISTANCES]
