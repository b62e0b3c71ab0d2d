"""The tape: what it adds up, what it keeps, what it frees, and who may watch it."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
import threading
import weakref

import numpy as np
import pytest
from elementary import leaf
from harness import torch

import nanoconv as nc
from nanoconv.dispatch import Op
from nanoconv.tape import observe
from nanoconv.tensor import apply

# --------------------------------------------------------------------------- adding up


def test_repeated_use_adds_up():
    x = leaf(2.0, 3.0)
    (x * x + x + x).sum().backward()
    assert x.grad.tolist() == [6, 8]


def test_repeated_backward_adds_up():
    x = leaf(2.0, 3.0)
    y = (x * x).sum()
    y.backward(retain_graph=True)
    first = x.grad
    y.backward()
    assert x.grad.tolist() == [8, 12]
    assert first.tolist() == [4, 6]  # a gradient that was handed out does not change
    x.sum().backward()
    assert x.grad.tolist() == [9, 13]


def test_diamonds():
    x = leaf(1.5)
    y = x
    for _ in range(20):  # 2²⁰ paths, each node visited once
        y = y + y
    y.backward(np.ones(1, np.float32))
    assert x.grad.item() == 2**20


def test_both_inputs_get_their_own_array():
    a, b = leaf(1.0), leaf(2.0)
    (a + b).sum().backward()
    with nc.no_grad():
        a.grad.zero_()
    assert b.grad.tolist() == [1]


def test_the_gradient_argument_is_copied():
    x, dy = leaf(1.0, 2.0), np.ones(2, np.float32)
    x.backward(dy)
    dy[:] = 5
    assert x.grad.tolist() == [1, 1]


def test_a_leaf_may_be_used_by_two_losses():
    x = leaf(3.0)
    y = x * 2
    first, second = (y * y).sum(), (y * 3).sum()
    first.backward(retain_graph=True)
    second.backward()
    assert x.grad.item() == 2 * 2 * 6 + 6


def test_only_what_requires_a_gradient_gets_one():
    x, c = leaf(2.0), nc.tensor([5.0])
    y = x * c + c
    assert y.requires_grad
    y.sum().backward()
    assert (x.grad.item(), c.grad) == (5, None)
    assert not (c * c).requires_grad


def test_gradients_have_the_layout_and_dtype_of_the_leaf():
    for dtype in ("float32", "float64"):
        x = nc.zeros(2, 3, 4, 5, dtype=dtype).contiguous("channels_last").requires_grad_()
        x.sum().backward()
        x.sum().backward()
        assert x.grad.is_contiguous("channels_last")
        assert x.grad.dtype == x.dtype


@pytest.mark.parametrize("recorded", [False, True])
def test_pieces_and_wholes_add_up_in_any_order(recorded):
    """Slices send back parts, which are added into one array that nobody else has."""
    x = leaf(1.0, 2.0, 3.0, 4.0)
    h = x + 0 if recorded else x
    for order in ((h[:1], h, h[2:], h[::2]), (h, h[:1], h.reshape(2, 2)[1], h), (h[1:3], h[3:])):
        x.grad = None
        y = nc.cat([piece.reshape(-1) for piece in order])
        gradient = np.arange(1, len(y) + 1, dtype=np.float32)
        expected = np.zeros(4, np.float32)
        start = 0
        for piece in order:
            places = (piece.detach().numpy().reshape(-1) - 1).astype(int)
            expected[places] += gradient[start : start + len(places)]
            start += len(places)
        y.backward(gradient, retain_graph=True)
        assert x.grad.tolist() == expected.tolist()
        assert gradient.tolist() == list(range(1, len(y) + 1))


def test_random_graphs_equal_pytorch():
    """Sums and products of random earlier values: every sharing pattern that a tape can meet."""
    for seed in range(30):
        leaves = [np.random.default_rng(seed).standard_normal(k) for k in ((3,), (2, 1), (2, 3))]
        gradients = []
        for make in (
            lambda a: nc.tensor(a, requires_grad=True),
            lambda a: torch.tensor(a, requires_grad=True),
        ):
            rng = np.random.default_rng(seed)
            inputs = [make(a) for a in leaves]
            values = list(inputs)
            for _ in range(12):
                a, b = (values[k] for k in rng.integers(0, len(values), 2))
                values.append((a + b, a * b, a - b, -a)[rng.integers(4)] * 0.5)
            sum(v.sum() for v in values[-3:]).backward()
            gradients.append([None if t.grad is None else t.grad.tolist() for t in inputs])
        for ours, theirs in zip(*gradients, strict=True):
            assert (ours is None) == (theirs is None)
            if ours is not None:
                np.testing.assert_allclose(ours, theirs, rtol=1e4 * np.finfo(float).eps)


# --------------------------------------------------------------------------- deep graphs


def test_ten_thousand_ops_in_a_chain():
    x = leaf(1.0)
    y = x
    for _ in range(10_000):
        y = y * 1.0 + 0.0
    y.sum().backward()
    assert x.grad.item() == 1


def test_a_long_chain_is_freed_without_recursion():
    """On a small stack, in a process of its own: an overflow would take the test run with it."""
    code = (
        "import threading, nanoconv as nc\n"
        "def work():\n"
        "    y = x = nc.tensor([1.0], requires_grad=True)\n"
        "    for _ in range(200_000): y = -y\n"
        "    del y\n"
        "    y = x\n"
        "    for _ in range(50_000): y = y * x\n"
        "    y.backward([1.0], retain_graph=True)\n"
        "    del y\n"
        "threading.stack_size(256 * 1024)\n"
        "t = threading.Thread(target=work); t.start(); t.join()\n"
        "print('freed')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.stdout, done.returncode) == ("freed\n", 0), done.stderr


# --------------------------------------------------------------------------- backward's arguments


def test_backward_arguments():
    x = leaf(1.0, 2.0)
    with pytest.raises(ValueError, match=r"a tensor of shape \(2,\) needs a gradient argument"):
        (x * 2).backward()
    with pytest.raises(ValueError, match=r"gradient is float32\[3\], expected float32\[2\]"):
        (x * 2).backward(np.ones(3, np.float32))
    with pytest.raises(ValueError, match=r"gradient is float64\[2\], expected float32\[2\]"):
        (x * 2).backward(np.ones(2))
    with pytest.raises(RuntimeError, match="the tensor does not require a gradient"):
        nc.ones(1).backward()
    assert x.grad is None
    (x * 2).backward(nc.tensor([1.0, 10.0]))
    assert x.grad.tolist() == [2, 20]
    x.sum().reshape(1, 1).backward()  # one element needs no gradient argument
    assert x.grad.tolist() == [3, 21]


def test_a_freed_tape_cannot_be_used_again():
    x = leaf(1.0)
    y = x * 2
    (y * y).sum().backward()
    with pytest.raises(RuntimeError, match="tape of mul was freed by an earlier backward"):
        (y * 3).sum().backward()
    assert x.grad.item() == 8  # refused before anything was added


def test_an_op_without_gradient_says_so():
    op = Op("test_autograd.floor", np.floor, vjp=None, keeps="")
    try:
        x = leaf(1.5)
        y = apply(op, x).sum()
        with pytest.raises(RuntimeError, match=r"test_autograd\.floor has no gradient"):
            y.backward()
    finally:
        del Op.registry[op.name]


def test_retain_grad():
    x = leaf(2.0)
    y = x * 3
    y.retain_grad()
    (y * y).sum().backward()
    assert (y.grad.item(), x.grad.item()) == (12, 36)
    x.retain_grad()  # allowed on a leaf, which keeps its gradient anyway
    with pytest.raises(RuntimeError, match="does not require a gradient"):
        nc.ones(1).retain_grad()


def test_without_retain_grad_only_leaves_have_one():
    x = leaf(2.0)
    y = x * 3
    y.sum().backward()
    assert y.grad is None


# --------------------------------------------------------------------------- what the tape keeps


def test_intermediate_arrays_go_with_backward():
    x = leaf(0.5, 1.0)
    h = x.exp()
    array = weakref.ref(h._data)
    y = (h * h).sum()
    del h
    assert array() is not None  # the tape holds it
    y.backward(retain_graph=True)
    assert array() is not None
    y.backward()
    assert array() is None


def test_the_tape_goes_with_its_last_tensor():
    x = leaf(0.5, 1.0)
    h = x.exp()
    array = weakref.ref(h._data)
    y = (h * h).sum()
    del h
    del y  # without any backward, and without waiting for the garbage collector
    assert array() is None


def test_ops_whose_gradient_needs_no_values_keep_none():
    x = leaf(0.5, 1.0)
    h = x.exp().reshape(2, 1)  # exp keeps its output, so look one op further
    g = h + 1
    array = weakref.ref(g._data)
    y = (g + 2).reshape(1, 2).sum()
    del g
    assert array() is None
    y.backward()
    np.testing.assert_allclose(x.grad.numpy(), np.exp(np.float32([0.5, 1.0])), rtol=1e-6)


def test_recording_nothing_keeps_nothing():
    x = nc.ones(3)
    h = x * 2
    array = weakref.ref(h._data)
    y = h * 3
    del h
    assert array() is None
    assert y.tolist() == [6, 6, 6]


def test_values_that_were_not_kept_are_loud():
    """A gradient that reads what its op did not keep gets NaN, of the right shape and dtype."""
    seen = []
    op = Op(
        "test_autograd.forgetful",
        lambda x: x * 2,
        lambda dy, y, x: seen.append((y, x.shape, x.dtype, x.flags.writeable)) or dy * x,
        keeps="",
    )
    try:
        x = nc.ones(2, 3, dtype="float64", requires_grad=True)
        apply(op, x).sum().backward()
        assert seen == [(None, (2, 3), np.float64, False)]
        assert np.isnan(x.grad.numpy()).all()
    finally:
        del Op.registry[op.name]


# --------------------------------------------------------------------------- copies, observers


def test_copies_of_leaves():
    x = leaf(1.0, 2.0)
    (x * 2).sum().backward()
    for twin in (copy.deepcopy(x), copy.copy(x), pickle.loads(pickle.dumps(x))):
        assert (twin.tolist(), twin.grad.tolist(), twin.requires_grad) == ([1, 2], [2, 2], True)
        with nc.no_grad():
            twin.zero_()
    assert x.tolist() == [1, 2]
    with pytest.raises(RuntimeError, match="detach"):
        copy.deepcopy(x * 2)


def test_observers_see_every_op_of_their_thread():
    x, seen = leaf(1.0), []
    with observe(lambda op, inputs, attrs, y, extra: seen.append((op.name, attrs, y.tolist()))):
        threading.Thread(target=lambda: x + 1).start()
        (x * 2).sum(dim=0)
    x + 1
    assert seen == [("mul", {}, [2]), ("sum", {"dim": (0,), "keepdim": False}, 2)]


def test_apply_refuses_what_is_no_tensor():
    with pytest.raises(TypeError, match="neg: expected a nanoconv Tensor, got list"):
        nc.neg([1.0])
