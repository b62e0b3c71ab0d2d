"""`nc.compile`: a model as a plan that runs it, without Python between the layers.

    graph = capture(model, example)      what the model did, op by op
    graph = optimise(graph)              passes that compute the same with less
    plan  = make_plan(graph)             which kernel, where in memory
    program                              C structs, run again and again

A plan computes one image; a batch is many runs (plan_cy.pyx says how threads share them). Nodes
that no kernel computes are run as eager does, between two programs: such a session is right, but
not fast, and `explain()` says which nodes these are.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .. import config
from ..graph.capture import capture
from ..graph.ir import Graph, Node, mapped
from ..graph.passes import optimise
from .plan import Plan, Unsupported, make_plan
from .steps import machine

Array = np.ndarray


@dataclass
class Segment:
    """Part of a model: a program of compiled steps, or one node as eager runs it."""

    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    plan: Plan | None = None
    program: Any = None
    node: Node | None = None
    why: str = ""  # of a node: that no kernel computes it


def part_of(graph: Graph, nodes: Sequence[Node]) -> Graph:
    """The graph of some nodes that follow each other: what they read, and what others read of it."""
    inside = {node.output for node in nodes}
    read = dict.fromkeys(k for node in nodes for k in node.inputs if k is not None)
    inputs = tuple(k for k in read if k not in inside and k not in graph.constants)
    later = set(graph.output_ids())
    later |= {k for node in graph.nodes if node not in nodes for k in node.inputs if k is not None}
    outputs = tuple(node.output for node in nodes if node.output in later)
    return Graph(inputs, outputs, tuple(nodes), graph.shapes, graph.dtypes, graph.constants)


def segments(graph: Graph, threads: int, without: frozenset[str]) -> list[Segment]:
    """The whole model as programs, with single nodes between them where there must be."""
    refused: dict[int, str] = {}
    while True:
        found: list[Segment] = []
        group: list[Node] = []
        try:
            for node in (*graph.nodes, None):
                if node is not None and node.output not in refused:
                    group.append(node)
                    continue
                if group:
                    found.append(compiled(part_of(graph, group), threads, without))
                    group = []
                if node is not None:
                    inputs = tuple(k for k in node.inputs if k is not None)
                    why = refused[node.output]
                    found.append(Segment(inputs, (node.output,), node=node, why=why))
            return found
        except Unsupported as error:
            refused[error.node.output] = error.why


def compiled(graph: Graph, threads: int, without: frozenset[str]) -> Segment:
    from nanoconv._kernels import plan_cy

    plan = make_plan(graph, machine(), threads, without)
    program = plan_cy.Program(
        plan.steps, plan.weights, plan.tables, plan.arena,
        [int(np.prod(shape)) for shape in plan.inputs],
        [int(np.prod(shape)) for shape in plan.outputs],
    )  # fmt: skip
    return Segment(graph.inputs, graph.output_ids(), plan, program)


class Session:
    """A compiled model: call it with arrays as the model is called with tensors."""

    def __init__(self, graph: Graph, batch: int, threads: int, without: frozenset[str] = frozenset()):
        self.graph, self.batch, self.threads = graph, batch, threads
        self.segments = segments(graph, threads, without)

    def __call__(self, *inputs: Any) -> Any:
        graph = self.graph
        if len(inputs) != len(graph.inputs):
            raise ValueError(f"session: got {len(inputs)} inputs, expected {len(graph.inputs)}")
        values: dict[int, Array] = dict(graph.constants)
        for k, (number, given) in enumerate(zip(graph.inputs, inputs, strict=True)):
            shape = (self.batch, *graph.shapes[number][1:])
            array = np.asarray(given)
            if array.shape != shape or array.dtype != graph.dtypes[number]:
                raise ValueError(
                    f"session: input {k} is {array.dtype}{list(array.shape)}, expected "
                    f"{graph.dtypes[number]}{list(shape)}"
                )
            values[number] = np.ascontiguousarray(array)
        threads = min(self.threads, config.get_num_threads())
        for segment in self.segments:
            if segment.node is not None:
                arrays = [None if k is None else values[k] for k in segment.node.inputs]
                values[segment.outputs[0]] = segment.node.forward(*arrays)
                continue
            for k in segment.outputs:
                values[k] = np.empty((self.batch, *graph.shapes[k][1:]), np.float32)
            x = [np.ascontiguousarray(values[k]).reshape(-1) for k in segment.inputs]
            y = [values[k].reshape(-1) for k in segment.outputs]
            segment.program.run(x, y, self.batch, threads)
        return mapped(graph.outputs, lambda k: values[k])


__all__ = ["Callable", "Segment", "Session", "contextlib", "field", "threading", "capture", "optimise"]
