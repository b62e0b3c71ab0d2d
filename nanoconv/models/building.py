"""What all builders of networks share: weights by name or from a file, and TensorFlow's padding."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..io.checkpoints import load
from ..nn import Conv2d, MaxPool2d, Module
from .weights import SUFFIXES, Weights, weights_named, weights_of_file


def build(
    network: Callable[..., Module],
    name: str,
    weights: str | Path | None,
    same_padding: bool | None,
    arguments: dict[str, Any],
) -> Module:
    """`network(**arguments)`, with these weights if any.

    name           the builder's, as in `weights.py`
    weights        None, a name of published weights, or a file
    same_padding   pads as TensorFlow's SAME does; None if the weights say whether
    """
    known, file = found(name, weights)
    if known is not None:
        for argument, value in known.arguments.items():
            if argument == "same_padding":
                same_padding = value if same_padding is None else same_padding
            elif arguments.setdefault(argument, value) != value:
                raise ValueError(
                    f"{name}: {argument}={arguments[argument]!r} does not fit the weights "
                    f"{known.name}, expected {value!r}"
                )
    model = network(**arguments)
    if same_padding:
        use_same_padding(model)
    if file is not None:
        model.load_state_dict(load(file))
    model.pretrained = known
    return model


def found(name: str, weights: str | Path | None) -> tuple[Weights | None, Path | None]:
    """What is known of these weights, and the file that they are in."""
    if weights is None:
        return None, None
    if Path(weights).suffix in SUFFIXES:
        path = Path(weights)
        known = weights_of_file(path)
        return (known if known and known.builder == name else None), path
    known = weights_named(name, str(weights))
    raise FileNotFoundError(f"{name}: no file of the weights {known.file}")


def use_same_padding(model: Module) -> None:
    """Let every window pad as TensorFlow's SAME does: ⌈H/s⌉ outputs, the odd pixel at the end.

    PyTorch's networks pad both sides alike, so that with stride 2 their windows lie one pixel
    further up and left; weights that were trained on one of the two lose accuracy on the other.
    """
    for module in model.modules():
        if isinstance(module, (Conv2d, MaxPool2d)):
            module.padding = "same"
