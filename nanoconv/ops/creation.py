"""New tensors: constants, ranges and random numbers.

shapes    as given, or that of the tensor in whose likeness; ranges (n,)
cost      writing each number once; random ones are drawn one by one
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..config import generator
from ..tensor import Array, Tensor, as_array, wrap
from .geometry import check_output
from .shaping import integers


def _sizes(op: str, sizes: tuple, size: Any = None) -> tuple[int, ...]:
    shape = integers(op, "size", sizes, size)
    if any(length < 0 for length in shape):
        raise ValueError(f"{op}: size={list(shape)}, expected no negative lengths")
    check_output(op, shape, size=list(shape))
    return shape


def _new(array: Array, dtype: Any, requires_grad: bool) -> Tensor:
    return wrap(as_array(array, dtype), requires_grad)


def _floating(op: str, dtype: Any) -> Any:
    if np.dtype(dtype) not in (np.float32, np.float64):
        raise TypeError(f"{op}: dtype={np.dtype(dtype)}, expected float32 or float64")
    return np.dtype(dtype).type


def full(size: Any, fill_value: float, dtype: Any = None, requires_grad: bool = False) -> Tensor:
    """A tensor full of one value, in the dtype of the value (float32, int64, bool) or as given."""
    value = as_array(fill_value, dtype)
    if value.ndim:
        raise ValueError(f"full: fill_value has shape {list(value.shape)}, expected a number")
    return _new(np.full(_sizes("full", (size,)), value), None, requires_grad)


def zeros(
    *sizes: Any, size: Any = None, dtype: Any = np.float32, requires_grad: bool = False
) -> Tensor:
    """A tensor of zeros."""
    return _new(np.zeros(_sizes("zeros", sizes, size), dtype), None, requires_grad)


def ones(
    *sizes: Any, size: Any = None, dtype: Any = np.float32, requires_grad: bool = False
) -> Tensor:
    """A tensor of ones."""
    return _new(np.ones(_sizes("ones", sizes, size), dtype), None, requires_grad)


def zeros_like(input: Tensor, dtype: Any = None, requires_grad: bool = False) -> Tensor:
    """Zeros in the shape, memory format and, if not given, dtype of another tensor."""
    return _new(np.zeros_like(input._data, dtype), None, requires_grad)


def ones_like(input: Tensor, dtype: Any = None, requires_grad: bool = False) -> Tensor:
    """Ones in the shape, memory format and, if not given, dtype of another tensor."""
    return _new(np.ones_like(input._data, dtype), None, requires_grad)


def eye(n: int, m: int | None = None, dtype: Any = np.float32) -> Tensor:
    """The unit matrix (n, m), square if m is not given."""
    rows, columns = _sizes("eye", (n, n if m is None else m))
    return _new(np.eye(rows, columns, dtype=dtype), None, False)


def arange(start: float, end: float | None = None, step: float = 1, dtype: Any = None) -> Tensor:
    """start, start + step, … below `end`; arange(end) starts at 0.

    float32 if any argument is a float, else int64.
    """
    start, end = (0, start) if end is None else (start, end)
    if step == 0 or (end - start) * step < 0:
        raise ValueError(f"arange: step={step} does not lead from {start} to {end}")
    check_output("arange", (int((end - start) // step),), start=start, end=end, step=step)
    exact = all(isinstance(value, (int, np.integer)) for value in (start, end, step))
    return _new(np.arange(start, end, step), dtype or (np.int64 if exact else np.float32), False)


def randn(
    *sizes: Any, size: Any = None, dtype: Any = np.float32, requires_grad: bool = False
) -> Tensor:
    """Normally distributed random numbers of mean 0 and variance 1."""
    numbers = generator().standard_normal(_sizes("randn", sizes, size), _floating("randn", dtype))
    return _new(np.asarray(numbers), None, requires_grad)


def rand(
    *sizes: Any, size: Any = None, dtype: Any = np.float32, requires_grad: bool = False
) -> Tensor:
    """Random numbers uniform in [0, 1)."""
    numbers = generator().random(_sizes("rand", sizes, size), _floating("rand", dtype))
    return _new(np.asarray(numbers), None, requires_grad)
