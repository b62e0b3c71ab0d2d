"""Activations beyond the table: far out, at the kinks, at NaN and ±∞, on every rung."""

import numpy as np
import pytest
from harness import installed_rungs, torch

import nanoconv as nc
from nanoconv.ops import activations

F, TF = nc.functional, torch.nn.functional
nan, inf = np.nan, np.inf
EVERY_RUNG = [
    (name, rung)
    for name in activations.TABLE
    for rung in installed_rungs(activations.FORWARD[name])
]
EPS, SMALLEST = np.finfo(np.float32).eps, np.finfo(np.float32).smallest_normal


def value_and_gradient(name, rung, x):
    x = nc.tensor(x, requires_grad=True)
    with nc.use(rung):
        y = getattr(F, name)(x)
        y.backward(np.ones(x.shape, x.dtype))
    return y.detach().numpy(), x.grad.numpy()


@pytest.mark.parametrize(("name", "rung"), EVERY_RUNG)
def test_far_out(name, rung):
    """From −105 to 105 and down to the smallest numbers, as the exact function gives it.

    The bound allows 8 roundings and what they do to x, and a factor of x that underflows.
    """
    x = np.linspace(-105, 105, 9001, dtype=np.float32)
    x = np.concatenate([x, x * np.float32(1e-3), x * np.float32(1e-30), x * np.float32(1e-42)])
    exact = x.astype(np.float64)
    nearby = [value_and_gradient(name, "numpy", exact * (1 + s * EPS)) for s in (-1, 0, 1)]
    for k, result in enumerate(value_and_gradient(name, rung, x)):
        before, truth, after = (pair[k] for pair in nearby)
        spread = np.maximum(np.abs(before - truth), np.abs(after - truth))
        bound = 2 * 8 * (EPS * np.abs(truth) + spread) + SMALLEST * (1 + np.abs(x))
        assert result.dtype == np.float32
        assert (np.abs(result - truth) <= bound).all()


@pytest.mark.parametrize(("name", "rung"), EVERY_RUNG)
def test_special_values(name, rung):
    """Kinks, zeros of either sign, NaN and ±∞: PyTorch's answer in float64, to the last bits."""
    x = np.array([-inf, -6, -3, -0.0, 0.0, 3, 6, inf, nan], np.float32)
    # At NaN PyTorch's vectors and what is left over differ: here every element fills vectors.
    wide = torch.tensor(np.repeat(x, 64).reshape(9, 64), dtype=torch.double, requires_grad=True)
    expected = getattr(TF, name)(wide)
    expected.backward(torch.ones_like(expected))
    for result, theirs in zip(
        value_and_gradient(name, rung, x),
        (expected.detach().numpy()[:, 0], wide.grad.numpy()[:, 0]),
        strict=True,
    ):
        np.testing.assert_allclose(result, theirs, rtol=8 * EPS, atol=SMALLEST)


def test_arguments_of_pytorch():
    x = nc.tensor([-2.0, 2.0])
    for name in ("relu", "relu6", "leaky_relu", "hardsigmoid", "hardswish", "silu"):
        getattr(F, name)(x, inplace=True)
    assert x.tolist() == [-2.0, 2.0]
    assert F.leaky_relu(x, 0.5).tolist() == [-1.0, 2.0]
    assert F.leaky_relu(x, negative_slope=-1).tolist() == [2.0, 2.0]
