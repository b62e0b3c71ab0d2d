"""Changes in place: which the tape notices, which are allowed, and what they do."""

from __future__ import annotations

import operator

import numpy as np
import pytest
from elementary import leaf
from harness import torch

import nanoconv as nc
from nanoconv.dispatch import Op
from nanoconv.tensor import apply

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
