"""The networks that are raced against other engines: built, given statistics, written down.

`record` runs a model once and listens at the funnel, so that nobody writes a second description of
a network; `fold` takes batch norms into the convolutions before them, as every engine would.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

import nanoconv as nc
from nanoconv import models
from nanoconv.nn import BatchNorm2d, Module
from nanoconv.tape import observe

from .engines import image

NETS: dict[str, tuple[str, dict[str, Any]]] = {  # name: builder, arguments
    "mobilenet_v1": ("mobilenet_v1", {}),
    "mobilenet_v2": ("mobilenet_v2", {}),
    "mobilenet_v3_small": ("mobilenet_v3_small", {}),
    "mobilenet_v3_large": ("mobilenet_v3_large", {}),
    "shufflenet_v2_x1_0": ("shufflenet_v2_x1_0", {}),
    "squeezenet1_1": ("squeezenet1_1", {}),
    "resnet18": ("resnet18", {}),
    "resnet50": ("resnet50", {}),
    "vgg16": ("vgg16", {}),
    "shufflenet_v1": ("shufflenet_v1", {"groups": 3}),
    "shufflenet_v2_x0_5": ("shufflenet_v2_x0_5", {}),
    "mobilenet_v2_0.35": ("mobilenet_v2", {"width_mult": 0.35}),
    "mobilenet_v2_1.4": ("mobilenet_v2", {"width_mult": 1.4}),
}
SEVEN = tuple(NETS)[:7]


def network(name: str) -> Module:
    """The network with random weights, the same each time, in evaluation mode.

    Its batch norms have the statistics of a run, so that no layer's values grow or vanish: numbers
    too small for float32's normal range would take many times as long to multiply.
    """
    builder, arguments = NETS[name]
    nc.manual_seed(0)
    model = models.builder(builder)(**arguments)
    norms = [module for module in model.modules() if isinstance(module, BatchNorm2d)]
    model.eval()
    for norm in norms:
        norm.train()
        norm.momentum = 1.0
    if norms:
        with nc.no_grad():
            model(nc.tensor(image(2, 224)))
    return model.eval()


# --------------------------------------------------------------------------- what a model does


@dataclass(frozen=True)
class Step:
    """One run of an op; values are known by name."""

    op: str
    inputs: tuple[str, ...]  # an absent one is ""
    attrs: dict[str, Any]
    output: str
    shape: tuple[int, ...]  # of the output


@dataclass(frozen=True)
class Record:
    """What a model did with x: its steps in order, and the parameters that they read."""

    input: str
    shape: tuple[int, ...]
    steps: list[Step]
    constants: dict[str, np.ndarray]

    @property
    def output(self) -> str:
        return self.steps[-1].output


def record(model: Module, x: np.ndarray) -> Record:
    """Run the model, which is in evaluation mode, once on x and write down every op."""
    whole = nc.tensor(x)
    names = {id(whole): "x"}
    names |= {id(parameter): name for name, parameter in model.named_parameters()}
    steps: list[Step] = []
    constants: dict[str, np.ndarray] = {}
    alive: list[Any] = []  # so that no id is given twice

    def named(value: Any) -> str:
        if value is None:
            return ""
        name = names.setdefault(id(value), f"constant{len(names)}")
        if name != "x" and not name.startswith("y"):
            constants[name] = value.detach().numpy()
        return name

    def hear(op: Any, inputs: tuple, attrs: dict, y: Any, extra: tuple) -> None:
        read = tuple(named(value) for value in inputs)
        names[id(y)] = f"y{len(steps)}"
        steps.append(Step(op.name, read, attrs, names[id(y)], y.shape))
        alive.extend((*inputs, y))

    with nc.no_grad(), observe(hear):
        model(whole)
    return Record("x", x.shape, steps, constants)


def fold(made: Record) -> Record:
    """The same with each batch norm taken into the convolution before it, where nothing else reads.

    a = γ/√(σ² + ε):  a·(w ⋆ x + b − μ) + β = (a·w) ⋆ x + (a·(b − μ) + β)
    """
    uses = Counter(name for step in made.steps for name in step.inputs)
    constants = dict(made.constants)
    steps: list[Step] = []
    for step in made.steps:
        before = steps[-1] if steps else step
        if (
            step.op == "batch_norm"
            and before.op in ("conv2d", "depthwise_conv2d")
            and before.output == step.inputs[0]
            and uses[before.output] == 1
        ):
            _, gamma, beta, mean, var = (constants.get(name) for name in step.inputs)
            a = (gamma / np.sqrt(var + step.attrs["eps"])).astype(np.float32)
            x, w, b = before.inputs
            names = (f"{w}.folded", f"{w}.folded_bias")
            constants[names[0]] = constants[w] * a[:, None, None, None]
            constants[names[1]] = a * ((constants[b] if b else 0) - mean) + beta
            steps[-1] = replace(before, inputs=(x, *names), output=step.output)
        else:
            steps.append(step)
    read = {name for step in steps for name in step.inputs}
    return replace(made, steps=steps, constants={n: a for n, a in constants.items() if n in read})
