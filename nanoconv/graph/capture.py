"""Capture: a model of any Python code, written down as a graph by listening to one run of it.

Every op passes the funnel `tensor.apply`. What it computed from an input of the model becomes a
node; a tensor that no input went into, as a parameter, or the variance of a weight, is a constant.

The graph holds for all inputs of these shapes only if nothing else depended on the input. Whatever
may is an error that names the line: reading numbers of a computed tensor, as `if x.sum() > 0` does,
changing tensors in place, random numbers, and using what ops return beside their output.
"""

from __future__ import annotations

import copy
import functools
import sys
import weakref
from collections.abc import Iterator
from pathlib import Path
from types import CodeType
from typing import Any

import numpy as np

from .. import config
from ..dispatch import Op
from ..tape import no_grad, observe, watch
from ..tensor import Tensor, as_array, wrap
from .ir import Array, Graph, Node, leaves, mapped, owner
from .summary import names_of, running

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
    with no_grad(), observe(recorder.hear), watch(recorder.told):
        result = model(*inputs)
    if random_state() != before:
        raise CaptureError(
            "capture: the model drew random numbers, which would be the same ones in every run; "
            "give them to the model as an input"
        )
    return recorder.graph(inputs, result)


def check_evaluating(model: Any) -> None:
    """It is no class, and no module is in training mode."""
    if isinstance(model, type):
        raise TypeError(f"capture: the model is the class {model.__name__}, expected an object")
    for name, module in model.named_modules() if hasattr(model, "named_modules") else ():
        if module.training:
            which = f"its module {name!r}" if name else "the model"
            raise ValueError(f"capture: {which} is in training mode; call model.eval() first")


def random_state() -> Any:
    """Of the generator of the process: it changes with every number drawn."""
    return config.generator().bit_generator.state


# --------------------------------------------------------------------------- listening


class Known:
    """What is known of arrays, of each as long as it lives: a capture keeps no activation."""

    def __init__(self) -> None:
        self._notes: dict[int, tuple[Any, Any]] = {}

    def note(self, array: Array, what: Any) -> None:
        key, notes = id(array), self._notes
        notes[key] = weakref.ref(array, lambda _: notes.pop(key, None)), what

    def of(self, array: Array) -> Any:
        """What was noted of this array; None if nothing was."""
        return self._notes.get(id(array), (None, None))[1]


class Recorder:
    """Hears every op of a run, and numbers the values by the arrays that hold them.

    numbers    of the array of a value: its number
    computed   of the array whose memory it lies in: the op that computed it
    extra      the same of what ops returned beside their outputs
    frozen     True of what must not change: memory of the model, and of constants
    """

    def __init__(self, model: Any, inputs: list[Tensor]) -> None:
        self.numbers, self.computed, self.extra, self.frozen = Known(), Known(), Known(), Known()
        self.nodes: list[Node] = []
        self.shapes: list[tuple[int, ...]] = []  # by number
        self.dtypes: list[np.dtype] = []
        self.constants: dict[int, Array] = {}
        self.places: dict[tuple, int] = {}  # where a constant lies in memory → its number
        self.names = names_of(model)
        self.frame = sys._getframe(1)
        held = (*model.parameters(), *model.buffers()) if hasattr(model, "parameters") else ()
        for t in held:
            self.frozen.note(owner(t._data), True)
        for t in inputs:
            self.number(t._data)
            self.computed.note(owner(t._data), "the caller")

    def number(self, array: Array) -> int:
        """A new number."""
        self.shapes.append(array.shape)
        self.dtypes.append(array.dtype)
        self.numbers.note(array, len(self.shapes) - 1)
        return len(self.shapes) - 1

    def value(self, t: Tensor, reader: str) -> int:
        """The number of a tensor that `reader` reads; a new constant if no op computed it."""
        array, memory = t._data, owner(t._data)
        if (number := self.numbers.of(array)) is not None:
            return number
        if op := self.extra.of(memory):
            raise self.error(
                f"{reader} reads what {op} returned beside its output (positions or statistics)",
                "a graph has only the first output of an op",
            )
        if op := self.computed.of(memory):
            raise self.error(
                f"{reader} reads an array that shares memory with what {op} computed, but came "
                "from no op",
                "use the ops of nanoconv on tensors, not NumPy on their arrays",
            )
        place = (*array.__array_interface__["data"], array.shape, array.strides, array.dtype)
        if place not in self.places:
            self.places[place] = self.number(array)
            self.constants[self.places[place]] = array
            self.frozen.note(memory, True)
        self.numbers.note(array, self.places[place])
        return self.places[place]

    def hear(self, op: Op, inputs: tuple, attrs: dict, y: Tensor, extra: tuple) -> None:
        """After every op."""
        for array in arrays_in(tuple(attrs.values())):
            source = self.extra.of(owner(array)) or self.computed.of(owner(array))
            if source:
                raise self.error(
                    f"{op.name} takes an array that {source} computed as an attribute",
                    "a graph holds attributes as they were in one run",
                )
        touched = [t for t in inputs if t is not None and self.touched(t)]
        if not touched:
            return  # a constant, if anything ever reads it
        beside = [self.beside(t) for t in touched]
        if all(beside):  # what is computed from extras alone is one, and no matter if not read
            self.extra.note(owner(y._data), beside[0])
            return
        if op.name in RANDOM:
            raise self.error(f"{op.name} is random", "call eval(), or pass training=False")
        numbers = tuple(None if t is None else self.value(t, op.name) for t in inputs)
        output = self.number(y._data)
        self.computed.note(owner(y._data), op.name)
        for array in extra:
            if isinstance(array, np.ndarray) and not self.frozen.of(owner(array)):
                self.extra.note(owner(array), op.name)
        name, line = running(self.names), self.line()
        self.nodes.append(Node(op, numbers, dict(attrs), output, name, line))

    def touched(self, t: Tensor) -> bool:
        """An input of the model went into the tensor."""
        return bool(self.computed.of(owner(t._data)) or self.extra.of(owner(t._data)))

    def beside(self, t: Tensor) -> str | None:
        """The op that returned the tensor beside its output."""
        return None if self.numbers.of(t._data) is not None else self.extra.of(owner(t._data))

    def told(self, t: Tensor, how: str) -> None:
        """Before anything reads numbers of a tensor, or changes them."""
        changes = how.startswith("in-place")
        if self.touched(t):
            instead = "its numbers are others for another input; compute with ops on tensors"
            if changes:
                instead = "compute a new tensor in its place"
            raise self.error(f"{how} of a tensor that was computed from an input", instead)
        if changes and self.frozen.of(owner(t._data)):
            raise self.error(
                f"{how} of a parameter, a buffer or a constant that was used before",
                "a graph has no state; compute a new tensor in its place",
            )

    def error(self, what: str, instead: str) -> CaptureError:
        line, name = self.line(), running(self.names)
        where = f"{line}: " if line else ""
        inside = f" in module {name!r}" if name else ""
        return CaptureError(f"capture: {where}{what}{inside}; {instead}")

    def line(self) -> str:
        """The innermost line that is not nanoconv's own: of a model."""
        frame: Any = sys._getframe(1)
        while frame is not None and frame is not self.frame:
            if file := model_file(frame.f_code):
                return f"{file}:{frame.f_lineno}"
            frame = frame.f_back
        return ""

    def graph(self, inputs: list[Tensor], result: Any) -> Graph:
        """What was heard, with the model's result."""
        found = [*leaves(result)]
        for leaf in found or [result]:  # without a leaf it is None, or an empty tuple
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
            dict(enumerate(self.shapes)),
            dict(enumerate(self.dtypes)),
            {k: array for k, array in self.constants.items() if k in read},
        )


@functools.lru_cache(maxsize=1024)
def model_file(code: CodeType) -> str:
    """The name of the file, if it is not one of nanoconv's own; "" otherwise."""
    path = code.co_filename
    own = path.startswith(PACKAGE) and not path.startswith(MODELS)
    return "" if own or path == copy.__file__ else Path(path).name


def arrays_in(values: tuple) -> Iterator[Array]:
    """The arrays among attributes, and in their tuples."""
    for value in values:
        if isinstance(value, np.ndarray):
            yield value
        elif isinstance(value, tuple):
            yield from arrays_in(value)
