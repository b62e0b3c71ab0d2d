"""Batch norm and other factors and shifts of channels, folded into the weights beside them.

A convolution is linear, so that a factor s and a shift t of each channel, behind it or before it,
are a convolution again:

    s·(w ⋆ x + b) + t      =  (s·w) ⋆ x + (s·b + t)
    w ⋆ (s·x + t) + b      =  (w·s) ⋆ x + (b + Σ_{c,u,v} w·t)       if no padding reads zeros: t ≠ 0

The new weights are computed in float64, and rounded once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np

from ...ops.conv2d import CONV2D, conv2d_shape
from ...ops.depthwise_conv2d import DEPTHWISE_CONV2D
from ..ir import Array, Graph, Node
from .rewrite import Rewrite

WINDOWS = ("conv2d", "depthwise_conv2d")
TRANSPOSED = ("conv_transpose2d", "depthwise_conv_transpose2d")


class Affine(NamedTuple):
    """y[:, c] = scale[c]·x[:, c] + shift[c], in float64."""

    x: int
    scale: Array
    shift: Array


def fold_batch_norm(graph: Graph) -> Graph:
    """conv → norm and norm → conv become one convolution; a norm alone a 1×1 depthwise one.

    For the norm, s = γ/√(σ² + ε) and t = β − s·μ; +, −, · and / by a constant for each channel, and
    linear layers and transposed convolutions in place of the convolution, count too.
    """
    rewrite = Rewrite(graph)
    fold_all(rewrite, rewrite.walk(), behind_weights)
    fold_all(rewrite, reversed(list(rewrite.walk())), before_weights)  # the nearest one first
    fold_all(rewrite, rewrite.walk(), behind_weights, alone)
    return rewrite.graph()


def fold_all(rewrite: Rewrite, nodes: Iterable[Node], *places: Callable[..., bool]) -> None:
    """Each node that is a factor and a shift goes to the first of these places that takes it."""
    for node in nodes:
        affine = affine_of(rewrite, node)
        if affine is not None:
            any(place(rewrite, node, affine) for place in places)


def affine_of(rewrite: Rewrite, node: Node) -> Affine | None:
    """What a node does to the channels, if it is a factor and a shift of each."""
    name, inputs = node.op.name, node.inputs
    if rewrite.dtypes[node.output].kind != "f" or len(rewrite.shapes[node.output]) < 2:
        return None
    C = rewrite.shapes[node.output][1]
    if name == "batch_norm":
        x, w, b, mean, var = inputs
        if x is None or mean is None or var is None or not rewrite.known(w, b, mean, var):
            return None
        gamma, beta, mu, sigma2 = map(rewrite.array, (w, b, mean, var))
        assert mu is not None
        assert sigma2 is not None
        return Affine(x, *scale_and_shift(gamma, beta, mu, sigma2, node.attrs["eps"]))
    if name not in ("add", "sub", "mul", "div"):
        return None
    first = rewrite.known(inputs[1])  # which of the two is not constant
    x, constant = inputs if first else inputs[::-1]
    if x is None or rewrite.known(x) or rewrite.shapes[x] != rewrite.shapes[node.output]:
        return None
    k = per_channel(rewrite.array(constant), rewrite.shapes[x])
    if k is None or (name == "div" and not first):
        return None
    one, zero = np.ones(C), np.zeros(C)
    with np.errstate(all="ignore"):
        if name == "add":
            return Affine(x, one, k)
        if name == "sub":
            return Affine(x, one, -k) if first else Affine(x, -one, k)
        return Affine(x, k if name == "mul" else 1 / k, zero)


def scale_and_shift(
    gamma: Array | None, beta: Array | None, mu: Array, sigma2: Array, eps: float
) -> tuple[Array, Array]:
    """γ/√(σ² + ε) and β − scale·μ, in float64: all that a norm does to a channel."""
    with np.errstate(all="ignore"):  # a negative variance gives NaN in eager too
        scale = 1 / np.sqrt(sigma2.astype(np.float64) + eps)
        scale = scale if gamma is None else gamma * scale
        return scale, (0 if beta is None else beta) - scale * mu


def wide(array: Array | None) -> Array | None:
    return None if array is None else array.astype(np.float64)


def per_channel(array: Array | None, shape: tuple[int, ...]) -> Array | None:
    """A constant that meets x of this shape as a number for each channel, (C,); else None."""
    if array is None or array.ndim > len(shape):
        return None
    lengths = (1,) * (len(shape) - array.ndim) + array.shape
    if any(length != 1 for k, length in enumerate(lengths) if k != 1):
        return None
    return np.broadcast_to(array.reshape(-1), shape[1:2]).astype(np.float64)


# --------------------------------------------------------------------------- the three places


def behind_weights(rewrite: Rewrite, node: Node, affine: Affine) -> bool:
    """Fold into what computed x, if only this node reads that."""
    layer = rewrite.only_source(affine.x, *WINDOWS, *TRANSPOSED, "linear")
    if layer is None or not rewrite.known(*layer.inputs[1:]):
        return False
    x, weight, bias = layer.inputs
    w, b = rewrite.array(weight), wide(rewrite.array(bias))
    assert w is not None
    s, t = affine.scale, affine.shift
    if layer.op.name in TRANSPOSED:  # w (C, O/G, KH, KW) has the output's channels in axis 1
        factors = by_group(s, w, layer.attrs["geo"].G)
    else:
        factors = s.reshape(-1, *(1,) * (w.ndim - 1))
    shifted = t if b is None else s * b + t
    shifted = None if b is None and not t.any() else shifted
    fold_into(rewrite, layer, node, x, times(w, factors), shifted)
    return True


def times(w: Array, factors: Array) -> Array:
    """w·factors, computed in float64 piece by piece, rounded once."""
    with np.errstate(all="ignore"):
        return np.multiply(w, factors, out=np.empty_like(w), casting="same_kind")


def before_weights(rewrite: Rewrite, node: Node, affine: Affine) -> bool:
    """Fold into what alone reads y."""
    layer = rewrite.only_reader(node.output)
    if layer is None or layer.op.name not in (*WINDOWS, "linear"):
        return False
    if layer.inputs[0] != node.output or not rewrite.known(*layer.inputs[1:]):
        return False
    geo = layer.attrs.get("geo")
    if geo is not None and (geo.pt or geo.pb or geo.pl or geo.pr) and affine.shift.any():
        return False
    w, b = rewrite.array(layer.inputs[1]), wide(rewrite.array(layer.inputs[2]))
    assert w is not None
    s, t = (by_group(k, w, 1 if geo is None else geo.G) for k in (affine.scale, affine.shift))
    shift = (w * t).sum(axis=tuple(range(1, w.ndim)))
    shifted = None if b is None and not shift.any() else shift if b is None else b + shift
    fold_into(rewrite, node, layer, affine.x, times(w, s), shifted)
    return True


def by_group(k: Array, w: Array, groups: int) -> Array:
    """k for each of the channels that axis 1 of w has, those of a group at a time.

    Axis 0 of w (O, C/G, …) has the groups one behind the other; k (C,) becomes (O, C/G, 1, …).
    """
    grouped = k.reshape(groups, -1).repeat(w.shape[0] // groups, axis=0)
    return grouped.reshape(*grouped.shape, *(1,) * (w.ndim - 2))


def fold_into(
    rewrite: Rewrite, first: Node, last: Node, x: int | None, w: Array, b: Array | None
) -> None:
    """The two nodes become the one with weights, in the place of the second."""
    layer = first if first.op.name in (*WINDOWS, *TRANSPOSED, "linear") else last
    weight = rewrite.constant(w)
    bias = None if b is None else rewrite.constant(b.astype(w.dtype))
    rewrite.put(layer, inputs=(x, weight, bias), output=last.output)
    rewrite.drop(first)


def alone(rewrite: Rewrite, node: Node, affine: Affine) -> bool:
    """The norm as a convolution of each channel with one tap."""
    shape, dtype = rewrite.shapes[affine.x], rewrite.dtypes[affine.x]
    if node.op.name != "batch_norm" or len(shape) != 4 or 0 in shape:
        return False
    C = shape[1]
    geo = conv2d_shape(shape, (C, 1, 1, 1), groups=C)
    w = rewrite.constant(affine.scale.astype(dtype).reshape(C, 1, 1, 1))
    b = rewrite.constant(affine.shift.astype(dtype))
    op = DEPTHWISE_CONV2D if C > 1 else CONV2D
    rewrite.put(node, op=op, inputs=(affine.x, w, b), attrs={"geo": geo})
    return True
