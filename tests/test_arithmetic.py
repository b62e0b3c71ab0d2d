"""Elementwise ops, the matrix product, comparisons and operators, against PyTorch."""

from __future__ import annotations

import itertools
import operator
import warnings

import numpy as np
import pytest
from elementary import SPECIAL, broadcast, check, ids, repeats, same_as_torch
from harness import Case, torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import nanoconv as nc


def positive(name, shape, rng):
    return rng.uniform(0.25, 4, shape)


def case(name, function, names="ab", **options):
    return Case(name, function, broadcast(names), repeats, **options)


@st.composite
def products(draw):
    """Shapes of a matrix product: vectors, matrices and broadcast batches of them."""
    M, K, N = (draw(st.integers(1, 4)) for _ in range(3))
    batch = draw(hnp.mutually_broadcastable_shapes(num_shapes=2, max_dims=2, max_side=3))
    a, b = (
        (*stack, *matrix)
        for stack, matrix in zip(batch.input_shapes, [(M, K), (K, N)], strict=True)
    )
    a, b = draw(st.sampled_from([(a, b), (a, (K,)), ((K,), b), ((K,), (K,))]))
    return {"a": a, "b": b}, {}


def product_length(shapes, attrs):
    return 4 + int(np.prod(shapes["a"])) * int(np.prod(shapes["b"]))


CASES = [
    case("add", lambda F, a, b: a + b, multilinear=True),
    case("add.alpha", lambda F, a, b: a.add(b, alpha=3), multilinear=True),
    case("sub", lambda F, a, b: a - b),
    case("sub.alpha", lambda F, a, b: a.sub(b, alpha=0.5)),
    case("mul", lambda F, a, b: a * b, multilinear=True),
    case("div", lambda F, a, b: a / b),
    case("pow", lambda F, a, b: a**b, values=positive),
    case("pow.number", lambda F, a: a**3, "a"),
    case("rpow", lambda F, a: 2**a, "a"),
    case("rsub", lambda F, a: 2 - a, "a"),
    case("rdiv", lambda F, a: 2 / a, "a"),
    case("neg", lambda F, a: -a, "a"),
    case("exp", lambda F, a: a.exp(), "a"),
    case("log", lambda F, a: a.log(), "a", values=positive),
    case("sqrt", lambda F, a: a.sqrt(), "a", values=positive),
    case("abs", lambda F, a: abs(a), "a"),
    case("maximum", lambda F, a, b: a.maximum(b)),
    case("minimum", lambda F, a, b: a.minimum(b)),
    case("clamp", lambda F, a: a.clamp(-0.5, 0.7), "a"),
    case("clamp.min", lambda F, a: a.clamp(min=0.1), "a"),
    case("clamp.max", lambda F, a: a.clamp(max=0.1), "a"),
    case(
        "clamp.tensors",
        lambda F, a, b, c: a.clamp(b, c),
        "abc",
        oracle=lambda F, a, b, c: (  # PyTorch wants the input in the shape of the result
            a.expand(torch.broadcast_shapes(a.shape, b.shape, c.shape)).clamp(b, c)
        ),
    ),
    case("where", lambda F, a, b, c: a.where(c > 0, b) + 0 * c, "abc"),
    Case("matmul", lambda F, a, b: a @ b, products(), product_length, multilinear=True),
]


@pytest.mark.parametrize("case", CASES, ids=ids)
@given(data=st.data())
def test_equals_pytorch(case, data):
    check(case, data)


# --------------------------------------------------------------------------- special values

PAIRS = np.array(list(itertools.product(SPECIAL, SPECIAL))).T
UNARY = {
    "neg": operator.neg,
    "abs": abs,
    "exp": lambda x: x.exp(),
    "log": lambda x: x.log(),
    "sqrt": lambda x: x.sqrt(),
    "clamp": lambda x: x.clamp(0, 1),
    "clamp inverted": lambda x: x.clamp(1, 0),
    **{f"x**{p}": (lambda x, p=p: x**p) for p in (0, 1, 2, 3, -1, float("inf"))},
    **{f"{b}**x": (lambda x, b=b: b**x) for b in (0, 1, 2, -2, 0.5, float("inf"))},
}
BINARY = {
    "add": operator.add,
    "sub": operator.sub,
    "mul": operator.mul,
    "div": operator.truediv,
    "pow": operator.pow,
    "maximum": lambda a, b: a.maximum(b),
    "minimum": lambda a, b: a.minimum(b),
    "where": lambda a, b: a.where(a > b, b),
    "clamp.min": lambda a, b: a.clamp(min=b),
    "clamp.max": lambda a, b: a.clamp(max=b),
}


@pytest.mark.parametrize("function", UNARY.values(), ids=UNARY)
def test_special_values(function):
    same_as_torch(function, np.array(SPECIAL))


@pytest.mark.parametrize("function", BINARY.values(), ids=BINARY)
def test_special_pairs(function):
    same_as_torch(function, *PAIRS)


def test_special_bounds():
    values = (0.0, 1.0, 2.0, np.inf, np.nan)
    triples = np.array(list(itertools.product(values, values, values))).T
    same_as_torch(lambda x, low, high: x.clamp(low, high), *triples)


@pytest.mark.parametrize("name", ["eq", "ne", "lt", "le", "gt", "ge"])
@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "int32", "uint8"])
def test_comparisons(name, dtype):
    a, b = PAIRS if dtype.startswith("float") else np.indices((3, 3)).reshape(2, -1)
    with np.errstate(over="ignore"):
        a, b = a.astype(dtype), b.astype(dtype)
    for compare in (getattr(operator, name), getattr(nc, name)):
        y = compare(nc.tensor(a), nc.tensor(b))
        assert (y.dtype, y.requires_grad) == (np.bool_, False)
        np.testing.assert_array_equal(y.numpy(), getattr(operator, name)(a, b))
    y = getattr(operator, name)(nc.tensor(a), 1)
    np.testing.assert_array_equal(y.numpy(), getattr(operator, name)(a, a.dtype.type(1)))


def test_comparison_is_not_recorded():
    x = nc.tensor([1.0, 2.0], requires_grad=True)
    y = x > 1
    assert (y.is_leaf, y.requires_grad) == (True, False)


def test_comparison_with_what_is_no_number():
    x = nc.tensor([1.0])
    assert (x == None) is False  # noqa: E711
    assert (x != None) is True  # noqa: E711
    assert (x == "x") is False
    assert len({x, nc.tensor([1.0])}) == 2  # hashed by identity


def test_logic():
    a, b = nc.tensor([True, True, False, False]), nc.tensor([True, False, True, False])
    assert (a & b).tolist() == [True, False, False, False]
    assert (a | b).tolist() == [True, True, True, False]
    assert (a ^ b).tolist() == [False, True, True, False]
    assert (~a).tolist() == [False, False, True, True]
    with pytest.raises(TypeError, match="logical_and: input is int64, expected a bool tensor"):
        nc.tensor([1]) & nc.tensor([1])


# --------------------------------------------------------------------------- numbers and dtypes

BINARY_NAMES = ["add", "sub", "mul", "div", "pow", "maximum", "minimum", "eq", "lt"]


@pytest.mark.parametrize("name", BINARY_NAMES)
def test_no_silent_promotion(name):
    function = getattr(nc, name)
    x = nc.tensor([1.0, 2.0])
    for other in (x.double(), x.long(), np.ones(2), nc.tensor([True, False])):
        with pytest.raises(TypeError, match=rf"{name}: dtypes differ, float32 and (\w+)"):
            function(x, other)
    with pytest.raises(TypeError, match=rf"{name}: the float 0.5 does not fit a int64 tensor"):
        function(x.long(), 0.5)
    with pytest.raises(ValueError, match="Python integer 300 out of bounds for int8"):
        function(x.to("int8"), 300)
    with pytest.raises(TypeError, match=rf"{name}: the int 1 does not fit a bool tensor"):
        function(x > 1, 1)
    with pytest.raises(TypeError, match=f"{name}: expected a tensor or a number, got str"):
        function(x, "1")
    with pytest.raises(ValueError, match=rf"{name}: shapes \[2\] and \[3\] do not broadcast"):
        function(x, nc.zeros(3))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_numbers_take_the_dtype_of_the_tensor(dtype):
    x = nc.tensor([1.0, 4.0], dtype=dtype, requires_grad=True)
    for number in (2, 0.5, True, np.float64(0.1), np.float32(0.1), np.int64(3)):
        for y in (x + number, number + x, x * number, number - x, number / x, x**number, number**x):
            assert y.dtype == x.dtype
            y.sum().backward()
            assert x.grad.dtype == x.dtype


def test_arrays_meet_tensors_from_both_sides():
    a, x = np.float32([[1], [2]]), nc.tensor([3.0, 4.0])
    np.testing.assert_array_equal((a + x).numpy(), a + x.numpy())
    np.testing.assert_array_equal((a - x).numpy(), a - x.numpy())
    np.testing.assert_array_equal((x / a).numpy(), x.numpy() / a)
    np.testing.assert_array_equal((a.T @ nc.ones(2, 1)).numpy(), [[3]])


@pytest.mark.parametrize("name", ["exp", "log", "sqrt", "mean", "var", "logsumexp"])
@pytest.mark.parametrize("dtype", ["int64", "uint8", "bool"])
def test_only_floating_tensors(name, dtype):
    with pytest.raises(TypeError, match=rf"{name}: input is {dtype}, expected float32 or float64"):
        getattr(nc, name)(nc.ones(2, dtype=dtype))


def test_integers():
    x = nc.tensor([7, -2, 3])
    assert ((x + 1).tolist(), (x + 1).dtype) == ([8, -1, 4], np.int64)
    assert (x * x - 2).tolist() == [47, 2, 7]
    assert (x**2).tolist() == [49, 4, 9]
    assert abs(-x).tolist() == [7, 2, 3]
    assert x.clamp(0, 5).tolist() == [5, 0, 3]
    assert (x @ x).item() == 62
    with pytest.raises(TypeError, match="div: input is int64, expected float32 or float64"):
        x / 2
    for power in (lambda: x**-1, lambda: 2**x, lambda: x.pow(nc.tensor([1, -1, 0]))):
        with pytest.raises(ValueError, match=r"pow: .* negative integer powers of int64 .*float"):
            power()
    with pytest.raises(ValueError, match=r"pow: .* negative integer powers"):
        x **= -1
    with pytest.raises(TypeError, match="div: input is int64, expected float32 or float64"):
        x /= 2


def test_masks_are_no_numbers():
    mask = nc.tensor([True, False])
    for call, name in (
        (lambda: -mask, "neg"),
        (lambda: mask - mask, "sub"),
        (lambda: operator.isub(mask, True), "sub"),
    ):
        with pytest.raises(TypeError, match=rf"{name}: input is bool, expected .*logical_"):
            call()


def test_a_number_too_large_for_the_dtype_is_infinite():
    x = nc.tensor([1.0, -2.0])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert (x * 1e300).tolist() == (x / 1e-300).tolist() == [np.inf, -np.inf]
        assert (x.add_(-1e300).tolist(), nc.tensor(1e300).item()) == ([-np.inf] * 2, np.inf)
        assert nc.tensor(np.array([1e300, -1e300]), dtype="float32").tolist() == [np.inf, -np.inf]
        x = nc.tensor([3e38])
        x.mul_(3).add_(nc.tensor([3e38]), alpha=3)
        assert x.item() == np.inf


@pytest.mark.parametrize("name", ["exp", "sqrt", "neg", "abs", "clamp", "matmul", "add"])
def test_plain_arrays_are_not_tensors(name):
    arguments = {"clamp": (0,), "matmul": (np.ones(2),), "add": (np.ones(2),)}.get(name, ())
    with pytest.raises(TypeError, match=f"{name}: expected .*[tT]ensor, got ndarray"):
        getattr(nc, name)(np.ones(2, np.float32), *arguments)


# --------------------------------------------------------------------------- matrix product


@pytest.mark.parametrize(
    ("a", "b", "message"),
    [
        (
            (2, 3),
            (4, 5),
            r"shapes \[2, 3\] and \[4, 5\]: rows of the first have 3 elements",
        ),
        ((3,), (4,), r"matmul: shapes \[3\] and \[4\]: rows of the first have 3 elements"),
        ((), (4,), r"matmul: shapes \[\] and \[4\], expected no scalar"),
        ((2, 2, 3), (3, 3, 1), r"matmul: shapes .* do not broadcast"),
    ],
)
def test_matmul_refuses(a, b, message):
    with pytest.raises(ValueError, match=message):
        nc.zeros(*a) @ nc.zeros(*b)


@pytest.mark.parametrize(
    ("a", "b"), [((2, 0), (0, 3)), ((0, 2), (2, 3)), ((0, 2, 3), (3, 4)), ((0,), (0,))]
)
def test_matmul_of_nothing(a, b):
    same_as_torch(operator.matmul, np.ones(a), np.ones(b))


# --------------------------------------------------------------------------- memory formats


def image(channels_last, shape=(2, 3, 4, 5)):
    x = nc.tensor(np.random.default_rng(0).uniform(0.5, 2, shape).astype(np.float32))
    return (x.contiguous("channels_last") if channels_last else x).requires_grad_()


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize(
    "function",
    [
        *(UNARY[name] for name in ("neg", "abs", "exp", "log", "sqrt", "clamp", "x**3")),
        *(lambda x, f=f: f(x, x) for f in BINARY.values()),
        *(lambda x, f=f: f(x, x.amax((0, 2, 3), keepdim=True)) for f in BINARY.values()),
        *(lambda x, f=f: f(x.amax((0, 2, 3), keepdim=True), x) for f in BINARY.values()),
    ],
)
def test_memory_format_is_kept(function, channels_last):
    x = image(channels_last)
    x.retain_grad()
    z = x * 1
    z.retain_grad()
    y = function(z)
    layout = "channels_last" if channels_last else "contiguous"
    assert y.is_contiguous(layout)
    y.backward(np.ones_like(y.detach().numpy()))
    assert z.grad.is_contiguous(layout)
    assert x.grad.is_contiguous(layout)


# --------------------------------------------------------------------------- in place


def test_augmented_assignment_without_recording_changes_the_tensor():
    x = nc.tensor([4.0, 9.0])
    alias = x
    x += 2
    x -= nc.tensor([1.0, 2.0])
    x *= 3
    x /= 5
    assert x is alias
    np.testing.assert_allclose(x.numpy(), np.float32([3, 27 / 5]), rtol=2e-7)
    with nc.no_grad():
        p = nc.tensor([1.0], requires_grad=True)
        p -= 0.5
    assert (p.item(), p.is_leaf, p.requires_grad) == (0.5, True, True)


def test_augmented_assignment_of_a_recorded_tensor():
    x = nc.tensor([1.0, 2.0], requires_grad=True)
    y = x * x
    y += x
    assert y.tolist() == [2, 6]
    total = 0
    for value in (y, x):
        total += value.sum()
    total.backward()
    assert x.grad.tolist() == [4, 6]


@pytest.mark.parametrize(
    "share", [lambda y: y[:1], lambda y: y.reshape(2, 1), lambda y: y.detach(), lambda y: y.data]
)
def test_augmented_assignment_to_recorded_memory_that_is_shared_is_refused(share):
    x = nc.tensor([1.0, 2.0], requires_grad=True)
    y = x * x
    other = share(y)
    names = [y, other] if isinstance(other, nc.Tensor) and other.requires_grad else [y]
    for name in names:
        with pytest.raises(RuntimeError, match="in-place change of a recorded tensor that shares"):
            name += x[: len(name)].reshape(name.shape)
    assert y.tolist() == [1, 4]


def test_augmented_assignment_to_a_leaf_is_refused():
    x = nc.tensor([1.0], requires_grad=True)
    with pytest.raises(RuntimeError, match="in-place change"):
        x += 1
    with pytest.raises(TypeError, match="dtypes differ"):
        x -= nc.tensor([1])


# --------------------------------------------------------------------------- clamp and where


def test_clamp_and_where_refuse():
    x = nc.zeros(2)
    with pytest.raises(ValueError, match="min and max are both None"):
        x.clamp()
    with pytest.raises(TypeError, match=r"clamp: the float 0\.5 does not fit a int64 tensor"):
        x.long().clamp(0.5)
    with pytest.raises(TypeError, match="where: condition is float32, expected a bool tensor"):
        nc.where(x, x, x)
    with pytest.raises(TypeError, match="where: dtypes differ"):
        nc.where(x > 0, x, x.double())
    with pytest.raises(ValueError, match=r"where: shapes .* \[3\] do not broadcast"):
        nc.where(x > 0, 0.0, nc.zeros(3))


@pytest.mark.parametrize("numbers", [(1.0, 0.0), (1, 0), (1, 0.5), (True, False), (True, 2)])
def test_where_of_two_numbers(numbers):
    mask = [True, False, True]
    y = nc.where(nc.tensor(mask), *numbers)
    expected = torch.where(torch.tensor(mask), *numbers)
    assert y.tolist() == expected.tolist()
    assert y.dtype == expected.numpy().dtype
    with pytest.raises(TypeError, match="where: expected at least one tensor, got ndarray"):
        nc.where(nc.tensor(mask), np.ones(3), 1.0)


def test_no_warnings_where_numpy_would_warn():
    x = nc.tensor([-1.0, 0.0, 1e38], requires_grad=True)
    for y in (x.log(), 1 / x, x.sqrt(), (x * x).exp(), x**-0.5, x / 0):
        y.backward(np.ones(3, np.float32))


# --------------------------------------------------------------------------- names

BY_NAME = {
    "add": {"input": 0, "other": 1, "alpha": 2},
    "sub": {"input": 0, "other": 1, "alpha": 2},
    "mul": {"input": 0, "other": 1},
    "div": {"input": 0, "other": 1},
    "pow": {"input": 0, "exponent": 2},
    "matmul": {"input": 0, "other": 1},
    "neg": {"input": 0},
    "exp": {"input": 0},
    "log": {"input": 0},
    "sqrt": {"input": 0},
    "abs": {"input": 0},
    "maximum": {"input": 0, "other": 1},
    "minimum": {"input": 0, "other": 1},
    "clamp": {"input": 0, "min": 0.5, "max": 1.5},
    "where": {"condition": 2, "input": 0, "other": 1},
    "eq": {"input": 0, "other": 1},
    "ne": {"input": 0, "other": 1},
    "lt": {"input": 0, "other": 1},
    "le": {"input": 0, "other": 1},
    "gt": {"input": 0, "other": 1},
    "ge": {"input": 0, "other": 1},
    "logical_and": {"input": 2, "other": 2},
    "logical_or": {"input": 2, "other": 2},
    "logical_xor": {"input": 2, "other": 2},
    "logical_not": {"input": 2},
    "sum": {"input": 0, "dim": 1, "keepdim": True},
    "mean": {"input": 0, "dim": 1, "keepdim": True},
    "var": {"input": 0, "dim": 1, "keepdim": True, "correction": 0},
    "amax": {"input": 0, "dim": 1, "keepdim": True},
    "amin": {"input": 0, "dim": 1, "keepdim": True},
    "max": {"input": 0, "dim": 1, "keepdim": True},
    "min": {"input": 0, "dim": 1, "keepdim": True},
    "argmax": {"input": 0, "dim": 1, "keepdim": True},
    "argmin": {"input": 0, "dim": 1, "keepdim": True},
    "logsumexp": {"input": 0, "dim": 1, "keepdim": True},
    "flatten": {"input": 0, "start_dim": 0, "end_dim": 1},
    "transpose": {"input": 0, "dim0": 0, "dim1": 1},
    "t": {"input": 0},
    "squeeze": {"input": 0, "dim": 0},
    "unsqueeze": {"input": 0, "dim": 0},
    "reshape": {"input": 0, "shape": (4, -1)},
    "permute": {"input": 0, "dims": (1, 0)},
    "zeros": {"size": (2, 3), "requires_grad": True},
    "ones": {"size": (2,)},
    "cat": {"tensors": 3, "dim": 1},
    "stack": {"tensors": 3, "dim": 1},
    "split": {"tensor": 0, "split_size_or_sections": 1, "dim": 1},
    "chunk": {"input": 0, "chunks": 2, "dim": 1},
    "clone": {"input": 0},
    "zeros_like": {"input": 0, "requires_grad": True},
    "ones_like": {"input": 0, "requires_grad": True},
    "full": {"size": (2, 3), "fill_value": 1.5},
    "arange": {"start": 1, "end": 9, "step": 2},
    "eye": {"n": 2, "m": 3},
}


@pytest.mark.parametrize("name", BY_NAME)
def test_arguments_have_pytorchs_names(name):
    def call(library):
        a = library.tensor([[1.0, 3.0], [2.0, 0.5]])
        b = library.tensor([[1.0, 2.0], [3.0, 4.0]])
        values = (a, b, a > 1, [a, b])
        tensors = ("input", "other", "condition", "tensors", "tensor")
        result = getattr(library, name)(
            **{key: values[v] if key in tensors else v for key, v in BY_NAME[name].items()}
        )
        return [t.tolist() for t in (result if isinstance(result, tuple) else (result,))]

    for ours, theirs in zip(call(nc), call(torch), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-6)


@pytest.mark.parametrize(
    "call",
    [
        lambda x: x.reshape(shape=(3, 2)),
        lambda x: x.view(size=(3, -1)),
        lambda x: x.expand(size=(2, -1, 3)),
        lambda x: x.permute(dims=(1, 0)),
        lambda x: x.split(split_size=2, dim=1)[1],
        lambda x: x.split(split_size=[1, 2], dim=1)[1],
        lambda x: x.sum(dim=0, keepdim=True).reshape(shape=(3,)),
    ],
)
def test_methods_have_pytorchs_names(call):
    x = np.arange(6.0).reshape(2, 3)
    assert call(nc.tensor(x)).tolist() == call(torch.tensor(x)).tolist()


@pytest.mark.parametrize("name", ["zeros", "ones", "rand", "randn"])
def test_sizes_by_name(name):
    create = getattr(nc, name)
    assert create(size=(2, 3)).shape == create(2, 3).shape == create((2, 3)).shape == (2, 3)
    assert create(size=()).shape == ()
    with pytest.raises(TypeError, match=f"{name}: size is given twice"):
        create(2, size=(2,))


def test_type_checkers_see_the_methods_that_are_attached():
    from nanoconv.methods import Methods

    named = {k: v for k, v in vars(Methods).items() if callable(v) and k != "__hash__"}
    attached = {
        name: value
        for name, value in vars(nc.Tensor).items()
        if getattr(value, "__module__", "").startswith("nanoconv.ops.")
    }
    assert set(named) == set(attached)
    for name in named:
        if not name.startswith("__"):
            assert named[name] is attached[name], name
