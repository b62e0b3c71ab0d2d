"""Passes that leave out what changes no number."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ..ir import Graph, Node
from .rewrite import Rewrite

SAME_SHAPE = ("reshape", "flatten", "squeeze", "unsqueeze", "expand")  # identity where it stays
POOLS = ("max_pool2d", "avg_pool2d")


def drop_identity(graph: Graph) -> Graph:
    """y = x: what only copies (clone, contiguous), and what has nothing to do.

    That is a reshape to the same shape, a permutation that keeps the order of axes, an index that
    takes everything, padding by nothing, pooling by windows of one pixel, ·1 and /1.
    """
    rewrite = Rewrite(graph)
    for node in rewrite.walk():
        if is_identity(rewrite, node):
            x = node.inputs[0]
            assert x is not None
            rewrite.alias(node, x)
    return rewrite.graph()


def is_identity(rewrite: Rewrite, node: Node) -> bool:
    x, name, attrs = node.inputs[0], node.op.name, node.attrs
    if x is None or rewrite.shapes[x] != rewrite.shapes[node.output]:
        return False
    if name in ("clone", "contiguous", *SAME_SHAPE):
        return True
    if name == "to":
        return rewrite.dtypes[x] == rewrite.dtypes[node.output]
    if name == "permute":
        return attrs["dims"] == tuple(sorted(attrs["dims"]))
    if name == "getitem":
        parts = [k for k in attrs["index"].views if isinstance(k, slice)]
        whole = len(parts) == sum(k is not ... for k in attrs["index"].views)
        return whole and not attrs["index"].arrays and all((k.step or 1) > 0 for k in parts)
    if name == "pad":
        return not any(map(any, attrs["widths"]))
    if name in POOLS:
        geo = attrs["geo"]
        alone = geo.KH == geo.KW == geo.sh == geo.sw == 1 and attrs.get("divisor_override") is None
        return alone and not (geo.pt or geo.pl)
    if name in ("mul", "div"):
        other = rewrite.array(node.inputs[1])
        return other is not None and other.size == 1 and bool(np.all(other == 1))
    return False


def fold_constants(graph: Graph) -> Graph:
    """A node that reads only constants is one."""
    rewrite = Rewrite(graph)
    for node in rewrite.walk():
        if node.inputs and rewrite.known(*node.inputs):
            y = node.forward(*(rewrite.array(k) for k in node.inputs))
            rewrite.alias(node, rewrite.constant(y))
    return rewrite.graph()


def remove_dead(graph: Graph) -> Graph:
    """What the result does not depend on is not computed."""
    rewrite = Rewrite(graph)
    for node in reversed(list(rewrite.walk())):
        rewrite.drop(node)
    return rewrite.graph()


def fold_pad(graph: Graph) -> Graph:
    """conv(pad(x)) = a conv with more padding, if the pad is of zeros around H and W.

    The same for an average that counts its padding.
    """
    rewrite = Rewrite(graph)
    for node in rewrite.walk():
        pad = rewrite.source(node.inputs[0] if node.inputs else None, "pad")
        if pad is None or not takes_padding(node) or not is_border(pad):
            continue
        x, geo = pad.inputs[0], node.attrs["geo"]
        assert x is not None
        (top, bottom), (left, right) = pad.attrs["widths"][2:]
        sides = {"pt": top, "pb": bottom, "pl": left, "pr": right}
        wider = {side: getattr(geo, side) + width for side, width in sides.items()}
        H, W = rewrite.shapes[x][2:]
        attrs = node.attrs | {"geo": replace(geo, H=H, W=W, **wider)}
        rewrite.put(node, inputs=(x, *node.inputs[1:]), attrs=attrs)
        rewrite.drop(pad)
    return rewrite.graph()


def takes_padding(node: Node) -> bool:
    if node.op.name == "avg_pool2d":
        return bool(node.attrs["count_include_pad"])
    return node.op.name in ("conv2d", "depthwise_conv2d")


def is_border(pad: Node) -> bool:
    """Zeros, of images, around pixels, and nothing cut off."""
    widths = pad.attrs["widths"]
    zeros = pad.attrs["mode"] == "constant" and pad.attrs["value"] == 0
    grows = all(width >= 0 for pair in widths for width in pair)
    return zeros and grows and len(widths) == 4 and not any(map(any, widths[:2]))
