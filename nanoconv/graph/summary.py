"""What a model costs, layer by layer: counted by running it once and listening at the funnel.

    MACs    multiply-adds, y ← y + w·x, of convolutions, linear layers and matrix products; what
            only adds, compares or scales (batch norm, activations, pooling) counts as none, as the
            papers count
    FLOPs   floating-point operations: two for each multiply-add
    bytes   what the ops read and write if each number is moved once: inputs, parameters and
            output of every op; views move nothing

Every op passes `tensor.apply`, and every op knows its multiply-adds. Nothing here knows any layer:
a model of any Python code is counted as it runs. What other libraries and torchvision's tables call
FLOPs are often MACs.

>>> from nanoconv import nn
>>> print(summary(nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU()), (1, 1, 8, 8)))
layer       output         parameters   MACs  FLOPs  bytes   share
0  Conv2d   1 × 4 × 6 × 6          40  1,296  2,592    992  100.0%
1  ReLU     1 × 4 × 6 × 6           0      0      0  1,152    0.0%
Sequential                         40  1,296  2,592  2,144  100.0%
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..dispatch import Op
from ..tape import no_grad, observe
from ..tensor import Tensor


@dataclass
class Layer:
    """A module's own part of the cost: without that of the modules inside it."""

    name: str
    kind: str  # the name of its class
    parameters: int = 0
    macs: int = 0
    output: tuple[int, ...] = ()  # the shape of its last op's output
    bytes: int = 0

    @property
    def flops(self) -> int:
        """Floating-point operations of one run: two per multiply-add."""
        return 2 * self.macs


@dataclass
class Summary:
    """The layers that hold parameters or ran ops, in the order of the model's parts."""

    model: str
    layers: list[Layer]
    modules: dict[str, str]  # the class of every module, by its name

    @property
    def parameters(self) -> int:
        """The numbers that training changes."""
        return sum(layer.parameters for layer in self.layers)

    @property
    def macs(self) -> int:
        """Multiply-adds of one run."""
        return sum(layer.macs for layer in self.layers)

    @property
    def flops(self) -> int:
        """Floating-point operations of one run: two per multiply-add."""
        return 2 * self.macs

    @property
    def bytes(self) -> int:
        """Bytes that the ops of one run read and write."""
        return sum(layer.bytes for layer in self.layers)

    def at_depth(self, depth: int) -> Summary:
        """The same, in which a module `depth` names deep stands for all modules inside it.

        Its output is that of the last one inside. ValueError if depth is not at least 1.
        """
        if depth < 1:
            raise ValueError(f"Summary.at_depth: depth={depth} must be at least 1")
        merged: dict[str, Layer] = {}
        for layer in self.layers:
            name = ".".join(layer.name.split(".")[:depth])
            into = merged.setdefault(name, Layer(name, self.modules[name]))
            into.parameters += layer.parameters
            into.macs += layer.macs
            into.bytes += layer.bytes
            into.output = layer.output or into.output
        return replace(self, layers=list(merged.values()))

    def rows(self) -> list[list[str]]:
        """The table as text: a heading, a row for each layer, the totals."""
        width = max((len(layer.name) for layer in self.layers), default=0)
        rows = [["layer", "output", "parameters", "MACs", "FLOPs", "bytes", "share"]]
        for layer in self.layers:
            output = " × ".join(map(str, layer.output))
            rows.append([f"{layer.name:<{width}}  {layer.kind}", output, *self._cells(layer)])
        rows.append([self.model, "", *self._cells(self)])
        return rows

    def _cells(self, of: Layer | Summary) -> list[str]:
        share = of.macs / self.macs if self.macs else 0.0
        counts = (of.parameters, of.macs, of.flops, of.bytes)
        return [*(f"{count:,}" for count in counts), f"{share:.1%}"]

    def as_dict(self) -> dict[str, Any]:
        """The same for JSON."""
        names = ("parameters", "macs", "flops", "bytes")
        return {
            "model": self.model,
            **{name: getattr(self, name) for name in names},
            "layers": [
                {
                    "name": layer.name,
                    "kind": layer.kind,
                    "output": list(layer.output),
                    **{name: getattr(layer, name) for name in names},
                }
                for layer in self.layers
            ],
        }

    def __str__(self) -> str:
        return aligned(self.rows(), left=2)


def aligned(rows: Sequence[Sequence[str]], left: int = 1) -> str:
    """A table in plain text: the first `left` columns flush left, the others flush right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if k < left else cell.rjust(width)
            for k, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )


Listener = Callable[[str, Op, tuple, dict, Tensor], None]  # of module, op, inputs, attributes, y


def listen(model: Any, input_shape: Sequence[int], listener: Listener) -> None:
    """Run the model once on zeros, in evaluation mode; tell of every op, and in which module."""
    names = names_of(model)

    def hear(op: Op, inputs: tuple, attrs: dict, y: Tensor, extra: tuple) -> None:
        listener(running(names), op, inputs, attrs, y)

    with evaluating(model), no_grad(), observe(hear):
        model(Tensor(np.zeros(tuple(input_shape), np.float32)))


def summary(model: Any, input_shape: Sequence[int]) -> Summary:
    """Parameters, multiply-adds, bytes and output shapes of every layer, for an input (N, C, H, W).

    Runs the model once on zeros, in evaluation mode. A parameter shared by several layers counts
    once. ValueError where the shape does not fit the model.
    """
    layers: dict[str, Layer] = {}
    seen: set[int] = set()
    for name, module in model.named_modules():
        own = [p for p in module.parameters(recurse=False) if id(p) not in seen]
        seen.update(map(id, own))
        layers[name] = Layer(name, type(module).__name__, sum(p.numel() for p in own))

    def count(name: str, op: Op, inputs: tuple, attrs: dict, y: Tensor) -> None:
        layer = layers[name]
        layer.macs += op.macs(y, *inputs, **attrs)
        layer.bytes += moved(inputs, y)
        layer.output = y.shape

    listen(model, input_shape, count)
    used = [layer for layer in layers.values() if layer.parameters or layer.output]
    modules = {layer.name: layer.kind for layer in layers.values()}
    return Summary(type(model).__name__, used, modules)


def moved(inputs: tuple, y: Tensor) -> int:
    """The bytes of what an op read and wrote; 0 for a view of one of its inputs."""
    read, written = [t.detach().numpy() for t in inputs if t is not None], y.detach().numpy()
    if any(np.may_share_memory(written, array) for array in read):
        return 0
    return sum(array.nbytes for array in read) + written.nbytes


def names_of(model: Any) -> dict[int, str]:
    """The name of each module of a model, by its id; none of a function that is no Module."""
    return {id(module): name for name, module in getattr(model, "named_modules", tuple)()}


def running(names: dict[int, str]) -> str:
    """The innermost of these modules that this thread is in; "" outside of all.

    Read off the stack: hooks on the modules would hear of other threads, too, and be in their way.
    """
    frame: Any = sys._getframe(1) if names else None
    while frame is not None:
        if frame.f_code.co_name == "__call__":
            name = names.get(id(frame.f_locals.get("self")))
            if name is not None:
                return name
        frame = frame.f_back
    return ""


@contextlib.contextmanager
def evaluating(model: Any) -> Iterator[None]:
    """In evaluation mode for a while; then every module is as it was."""
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True
