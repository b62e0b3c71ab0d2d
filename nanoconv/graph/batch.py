"""Whether a graph computes every image of its batch by itself.

Then one plan for one image serves every batch size. No op says so of itself, so it is found out
from two captures with batches of different sizes: they must be the same but for these sizes, all
values must have the batch in axis 0, and every op must be known not to mix along that axis.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np

from ..ops.activations import ACTIVATIONS
from .ir import Graph, Node, leaves

Rule = Callable[[Graph, Node], bool]


def why_together(one: Graph, two: Graph) -> str:
    """What may let the images of a batch meet, by two captures of a model, of unlike batches.

    In words for people, "" if every image is treated by itself. An op that `RULES` does not know is
    a reason, too.
    """
    if not one.inputs:
        return "the model has no inputs"
    if len(one.inputs) != len(two.inputs) or len(one.nodes) != len(two.nodes):
        return "what the model does depends on the size of the batch"
    sizes = [(*graph.shapes[graph.inputs[0]], -1)[0] for graph in (one, two)]
    if sizes[0] == sizes[1]:
        raise ValueError(f"why_together: both batches have size {sizes[0]}")
    partner = dict(zip(one.inputs, two.inputs, strict=True))  # in two, of a value in one
    partner.update((a.output, b.output) for a, b in zip(one.nodes, two.nodes, strict=True))
    if not all(same_value(one, two, k, partner[k], sizes) for k in one.inputs):
        return "an input has no batch in axis 0"
    for a, b in zip(one.nodes, two.nodes, strict=True):
        name = a.op.name
        if name not in RULES:
            return f"{name} is not known to treat images alone"
        if not same_value(one, two, a.output, partner[a.output], sizes):
            return f"what {name} gives has no batch in axis 0"
        if not same_node(one, two, a, b, partner, sizes):
            return f"what {name} does depends on the size of the batch"
        if not RULES[name](one, a):
            return f"{name} may mix images"
    return "" if same_outputs(one.outputs, two.outputs, partner) else "a result is a constant"


def same_value(one: Graph, two: Graph, a: int, b: int, sizes: list[int]) -> bool:
    """Both have the batch in axis 0, and agree beside it."""
    first, second = one.shapes[a], two.shapes[b]
    batched = first[:1] == (sizes[0],) and second[:1] == (sizes[1],)
    return batched and first[1:] == second[1:] and one.dtypes[a] == two.dtypes[b]


def same_outputs(a: Any, b: Any, partner: dict[int, int]) -> bool:
    """The same values, and none is a constant."""
    first, second = list(leaves(a)), list(leaves(b))
    return len(first) == len(second) and all(
        k in partner and partner[k] == other for k, other in zip(first, second, strict=True)
    )


def same_node(
    one: Graph, two: Graph, a: Node, b: Node, partner: dict[int, int], sizes: list[int]
) -> bool:
    if a.op is not b.op or len(a.inputs) != len(b.inputs) or a.attrs.keys() != b.attrs.keys():
        return False
    for k, other in zip(a.inputs, b.inputs, strict=True):
        known = k in one.constants and other in two.constants
        if known and not same(one.constants[k or 0], two.constants[other or 0], sizes):
            return False
        if not known and (other is not None if k is None else partner.get(k) != other):
            return False
    for key, value in a.attrs.items():
        other = b.attrs[key]
        if key in ("shape", "size") and [value[:1], other[:1]] == [(n,) for n in sizes]:
            value, other = value[1:], other[1:]  # of the output, which starts with the batch
        if not same(value, other, sizes):
            return False
    return True


def same(a: Any, b: Any, sizes: list[int]) -> bool:
    """Equal attributes; a geometry's N may be that of the batch."""
    if type(a) is not type(b):
        return False
    if isinstance(a, np.ndarray):
        nan = a.dtype.kind == "f"
        return a is b or (a.dtype == b.dtype and np.array_equal(a, b, equal_nan=nan))
    if is_dataclass(a):
        pairs = {
            field.name: (getattr(a, field.name), getattr(b, field.name)) for field in fields(a)
        }
        return all(
            (name == "N" and [*pair] == sizes) or same(*pair, sizes) for name, pair in pairs.items()
        )
    if isinstance(a, tuple):
        return len(a) == len(b) and all(same(x, y, sizes) for x, y in zip(a, b, strict=True))
    return bool(a == b)


# --------------------------------------------------------------------------- one rule for each op


def aligned(graph: Graph, node: Node) -> bool:
    """Every input meets the output's axis 0 with its own, or is a constant that has none."""
    rank = len(graph.shapes[node.output])
    for k in node.inputs:
        shape = () if k is None else graph.shapes[k]
        if k in graph.constants and len(shape) == rank and shape[:1] not in ((1,), ()):
            return False
        if k is not None and k not in graph.constants and len(shape) != rank:
            return False
    return True


def weighted(graph: Graph, node: Node) -> bool:
    """Only the first input is computed."""
    return node.inputs[0] not in graph.constants and all(
        k is None or k in graph.constants for k in node.inputs[1:]
    )


def normed(graph: Graph, node: Node) -> bool:
    """By statistics that are constants, not those of the batch."""
    return weighted(graph, node) and node.inputs[3] is not None


def beside_batch(*names: str) -> Rule:
    """The axes of these attributes are others than axis 0, and so are the other inputs' axes."""

    def rule(graph: Graph, node: Node) -> bool:
        values = [node.attrs[name] for name in names]
        dims = [k for value in values for k in (value if isinstance(value, tuple) else (value,))]
        return bool(dims) and all(k is not None and k >= 1 for k in dims)

    return rule


def both(*rules: Rule) -> Rule:
    return lambda graph, node: all(rule(graph, node) for rule in rules)


def unbroadcast(graph: Graph, node: Node) -> bool:
    """No input is a constant."""
    return not any(k in graph.constants for k in node.inputs)


def indexed(graph: Graph, node: Node) -> bool:
    """All of axis 0 is taken, and no positions of it."""
    views, arrays = node.attrs["index"]
    first = views[0] is ... or views[0] == slice(None)
    return first and (not arrays or (isinstance(arrays[0], slice) and arrays[0] == slice(None)))


def repeated(graph: Graph, node: Node) -> bool:
    """No new axis in front, and the batch is there once."""
    times = node.attrs["repeats"]
    return len(times) == len(graph.shapes[node.inputs[0] or 0]) and times[0] == 1


def multiplied(graph: Graph, node: Node) -> bool:
    """Rows of the batch by a constant matrix, or matrices of the batch by such."""
    a, b = (graph.shapes[k or 0] for k in node.inputs)
    if node.inputs[0] in graph.constants:
        return False
    return len(b) == 2 if node.inputs[1] in graph.constants else len(a) == len(b) >= 3


def always(graph: Graph, node: Node) -> bool:
    return True


dim = beside_batch("dim")
RULES: dict[str, Rule] = {
    **dict.fromkeys(("conv2d", "depthwise_conv2d", "linear", "prelu"), weighted),
    **dict.fromkeys(("conv_transpose2d", "depthwise_conv_transpose2d", "group_norm"), weighted),
    **dict.fromkeys(("max_pool2d", "avg_pool2d", "lp_pool2d", "adaptive_avg_pool2d"), always),
    **dict.fromkeys(("adaptive_max_pool2d", "spatial_pyramid_pool2d", "interpolate"), always),
    **dict.fromkeys(("channel_shuffle", "pixel_shuffle", "pixel_unshuffle"), always),
    **dict.fromkeys(("unfold", "fold"), always),
    **dict.fromkeys(("local_response_norm", "clone", "contiguous", "to", *ACTIVATIONS), always),
    **dict.fromkeys(("neg", "exp", "log", "sqrt", "abs", "logical_not", "reshape"), always),
    **dict.fromkeys(("add", "sub", "mul", "div", "pow", "maximum", "minimum", "clamp"), aligned),
    **dict.fromkeys(("where", "eq", "ne", "lt", "le", "gt", "ge"), aligned),
    **dict.fromkeys(("logical_and", "logical_or", "logical_xor", "expand"), aligned),
    **dict.fromkeys(("softmax", "log_softmax", "glu", "cumsum", "cumprod", "prod"), dim),
    **dict.fromkeys(("sum", "mean", "var", "amax", "amin", "logsumexp", "normalize"), dim),
    **dict.fromkeys(("argmax", "argmin", "max_along", "min_along", "squeeze", "unsqueeze"), dim),
    **dict.fromkeys(("cat", "stack"), both(dim, unbroadcast)),
    **dict.fromkeys(("flip", "roll"), beside_batch("dims")),
    "index_select": both(dim, weighted),
    "layer_norm": both(beside_batch("axes"), weighted),
    "batch_norm": normed,
    "flatten": beside_batch("start_dim"),
    "permute": lambda graph, node: node.attrs["dims"][:1] == (0,),
    "pad": lambda graph, node: node.attrs["widths"][:1] == ((0, 0),),
    "getitem": indexed,
    "matmul": multiplied,
    "repeat": repeated,
}
