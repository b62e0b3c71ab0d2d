"""Making tensors: dtypes, copies, shared memory, filled and random ones."""

from __future__ import annotations

import numpy as np
import pytest

import nanoconv as nc


@pytest.mark.parametrize(
    "source", ["float32", "float64", "int64", "int32", "int8", "uint8", "bool"]
)
@pytest.mark.parametrize(
    "target", ["float32", "float64", "int64", "int32", "int8", "uint8", "bool"]
)
def test_dtype_conversions(source, target):
    x = np.array([0, 1, 100]).astype(source)
    y = nc.tensor(x).to(target)
    assert y.dtype == target
    np.testing.assert_array_equal(y.numpy(), x.astype(target))


@pytest.mark.parametrize(
    ("data", "dtype", "expected"),
    [
        ([1, 2], None, "int64"),
        ([1, 2.5], None, "float32"),
        (1.5, None, "float32"),
        (True, None, "bool"),
        ([], None, "float32"),
        (range(3), None, "int64"),
        (np.ones(2), None, "float64"),
        (np.float64(1), None, "float64"),
        (np.ones(2, np.int8), None, "int8"),
        ([1, 0], "bool", "bool"),
        ([1.7, -1.7], "int32", "int32"),
        (np.ones(2), np.float32, "float32"),
        (nc.ones(2), None, "float32"),
        (nc.ones(2), "uint8", "uint8"),
        ([nc.tensor(1.0), nc.tensor(2.0)], None, "float32"),
    ],
)
def test_tensor_copies_and_knows_dtypes(data, dtype, expected):
    x = nc.tensor(data, dtype=dtype)
    assert x.dtype == expected
    np.testing.assert_array_equal(x.numpy(), np.array(data).astype(expected))
    if isinstance(data, (np.ndarray, nc.Tensor)):
        assert not np.shares_memory(x.numpy(), np.asarray(data))


@pytest.mark.parametrize(
    ("data", "dtype", "message"),
    [
        (np.ones(2, np.float16), None, "tensor: dtype float16 is not supported; expected one of"),
        (np.ones(2, np.int16), None, "tensor: dtype int16 is not supported"),
        (np.ones(2, ">f4"), None, "tensor: dtype >f4 is not supported"),
        ([1j], None, "tensor: dtype complex128 is not supported"),
        ("text", None, "tensor: dtype <U4 is not supported"),
        (None, None, "tensor: dtype object is not supported"),
        ([1], "float16", "tensor: dtype float16 is not supported"),
        ([1], "no such", "not understood"),
        ([[1], [2, 3]], None, "inhomogeneous"),
        ([300], "uint8", "tensor: Python integer 300 out of bounds for uint8"),
    ],
)
def test_tensor_refuses(data, dtype, message):
    with pytest.raises((TypeError, ValueError), match=message):
        nc.tensor(data, dtype=dtype)


def test_from_numpy_shares_memory():
    array = np.arange(3, dtype=np.float32)
    x = nc.from_numpy(array)
    array[0] = 7
    x[1] = 8
    assert x.tolist() == array.tolist() == [7, 8, 2]
    with pytest.raises(TypeError, match="from_numpy: expected an ndarray, got list"):
        nc.from_numpy([1.0])
    with pytest.raises(TypeError, match="int16 is not supported"):
        nc.from_numpy(np.ones(2, np.int16))
    array.flags.writeable = False
    with pytest.raises(ValueError, match="read-only"):
        nc.from_numpy(array).fill_(0)


def test_creation():
    assert (nc.zeros(2, 3).shape, nc.zeros((2, 3)).shape, nc.ones(()).item()) == ((2, 3),) * 2 + (
        1,
    )
    assert (
        nc.zeros(2).dtype == nc.ones(2).dtype == nc.eye(2).dtype == nc.randn(2).dtype == np.float32
    )
    assert [nc.full((1,), v).dtype for v in (1, 1.0, True)] == [np.int64, np.float32, np.bool_]
    assert nc.full((2,), 1, dtype="float64").tolist() == [1.0, 1.0]
    assert nc.eye(2, 3).tolist() == [[1, 0, 0], [0, 1, 0]]
    assert (nc.arange(3).tolist(), nc.arange(3).dtype) == ([0, 1, 2], np.int64)
    assert (nc.arange(1, 2, 0.25).tolist(), nc.arange(1.0).dtype) == (
        [1, 1.25, 1.5, 1.75],
        np.float32,
    )
    assert nc.arange(3, 0, -1).tolist() == [3, 2, 1]
    assert nc.ones(2, requires_grad=True).requires_grad
    like = nc.zeros(2, 3, dtype="float64")
    assert nc.ones_like(like).dtype == np.float64
    assert nc.zeros_like(like, dtype="int64").dtype == np.int64


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_random_numbers(dtype):
    nc.manual_seed(1)
    first = [nc.rand(1000, dtype=dtype), nc.randn(1000, dtype=dtype)]
    nc.manual_seed(1)
    again = [nc.rand(1000, dtype=dtype), nc.randn(1000, dtype=dtype)]
    for a, b in zip(first, again, strict=True):
        assert a.dtype == dtype
        np.testing.assert_array_equal(a.numpy(), b.numpy())
    uniform, normal = first
    assert 0 <= uniform.min().item() < 0.05 < 0.95 < uniform.max().item() < 1
    # 5 standard errors of the mean and of the variance of 1000 normal numbers
    assert abs(normal.mean().item()) < 5 / 1000**0.5
    assert abs(normal.var().item() - 1) < 5 * (2 / 1000) ** 0.5
