"""Tensor.register_hook beside PyTorch's: what hooks see, in what order, and what comes of it."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from harness import torch

import nanoconv as nc

X = np.array([1.5, -2.0, 0.25])


def plain(lib: Any, x: Any, seen: list) -> None:
    y = x * x
    y.register_hook(lambda g: seen.append(("y", g.tolist())))
    x.register_hook(lambda g: seen.append(("x", g.tolist())))
    (y * 3 + x).sum().backward()


def used_twice(lib: Any, x: Any, seen: list) -> None:
    """One call, with the whole sum."""
    y = x * 2
    y.register_hook(lambda g: seen.append(g.tolist()))
    x.register_hook(lambda g: seen.append(g.tolist()))
    (y * y + y.exp() + x * y).sum().backward()


def replaced(lib: Any, x: Any, seen: list) -> None:
    y = x * x
    y.register_hook(lambda g: g * 2)
    x.register_hook(lambda g: -g)
    y.sum().backward()


def several(lib: Any, x: Any, seen: list) -> None:
    """In the order of registration, each with what the one before it returned."""
    y = x * x
    for k in (2, 3):
        y.register_hook(lambda g, k=k: seen.append(g.tolist()) or g + k)
        x.register_hook(lambda g, k=k: seen.append(g.tolist()) or g * k)
    y.sum().backward()


def removed(lib: Any, x: Any, seen: list) -> None:
    y = x * x
    handles = [t.register_hook(lambda g: g * 10) for t in (x, y, x, y)]
    for handle in handles[:2]:
        handle.remove()
        handle.remove()
    with x.register_hook(lambda g: g * 100):
        pass
    y.sum().backward()


def retained(lib: Any, x: Any, seen: list) -> None:
    """`.grad` is what the hooks made of it, also of one registered after retain_grad()."""
    y, z = x * x, x * 3
    y.register_hook(lambda g: g * 2)
    y.retain_grad()
    z.retain_grad()
    z.register_hook(lambda g: g * 5)
    (y * z).sum().backward()
    seen += [y.grad.tolist(), z.grad.tolist()]


def twice(lib: Any, x: Any, seen: list) -> None:
    """Each backward() calls them, with its own gradient, not what `.grad` has summed up."""
    y = x * x
    x.register_hook(lambda g: seen.append(g.tolist()))
    loss = y.sum()
    loss.backward(retain_graph=True)
    loss.backward()


def root(lib: Any, x: Any, seen: list) -> None:
    y = (x * x).sum()
    y.register_hook(lambda g: seen.append(g.tolist()) or g * 4)
    y.backward()


def leaf_root(lib: Any, x: Any, seen: list) -> None:
    x.register_hook(lambda g: g * 4)
    x.backward(lib.tensor([1.0, 2.0, 3.0], dtype=lib.float64))


def unused(lib: Any, x: Any, seen: list) -> None:
    y = x * x
    y.register_hook(lambda g: seen.append("called"))
    (x * 2).sum().backward()


def views(lib: Any, x: Any, seen: list) -> None:
    first, rest = x[:1], x[1:]
    first.register_hook(lambda g: g * 7)
    x.register_hook(lambda g: seen.append(g.tolist()))
    (first.sum() * rest.sum()).backward()


def in_place(lib: Any, x: Any, seen: list) -> None:
    """A hook stays with the value that the tensor had."""
    y = x * 2
    y.register_hook(lambda g: seen.append(("before", g.tolist())))
    y.mul_(5.0) if lib is torch else y.__imul__(5.0)
    y.register_hook(lambda g: seen.append(("after", g.tolist())))
    (y * 3).sum().backward()


def recording(lib: Any, x: Any, seen: list) -> None:
    y = x * x
    y.register_hook(lambda g: seen.append((g.requires_grad, (g * x).requires_grad)))
    y.sum().backward()


PROGRAMS = [
    plain, used_twice, replaced, several, removed, retained, twice, root, leaf_root, unused, views,
    in_place, recording,
]  # fmt: skip


@pytest.mark.parametrize("program", PROGRAMS)
def test_hooks_do_what_pytorchs_do(program: Callable) -> None:
    results = []
    for lib in (nc, torch):
        seen: list = []
        x = lib.tensor(X.tolist(), dtype=lib.float64, requires_grad=True)
        program(lib, x, seen)
        results.append((seen, x.grad.tolist()))
    (seen, grad), (expected, expected_grad) = results
    assert len(seen) == len(expected)
    for ours, theirs in zip(seen, expected, strict=True):
        if isinstance(ours, tuple):
            assert ours[0] == theirs[0]
            ours, theirs = ours[1], theirs[1]
        np.testing.assert_allclose(ours, theirs, rtol=1e-14)
    np.testing.assert_allclose(grad, expected_grad, rtol=1e-14)


def test_a_hook_cannot_change_the_gradient_in_place() -> None:
    x = nc.tensor([1.0, 2.0], requires_grad=True)
    y = x * 3
    y.register_hook(lambda g: g.zero_())
    with pytest.raises(ValueError, match="read-only"):
        y.sum().backward()


def test_a_gradient_that_a_hook_has_kept_does_not_change() -> None:
    kept = []
    x = nc.tensor([1.0, 2.0], requires_grad=True)
    x.register_hook(kept.append)
    (x * 3).sum().backward()
    x.grad.zero_()
    assert kept[0].tolist() == [3.0, 3.0]


def test_hooks_of_a_copy_are_its_own() -> None:
    x = nc.tensor([1.0], requires_grad=True)
    x.register_hook(lambda g: g * 2)
    twin = copy.deepcopy(x)
    (twin * 1.0).sum().backward()
    assert twin.grad.tolist() == [1.0]


@pytest.mark.parametrize(
    ("hook", "error", "message"),
    [
        (lambda g: 1.0, TypeError, r"hook returned a float, expected None or a Tensor"),
        (lambda g: g[:1], ValueError, r"hook returned float32\[1\], expected float32\[2\]"),
        (lambda g: g.double(), ValueError, r"hook returned float64\[2\], expected float32\[2\]"),
    ],
)
def test_what_a_hook_returns_must_fit(hook: Callable, error: type, message: str) -> None:
    x = nc.tensor([1.0, 2.0], requires_grad=True)
    x.register_hook(hook)
    with pytest.raises(error, match=message):
        (x * 2).sum().backward()


def test_only_tensors_with_a_gradient_have_hooks() -> None:
    with pytest.raises(RuntimeError, match="register_hook: the tensor does not require"):
        nc.tensor([1.0]).register_hook(print)
