"""What the tests of elementary ops and of the tape share, first a comparison with PyTorch."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from harness import Case, arrays_of, assert_within, bounds, gradient_for, run, run_torch, torch
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import nanoconv as nc

SPECIAL = (0.0, -0.0, 1.0, -1.0, 2.0, 0.5, -3.0, 1e300, np.inf, -np.inf, np.nan)


def ids(case: Case) -> str:
    return case.name


def check(case: Case, data: st.DataObject) -> None:
    """One drawn problem in float64 and float32, forward and all gradients, against PyTorch."""
    problem = data.draw(case.problems())
    arrays = arrays_of(case, problem)
    dy = gradient_for(run(case, problem, arrays, np.float64)[0].shape, problem)
    truth = run_torch(case, problem, arrays, dy)
    for dtype in (np.float64, np.float32):
        eps = float(np.finfo(dtype).eps)
        allowed = bounds(case, problem, arrays, dy, truth, eps)
        results = run(case, problem, arrays, dtype, dy)
        assert_within(case, results, truth, allowed, dtype.__name__)


def leaf(*values, dtype="float32"):
    """A vector that requires a gradient."""
    return nc.tensor(list(values), dtype=dtype, requires_grad=True)


@st.composite
def broadcast(draw, names="ab"):
    """Shapes that broadcast against each other."""
    shapes = draw(
        hnp.mutually_broadcastable_shapes(num_shapes=len(names), max_dims=4, max_side=4)
    ).input_shapes
    return dict(zip(names, shapes, strict=True)), {}


@st.composite
def shapes_with(draw, attrs, least=0, smallest=1):
    """One shape, and attributes that fit it."""
    sizes = st.integers(smallest, 4)
    shape = tuple(draw(st.lists(sizes, min_size=least, max_size=4)))
    return {"x": shape}, draw(attrs(shape))


def axis(shape, more=0):
    n = max(len(shape) + more, 1)
    return st.integers(-n, n - 1)


def nc_or_torch(tensor):
    """The library whose functions take this tensor."""
    return nc if isinstance(tensor, nc.Tensor) else torch


def repeats(shapes: dict, attrs: dict) -> int:
    """The longest sum behind one number: a gradient sums over what was broadcast."""
    y = math.prod(np.broadcast_shapes(*shapes.values()))
    return 3 + max(y // max(math.prod(shape), 1) for shape in shapes.values())


def same_as_torch(function: Callable, *arrays: np.ndarray) -> None:
    """Equal values and gradients in float64, NaN where PyTorch has NaN, ±inf where it has ±inf."""
    tensors = [nc.tensor(np.asarray(a, np.float64), requires_grad=True) for a in arrays]
    theirs = [torch.tensor(np.asarray(a, np.float64), requires_grad=True) for a in arrays]
    y, expected = function(*tensors), function(*theirs)
    assert y.shape == tuple(expected.shape)
    np.testing.assert_array_almost_equal_nulp(*finite(y.detach(), expected.detach()), nulp=4)
    y.backward(np.ones(y.shape))
    expected.backward(torch.ones_like(expected))
    for ours, other in zip(tensors, theirs, strict=True):
        np.testing.assert_array_almost_equal_nulp(*finite(ours.grad, other.grad), nulp=8)


def finite(ours: nc.Tensor, theirs: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Both as arrays of finite numbers, once NaN and ±inf stand in the same places."""
    a, b = ours.numpy().copy(), theirs.numpy().copy()
    odd = ~(np.isfinite(a) & np.isfinite(b))
    np.testing.assert_array_equal(a[odd], b[odd])
    a[odd] = b[odd] = 0
    return a, b
