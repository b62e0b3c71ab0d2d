"""Activations made of straight lines: y = f(x), each number on its own.

Without an activation, a chain of layers is a single layer.

    relu         max(x, 0)                                     Nair, Hinton, ICML 2010
    relu6        min(max(x, 0), 6)                             Krizhevsky, CIFAR-10, 2010 (below)
    leaky_relu   x where x > 0, else slope·x                   Maas et al., ICML 2013
    hardtanh     min(max(x, low), high)                        Collobert, thesis, 2004
    threshold    x where x > t, else v
    hardsigmoid  min(max(x + 3, 0), 6) / 6                     Courbariaux et al., arXiv 1511.00363
    hardswish    x · hardsigmoid(x)                            Howard et al., arXiv 1905.02244
    hardshrink   x where |x| > λ, else 0                       Donoho, Johnstone, Biometrika 1994
    softshrink   x − λ where x > λ, x + λ where x < −λ, else 0    the same paper

Krizhevsky, Convolutional Deep Belief Networks on CIFAR-10, 2010, stops relu at 6 so that features
are sparse sooner. The ones made of exponentials are in smooth_activations.py, with the same two
ladders each.

Every output depends on one input, so the gradient is a product, dx = dy · f′(x). At a kink, where f
has no derivative, it is PyTorch's choice, written out as < or ≤ below. NaN stays NaN.

    shapes    x, y any
    cost      reading x and writing y

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

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ..dispatch import Body, Kernel, Ladder, Op, at_least, empty, is_channels_last
from ..tensor import Tensor, apply, method
from .checks import check_dtypes

Array = np.ndarray


# --------------------------------------------------------------------------- the NumPy reference


def hardsigmoid_forward(x: Array) -> Array:
    return np.clip(x + 3, 0, 6) / 6


def hardswish_backward(dy: Array, x: Array) -> Array:
    return np.where(x <= -3, 0, np.where(x >= 3, dy, dy * (x / 3 + 0.5)))


def hardshrink_backward(dy: Array, x: Array, lambd: float) -> Array:
    return np.where((x > lambd) | (x < -lambd), dy, 0)


def softshrink_forward(x: Array, lambd: float) -> Array:
    return np.where(x > lambd, x - lambd, np.where(x < -lambd, x + lambd, 0 * x))


Pair = tuple[Callable[..., Array], Callable[..., Array]]  # y = f(x) and dx = dy · f′(x)
TABLE: dict[str, Pair] = {
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
    "hardtanh": (
        lambda x, low, high: np.clip(x, low, high),
        lambda dy, x, low, high: np.where((x > low) & (x < high), dy, 0),
    ),
    "threshold": (
        lambda x, t, v: np.where(x <= t, x.dtype.type(v), x),
        lambda dy, x, t, v: np.where(x <= t, 0, dy),
    ),
    "hardsigmoid": (
        hardsigmoid_forward,
        lambda dy, x: np.where((x > -3) & (x < 3), dy / 6, 0),
    ),
    "hardswish": (
        lambda x: x * hardsigmoid_forward(x),
        hardswish_backward,
    ),
    "hardshrink": (
        lambda x, lambd: np.where((x >= -lambd) & (x <= lambd), 0, x),
        hardshrink_backward,
    ),
    "softshrink": (softshrink_forward, hardshrink_backward),
}


# --------------------------------------------------------------------------- the ladder


def flat(x: Array, last: bool) -> Array:
    """x in a row, in the order of memory: if `last`, that of channels-last images."""
    return np.ascontiguousarray(x.transpose(0, 2, 3, 1) if last else x).reshape(-1)


def unflat(row: Array, shape: tuple[int, ...], last: bool) -> Array:
    """A row of `flat`, in its shape again."""
    if not last:
        return row.reshape(shape)
    N, C, H, W = shape
    return row.reshape(N, H, W, C).transpose(0, 3, 1, 2)


def call_forward(body: Body, x: Array, *attrs: float) -> Array:
    last = is_channels_last(x)
    y = empty((x.size,), x.dtype)
    body(y, flat(x, last), *attrs, sizes=(x.size,))
    return unflat(y, x.shape, last)


def call_backward(body: Body, dy: Array, x: Array, *attrs: float) -> Array:
    last = is_channels_last(x)
    dx = empty((x.size,), x.dtype)
    body(dx, flat(dy, last), flat(x, last), *attrs, sizes=(x.size,))
    return unflat(dx, x.shape, last)


# NumPy has vectorised max and clip, too; below so many numbers its call costs less.
AUTO = {"relu": at_least(1 << 14), "relu6": at_least(1 << 16), "hardtanh": at_least(1 << 16)}


def kernels(function: str) -> list[Kernel]:
    return [
        Kernel("cython.flat", f"activation_cy:{function}_f32", auto=AUTO.get(function, True)),
        Kernel("numba.flat", f"activation_nb:{function}_f32", auto=AUTO.get(function, True)),
    ]


def activation(
    name: str, f: Callable[..., Array], df: Callable[..., Array], keeps: str = "x"
) -> Op:
    """The Op of one row of a table, with both of its ladders; f′ is a function of what it `keeps`.

    Attributes have names on the tape; ladders and bodies take them in the order that `run` is
    given them.
    """
    FORWARD[name] = Ladder(f"{name}.forward", f, kernels(name), call_forward)
    BACKWARD[name] = Ladder(f"{name}.backward", df, kernels(f"{name}_backward"), call_backward)
    return Op(
        name,
        forward=lambda x, **attrs: FORWARD[name](x, *attrs.values()),
        vjp=lambda dy, y, x, **attrs: BACKWARD[name](dy, x if keeps == "x" else y, *attrs.values()),
        keeps=keeps,
        is_ladder=True,
    )


FORWARD: dict[str, Ladder] = {}  # of all activations, also the smooth ones
BACKWARD: dict[str, Ladder] = {}
ACTIVATIONS = {name: activation(name, *pair) for name, pair in TABLE.items()}


# --------------------------------------------------------------------------- the public functions


def run(name: str, input: Tensor, **attrs: float) -> Tensor:
    check_dtypes(name, input=input)
    return apply(ACTIVATIONS[name], input, **attrs)


def real(op: str, name: str, value: Any) -> float:
    """`value` if it is a number."""
    try:
        if not isinstance(value, (str, bytes)):
            return float(value)
    except (TypeError, ValueError):
        pass
    raise TypeError(f"{op}: {name}={value!r}, expected a number")


def finite(op: str, name: str, value: Any) -> float:
    """A number that is neither infinite nor NaN, as a float."""
    if not math.isfinite(found := real(op, name, value)):
        raise ValueError(f"{op}: {name}={value!r}, expected a finite number")
    return found


@method
def relu(input: Tensor, inplace: bool = False) -> Tensor:
    """max(x, 0), as torch.nn.functional.relu; `inplace` is accepted, and a new tensor returned.

    Unlike PyTorch: `inplace` is accepted everywhere, but the result is always a new tensor and the
    input stays as it was.
    """
    return run("relu", input)


def relu6(input: Tensor, inplace: bool = False) -> Tensor:
    """min(max(x, 0), 6), as torch.nn.functional.relu6; `inplace` as in `relu`."""
    return run("relu6", input)


def leaky_relu(input: Tensor, negative_slope: float = 0.01, inplace: bool = False) -> Tensor:
    """x where x > 0, else negative_slope·x, as torch.nn.functional.leaky_relu; see `relu`."""
    return run("leaky_relu", input, slope=real("leaky_relu", "negative_slope", negative_slope))


def hardtanh(
    input: Tensor, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False
) -> Tensor:
    """min(max(x, min_val), max_val), as torch.nn.functional.hardtanh; `inplace` as in `relu`.

    ValueError unless min_val ≤ max_val.

    Unlike PyTorch: a NaN bound and integer tensors are refused.
    """
    low, high = real("hardtanh", "min_val", min_val), real("hardtanh", "max_val", max_val)
    if not low <= high:
        raise ValueError(f"hardtanh: min_val={min_val} must be at most max_val={max_val}")
    return run("hardtanh", input, low=low, high=high)


def threshold(input: Tensor, threshold: float, value: float, inplace: bool = False) -> Tensor:
    """x where x > threshold, else value, as torch.nn.functional.threshold; see `relu`.

    Unlike PyTorch: integer tensors are refused.
    """
    t, v = real("threshold", "threshold", threshold), real("threshold", "value", value)
    return run("threshold", input, t=t, v=v)


def hardsigmoid(input: Tensor, inplace: bool = False) -> Tensor:
    """min(max(x + 3, 0), 6) / 6, as torch.nn.functional.hardsigmoid; `inplace` as in `relu`."""
    return run("hardsigmoid", input)


def hardswish(input: Tensor, inplace: bool = False) -> Tensor:
    """x·hardsigmoid(x), as torch.nn.functional.hardswish; `inplace` as in `relu`."""
    return run("hardswish", input)


@method
def hardshrink(input: Tensor, lambd: float = 0.5) -> Tensor:
    """x where |x| > lambd, else 0, as torch.nn.functional.hardshrink; x if lambd is negative."""
    return run("hardshrink", input, lambd=real("hardshrink", "lambd", lambd))


def softshrink(input: Tensor, lambd: float = 0.5) -> Tensor:
    """x moved towards 0 by `lambd`, at most to 0, as torch.nn.functional.softshrink.

    ValueError if lambd is negative or not finite.
    """
    by = real("softshrink", "lambd", lambd)
    if not 0 <= by < math.inf:
        raise ValueError(f"softshrink: lambd={lambd} must be finite and not negative")
    return run("softshrink", input, lambd=by)
