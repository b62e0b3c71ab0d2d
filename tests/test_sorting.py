"""sort, argsort and topk: order, NaN, ties, gradients."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from elementary import axis, check, ids, shapes_with
from harness import Case, torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import nanoconv as nc


def sorts(shape):
    return st.fixed_dictionaries({"dim": axis(shape), "descending": st.booleans()})


def tops(shape):
    return axis(shape).flatmap(
        lambda dim: st.fixed_dictionaries(
            {
                "dim": st.just(dim),
                "k": st.integers(0, (*shape, 1)[dim] if shape else 1),
                "largest": st.booleans(),
            }
        )
    )


def case(name, function, attrs):
    drawn = shapes_with(attrs, least=1)
    return Case(name, function, drawn, lambda shapes, attrs: 4, values=distinct)


def distinct(name, shape, rng):
    """Which of equal elements comes first is not for PyTorch to say, unless asked for."""
    return rng.permutation(math.prod(shape)).reshape(shape) - 3.5


CASES = [
    case("sort", lambda F, x, **a: tuple(x.sort(**a)), sorts),
    case("topk", lambda F, x, **a: tuple(x.topk(**a)), tops),
]


@pytest.mark.parametrize("case", CASES, ids=ids)
@given(data=st.data())
def test_equals_pytorch(case, data):
    check(case, data)


ODD = (0.0, -0.0, 1.0, -1.0, np.inf, -np.inf, np.nan)


@pytest.mark.parametrize("descending", [False, True])
@given(
    x=hnp.arrays(
        np.float32, hnp.array_shapes(max_dims=3, max_side=6), elements=st.sampled_from(ODD)
    )
)
def test_ties_and_odd_values_as_pytorchs_stable_sort(descending, x):
    ours, theirs = nc.tensor(x), torch.tensor(x)
    for dim in range(x.ndim):
        values, indices = ours.sort(dim, descending)
        expected = theirs.sort(dim=dim, descending=descending, stable=True)
        np.testing.assert_array_equal(values.numpy(), expected.values.numpy())
        np.testing.assert_array_equal(indices.numpy(), expected.indices.numpy())
        assert indices.dtype == np.int64
        np.testing.assert_array_equal(
            ours.argsort(dim, descending).numpy(), expected.indices.numpy()
        )
        k = x.shape[dim] // 2
        top, where = ours.topk(k, dim, largest=descending)
        np.testing.assert_array_equal(top.numpy(), values.narrow(dim, 0, k).numpy())
        np.testing.assert_array_equal(where.numpy(), indices.narrow(dim, 0, k).numpy())
        any_order = theirs.topk(k, dim, largest=descending).values
        np.testing.assert_array_equal(top.numpy(), any_order.numpy())


@pytest.mark.parametrize("dtype", ["int64", "int32", "uint8", "bool", "float64"])
def test_dtypes(dtype):
    x = np.array([3, 0, 2, 3, 1]).astype(dtype)
    for descending in (False, True):
        expected = torch.tensor(x).sort(descending=descending, stable=True)
        values, indices = nc.tensor(x).sort(descending=descending)
        assert values.dtype == x.dtype
        assert indices.tolist() == expected.indices.tolist()


def test_scalars_and_nothing():
    x = nc.tensor(3.0, requires_grad=True)
    for values, indices in (x.sort(), x.topk(1)):
        assert (values.item(), indices.item(), values.shape, indices.shape) == (3.0, 0, (), ())
    x.sort().values.backward()
    assert x.grad.item() == 1.0
    assert nc.zeros(0, 3).sort(0).indices.shape == (0, 3)
    assert nc.zeros(2, 3).topk(0).values.shape == (2, 0)


def test_gradient_goes_where_the_values_came_from():
    for descending, k in itertools.product((False, True), (1, 3)):
        x = nc.tensor([[2.0, 1.0, 2.0], [0.0, np.nan, 1.0]], requires_grad=True)
        values, indices = x.topk(k, largest=descending)
        indices.fill_(0)  # the tape has its own
        weights = np.arange(1.0, 2 * k + 1).reshape(2, k).astype(np.float32)
        values.backward(weights)
        expected = np.zeros((2, 3))
        np.put_along_axis(
            expected, nc.tensor(x.detach()).topk(k, largest=descending)[1].numpy(), weights, 1
        )
        np.testing.assert_array_equal(x.grad.numpy(), expected)


@pytest.mark.parametrize(
    ("function", "error", "message"),
    [
        (lambda x: x.sort(2), ValueError, "sort: dim=2"),
        (lambda x: x.topk(4), ValueError, "topk: k=4, expected 0 to 3, the length of axis 1"),
        (lambda x: x.topk(-1), ValueError, "topk: k=-1"),
        (lambda x: x.topk(1.0), TypeError, "topk: k=1.0, expected an integer"),
        (lambda x: nc.sort([1.0]), TypeError, "sort: input must be a nanoconv Tensor"),
    ],
)
def test_refusals(function, error, message):
    with pytest.raises(error, match=message):
        function(nc.zeros(2, 3))


@given(data=st.data())
def test_few_of_many_are_the_first_of_a_sort(data):
    """topk of a few selects before it sorts: the same numbers, of equal ones the first."""
    shape = data.draw(st.sampled_from(((40,), (3, 33), (17, 2), (2, 24, 3))))
    dtype = data.draw(st.sampled_from((np.float32, np.int64)))
    values = st.sampled_from(ODD) if dtype == np.float32 else st.integers(-2, 2)
    if data.draw(st.booleans()):
        values = st.integers(-50, 50)
    x = nc.from_numpy(data.draw(hnp.arrays(dtype, shape, elements=values, fill=st.nothing())))
    dim, largest = int(np.argmax(shape)), data.draw(st.booleans())
    k = data.draw(st.integers(0, max(shape) // 8))
    few, every = x.topk(k, dim, largest), x.sort(dim, descending=largest)
    first = (slice(None),) * dim + (slice(k),)
    np.testing.assert_array_equal(few.indices.numpy(), every.indices.numpy()[first])
    np.testing.assert_array_equal(few.values.numpy(), every.values.numpy()[first])
