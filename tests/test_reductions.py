"""Sums, means, variances, extremes and log-sum-exp, against PyTorch."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from elementary import SPECIAL, check, ids, same_as_torch
from harness import Case, torch
from hypothesis import given
from hypothesis import strategies as st

import nanoconv as nc


@st.composite
def reductions(draw, dims="none one several", least=1):
    """A shape, the axes to reduce over, and whether to keep them."""
    shape = tuple(draw(st.lists(st.integers(least, 5), min_size=least - 1, max_size=4)))
    axis = st.integers(-max(len(shape), 1), max(len(shape), 1) - 1)
    choices = {
        "none": st.none(),
        "one": axis,
        "several": st.permutations(range(len(shape))).map(lambda p: tuple(p[: len(p) // 2 + 1])),
    }
    dim = draw(st.one_of([choices[name] for name in dims.split()]))
    return {"x": shape}, {"dim": dim, "keepdim": draw(st.booleans())}


def size(shapes, attrs):
    return 4 + math.prod(shapes["x"])


def case(name, function, drawn=None, **options):
    return Case(name, function, reductions() if drawn is None else drawn, size, **options)


one = reductions("one")
CASES = [
    case("sum", lambda F, x, **a: x.sum(**a), multilinear=True),
    case("mean", lambda F, x, **a: x.mean(**a), multilinear=True),
    case("var", lambda F, x, **a: x.var(**a), reductions(least=2)),
    case("var.biased", lambda F, x, dim, keepdim: x.var(dim, False, keepdim), one),
    case("var.correction", lambda F, x, **a: x.var(**a, correction=0.5)),
    case("amax", lambda F, x, **a: x.amax(**a)),
    case("amin", lambda F, x, **a: x.amin(**a)),
    case("max", lambda F, x, **a: x.max(**a), one),
    case("min", lambda F, x, **a: x.min(**a), one),
    case("max.full", lambda F, x, **a: x.max()),
    case("min.full", lambda F, x, **a: x.min()),
    case("max.other", lambda F, x, **a: x.max(1 - x)),
    case("min.other", lambda F, x, **a: x.min(1 - x)),
    case("logsumexp", lambda F, x, **a: x.logsumexp(**a), reductions("one several")),
]


@pytest.mark.parametrize("case", CASES, ids=ids)
@given(data=st.data())
def test_equals_pytorch(case, data):
    check(case, data)


@pytest.mark.parametrize("name", ["argmax", "argmin"])
@given(drawn=reductions("none one"), seed=st.integers(0, 99))
def test_positions(name, drawn, seed):
    shapes, attrs = drawn
    x = np.random.default_rng(seed).integers(0, 4, shapes["x"]).astype(np.float32)  # with ties
    y = getattr(nc.tensor(x, requires_grad=True), name)(**attrs)
    assert y.dtype == np.int64
    assert y.is_leaf
    np.testing.assert_array_equal(y.numpy(), getattr(torch.tensor(x), name)(**attrs).numpy())


# --------------------------------------------------------------------------- ties and odd values

FUNCTIONS = {
    "sum": lambda x: x.sum(0),
    "mean": lambda x: x.mean(0),
    "amax": lambda x: x.amax(0),
    "amin": lambda x: x.amin(0),
    "max": lambda x: x.max(0)[0],
    "min": lambda x: x.min(0)[0],
    "logsumexp": lambda x: x.logsumexp(0),
}


@pytest.mark.parametrize("function", FUNCTIONS.values(), ids=FUNCTIONS)
def test_special_triples(function):
    """Includes ties, and NaN before and behind larger numbers."""
    same_as_torch(function, np.array(list(itertools.product(SPECIAL, repeat=3))).T)


@pytest.mark.parametrize("name", ["max", "min"])
@pytest.mark.parametrize("values", [(3, 1, 3, 1), (1, np.nan, 2, np.nan), (np.inf, -np.inf)])
def test_full_extremes_share_their_gradient(name, values):
    same_as_torch(lambda x: getattr(x, name)(), values)


@pytest.mark.parametrize("name", ["argmax", "argmin"])
def test_first_nan_is_the_extreme(name):
    x = nc.tensor([[1.0, np.nan, 3.0, np.nan], [2.0, 2.0, 2.0, 2.0]])
    assert getattr(x, name)(1).tolist() == [1, 0]
    assert getattr(x, name)().item() == 1


def test_large_mean_small_variance():
    x = nc.tensor(1e4 + np.float32([0.0, 0.25, 0.5, 0.75]), dtype="float32")
    assert x.var(correction=0).item() == pytest.approx(0.078125, rel=1e-3)


@pytest.mark.filterwarnings("ignore:var:UserWarning")
@pytest.mark.parametrize("correction", [1, 2, 3])
@pytest.mark.parametrize("values", [(1.0,), (1.0, 2.0)])
def test_variance_without_degrees_of_freedom(values, correction):
    x = nc.tensor(values, dtype="float64")
    expected = torch.tensor(values, dtype=torch.float64).var(correction=correction)
    np.testing.assert_array_equal(x.var(correction=correction).numpy(), expected.numpy())


def test_variance_by_its_older_name():
    x = nc.tensor([1.0, 2.0, 4.0])
    assert x.var(False).item() == x.var(unbiased=False).item() == x.var(correction=0).item()
    assert x.var(True).item() == x.var(0, True).item() == x.var().item()
    with pytest.raises(ValueError, match="unbiased and correction exclude each other"):
        x.var(unbiased=True, correction=1)


# --------------------------------------------------------------------------- nothing to reduce


@pytest.mark.filterwarnings("ignore:var:UserWarning")
@pytest.mark.parametrize("dim", [None, 0, 1])
@pytest.mark.parametrize("name", ["sum", "mean", "var", "logsumexp"])
def test_sums_of_nothing(name, dim):
    dim = (0, 1) if dim is None else dim
    x = nc.zeros(0, 3, requires_grad=True)
    y = getattr(x, name)(dim)
    np.testing.assert_array_equal(y.detach().numpy(), getattr(torch.zeros(0, 3), name)(dim).numpy())
    y.backward(np.ones(y.shape, np.float32))
    assert x.grad.shape == (0, 3)


@pytest.mark.parametrize("name", ["amax", "amin", "max", "min", "argmax", "argmin"])
def test_extremes_of_nothing(name):
    x = nc.zeros(0, 3)
    for dim in (None, 0):
        with pytest.raises(ValueError, match=rf"{name}: axis 0 of shape \[0, 3\] has no elements"):
            getattr(x, name)(dim)
    along = getattr(x, name)(1)
    assert (along if name[0] == "a" else along.values).shape == (0,)


@pytest.mark.parametrize("name", ["sum", "mean", "var", "amax", "amin", "logsumexp"])
def test_empty_dim_means_all(name):
    x = nc.tensor([[1.0, 2.0], [5.0, 7.0]])
    assert getattr(x, name)(()).item() == getattr(x, name)().item()


# --------------------------------------------------------------------------- dtypes and arguments


@pytest.mark.parametrize("dtype", ["int64", "int32", "int8", "uint8", "bool"])
def test_integers_sum_to_int64(dtype):
    y = nc.tensor([[1, 1, 0]], dtype=dtype).sum(1)
    assert (y.tolist(), y.dtype) == ([2], np.int64)
    assert nc.full((200,), 2, dtype=dtype).sum().item() == (200 if dtype == "bool" else 400)


@pytest.mark.parametrize("source", ["float32", "int64", "int8", "bool"])
@pytest.mark.parametrize("target", ["float32", "float64", "int64", "int8", "bool"])
def test_dtype_of_sums_and_means(source, target):
    x = np.array([[100, 100, 1], [0, 0, 0]]).astype(source)
    for name in ("sum", "mean"):
        ours, theirs = getattr(nc.tensor(x), name), getattr(torch.tensor(x), name)
        if name == "mean" and not target.startswith("float"):
            with pytest.raises(TypeError, match=f"mean: input is {target}, expected float32"):
                ours(dtype=target)
            continue
        y, expected = ours(1, dtype=target), theirs(1, dtype=getattr(torch, target)).numpy()
        assert y.dtype == expected.dtype
        np.testing.assert_array_equal(y.numpy(), expected)
    with pytest.raises(TypeError, match="sum: dtype float16 is not supported"):
        nc.tensor(x).sum(dtype="float16")


def test_gradient_through_a_sum_of_another_dtype():
    x = nc.tensor([1.0, 2.0], requires_grad=True)
    y = x.sum(dtype="float64") + x.mean(dtype="float64")
    y.backward()
    assert (y.dtype, x.grad.dtype, x.grad.tolist()) == (np.float64, np.float32, [1.5, 1.5])


@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
def test_dtype_of_softmax(name):
    ours, theirs = getattr(nc.functional, name), getattr(torch.nn.functional, name)
    for source in ("int64", "float32"):
        x = np.array([[1, 2, 4]]).astype(source)
        y = ours(nc.tensor(x), 1, dtype="float64")
        expected = theirs(torch.tensor(x), 1, dtype=torch.float64).numpy()
        np.testing.assert_array_almost_equal_nulp(y.numpy(), expected, nulp=8)
    with pytest.raises(TypeError, match=f"{name}: input is int64, expected float32 or float64"):
        ours(nc.ones(2), 0, dtype="int64")


def test_integers_keep_their_dtype_in_extremes():
    x = nc.tensor([[1, 5, 2]], dtype="int8")
    assert (x.amax().dtype, x.min(1).values.dtype, x.max().item()) == (np.int8, np.int8, 5)


@pytest.mark.parametrize(
    "name", ["sum", "mean", "var", "amax", "amin", "max", "min", "logsumexp", "argmax", "argmin"]
)
def test_bad_dim(name):
    function = getattr(nc.zeros(2, 3), name)
    with pytest.raises(ValueError, match=rf"{name}: dim=2, expected -2 to 1 for 2 axes"):
        function(2)
    with pytest.raises(ValueError, match=rf"{name}: dim=-3, expected -2 to 1 for 2 axes"):
        function(-3)
    with pytest.raises(TypeError, match=rf"{name}: dim=1\.5, expected an integer"):
        function(1.5)


@pytest.mark.parametrize("name", ["sum", "mean", "var", "amax", "amin", "logsumexp"])
def test_repeated_dim(name):
    with pytest.raises(ValueError, match=rf"{name}: dim=\(0, -2\) names an axis twice"):
        getattr(nc.zeros(2, 3), name)((0, -2))


def test_max_names_its_results_and_keeps_its_own_index():
    x = nc.tensor([[1.0, 3.0], [4.0, 2.0]], requires_grad=True)
    largest = x.max(dim=1, keepdim=True)
    assert largest.values.tolist() == [[3.0], [4.0]]
    assert largest.indices.tolist() == [[1], [0]]
    largest.indices.zero_()
    largest.values.sum().backward()
    assert x.grad.tolist() == [[0, 1], [1, 0]]


# --------------------------------------------------------------------------- memory formats


@pytest.mark.parametrize("function", FUNCTIONS.values(), ids=FUNCTIONS)
@pytest.mark.parametrize("dim", [1, (2, 3)])
def test_gradients_have_the_memory_format_of_the_input(function, dim):
    x = nc.randn(2, 3, 4, 5).contiguous("channels_last").requires_grad_()
    function(x.reshape(2, 3, 4, 5)).sum().backward()
    assert x.grad.is_contiguous("channels_last")


@pytest.mark.parametrize("name", ["sum", "mean", "var", "amax", "amin", "logsumexp"])
def test_kept_axes_keep_channels_last(name):
    x = nc.randn(2, 3, 4, 5).contiguous("channels_last")
    assert getattr(x, name)(2, keepdim=True).is_contiguous("channels_last")
