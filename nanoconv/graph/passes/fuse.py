"""Sums and activations that happen while a layer writes its output."""

from __future__ import annotations

import math

from ...dispatch import Op
from ...ops.fused import (
    ADD_ACT,
    CONV2D_ACT,
    DEPTHWISE_CONV2D_ACT,
    IDENTITY,
    LINEAR_ACT,
    Activation,
)
from ..ir import Graph, Node
from .rewrite import Rewrite

FUSED: dict[str, Op] = {  # each with what it is with an activation
    "conv2d": CONV2D_ACT,
    "depthwise_conv2d": DEPTHWISE_CONV2D_ACT,
    "linear": LINEAR_ACT,
    "add": ADD_ACT,
}
WITH_RESIDUAL = ("conv2d", "depthwise_conv2d")  # their third input is r
RELU = Activation("clamp", 0.0, math.inf)
PLAIN = ("hardswish", "hardsigmoid", "sigmoid", "silu")


def fuse_residual(graph: Graph) -> Graph:
    """conv(x) + r = conv2d_act(x, r), if nothing else reads the convolution, and the shapes agree.

    If both operands are convolutions, it is the one that is computed last: r is there by then.
    """
    rewrite = Rewrite(graph)
    for node in rewrite.walk():
        if node.op.name != "add" or not same_shapes(rewrite, node):
            continue
        place = {output: n for n, output in enumerate(rewrite.nodes)}
        for k in sorted((0, 1), key=lambda k: place.get(node.inputs[k] or 0, -1), reverse=True):
            conv, r = rewrite.only_source(node.inputs[k], "conv2d"), node.inputs[1 - k]
            if conv is None or r == conv.output:
                continue
            attrs = {**conv.attrs, "activation": IDENTITY}
            inputs, output = (*conv.inputs, r), node.output
            rewrite.put(conv, op=CONV2D_ACT, inputs=inputs, attrs=attrs, output=output)
            rewrite.drop(conv)
            break
    return rewrite.graph()


def same_shapes(rewrite: Rewrite, add: Node) -> bool:
    """A sum of two computed values of one shape."""
    a, b = add.inputs
    if a is None or b is None or a in rewrite.constants or b in rewrite.constants:
        return False
    return rewrite.shapes[a] == rewrite.shapes[b] and rewrite.dtypes[a].kind == "f"


def fuse_activation(graph: Graph) -> Graph:
    """f(layer(x)) = layer_act(x, f), if nothing else reads the layer's output.

    Layers are convolutions, also with a residual, linear ones, and sums of two of equal shape.
    """
    rewrite = Rewrite(graph)
    for node in rewrite.walk():
        f = activation_of(rewrite, node)
        if f is None:
            continue
        layer = rewrite.only_source(node.inputs[0], *FUSED, "conv2d_act")
        if layer is None or (layer.op.name == "add" and not same_shapes(rewrite, layer)):
            continue
        if layer.attrs.get("activation", IDENTITY) != IDENTITY:
            continue
        more = (None,) if layer.op.name in WITH_RESIDUAL else ()
        rewrite.put(
            layer,
            op=FUSED.get(layer.op.name, layer.op),
            inputs=(*layer.inputs, *more),
            attrs={**layer.attrs, "activation": f},
            output=node.output,
        )
        rewrite.drop(layer)
    return rewrite.graph()


def split_activation(graph: Graph) -> Graph:
    """f(cat(a, b)) = cat(f(a), f(b)), if that lets f be fused with what computed a or b.

    Where nothing is below 0, as in the mean of what a relu gave, relu(a) = a.
    """
    rewrite = Rewrite(graph)
    for node in rewrite.walk():
        f = activation_of(rewrite, node)
        cat = None if f is None else rewrite.only_source(node.inputs[0], "cat")
        if cat is None or not any(rewrite.only_source(k, *FUSED, "conv2d_act") for k in cat.inputs):
            continue
        parts = []
        for k in cat.inputs:
            assert k is not None
            parts.append(k)
            if f != RELU or not never_negative(rewrite, k):
                parts[-1] = rewrite.value(k)
                rewrite.put(node, inputs=(k, *node.inputs[1:]), output=parts[-1])
        rewrite.put(cat, inputs=tuple(parts), output=node.output)
        rewrite.drop(cat)
    return rewrite.graph()


def never_negative(rewrite: Rewrite, value: int | None) -> bool:
    """What computed a value shows that no number of it is below 0 (one may be NaN)."""
    node = rewrite.nodes.get(value or 0)
    if node is None:
        return False
    if node.op.name in ("avg_pool2d", "max_pool2d", "cat"):
        positive = (node.attrs.get("divisor_override") or 1) > 0
        return positive and all(never_negative(rewrite, k) for k in node.inputs)
    f = node.attrs.get("activation") or activation_of(rewrite, node)
    return f is not None and f.name == "clamp" and f.low >= 0


def activation_of(rewrite: Rewrite, node: Node) -> Activation | None:
    """The activation that a node is."""
    name = node.op.name
    if name == "relu":
        return RELU
    if name == "relu6":
        return Activation("clamp", 0.0, 6.0)
    if name == "hardtanh":
        return Activation("clamp", node.attrs["low"], node.attrs["high"])
    if name == "leaky_relu":
        return Activation(name, node.attrs["slope"])
    if name == "clamp" and rewrite.known(*node.inputs[1:]):
        low, high = (rewrite.array(k) for k in node.inputs[1:])
        if any(bound is not None and bound.ndim for bound in (low, high)):
            return None
        least = -math.inf if low is None else float(low)
        most = math.inf if high is None else float(high)
        return Activation("clamp", least, most) if least <= most else None
    return Activation(name) if name in PLAIN else None
