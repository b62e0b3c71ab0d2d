"""How far a float32 run of a graph may be from the exact result: a running error analysis.

Every value of the graph is computed in float64, and with it

    R       the same op on absolute values: what all terms of its sum amount to before they cancel
    size    R where it begins anew: a convolution's sum is a number, whatever its terms were
    error   how far any run in precision ε may be from the value

    sums      error' = Σ|w|·error + 2·K·ε·R'      K terms, in any order, each rounded twice
    f(x)      error' = L·error + 8·ε·(|x| + 1)    L the largest slope of f
    places    error' = error, rearranged

R goes through what is affine (batch norm, scales, sums), since a pass may have put these into the
weights of the convolution beside them; a convolution reads `size`. Winograd's R is its own
(ops/winograd.py).
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

import numpy as np

import nanoconv as nc
from nanoconv.graph import Graph
from nanoconv.graph.ir import Node, leaves
from nanoconv.ops.winograd import winograd_bound

Array = np.ndarray
EPS = float(np.finfo(np.float32).eps)
TINY = float(np.finfo(np.float32).tiny)

# The largest slopes.
SLOPES = {
    "relu": 1, "relu6": 1, "leaky_relu": 1, "hardtanh": 1, "clamp": 1, "hardsigmoid": 1,
    "hardswish": 1.5, "sigmoid": 1, "silu": 1.1, "tanh": 1, "elu": 1, "selu": 1.8, "gelu": 1.13,
    "mish": 1.1, "softplus": 1, "abs": 1, "neg": 1,
}  # fmt: skip
PLACES = (
    "reshape", "flatten", "squeeze", "unsqueeze", "permute", "cat", "channel_shuffle", "flip",
    "roll", "getitem", "pad", "index_select", "clone", "contiguous", "expand", "max_pool2d",
    "adaptive_max_pool2d",
)  # fmt: skip


@dataclass(frozen=True)
class Rounded:
    """A value, and what is known of its rounding."""

    value: Array
    R: Array
    size: Array
    error: Array


def constant(array: Array) -> Rounded:
    array = array.astype(np.float64) if array.dtype.kind == "f" else array
    return Rounded(array, np.abs(array), np.abs(array), np.zeros(array.shape))


def finished(value: Array, error: Array, R: Array | None = None) -> Rounded:
    """What a following sum cannot look into."""
    error = error + TINY  # numbers below are not rounded to ε of them
    size = np.abs(value) + error
    return Rounded(value, size if R is None else np.maximum(R, size), size, error)


def analysed(graph: Graph, *arrays: Array, tiles: Collection[int] = ()) -> dict[int, Rounded]:
    """All values of a graph for these inputs; `tiles`: the sizes of Winograd tiles in use."""
    known = {k: constant(a) for k, a in graph.constants.items()}
    known |= {k: constant(a) for k, a in zip(graph.inputs, arrays, strict=True)}
    with nc.use("numpy"):
        for node in graph.nodes:
            known[node.output] = step(node, [None if k is None else known[k] for k in node.inputs],
                                      tiles)  # fmt: skip
    return known


def outputs(graph: Graph, *arrays: Array, tiles: Collection[int] = ()) -> list[Rounded]:
    """Those of the results, from left to right."""
    known = analysed(graph, *arrays, tiles=tiles)
    return [known[k] for k in leaves(graph.outputs)]


def step(node: Node, inputs: list[Rounded | None], tiles: Collection[int]) -> Rounded:
    name = node.op.name
    if name in RULES:
        return RULES[name](node, inputs, tiles)
    x = inputs[0]
    assert x is not None
    if name in PLACES:
        # Positions, as those of index_select, are integers: they stay what they are.
        def placed(which: str) -> Array:
            return node.forward(*(
                None if i is None else getattr(i, which) if i.value.dtype.kind == "f" else i.value
                for i in inputs
            ))  # fmt: skip

        return Rounded(*map(placed, ("value", "R", "size", "error")))
    slope = SLOPES[
        name
    ]  # of the numbers that are beside x, as bounds of a clamp, none has an error
    value = node.forward(*(None if i is None else i.value for i in inputs))
    return finished(value, slope * x.error + 8 * EPS * (np.abs(x.value) + 1))


def summed(node: Node, inputs: list[Rounded | None], tiles: Collection[int]) -> Rounded:
    """Convolutions and linear layers."""
    x, w, b = inputs
    assert x is not None
    assert w is not None
    value = node.forward(*(None if i is None else i.value for i in inputs))
    bias = None if b is None else b.R
    R = node.forward(x.size, w.R, bias)
    error = node.forward(x.error, w.R, None)
    geo = node.attrs.get("geo")
    K = geo.C // geo.G * geo.KH * geo.KW if geo else w.value.shape[1]
    if node.op.name == "conv2d" and (geo.KH, geo.KW, geo.sh, geo.sw, geo.dh, geo.dw, geo.G) == (
        3, 3, 1, 1, 1, 1, 1,
    ):  # fmt: skip
        for m in tiles:
            R = np.maximum(R, winograd_bound(x.size, w.R, bias, geo, m))
    return finished(value, error + 2 * (K + 4) * EPS * R, R)


def averaged(node: Node, inputs: list[Rounded | None], tiles: Collection[int]) -> Rounded:
    """Means and interpolations: sums with weights that are positive."""
    (x,) = inputs
    assert x is not None
    value, R, error = (node.forward(a) for a in (x.value, x.size, x.error))
    K = x.value.shape[2] * x.value.shape[3]
    return finished(value, error + 2 * (K + 4) * EPS * R, R)


def normed(node: Node, inputs: list[Rounded | None], tiles: Collection[int]) -> Rounded:
    x, w, b, mean, var = inputs
    assert x is not None
    assert mean is not None
    assert var is not None
    value = node.forward(*(None if i is None else i.value for i in inputs))
    scale = 1 / np.sqrt(var.value + node.attrs["eps"]) * (1 if w is None else w.R)
    each = (-1, *(1,) * (x.value.ndim - 2))
    scale, shift = scale.reshape(each), mean.R.reshape(each)
    beta = 0 if b is None else b.R.reshape(each)
    R, size = scale * (x.R + shift) + beta, scale * (x.size + shift) + beta
    return Rounded(value, R, size, scale * x.error + 16 * EPS * R + TINY)


def added(node: Node, inputs: list[Rounded | None], tiles: Collection[int]) -> Rounded:
    a, b = inputs
    assert a is not None
    assert b is not None
    value, R, size = node.forward(a.value, b.value), a.R + b.R, a.size + b.size
    return Rounded(value, R, size, a.error + b.error + 4 * EPS * R + TINY)


def multiplied(node: Node, inputs: list[Rounded | None], tiles: Collection[int]) -> Rounded:
    a, b = inputs
    assert a is not None
    assert b is not None
    R, size = a.R * b.R, a.size * b.size
    error = np.abs(a.value) * b.error + np.abs(b.value) * a.error + a.error * b.error
    return Rounded(a.value * b.value, R, size, error + 4 * EPS * R + TINY)


def divided(node: Node, inputs: list[Rounded | None], tiles: Collection[int]) -> Rounded:
    a, b = inputs
    assert a is not None
    assert b is not None
    value, least = a.value / b.value, np.abs(b.value) - b.error
    R, size = a.R / least, a.size / least
    return Rounded(value, R, size, (a.error + np.abs(value) * b.error) / least + 4 * EPS * R + TINY)


def chosen(node: Node, inputs: list[Rounded | None], tiles: Collection[int]) -> Rounded:
    """The larger or the smaller of two."""
    a, b = inputs
    assert a is not None
    assert b is not None
    return finished(node.forward(a.value, b.value), np.maximum(a.error, b.error))


def softmax(node: Node, inputs: list[Rounded | None], tiles: Collection[int]) -> Rounded:
    (x,) = inputs
    assert x is not None
    value, dim = node.forward(x.value), node.attrs["dim"]
    C = x.value.shape[dim]
    apart = x.value.max(dim, keepdims=True) - x.value
    moved = 2 * x.error.max(dim, keepdims=True) + EPS * (C + 8) * (1 + apart)
    factor = np.abs(value) * np.expm1(np.minimum(moved, 1)) if node.op.name == "softmax" else moved
    return finished(value, 2 * factor + 4 * EPS * np.abs(value))


Rule = Callable[[Node, "list[Rounded | None]", Collection[int]], Rounded]
RULES: dict[str, Rule] = {
    **dict.fromkeys(("conv2d", "depthwise_conv2d", "linear"), summed),
    **dict.fromkeys(("avg_pool2d", "adaptive_avg_pool2d", "mean", "interpolate"), averaged),
    **dict.fromkeys(("add", "sub"), added),
    **dict.fromkeys(("softmax", "log_softmax"), softmax),
    **dict.fromkeys(("maximum", "minimum"), chosen),
    "batch_norm": normed, "mul": multiplied, "div": divided,
}  # fmt: skip


def assert_near(results: list[Array], truth: list[Rounded], what: str) -> float:
    """Within the bound everywhere; returns the largest share of it that was needed."""
    worst = 0.0
    assert len(results) == len(truth), what
    for n, (y, expected) in enumerate(zip(results, truth, strict=True)):
        assert y.shape == expected.value.shape, f"{what}, output {n}: {y.shape}"
        assert y.dtype == np.float32, f"{what}, output {n}: {y.dtype}"
        apart = np.abs(y.astype(np.float64) - expected.value)
        share = apart / np.maximum(expected.error, TINY)  # of what is exact nothing may be missing
        bad = ~(share <= 1)
        assert not bad.any(), (
            f"{what}, output {n}, differs in {bad.sum()} of {bad.size} places; the first, "
            f"{tuple(map(int, np.argwhere(bad)[0]))}: got {y[bad][0]}, expected "
            f"{expected.value[bad][0]} ± {expected.error[bad][0]:.2e}"
        )
        worst = max(worst, float(share.max(initial=0)))
    return worst


def looseness(truth: list[Rounded]) -> float:
    """The bound as a share of the numbers that it is for; near 1 it would mean nothing."""
    return max(float(np.mean(t.error)) / max(float(np.mean(t.size)), TINY) for t in truth)
