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
from .textbook import grouped_cnn, lightweight_cnn

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
