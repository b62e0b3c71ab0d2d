"""Random starting values for weights, in place, from the generator that `manual_seed` sets.

A layer y = W·x with fan_in inputs per output multiplies the variance of its input by
fan_in · Var(w), and its backward pass that of the gradient by fan_out · Var(w). In a deep net both
must stay near 1, or the signal dies or explodes. With the gain g, which makes up for what the
activation after the layer takes away:

    Xavier       Var(w) = g² · 2 / (fan_in + fan_out)     Glorot & Bengio, AISTATS 2010
    Kaiming (He) Var(w) = g² / fan_in  (or / fan_out)     He et al., arXiv 1502.01852

each drawn from a normal distribution, or from the uniform one on ±√(3 · Var(w)). `orthogonal_` and
`dirac_` keep more than the variance: they keep lengths and angles, and the image itself.

>>> import nanoconv as nc
>>> w = nc.nn.init.kaiming_normal_(nc.tensor([[0.0] * 50] * 100), nonlinearity="relu")
>>> round(float(w.numpy().std()), 1)  # √(2 / 50)
0.2
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any

import numpy as np

from .. import config
from ..tape import no_grad
from ..tensor import Array, Tensor

_draws = ContextVar("draws", default=True)


@contextlib.contextmanager
def skipped() -> Iterator[None]:
    """Leave out the drawing: `uniform_` and `normal_`, and what calls them, change nothing.

    For a network whose weights are loaded next; drawing those that they replace takes longer.
    """
    before = _draws.set(False)
    try:
        yield
    finally:
        _draws.reset(before)


def _checked(name: str, tensor: Any, *axes: int) -> None:
    """A tensor of floats, with one of these numbers of axes if there are any."""
    if not isinstance(tensor, Tensor):
        raise TypeError(f"{name}: tensor must be a nanoconv Tensor, got {type(tensor).__name__}")
    if tensor.dtype.kind != "f":
        raise TypeError(f"{name}: tensor is {tensor.dtype}, expected float32 or float64")
    if axes and tensor.ndim not in axes:
        expected = " or ".join(map(str, axes))
        raise ValueError(f"{name}: tensor has shape {list(tensor.shape)}, expected {expected} axes")


def _written(tensor: Tensor) -> Array:
    with no_grad():
        return tensor._written()


def uniform_(tensor: Tensor, a: float = 0.0, b: float = 1.0) -> Tensor:
    """Fill with numbers drawn uniformly from [a, b)."""
    _checked("uniform_", tensor)
    if a > b:
        raise ValueError(f"uniform_: a={a} must not be greater than b={b}")
    if not _draws.get():
        return tensor
    array = _written(tensor)
    array[...] = config.generator().random(array.shape, array.dtype)
    array *= b - a
    array += a
    return tensor


def normal_(tensor: Tensor, mean: float = 0.0, std: float = 1.0) -> Tensor:
    """Fill with numbers drawn from the normal distribution N(mean, std²)."""
    _checked("normal_", tensor)
    if std < 0:
        raise ValueError(f"normal_: std={std} must not be negative")
    if not _draws.get():
        return tensor
    array = _written(tensor)
    array[...] = config.generator().standard_normal(array.shape, array.dtype)
    array *= std
    array += mean
    return tensor


def trunc_normal_(
    tensor: Tensor, mean: float = 0.0, std: float = 1.0, a: float = -2.0, b: float = 2.0
) -> Tensor:
    """Fill with numbers drawn from N(mean, std²) under the condition that they lie in [a, b].

    What falls outside is drawn anew. Where that would be most of it, the draws z of the standard
    normal distribution begin at its peak z₀ in the interval: with x = z − z₀ the density is
    exp(−z²/2) ∝ exp(−z₀·x) · exp(−x²/2), so draw x from the first factor, which has an inverse
    distribution function, and keep it with the second one as probability. Robert, Simulation of
    truncated normal variables, arXiv 0907.4010.
    """
    _checked("trunc_normal_", tensor)
    if not std > 0:
        raise ValueError(f"trunc_normal_: std={std} must be positive")
    if not a <= b:
        raise ValueError(f"trunc_normal_: a={a} must not be greater than b={b}")
    array = _written(tensor)
    low, high = (a - mean) / std, (b - mean) / std
    rng, drawn = config.generator(), np.empty(array.size)
    missing = np.arange(array.size)
    below_a, below_b = ((1 + math.erf(z / math.sqrt(2))) / 2 for z in (low, high))
    while missing.size:
        if below_b - below_a > 0.3:
            z = rng.standard_normal(missing.size)
            kept = (z >= low) & (z <= high)
        else:
            z, kept = _from_the_peak(rng, low, high, missing.size)
        drawn[missing[kept]] = z[kept]
        missing = missing[~kept]
    array[...] = np.clip(mean + std * drawn, a, b).reshape(array.shape)
    return tensor


def _from_the_peak(
    rng: np.random.Generator, low: float, high: float, count: int
) -> tuple[Array, Array]:
    """Proposals z in [low, high] for a truncated normal, and which of them to keep."""
    peak = min(max(low, 0.0), high)
    u = rng.random(count)
    if peak == 0:
        x = low + (high - low) * u
    else:  # exponential, from the peak away from 0, up to the interval's other end
        length = -np.log1p(u * math.expm1(-abs(peak) * (high - low))) / abs(peak)
        x = math.copysign(1, peak) * length
    return peak + x, rng.random(count) < np.exp(-x * x / 2)


def constant_(tensor: Tensor, val: float) -> Tensor:
    """Fill with `val`."""
    _checked("constant_", tensor)
    _written(tensor)[...] = val
    return tensor


def zeros_(tensor: Tensor) -> Tensor:
    """Fill with 0."""
    _checked("zeros_", tensor)
    return constant_(tensor, 0)


def ones_(tensor: Tensor) -> Tensor:
    """Fill with 1."""
    _checked("ones_", tensor)
    return constant_(tensor, 1)


def eye_(tensor: Tensor) -> Tensor:
    """Fill a matrix with the identity: ones on the diagonal, zeros elsewhere."""
    _checked("eye_", tensor, 2)
    _written(tensor)[...] = np.eye(tensor.shape[0], tensor.shape[1])
    return tensor


def dirac_(tensor: Tensor, groups: int = 1) -> Tensor:
    """Fill a convolution's weight (O, C/groups, …taps) so that it copies its input.

    w[g·O/G + c, c, centre] = 1 for every group g of the G and c < min(O/G, C/G): with the padding
    that keeps the size, the first channels of each group come out as they went in. Zagoruyko &
    Komodakis, DiracNets, arXiv 1706.00388.
    """
    _checked("dirac_", tensor, 3, 4, 5)
    if not isinstance(groups, int) or groups < 1 or tensor.shape[0] % groups:
        raise ValueError(
            f"dirac_: groups={groups!r} must divide the {tensor.shape[0]} output channels"
        )
    array, outputs = _written(tensor), tensor.shape[0] // groups
    array[...] = 0
    c = np.arange(min(outputs, tensor.shape[1]))
    centre: Any = tuple(size // 2 for size in tensor.shape[2:])
    for g in range(groups):
        array[(g * outputs + c, c, *centre)] = 1
    return tensor


def orthogonal_(tensor: Tensor, gain: float = 1) -> Tensor:
    """Fill (O, …) so that it is, as a matrix of O rows, `gain` times one with orthonormal rows.

    With more rows than columns the columns are orthonormal instead. The matrix is the Q of the QR
    decomposition of a normal one, with signs that make R's diagonal positive: then all rotations
    are equally likely. Saxe et al., Exact solutions to the nonlinear dynamics of learning in deep
    linear neural networks, arXiv 1312.6120.
    """
    _checked("orthogonal_", tensor)
    if tensor.ndim < 2:
        raise ValueError(
            f"orthogonal_: tensor has shape {list(tensor.shape)}, expected 2 or more axes"
        )
    array = _written(tensor)
    if not array.size:
        return tensor
    rows, columns = tensor.shape[0], array.size // tensor.shape[0]
    q, r = np.linalg.qr(
        config.generator().standard_normal((max(rows, columns), min(rows, columns)))
    )
    q *= np.sign(np.diagonal(r))
    array[...] = gain * (q if rows >= columns else q.T).reshape(array.shape)
    return tensor


def sparse_(tensor: Tensor, sparsity: float, std: float = 0.01) -> Tensor:
    """Fill a matrix from N(0, std²), but a part `sparsity` of each column, rounded up, with 0.

    Martens, Deep learning via Hessian-free optimization, ICML 2010.
    """
    _checked("sparse_", tensor, 2)
    if not 0 <= sparsity <= 1:
        raise ValueError(f"sparse_: sparsity={sparsity} must be from 0 to 1")
    normal_(tensor, 0, std)
    array = _written(tensor)
    order = config.generator().random(array.shape).argsort(axis=0)  # of each column's rows
    zeros = order[: math.ceil(sparsity * array.shape[0])]
    np.put_along_axis(array, zeros, 0, axis=0)
    return tensor


def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """The gain g of an activation; `param` is the slope of a leaky_relu (0.01).

    1 for linear layers, convolutions and sigmoid, 5/3 for tanh, √2 for relu, 3/4 for selu, and
    √(2 / (1 + slope²)) for leaky_relu.
    """
    if nonlinearity == "leaky_relu":
        slope: Any = 0.01 if param is None else param
        if isinstance(slope, bool) or not isinstance(slope, (int, float, np.number)):
            raise ValueError(f"calculate_gain: param={param!r} must be a number, the slope")
        return math.sqrt(2 / (1 + slope**2))
    if nonlinearity not in GAINS:
        known = ", ".join((*GAINS, "leaky_relu"))
        raise ValueError(f"calculate_gain: nonlinearity={nonlinearity!r} must be one of {known}")
    return GAINS[nonlinearity]


GAINS = {
    "linear": 1.0,
    "conv1d": 1.0,
    "conv2d": 1.0,
    "conv3d": 1.0,
    "conv_transpose1d": 1.0,
    "conv_transpose2d": 1.0,
    "conv_transpose3d": 1.0,
    "sigmoid": 1.0,
    "tanh": 5 / 3,
    "relu": math.sqrt(2),
    "selu": 3 / 4,
}


def calculate_fans(tensor: Tensor, name: str = "calculate_fans") -> tuple[int, int]:
    """(fan_in, fan_out) of a weight (O, C, …): C or O times the number of taps.

    `name` is that of the function in whose name errors are.
    """
    _checked(name, tensor)
    if tensor.ndim < 2:
        raise ValueError(f"{name}: shape {tensor.shape} has no fan; expected 2 or more axes")
    taps = math.prod(tensor.shape[2:])
    return tensor.shape[1] * taps, tensor.shape[0] * taps


def _kaiming_std(name: str, tensor: Tensor, a: float, mode: str, nonlinearity: str) -> float:
    if mode.lower() not in ("fan_in", "fan_out"):
        raise ValueError(f"{name}: mode={mode!r} must be 'fan_in' or 'fan_out'")
    fan = calculate_fans(tensor, name)[mode.lower() == "fan_out"]
    return calculate_gain(nonlinearity, a) / math.sqrt(max(fan, 1))


def _xavier_std(name: str, tensor: Tensor, gain: float) -> float:
    return gain * math.sqrt(2 / max(sum(calculate_fans(tensor, name)), 1))


def xavier_uniform_(tensor: Tensor, gain: float = 1.0) -> Tensor:
    """Uniform on ±√3·σ with σ² = gain² · 2 / (fan_in + fan_out)."""
    bound = math.sqrt(3) * _xavier_std("xavier_uniform_", tensor, gain)
    return uniform_(tensor, -bound, bound)


def xavier_normal_(tensor: Tensor, gain: float = 1.0) -> Tensor:
    """Normal with σ² = gain² · 2 / (fan_in + fan_out)."""
    return normal_(tensor, 0, _xavier_std("xavier_normal_", tensor, gain))


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
