"""Normalisation."""

from __future__ import annotations

import math

from harness import Case, torch
from hypothesis import strategies as st

from nanoconv.ops import batchnorm, groupnorm, layernorm, local_response_norm

from .draws import channels


@st.composite
def normalised(draw, training):
    pixels = draw(st.sampled_from(((), (1,), (5,), (33,), (1, 1), (4, 4), (3, 7))))
    # Of two or three values x̂ hardly depends on what they are: all error, no derivative.
    examples = (
        st.integers(-(-6 // math.prod(pixels)), 8) if training else st.sampled_from((2, 1, 3, 0))
    )
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


@st.composite
def grouped(draw, each=False):
    """Groups of six numbers or more (see above); `each` channel is one.

    Of no image, or by b without w, PyTorch fails to compute a gradient.
    """
    N, G = draw(st.integers(1, 3)), draw(st.sampled_from((1, 2, 3, 8)))
    K, pixels = draw(
        st.sampled_from(
            (
                (6, ()),
                (7, ()),
                (6, (1,)),
                (3, (5,)),
                (2, (1, 7)),
                (4, (3, 3)),
                (3, (4, 5)),
                (6, (2, 1, 2)),
            )
        )
    )
    if each:
        G, K = draw(channels), 1
        pixels = draw(st.sampled_from(((6,), (9,), (2, 4), (3, 3), (5, 5), (2, 2, 2))))
    given = draw(st.sampled_from(("", "w", "wb")))
    vectors = {name: (G * K,) if name in given else None for name in ("w", "b")}
    attrs = {"eps": draw(st.sampled_from((1e-5, 1e-3, 0.5)))}
    return {"x": (N, G * K, *pixels), **vectors}, attrs if each else attrs | {"num_groups": G}


@st.composite
def evaluated(draw):
    shapes, attrs = draw(grouped(each=True))
    statistics = dict.fromkeys(("running_mean", "running_var"), (shapes["x"][1],))
    return {"x": shapes.pop("x"), **statistics, **shapes}, attrs


@st.composite
def rows(draw, bias=True):
    shape = draw(st.sampled_from(((6,), (2, 4), (7, 1), (33,), (64,), (515,), (3, 3, 2))))
    before = tuple(draw(st.lists(st.sampled_from((3, 2, 1, 4, 0)), max_size=2)))
    names = ("w", "b") if bias else ("w",)
    of_row = {name: shape if draw(st.booleans()) else None for name in names}
    eps = draw(st.sampled_from((1e-5, 1e-3, 0.5) if bias else (1e-5, 0.5)))
    return {"x": before + shape, **of_row}, {"normalized_shape": shape, "eps": eps}


@st.composite
def responses(draw):
    N, C = draw(st.sampled_from((1, 2, 0))), draw(st.sampled_from((5, 8, 2, 1, 19)))
    pixels = draw(st.sampled_from(((1,), (3,), (2, 2), (1, 3), (1, 2, 1))))
    attrs = {
        "size": draw(st.sampled_from((2, 4, 3, 5, 1, 7, 2 * C + 2, 2 * C + 3))),
        "alpha": draw(st.sampled_from((2.0, 0.5, 1e-4))),
        "beta": draw(st.sampled_from((0.75, 0.5, 1.0, 0.3))),
        "k": draw(st.sampled_from((1.0, 2.0))),
    }
    return {"x": (N, C, *pixels)}, attrs


@st.composite
def filters(draw):
    shape = draw(st.sampled_from(((3, 6), (1, 2, 4), (4, 3, 3, 3), (2, 1, 3, 5), (8, 16, 1, 1))))
    return {"w": shape}, {"eps": draw(st.sampled_from((1e-5, 1e-3)))}


def standardised(F, w, eps):
    var, mean = torch.var_mean(w, tuple(range(1, w.ndim)), correction=0, keepdim=True)
    return (w - mean) / (var + eps).sqrt()


@st.composite
def vectors(draw):
    shape = draw(st.lists(st.sampled_from((1, 2, 3, 6)), min_size=1, max_size=3))
    dim = draw(st.integers(-len(shape), len(shape) - 1))
    shape[dim] += 1  # a single number has no direction that could change
    return {"x": tuple(shape)}, {"dim": dim, "p": draw(st.sampled_from((2.0, 2.0, 1.0, 3.0, 0.5)))}


def terms(shapes, attrs):
    """What is summed for one group, one row, or one weight."""
    return 8 + math.prod(shapes["x"])


BATCH_LADDERS = {
    "training": (batchnorm.FORWARD, batchnorm.BACKWARD),
    "evaluation": (batchnorm.RUNNING, batchnorm.BACKWARD),
}
NORMS = [
    Case(
        f"batch_norm.{name}",
        lambda F, *tensors, **attrs: F.batch_norm(*tensors, **attrs),
        normalised(name == "training"),
        lambda shapes, attrs: 4 + math.prod(shapes["x"]) // shapes["x"][1],
        ladders,
        values=statistics,
        constants=("running_mean", "running_var"),
    )
    for name, ladders in BATCH_LADDERS.items()
]
GROUP_LADDERS = (groupnorm.FORWARD, groupnorm.BACKWARD)
ROW_LADDERS = (layernorm.ROWS, layernorm.ROWS_INPUT_GRAD, layernorm.ROWS_WEIGHT_GRAD)
NORMS += [
    Case(
        "group_norm",
        lambda F, x, w, b, num_groups, eps: F.group_norm(x, num_groups, w, b, eps),
        grouped(),
        terms,
        GROUP_LADDERS,
        values=statistics,
    ),
    Case(
        "instance_norm",
        lambda F, x, w, b, eps: F.instance_norm(x, None, None, w, b, eps=eps),
        grouped(each=True),
        terms,
        GROUP_LADDERS,
        values=statistics,
    ),
    Case(
        "instance_norm.evaluation",
        lambda F, *tensors, eps: F.instance_norm(*tensors, use_input_stats=False, eps=eps),
        evaluated(),
        terms,
        BATCH_LADDERS["evaluation"],
        values=statistics,
        constants=("running_mean", "running_var"),
    ),
    Case(
        "layer_norm",
        lambda F, x, w, b, normalized_shape, eps: F.layer_norm(x, normalized_shape, w, b, eps),
        rows(),
        terms,
        ROW_LADDERS,
        values=statistics,
    ),
    Case(
        "rms_norm",
        lambda F, x, w, normalized_shape, eps: F.rms_norm(x, normalized_shape, w, eps),
        rows(bias=False),
        terms,
        ROW_LADDERS,
    ),
    Case(
        "local_response_norm",
        lambda F, x, **attrs: F.local_response_norm(x, **attrs),
        responses(),
        lambda shapes, attrs: 16 + 2 * attrs["size"],
        (local_response_norm.FORWARD, local_response_norm.INPUT_GRAD),
    ),
    Case(
        "weight_standardization",
        lambda F, w, eps: F.weight_standardization(w, eps),
        filters(),
        lambda shapes, attrs: 8 + math.prod(shapes["w"]),
        ROW_LADDERS[:2],
        oracle=standardised,
    ),
    Case(
        "normalize",
        lambda F, x, **attrs: F.normalize(x, **attrs),
        vectors(),
        lambda shapes, attrs: 16 + math.prod(shapes["x"]),
        values=lambda name, shape, rng: rng.uniform(0.2, 2, shape) * rng.choice((-1, 1), shape),
    ),
]
