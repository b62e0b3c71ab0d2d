"""The argument checks that several ops share: each names the op, the argument and its value."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np

from ..tensor import Tensor
from .shaping import squeeze, unsqueeze

FLOATS = (np.dtype("float32"), np.dtype("float64"))


def given(**tensors: Tensor | None) -> dict[str, Tensor]:
    """Those of the optional arguments that are not None."""
    return {name: t for name, t in tensors.items() if t is not None}


def check_dtypes(op: str, **tensors: Tensor) -> None:
    """All arguments are Tensors of one floating dtype."""
    first = expected = None
    for name, t in tensors.items():
        if not isinstance(t, Tensor):
            raise TypeError(f"{op}: {name} must be a nanoconv Tensor, got {type(t).__name__}")
        dtype = t._data.dtype  # this runs for every op: `t.dtype` takes twice as long
        if dtype not in FLOATS:
            raise TypeError(f"{op}: {name} is {dtype}, expected float32 or float64")
        if first is None:
            first, expected = name, dtype
        elif dtype != expected:
            raise TypeError(f"{op}: {name} is {dtype} but {first} is {expected}; convert one")


def check_bias(op: str, bias: Tensor | None, size: int) -> None:
    """A bias has one value per output."""
    if bias is not None and bias._data.shape != (size,):
        raise ValueError(f"{op}: bias has shape {list(bias.shape)}, expected [{size}]")


def check_groups(op: str, groups: Any, inputs: int, outputs: int) -> None:
    """Groups divide the input and the output channels."""
    count = groups
    if type(groups) is not int:
        try:
            count = operator.index(groups)
        except TypeError:
            count = 0
    if count < 1:
        raise ValueError(f"{op}: groups={groups!r}, expected an integer from 1 up")
    if inputs % count or outputs % count:
        size, name = (inputs, "input") if inputs % count else (outputs, "output")
        raise ValueError(f"{op}: groups={count} must divide the {size} {name} channels")


def unchanged(y: Tensor) -> Tensor:
    return y


def batched(op: str, input: Tensor, ndim: int) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
    """`input` with a batch axis, and how to take that axis off the result if it was missing."""
    if not isinstance(input, Tensor):
        raise TypeError(f"{op}: input must be a nanoconv Tensor, got {type(input).__name__}")
    if input.ndim == ndim:
        return input, unchanged
    if input.ndim == ndim - 1:
        return unsqueeze(input, 0), lambda y: squeeze(y, 0)
    raise ValueError(
        f"{op}: input has shape {list(input.shape)}, expected {ndim - 1} or {ndim} axes"
    )
