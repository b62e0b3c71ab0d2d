"""What a model costs, layer by layer: counted by running it once and listening at the funnel.

Every op passes `tensor.apply`, and every op knows its multiply-adds (MACs): y ← y + w·x is one MAC,
or two FLOPs. Convolutions, linear layers and matrix products have them; what only adds, compares or
scales (batch norm, activations, pooling) counts as none, as the papers count. Nothing here knows
any layer: a model of any Python code is counted as it runs.

>>> from nanoconv import nn
>>> print(summary(nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU()), (1, 1, 8, 8)))
layer       output         parameters   MACs
0  Conv2d   1 × 4 × 6 × 6          40  1,296
1  ReLU     1 × 4 × 6 × 6           0      0
Sequential                         40  1,296
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
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


@dataclass
class Summary:
    """The layers that hold parameters or ran ops, in the order of the model's parts."""

    model: str
    layers: list[Layer]

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

    def __str__(self) -> str:
        width = max((len(layer.name) for layer in self.layers), default=0)
        rows = [["layer", "output", "parameters", "MACs"]]
        for layer in self.layers:
            output = " × ".join(map(str, layer.output))
            name = f"{layer.name:<{width}}  {layer.kind}"
            rows.append([name, output, f"{layer.parameters:,}", f"{layer.macs:,}"])
        rows.append([self.model, "", f"{self.parameters:,}", f"{self.macs:,}"])
        return aligned(rows, left=2)


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


def summary(model: Any, input_shape: Sequence[int]) -> Summary:
    """Parameters, multiply-adds and output shapes of every layer, for an input (N, C, H, W).

    Runs the model once on zeros, in evaluation mode. A parameter shared by several layers counts
    once. ValueError where the shape does not fit the model.
    """
    layers: dict[str, Layer] = {}
    seen: set[int] = set()
    for name, module in model.named_modules():
        own = [p for p in module.parameters(recurse=False) if id(p) not in seen]
        seen.update(map(id, own))
        layers[name] = Layer(name, type(module).__name__, sum(p.numel() for p in own))

    def listen(op: Op, inputs: tuple, attrs: dict, y: Tensor) -> None:
        layer = layers[running[-1]]
        layer.macs += op.macs(y, *inputs, **attrs)
        layer.output = y.shape

    with evaluating(model), no_grad(), innermost(model) as running, observe(listen):
        model(Tensor(np.zeros(tuple(input_shape), np.float32)))
    used = [layer for layer in layers.values() if layer.parameters or layer.output]
    return Summary(type(model).__name__, used)


@contextlib.contextmanager
def innermost(model: Any) -> Iterator[list[str]]:
    """The names of the modules that are running, outermost first: a list that changes."""
    running: list[str] = []

    def enter(name: str) -> Callable[..., None]:
        return lambda module, args: running.append(name)

    def leave(module: Any, args: Any, output: Any) -> None:
        running.pop()

    with contextlib.ExitStack() as hooks:
        for name, module in model.named_modules():
            hooks.enter_context(module.register_forward_pre_hook(enter(name)))
            hooks.enter_context(module.register_forward_hook(leave))
        yield running


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
