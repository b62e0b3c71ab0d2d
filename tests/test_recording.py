"""What is recorded and what is not: no_grad, threads, detach, dtypes."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from elementary import leaf

import nanoconv as nc


def test_no_grad_and_enable_grad():
    x = leaf(1.0)
    with nc.no_grad():
        y = x * 2
        assert (y.requires_grad, y.is_leaf, nc.is_grad_enabled()) == (False, True, False)
        with nc.enable_grad():
            assert (x * 2).requires_grad
        assert not nc.is_grad_enabled()
        created = nc.ones(1, requires_grad=True)
    assert nc.is_grad_enabled()
    assert (created * 2).requires_grad


def test_no_grad_ends_with_an_exception():
    with pytest.raises(KeyError), nc.no_grad():
        raise KeyError
    assert nc.is_grad_enabled()


def test_one_no_grad_object_may_be_entered_twice():
    context = nc.no_grad()
    with context:
        with context:
            assert not nc.is_grad_enabled()
        assert not nc.is_grad_enabled()
    assert nc.is_grad_enabled()


def test_no_grad_as_decorator():
    @nc.no_grad()
    def double(x, depth):
        """Doubles."""
        return x * 2 if depth == 0 else double(x, depth - 1)

    @nc.enable_grad()
    def recorded(x):
        return x * 2

    x = leaf(1.0)
    assert double.__doc__ == "Doubles."
    assert not double(x, 3).requires_grad
    assert nc.is_grad_enabled()
    with nc.no_grad():
        assert recorded(x).requires_grad


def test_no_grad_belongs_to_one_thread():
    x, seen = leaf(1.0), []
    with nc.no_grad():
        thread = threading.Thread(target=lambda: seen.append((x * 2).requires_grad))
        thread.start()
        thread.join()
        assert not (x * 2).requires_grad
    assert seen == [True]


def test_threads_record_their_own_tapes():
    x = nc.tensor(np.arange(100.0, dtype=np.float32))
    results = {}

    def work(k):
        w = nc.full((100,), float(k), requires_grad=True)
        for _ in range(50):
            loss = (w * x).sum()
            loss.backward()
        results[k] = w.grad.numpy() / 50

    threads = [threading.Thread(target=work, args=(k,)) for k in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for k in range(8):
        np.testing.assert_array_equal(results[k], x.numpy())


def test_detach():
    x = leaf(2.0)
    y = (x * x).detach()
    assert (y.requires_grad, y.is_leaf, y.tolist()) == (False, True, [4])
    (x * x.detach()).sum().backward()
    assert x.grad.item() == 2


def test_requires_grad_later():
    x = nc.ones(2)
    assert x.requires_grad_() is x
    assert (x * 2).requires_grad
    x.requires_grad = False
    assert not (x * 2).requires_grad


@pytest.mark.parametrize("dtype", ["int64", "int32", "int8", "uint8", "bool"])
def test_only_floating_tensors_require_a_gradient(dtype):
    for make in (
        lambda: nc.ones(2, dtype=dtype, requires_grad=True),
        lambda: nc.ones(2, dtype=dtype).requires_grad_(),
        lambda: nc.tensor([1], dtype=dtype, requires_grad=True),
    ):
        with pytest.raises(TypeError, match=f"expected a floating tensor, got {dtype}"):
            make()


def test_integer_results_are_not_recorded():
    x = leaf(1.5, 2.5)
    assert (x.long().requires_grad, x.long().is_leaf) == (False, True)


def test_dtype_conversions_are_differentiable():
    x = leaf(1.0, 2.0)
    (x.double() * 3).float().sum().backward()
    assert (x.grad.tolist(), x.grad.dtype) == ([3, 3], np.float32)
