"""The parts of a session: programs of compiled steps, and between them what no kernel computes.

A segment is as many nodes as kernels compute one after the other; or a single node that none does,
which is run as eager runs it, on one image at a time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

import numpy as np

from ..graph.ir import Graph, Node
from .plan import Plan, UnsupportedError, make_plan
from .steps import machine
from .team import Team

Array = np.ndarray


@dataclass
class Segment:
    """Part of a model: a program of compiled steps, or one node as eager runs it."""

    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    graph: Graph
    plan: Plan | None = None
    program: Any = None
    why: str = ""  # of a single node: that no kernel computes it
    team: Team = field(default_factory=Team)

    @property
    def node(self) -> Node:
        return self.graph.nodes[0]

    def run(self, values: dict[int, Array], N: int, threads: int) -> None:
        """Compute the outputs of a batch of N from the inputs, all in `values`."""
        if self.plan is None:
            images = [self.forward(values, n if N > 1 else None) for n in range(N)]
            values[self.outputs[0]] = images[0] if N == 1 else np.concatenate(images)
            return
        x, y = self.buffers(values, N)
        team, begin = self.team.threads(threads), perf_counter()
        lost = self.program.run(x, y, N, threads, team)
        if lost > self.team.ignores and N == 1:  # several images are computed side by side
            now = perf_counter()
            self.team.learn(team, now - begin, lost, now)

    def forward(self, values: dict[int, Array], n: int | None) -> Array:
        """The node as eager runs it, on image n alone: its attributes are those of one image."""
        arrays = {k: values[k] for k in self.node.inputs if k is not None}
        if n is not None:
            own = arrays.keys() - self.graph.constants.keys()
            arrays |= {k: arrays[k][n : n + 1] for k in own}
        return self.node.forward(*(None if k is None else arrays[k] for k in self.node.inputs))

    def buffers(self, values: dict[int, Array], N: int) -> tuple[list[Array], list[Array]]:
        """The inputs as contiguous arrays, and new ones for the outputs."""
        # What small networks take for long is each first call of a function since their last run.
        x = [values[k] for k in self.inputs]
        x = [array if array.flags.c_contiguous else array.copy() for array in x]
        y = []
        for k in self.outputs:
            values[k] = array = np.empty((N, *self.graph.shapes[k][1:]), np.float32)
            y.append(array)
        return x, y


def part_of(graph: Graph, nodes: Sequence[Node]) -> Graph:
    """The graph of some nodes that follow each other: what they read, and what is read of them."""
    inside = {node.output for node in nodes}
    read = dict.fromkeys(k for node in nodes for k in node.inputs if k is not None)
    inputs = tuple(k for k in read if k not in inside and k not in graph.constants)
    later = set(graph.output_ids())
    later |= {
        k for node in graph.nodes if node.output not in inside for k in node.inputs if k is not None
    }
    outputs = tuple(node.output for node in nodes if node.output in later)
    return Graph(inputs, outputs, tuple(nodes), graph.shapes, graph.dtypes, graph.constants)


def segments(
    graph: Graph, threads: int, without: frozenset[str], packed: Sequence[Array] | None = None
) -> list[Segment]:
    """The whole model as programs, with single nodes between them where there must be.

    `packed`: the weights of the programs, if they are packed already.
    """
    found: list[Segment] = []
    ready = iter(packed or ())
    weights = next(ready, None)
    waiting: list[tuple[Sequence[Node], str]] = [(graph.nodes, "")]  # the first nodes are last
    while waiting:
        nodes, why = waiting.pop()
        if why:
            found.append(eager_segment(graph, nodes[0], why))
        elif nodes:
            try:
                found.append(compiled(part_of(graph, nodes), threads, without, weights))
                weights = next(ready, None)
            except UnsupportedError as error:  # the nodes before it and behind it, once more
                at = [node.output for node in nodes].index(error.node.output)
                waiting += [(nodes[at + 1 :], ""), ([error.node], error.why), (nodes[:at], "")]
    return found


def compiled(graph: Graph, threads: int, without: frozenset[str], weights: Array | None) -> Segment:
    """The program of a graph; UnsupportedError if one of its nodes has no kernel."""
    from nanoconv._kernels import plan_cy

    plan = make_plan(graph, machine(), threads, without, weights)
    sizes = [[int(np.prod(shape)) for shape in shapes] for shapes in (plan.inputs, plan.outputs)]
    program = plan_cy.Program(plan.steps, plan.weights, plan.tables, plan.arena, *sizes)
    return Segment(graph.inputs, graph.output_ids(), graph, plan, program)


def eager_segments(graph: Graph, why: str) -> list[Segment]:
    """Every node as eager runs it."""
    return [eager_segment(graph, node, why) for node in graph.nodes]


def eager_segment(graph: Graph, node: Node, why: str) -> Segment:
    part = part_of(graph, [node])
    return Segment(part.inputs, (node.output,), part, why=why)
