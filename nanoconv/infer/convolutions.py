"""Which kernel computes a convolution, and how it wants its weights.

winograd2/4   3×3 with stride 1, where the multiplications saved outweigh the transforms
conv          everything else that is dense or grouped: tiles that read the image as it lies
depthwise     a filter for each channel, wherever it lies
linear        one image: every weight is read once
"""

from __future__ import annotations

import numpy as np

from .. import config
from ..graph.ir import Node
from ..ops.depthwise_conv2d import MOST_ROWS
from ..ops.geometry import Geometry, extent
from . import packing
from .layout import Halo, View
from .plan import Lowering, UnsupportedError, activation, lowers, origin, places
from .steps import Draft, Packed

Array = np.ndarray


def around(geo: Geometry) -> Halo:
    """The zeros that the windows of a convolution see around its image."""
    bottom = (geo.OH - 1) * geo.sh + extent(geo.KH, geo.dh) - geo.pt - geo.H
    right = (geo.OW - 1) * geo.sw + extent(geo.KW, geo.dw) - geo.pl - geo.W
    return Halo(geo.pt, max(bottom, 0), geo.pl, max(right, 0))


def window(geo: Geometry) -> tuple[int, ...]:
    return geo.KH, geo.KW, geo.sh, geo.sw, geo.pt, geo.pl, geo.dh, geo.dw, geo.G


def constants(low: Lowering, node: Node) -> tuple[Array, Array | None]:
    """The weight and bias of a node."""
    _, w, b, *_ = node.inputs
    weight, bias = low.constant(w), low.constant(b)
    if weight is None or (b is not None and bias is None):
        raise UnsupportedError(node, "its weights are computed")
    return weight, bias


def residual(low: Lowering, node: Node) -> View | None:
    return (
        low.image(node.inputs[3]) if len(node.inputs) > 3 and node.inputs[3] is not None else None
    )


def bias(low: Lowering, b: Array | None, O: int, G: int = 1) -> Packed:
    floats = G * low.machine.whole(O // G)
    return Packed(floats, lambda: packing.vector(low.machine, b, O, G))


# --------------------------------------------------------------------------- dense and grouped


@lowers("conv2d", "conv2d_act")
def conv2d(low: Lowering, node: Node) -> None:
    geo: Geometry = node.attrs["geo"]
    w, b = constants(low, node)
    r = residual(low, node)
    x = low.view(node.inputs[0])
    m = winograd_tile(low, geo)
    if m:
        return winograd(low, node, geo, m, w, b, r)
    if len({run.buffer for run in x.runs}) > 1 and not low.share_shapes(x):
        x = low.image(node.inputs[0])
    if x.strided and around(geo) != (0, 0, 0, 0):
        x = low.copied(x)
    for run in x.runs:
        run.buffer.demand(around(geo))
    machine = low.machine
    one_run = len(x.runs) == 1 and not x.strided
    Cg, Og = geo.C // geo.G, geo.O // geo.G
    # Short segments cost as much to begin as to sum: of few channels, all taps are one segment.
    one_segment = geo.KH > 1 and geo.KW * Cg < 16

    def as_run() -> bool:
        """What the window sees of a row is one run of floats. Lanes that are no channels would be
        in it with weights of 0, and 0·∞ is NaN. Groups of 1×1 are runs one behind the other."""
        dense = geo.G == geo.dw == 1 and x.buffer.shape.pitch == geo.C
        return one_run and not one_segment and (geo.KW == 1 or dense)

    def table() -> Array | None:
        if as_run():
            return None
        draft.why += ", channels through a table"
        taps = np.arange(geo.KW) * geo.dw * x.buffer.shape.pitch * x.sw
        if one_segment:
            rows = np.arange(geo.KH) * geo.dh * x.buffer.row * x.sh
            taps = (rows[:, None] + taps).ravel()
        grouped = places(x).reshape(geo.G, 1, Cg) + taps[:, None]
        return grouped.astype(np.int32)

    y = low.new(geo.O, geo.OH, geo.OW)
    floats = geo.G * geo.KH * geo.KW * Cg * machine.whole(Og)

    def weights() -> Packed:
        # Whether rows follow each other without a gap, so that a tile need not end with one.
        flat = geo.KH == geo.sh == geo.sw == 1 and not any(
            view.buffer.shape.halo[2:] != (0, 0) for view in (x, y)
        )
        row = geo.OW * (geo.OH if flat else 1)
        panel = machine.quickest_panel(Og, geo.KH * geo.KW * Cg, row)
        return Packed(floats, lambda: packing.dense(machine, w, geo.G, panel), panel)

    draft = Draft(
        "conv", x, y, r, window(geo), geo.KW * Cg, activation(node.attrs), weights,
    )  # fmt: skip
    draft.gather = None if one_run and geo.KW == 1 and not one_segment else table
    if one_segment:
        draft.window, draft.K = (1, *window(geo)[1:]), geo.KH * geo.KW * Cg
    draft.b = bias(low, b, geo.O, geo.G)
    kind = "1×1" if geo.KH == geo.KW == 1 else f"{geo.KH}×{geo.KW}"
    kind += f"/{geo.sh}" if geo.sh > 1 else ""
    kind += f" {geo.G} groups" if geo.G > 1 else ""
    draft.why = kind
    draft.macs = geo.O * geo.OH * geo.OW * Cg * geo.KH * geo.KW
    low.set(node, draft)


def winograd_tile(low: Lowering, geo: Geometry) -> int:
    """The size of Winograd tiles that is fastest here, or 0 for none.

    In multiply-adds: the products of all tiles; about 12 for each number that a transform reads or
    writes; and what weights cost that are too many for L2 and come from memory.
    """
    if "winograd" in low.without or geo.G > 1 or (geo.KH, geo.KW) != (3, 3):
        return 0
    if (geo.sh, geo.sw, geo.dh, geo.dw) != (1, 1, 1, 1) or min(geo.C, geo.O) < low.machine.lanes:
        return 0

    def cost(m: int) -> float:
        tiles = -(-geo.OH // m) * -(-geo.OW // m)
        places = (m + 2) ** 2 if m > 1 else 9
        weights = places * geo.C * geo.O
        transforms = 12 * tiles * places * (geo.C + geo.O) if m > 1 else 0
        streamed = 18 * weights if weights > 500_000 else 0
        return tiles * places * geo.C * geo.O + transforms + streamed

    best = min((1, 2, 4), key=cost)
    return best if best > 1 else 0


def winograd(
    low: Lowering, node: Node, geo: Geometry, m: int, w: Array, b: Array | None, r: View | None
) -> None:
    from nanoconv._kernels import winograd_cy

    machine = low.machine
    x = low.pixels(node.inputs[0])
    x.buffer.demand(around(geo))
    floats = (m + 2) ** 2 * geo.C * machine.whole(geo.O)

    def make() -> Array:
        packed = np.empty(floats, np.float32)
        winograd_cy.winograd_weights(packed, np.ascontiguousarray(w), m, config.get_num_threads())
        return packed

    draft = Draft(
        f"winograd{m}", x, low.new(geo.O, geo.OH, geo.OW), r, window(geo), geo.C,
        activation(node.attrs), lambda: Packed(floats, make),
    )  # fmt: skip
    draft.b = bias(low, b, geo.O)
    draft.scratch = lambda T: winograd_cy.winograd_scratch(m, geo.C, geo.O, geo.OH, geo.OW, T)
    draft.why = f"3×3 as F({m}×{m}, 3×3): {(m + 2) ** 2 / m**2:.3g} products a number, not 9"
    draft.macs = geo.O * geo.OH * geo.OW * geo.C * 9
    low.set(node, draft)


# --------------------------------------------------------------------------- depthwise


@lowers("depthwise_conv2d", "depthwise_conv2d_act")
def depthwise_conv2d(low: Lowering, node: Node) -> None:
    geo: Geometry = node.attrs["geo"]
    w, b = constants(low, node)
    r = residual(low, node)
    if extent(geo.KH, geo.dh) + geo.sh > MOST_ROWS:
        raise UnsupportedError(node, f"sees more than {MOST_ROWS} rows")
    view = low.view(node.inputs[0])
    if r is None and filtered_where_it_lies(low, view, geo):
        return depthwise_of_vectors(low, node, geo, w, b)
    if geo.O != geo.C:  # a multiplier: every channel several times
        times = geo.O // geo.C
        x = low.copied(view.channels([c for c in range(geo.C) for _ in range(times)]))
    else:
        x = low.image(node.inputs[0])
    if x.strided and around(geo) != (0, 0, 0, 0):
        x = low.copied(x)
    x.buffer.demand(around(geo))
    floats = low.machine.whole(geo.O) * geo.KH * geo.KW
    draft = Draft(
        "depthwise", x, low.new(geo.O, geo.OH, geo.OW), r, window(geo), geo.O,
        activation(node.attrs),
        lambda: Packed(floats, lambda: packing.depthwise(low.machine, w)),
    )  # fmt: skip
    draft.b = bias(low, b, geo.O)
    describe(draft, geo)
    low.set(node, draft)


def describe(draft: Draft, geo: Geometry) -> None:
    stride = f"/{geo.sh}" if geo.sh > 1 else ""
    draft.why = f"{geo.KH}×{geo.KW}{stride}, a filter for each channel"
    draft.macs = geo.O * geo.OH * geo.OW * geo.KH * geo.KW


def filtered_where_it_lies(low: Lowering, view: View, geo: Geometry) -> bool:
    """True if channels from here and there need no copy. To copy them takes several times as long
    as to filter them, so it pays also if half of the lanes of their vectors are for nothing."""
    lanes = low.machine.lanes
    if geo.O != geo.C or view.is_image(lanes) or "copy" in view.cache:
        return False
    if len(set(view.places())) < view.C or (view.strided and around(geo) != (0, 0, 0, 0)):
        return False  # a channel twice has two filters
    vectors, _ = view.vectors(lanes)
    return len(vectors) * lanes <= 2 * low.machine.whole(view.C) and low.share_shapes(view)


def depthwise_of_vectors(
    low: Lowering, node: Node, geo: Geometry, w: Array, b: Array | None
) -> None:
    """Each channel is filtered alone: so vectors are taken in the order in which they lie, weights
    go to the lanes of their channels, and only the view of y has the channels in their order.
    Lanes of other channels are computed, too, but nobody reads them."""
    x, machine = low.view(node.inputs[0]), low.machine
    for run in x.runs:
        run.buffer.demand(around(geo))
    vectors, lanes = x.vectors(machine.lanes)
    C = len(vectors) * machine.lanes

    def spread(numbers: Array) -> Array:
        wide = np.zeros((C, *numbers.shape[1:]), np.float32)
        wide[lanes] = numbers
        return wide

    def table() -> Array:
        base = origin(x)
        return np.array([buffer.at() + first - base for buffer, first in vectors], np.int32)

    draft = Draft(
        "depthwise", x, low.new(C, geo.OH, geo.OW), None, window(geo), geo.O,
        activation(node.attrs),
        lambda: Packed(C * geo.KH * geo.KW, lambda: packing.depthwise(machine, spread(w))),
    )  # fmt: skip
    draft.b = bias(low, None, C) if b is None else Packed(C, lambda: spread(b))
    draft.gather, draft.lanes = table, lanes
    describe(draft, geo)
    draft.why += ", vectors through a table"
    low.set(node, draft)


# --------------------------------------------------------------------------- linear


@lowers("linear", "linear_act")
def linear(low: Lowering, node: Node) -> None:
    w, b = constants(low, node)
    x = low.image(node.inputs[0])
    O, C = w.shape
    y = low.new(O, 1, 1)
    floats = C * low.machine.whole(O)

    def weights() -> Packed:
        return Packed(floats, lambda: packing.linear(low.machine, w))

    draft = Draft("linear", x, y, None, K=C, act=activation(node.attrs), w=weights)
    draft.b = bias(low, b, O)
    draft.why = "one image: every weight is read once"
    draft.macs = O * C
    low.set(node, draft)
