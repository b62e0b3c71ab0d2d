"""Linear: every output is a weighted sum of all inputs. Read this file first: all others follow it.

    y[n,o] = b[o] + Σ_c x[n,c] · w[o,c]                               y = x wᵀ + b

n example, c input feature, o output feature.

    shapes    x (N, C)   w (O, C)   b (O,)   y (N, O)
    cost      N·O·C multiply-adds

Learning needs to know how the loss L, one number computed from y, changes with x, w and b. Write dy
for ∂L/∂y, and so on. The chain rule says: take every way by which a number reaches L, and add up.
x[n,c] reaches L through the outputs y[n,o] of all o, each of which it changes by w[o,c]; w[o,c]
through the outputs of all examples n; b[o] through these too, with factor 1:

    dx[n,c] = Σ_o dy[n,o] · w[o,c]                                    dx = dy w
    dw[o,c] = Σ_n dy[n,o] · x[n,c]                                    dw = dyᵀ x
    db[o]   = Σ_n dy[n,o]                                             db = the sum of dy's rows

A gradient has the shape of what it belongs to, and costs as much as the equation itself. Here it is
even the same computation, a bᵀ for other a and b: dx = dy (wᵀ)ᵀ and dw = dyᵀ (xᵀ)ᵀ. Whatever makes
`linear` fast makes its gradients fast.

Paper: Rumelhart, Hinton, Williams, Learning Representations by Back-propagating Errors, Nature 323,
1986. An example: two features, one output y = 10·x₀ + x₁ + 5:

>>> import nanoconv as nc
>>> x = nc.tensor([[1.0, 2.0], [3.0, 4.0]])
>>> w = nc.tensor([[10.0, 1.0]], requires_grad=True)
>>> y = nc.functional.linear(x, w, nc.tensor([5.0]))
>>> y.tolist()
[[17.0], [39.0]]
>>> y.sum().backward()
>>> w.grad  # each feature summed over both examples
tensor([[4., 6.]])
"""

from __future__ import annotations

import math

import numpy as np

from ..dispatch import Body, Kernel, Ladder, Op, empty
from ..tensor import Tensor, apply
from .checks import check_bias, check_dtypes, given

Array = np.ndarray


# --------------------------------------------------------------------------- shapes


def linear_shape(x: tuple[int, ...], w: tuple[int, ...]) -> tuple[int, int, int]:
    """Check that x (…, C) and w (O, C) fit; returns N, the product of …, then O and C."""
    if len(x) < 1 or len(w) != 2 or x[-1] != w[1]:
        raise ValueError(
            f"linear: expected input (…, C) and weight (O, C), got {list(x)} and {list(w)}"
        )
    return math.prod(x[:-1]), w[0], w[1]


# --------------------------------------------------------------------------- the literal loops


def linear_loops(y, x, w, b, sizes):
    N, O, C = sizes
    for n in range(N):
        for o in range(O):
            total = b[o]
            for c in range(C):
                total += x[n, c] * w[o, c]
            y[n, o] = total


# --------------------------------------------------------------------------- the NumPy reference


def linear_forward(x: Array, w: Array, b: Array | None = None) -> Array:
    y = x @ w.T  # (N, O)
    return y if b is None else y + b


def linear_input_grad(dy: Array, w: Array) -> Array:
    return LADDER(dy, w.T)  # (N, C)


def linear_weight_grad(dy: Array, x: Array) -> Array:
    return LADDER(dy.T, x.T)  # (O, C)


def linear_bias_grad(dy: Array) -> Array:
    return dy.sum(0)  # (O,)


# --------------------------------------------------------------------------- the ladder
#
# The same equation, implemented several times: Python's loops above, the same loops compiled by
# Numba, NumPy's matrix product, and the project's own. A ladder is called like its reference and
# takes the first rung that is installed, that `nc.use` allows, and that is the fastest here (auto).
# NumPy's own is BLAS, which with AVX2 is as fast as a machine can be, with two exceptions: where a
# "sum" has one term only, the weight gradient of a single example; and where a few examples meet
# a large matrix, which BLAS copies before it multiplies. Of a single example BLAS makes short work,
# but its threads go on spinning for many milliseconds, in the way of those of the other layers.


def small_side(x: Array, w: Array, *rest: Array | None) -> bool:
    """Sums of one term, and enough of them; or up to 8 rows, and large matrices in C order."""
    if x.shape[1] == 1:
        return len(x) * len(w) >= 1 << 14
    return 1 <= len(x) <= 8 and w.size >= 1 << 16 and w.flags.c_contiguous and x.flags.c_contiguous


small_side.__name__ = "sums of one term, or up to 8 rows and a large matrix"


def one_example(x: Array, w: Array, *rest: Array | None) -> bool:
    """A matrix times a vector, both as they lie in memory: every weight is used once."""
    return len(x) == 1 and x.flags.c_contiguous and w.flags.c_contiguous


def call(body: Body, x: Array, w: Array, b: Array | None = None) -> Array:
    (N, C), O = x.shape, len(w)
    y = empty((N, O), x.dtype)
    b = np.zeros(O, x.dtype) if b is None else np.ascontiguousarray(b)
    body(y, dense(x), dense(w), b, sizes=(N, O, C))
    return y


def dense(matrix: Array) -> Array:
    """The matrix itself if it, or its transpose, is contiguous; else a copy that is."""
    return matrix if matrix.flags.forc else np.ascontiguousarray(matrix)


LADDER = Ladder(
    "linear",
    reference=linear_forward,
    kernels=[
        Kernel("simd.matmul", "gemm_cy:matmul_f32", auto=small_side),
        Kernel("simd.gemv", "linear_cy:gemv_f32", when=one_example, auto=False),
        Kernel("numba.loops", "jit"),
    ],
    call=call,
    loops=linear_loops,
)
LINEAR = Op(
    "linear",
    forward=lambda x, w, b: LADDER(x, w, b),
    vjp=(  # one rule per input, called with dy, the output y and all inputs
        lambda dy, y, x, w, b: linear_input_grad(dy, w),
        lambda dy, y, x, w, b: linear_weight_grad(dy, x),
        lambda dy, y, x, w, b: linear_bias_grad(dy),
    ),
    macs=lambda y, x, w, b: y.numel() * x.shape[1],
)


# --------------------------------------------------------------------------- the public function


def linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """`input` (…, C) times the transpose of `weight` (O, C), plus `bias` (O,); gives (…, O).

    As torch.nn.functional.linear. Any number of leading axes counts as examples. Raises ValueError
    where shapes do not fit and TypeError where dtypes differ.

    Unlike PyTorch: a `weight` (C,) without its axis O, and a `bias` that would have to be repeated
    for all outputs, are refused.
    """
    check_dtypes("linear", input=input, weight=weight, **given(bias=bias))
    N, O, C = linear_shape(input.shape, weight.shape)
    check_bias("linear", bias, O)
    if input.ndim == 2:
        return apply(LINEAR, input, weight, bias)
    y = apply(LINEAR, input.reshape(N, C), weight, bias)
    return y.reshape(*input.shape[:-1], O)
