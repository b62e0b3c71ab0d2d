"""PReLU: a leaky ReLU that learns its slope, one for all numbers or one for each channel.

    y[m,c] = x[m,c] where x[m,c] > 0, else w[c]·x[m,c]

c channel, m any pixel of any image: x (N, C, …) is read as M rows of C channels. If w has a single
element, all numbers are of one channel: M is the size of x and C = 1.

    shapes    x and y any with C channels (axis 1)   w (C,); any shape at all if w has one element
    cost      reading x and writing y; the gradient by w reads dy and x once more

    dx[m,c] = dy[m,c] where x[m,c] > 0, else w[c]·dy[m,c]
    dw[c]   = Σ_m x[m,c]·dy[m,c] over the m where x[m,c] ≤ 0

Paper: He et al., Delving Deep into Rectifiers, arXiv 1502.01852. Two channels of two examples:

>>> import nanoconv as nc
>>> x = nc.tensor([[-1.0, -1.0], [2.0, -3.0]])
>>> w = nc.tensor([0.5, 0.25], requires_grad=True)
>>> y = nc.functional.prelu(x, w)
>>> y.tolist()
[[-0.5, -0.25], [2.0, -0.75]]
>>> y.sum().backward()
>>> w.grad
tensor([-1., -4.])
"""

from __future__ import annotations

import numpy as np

from ..dispatch import Body, Kernel, Ladder, Op, empty, is_channels_last, rows, unrows
from ..tensor import Tensor, apply, method
from .activations import flat, unflat
from .checks import check_dtypes

Array = np.ndarray


def prelu_shape(x: tuple[int, ...], w: tuple[int, ...]) -> None:
    """Check that the weight (C,) or of one element fits x."""
    if len(w) > 1:
        raise ValueError(f"prelu: weight has shape {list(w)}, expected (C,), (1,) or ()")
    C = x[1] if len(x) > 1 else 1
    if w not in ((), (1,), (C,)):
        expected = "[1]" if C == 1 else f"[{C}] or [1]"
        raise ValueError(
            f"prelu: weight has shape {list(w)}, expected {expected} for input {list(x)}"
        )


# --------------------------------------------------------------------------- the literal loops


def prelu_loops(y, x, w, sizes):
    M, C = sizes
    for m in range(M):
        for c in range(C):
            y[m, c] = x[m, c] if x[m, c] > 0 else w[c] * x[m, c]


def prelu_input_grad_loops(dx, dy, x, w, sizes):
    M, C = sizes
    for m in range(M):
        for c in range(C):
            dx[m, c] = dy[m, c] if x[m, c] > 0 else w[c] * dy[m, c]


def prelu_weight_grad_loops(dw, dy, x, sizes):
    M, C = sizes
    dw[...] = 0
    for m in range(M):
        for c in range(C):
            if not x[m, c] > 0:  # NaN counts
                dw[c] += x[m, c] * dy[m, c]


# --------------------------------------------------------------------------- the NumPy reference


def on_channels(w: Array, x: Array) -> Array:
    """(C,) as (C, 1, …), so that it meets the channel axis of x (N, C, …)."""
    return w.reshape(w.shape + (1,) * (x.ndim - 2)) if w.size > 1 else w.reshape(())


def prelu_forward(x: Array, w: Array) -> Array:
    return np.where(x > 0, x, on_channels(w, x) * x)


def prelu_input_grad(dy: Array, x: Array, w: Array) -> Array:
    return np.where(x > 0, dy, on_channels(w, x) * dy)


def prelu_weight_grad(dy: Array, x: Array, w: Array) -> Array:
    parts = np.where(x > 0, 0, x * dy)
    return parts.sum((0, *range(2, x.ndim)) if w.size > 1 else None).reshape(w.shape)


# --------------------------------------------------------------------------- the ladder


def matrices(w: Array, x: Array, *others: Array) -> tuple[Array, ...]:
    """x and arrays of its shape as (M, C), where a single weight makes a single channel."""
    if w.size > 1:
        return tuple(rows(a) for a in (x, *others))
    last = is_channels_last(x)
    return tuple(flat(a, last).reshape(-1, 1) for a in (x, *others))


def image(matrix: Array, w: Array, x: Array) -> Array:
    """A matrix like those of `matrices`, in the shape of x."""
    if w.size > 1:
        return unrows(matrix, x.shape)
    return unflat(matrix.reshape(-1), x.shape, is_channels_last(x))


def call_forward(body: Body, x: Array, w: Array) -> Array:
    (xr,) = matrices(w, x)
    y = empty(xr.shape, x.dtype)
    body(y, xr, np.ascontiguousarray(w).reshape(-1), sizes=xr.shape)
    return image(y, w, x)


def call_input_grad(body: Body, dy: Array, x: Array, w: Array) -> Array:
    xr, dyr = matrices(w, x, dy)
    dx = empty(xr.shape, x.dtype)
    body(dx, dyr, xr, np.ascontiguousarray(w).reshape(-1), sizes=xr.shape)
    return image(dx, w, x)


def call_weight_grad(body: Body, dy: Array, x: Array, w: Array) -> Array:
    xr, dyr = matrices(w, x, dy)
    dw = empty((w.size,), x.dtype)
    body(dw, dyr, xr, sizes=xr.shape)
    return dw.reshape(w.shape)


FORWARD = Ladder(
    "prelu.forward",
    reference=prelu_forward,
    kernels=[
        Kernel("cython.rows", "prelu_cy:prelu_f32"),
        Kernel("numba.rows", "prelu_nb:prelu_f32"),
        Kernel("numba.loops", "jit"),
    ],
    call=call_forward,
    loops=prelu_loops,
)
INPUT_GRAD = Ladder(
    "prelu.input_grad",
    reference=prelu_input_grad,
    kernels=[
        Kernel("cython.rows", "prelu_cy:prelu_input_grad_f32"),
        Kernel("numba.rows", "prelu_nb:prelu_input_grad_f32"),
        Kernel("numba.loops", "jit"),
    ],
    call=call_input_grad,
    loops=prelu_input_grad_loops,
)
WEIGHT_GRAD = Ladder(
    "prelu.weight_grad",
    reference=prelu_weight_grad,
    kernels=[
        Kernel("cython.rows", "prelu_cy:prelu_weight_grad_f32"),
        Kernel("numba.rows", "prelu_nb:prelu_weight_grad_f32"),
        Kernel("numba.loops", "jit"),
    ],
    call=call_weight_grad,
    loops=prelu_weight_grad_loops,
)
PRELU = Op(
    "prelu",
    forward=lambda x, w: FORWARD(x, w),
    vjp=(
        lambda dy, y, x, w: INPUT_GRAD(dy, x, w),
        lambda dy, y, x, w: WEIGHT_GRAD(dy, x, w),
    ),
)


# --------------------------------------------------------------------------- the public function


@method
def prelu(input: Tensor, weight: Tensor) -> Tensor:
    """x where x > 0, else weight·x, with one weight for all numbers or one for each channel.

    As torch.nn.functional.prelu: the channel is axis 1, and an input of one axis has one channel.
    ValueError where shapes do not fit.
    """
    check_dtypes("prelu", input=input, weight=weight)
    prelu_shape(input.shape, weight.shape)
    return apply(PRELU, input, weight)
