"""Capture: a model of any Python code, written down as a graph by listening to one run of it.

Every op passes the funnel `tensor.apply`. What it computed from an input of the model becomes a
node; a tensor that no input went into, as a parameter, or the variance of a weight, is a constant.

The graph holds for all inputs of these shapes only if nothing else depended on the input. Whatever
may is an error that names the line: reading numbers of a computed tensor, as `if x.sum() > 0` does,
changing tensors in place, random numbers, and using what ops return beside their output.
"""

from __future__ import annotations

import copy
import sys
from collections.abc import Iterator
from pathlib import Path
from types import CodeType
from typing import Any

import numpy as np

from .. import config
from ..dispatch import Op
from ..tape import no_grad, observe, watch
from ..tensor import Tensor, as_array, wrap
from .ir import Array, Graph, Node, leaves, mapped
from .summary import innermost

PACKAGE = str(Path(__file__).resolve().parent.parent)
MODELS = (str(Path(PACKAGE, "models")), str(Path(PACKAGE, "nn", "blocks")))  # code like users'
RANDOM = ("dropout", "alpha_dropout", "rrelu")


class CaptureError(RuntimeError):
    """The model did what a graph cannot hold; the message says what, where and what to do."""


def capture(model: Any, *examples: Any) -> Graph:
    """The graph of one run of `model` on `examples`, arrays or tensors.

    `model` is a Module in evaluation mode (ValueError otherwise), or any function of tensors that
    returns a tensor, or a tuple, list or dict of them, nested at will. CaptureError where the graph
    would not hold for other inputs of the same shapes.

    >>> from nanoconv import nn
    >>> print(capture(nn.Sequential(nn.Flatten(), nn.ReLU()).eval(), np.zeros((1, 2, 2), "f4")))
    %0 = input float32[1, 2, 2]
    %1 = flatten(%0; start_dim=1; end_dim=2) float32[1, 4]    # 0
    %2 = relu(%1) float32[1, 4]    # 1
    return %2
    """
    check_evaluating(model)
    inputs = [wrap(np.array(as_array(example), order="C")) for example in examples]
    recorder = Recorder(model, inputs)
    before = random_state()
    with (
        no_grad(),
        innermost(model) as recorder.running,
        observe(recorder.hear),
        watch(recorder.told),
    ):
        result = model(*inputs)
    if random_state() != before:
        raise CaptureError(
            "capture: the model drew random numbers, which would be the same ones in every run; "
            "give them to the model as an input"
        )
    return recorder.graph(inputs, result)


def check_evaluating(model: Any) -> None:
    """No module is in training mode."""
    for name, module in model.named_modules() if hasattr(model, "named_modules") else ():
        if module.training:
            which = f"its module {name!r}" if name else "the model"
            raise ValueError(f"capture: {which} is in training mode; call model.eval() first")


def random_state() -> Any:
    """Of the generator of the process: it changes with every number drawn."""
    return config.generator().bit_generator.state


# --------------------------------------------------------------------------- listening


class Recorder:
    """Hears every op of a run, and numbers the values by the arrays that hold them."""

    def __init__(self, model: Any, inputs: list[Tensor]) -> None:
        self.nodes: list[Node] = []
        self.arrays: list[Array] = []  # by number; holding them keeps their id()s theirs
        self.numbers: dict[int, int] = {}  # id of an array → its number
        self.constants: dict[int, Array] = {}
        self.places: dict[tuple, int] = {}  # where a constant lies in memory → its number
        self.computed: dict[int, str] = {}  # id of an array that owns computed memory → its op
        self.extra: dict[int, str] = {}  # the same of what ops returned beside their outputs
        self.alive: list[Array] = []  # whose id()s are used here too
        self.running: list[str] = []
        self.frame = sys._getframe(1)
        held = (*model.parameters(), *model.buffers()) if hasattr(model, "parameters") else ()
        self.frozen = {id(owner(t._data)) for t in held}  # must not change during the run
        for t in inputs:
            self.number(t._data, "the input")

    def number(self, array: Array, op: str) -> int:
        """A new number for what `op` computed."""
        self.arrays.append(array)
        self.numbers[id(array)] = len(self.arrays) - 1
        self.computed[id(owner(array))] = op
        return len(self.arrays) - 1

    def value(self, t: Tensor, reader: str) -> int:
        """The number of a tensor that `reader` reads; a new constant if no op computed it."""
        array = t._data
        if id(array) in self.numbers:
            return self.numbers[id(array)]
        memory = id(owner(array))
        if memory in self.extra:
            raise self.error(
                f"{reader} reads what {self.extra[memory]} returned beside its output (positions "
                "or statistics)",
                "a graph has only the first output of an op",
            )
        if memory in self.computed:
            raise self.error(
                f"{reader} reads an array that shares memory with what {self.computed[memory]} "
                "computed, but came from no op",
                "use the ops of nanoconv on tensors, not NumPy on their arrays",
            )
        place = (*array.__array_interface__["data"], array.shape, array.strides, array.dtype)
        if place not in self.places:
            self.arrays.append(array)
            self.places[place] = len(self.arrays) - 1
            self.constants[self.places[place]] = array
            self.frozen.add(memory)
        self.numbers[id(array)] = self.places[place]
        self.alive.append(array)
        return self.places[place]

    def hear(self, op: Op, inputs: tuple, attrs: dict, y: Tensor, extra: tuple) -> None:
        """After every op."""
        for array in arrays_in(tuple(attrs.values())):
            memory = id(owner(array))
            if memory in self.extra or memory in self.computed:
                source = self.extra.get(memory) or self.computed[memory]
                raise self.error(
                    f"{op.name} takes an array that {source} computed as an attribute",
                    "a graph holds attributes as they were in one run",
                )
        touched = [t for t in inputs if t is not None and self.touched(t)]
        if not touched:
            return  # a constant, if anything ever reads it
        beside = [self.extra.get(id(owner(t._data))) for t in touched]
        if all(beside):  # what is computed from extras alone is one, and no matter if not read
            self.add_extra(y._data, beside[0] or "")
            return
        if op.name in RANDOM:
            raise self.error(f"{op.name} is random", "call eval(), or pass training=False")
        numbers = tuple(None if t is None else self.value(t, op.name) for t in inputs)
        output = self.number(y._data, op.name)
        for array in extra:
            if isinstance(array, np.ndarray):
                self.add_extra(array, op.name)
        name = self.running[-1] if self.running else ""
        self.nodes.append(Node(op, numbers, dict(attrs), output, name, self.line()))

    def add_extra(self, array: Array, op: str) -> None:
        self.alive.append(array)
        self.extra[id(owner(array))] = op

    def touched(self, t: Tensor) -> bool:
        """An input of the model went into the tensor."""
        memory = id(owner(t._data))
        return memory in self.computed or memory in self.extra

    def told(self, t: Tensor, how: str) -> None:
        """Before anything reads numbers of a tensor, or changes them."""
        changes = how.startswith("in-place")
        if self.touched(t):
            instead = "its numbers are others for another input; compute with ops on tensors"
            if changes:
                instead = "compute a new tensor in its place"
            raise self.error(f"{how} of a tensor that was computed from an input", instead)
        if changes and id(owner(t._data)) in self.frozen:
            raise self.error(
                f"{how} of a parameter, a buffer or a constant that was used before",
                "a graph has no state; compute a new tensor in its place",
            )

    def error(self, what: str, instead: str) -> CaptureError:
        line, name = self.line(), self.running[-1] if self.running else ""
        where = f"{line}: " if line else ""
        inside = f" in module {name!r}" if name else ""
        return CaptureError(f"capture: {where}{what}{inside}; {instead}")

    def line(self) -> str:
        """The innermost line that is not nanoconv's own: of a model."""
        frame: Any = sys._getframe(1)
        while frame is not None and frame is not self.frame:
            if not is_library(frame.f_code):
                return f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno}"
            frame = frame.f_back
        return ""

    def graph(self, inputs: list[Tensor], result: Any) -> Graph:
        """What was heard, with the model's result."""
        for leaf in leaves(result):
            if not isinstance(leaf, Tensor):
                raise CaptureError(
                    f"capture: the model returned a {type(leaf).__name__}, expected tensors in "
                    "tuples, lists and dicts"
                )
        outputs = mapped(result, lambda t: self.value(t, "the result"))
        read = {k for node in self.nodes for k in node.inputs} | set(leaves(outputs))
        return Graph(
            tuple(range(len(inputs))),
            outputs,
            tuple(self.nodes),
            {k: array.shape for k, array in enumerate(self.arrays)},
            {k: array.dtype for k, array in enumerate(self.arrays)},
            {k: array for k, array in self.constants.items() if k in read},
        )


def is_library(code: CodeType) -> bool:
    path = code.co_filename
    return path == copy.__file__ or (path.startswith(PACKAGE) and not path.startswith(MODELS))


def owner(array: Array) -> Array:
    """The array whose memory this one is a view of."""
    while isinstance(array.base, np.ndarray):
        array = array.base
    return array


def arrays_in(values: tuple) -> Iterator[Array]:
    """The arrays among attributes, and in their tuples."""
    for value in values:
        if isinstance(value, np.ndarray):
            yield value
        elif isinstance(value, tuple):
            yield from arrays_in(value)
