"""Activations: y = f(x), each number on its own. Without one, a chain of layers is a single layer.

    relu         max(x, 0)                                     Nair, Hinton, ICML 2010
    relu6        min(max(x, 0), 6)                             Howard et al., arXiv 1704.04861
    leaky_relu   x where x > 0, else slope·x                   Maas et al., ICML 2013
    sigmoid      σ(x) = 1 / (1 + e⁻ˣ)
    tanh         (eˣ − e⁻ˣ) / (eˣ + e⁻ˣ)
    hardsigmoid  min(max(x + 3, 0), 6) / 6                     Courbariaux et al., arXiv 1511.00363
    hardswish    x · hardsigmoid(x)                            Howard et al., arXiv 1905.02244
    silu         x · σ(x)                                      Elfwing et al., arXiv 1702.03118

Every output depends on one input, so the gradient is a product, dx = dy · f′(x). At a kink, where f
has no derivative, it is PyTorch's choice, written out as < or ≤ below. NaN stays NaN.

    shapes    x, y any
    cost      reading x and writing y; an exponential for the smooth ones

>>> import nanoconv as nc
>>> x = nc.tensor([-4.0, -1.0, 1.0, 8.0], requires_grad=True)
>>> y = nc.functional.relu6(x)
>>> y.tolist()
[0.0, 0.0, 1.0, 6.0]
>>> y.sum().backward()
>>> x.grad
tensor([0., 0., 1., 0.])
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..dispatch import Body, Kernel, Ladder, Op, at_least, empty, is_channels_last
from ..tensor import Tensor, apply
from .checks import check_dtypes

Array = np.ndarray


# --------------------------------------------------------------------------- the NumPy reference
#
# The derivatives of the smooth ones are written with cosh, of which nothing cancels:
# σ′(x) = σ(x)·(1 − σ(x)) = 1 / (4·cosh²(x/2)) and tanh′(x) = 1 − tanh²(x) = 1 / cosh²(x).


def sigmoid_forward(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


def sigmoid_backward(dy: Array, x: Array) -> Array:
    return dy / (4 * np.cosh(x / 2) ** 2)


def hardsigmoid_forward(x: Array) -> Array:
    return np.clip(x + 3, 0, 6) / 6


def hardswish_backward(dy: Array, x: Array) -> Array:
    return np.where(x <= -3, 0, np.where(x >= 3, dy, dy * (x / 3 + 0.5)))


TABLE: dict[str, tuple[Callable[..., Array], Callable[..., Array]]] = {  # f(x) and dy · f′(x)
    "relu": (
        lambda x: np.maximum(x, 0),
        lambda dy, x: np.where(x <= 0, 0, dy),
    ),
    "relu6": (
        lambda x: np.clip(x, 0, 6),
        lambda dy, x: np.where((x > 0) & (x < 6), dy, 0),
    ),
    "leaky_relu": (
        lambda x, slope: np.where(x > 0, x, slope * x),
        lambda dy, x, slope: np.where(x > 0, dy, slope * dy),
    ),
    "sigmoid": (sigmoid_forward, sigmoid_backward),
    "tanh": (
        np.tanh,
        lambda dy, x: dy / np.cosh(x) ** 2,
    ),
    "hardsigmoid": (
        hardsigmoid_forward,
        lambda dy, x: np.where((x > -3) & (x < 3), dy / 6, 0),
    ),
    "hardswish": (
        lambda x: x * hardsigmoid_forward(x),
        hardswish_backward,
    ),
    "silu": (
        lambda x: x * sigmoid_forward(x),
        lambda dy, x: dy * sigmoid_forward(x) + x * sigmoid_backward(dy, x),
    ),
}


# --------------------------------------------------------------------------- the ladder


def flat(x: Array, last: bool) -> Array:
    """x in a row, in the order of memory: if `last`, that of channels-last images."""
    return np.ascontiguousarray(x.transpose(0, 2, 3, 1) if last else x).reshape(-1)


def unflat(row: Array, x: Array, last: bool) -> Array:
    """A row of `flat`, in the shape of x."""
    if not last:
        return row.reshape(x.shape)
    N, C, H, W = x.shape
    return row.reshape(N, H, W, C).transpose(0, 3, 1, 2)


def call_forward(body: Body, x: Array, *slope: float) -> Array:
    last = is_channels_last(x)
    y = empty((x.size,), x.dtype)
    body(y, flat(x, last), *slope, sizes=(x.size,))
    return unflat(y, x, last)


def call_backward(body: Body, dy: Array, x: Array, *slope: float) -> Array:
    last = is_channels_last(x)
    dx = empty((x.size,), x.dtype)
    body(dx, flat(dy, last), flat(x, last), *slope, sizes=(x.size,))
    return unflat(dx, x, last)


# NumPy has vectorised max and clip, too; below so many numbers its call costs less.
AUTO = {"relu": at_least(1 << 14), "relu6": at_least(1 << 16)}


def kernels(function: str) -> list[Kernel]:
    return [
        Kernel("cython.flat", f"activation_cy:{function}_f32", auto=AUTO.get(function, True)),
        Kernel("numba.flat", f"activation_nb:{function}_f32", auto=AUTO.get(function, True)),
    ]


def activation(name: str) -> Op:
    """The Op of one row of the table, with both of its ladders."""
    f, df = TABLE[name]
    FORWARD[name] = Ladder(f"{name}.forward", f, kernels(name), call_forward)
    BACKWARD[name] = Ladder(f"{name}.backward", df, kernels(f"{name}_backward"), call_backward)
    return Op(
        name,
        forward=lambda x, **slope: FORWARD[name](x, *slope.values()),
        vjp=lambda dy, y, x, **slope: BACKWARD[name](dy, x, *slope.values()),
    )


FORWARD: dict[str, Ladder] = {}
BACKWARD: dict[str, Ladder] = {}
ACTIVATIONS = {name: activation(name) for name in TABLE}


# --------------------------------------------------------------------------- the public functions


def run(name: str, input: Tensor, **slope: float) -> Tensor:
    check_dtypes(name, input=input)
    return apply(ACTIVATIONS[name], input, **slope)


def relu(input: Tensor, inplace: bool = False) -> Tensor:
    """max(x, 0), as torch.nn.functional.relu; `inplace` is accepted, and a new tensor returned."""
    return run("relu", input)


def relu6(input: Tensor, inplace: bool = False) -> Tensor:
    """min(max(x, 0), 6), as torch.nn.functional.relu6; `inplace` as in `relu`."""
    return run("relu6", input)


def leaky_relu(input: Tensor, negative_slope: float = 0.01, inplace: bool = False) -> Tensor:
    """x where x > 0, else negative_slope·x, as torch.nn.functional.leaky_relu; see `relu`."""
    return run("leaky_relu", input, slope=float(negative_slope))


def sigmoid(input: Tensor) -> Tensor:
    """1 / (1 + e⁻ˣ), as torch.nn.functional.sigmoid."""
    return run("sigmoid", input)


def tanh(input: Tensor) -> Tensor:
    """(eˣ − e⁻ˣ) / (eˣ + e⁻ˣ), as torch.nn.functional.tanh."""
    return run("tanh", input)


def hardsigmoid(input: Tensor, inplace: bool = False) -> Tensor:
    """min(max(x + 3, 0), 6) / 6, as torch.nn.functional.hardsigmoid; `inplace` as in `relu`."""
    return run("hardsigmoid", input)


def hardswish(input: Tensor, inplace: bool = False) -> Tensor:
    """x·hardsigmoid(x), as torch.nn.functional.hardswish; `inplace` as in `relu`."""
    return run("hardswish", input)


def silu(input: Tensor, inplace: bool = False) -> Tensor:
    """x / (1 + e⁻ˣ), as torch.nn.functional.silu; `inplace` as in `relu`."""
    return run("silu", input)
