"""gather, take_along_dim, index_select and one_hot, against PyTorch."""

from __future__ import annotations

import math

import numpy as np
import pytest
from elementary import check, ids, nc_or_torch
from harness import Case, torch
from hypothesis import given
from hypothesis import strategies as st

import nanoconv as nc


def indices(name, shape, rng):
    return rng.integers(0, 3, shape) if name == "index" else rng.standard_normal(shape)


@st.composite
def gathers(draw):
    """Three places along `dim`; an index that is no longer than x elsewhere."""
    shape = draw(st.lists(st.integers(1, 4), min_size=1, max_size=4))
    dim = draw(st.integers(0, len(shape) - 1))
    index = [draw(st.integers(0, n)) for n in shape]
    index[dim], shape[dim] = draw(st.integers(0, 5)), draw(st.integers(3, 4))
    return {"x": tuple(shape), "index": tuple(index)}, {
        "dim": dim - draw(st.sampled_from((0, len(shape))))
    }


@st.composite
def along(draw):
    drawn, attrs = draw(gathers())
    k = attrs["dim"] % len(drawn["x"])
    index = [draw(st.sampled_from((1, n))) for n in drawn["x"]]
    index[k] = draw(st.integers(1, 4))
    x = [
        draw(st.sampled_from((n, n, 1))) if m == n else n
        for m, n in zip(index, drawn["x"], strict=True)
    ]
    x[k] = drawn["x"][k]
    return {"x": tuple(x), "index": tuple(index)}, attrs


@st.composite
def selections(draw):
    drawn, attrs = draw(gathers())
    return {**drawn, "index": (draw(st.integers(0, 5)),)}, attrs


@st.composite
def repetitions(draw):
    """Three places along `dim`, each as often as a number of `index` says; one number for all."""
    shape = draw(st.lists(st.integers(0, 4), min_size=1, max_size=4))
    dim = draw(st.integers(0, len(shape) - 1))
    count = draw(st.sampled_from(((), (1,), (shape[dim],))))
    return {"x": tuple(shape), "index": count}, {
        "dim": dim - draw(st.sampled_from((0, len(shape))))
    }


def size(shapes, attrs):
    return 4 + math.prod(shapes["index"])


def case(name, function, drawn):
    return Case(name, function, drawn, size, multilinear=True, values=indices, constants=("index",))


CASES = [
    case("gather", lambda F, x, index, dim: x.gather(dim, index), gathers()),
    case("take_along_dim", lambda F, x, index, dim: x.take_along_dim(index, dim), along()),
    case("index_select", lambda F, x, index, dim: x.index_select(dim, index), selections()),
    case(
        "repeat_interleave",
        lambda F, x, index, dim: x.repeat_interleave(index, dim),
        repetitions(),
    ),
    case(
        "gather.function",
        lambda F, x, index, dim: nc_or_torch(x).gather(x, dim, index),
        gathers(),
    ),
]


@pytest.mark.parametrize("case", CASES, ids=ids)
@given(data=st.data())
def test_equals_pytorch(case, data):
    check(case, data)


@pytest.mark.parametrize(("shape", "index"), [((), ()), ((), (2,)), ((3,), ()), ((2, 3), (0, 5))])
def test_gather_of_scalars_and_by_nothing(shape, index):
    x, at = np.ones(shape), np.zeros(index, np.int64)
    ours, theirs = nc.tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    y, expected = ours.gather(0, nc.tensor(at)), theirs.gather(0, torch.tensor(at))
    assert y.shape == tuple(expected.shape)
    y.sum().backward()
    expected.sum().backward()
    np.testing.assert_array_equal(ours.grad.numpy(), theirs.grad.numpy())


@pytest.mark.parametrize("shape", [(2, 3), (4,), (), (0, 3), (2, 0)])
@pytest.mark.parametrize("repeats", [0, 1, 3])
@pytest.mark.parametrize("dim", [None, 0, -1])
def test_repeat_interleave_by_one_number(shape, repeats, dim):
    if shape == () and dim is not None:
        return  # PyTorch's gradient fails there
    results = []
    for lib in (nc, torch):
        x = lib.tensor(np.arange(math.prod(shape), dtype=np.float64).reshape(shape))
        x.requires_grad = True
        y = lib.repeat_interleave(x, repeats, dim)
        (y * y).sum().backward()
        results.append((y.detach().numpy(), x.grad.numpy()))
    for ours, theirs in zip(*results, strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda x: x.repeat_interleave(-1), ValueError, "repeats has -1, expected none below 0"),
        (lambda x: x.repeat_interleave(nc.tensor([1, -2, 1]), 1), ValueError, "repeats has -2"),
        (
            lambda x: x.repeat_interleave(nc.tensor([1, 2]), 1),
            ValueError,
            r"repeats has shape \[2\]",
        ),
        (lambda x: x.repeat_interleave(nc.tensor([1.0]), 1), TypeError, "repeats is float32"),
        (lambda x: x.repeat_interleave(2.0), TypeError, "repeat_interleave: repeats"),
        (lambda x: x.repeat_interleave(2, 2), (ValueError, IndexError), "repeat_interleave: .*2"),
        (
            lambda x: nc.repeat_interleave(x, 2, 0, output_size=5),
            ValueError,
            "output_size=5, but the repeats add up to 4",
        ),
        (lambda x: nc.repeat_interleave([1], 2), TypeError, "input must be a nanoconv Tensor"),
    ],
)
def test_repeat_interleave_refuses(call, error, message):
    with pytest.raises(error, match=message):
        call(nc.zeros(2, 3))


def test_other_forms():
    x, at = np.arange(6.0).reshape(2, 3), np.array([[2, 0]])
    ours, theirs = nc.tensor(x), torch.tensor(x)
    assert (
        ours.take_along_dim(nc.tensor(at)).tolist()
        == theirs.take_along_dim(torch.tensor(at)).tolist()
    )
    assert ours.index_select(1, nc.tensor(2)).tolist() == [[2.0], [5.0]]
    assert nc.tensor(2.0).index_select(0, nc.tensor([0])).item() == 2.0
    order = ours.argsort(1, descending=True)
    assert ours.take_along_dim(order, 1).tolist() == ours.sort(1, True).values.tolist()
    narrow = nc.tensor(at.astype(np.int32))
    assert ours.gather(1, narrow).tolist() == [[2.0, 0.0]]


@given(
    classes=st.lists(st.integers(0, 4), min_size=1, max_size=6), count=st.sampled_from((-1, 5, 7))
)
def test_one_hot_equals_pytorch(classes, count):
    for shape in ((len(classes),), (1, len(classes), 1)):
        x = np.reshape(classes, shape)
        y = nc.functional.one_hot(nc.tensor(x), count)
        expected = torch.nn.functional.one_hot(torch.tensor(x), count)
        assert y.dtype == np.int64
        np.testing.assert_array_equal(y.numpy(), expected.numpy())


def test_one_hot_of_scalars_and_nothing():
    assert nc.functional.one_hot(nc.tensor(2)).tolist() == [0, 0, 1]
    assert nc.functional.one_hot(nc.zeros(0, dtype="int64"), 3).shape == (0, 3)


LONG = {"dtype": "int64"}


@pytest.mark.parametrize(
    ("function", "error", "message"),
    [
        (lambda x: x.gather(0, nc.tensor([0])), ValueError, "gather: index has shape .* as many"),
        (lambda x: x.gather(0, nc.tensor([[2]])), ValueError, "gather: index 2 is not in 0 … 1"),
        (lambda x: x.gather(0, nc.tensor([[-1]])), ValueError, "gather: index -1 is not in 0 … 1"),
        (lambda x: x.gather(0, nc.zeros(1, 4, **LONG)), ValueError, "gather: .* longer in axis 1"),
        (lambda x: x.gather(2, nc.zeros(1, 1, **LONG)), ValueError, "gather: dim=2"),
        (lambda x: x.gather(0, nc.zeros(1, 1)), TypeError, "gather: index is float32, expected"),
        (lambda x: x.gather(0, [[0]]), TypeError, "gather: index must be a nanoconv Tensor"),
        (
            lambda x: x.take_along_dim(nc.zeros(1, **LONG), 0),
            ValueError,
            "take_along_dim: indices has shape",
        ),
        (
            lambda x: x.take_along_dim(nc.zeros(1, 2, **LONG), 0),
            ValueError,
            "take_along_dim: .* do not broadcast besides axis 0",
        ),
        (
            lambda x: x.index_select(0, nc.zeros(1, 1, **LONG)),
            ValueError,
            "index_select: .* expected a vector",
        ),
        (lambda x: x.index_select(1, nc.tensor([3])), ValueError, "index_select: index 3 is not"),
        (
            lambda x: x.sum().index_select(0, nc.tensor([0, 0])),
            ValueError,
            "index_select: index has 2 elements",
        ),
    ],
)
def test_refusals(function, error, message):
    with pytest.raises(error, match=message):
        function(nc.zeros(2, 3))


@pytest.mark.parametrize(
    ("classes", "count", "error", "message"),
    [
        ([3], 2, ValueError, "the class 3, expected less than num_classes=2"),
        ([-3], 2, ValueError, "the class -3, expected none below 0"),
        ([1], 0, ValueError, "the class 1, expected less than num_classes=0"),
        ([1], -2, ValueError, "num_classes=-2"),
        ([1], 2.0, TypeError, "num_classes=2.0, expected an integer"),
        ([1.0], 2, TypeError, "input is float32, expected int64"),
        ([2**62], -1, ValueError, r"at most 2\*\*40"),
    ],
)
def test_one_hot_refusals(classes, count, error, message):
    with pytest.raises(error, match=f"one_hot: .*{message}"):
        nc.functional.one_hot(nc.tensor(classes), count)
    with pytest.raises(ValueError, match="one_hot: num_classes=-1 for 0 classes"):
        nc.functional.one_hot(nc.zeros(0, dtype="int64"))
