"""Networks, one paper or family per file; a network is made by the function of its name.

>>> names()[:3]
['grouped_cnn', 'lightweight_cnn', 'mobilenet_v1']
>>> model = builder("mobilenet_v1")(width_mult=0.25, num_classes=10)
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from typing import Any

from ..nn import Module
from . import digits
from .mobilenet_v1 import mobilenet_v1
from .mobilenet_v2 import mobilenet_v2
from .mobilenet_v3 import mobilenet_v3_large, mobilenet_v3_small
from .resnet import resnet18, resnet34, resnet50
from .resnet_cifar import resnet20, resnet56
from .shufflenet_v1 import shufflenet_v1
from .shufflenet_v2 import (
    shufflenet_v2_x0_5,
    shufflenet_v2_x1_0,
    shufflenet_v2_x1_5,
    shufflenet_v2_x2_0,
)
from .squeezenet import squeezenet1_0, squeezenet1_1
from .textbook import grouped_cnn, lightweight_cnn
from .vgg import vgg11, vgg11_bn, vgg16, vgg16_bn

__all__ = [
    "builder",
    "digits",
    "grouped_cnn",
    "lightweight_cnn",
    "mobilenet_v1",
    "mobilenet_v2",
    "mobilenet_v3_large",
    "mobilenet_v3_small",
    "names",
    "resnet18",
    "resnet20",
    "resnet34",
    "resnet50",
    "resnet56",
    "shufflenet_v1",
    "shufflenet_v2_x0_5",
    "shufflenet_v2_x1_0",
    "shufflenet_v2_x1_5",
    "shufflenet_v2_x2_0",
    "squeezenet1_0",
    "squeezenet1_1",
    "vgg11",
    "vgg11_bn",
    "vgg16",
    "vgg16_bn",
]


def names() -> list[str]:
    """The networks that there are, sorted."""
    return [name for name in __all__ if name not in ("builder", "digits", "names")]


def builder(name: str) -> Callable[..., Module]:
    """The function that makes the network of this name; ValueError where there is none."""
    if name not in names():
        near = difflib.get_close_matches(name, names(), 1)
        hint = f"did you mean {near[0]!r}?" if near else f"expected one of {', '.join(names())}"
        raise ValueError(f"models: there is no network {name!r}; {hint}")
    made: Any = globals()[name]
    return made
