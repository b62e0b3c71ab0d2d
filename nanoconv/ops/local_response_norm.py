"""Local response normalisation: where many channels are loud at one pixel, all become quieter.

    y[c] = x[c] / d[c]^β,      d[c] = k + α/size · Σ_t x[c + t]²,      −⌊size/2⌋ ≤ t < ⌈size/2⌉

c channel of one pixel of one image; channels beyond the first and the last count as 0, and the sum
is divided by `size` there too.

    shapes    x and y (N, C, L), (N, C, H, W) …
    cost      size multiply-adds and a power for each number

x[c] reaches L through y[c], and through every d whose window contains c, those of c − t:

    dx[c] = dy[c]/d[c]^β − 2·α·β/size · x[c] · Σ_t dy[c − t]·x[c − t] / d[c − t]^(β + 1)

Paper: Krizhevsky, Sutskever, Hinton, ImageNet Classification with Deep Convolutional Neural
Networks, 2012, section 3.3; there α is not divided by size. Three channels of one pixel:

>>> import nanoconv as nc
>>> x = nc.tensor([[[1.0], [2.0], [4.0]]])
>>> nc.functional.local_response_norm(x, 3, alpha=3.0, beta=1.0)  # d = 1 + 5, 1 + 21, 1 + 20
tensor([[[0.16666667],
         [0.09090909],
         [0.1904762 ]]])
"""

from __future__ import annotations

import math

import numpy as np

from ..dispatch import Body, Kernel, Ladder, Op, empty, rows, unrows
from ..tensor import Tensor, apply
from .activations import real
from .checks import check_dtypes
from .shaping import integer

Array = np.ndarray


# --------------------------------------------------------------------------- shapes


def local_response_norm_shape(x: tuple[int, ...], size: int) -> None:
    """Check that x is (N, C, L …) and that there is a window."""
    if len(x) < 3:
        raise ValueError(f"local_response_norm: input has shape {list(x)}, expected (N, C, L …)")
    if size < 1:
        raise ValueError(f"local_response_norm: size={size}, expected an integer from 1 up")


# --------------------------------------------------------------------------- the literal loops


def local_response_norm_loops(y, x, alpha, beta, k, sizes):
    M, C, size = sizes
    for m in range(M):
        for c in range(C):
            total = 0.0
            for at in range(max(c - size // 2, 0), min(c - size // 2 + size, C)):
                total += x[m, at] ** 2
            y[m, c] = x[m, c] / (k + alpha / size * total) ** beta


def local_response_norm_backward_loops(dx, dy, x, alpha, beta, k, sizes):
    M, C, size = sizes
    dx[...] = 0
    for m in range(M):
        for c in range(C):
            first, end = max(c - size // 2, 0), min(c - size // 2 + size, C)
            total = 0.0
            for at in range(first, end):
                total += x[m, at] ** 2
            d = k + alpha / size * total
            dx[m, c] += dy[m, c] / d**beta
            through_d = dy[m, c] * x[m, c] / d**beta / d
            for at in range(first, end):
                dx[m, at] -= 2 * alpha * beta / size * x[m, at] * through_d


# --------------------------------------------------------------------------- the NumPy reference


def windows(x: Array, before: int, size: int) -> Array:
    """Σ_t x[n, c − before + t, …], t below size; zeros outside."""
    C = x.shape[1]
    widths = [(0, 0), (before, size - 1 - before), *[(0, 0)] * (x.ndim - 2)]
    padded = np.pad(x, widths)
    total = padded[:, :C].copy()
    for t in range(1, size):
        total += padded[:, t : t + C]
    return total


def local_response_norm_forward(x: Array, size: int, alpha: float, beta: float, k: float) -> Array:
    return x / (k + alpha / size * windows(x * x, size // 2, size)) ** beta


def local_response_norm_backward(
    dy: Array, x: Array, size: int, alpha: float, beta: float, k: float
) -> Array:
    d = k + alpha / size * windows(x * x, size // 2, size)
    p = d**beta
    through_d = windows(dy * (x / p / d), size - 1 - size // 2, size)
    return dy / p - 2 * alpha * beta / size * x * through_d


# --------------------------------------------------------------------------- the ladder


def call_forward(body: Body, x: Array, size: int, alpha: float, beta: float, k: float) -> Array:
    xr = rows(x)  # (M, C)
    yr = empty(xr.shape, x.dtype)
    body(yr, xr, alpha, beta, k, sizes=(*xr.shape, size))
    return unrows(yr, x.shape)


def call_backward(
    body: Body, dy: Array, x: Array, size: int, alpha: float, beta: float, k: float
) -> Array:
    xr = rows(x)
    dx = empty(xr.shape, x.dtype)
    body(dx, rows(dy), xr, alpha, beta, k, sizes=(*xr.shape, size))
    return unrows(dx, x.shape)


FORWARD = Ladder(
    "local_response_norm",
    reference=local_response_norm_forward,
    kernels=[
        Kernel("cython.rows", "lrn_cy:local_response_norm_f32"),
        Kernel("numba.rows", "lrn_nb:local_response_norm_f32"),
        Kernel("numba.loops", "jit"),
    ],
    call=call_forward,
    loops=local_response_norm_loops,
)
INPUT_GRAD = Ladder(
    "local_response_norm.input_grad",
    reference=local_response_norm_backward,
    kernels=[
        Kernel("cython.rows", "lrn_cy:local_response_norm_backward_f32"),
        Kernel("numba.rows", "lrn_nb:local_response_norm_backward_f32"),
        Kernel("numba.loops", "jit"),
    ],
    call=call_backward,
    loops=local_response_norm_backward_loops,
)
LOCAL_RESPONSE_NORM = Op(
    "local_response_norm",
    forward=lambda x, size, alpha, beta, k: FORWARD(x, size, alpha, beta, k),
    vjp=(lambda dy, y, x, size, alpha, beta, k: INPUT_GRAD(dy, x, size, alpha, beta, k),),
)


# --------------------------------------------------------------------------- the public function


def local_response_norm(
    input: Tensor, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0
) -> Tensor:
    """`input` (N, C, L …), each number divided by the mean square of `size` channels around it.

    As torch.nn.functional.local_response_norm. ValueError where shapes do not fit.

    Unlike PyTorch: `alpha`, `beta` and `k` must be finite.
    """
    check_dtypes("local_response_norm", input=input)
    size = integer("local_response_norm", "size", size)
    local_response_norm_shape(input.shape, size)
    given = {"alpha": alpha, "beta": beta, "k": k}
    numbers = {name: real("local_response_norm", name, value) for name, value in given.items()}
    for name, value in numbers.items():
        if not math.isfinite(value):
            raise ValueError(f"local_response_norm: {name}={value!r}, expected a finite number")
    taps = min(size, 2 * max(input.shape[1], 1) - 1)  # more add only zeros
    numbers["alpha"] *= taps / size
    return apply(LOCAL_RESPONSE_NORM, input, size=taps, **numbers)
