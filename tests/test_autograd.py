"""The tape: what it adds up, what it keeps, what it frees, and what it notices."""

from __future__ import annotations

import copy
import operator
import pickle
import subprocess
import sys
import threading
import weakref

import numpy as np
import pytest
from harness import torch

import nanoconv as nc
from nanoconv.dispatch import Op
from nanoconv.tape import observe
from nanoconv.tensor import apply


def leaf(*values, dtype="float32"):
    return nc.tensor(list(values), dtype=dtype, requires_grad=True)


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


# --------------------------------------------------------------------------- recording or not


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


# --------------------------------------------------------------------------- changes in place

CHANGED = "was changed in place after the forward pass"


CHANGES = {
    "data": lambda x: x.data.__setitem__(0, 7),
    "data twice": lambda x: (x.data.__setitem__(0, 7), x.data),
    "data of detached": lambda x: x.detach().data.fill(7),
    "numpy": lambda x: x.detach().numpy().__setitem__(0, 7),
    "asarray": lambda x: np.asarray(x.detach()).__setitem__(0, 7),
    "memoryview": lambda x: memoryview(x.data).__setitem__(0, 7.0),
    "ufunc out": lambda x: np.add(x.data, 1, out=x.data),
    "setitem": lambda x: x.__setitem__(0, 7.0),
    "fill_": lambda x: x.fill_(7),
    "zero_": lambda x: x.zero_(),
    "copy_": lambda x: x.copy_(nc.full(x.shape, 7.0)),
    "add_": lambda x: x.add_(1),
    "mul_": lambda x: x.mul_(3),
    "+=": lambda x: x.__iadd__(1),
    "setitem of a view": lambda x: x[1:].__setitem__(0, 7.0),
    "fill_ of one element": lambda x: x[1].fill_(7),
    "data of a view": lambda x: x.reshape(2, 1).data.__setitem__(1, 7),
    "view of a view": lambda x: x.reshape(2, 1)[1].squeeze().zero_(),
    "unsqueezed transpose": lambda x: x.unsqueeze(0).t().mul_(2),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
@pytest.mark.parametrize("what", ["leaf", "constant", "output"])
def test_a_change_of_a_saved_array_is_noticed(change, what):
    x = leaf(1.0, 2.0)
    c = nc.tensor([3.0, 4.0])
    y = (x * c).exp()  # mul keeps both inputs, exp its output
    with nc.no_grad():
        change({"leaf": x, "constant": c, "output": y.detach()}[what])
    with pytest.raises(RuntimeError, match=CHANGED):
        y.sum().backward()


@pytest.mark.parametrize(
    "take", [lambda x: x.data, lambda x: x.detach().numpy(), lambda x: x[1:].data, np.asarray]
)
def test_a_change_through_an_array_taken_before_is_noticed(take):
    c = nc.tensor([3.0, 4.0])
    array = take(c)
    y = leaf(1.0, 2.0) * c
    array[0] = 7
    with pytest.raises(RuntimeError, match=CHANGED):
        y.sum().backward()


def test_a_change_through_a_view_taken_before_is_noticed():
    c = nc.tensor([3.0, 4.0])
    view = c[1:]
    y = leaf(1.0, 2.0) * c
    view.zero_()
    with pytest.raises(RuntimeError, match=CHANGED):
        y.sum().backward()


def test_a_change_of_the_array_behind_from_numpy_is_noticed():
    array = np.float32([3, 4])
    y = leaf(1.0, 2.0) * nc.from_numpy(array)
    array[0] = 7
    with pytest.raises(RuntimeError, match=CHANGED):
        y.sum().backward()


def test_a_change_of_the_array_behind_data_is_noticed():
    array, c, d = np.float32([3, 4]), nc.zeros(2), nc.zeros(2)
    c.data = array
    d.data = c
    y = leaf(1.0, 2.0) * d
    array[0] = 7
    with pytest.raises(RuntimeError, match=CHANGED):
        y.sum().backward()
    y = leaf(1.0, 2.0) * c
    d.zero_()
    with pytest.raises(RuntimeError, match=CHANGED):
        y.sum().backward()


def test_an_array_that_meets_a_tensor_is_copied():
    x, array = leaf(1.0, 2.0), np.float32([3, 4])
    y = x * array
    array[:] = 7
    y.sum().backward()
    assert x.grad.tolist() == [3, 4]


def test_an_array_given_to_the_constructor_is_copied():
    t, array = leaf(1.0, 2.0), np.float32([3, 4])
    x = nc.Tensor(array)
    y = (x * t).sum()
    array[:] = 5
    y.backward()
    assert (t.grad.tolist(), x.tolist()) == ([3, 4], [3, 4])


def test_the_constructor_checks_what_it_gets():
    assert nc.Tensor([1.5, 2.5]).dtype == np.float32
    assert nc.Tensor(np.ones(2), requires_grad=True).requires_grad
    for data in (np.ones(2, np.float16), np.ones(2, ">f4"), ["a"]):
        with pytest.raises(TypeError, match="is not supported; expected one of float32"):
            nc.Tensor(data)
    with pytest.raises(TypeError, match="expected a floating tensor, got int64"):
        nc.Tensor([1], requires_grad=True)


@pytest.mark.parametrize("kind", [nc.Tensor, nc.nn.Parameter])
def test_a_tensor_made_from_a_tensor_shares_its_memory_and_changes(kind):
    t, c = leaf(1.0, 2.0), nc.tensor([3.0, 4.0])
    twin = kind(c)
    y = (t * c).sum()
    with nc.no_grad():
        twin.fill_(5)
    assert c.tolist() == [5, 5]
    with pytest.raises(RuntimeError, match=CHANGED):
        y.backward()


def test_an_index_is_copied():
    x, positions = leaf(1.0, 2.0, 3.0), nc.tensor([0, 0])
    y = x[positions]
    positions.fill_(2)
    y.sum().backward()
    assert x.grad.tolist() == [2, 0, 0]


def test_what_an_op_returns_beside_its_output_cannot_be_changed():
    op = Op(
        "test_autograd.positive",
        lambda x: (np.where(x > 0, x, 0), x > 0),
        lambda dy, y, x: dy * y[1],
        keeps="",
    )
    try:
        x = leaf(1.0, -2.0)
        y, mask = apply(op, x)
        for change in (lambda: mask.fill(True), lambda: nc.from_numpy(mask).fill_(True)):
            with pytest.raises(ValueError, match="read-only"):
                change()
        y.sum().backward()
        assert x.grad.tolist() == [1, 0]
    finally:
        del Op.registry[op.name]


def test_the_positions_that_pooling_returns_are_a_copy():
    x = nc.randn(1, 1, 4, 4, requires_grad=True)
    y, index = nc.functional.max_pool2d(x, 2, return_indices=True)
    expected = sorted(index.flatten().tolist())
    index.fill_(10**9)
    y.sum().backward()
    assert np.flatnonzero(x.grad.numpy()).tolist() == expected


def test_changes_that_matter_to_no_gradient_are_allowed():
    x = leaf(1.0, 2.0)
    h = x * 2
    y = h + 1  # keeps no values
    with nc.no_grad():
        h.detach().zero_()
    y.sum().backward()
    assert x.grad.tolist() == [2, 2]


def test_changes_before_the_op_and_after_backward_are_allowed():
    """Training: each step changes the weights between a backward and the next forward."""
    w, x = leaf(1.0, 2.0), nc.tensor([3.0, 4.0])
    for step in range(3):
        loss = (w * x).sum()
        loss.backward()
        with nc.no_grad():
            if step == 1:
                w.data[...] -= 0.5 * w.grad.numpy()
            else:
                w.add_(w.grad, alpha=-0.5)
            w.grad.zero_()
    assert w.tolist() == [1 - 4.5, 2 - 6]


def test_reading_is_not_a_change():
    x = leaf(1.0, 2.0)
    y = (x * x).sum()
    assert x.data.sum() == x.detach().numpy().sum() == np.asarray(x.detach()).sum() == 3
    assert (x.tolist(), x[0].item(), float(x[1])) == ([1, 2], 1, 2)
    y.backward(retain_graph=True)
    y.backward()
    assert x.grad.tolist() == [4, 8]


def test_replaced_data_leaves_the_tape_alone():
    x = leaf(1.0, 2.0)
    y = (x * x).sum()
    x.data = np.float32([5, 6])
    y.backward()
    assert x.grad.tolist() == [2, 4]  # of the values that y was computed from
    with pytest.raises(RuntimeError, match="only a leaf"):
        (x * 1).data = np.float32([5, 6])
    with pytest.raises(TypeError, match="cannot become int64"):
        x.data = [1, 2]


IN_PLACE = {
    "+=": operator.iadd,
    "-=": operator.isub,
    "*=": operator.imul,
    "/=": operator.itruediv,
    "**=": operator.ipow,
}


@pytest.mark.parametrize("assign", IN_PLACE.values(), ids=IN_PLACE)
def test_augmented_assignment_reaches_every_name(assign):
    """A tensor that is recorded already goes on as the new value, under all names that it has."""
    results = []
    for library in (nc, torch):
        x = library.tensor([1.5, 2.0], requires_grad=True)
        w = library.tensor([0.5, 3.0], requires_grad=True)
        plain = alias = library.tensor([1.0, 2.0])
        plain = assign(plain, library.tensor([3.0, 4.0]))
        y = other = x + 1  # an addition keeps no values
        if library is nc:
            y.retain_grad()
        y = assign(y, w)
        assert alias is plain
        assert other is y
        (other * library.tensor([1.0, 10.0])).sum().backward()
        results.append([t.detach().numpy() for t in (alias, other, x.grad, w.grad)])
        if library is nc:
            assert other.grad.tolist() == [1, 10]
    for ours, theirs in zip(*results, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-6)


def test_augmented_assignment_of_masks_reaches_every_name():
    mask = alias = nc.tensor([True, True, False])
    mask &= nc.tensor([True, False, True])
    mask |= nc.tensor([False, False, True])
    mask ^= True
    assert alias is mask
    assert alias.tolist() == [False, True, False]


def test_changes_that_would_lose_a_gradient_are_refused():
    x, c = leaf(1.0, 2.0), nc.zeros(2)
    for change in (
        lambda: x.zero_(),
        lambda: x.__setitem__(0, 1.0),
        lambda: (x * 1).fill_(2),
        lambda: x[0].fill_(2),
        lambda: c.__setitem__(0, x[1]),
        lambda: c.copy_(x),
        lambda: c.add_(x),
        lambda: c.mul_(x),
    ):
        with pytest.raises(RuntimeError, match="in-place change of or by a tensor that requires"):
            change()
    for assign in IN_PLACE.values():
        with pytest.raises(RuntimeError, match="in-place change of or by a tensor that requires"):
            assign(c, x)
    assert (x.tolist(), c.tolist()) == ([1, 2], [0, 0])
    with nc.no_grad():
        c.copy_(x)
    assert c.tolist() == [1, 2]


@pytest.mark.parametrize("dtype", ["float32", "int8", "uint8", "bool"])
def test_zero_(dtype):
    assert nc.ones(2, dtype=dtype).zero_().tolist() == [0, 0]


def test_format():
    assert f"{nc.tensor(1 / 3):.2f} {leaf(2.0):5.1f} {nc.tensor(True)}" == "0.33   2.0 tensor(True)"


def test_in_place_arguments():
    x = nc.zeros(2)
    with pytest.raises(TypeError, match="setitem: dtypes differ"):
        x[0] = nc.tensor(1)
    with pytest.raises(TypeError, match=r"add_: the float 0\.5 does not fit a int64 tensor"):
        nc.tensor([1]).add_(nc.tensor([1]), alpha=0.5)
    with pytest.raises(IndexError):
        x[5] = 1.0
    x[nc.tensor([True, False])] = 3
    assert x.add_(1, alpha=2).tolist() == [5, 2]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x: x.add_(nc.ones(2, 3)), r"add_: other has shape \[2, 3\], .* shape \[3\] of the"),
        (lambda x: x.mul_(nc.ones(1, 3)), r"mul_: other has shape \[1, 3\]"),
        (lambda x: x.add_(nc.ones(2)), r"add_: other has shape \[2\]"),
        (lambda x: operator.iadd(x, nc.ones(2, 3)), r"add: other has shape \[2, 3\]"),
        (lambda x: operator.ipow(x, nc.ones(2, 3)), r"pow: other has shape \[2, 3\]"),
        (lambda x: x.copy_(nc.ones(2, 3)), r"copy_: .* from shape \(2,3\) into shape \(3,\)"),
        (lambda x: x.__setitem__([0, 1], nc.ones(3)), r"setitem: .* of shape \(3,\)"),
        (lambda x: x.expand(2, 3).add_(1), r"add_: the tensor is read-only, as what expand\(\)"),
        (lambda x: operator.imul(x.expand(2, 3), 2), "mul: the tensor is read-only"),
        (lambda x: x.expand(2, 3).zero_(), "fill_: the tensor is read-only"),
    ],
)
def test_in_place_shapes(change, message):
    x = nc.ones(3)
    with pytest.raises(ValueError, match=message):
        change(x)
    assert x.tolist() == [1, 1, 1]


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
    with observe(lambda op, inputs, attrs, y: seen.append((op.name, attrs, y.tolist()))):
        threading.Thread(target=lambda: x + 1).start()
        (x * 2).sum(dim=0)
    x + 1
    assert seen == [("mul", {}, [2]), ("sum", {"dim": (0,), "keepdim": False}, 2)]


def test_apply_refuses_what_is_no_tensor():
    with pytest.raises(TypeError, match="neg: expected a nanoconv Tensor, got list"):
        nc.neg([1.0])
