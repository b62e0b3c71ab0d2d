"""The ops that are no convolution: which step computes them, or which view they are."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..graph.ir import Node
from ..ops.geometry import Geometry
from ..ops.interpolate import taps_of
from .convolutions import window
from .layout import View, concatenated
from .plan import Lowering, UnsupportedError, activation, lowers
from .steps import Draft, Packed

Array = np.ndarray

# --------------------------------------------------------------------------- views


@lowers("channels")
def channels(low: Lowering, node: Node) -> None:
    """No step, if those who read it can take channels from anywhere, or if the parts can be
    written side by side from the start."""
    views = [low.view(k) for k in node.inputs]
    forms = {(view.buffer.H, view.buffer.W, *view.window()) for view in views}
    if len(forms) > 1 or any(v.buffer.shape.frozen for v in views):
        views = [low.copied(view) for view in views]
    index = list(node.attrs["index"])
    if -1 in index:  # a channel of zeros
        zeros = low.zeros(views[0].H, views[0].W)
        views = [*(low.copied(v) if v.strided else v for v in views), zeros]
        index = [k if k >= 0 else sum(view.C for view in views) - 1 for k in index]
    whole = sum(view.C for view in views)
    slices = all(slice_of_its_own(low, v, v is views[-1]) for v in views) and distinct(views)
    if index == list(range(whole)) and slices:
        low.views[node.output] = side_by_side(low, views)
        return
    low.views[node.output] = concatenated(views).channels(index)


def slice_of_its_own(low: Lowering, view: View, last: bool = False) -> bool:
    """True if what computes this view can write it into a wider image."""
    return (
        view.whole()
        and view.buffer.parent is None
        and view.buffer.region[0] == "arena"
        and (last or view.C % low.machine.lanes == 0)
    )


def distinct(views: list[View]) -> bool:
    buffers = [view.buffer for view in views]
    return len(set(map(id, buffers))) == len(buffers)


def side_by_side(low: Lowering, views: list[View]) -> View:
    y = low.new(sum(view.C for view in views), views[0].H, views[0].W)
    channel = 0
    for view in views:
        view.buffer.place_in(y.buffer, channel)
        channel += view.C
    return y


@lowers("flatten", "reshape", "squeeze", "unsqueeze")
def reshape(low: Lowering, node: Node) -> None:
    """Of one pixel, the same view; of more, planes one behind the other."""
    (k,) = node.inputs
    C, H, W = low.sizes(node.output)
    x = low.view(k)
    if low.sizes(k) == (C, H, W) or (x.H * x.W == 1 and C == x.C):
        low.views[node.output] = x
    elif H * W == 1:
        y = low.new(C, 1, 1)
        why = "channels first, as NCHW is"
        low.set(node, Draft("image_to_planes", low.image(k), y, why=why))
    else:
        raise UnsupportedError(node, f"makes an image {[C, H, W]} of another")


@lowers("getitem")
def getitem(low: Lowering, node: Node) -> None:
    """Rows and columns at regular distances: a view."""
    index = node.attrs["index"]
    x = low.view(node.inputs[0])
    parts = list(index.views)
    if index.arrays or len(low.graph.shapes[node.output]) != 4:
        raise UnsupportedError(node, "picks single elements")
    if ... in parts:
        at = parts.index(...)
        parts[at : at + 1] = [slice(None)] * (5 - len(parts))
    if any(not isinstance(part, slice) for part in parts):
        raise UnsupportedError(node, "picks single elements")
    C, H, W = low.sizes(node.inputs[0])
    n, c, h, w = (part.indices(size) for part, size in zip(parts, (1, C, H, W), strict=True))
    if n != (0, 1, 1) or h[2] < 1 or w[2] < 1 or x.buffer.shape.frozen:
        raise UnsupportedError(node, "picks images, or goes backwards")
    some = x.channels(list(range(*c)))
    OC, OH, OW = low.sizes(node.output)
    if OC * OH * OW == 0:
        raise UnsupportedError(node, "picks nothing")
    low.views[node.output] = View(
        some.runs, OH, OW, x.h0 + h[0] * x.sh, x.w0 + w[0] * x.sw, x.sh * h[2], x.sw * w[2]
    )


# --------------------------------------------------------------------------- arithmetic

BINARY = {"add": "add", "add_act": "add", "sub": "sub", "mul": "mul", "div": "div",
          "maximum": "max", "minimum": "min"}  # fmt: skip
BESIDE = {"add": "shift", "add_act": "shift", "mul": "scale"}  # one pixel for all


@lowers(*BINARY)
def binary(low: Lowering, node: Node) -> None:
    a, b = node.inputs[:2]
    name = node.op.name
    for one, other in ((a, b), (b, a)):
        constant = low.constant(other)
        if (constant is not None and name in ("add", "mul", "add_act")) or (
            constant is not None and other == b and name in ("sub", "div")
        ):
            return affine(low, node, one, constant)
    shape = low.sizes(node.output)
    if len({len(low.graph.shapes[k]) for k in (a, b) if k is not None}) > 1:
        raise UnsupportedError(node, "operands of different rank")  # (1, C) is a row of columns
    x, r = low.image(a), low.image(b)
    kernel = BINARY[name]
    if (x.C, x.H, x.W) != (r.C, r.H, r.W):
        if name in BESIDE and (x.H, x.W) == (1, 1):
            x, r = r, x
        if name not in BESIDE or (r.H, r.W) != (1, 1) or shape != (x.C, x.H, x.W) or r.C != x.C:
            raise UnsupportedError(node, "operands of these shapes")
        kernel = BESIDE[name]
    draft = Draft(kernel, x, low.new(*shape), r, act=activation(node.attrs))
    draft.why = "one pixel for all" if kernel in ("scale", "shift") else "memory is read once"
    low.set(node, draft)


def affine(low: Lowering, node: Node, k: int | None, constant: Array) -> None:
    """x·w[c] + b[c] for a constant operand that has one number for each channel, or one for all."""
    C, H, W = low.sizes(node.output)
    assert k is not None
    if low.sizes(k) != (C, H, W):
        raise UnsupportedError(node, "a constant of this shape")
    ndim = len(low.graph.shapes[node.output])
    full = constant.reshape((1,) * (ndim - constant.ndim) + constant.shape)
    if full.shape[1] not in (1, C) or full.size != full.shape[1]:
        raise UnsupportedError(node, "a constant that differs from pixel to pixel")
    each = np.broadcast_to(full.ravel(), C).astype(np.float32)
    ones, zeros = np.ones(C, np.float32), np.zeros(C, np.float32)
    w, b = {
        "add": (ones, each), "add_act": (ones, each), "sub": (ones, -each), "mul": (each, zeros),
        "div": (each, zeros),
    }[node.op.name]  # fmt: skip
    if node.op.name == "div":
        raise UnsupportedError(
            node, "a quotient by a constant"
        )  # 1/c is rounded: not the same bits
    scale_and_shift(low, node, k, w, b, "a number for each channel")


def scale_and_shift(low: Lowering, node: Node, k: int | None, w: Array, b: Array, why: str) -> None:
    """The step x·w[c] + b[c]."""
    C, H, W = low.sizes(node.output)
    floats = low.machine.whole(C)
    draft = Draft("affine", low.image(k), low.new(C, H, W), act=activation(node.attrs), why=why)
    draft.w = lambda: Packed(floats, lambda: padded(w, floats))
    draft.b = Packed(floats, lambda: padded(b, floats))
    low.set(node, draft)


@lowers("batch_norm")
def batch_norm(low: Lowering, node: Node) -> None:
    """A norm that no pass has folded into weights: two numbers for each channel."""
    from ..graph.passes.fold import scale_and_shift as of_norm

    x, *numbers = node.inputs
    gamma, beta, mu, sigma2 = map(low.constant, numbers)
    known = all(k is None or k in low.graph.constants for k in numbers)
    if mu is None or sigma2 is None or not known:
        raise UnsupportedError(node, "its statistics or weights are computed")
    scale, shift = of_norm(gamma, beta, mu, sigma2, node.attrs["eps"])
    w, b = scale.astype(np.float32), shift.astype(np.float32)
    scale_and_shift(low, node, x, w, b, "a norm: two numbers for each channel")


def padded(vector: Array, floats: int) -> Array:
    return np.pad(vector, (0, floats - len(vector)))


# --------------------------------------------------------------------------- activations

FUNCTIONS = [
    "relu", "relu6", "leaky_relu", "hardsigmoid", "hardswish", "hardtanh", "threshold",
    "hardshrink", "softshrink", "sigmoid", "tanh", "silu", "elu", "selu", "celu", "gelu",
    "gelu_tanh", "mish", "softplus", "softsign", "logsigmoid", "tanhshrink",
    "exp", "log", "sqrt", "abs",
]  # fmt: skip
"""The functions of map_steps.h, in its order."""


@lowers(*FUNCTIONS)
def function(low: Lowering, node: Node) -> None:
    C, H, W = low.sizes(node.output)
    numbers = [float(value) for value in node.attrs.values() if value is not None]
    if len(numbers) > 2:
        raise UnsupportedError(node, "has more than two numbers as attributes")
    draft = Draft("map", low.image(node.inputs[0]), low.new(C, H, W))
    draft.number = FUNCTIONS.index(node.op.name)
    first, second = (*numbers, 0.0, 0.0)[:2]
    draft.act = (node.op.name, first, second)
    draft.why = "an activation that follows no sum"
    low.set(node, draft)


@lowers("softmax", "log_softmax")
def softmax(low: Lowering, node: Node) -> None:
    if node.attrs.get("dim", node.attrs.get("axis")) not in (
        1,
        1 - len(low.graph.shapes[node.output]),
    ):
        raise UnsupportedError(node, "is not over the channels")
    C, H, W = low.sizes(node.output)
    draft = Draft(node.op.name, low.image(node.inputs[0]), low.new(C, H, W))
    draft.why = "over the channels of each pixel"
    low.set(node, draft)


# --------------------------------------------------------------------------- other sizes


@lowers("interpolate")
def interpolate(low: Lowering, node: Node) -> None:
    """Every row has the same number of taps, so have the columns."""
    x = np.broadcast_to(np.float32(0), low.graph.shapes[node.inputs[0] or 0])
    axes = taps_of(x, **node.attrs)
    KH, KW = (len(taps.index) // taps.rows for taps in axes)
    draft = Draft("resize", low.image(node.inputs[0]), low.new(*low.sizes(node.output)))
    draft.window = (KH, KW, 1, 1, 0, 0, 1, 1, 1)
    draft.gather = lambda: np.concatenate([taps.index for taps in axes]).astype(np.int32)
    weights = np.concatenate([taps.weight for taps in axes]).astype(np.float32)
    draft.w = lambda: Packed(weights.size, lambda: weights)
    draft.why = f"{KH}×{KW} taps"
    low.set(node, draft)


# --------------------------------------------------------------------------- pooling


@lowers("max_pool2d")
def max_pool2d(low: Lowering, node: Node) -> None:
    geo: Geometry = node.attrs["geo"]
    if node.attrs.get("indices"):
        raise UnsupportedError(node, "gives the places of maxima, too")
    draft = Draft("max_pool", low.pixels(node.inputs[0]), low.new(geo.C, geo.OH, geo.OW))
    draft.window = window(geo)
    draft.why = f"{geo.KH}×{geo.KW}/{geo.sh}, the taps inside of the image"
    low.set(node, draft)


def mean_of_windows(
    low: Lowering, node: Node, rows: Array, cols: Array, scale: Array, why: str
) -> None:
    C, H, W = low.sizes(node.output)
    draft = Draft("window_mean", low.pixels(node.inputs[0]), low.new(C, H, W), why=why)
    draft.gather = lambda: np.concatenate([rows.ravel(), cols.ravel()]).astype(np.int32)
    draft.w = lambda: Packed(H * W, lambda: np.asarray(scale, np.float32))
    low.set(node, draft)


@lowers("avg_pool2d")
def avg_pool2d(low: Lowering, node: Node) -> None:
    geo: Geometry = node.attrs["geo"]
    rows = spans(geo.OH, geo.sh, geo.pt, geo.KH, geo.H)
    cols = spans(geo.OW, geo.sw, geo.pl, geo.KW, geo.W)
    if node.attrs["divisor_override"]:
        area: Any = np.full((geo.OH, geo.OW), node.attrs["divisor_override"])
    elif node.attrs["count_include_pad"]:
        tall = spans(geo.OH, geo.sh, geo.pt, geo.KH, geo.H + geo.pb, -geo.pt)
        wide = spans(geo.OW, geo.sw, geo.pl, geo.KW, geo.W + geo.pr, -geo.pl)
        area = np.outer(tall[:, 1] - tall[:, 0], wide[:, 1] - wide[:, 0])
    else:
        area = np.outer(rows[:, 1] - rows[:, 0], cols[:, 1] - cols[:, 0])
    mean_of_windows(low, node, rows, cols, 1 / area, f"{geo.KH}×{geo.KW}/{geo.sh}")


def spans(count: int, step: int, pad: int, kernel: int, end: int, begin: int = 0) -> Array:
    """(count, 2): where each window begins and ends, cut to begin … end."""
    start = np.arange(count) * step - pad
    return np.stack([np.maximum(start, begin), np.minimum(start + kernel, end)], 1)


@lowers("adaptive_avg_pool2d")
def adaptive_avg_pool2d(low: Lowering, node: Node) -> None:
    cells = node.attrs["cells"]
    x = low.image(node.inputs[0])
    if len(cells.rows) == len(cells.cols) == 1:
        global_pool(low, node, x)
    else:
        mean_of_windows(low, node, cells.rows, cells.cols, 1 / cells.area, "cells of the image")


@lowers("adaptive_max_pool2d")
def adaptive_max_pool2d(low: Lowering, node: Node) -> None:
    cells = node.attrs["cells"]
    if node.attrs["indices"]:
        raise UnsupportedError(node, "gives the places of maxima, too")
    draft = Draft("window_max", low.pixels(node.inputs[0]), low.new(*low.sizes(node.output)))
    draft.gather = lambda: np.concatenate([cells.rows.ravel(), cells.cols.ravel()]).astype(np.int32)
    draft.why = "cells of the image"
    low.set(node, draft)


@lowers("mean")
def mean(low: Lowering, node: Node) -> None:
    """Over all pixels: what global pooling is."""
    axes = node.attrs.get("axis", node.attrs.get("dim"))
    wanted = {2, 3}
    shape = low.graph.shapes[node.inputs[0] or 0]
    if len(shape) != 4 or axes is None or {a % 4 for a in np.atleast_1d(axes)} != wanted:
        raise UnsupportedError(node, "is not over all pixels")
    x = low.image(node.inputs[0])
    global_pool(low, node, x)


def global_pool(low: Lowering, node: Node, x: View) -> None:
    draft = Draft("global_pool", x, low.new(x.C, 1, 1), why="the whole image")
    draft.scratch = lambda T: -(-low.machine.whole(x.C) * x.H // T)
    low.set(node, draft)
