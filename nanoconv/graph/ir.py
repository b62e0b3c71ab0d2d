"""A graph: what a model computed, as a list of ops on numbered values.

    node      %7 = op(%3, %5; attributes): one run of an op, the same object that eager runs
    value     an input of the model, the output of a node, or a constant; each has a number
    graph     the nodes in the order in which they ran

`Graph.run` goes through the nodes with each op's own forward, so that a graph computes what eager
computes, bit for bit, and `nc.use` picks its implementations too. Graphs are never changed: the
passes of `passes/` make new ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..dispatch import Op

Array = np.ndarray
Shape = tuple[int, ...]


@dataclass(frozen=True)
class Node:
    """One run of an op; `output` is the number of its value.

    name    the innermost module that was running, as "features.1.conv.0"; "" outside of all
    line    "file.py:123", where the model's code called the op; "" if there is no such code
    """

    op: Op
    inputs: tuple[int | None, ...]
    attrs: dict[str, Any]
    output: int
    name: str = ""
    line: str = ""

    def forward(self, *arrays: Array | None) -> Array:
        """What the op makes of these arrays; what it returns beside that is for its gradient."""
        with np.errstate(all="ignore"):
            result = self.op.forward(*arrays, **self.attrs)
        return np.asarray(result[0] if isinstance(result, tuple) else result)


@dataclass
class Graph:
    """Nodes in execution order, and what their values are.

    inputs      the numbers of the model's arguments, in their order
    outputs     the model's result with numbers in the place of tensors: an int, or a tuple, list or
                dict of such, nested as the model nested them
    constants   parameters, buffers and literals by number; they share the model's memory
    """

    inputs: tuple[int, ...]
    outputs: Any
    nodes: tuple[Node, ...]
    shapes: dict[int, Shape]
    dtypes: dict[int, np.dtype]
    constants: dict[int, Array] = field(default_factory=dict)

    def run(self, *arrays: Any, keep: bool = False) -> Any:
        """The model's result for these inputs, of arrays in the place of tensors.

        With `keep`, (result, all values by number).
        """
        if len(arrays) != len(self.inputs):
            raise ValueError(f"run: got {len(arrays)} inputs, expected {len(self.inputs)}")
        values: dict[Any, Any] = {None: None}
        values.update(self.constants)
        for k, (value, array) in enumerate(zip(self.inputs, arrays, strict=True)):
            array = np.asarray(array)
            if array.shape != self.shapes[value] or array.dtype != self.dtypes[value]:
                raise ValueError(
                    f"run: input {k} is {array.dtype}{list(array.shape)}, expected "
                    f"{self.dtypes[value]}{list(self.shapes[value])}"
                )
            values[value] = array
        last = {} if keep else self.last_uses()
        for n, node in enumerate(self.nodes):
            values[node.output] = node.forward(*(values[k] for k in node.inputs))
            for k in last.get(n, ()):
                del values[k]
        result = mapped(self.outputs, lambda k: values[k])
        del values[None]
        return (result, values) if keep else result

    def output_ids(self) -> tuple[int, ...]:
        """The numbers in `outputs`, from left to right."""
        return tuple(leaves(self.outputs))

    def users(self, value: int) -> list[Node]:
        """The nodes that read a value."""
        return [node for node in self.nodes if value in node.inputs]

    def producer(self, value: int) -> Node | None:
        """The node that computes a value; None for inputs and constants."""
        return next((node for node in self.nodes if node.output == value), None)

    def last_uses(self) -> dict[int, list[int]]:
        """For each place in `nodes`, the computed values that nothing reads after it."""
        place = {
            k: n
            for n, node in enumerate(self.nodes)
            for k in (*node.inputs, node.output)
            if k is not None and k not in self.constants
        }
        last: dict[int, list[int]] = {}
        for k, n in place.items():
            if k not in self.output_ids():
                last.setdefault(n, []).append(k)
        return last

    def __str__(self) -> str:
        lines = [f"%{k} = input {self.kind(k)}" for k in self.inputs]
        for node in self.nodes:
            inputs = ", ".join(self._shown(k) for k in node.inputs)
            attrs = "".join(f"; {k}={v}" for k, v in node.attrs.items() if k != "geo")
            where = f"    # {node.name} {node.line}".rstrip(" #")
            call = f"{node.op.name}({inputs}{attrs}{window(node)})"
            lines.append(f"%{node.output} = {call} {self.kind(node.output)}{where}")
        return "\n".join([*lines, f"return {mapped(self.outputs, lambda k: f'%{k}')}"])

    def _shown(self, value: int | None) -> str:
        if value is None:
            return "-"
        return f"constant {self.kind(value)}" if value in self.constants else f"%{value}"

    def kind(self, value: int) -> str:
        """Dtype and shape in words."""
        return f"{self.dtypes[value]}{list(self.shapes[value])}"


def window(node: Node) -> str:
    """The geometry of a node in short."""
    geo = node.attrs.get("geo")
    if geo is None:
        return ""
    text = f"; {geo.KH}×{geo.KW}/{geo.sh}"
    text += f" groups={geo.G}" if geo.G > 1 else ""
    return text + (f" padding={(geo.pt, geo.pb, geo.pl, geo.pr)}" if geo.pt + geo.pl else "")


def mapped(structure: Any, change: Callable[[Any], Any]) -> Any:
    """The same nesting of tuples, lists and dicts with `change` of each leaf; None stays None."""
    if structure is None:
        return None
    if isinstance(structure, dict):
        return {key: mapped(value, change) for key, value in structure.items()}
    if isinstance(structure, (tuple, list)):
        parts = [mapped(value, change) for value in structure]
        kind: Any = type(structure)
        return kind(*parts) if hasattr(kind, "_fields") else kind(parts)
    return change(structure)


def leaves(structure: Any) -> Iterator[Any]:
    """The leaves of such a nesting, from left to right."""
    found: list[Any] = []
    mapped(structure, found.append)
    return iter(found)


def owner(array: Array) -> Array:
    """The array whose memory this one is a view of."""
    while isinstance(array.base, np.ndarray):
        array = array.base
    return array
