"""Ops that only give channels other places: merged, folded into weights, or left as one gather.

`channels` says of every channel of its output which channel of which input it is. Two behind each
other are one: their indices compose. A permutation P of channels meets weights like this:

    conv(P x; w)        =  conv(x; w′)          w′[:, index[k]] = w[:, k]       groups = 1
    P conv(x; w, b)     =  conv(x; w′, b′)      w′[k] = w[index[k]]             groups = 1
    f(P x)              =  P f(x)               f the same for every channel: relu, pooling, …
    depthwise(P x; w)   =  P depthwise(x; w′)   w′[index[k]] = w[k]; batch norm likewise
    P a + P b           =  P (a + b)
"""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np

from ...ops.channel_shuffle import channel_shuffle_forward
from ...ops.fused import CHANNELS
from ..ir import Array, Graph, Node
from .rewrite import Rewrite

Source = tuple[int, int] | None  # a value and its channel; None is a channel of zeros
DENSE = ("conv2d", "conv2d_act", "linear", "linear_act")
DEPTHWISE = ("depthwise_conv2d", "depthwise_conv2d_act")
ALIKE = (  # y[:, c] = f(x[:, c]), the same f for every channel, whatever the attributes
    "relu", "relu6", "leaky_relu", "hardtanh", "threshold", "hardsigmoid", "hardswish", "sigmoid",
    "silu", "tanh", "elu", "selu", "celu", "gelu", "mish", "softplus", "exp", "sqrt", "abs", "neg",
    "avg_pool2d", "adaptive_avg_pool2d", "interpolate",
)  # fmt: skip


def channel_views(graph: Graph) -> Graph:
    """Channel shuffle, slices, cat, flip, roll, index_select and zero channels become `channels`.

    One that reads others reads through them; one that changes nothing goes. A permutation is folded
    into the weights that read it, or those that wrote it; on the way it may pass ops that treat
    every channel by itself.
    """
    rewrite = Rewrite(graph)
    for node in rewrite.walk():
        found = sources_of(rewrite, node)
        if found is not None:
            gather(rewrite, node, found)
    for node in rewrite.walk():
        common_permutation(rewrite, node)
    for node in rewrite.walk():
        if node.op is CHANNELS:
            sink(rewrite, node)
    for node in rewrite.walk():
        if node.op.name in DENSE:
            fold_into_reader(rewrite, node)
    for node in rewrite.walk():
        if node.op is CHANNELS:
            fold_into_writer(rewrite, node)
    return rewrite.graph()


# --------------------------------------------------------------------------- what goes where


def sources_of(rewrite: Rewrite, node: Node) -> list[Source] | None:
    """Where each channel of the output comes from, if a node does nothing but that."""
    if len(rewrite.shapes[node.output]) not in (2, 4) or not node.inputs:
        return None
    if node.op.name == "cat":
        if node.attrs["dim"] != 1:
            return None
        return [source for k in node.inputs for source in whole(rewrite, k)]
    x = node.inputs[0]
    if node.op.name in ("reshape", "flatten"):
        return shuffled_by_hand(rewrite, node)
    index = index_of(rewrite, node)
    if x is None or index is None or len(rewrite.shapes[x]) != len(rewrite.shapes[node.output]):
        return None
    channels = [*whole(rewrite, x), None]
    return [channels[k] for k in index]


def whole(rewrite: Rewrite, value: int | None) -> list[Source]:
    """All channels of a value; of what `channels` gave, where that took them from."""
    node = rewrite.source(value, "channels")
    if node is None:
        assert value is not None
        return [(value, c) for c in range(rewrite.shapes[value][1])]
    joined: list[Source] = [s for k in node.inputs for s in whole(rewrite, k)]
    return [None if k == -1 else joined[k] for k in node.attrs["index"]]


def index_of(rewrite: Rewrite, node: Node) -> list[int] | None:
    """The channel of the only input that each channel of the output is; −1 for zeros."""
    name, attrs, shape = node.op.name, node.attrs, rewrite.shapes.get(node.inputs[0] or 0, ())
    if len(shape) < 2:
        return None
    numbers = np.arange(shape[1])
    if name == "channel_shuffle":
        return list(channel_shuffle_forward(numbers[None], attrs["groups"])[0])
    if name in ("flip", "roll") and attrs["dims"] == (1,):
        return list(node.op.forward(numbers[None], **attrs)[0])
    if name == "index_select" and attrs["dim"] == 1 and rewrite.known(node.inputs[1]):
        return list(numbers[rewrite.array(node.inputs[1])])
    if name == "pad" and attrs["mode"] == "constant" and attrs["value"] == 0:
        (before, after), others = attrs["widths"][1], (attrs["widths"][0], *attrs["widths"][2:])
        kept = numbers[max(-before, 0) : len(numbers) - max(-after, 0)]
        inside = [-1] * before + list(kept) + [-1] * after
        return None if any(map(any, others)) else inside
    return index_of_slice(node, shape) if name == "getitem" else None


def index_of_slice(node: Node, shape: tuple[int, ...]) -> list[int] | None:
    """x[:, a:b:s] and x[:, positions], which take all of every other axis."""
    views, arrays = node.attrs["index"]
    where = views.index(...)
    missing = len(shape) - (len(views) - 1)
    parts = [*views[:where], *[slice(None)] * missing, *views[where + 1 :]]
    if len(parts) != len(shape) or not all(isinstance(part, slice) for part in parts):
        return None
    taken = [range(n)[part] for n, part in zip(shape, parts, strict=True)]
    if any(taken[k] != range(n) for k, n in enumerate(shape) if k != 1):
        return None
    channels = np.array(taken[1], np.int64)
    if not arrays:
        return list(channels)
    rest = [part for k, part in enumerate(arrays) if k != 1]
    if len(arrays) < 2 or any(not isinstance(k, slice) or k != slice(None) for k in rest):
        return None
    return list(channels[arrays[1]]) if np.ndim(arrays[1]) == 1 else None


def shuffled_by_hand(rewrite: Rewrite, node: Node) -> list[Source] | None:
    """(N, C, H, W) → (N, G, C/G, H, W) → (N, C/G, G, H, W) → (N, C, H, W)"""
    swap = rewrite.source(node.inputs[0], "permute")
    split = None if swap is None else rewrite.source(swap.inputs[0], "reshape")
    if swap is None or split is None or swap.attrs["dims"] != (0, 2, 1, 3, 4):
        return None
    x = split.inputs[0]
    shape, hands = rewrite.shapes[x or 0], rewrite.shapes[split.output]
    same = shape == rewrite.shapes[node.output] and len(shape) == 4
    if not same or (hands[0], *hands[3:]) != (shape[0], *shape[2:]):
        return None
    channels = whole(rewrite, x)
    return [channels[k] for k in channel_shuffle_forward(np.arange(shape[1])[None], hands[1])[0]]


def gather_of(rewrite: Rewrite, sources: list[Source]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The inputs of a `channels` node, in the order in which they first appear, and its index."""
    values = tuple(dict.fromkeys(source[0] for source in sources if source is not None))
    lengths = (rewrite.shapes[k][1] for k in values)
    first = dict(zip(values, itertools.accumulate(lengths, initial=0), strict=False))
    return values, tuple(-1 if s is None else first[s[0]] + s[1] for s in sources)


def gather(rewrite: Rewrite, node: Node, sources: list[Source]) -> None:
    """`node` becomes `channels` of these sources, or their only value itself."""
    inputs, index = gather_of(rewrite, sources)
    if not inputs:  # nothing but zeros, or no channel at all
        return
    old = [k for k in node.inputs if k is not None]
    if len(inputs) == 1 and sources == whole(rewrite, inputs[0]):
        rewrite.alias(node, inputs[0])
        return
    rewrite.put(node, op=CHANNELS, inputs=inputs, attrs={"index": index})
    for k in old:
        if k in rewrite.nodes:
            rewrite.drop(rewrite.nodes[k])


# --------------------------------------------------------------------------- permutations


def permutation(rewrite: Rewrite, node: Node | None) -> Array | None:
    """The index of a `channels` node that has every channel of its inputs once."""
    if node is None or node.op is not CHANNELS:
        return None
    index, C = np.array(node.attrs["index"]), sum(rewrite.shapes[k or 0][1] for k in node.inputs)
    return index if np.array_equal(np.sort(index), np.arange(C)) else None


def has_weights(rewrite: Rewrite, node: Node) -> bool:
    """A layer in which every output channel reads every input channel, with constant weights."""
    geo = node.attrs.get("geo")
    dense = node.op.name in DENSE and (geo is None or geo.G == 1)
    return dense and rewrite.known(*node.inputs[1:3])


def fold_into_reader(rewrite: Rewrite, node: Node) -> None:
    """conv(P x; w) = conv(x; w′); of several inputs, x is all of them one behind the other."""
    view = rewrite.source(node.inputs[0], "channels")
    index = permutation(rewrite, view)
    if view is None or index is None or not has_weights(rewrite, node):
        return
    w = rewrite.array(node.inputs[1])
    ahead = np.arange(len(index))
    if w is None or np.array_equal(index, ahead):
        return
    x = view.inputs[0]
    if len(view.inputs) > 1:
        x = rewrite.value(view.output)
        rewrite.put(view, attrs={"index": tuple(map(int, ahead))}, output=x)
    weight = rewrite.constant(w[:, np.argsort(index)])
    rewrite.put(node, inputs=(x, weight, *node.inputs[2:]))
    rewrite.drop(view)


def fold_into_writer(rewrite: Rewrite, view: Node) -> None:
    """P conv(x; w, b) = conv(x; w′, b′), if nothing else reads it; P may leave channels out."""
    layer = rewrite.only_source(view.inputs[0], *DENSE) if len(view.inputs) == 1 else None
    index = view.attrs["index"]
    if layer is None or -1 in index or len(set(index)) < len(index):
        return
    if not has_weights(rewrite, layer) or layer.inputs[3:] not in ((), (None,)):
        return
    w, b = (rewrite.array(k) for k in layer.inputs[1:3])
    assert w is not None
    order, attrs = list(index), dict(layer.attrs)
    if "geo" in attrs:
        attrs["geo"] = replace(attrs["geo"], O=len(order))
    inputs = (layer.inputs[0], rewrite.constant(w[order]))
    bias = None if b is None else rewrite.constant(b[order])
    rewrite.put(layer, inputs=(*inputs, bias, *layer.inputs[3:]), attrs=attrs, output=view.output)
    rewrite.drop(layer)


def common_permutation(rewrite: Rewrite, node: Node) -> None:
    """P a + P b = P (a + b)"""
    if node.op.name not in ("add", "add_act"):
        return
    a, b = (rewrite.only_source(k, "channels") for k in node.inputs)
    if a is None or b is None or len(a.inputs) != 1 or len(b.inputs) != 1:
        return
    if a.attrs != b.attrs or permutation(rewrite, a) is None:
        return
    total = rewrite.value(node.output)
    rewrite.put(node, inputs=(a.inputs[0], b.inputs[0]), output=total)
    rewrite.put(a, inputs=(total,), output=node.output, name=node.name, line=node.line)
    rewrite.drop(a)
    rewrite.drop(b)


def sink(rewrite: Rewrite, view: Node) -> None:
    """f(P x) = P f(x), as far as something behind f takes P in; else all stays as it is."""
    index = permutation(rewrite, view)
    if index is None or len(view.inputs) != 1:
        return
    path: list[Node] = []
    value = view.output
    while (node := rewrite.only_reader(value)) is not None and node.inputs[0] == value:
        if has_weights(rewrite, node) or node.op is CHANNELS:
            break
        if not per_channel(rewrite, node):
            return
        path.append(node)
        value = node.output
    if node is None or node.inputs[0] != value or not path:
        return
    back, x = np.argsort(index), view.inputs[0]
    for passed in path:
        inputs = (x, *(permuted(rewrite, k, back) for k in passed.inputs[1:]))
        x = rewrite.value(passed.output)
        rewrite.put(passed, inputs=inputs, output=x)
    last = path[-1]
    rewrite.put(view, inputs=(x,), output=value, name=last.name, line=last.line)
    for passed in reversed(path[:-1]):
        rewrite.drop(passed)
    rewrite.drop(view)
    if node.op is CHANNELS:
        gather(rewrite, node, whole(rewrite, node.output))


def permuted(rewrite: Rewrite, value: int | None, back: Array) -> int | None:
    """The weights of single channels in another order; a number for all of them as it is."""
    array = rewrite.array(value)
    return value if array is None or array.ndim == 0 else rewrite.constant(array[back])


def per_channel(rewrite: Rewrite, node: Node) -> bool:
    """What is in a channel of the output depends on that channel of the first input alone.

    Other inputs are constants, with a number for each channel along axis 0.
    """
    name, attrs, shape = node.op.name, node.attrs, rewrite.shapes[node.inputs[0] or 0]
    if name in ALIKE:
        return True
    if name in DEPTHWISE:
        return rewrite.known(*node.inputs[1:]) and attrs["geo"].O == attrs["geo"].C
    if name == "batch_norm":
        return rewrite.known(*node.inputs[1:]) and node.inputs[3] is not None
    if name == "clamp":
        bounds = [rewrite.array(k) for k in node.inputs[1:] if k is not None]
        return all(bound is not None and bound.ndim == 0 for bound in bounds)
    if name in ("max_pool2d", "adaptive_max_pool2d"):
        return not attrs["indices"]
    if name in ("mean", "sum", "amax", "amin"):
        return len(shape) == 4 and attrs["dim"] == (2, 3)
    if name == "flatten":
        return shape[2:] == (1, 1) and attrs["start_dim"] == 1
    return False
