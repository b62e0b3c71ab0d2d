"""Rewrite: a copy of a graph that a pass may change, and the questions that passes ask of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from ..ir import Array, Graph, Node, leaves, mapped


class Rewrite:
    """The nodes of a graph by the number of their output, still in execution order.

    `put` replaces a node by one that computes the same value in another way. The new one stands in
    the old one's place, so it may read whatever was computed before that.
    """

    def __init__(self, graph: Graph) -> None:
        self.before = graph
        self.nodes = {node.output: node for node in graph.nodes}
        self.outputs = graph.outputs
        self.shapes, self.dtypes = dict(graph.shapes), dict(graph.dtypes)
        self.constants = dict(graph.constants)
        self.reads: dict[int, list[int]] = {}  # value → the nodes that read it, −1 for the result
        for node in graph.nodes:
            self._read(node)
        for k in leaves(graph.outputs):
            self.reads.setdefault(k, []).append(-1)

    def _read(self, node: Node) -> None:
        for k in node.inputs:
            if k is not None:
                self.reads.setdefault(k, []).append(node.output)

    # ---- asking

    def walk(self) -> Iterator[Node]:
        """The nodes that there are now, each as it is when its turn comes, if it is still there."""
        for output in list(self.nodes):
            if output in self.nodes:
                yield self.nodes[output]

    def source(self, value: int | None, *ops: str) -> Node | None:
        """The node that computes a value, if it is one of these ops."""
        node = self.nodes.get(value) if value is not None else None
        return node if node is not None and node.op.name in ops else None

    def only_source(self, value: int | None, *ops: str) -> Node | None:
        """The same, if nothing but one input of one node reads the value."""
        node = self.source(value, *ops)
        return node if node is not None and len(self.reads[node.output]) == 1 else None

    def only_reader(self, value: int) -> Node | None:
        """The only node that reads a value, once; None if there are more, or the result has it."""
        reads = self.reads.get(value, [])
        return self.nodes.get(reads[0]) if len(reads) == 1 else None

    def array(self, value: int | None) -> Array | None:
        """The constant of this number."""
        return None if value is None else self.constants.get(value)

    def known(self, *values: int | None) -> bool:
        """All are constants, or None."""
        return all(k is None or k in self.constants for k in values)

    # ---- changing

    def constant(self, array: Any) -> int:
        """The number of a new constant."""
        array = np.ascontiguousarray(array)
        return self._new(array.shape, array.dtype, array)

    def value(self, like: int) -> int:
        """A new number for a value of the same shape and dtype."""
        return self._new(self.shapes[like], self.dtypes[like])

    def _new(self, shape: tuple[int, ...], dtype: np.dtype, array: Array | None = None) -> int:
        number = max(self.shapes) + 1
        self.shapes[number], self.dtypes[number] = shape, dtype
        if array is not None:
            self.constants[number] = array
        return number

    def put(self, node: Node, **changes: Any) -> Node:
        """`node` with these changes, in the place of what computed its output until now."""
        new = replace(node, **changes)
        old = self.nodes.get(new.output)
        for k in old.inputs if old is not None else ():
            if k is not None:
                self.reads[k].remove(new.output)
        self.nodes[new.output] = new
        self._read(new)
        return new

    def drop(self, node: Node) -> None:
        """A node that nothing reads any more goes, and those of which that is then true."""
        if self.reads.get(node.output) or node.output not in self.nodes:
            return
        for k in self.nodes.pop(node.output).inputs:
            if k is not None:
                self.reads[k].remove(node.output)
                if k in self.nodes:
                    self.drop(self.nodes[k])

    def alias(self, node: Node, value: int) -> None:
        """Whatever read the output of `node` reads `value` instead, and the node goes."""
        for output in set(self.reads.get(node.output, [])) - {-1}:
            user = self.nodes[output]
            self.put(user, inputs=tuple(value if k == node.output else k for k in user.inputs))
        results = self.reads.get(node.output, []).count(-1)
        self.reads.setdefault(value, []).extend([-1] * results)
        self.reads[node.output] = []
        self.outputs = mapped(self.outputs, lambda k: value if k == node.output else k)
        self.drop(node)

    def graph(self) -> Graph:
        """The new graph, of what it still has."""
        nodes = ordered(self.nodes)
        values = {k for node in nodes for k in (*node.inputs, node.output) if k is not None}
        values |= {*self.before.inputs, *leaves(self.outputs)}
        return Graph(
            self.before.inputs,
            self.outputs,
            nodes,
            {k: shape for k, shape in self.shapes.items() if k in values},
            {k: dtype for k, dtype in self.dtypes.items() if k in values},
            {k: array for k, array in self.constants.items() if k in values},
        )


def ordered(nodes: dict[int, Node]) -> tuple[Node, ...]:
    """Every node behind those that it reads; else in the order in which they are."""
    found: dict[int, Node] = {}
    for output in nodes:
        waiting = [output]
        while waiting:
            node = nodes[waiting[-1]]
            missing = [k for k in node.inputs if k in nodes and k not in found]
            if missing:
                waiting += missing
            else:
                found.setdefault(waiting.pop(), node)
    return tuple(found.values())
