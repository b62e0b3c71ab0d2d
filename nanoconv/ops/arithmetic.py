"""Arithmetic: each op is its value and, below it, the gradient of each input.

An elementwise op y[k] = f(a[k], b[k]) sends to each input the output's gradient times a derivative:

    da[k] = dy[k] · ∂f/∂a (a[k], b[k])        db[k] = dy[k] · ∂f/∂b (a[k], b[k])

    shapes    a and b any that broadcast, y their common shape; matmul (…, M, K) and (…, K, N)
    cost      reading a and b and writing y; matmul M·K·N multiply-adds for each pair of matrices

Shapes broadcast as in NumPy; the gradient of a broadcast input is the sum over its repetitions,
which the tape takes care of. Two tensors must have one dtype; a number takes that of the tensor
that it meets. Where a function has a kink, the derivative there is the one that PyTorch chose.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from ..dispatch import Op
from ..tape import is_grad_enabled
from ..tensor import Array, Tensor, apply, method, operand, tensor

Operand = Tensor | Array | float
Comparison = Callable[[Operand, Operand], Tensor]
Number = bool | int | float | np.generic


def operands(op: str, *values: Operand) -> list[Tensor]:
    """All values as tensors of one dtype."""
    like = next((value for value in values if isinstance(value, Tensor)), None)
    if like is None:
        raise TypeError(f"{op}: expected at least one tensor, got {type(values[0]).__name__}")
    return [operand(value, like, op) for value in values]


def meet(op: str, *values: Operand) -> list[Tensor]:
    """All values as tensors of one dtype, whose shapes broadcast."""
    tensors = operands(op, *values)
    check_broadcast(op, *tensors)
    return tensors


def check_broadcast(op: str, *tensors: Tensor) -> None:
    try:
        np.broadcast_shapes(*(t.shape for t in tensors))
    except ValueError:
        shapes = " and ".join(str(list(t.shape)) for t in tensors)
        raise ValueError(f"{op}: shapes {shapes} do not broadcast") from None


def floating(op: str, input: Tensor) -> Tensor:
    """`input` if it is a floating tensor."""
    if not isinstance(input, Tensor):
        raise TypeError(f"{op}: expected a nanoconv Tensor, got {type(input).__name__}")
    if input.dtype.kind != "f":
        raise TypeError(f"{op}: input is {input.dtype}, expected float32 or float64; use .float()")
    return input


def number(op: str, input: Tensor) -> Tensor:
    """`input` if it is a tensor of numbers, not a mask."""
    if isinstance(input, Tensor) and input.dtype == np.bool_:
        raise TypeError(f"{op}: input is bool, expected numbers; masks have logical_not and _xor")
    return input


def exponent_fits(input: Tensor, exponent: Tensor) -> None:
    """Integers have no negative powers: 2⁻¹ is not an integer."""
    if input.dtype.kind in "iu" and (exponent._data < 0).any():
        raise ValueError(
            "pow: exponent is negative somewhere, and negative integer powers of "
            f"{input.dtype} numbers are not integers; use .float()"
        )


def check_mask(op: str, name: str, mask: Operand) -> None:
    """`mask` is a bool tensor."""
    if not isinstance(mask, Tensor) or mask.dtype != np.bool_:
        found = mask.dtype if isinstance(mask, Tensor) else type(mask).__name__
        raise TypeError(f"{op}: {name} is {found}, expected a bool tensor")


def only(mask: Array | np.bool_, dy: Array) -> Array:
    """dy where the mask is true, 0 elsewhere."""
    return np.where(mask, dy, dy.dtype.type(0))


# --------------------------------------------------------------------------- + − · ÷ and powers

ADD = Op("add", np.add, (lambda dy, *_: dy, lambda dy, *_: dy), keeps="")
SUB = Op("sub", np.subtract, (lambda dy, *_: dy, lambda dy, *_: -dy), keeps="")
NEG = Op("neg", np.negative, lambda dy, *_: -dy, keeps="")
MUL = Op("mul", np.multiply, (lambda dy, y, a, b: dy * b, lambda dy, y, a, b: dy * a))
DIV = Op("div", np.divide, (lambda dy, y, a, b: dy / b, lambda dy, y, a, b: -dy * (a / b / b)))
POW = Op(
    "pow",
    np.power,
    (  # a^b: the 0s below are limits, where the formulas give 0·∞
        lambda dy, y, a, b: only(b != 0, dy * b * np.power(a, b - 1)),
        lambda dy, y, a, b: only((a != 0) | ~(b >= 0), dy * y * np.log(a)),
    ),
    keeps="xy",
)


@method
def add(input: Operand, other: Operand, *, alpha: float = 1) -> Tensor:
    """input + alpha·other."""
    a, b = meet("add", input, other)
    return apply(ADD, a, b if alpha == 1 else mul(b, alpha))


@method
def sub(input: Operand, other: Operand, *, alpha: float = 1) -> Tensor:
    """input − alpha·other."""
    a, b = meet("sub", input, other)
    return apply(SUB, number("sub", a), b if alpha == 1 else mul(b, alpha))


@method
def neg(input: Tensor) -> Tensor:
    """−input."""
    return apply(NEG, number("neg", input))


@method
def mul(input: Operand, other: Operand) -> Tensor:
    """input · other."""
    return apply(MUL, *meet("mul", input, other))


@method
def div(input: Operand, other: Operand) -> Tensor:
    """input / other, of floating tensors."""
    a, b = meet("div", input, other)
    return apply(DIV, floating("div", a), b)


@method
def pow(input: Operand, exponent: Operand) -> Tensor:
    """input to the power `exponent`; 0⁰ = 1."""
    a, b = meet("pow", input, exponent)
    exponent_fits(a, b)
    return apply(POW, a, b)


# --------------------------------------------------------------------------- functions of a number

EXP = Op("exp", np.exp, lambda dy, y, x: dy * y, keeps="y")
LOG = Op("log", np.log, lambda dy, y, x: dy / x)
SQRT = Op("sqrt", np.sqrt, lambda dy, y, x: dy / (2 * y), keeps="y")
ABS = Op("abs", np.abs, lambda dy, y, x: only(x > 0, dy) - only(x < 0, dy))


@method
def exp(input: Tensor) -> Tensor:
    """e to the power `input`."""
    return apply(EXP, floating("exp", input))


@method
def log(input: Tensor) -> Tensor:
    """The natural logarithm: −inf at 0, NaN below."""
    return apply(LOG, floating("log", input))


@method
def sqrt(input: Tensor) -> Tensor:
    """The square root; NaN below 0."""
    return apply(SQRT, floating("sqrt", input))


@method
def abs(input: Tensor) -> Tensor:
    """The absolute value; its derivative at 0 is taken to be 0."""
    return apply(ABS, input)


# --------------------------------------------------------------------------- choosing


def _of_larger(dy: Array, a: Array, b: Array) -> Array:
    """The gradient by a of max(a, b); where a = b, each gets half."""
    return np.where(a == b, dy / 2, only(~(a < b), dy))


def _clamp(x: Array, low: Array | None, high: Array | None) -> Array:
    y = x if low is None else np.maximum(x, low)
    return y if high is None else np.minimum(y, high)


def _unclamped(dy: Array, y: None, x: Array, low: Array | None, high: Array | None) -> Array:
    above = np.bool_(True) if low is None else x >= low
    return only(above if high is None else above & (x <= high), dy)


MAXIMUM = Op(
    "maximum",
    np.maximum,
    (lambda dy, y, a, b: _of_larger(dy, a, b), lambda dy, y, a, b: _of_larger(dy, b, a)),
)
MINIMUM = Op(
    "minimum",
    np.minimum,
    (lambda dy, y, a, b: _of_larger(dy, b, a), lambda dy, y, a, b: _of_larger(dy, a, b)),
)
CLAMP = Op(
    "clamp",
    _clamp,
    (
        _unclamped,
        lambda dy, y, x, low, high: only((x < low) & (True if high is None else low < high), dy),
        lambda dy, y, x, low, high: only((x > high) | (False if low is None else high < low), dy),
    ),
)
WHERE = Op(
    "where",
    np.where,
    (
        lambda *_: None,
        lambda dy, y, condition, a, b: only(condition, dy),
        lambda dy, y, condition, a, b: only(~condition, dy),
    ),
    keeps="0",
)


@method
def maximum(input: Operand, other: Operand) -> Tensor:
    """The larger of two numbers; NaN if one is NaN."""
    return apply(MAXIMUM, *meet("maximum", input, other))


@method
def minimum(input: Operand, other: Operand) -> Tensor:
    """The smaller of two numbers; NaN if one is NaN."""
    return apply(MINIMUM, *meet("minimum", input, other))


@method
def clamp(input: Tensor, min: Operand | None = None, max: Operand | None = None) -> Tensor:
    """min(max(input, min), max), either bound a number, a tensor or absent.

    The bounds themselves count as inside: the gradient passes there.
    """
    if min is None and max is None:
        raise ValueError("clamp: min and max are both None, expected at least one of them")
    low = None if min is None else operand(min, input, "clamp")
    high = None if max is None else operand(max, input, "clamp")
    check_broadcast("clamp", input, *(bound for bound in (low, high) if bound is not None))
    return apply(CLAMP, input, low, high)


def where(condition: Tensor, input: Operand, other: Operand) -> Tensor:
    """`input` where the bool tensor `condition` is true, `other` elsewhere.

    Two numbers give float32, or int64 or bool if both are that, as in PyTorch.

    >>> nc.where(nc.tensor([True, False]), nc.tensor([1.0, 2.0]), 0.0)
    tensor([1., 0.])
    """
    check_mask("where", "condition", condition)
    if isinstance(input, Number) and isinstance(other, Number):
        input = tensor(input, dtype=tensor([input, other]).dtype)
    a, b = operands("where", input, other)
    check_broadcast("where", condition, a, b)
    return apply(WHERE, condition, a, b)


def where_method(input: Tensor, condition: Tensor, other: Operand) -> Tensor:
    """The tensor where `condition` is true, `other` elsewhere."""
    return where(condition, input, other)


# --------------------------------------------------------------------------- the matrix product
#
#   y[m,n] = Σ_k a[m,k]·b[k,n]        da = dy·bᵀ        db = aᵀ·dy


def _as_matrices(dy: Array, a: Array, b: Array) -> tuple[Array, Array, Array]:
    """The same product with a row (1, K) and a column (K, 1) in the place of vectors."""
    if b.ndim == 1:
        b, dy = b[:, None], dy[..., None]
    if a.ndim == 1:
        a, dy = a[None, :], dy[..., None, :]
    return dy, a, b


def _matmul_grad_a(dy: Array, y: None, a: Array, b: Array) -> Array:
    dy, _, matrix = _as_matrices(dy, a, b)
    return dy @ matrix.swapaxes(-1, -2)  # (..., M, K)


def _matmul_grad_b(dy: Array, y: None, a: Array, b: Array) -> Array:
    dy, a, matrix = _as_matrices(dy, a, b)
    if matrix.ndim == 2:  # one product over all batches, in place of a sum of products
        rows = math.prod(a.shape[:-1])
        a, dy = a.reshape(rows, a.shape[-1]), dy.reshape(rows, dy.shape[-1])
    db = a.swapaxes(-1, -2) @ dy  # (..., K, N)
    return db[..., 0] if b.ndim == 1 else db


MATMUL = Op(
    "matmul",
    np.matmul,
    (_matmul_grad_a, _matmul_grad_b),
    macs=lambda y, a, b: y.numel() * a.shape[-1],
)


@method
def matmul(input: Operand, other: Operand) -> Tensor:
    """The matrix product of (..., M, K) and (..., K, N); the axes before broadcast.

    A vector stands for a row on the left and for a column on the right, without that axis in the
    result.
    """
    a, b = operands("matmul", input, other)
    if not a.ndim or not b.ndim:
        raise ValueError(f"matmul: shapes {list(a.shape)} and {list(b.shape)}, expected no scalar")
    if a.shape[-1] != b.shape[-2 if b.ndim > 1 else 0]:
        raise ValueError(
            f"matmul: shapes {list(a.shape)} and {list(b.shape)}: rows of the first have "
            f"{a.shape[-1]} elements, columns of the second {b.shape[-2 if b.ndim > 1 else 0]}"
        )
    try:
        np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    except ValueError:
        raise ValueError(
            f"matmul: shapes {list(a.shape)} and {list(b.shape)} do not broadcast"
        ) from None
    return apply(MATMUL, a, b)


# --------------------------------------------------------------------------- comparisons and masks


def _comparison(name: str, ufunc: Callable, symbol: str) -> Comparison:
    op = Op(name, ufunc, vjp=None, keeps="")

    def compare(input: Operand, other: Operand) -> Tensor:
        return apply(op, *meet(name, input, other))

    compare.__name__ = compare.__qualname__ = name
    compare.__doc__ = f"input {symbol} other, elementwise: a bool tensor."
    return method(compare)


eq: Comparison = _comparison("eq", np.equal, "==")
ne: Comparison = _comparison("ne", np.not_equal, "!=")
lt: Comparison = _comparison("lt", np.less, "<")
le: Comparison = _comparison("le", np.less_equal, "<=")
gt: Comparison = _comparison("gt", np.greater, ">")
ge: Comparison = _comparison("ge", np.greater_equal, ">=")


LOGICAL_NOT = Op("logical_not", np.logical_not, vjp=None, keeps="")


def _logical(name: str, ufunc: Callable, symbol: str) -> Comparison:
    op = Op(name, ufunc, vjp=None, keeps="")

    def combine(input: Operand, other: Operand) -> Tensor:
        check_mask(name, "input", input)
        return apply(op, *meet(name, input, other))

    combine.__name__ = combine.__qualname__ = name
    combine.__doc__ = f"input {symbol} other, of bool tensors."
    return method(combine)


logical_and: Comparison = _logical("logical_and", np.logical_and, "&")
logical_or: Comparison = _logical("logical_or", np.logical_or, "|")
logical_xor: Comparison = _logical("logical_xor", np.logical_xor, "^")


@method
def logical_not(input: Tensor) -> Tensor:
    """~input, of a bool tensor."""
    check_mask("logical_not", "input", input)
    return apply(LOGICAL_NOT, input)


# --------------------------------------------------------------------------- operators


def _reflected(function: Callable) -> Callable:
    """2 − x calls x.__rsub__(2)."""
    return lambda self, other: function(other, self)


def _in_place(function: Callable, ufunc: Callable, check: Callable) -> Callable:
    """x += y changes x, where nothing is recorded. A recorded x goes on as the tensor x + y.

    Both show under every name of x. It is an error where only y is recorded, where x is a leaf that
    requires a gradient, and where a view shares the old values of a recorded x: the tape may need
    them, so that they cannot change.
    """

    def assign(self: Tensor, other: Operand) -> Tensor:
        other = operand(other, self, function.__name__)
        self._check_fits(other, function.__name__)
        if is_grad_enabled() and not self.is_leaf:
            return self._become(function(self, other))
        check(self, other)
        with np.errstate(all="ignore"):
            ufunc(self._data, other._data, out=self._written(other, op=function.__name__))
        return self

    return assign


def _unless_foreign(compare: Callable) -> Callable:
    """x == None is False, as for any two objects that cannot be equal."""
    known = (Tensor, np.ndarray, np.generic, bool, int, float)
    return lambda self, o: compare(self, o) if isinstance(o, known) else NotImplemented


OPERATORS: dict[str, Callable] = {
    "__matmul__": matmul,
    "__rmatmul__": _reflected(matmul),
    "__neg__": neg,
    "__abs__": abs,
    "__eq__": _unless_foreign(eq),
    "__ne__": _unless_foreign(ne),
    "__lt__": lt,
    "__le__": le,
    "__gt__": gt,
    "__ge__": ge,
    "__invert__": logical_not,
    "where": where_method,
}
for _name, _function, _ufunc, _check in (
    ("add", add, np.add, lambda x, y: None),
    ("sub", sub, np.subtract, lambda x, y: number("sub", x)),
    ("mul", mul, np.multiply, lambda x, y: None),
    ("truediv", div, np.divide, lambda x, y: floating("div", x)),
    ("pow", pow, np.power, exponent_fits),
    ("and", logical_and, np.logical_and, lambda x, y: check_mask("logical_and", "input", x)),
    ("or", logical_or, np.logical_or, lambda x, y: check_mask("logical_or", "input", x)),
    ("xor", logical_xor, np.logical_xor, lambda x, y: check_mask("logical_xor", "input", x)),
):
    OPERATORS[f"__{_name}__"] = _function
    OPERATORS[f"__i{_name}__"] = _in_place(_function, _ufunc, _check)
for _name in ("add", "sub", "mul", "truediv", "pow"):
    OPERATORS[f"__r{_name}__"] = _reflected(OPERATORS[f"__{_name}__"])
for _name, _operator in OPERATORS.items():
    setattr(Tensor, _name, _operator)
