"""What all builders of networks share: weights by name or from a file, and TensorFlow's padding."""

from __future__ import annotations

import inspect
import math
import os
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from ..io.checkpoints import load
from ..io.state_dicts import short_names
from ..nn import AvgPool2d, BatchNorm2d, Conv2d, Linear, MaxPool2d, Module, init
from ..nn.arguments import count
from ..ops.dropout import check_probability
from ..tensor import Array
from .weights import SUFFIXES, Weights, weights_named, weights_of_file

M = TypeVar("M", bound=Module)


def build(
    network: Callable[..., M],
    name: str,
    weights: str | Path | None,
    same_padding: bool | None,
    arguments: dict[str, Any],
) -> M:
    """`network(**arguments)`, with these weights if any.

    name           the builder's, as in `weights.py`
    weights        None, a name of published weights, or a file
    same_padding   pads as TensorFlow's SAME does; None if the weights say whether
    arguments      the network's; and `progress`, whether a download shows a bar (default True)

    The model's `pretrained` says what is known of its weights: how they want their images prepared,
    and which classes they tell apart; it is None without weights, and for a file that nothing is
    known of. TypeError for an argument that the network does not have, ValueError for one with a
    wrong value and for weights that do not fit, OSError where the weights cannot be read.
    """
    progress = arguments.pop("progress", True)
    check_arguments(network, name, same_padding, arguments)
    known, file = found(name, weights, progress)
    if known is not None:
        for argument, value in known.arguments.items():
            if argument == "same_padding":
                same_padding = value if same_padding is None else same_padding
            elif arguments.setdefault(argument, value) != value:
                raise ValueError(
                    f"{name}: {argument}={arguments[argument]!r} does not fit the weights "
                    f"{known.name}, expected {value!r}"
                )
    model = network(**arguments) if file is None else loaded(network, name, file, arguments)
    if same_padding:
        use_same_padding(model)
    model.pretrained = known
    return model


def check_arguments(
    network: Callable[..., Module], name: str, same_padding: Any, arguments: Mapping[str, Any]
) -> None:
    """The network has such arguments, and those that nearly all networks have make sense."""
    if same_padding not in (None, False, True):
        raise ValueError(f"{name}: same_padding={same_padding!r}, expected None, False or True")
    own = inspect.signature(network).parameters
    for argument, value in arguments.items():
        if argument not in own:
            raise TypeError(
                f"{name}: no argument {argument!r}, expected some of weights, same_padding, "
                + ", ".join(own)
            )
        if argument == "num_classes":
            count(name, argument, value)
        elif argument == "dropout":
            check_probability(f"{name}: dropout", value)
        elif argument == "width_mult" and not (
            isinstance(value, (int, float)) and 0 < value < math.inf
        ):
            raise ValueError(f"{name}: width_mult={value!r}, expected a number above 0")


def found(
    name: str, weights: str | Path | None, progress: bool = True
) -> tuple[Weights | None, Path | None]:
    """What is known of these weights, and the file that they are in."""
    if weights is None:
        return None, None
    if not isinstance(weights, (str, os.PathLike)):
        raise TypeError(f"{name}: weights={weights!r}, expected None, a name or a path")
    path = Path(weights)
    if not isinstance(weights, str) or path.suffix in SUFFIXES:
        known = weights_of_file(path)
        return (known if known and known.builder == name else None), path
    known = weights_named(name, weights)
    if known.url is None:
        raise FileNotFoundError(
            f"{name}: weights={weights!r} are not published where nanoconv could download them; "
            f"give the path of a file, such as {known.file}.npz"
        )
    from ..io.download import fetch  # not needed for a file that is here

    return known, fetch(known.url, known.checksum, progress)


def loaded(network: Callable[..., M], name: str, file: Path, arguments: dict[str, Any]) -> M:
    """The network with the file's weights, in float32, and as many classes as they are for.

    Without the prefixes of wrappers in any format: `load` leaves them in its own.
    """
    state, _ = short_names(load(file))
    state = {name: single(array) for name, array in state.items()}
    with init.skipped():
        model = network(**arguments)
        classes = number_of_classes(model, state)
        if "num_classes" not in arguments and classes not in (None, number_of_classes(model)):
            model = network(**arguments, num_classes=classes)
    try:
        model.load_state_dict(state)
    except ValueError as error:  # its first line says why, the others name every array
        why = str(error).splitlines()[0].removeprefix("load_state_dict: ")
        raise ValueError(f"{name}: {file}: {why}") from error
    return model


def single(array: Array) -> Array:
    """Files hold half precision to be small, and double by mistake."""
    return array.astype(np.float32, copy=False) if array.dtype.kind == "f" else array


def number_of_classes(model: Module, state: Mapping[str, Array] | None = None) -> int | None:
    """The outputs of the model's last matrix, or of that which a state dict has in its place."""
    own = model.state_dict()
    last = [name for name, array in own.items() if array.ndim > 1][-1]
    array = (own if state is None else state).get(last)
    return None if array is None or array.ndim != own[last].ndim else len(array)


def use_same_padding(model: Module) -> None:
    """Let every window pad as TensorFlow's SAME does: ⌈H/s⌉ outputs, the odd pixel at the end.

    PyTorch's networks pad both sides alike, so that with stride 2 their windows lie one pixel
    further up and left; weights that were trained on one of the two lose accuracy on the other.
    TensorFlow's averages are over the pixels inside of the image alone.
    """
    for module in model.modules():
        if isinstance(module, (Conv2d, MaxPool2d, AvgPool2d)):
            module.padding = "same"
        if isinstance(module, AvgPool2d):
            module.count_include_pad = False


# Batch norm as TensorFlow trains MobileNets V1 and V3. Its ε is a hundred times PyTorch's, and part
# of the weights: a channel whose variance is no larger comes out as another one with another ε. Its
# momentum counts from the other end: 0.99 of the old statistics stay.
tensorflow_norm = partial(BatchNorm2d, eps=1e-3, momentum=0.01)


def initialise(model: Module) -> None:
    """The starting values of torchvision's MobileNets: He's for convolutions, small for the rest.

    Batch norms keep theirs, which are 1 and 0.
    """
    for module in model.modules():
        if isinstance(module, Conv2d):
            init.kaiming_normal_(module.weight, mode="fan_out")
        elif isinstance(module, Linear):
            init.normal_(module.weight, 0, 0.01)
        if isinstance(module, (Conv2d, Linear)) and module.bias is not None:
            init.zeros_(module.bias)
