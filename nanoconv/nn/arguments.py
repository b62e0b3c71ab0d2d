"""What the constructors of layers share: checked sizes, new parameters, initial values."""

from __future__ import annotations

import math
import operator
from typing import Any

import numpy as np

from ..tensor import Tensor
from . import init
from .module import Parameter

Pair = int | tuple[int, int]


def count(layer: str, name: str, value: Any, least: int = 1) -> int:
    """A size: an integer from `least` up."""
    try:
        if (count := operator.index(value)) >= least:
            return count
    except TypeError:
        pass
    raise ValueError(f"{layer}: {name}={value!r}, expected an integer from {least} up")


def parameter(*shape: int) -> Parameter:
    """An uninitialised parameter, float32."""
    return Parameter(Tensor(np.empty(shape, np.float32)))


def reset_affine(weight: Tensor, bias: Tensor | None) -> None:
    """PyTorch's initial values of w·x + b: both uniform on ±1/√fan_in."""
    init.kaiming_uniform_(weight, a=math.sqrt(5))
    if bias is not None:
        bound = 1 / math.sqrt(fan_in) if (fan_in := init.calculate_fans(weight)[0]) else 0.0
        init.uniform_(bias, -bound, bound)
