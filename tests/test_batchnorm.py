"""Batch norm beyond the table: running statistics, awkward batches, accuracy far from zero."""

import numpy as np
import pytest
from harness import installed_rungs, torch

import nanoconv as nc
from nanoconv.ops import batchnorm

F, TF = nc.functional, torch.nn.functional
EPS = float(np.finfo(np.float32).eps)


RUNGS = installed_rungs(batchnorm.FORWARD)


@pytest.mark.parametrize("rung", RUNGS)
@pytest.mark.parametrize("shape", [(6, 5), (3, 5, 4), (2, 5, 3, 4)])
def test_running_statistics(rung, shape):
    """After some batches they are PyTorch's, with the unbiased variance, in the same arrays."""
    rng = np.random.default_rng(0)
    ours = mean, var = nc.zeros(5), nc.ones(5)
    theirs = torch.zeros(5), torch.ones(5)
    arrays = mean.numpy(), var.numpy()
    for momentum in (0.1, 0.5, 1.0, 0.0, 0.01):
        x = rng.standard_normal(shape).astype(np.float32)
        with nc.use(rung):
            F.batch_norm(nc.tensor(x), *ours, training=True, momentum=momentum)
        TF.batch_norm(torch.tensor(x), *theirs, training=True, momentum=momentum)
    for array, expected in zip(arrays, theirs, strict=True):
        bound = 2 * 5 * x.size * EPS * (1 + np.abs(expected.numpy()))
        assert (np.abs(array - expected.numpy()) <= bound).all()


def test_evaluation_reads_the_statistics_only():
    mean, var = nc.tensor([1.0, 2.0]), nc.tensor([4.0, 0.25])
    y = F.batch_norm(nc.tensor([[3.0, 2.0]]), mean, var, eps=0.0)
    assert y.tolist() == [[1.0, 0.0]]
    assert (mean.tolist(), var.tolist()) == ([1.0, 2.0], [4.0, 0.25])


def test_either_statistic_alone_is_updated():
    x, mean = nc.tensor([[1.0], [3.0]]), nc.zeros(1)
    F.batch_norm(x, mean, None, training=True, momentum=0.5)
    assert mean.tolist() == [1.0]


def test_training_between_an_evaluation_and_its_gradient_does_no_harm():
    x = nc.tensor([[1.0], [3.0]], requires_grad=True)
    w, mean, var = nc.ones(1, requires_grad=True), nc.zeros(1), nc.tensor([0.25])
    y = F.batch_norm(x, mean, var, w, eps=0.0)
    F.batch_norm(x, mean, var, training=True)
    y.sum().backward()
    assert x.grad.tolist() == [[2.0], [2.0]]
    assert w.grad.tolist() == [8.0]


@pytest.mark.parametrize("rung", RUNGS)
@pytest.mark.parametrize("offset", [0, 1e3, 1e5])
@pytest.mark.parametrize("last", [True, False])
def test_statistics_far_from_zero(rung, offset, last):
    """A mean that is wrong by δ adds δ² to the variance, and nothing is lost beside that.

    E[x²] − E[x]² instead would be wrong by ε·E[x²].
    """
    x = (np.random.default_rng(0).standard_normal((4, 3, 9, 7)) + offset).astype(np.float32)
    exact = x.astype(np.float64)
    if last:
        x = x.transpose(0, 2, 3, 1).copy().transpose(0, 3, 1, 2)
    w, b = np.ones(3, np.float32), np.zeros(3, np.float32)
    with nc.use(rung):
        _, mean, var, _ = batchnorm.FORWARD(x, w, b, 1e-5)
    M = x.size // 3
    delta = 2 * np.sqrt(M) * EPS * np.abs(exact).max()
    assert (np.abs(mean - exact.mean((0, 2, 3))) <= delta).all()
    spread = exact.var((0, 2, 3))
    assert (np.abs(var - spread) <= delta**2 + 2 * M * EPS * spread).all()


@pytest.mark.parametrize("rung", RUNGS)
def test_a_constant_channel_becomes_its_bias(rung):
    x = nc.tensor(np.full((2, 3, 4, 4), 7.0, np.float32), requires_grad=True)
    with nc.use(rung):
        y = F.batch_norm(x, None, None, nc.ones(3), nc.tensor([1.0, 2.0, 3.0]), training=True)
        y.sum().backward()
    np.testing.assert_array_equal(y.detach().numpy()[0, :, 0, 0], [1, 2, 3])
    np.testing.assert_array_equal(x.grad.numpy(), 0)


@pytest.mark.parametrize("shape", [(0, 3), (0, 3, 2, 2), (2, 3, 0, 2)])
@pytest.mark.parametrize("rung", RUNGS)
def test_an_empty_batch_changes_nothing(rung, shape):
    x, w, b = nc.zeros(*shape, requires_grad=True), nc.ones(3, requires_grad=True), nc.zeros(3)
    mean, var = nc.zeros(3), nc.ones(3)
    with nc.use(rung):
        y = F.batch_norm(x, mean, var, w, b, training=True)
        y.sum().backward()
    assert y.shape == x.grad.shape == shape
    assert (mean.tolist(), var.tolist(), w.grad.tolist()) == ([0.0] * 3, [1.0] * 3, [0.0] * 3)


@pytest.mark.parametrize("shape", [(1, 3), (1, 3, 1), (1, 3, 1, 1)])
def test_one_value_per_channel_has_no_variance(shape):
    with pytest.raises(ValueError, match="one value per channel"):
        F.batch_norm(nc.ones(*shape), None, None, training=True)
    assert F.batch_norm(nc.ones(*shape), nc.zeros(3), nc.ones(3)).shape == shape


def test_evaluation_without_statistics():
    with pytest.raises(ValueError, match="running_mean and running_var are needed"):
        F.batch_norm(nc.ones(2, 3), None, nc.ones(3))
