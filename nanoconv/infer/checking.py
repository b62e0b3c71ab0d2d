"""Whether a graph from a file can be: every value has the shape that its op gives it.

Kernels check nothing, for eager's ops did before they ran. A graph from a file had no such run, and
whoever wrote it may mean harm; so each node's sizes are computed here anew, from those of what it
reads. An op that is not in the table runs once, on zeros, by its NumPy reference, which cannot
leave its arrays.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from .. import config
from ..graph.ir import Graph, Node, Shape
from ..ops.geometry import LARGEST, Geometry, extent
from ..ops.pool2d import Means
from .others import BINARY, FUNCTIONS

Rule = Callable[[Graph, Node, list[Shape]], Shape]


def check_graph(graph: Graph) -> None:
    """ValueError for the first value that cannot be."""
    for k, shape in graph.shapes.items():
        if any(size < 0 for size in shape) or math.prod(shape) > LARGEST:
            raise ValueError(f"value {k} has the shape {list(shape)}")
    if len(set(graph.inputs)) != len(graph.inputs):
        raise ValueError("an input twice")
    for node in graph.nodes:
        shapes = [graph.shapes[k] for k in node.inputs if k is not None]
        rule = RULES.get(node.op.name, on_zeros)
        found = tuple(map(int, rule(graph, node, shapes)))
        if found != graph.shapes[node.output]:
            raise ValueError(
                f"{node.op.name} of {shapes} is {list(found)}, not "
                f"{list(graph.shapes[node.output])}"
            )


def expect(condition: bool, node: Node) -> None:
    if not condition:
        raise misfit(node)


def misfit(node: Node) -> ValueError:
    return ValueError(f"{node.op.name} with attributes or inputs that do not fit")


def on_zeros(graph: Graph, node: Node, shapes: list[Shape]) -> Shape:
    arrays = [
        None if k is None else graph.constants.get(k, np.zeros(graph.shapes[k], graph.dtypes[k]))
        for k in node.inputs
    ]
    with config.use("numpy"):
        y = node.forward(*arrays)
    expect(y.dtype == graph.dtypes[node.output], node)
    return y.shape


# --------------------------------------------------------------------------- one rule for each op


def windows(node: Node, x: Shape) -> Geometry:
    """The geometry of a node whose first input is x."""
    geo = node.attrs["geo"]
    expect(isinstance(geo, Geometry) and x == (geo.N, geo.C, geo.H, geo.W), node)
    expect(min(geo.sh, geo.sw, geo.dh, geo.dw, geo.G, geo.KH, geo.KW) >= 1, node)
    expect(max(geo.sizes) <= LARGEST, node)
    return geo


def convolution(graph: Graph, node: Node, shapes: list[Shape]) -> Shape:
    x, w, b, *r = (None if k is None else graph.shapes[k] for k in node.inputs)
    if x is None:
        raise misfit(node)
    geo = windows(node, x)
    y = geo.N, geo.O, geo.OH, geo.OW
    expect(geo.C % geo.G == geo.O % geo.G == 0, node)
    expect(w == (geo.O, geo.C // geo.G, geo.KH, geo.KW) and b in (None, (geo.O,)), node)
    expect("depthwise" not in node.op.name or geo.G == geo.C, node)
    expect(not r or r[0] in (None, y), node)
    height = geo.H + geo.pt + geo.pb - extent(geo.KH, geo.dh)
    width = geo.W + geo.pl + geo.pr - extent(geo.KW, geo.dw)
    expect((height // geo.sh + 1, width // geo.sw + 1) == (geo.OH, geo.OW), node)
    return y


def pooling(graph: Graph, node: Node, shapes: list[Shape]) -> Shape:
    geo = windows(node, shapes[0])
    expect(geo.O == geo.C, node)
    for size, count, kernel, step, before, dilation in (
        (geo.H, geo.OH, geo.KH, geo.sh, geo.pt, geo.dh),
        (geo.W, geo.OW, geo.KW, geo.sw, geo.pl, geo.dw),
    ):  # the first window ends inside of the image, and the last begins there
        expect(extent(kernel, dilation) > before and (count - 1) * step - before < size, node)
    return geo.N, geo.C, geo.OH, geo.OW


def cells(graph: Graph, node: Node, shapes: list[Shape]) -> Shape:
    N, C, H, W = shapes[0]
    means = node.attrs["cells"]
    expect(isinstance(means, Means) and (means.H, means.W) == (H, W), node)
    for spans, size in ((means.rows, H), (means.cols, W)):
        expect(spans.dtype == np.int64 and spans.ndim == 2 and spans.shape[1] == 2, node)
        inside = (spans >= 0).all() and (spans <= size).all() and (spans[:, 0] < spans[:, 1]).all()
        expect(bool(inside), node)
    expect(means.area.shape == (len(means.rows), len(means.cols)), node)
    return N, C, len(means.rows), len(means.cols)


def linear(graph: Graph, node: Node, shapes: list[Shape]) -> Shape:
    x, w, b = (None if k is None else graph.shapes[k] for k in node.inputs)
    if x is None or w is None:
        raise misfit(node)
    expect(len(x) == len(w) == 2 and x[1] == w[1] and b in (None, w[:1]), node)
    return x[0], w[0]


def channels(graph: Graph, node: Node, shapes: list[Shape]) -> Shape:
    index = node.attrs["index"]
    expect(len({(shape[0], *shape[2:]) for shape in shapes}) == 1, node)
    C = sum(shape[1] for shape in shapes)
    expect(isinstance(index, tuple) and all(-1 <= int(k) < C for k in index), node)
    return shapes[0][0], len(index), *shapes[0][2:]


def interpolation(graph: Graph, node: Node, shapes: list[Shape]) -> Shape:
    for factor in node.attrs["scale"]:
        expect(factor is None or 0 < factor < LARGEST, node)
    N, C, *image = shapes[0]
    size = node.attrs["size"]
    expect(len(image) == len(size) == 2 and all(0 < k <= LARGEST for k in size), node)
    return N, C, *size


def indexed(graph: Graph, node: Node, shapes: list[Shape]) -> Shape:
    index = node.attrs["index"]
    if index.arrays:
        return on_zeros(graph, node, shapes)
    return np.broadcast_to(np.float32(0), shapes[0])[index.views].shape


def padding(graph: Graph, node: Node, shapes: list[Shape]) -> Shape:
    """Sizes first, for the reference allocates what it is told to."""
    pairs = list(zip(shapes[0], node.attrs["widths"], strict=True))
    y = tuple(n + a + b for n, (a, b) in pairs)
    expect(y == graph.shapes[node.output], node)
    expect(node.attrs["mode"] == "constant" or all(max(ab) <= n for n, ab in pairs), node)
    return on_zeros(graph, node, shapes)


def same_numbers(graph: Graph, node: Node, shapes: list[Shape]) -> Shape:
    """Any shape of as many numbers, as the node's own says."""
    y = graph.shapes[node.output]
    expect(math.prod(y) == math.prod(shapes[0]), node)
    return y


RULES: dict[str, Rule] = {
    **dict.fromkeys(("conv2d", "conv2d_act"), convolution),
    **dict.fromkeys(("depthwise_conv2d", "depthwise_conv2d_act"), convolution),
    **dict.fromkeys(("linear", "linear_act"), linear),
    **dict.fromkeys(("max_pool2d", "avg_pool2d"), pooling),
    **dict.fromkeys(("adaptive_avg_pool2d", "adaptive_max_pool2d"), cells),
    **dict.fromkeys(("flatten", "reshape", "squeeze", "unsqueeze"), same_numbers),
    **dict.fromkeys((*FUNCTIONS, "softmax", "log_softmax"), lambda graph, node, shapes: shapes[0]),
    **dict.fromkeys(BINARY, lambda graph, node, shapes: np.broadcast_shapes(*shapes)),
    "channels": channels, "interpolate": interpolation, "getitem": indexed, "pad": padding,
}  # fmt: skip
