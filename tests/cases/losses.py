"""Losses."""

from __future__ import annotations

import math

import numpy as np
from harness import Case, torch
from hypothesis import strategies as st

import nanoconv as nc
from nanoconv.ops import distances, focal_loss  # noqa: F401 (which adds its ladders to the tables)

from .draws import around_kinks


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


def over_classes(shapes, attrs):
    """The longest sum: over the classes of one example, or over everything."""
    x = shapes["x"]
    alone = attrs.get("reduction") == "none"
    return 8 + (x[min(1, len(x) - 1)] if alone else math.prod(x))


LOSSES = [
    Case(
        "nll_loss",
        with_classes("nll_loss"),
        classified(),
        over_classes,
        values=scores,
        constants=("target", "w"),
    ),
    Case(
        "cross_entropy",
        with_classes("cross_entropy"),
        entropies(),
        over_classes,
        values=scores,
        constants=("target", "w"),
    ),
    Case(
        "cross_entropy.probabilities",
        lambda F, x, target, w, **attrs: F.cross_entropy(x, target, weight=w, **attrs),
        entropies(probabilities=True),
        over_classes,
        constants=("w",),
    ),
]


# --------------------------------------------------------------------------- losses of numbers


@st.composite
def pairs(draw, more=(), reductions=("mean", "sum", "none")):
    """Input and target of one shape, perhaps weights that broadcast to it, and some attributes."""
    shape = tuple(draw(st.lists(st.sampled_from((3, 2, 5, 1, 8, 0)), max_size=4)))
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


def weighted_all(F, x, target, w, loss, **attrs):
    return getattr(F, loss)(x, target, weight=w, **attrs)


@st.composite
def counted(draw):
    """Pairs with a weight for each number."""
    alone = (1,)  # is its own mean, whatever its weight
    shapes, attrs = draw(pairs().filter(lambda drawn: math.prod(drawn[0]["x"] or alone) != 1))
    loss = draw(st.sampled_from(("mse_loss", "l1_loss", "huber_loss")))
    return shapes | {"w": shapes["x"]}, attrs | {"loss": loss}


def counts(name, shape, rng):
    return rng.uniform(0.2, 2, shape) if name == "w" else apart(name, shape, rng)


@st.composite
def focused(draw):
    shapes, attrs = draw(pairs())
    options = (("alpha", (0.25, 0.9, -1)), ("gamma", (2, 0.5, 1.0, 3)))
    return shapes, attrs | {name: draw(st.sampled_from(values)) for name, values in options}


def focal(F, x, target, alpha, gamma, reduction):
    """What torchvision's function computes."""
    p = torch.sigmoid(x)
    p_t = p * target + (1 - p) * (1 - target)
    loss = F.binary_cross_entropy_with_logits(x, target, reduction="none") * (1 - p_t) ** gamma
    if alpha >= 0:
        loss = loss * (alpha * target + (1 - alpha) * (1 - target))
    return loss if reduction == "none" else getattr(loss, reduction)()


@st.composite
def regions(draw):
    pixels = draw(st.sampled_from(((), (4,), (2, 3), (2, 1, 2))))
    shape = (draw(st.integers(1, 3)), draw(st.integers(1, 4)), *pixels)
    attrs = {
        "smooth": draw(st.sampled_from((1.0, 0.1))),
        "reduction": draw(st.sampled_from(("mean", "sum", "none"))),
        "activation": draw(st.sampled_from((None, "sigmoid", "softmax"))),
    }
    return {"x": shape, "target": shape}, attrs


def overlap(F, x, target, smooth, reduction, activation):
    p = x if activation is None else x.sigmoid() if activation == "sigmoid" else x.softmax(1)
    p, target = (a.reshape(*a.shape[:2], -1) for a in (p, target))
    dice = (2 * (p * target).sum(2) + smooth) / ((p**2).sum(2) + (target**2).sum(2) + smooth)
    return 1 - dice if reduction == "none" else getattr(1 - dice, reduction)()


@st.composite
def directions(draw):
    shape = draw(st.lists(st.sampled_from((1, 2, 3, 6)), min_size=1, max_size=3))
    dim = draw(st.integers(-len(shape), len(shape) - 1))
    shape[dim] += 1  # a single number has no direction that could change
    other = [n if k == dim % len(shape) or draw(st.booleans()) else 1 for k, n in enumerate(shape)]
    return {"a": tuple(shape), "b": tuple(other)}, {"dim": dim}


@st.composite
def embeddings(draw):
    N, K = draw(st.integers(1, 4)), draw(st.integers(2, 6))
    shape = draw(st.sampled_from(((N, K), (K,))))
    attrs = {
        "margin": draw(st.sampled_from((0, 0.3, -0.5))),
        "reduction": draw(st.sampled_from(("mean", "sum", "none"))),
    }
    return {"a": shape, "b": shape, "target": shape[:-1]}, attrs


def alike_or_not(name, shape, rng):
    return rng.choice((-1.0, 1.0), shape) if name == "target" else rng.standard_normal(shape)


def climbed(*names):
    """The ladders of a loss and its gradients."""
    tables = (distances.LOSS, distances.BY_INPUT, distances.BY_TARGET)
    return tuple(table[name] for name in names for table in tables if name in table)


DISTANCE_LENGTH = 64  # roundings of a logarithm, a quotient and what the input's own error makes


def terms(shapes, attrs):
    """The longest sum: over all numbers, if it is taken."""
    numbers = math.prod(next(iter(shapes.values())))
    return DISTANCE_LENGTH + (0 if attrs.get("reduction") == "none" else numbers)


DISTANCES = [
    *(
        Case(
            name,
            lambda F, x, target, name=name, **attrs: getattr(F, name)(x, target, **attrs),
            problems,
            terms,
            climbed(*ladders),
            oracle=divergence if name == "kl_div" else None,
            values=values,
        )
        for name, problems, values, *ladders in (
            ("mse_loss", pairs(), around_kinks, "mse_loss"),
            ("l1_loss", pairs(), apart, "l1_loss"),
            ("smooth_l1_loss", pairs((("beta", (1.0, 0.0, 0.3, 5)),)), apart, "smooth_l1_loss"),
            ("huber_loss", pairs((("delta", (1.0, 0.3, 5)),)), around_kinks, "huber_loss"),
            (
                "kl_div",
                pairs((("log_target", (False, True)),), ("mean", "sum", "none", "batchmean")),
                probabilities,
                "kl_div",
                "kl_div_log",
            ),
        )
    ),
    Case(
        "binary_cross_entropy",
        lambda F, x, target, w, **attrs: F.binary_cross_entropy(x, target, weight=w, **attrs),
        weighted_pairs(("w",)),
        terms,
        climbed("binary_cross_entropy"),
        values=probabilities,
        constants=("w",),
    ),
    Case(
        "binary_cross_entropy_with_logits",
        lambda F, x, target, w, p, **attrs: F.binary_cross_entropy_with_logits(
            x, target, weight=w, pos_weight=p, **attrs
        ),
        weighted_pairs(("w", "p")),
        terms,
        climbed("binary_cross_entropy_with_logits"),
        values=scores_and_answers,
        constants=("w", "p"),
    ),
    *(
        Case(
            name,
            function,
            problems,
            terms,
            climbed(*ladders),
            oracle=oracle,
            values=values,
            constants=constants,
        )
        for name, function, problems, oracle, values, constants, *ladders in (
            ("mse_loss.weight", weighted_all, counted(), None, counts, ()),
            (
                "sigmoid_focal_loss",
                lambda F, x, target, **attrs: F.sigmoid_focal_loss(x, target, **attrs),
                focused(),
                focal,
                scores_and_answers,
                (),
                "sigmoid_focal_loss",
            ),
            (
                "dice_loss",
                lambda F, x, target, **attrs: F.dice_loss(x, target, **attrs),
                regions(),
                overlap,
                probabilities,
                (),
            ),
            (
                "cosine_similarity",
                lambda F, a, b, **attrs: F.cosine_similarity(a, b, **attrs),
                directions(),
                None,
                None,
                (),
            ),
            (
                "cosine_embedding_loss",
                lambda F, *tensors, **attrs: F.cosine_embedding_loss(*tensors, **attrs),
                embeddings(),
                None,
                alike_or_not,
                ("target",),
            ),
        )
    ),
]
