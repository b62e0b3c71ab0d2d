"""Random starting values for weights, in place, from the generator that `manual_seed` sets.

A layer y = W·x with fan_in inputs per output multiplies the variance of its input by
fan_in · Var(w), and its backward pass that of the gradient by fan_out · Var(w). In a deep net both
must stay near 1, or the signal dies or explodes. With the gain g, which makes up for what the
activation after the layer takes away:

    Xavier       Var(w) = g² · 2 / (fan_in + fan_out)     Glorot & Bengio, AISTATS 2010
    Kaiming (He) Var(w) = g² / fan_in  (or / fan_out)     He et al., arXiv 1502.01852

each drawn from a normal distribution, or from the uniform one on ±√(3 · Var(w)).

>>> import nanoconv as nc
>>> w = nc.nn.init.kaiming_normal_(nc.tensor([[0.0] * 50] * 100), nonlinearity="relu")
>>> round(float(w.numpy().std()), 1)  # √(2 / 50)
0.2
"""

from __future__ import annotations

import math

from .. import config
from ..tape import no_grad
from ..tensor import Array, Tensor


def _written(tensor: Tensor) -> Array:
    if tensor.dtype.kind != "f":
        raise TypeError(f"init: expected a float32 or float64 tensor, got {tensor.dtype}")
    with no_grad():
        return tensor._written()


def uniform_(tensor: Tensor, a: float = 0.0, b: float = 1.0) -> Tensor:
    """Fill with numbers drawn uniformly from [a, b)."""
    if a > b:
        raise ValueError(f"uniform_: a={a} must not be greater than b={b}")
    array = _written(tensor)
    array[...] = config.generator().random(array.shape, array.dtype)
    array *= b - a
    array += a
    return tensor


def normal_(tensor: Tensor, mean: float = 0.0, std: float = 1.0) -> Tensor:
    """Fill with numbers drawn from the normal distribution N(mean, std²)."""
    if std < 0:
        raise ValueError(f"normal_: std={std} must not be negative")
    array = _written(tensor)
    array[...] = config.generator().standard_normal(array.shape, array.dtype)
    array *= std
    array += mean
    return tensor


def constant_(tensor: Tensor, val: float) -> Tensor:
    """Fill with `val`."""
    _written(tensor)[...] = val
    return tensor


def zeros_(tensor: Tensor) -> Tensor:
    """Fill with 0."""
    return constant_(tensor, 0)


def ones_(tensor: Tensor) -> Tensor:
    """Fill with 1."""
    return constant_(tensor, 1)


def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """The gain g of an activation; `param` is the slope of a leaky_relu (0.01)."""
    if nonlinearity == "leaky_relu":
        slope = 0.01 if param is None else param
        return math.sqrt(2 / (1 + slope**2))
    if nonlinearity not in GAINS:
        known = ", ".join((*GAINS, "leaky_relu"))
        raise ValueError(f"calculate_gain: nonlinearity={nonlinearity!r} must be one of {known}")
    return GAINS[nonlinearity]


GAINS = {
    "linear": 1.0,
    "conv2d": 1.0,
    "sigmoid": 1.0,
    "tanh": 5 / 3,
    "relu": math.sqrt(2),
    "selu": 3 / 4,
}


def calculate_fans(tensor: Tensor) -> tuple[int, int]:
    """(fan_in, fan_out) of a weight (O, C, …): C or O times the number of taps."""
    if tensor.ndim < 2:
        raise ValueError(f"init: shape {tensor.shape} has no fan; expected 2 or more axes")
    taps = math.prod(tensor.shape[2:])
    return tensor.shape[1] * taps, tensor.shape[0] * taps


def _kaiming_std(name: str, tensor: Tensor, a: float, mode: str, nonlinearity: str) -> float:
    if mode not in ("fan_in", "fan_out"):
        raise ValueError(f"{name}: mode={mode!r} must be 'fan_in' or 'fan_out'")
    fan = calculate_fans(tensor)[mode == "fan_out"]
    return calculate_gain(nonlinearity, a) / math.sqrt(max(fan, 1))


def _xavier_std(tensor: Tensor, gain: float) -> float:
    return gain * math.sqrt(2 / max(sum(calculate_fans(tensor)), 1))


def xavier_uniform_(tensor: Tensor, gain: float = 1.0) -> Tensor:
    """Uniform on ±√3·σ with σ² = gain² · 2 / (fan_in + fan_out)."""
    bound = math.sqrt(3) * _xavier_std(tensor, gain)
    return uniform_(tensor, -bound, bound)


def xavier_normal_(tensor: Tensor, gain: float = 1.0) -> Tensor:
    """Normal with σ² = gain² · 2 / (fan_in + fan_out)."""
    return normal_(tensor, 0, _xavier_std(tensor, gain))


def kaiming_uniform_(
    tensor: Tensor, a: float = 0, mode: str = "fan_in", nonlinearity: str = "leaky_relu"
) -> Tensor:
    """Uniform on ±√3·σ with σ² = gain² / fan; `a` is the slope of a leaky_relu."""
    bound = math.sqrt(3) * _kaiming_std("kaiming_uniform_", tensor, a, mode, nonlinearity)
    return uniform_(tensor, -bound, bound)


def kaiming_normal_(
    tensor: Tensor, a: float = 0, mode: str = "fan_in", nonlinearity: str = "leaky_relu"
) -> Tensor:
    """Normal with σ² = gain² / fan; `a` is the slope of a leaky_relu."""
    return normal_(tensor, 0, _kaiming_std("kaiming_normal_", tensor, a, mode, nonlinearity))
