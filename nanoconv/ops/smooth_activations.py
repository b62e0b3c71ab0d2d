"""Activations with a derivative everywhere (elu: if α = 1): y = f(x), each number on its own.

    sigmoid      σ(x) = 1 / (1 + e⁻ˣ)
    tanh         (eˣ − e⁻ˣ) / (eˣ + e⁻ˣ)
    silu         x · σ(x)                                  Elfwing et al., arXiv 1702.03118
    gelu         x · Φ(x), or almost the same: x · σ(z),   Hendrycks, Gimpel, arXiv 1606.08415
                 z = √(8/π)·(x + 0.044715·x³)
    mish         x · tanh(log(1 + eˣ))                     Misra, arXiv 1908.08681
    softplus     log(1 + e^(β·x)) / β                      Dugas et al., NeurIPS 2000
    logsigmoid   log σ(x) = −log(1 + e⁻ˣ)
    softsign     x / (1 + |x|)                             Bergstra et al., 2009
    elu          x where x > 0, else α·(eˣ − 1)            Clevert et al., arXiv 1511.07289
    selu         s·x where x > 0, else s·α·(eˣ − 1)        Klambauer et al., arXiv 1706.02515
    celu         x where x > 0, else α·(e^(x/α) − 1)       Barron, arXiv 1704.07483
    tanhshrink   x − tanh(x)

Φ(x) = (1 + erf(x/√2)) / 2 is the probability that a normally distributed number is below x; the
constants of selu, s ≈ 1.05 and α ≈ 1.67, make mean 0 and variance 1 a fixed point of a deep net.

As in activations.py, dx = dy · f′. With φ(x) = e^(−x²/2) / √(2π), the derivative of Φ,

    σ′ = y·(1 − y)           tanh′ = (1 − y)·(1 + y)   silu′ = σ + x·σ′
    gelu′ = Φ + x·φ          softplus′ = σ(β·x)        mish′ = tanh(t) + x·σ·tanh′(t), t = softplus
    logsigmoid′ = σ(−x)      elu′ = α·eˣ, x ≤ 0        softsign′ = 1 / (1 + |x|)²

Those of sigmoid and tanh are written in y, as in PyTorch: two products take the place of an
exponential, and the tape need not hold x. It costs digits where y comes close to 1, because then
1 − y is little more than what the rounding of y, up to ε, left of it. Of float32's seven digits, σ′
has four at x = 8 and tanh′ at x = 4; from 17.4 and 9.1 on both are 0. But the gradient is never
wrong by more than a few ε·|dy|, which beside that of other pixels is nothing.

    shapes    x, y any
    cost      an exponential and a division or two for each number

>>> import nanoconv as nc
>>> nc.functional.gelu(nc.tensor([-100.0, 0.0, 100.0]))
tensor([ -0.,   0., 100.])
>>> nc.functional.softplus(nc.tensor([-1000.0, 1000.0])).tolist()  # e¹⁰⁰⁰ is never computed
[0.0, 1000.0]
"""

from __future__ import annotations

import math

import numpy as np

from ..tensor import Tensor, method
from .activations import ACTIVATIONS, Pair, activation, finite, real, run
from .checks import check_dtypes

Array = np.ndarray


# --------------------------------------------------------------------------- the NumPy reference
#
# What is computed from x has no difference of two numbers that are nearly equal:
# σ′(x) = 1 / (4·cosh²(x/2)), Φ(x) = erfc(−x/√2) / 2. erfc is that of the C library, exact to the
# last bit or two, once for each number: NumPy has none.

SELU_SCALE, SELU_ALPHA = 1.0507009873554804934193349852946, 1.6732632423543772848170429916717
LINEAR, CUBIC = math.sqrt(8 / math.pi), math.sqrt(8 / math.pi) * 0.044715

erfc = np.vectorize(math.erfc, otypes=[np.float64])


def sigmoid_forward(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


def sigmoid_slope(x: Array) -> Array:
    return 1 / (4 * np.cosh(x / 2) ** 2)


def silu_backward(dy: Array, x: Array) -> Array:
    return dy * (sigmoid_forward(x) + x * sigmoid_slope(x))


def normal_cdf(x: Array) -> Array:
    """Φ(x)"""
    return np.asarray(erfc(x / np.float64(-math.sqrt(2))) / 2, x.dtype)


def gelu_backward(dy: Array, x: Array) -> Array:
    return dy * (normal_cdf(x) + x * (np.exp(-x * x / 2) / math.sqrt(2 * math.pi)))


def gelu_tanh_forward(x: Array) -> Array:
    return x * sigmoid_forward(x * (LINEAR + CUBIC * x * x))


def gelu_tanh_backward(dy: Array, x: Array) -> Array:
    z, dz = x * (LINEAR + CUBIC * x * x), LINEAR + 3 * CUBIC * x * x
    return dy * (sigmoid_forward(z) + x * sigmoid_slope(z) * dz)


def mish_backward(dy: Array, x: Array) -> Array:
    t = np.logaddexp(0, x)
    return dy * (np.tanh(t) + x * sigmoid_forward(x) / np.cosh(t) ** 2)


def softplus_forward(x: Array, beta: float, threshold: float) -> Array:
    z = x * beta
    return np.where(z > threshold, x, np.logaddexp(0, z) / beta)


def softplus_backward(dy: Array, x: Array, beta: float, threshold: float) -> Array:
    z = x * beta
    return np.where(z > threshold, dy, dy * sigmoid_forward(z))


def softsign_backward(dy: Array, x: Array) -> Array:
    return dy / (1 + np.abs(x)) ** 2 + 0 * x  # NaN at ±∞, as in PyTorch, where y is NaN


def elu_forward(x: Array, alpha: float) -> Array:
    return np.where(x > 0, x, alpha * np.expm1(x))


def elu_backward(dy: Array, x: Array, alpha: float) -> Array:
    return np.where(x > 0, dy, dy * (alpha * np.exp(x)))


FROM_Y: dict[str, Pair] = {  # whose second function has y in the place of x
    "sigmoid": (sigmoid_forward, lambda dy, y: dy * (y * (1 - y))),
    "tanh": (np.tanh, lambda dy, y: dy * ((1 - y) * (1 + y))),
}
TABLE: dict[str, Pair] = {
    "silu": (lambda x: x * sigmoid_forward(x), silu_backward),
    "gelu": (lambda x: x * normal_cdf(x), gelu_backward),
    "gelu_tanh": (gelu_tanh_forward, gelu_tanh_backward),
    "mish": (lambda x: x * np.tanh(np.logaddexp(0, x)), mish_backward),
    "softplus": (softplus_forward, softplus_backward),
    "logsigmoid": (
        lambda x: -np.logaddexp(0, -x),
        lambda dy, x: dy * sigmoid_forward(-x),
    ),
    "softsign": (lambda x: x / (1 + np.abs(x)), softsign_backward),
    "elu": (elu_forward, elu_backward),
    "selu": (
        lambda x: SELU_SCALE * elu_forward(x, SELU_ALPHA),
        lambda dy, x: SELU_SCALE * elu_backward(dy, x, SELU_ALPHA),
    ),
    "celu": (
        lambda x, alpha: np.where(x > 0, x, alpha * np.expm1(x / alpha)),
        lambda dy, x, alpha: np.where(x > 0, dy, dy * np.exp(x / alpha)),
    ),
}
ACTIVATIONS.update({name: activation(name, *pair, keeps="y") for name, pair in FROM_Y.items()})
ACTIVATIONS.update({name: activation(name, *pair) for name, pair in TABLE.items()})


# --------------------------------------------------------------------------- the public functions


@method
def sigmoid(input: Tensor) -> Tensor:
    """1 / (1 + e⁻ˣ), as torch.nn.functional.sigmoid."""
    return run("sigmoid", input)


@method
def tanh(input: Tensor) -> Tensor:
    """(eˣ − e⁻ˣ) / (eˣ + e⁻ˣ), as torch.nn.functional.tanh."""
    return run("tanh", input)


def silu(input: Tensor, inplace: bool = False) -> Tensor:
    """x / (1 + e⁻ˣ), as torch.nn.functional.silu; `inplace` as in `relu`."""
    return run("silu", input)


def gelu(input: Tensor, approximate: str = "none") -> Tensor:
    """x·Φ(x), or with approximate="tanh" its approximation, as torch.nn.functional.gelu."""
    check_dtypes("gelu", input=input)
    if approximate not in ("none", "tanh"):
        raise ValueError(f"gelu: approximate={approximate!r}, expected 'none' or 'tanh'")
    return run("gelu" if approximate == "none" else "gelu_tanh", input)


def mish(input: Tensor, inplace: bool = False) -> Tensor:
    """x·tanh(log(1 + eˣ)), as torch.nn.functional.mish; `inplace` as in `relu`."""
    return run("mish", input)


def softplus(input: Tensor, beta: float = 1.0, threshold: float = 20.0) -> Tensor:
    """log(1 + e^(beta·x)) / beta, and x where beta·x > threshold.

    As torch.nn.functional.softplus.

    Unlike PyTorch: y and its slope are finite also where e^(beta·x) overflows below `threshold`.
    """
    b, t = real("softplus", "beta", beta), real("softplus", "threshold", threshold)
    return run("softplus", input, beta=b, threshold=t)


def logsigmoid(input: Tensor) -> Tensor:
    """log(1 / (1 + e⁻ˣ)), as torch.nn.functional.logsigmoid."""
    return run("logsigmoid", input)


def softsign(input: Tensor) -> Tensor:
    """x / (1 + |x|), as torch.nn.functional.softsign."""
    return run("softsign", input)


def elu(input: Tensor, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """x where x > 0, else alpha·(eˣ − 1), as torch.nn.functional.elu; `inplace` as in `relu`.

    Unlike PyTorch: an infinite or NaN `alpha` is refused.
    """
    return run("elu", input, alpha=finite("elu", "alpha", alpha))


def selu(input: Tensor, inplace: bool = False) -> Tensor:
    """`elu` with α ≈ 1.67, times ≈ 1.05, as torch.nn.functional.selu; `inplace` as in `relu`."""
    return run("selu", input)


def celu(input: Tensor, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """x where x > 0, else alpha·(e^(x/alpha) − 1), as torch.nn.functional.celu; see `relu`.

    ValueError if alpha is 0.

    Unlike PyTorch: an infinite or NaN `alpha` is refused.
    """
    a = finite("celu", "alpha", alpha)
    if a == 0:
        raise ValueError("celu: alpha=0, by which x would be divided; expected another number")
    return run("celu", input, alpha=a)


def tanhshrink(input: Tensor) -> Tensor:
    """x − tanh(x), as torch.nn.functional.tanhshrink."""
    check_dtypes("tanhshrink", input=input)
    return input - tanh(input)
