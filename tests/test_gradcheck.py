"""gradcheck accepts what is right, and names what is wrong."""

from __future__ import annotations

import re

import numpy as np
import pytest

import nanoconv as nc
from nanoconv.dispatch import Op
from nanoconv.gradcheck import GradcheckError, gradcheck
from nanoconv.tensor import apply


def leaf(*shape, seed=0):
    values = np.random.default_rng(seed).uniform(0.5, 2, shape)
    return nc.tensor(values, requires_grad=True)


@pytest.fixture
def twisted():
    """x³ with a gradient that is wrong in one element: at (1, 2), by 1%."""

    def vjp(dy, y, x):
        dx = dy * 3 * x * x
        dx[1, 2] *= 1.01
        return dx

    op = Op("test_gradcheck.twisted", lambda x: x**3, vjp)
    yield lambda x: apply(op, x)
    del Op.registry[op.name]


def shared(x):
    y = x.exp()
    return y * y, y * 2


RIGHT = {
    "polynomial": (lambda x: x * x * x - 2 * x, [(3, 2)]),
    "matmul": (lambda a, b: a @ b, [(2, 3), (3, 4)]),
    "broadcast": (lambda a, b: a / b + b, [(2, 1), (1, 3)]),
    "scalar": (lambda x: x.exp(), [()]),
    "logsumexp": (lambda x: x.logsumexp(1), [(2, 3)]),
    "var": (lambda x: x.var((0, 2)), [(2, 2, 3)]),
    "several outputs": (lambda a, b: (a * b, a.sum(), b.log()), [(3,), (3,)]),
    "outputs that share a tape": (shared, [(2,)]),
    "output apart from an input": (lambda a, b: (a * 2, b * 3), [(2,), (2,)]),
    "constant output": (lambda x: (x * 2, nc.ones(2, dtype="float64")), [(2,)]),
    "nothing": (lambda x: x * 2, [(0, 3)]),
    "picked": (lambda x: nc.stack([x[0, 0], x[1, 1], x[0, 0]]), [(2, 2)]),
}


@pytest.mark.parametrize("fast_mode", [False, True])
@pytest.mark.parametrize(("function", "shapes"), RIGHT.values(), ids=RIGHT)
def test_accepts_what_is_right(function, shapes, fast_mode):
    inputs = [leaf(*shape, seed=k) for k, shape in enumerate(shapes)]
    before = [t.tolist() for t in inputs]
    assert gradcheck(function, inputs, fast_mode=fast_mode) is True
    assert [t.tolist() for t in inputs] == before
    assert all(t.grad is None for t in inputs)


def test_names_the_element(twisted):
    x = leaf(2, 3)
    message = (
        r"the derivative of output 1 at \(1, 2\) by input 1 at \(1, 2\): "
        r"analytic (\d+\.\d+), numeric (\d+\.\d+)"
    )
    with pytest.raises(GradcheckError, match=message) as error:
        gradcheck(lambda c, x: (x * c, twisted(x)), (nc.ones(2, 3, dtype="float64"), x))
    analytic, numeric = map(float, re.search(message, str(error.value)).groups())
    exact = 3 * x[1, 2].item() ** 2
    assert (analytic, numeric) == pytest.approx((1.01 * exact, exact), rel=1e-6)
    assert gradcheck(twisted, x, rtol=0.02)  # within what is allowed


def test_the_fast_mode_finds_it_too(twisted):
    with pytest.raises(GradcheckError, match="along a random direction of input 0: analytic"):
        gradcheck(twisted, leaf(2, 3), fast_mode=True)


def test_a_missing_gradient_is_found():
    def cut(x):
        return x * x.detach()

    for fast_mode in (False, True):
        with pytest.raises(GradcheckError):
            gradcheck(cut, leaf(2), fast_mode=fast_mode)


def test_a_gradient_of_nan_is_found():
    op = Op("test_gradcheck.forgetful", lambda x: x * 2, lambda dy, y, x: dy * x, keeps="")
    try:
        with pytest.raises(GradcheckError, match="analytic nan"):
            gradcheck(lambda x: apply(op, x), leaf(2))
    finally:
        del Op.registry[op.name]


def test_works_inside_no_grad():
    with nc.no_grad():
        assert gradcheck(lambda x: x * x, leaf(2))


def test_refusals():
    with pytest.raises(TypeError, match=r"gradcheck: inputs\[1\] is float32, expected float64"):
        gradcheck(lambda a, b: a * 2, (leaf(2), nc.ones(2, requires_grad=True)))
    with pytest.raises(TypeError, match="gradcheck: output 0 is float32, expected a float64"):
        gradcheck(lambda x: x.float(), leaf(2))
    with pytest.raises(TypeError, match="gradcheck: output 1 is float, expected a float64"):
        gradcheck(lambda x: (x, 1.0), leaf(2))
    with pytest.raises(ValueError, match="gradcheck: no input requires a gradient"):
        gradcheck(lambda x: x, nc.ones(2, dtype="float64"))


def test_randomness_is_noticed():
    with pytest.raises(GradcheckError, match="output 0 differs between two runs"):
        gradcheck(lambda x: x * nc.rand(2, dtype="float64"), leaf(2))
