"""From a graph to a plan: which kernel computes each node, and where each value lies.

    Lowering    goes through the nodes; each becomes a `Draft` of a step, or only another view
    Plan        gives all buffers their places, packs the weights, and turns drafts into steps

Which kernel takes what is decided in `convolutions.py` and `others.py`, one function for each op.
A node that no kernel computes raises `UnsupportedError`; session.py then runs it as eager does.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..graph.ir import Graph, Node
from .layout import NO_HALO, Buffer, Run, View, arena_floats, whole
from .packing import Machine
from .steps import ACTIVATIONS, ARENA, IDENTITY, INPUT, OUTPUT, Draft, Image, Packed, Step

Array = np.ndarray
Rule = Callable[["Lowering", Node], None]
RULES: dict[str, Rule] = {}  # by the name of the op; convolutions.py and others.py fill it


class UnsupportedError(Exception):
    """No kernel computes a node; says why."""

    def __init__(self, node: Node, why: str) -> None:
        super().__init__(f"{node.op.name}: {why}")
        self.node, self.why = node, why


def lowers(*ops: str) -> Callable[[Rule], Rule]:
    """This function makes steps of these ops."""

    def register(rule: Rule) -> Rule:
        RULES.update(dict.fromkeys(ops, rule))
        return rule

    return register


# --------------------------------------------------------------------------- nodes to drafts


class Lowering:
    """The drafts of a graph of one image, and the view of each of its values."""

    def __init__(self, graph: Graph, machine: Machine, threads: int, without: frozenset[str]):
        self.graph, self.machine, self.threads, self.without = graph, machine, threads, without
        self.drafts: list[Draft] = []
        self.views: dict[int, View] = {}
        self.buffers: list[Buffer] = []
        self.node: Node | None = None

    def run(self) -> None:
        """Lower the whole graph."""
        for which, k in enumerate(self.graph.inputs):
            self.take_input(which, k)
        for node in self.graph.nodes:
            rule = RULES.get(node.op.name)
            if rule is None:
                raise UnsupportedError(node, "no kernel of a plan computes it")
            if self.graph.dtypes[node.output] != np.float32:
                raise UnsupportedError(node, f"computes {self.graph.dtypes[node.output]} numbers")
            self.node = node
            self.sizes(node.output)
            rule(self, node)
        self.node = None
        for which, k in enumerate(self.graph.output_ids()):
            self.give_output(which, k)

    # ---- values

    def sizes(self, k: int | None) -> tuple[int, int, int]:
        """(C, H, W) of a value of one image."""
        assert k is not None
        shape = self.graph.shapes[k]
        if len(shape) == 2 and shape[0] == 1:
            return shape[1], 1, 1
        if len(shape) != 4 or shape[0] != 1:
            assert self.node is not None
            raise UnsupportedError(self.node, f"a value of shape {list(shape)} is not an image")
        return shape[1], shape[2], shape[3]

    def constant(self, k: int | None) -> Array | None:
        return None if k is None else self.graph.constants.get(k)

    def view(self, k: int | None) -> View:
        """A value that the plan computes."""
        if k not in self.views:
            assert self.node is not None
            raise UnsupportedError(self.node, "an operand is a constant")
        return self.views[k]

    def image(self, k: int | None) -> View:
        """A value as whole vectors of channels; a copy, if it is channels from here and there."""
        view = self.view(k)
        if view.is_image(self.machine.lanes) and not view.buffer.shape.frozen:
            return view
        if "copy" not in view.cache:
            view.cache["copy"] = self.copied(view)
        return view.cache["copy"]

    def pixels(self, k: int | None) -> View:
        """As `image`, of pixels that are side by side."""
        x = self.image(k)
        return self.copied(x) if x.strided else x

    def new(self, C: int, H: int, W: int) -> View:
        """Memory for another image."""
        buffer = Buffer(H, W, C, self.machine.lanes)
        self.buffers.append(buffer)
        return whole(buffer)

    def zeros(self, H: int, W: int) -> View:
        """A channel that is 0: memory that nothing else ever has, as it is when it is allocated."""
        view = self.new(1, H, W)
        view.buffer.forever = True
        return view

    def emit(self, draft: Draft) -> View:
        """Add a step; returns the view of what it writes."""
        node = self.node
        if node is not None:
            draft.op = draft.op or node.op.name
            draft.name = draft.name or node.name or node.op.name
        self.drafts.append(draft)
        return draft.y

    def set(self, node: Node, draft: Draft) -> None:
        """A step that computes the node."""
        draft.value = node.output
        y = self.emit(draft)
        self.views[node.output] = y if draft.lanes is None else y.channels(draft.lanes)

    # ---- in and out

    def take_input(self, which: int, k: int) -> None:
        users = [node for node in self.graph.nodes if k in node.inputs]
        self.node = users[0]  # which is refused if the input is no image
        C, H, W = self.sizes(k)
        self.node = None
        source = Buffer(H, W, C, 1)
        source.region = ("input", which)
        y = self.new(C, H, W)
        stem = {"conv2d", "conv2d_act"}
        if C < 4 and H * W > 1 and all(n.op.name in stem and n.inputs[0] == k for n in users):
            y.buffer.shape.pitch, y.buffer.shape.frozen = C, True
        draft = Draft("planes_to_image", whole(source), y, op="input", name=f"input {which}")
        draft.why = "NCHW as given → channels last, with a halo"
        draft.value = k
        self.views[k] = self.emit(draft)

    def give_output(self, which: int, k: int) -> None:
        if k not in self.views:
            raise ValueError("compile: an output of the model is a constant")
        C, H, W = self.sizes(k)
        target = Buffer(H, W, C, 1)
        target.region = ("output", which)
        draft = Draft("image_to_planes", self.pixels(k), whole(target), op="output")
        draft.name = f"output {which}"
        draft.why = "back to NCHW"
        self.emit(draft)

    # ---- copies

    def copied(self, view: View) -> View:
        """The same value as one image of its own."""
        y = self.new(view.C, view.H, view.W)
        buffers = {run.buffer for run in view.runs}
        if len(buffers) == 1 or self.share_shapes(view):
            one = len(view.runs) == 1 and view.runs[0].first % self.machine.lanes == 0
            table = None if one else lambda: places(view)
            draft = Draft("copy", view, y, gather=table, K=0)
            draft.why = "its channels are not side by side"
            return self.emit(draft)
        channel = 0
        for run in view.runs:  # of different memory formats
            part = View((run,), *view.window())
            target = View((Run(y.buffer, channel, run.count),), view.H, view.W)
            draft = Draft("copy", part, target, K=1)
            draft.why = "its channels are not side by side"
            self.emit(draft)
            channel += run.count
        return y

    def share_shapes(self, view: View) -> bool:
        """Make all that the view reads alike in memory, so that one table reaches all of it."""
        buffers = list({run.buffer.root()[0]: None for run in view.runs})
        if any(buffer.shape.frozen for buffer in buffers):
            return False
        pitches = [buffer.shape.pitch for buffer in buffers]
        if max(pitches) > 2 * min(pitches):
            return False
        for other in buffers[1:]:
            buffers[0].share_shape(other)
        return True


def places(view: View) -> Array:
    """Where each channel of a view lies, in floats from its origin."""
    base = origin(view)
    parts = [run.buffer.at() - base + run.first + np.arange(run.count) for run in view.runs]
    return np.concatenate(parts).astype(np.int32)


def origin(view: View) -> int:
    """Where the first buffer begins; of a single run, its own first channel."""
    return view.buffer.at() + (view.runs[0].first if len(view.runs) == 1 else 0)


# --------------------------------------------------------------------------- drafts to steps


@dataclass
class Plan:
    """Steps in numbers, and all that they read."""

    steps: list[Step]
    drafts: list[Draft]  # the same for people
    weights: Array
    tables: Array
    arena: int  # floats
    inputs: list[tuple[int, ...]]  # shapes of one image
    outputs: list[tuple[int, ...]]
    packed: list[tuple[int, int]] = field(default_factory=list)  # places and sizes of weights

    @property
    def panels(self) -> list[list[int]]:
        """Where each step's weights begin, and how wide their panels are: what packing decided."""
        steps = (part for step in self.steps for part in step.parts or (step,))
        return sorted([step.w, step.panel] for step in steps if step.w >= 0)


class Arranger:
    """Gives every draft of a lowering its places."""

    def __init__(self, lowering: Lowering, weights: Array | None) -> None:
        self.lowering, self.given = lowering, weights
        self.weights: list[Packed] = []
        self.weight_places: dict[int, int] = {}
        self.end = 0
        self.tables: list[Array] = []
        self.table_end = 0
        self.scratch: list[tuple[Step, int]] = []

    def plan(self) -> Plan:
        lowering = self.lowering
        for n, draft in enumerate(lowering.drafts):
            for view in draft.views():
                for run in view.runs:
                    run.buffer.used(n)
        for buffer in lowering.buffers:
            if buffer.forever:
                buffer.used(0)
                buffer.used(len(lowering.drafts))
        roots = [
            b for b in lowering.buffers
            if b.parent is None and b.first >= 0 and b.region[0] == "arena"
        ]  # fmt: skip
        arena = arena_floats(roots, lowering.threads)
        for draft in lowering.drafts:
            for view in draft.views():
                buffer = view.buffer.root()[0]
                if buffer.region[0] != "arena":
                    buffer.offset = 0
        steps = [self.step(draft) for draft in lowering.drafts]
        most = max((size for _, size in self.scratch), default=0)
        for step, _ in self.scratch:
            step.scratch = arena
        slack = 16 * lowering.machine.lanes  # whole vectors are read where a value ends
        graph = lowering.graph
        return Plan(
            steps,
            lowering.drafts,
            self.collected(),
            np.concatenate([*self.tables, np.zeros(1, np.int32)]),
            arena + most + slack,
            [graph.shapes[k][1:] for k in graph.inputs],
            [graph.shapes[k][1:] for k in graph.output_ids()],
        )

    def collected(self) -> Array:
        """All weights, in the order in which they are read."""
        if self.given is not None:
            if self.given.shape != (self.end + 64,):
                raise ValueError(
                    f"the packed weights are {list(self.given.shape)}, expected {self.end + 64}"
                )
            return self.given
        from nanoconv._kernels import plan_cy

        weights = np.asarray(plan_cy.memory(self.end + 64))
        for place, packed in zip(self.weight_places.values(), self.weights, strict=True):
            weights[place : place + packed.floats] = packed.make().ravel()
        return weights

    def weight(self, packed: Packed | None) -> int:
        if packed is None:
            return -1
        place = self.end
        self.weights.append(packed)
        self.weight_places[len(self.weights)] = place
        self.end = (place + packed.floats + 15) // 16 * 16
        return place

    def table(self, array: Array | None) -> int:
        if array is None:
            return -1
        place = self.table_end
        self.tables.append(np.ascontiguousarray(array, np.int32).ravel())
        self.table_end += self.tables[-1].size
        return place

    def image(self, view: View) -> Image:
        buffer = view.buffer
        region, which = buffer.root()[0].region
        shape = buffer.shape
        if region == "scratch":  # rows of it; the step that has them knows where
            return Image(
                (0, 0, 0), view.H, view.W, view.C, shape.pitch, buffer.row,
                (0, 0, *shape.halo[2:]),
            )  # fmt: skip
        if region != "arena":
            return Image(
                (INPUT if region == "input" else OUTPUT, which, 0),
                view.H, view.W, view.C, 1, view.W, NO_HALO,
            )  # fmt: skip
        at, row, pitch = origin(view), buffer.row, shape.pitch
        return Image(
            (ARENA, 0, at + view.h0 * row + view.w0 * pitch),
            view.H, view.W, view.C, view.sw * pitch, view.sh * row,
            NO_HALO if view.strided else shape.halo,
        )  # fmt: skip

    def step(self, draft: Draft) -> Step:
        name, low, high = draft.act
        gather = None if draft.gather is None else draft.gather()
        step = Step(
            draft.kernel,
            self.image(draft.x),
            None if draft.r is None else self.image(draft.r),
            self.image(draft.y),
            draft.window,
            draft.K,
            ACTIVATIONS.index(name) if draft.number is None else draft.number,
            float(low),
            float(high),
        )
        packed = None if draft.w is None else draft.w()
        step.w, step.panel = self.weight(packed), packed.panel if packed else 0
        step.b = self.weight(draft.b)
        step.gather = self.table(gather)
        if draft.scratch is not None:
            threads = self.lowering.threads
            step.scratch_floats = (draft.scratch(threads) + 15) // 16 * 16
            self.scratch.append((step, step.scratch_floats * threads))
        step.parts = tuple(self.step(part) for part in draft.parts)
        if step.parts:
            from nanoconv._kernels import plan_cy

            step.scratch_floats = (plan_cy.band_scratch(step) + 15) // 16 * 16
            self.scratch.append((step, step.scratch_floats * self.lowering.threads))
        return step


def make_plan(
    graph: Graph,
    machine: Machine,
    threads: int,
    without: frozenset[str] = frozenset(),
    weights: Array | None = None,
) -> Plan:
    """The plan of a graph of one image; `weights`, if they are packed already."""
    from . import convolutions, others  # noqa: F401 (they fill RULES)
    from .fusion import bands

    lowering = Lowering(graph, machine, threads, without)
    lowering.run()
    if "bands" not in without:
        lowering.drafts = bands(lowering)
    return Arranger(lowering, weights).plan()


def activation(attrs: dict[str, Any]) -> tuple[str, float, float]:
    """What a fused op does to its sums."""
    name, low, high = attrs.get("activation") or IDENTITY
    return name, low, high
