"""What PyTorch does at the edges: ties, NaN, nothing to reduce, batches of nothing, huge sizes."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from elementary import same_as_torch
from harness import torch

import nanoconv as nc

# --------------------------------------------------------------------------- ties and odd values

TRIPLES = np.array(list(itertools.product((0.0, 1.0, -1.0, np.inf, -np.inf, np.nan), repeat=3))).T

EXTREMES = {
    "amax": lambda x: x.amax(0),
    "amin": lambda x: x.amin(0),
    "amax.keepdim": lambda x: x.amax((0, 1), keepdim=True),
    "max": lambda x: x.max(0)[0],
    "min": lambda x: x.min(0)[0],
    "sort": lambda x: x.sort(0)[0],
    "topk": lambda x: x.topk(3, 0)[0],  # of all three: which of equals are taken is open
    "cumsum": lambda x: x.cumsum(0),
    "prod": lambda x: x.prod(0),
}


@pytest.mark.parametrize("function", EXTREMES.values(), ids=EXTREMES)
def test_every_triple(function):
    """Which of equal or NaN elements has the gradient is visible: weights tell them apart."""
    rows = TRIPLES if function is not EXTREMES["amax.keepdim"] else TRIPLES[:, :1]
    same_as_torch(lambda x: function(x) * 3, rows)


def test_running_products_of_extremes():
    """Forward alone: beside a 0, NaN and infinity have other gradients than in PyTorch."""
    huge = np.array([[1e30, 1e30, 1e-30], [1e-30, 1e-30, 1e30]], np.float32).T
    for values in (TRIPLES, huge):
        expected = torch.tensor(values).cumprod(0).numpy()
        np.testing.assert_array_equal(nc.tensor(values).cumprod(0).numpy(), expected)


@pytest.mark.parametrize("name", ["max", "min", "amax", "amin"])
def test_one_gradient_for_all(name):
    """Evenly among equals; NaNs share it in max(), and amax() gives every element NaN."""
    for values in itertools.product((1.0, 2.0, np.nan), repeat=3):
        same_as_torch(lambda x: getattr(x, name)(), values)


@pytest.mark.parametrize("name", ["argmax", "argmin"])
def test_first_of_equals(name):
    ours, theirs = nc.tensor(TRIPLES), torch.tensor(TRIPLES)
    assert getattr(ours, name)(0).tolist() == getattr(theirs, name)(0).tolist()


SPECIAL = np.array([0.0, -0.0, 1.0, -1.0, 7.0, np.inf, -np.inf, np.nan])
ELEMENTWISE = {
    "relu": lambda x: (nc if isinstance(x, nc.Tensor) else torch.nn).functional.relu(x),
    "clamp": lambda x: x.clamp(-1, 1),
    "clamp.min": lambda x: x.clamp(min=0),
    "clamp.max": lambda x: x.clamp(max=np.inf),
    "clamp.crossed": lambda x: x.clamp(1, -1),
    "clamp.nan": lambda x: x.clamp(min=np.nan),
    "clamp.both nan": lambda x: x.clamp(0.0, np.nan),
    "abs": lambda x: x.abs(),
    "maximum": lambda x: x.maximum(x * 0 + 1),
    "minimum": lambda x: x.minimum(x * 0 + 1),
    "sqrt": lambda x: x.sqrt(),
    "log": lambda x: x.log(),
}


@pytest.mark.parametrize("function", ELEMENTWISE.values(), ids=ELEMENTWISE)
def test_odd_values_one_by_one(function):
    same_as_torch(function, SPECIAL)


@pytest.mark.parametrize("name", ["clamp", "maximum", "minimum"])
def test_odd_values_against_each_other(name):
    a, b = (grid.reshape(-1) for grid in np.meshgrid(SPECIAL, SPECIAL))
    same_as_torch(lambda x, y: getattr(x, name)(y), a, b)


# --------------------------------------------------------------------------- nothing

EMPTY = [(0,), (0, 3), (3, 0), (2, 0, 3)]
REDUCTIONS = {
    "sum": True, "mean": True, "prod": True, "var": True, "logsumexp": True, "max": False,
    "min": False, "amax": False, "amin": False, "argmax": False, "argmin": False,
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:var:UserWarning")
@pytest.mark.parametrize("shape", EMPTY, ids=str)
@pytest.mark.parametrize("name", REDUCTIONS)
def test_reductions_of_nothing(name, shape):
    """The same result as PyTorch, of the same shape; or an error where it has one."""
    for dim in (*range(-len(shape), len(shape)), None):
        if dim is None and name == "logsumexp":
            continue  # has no such form in PyTorch
        args = () if dim is None else (dim,)
        try:
            expected = getattr(torch.zeros(shape), name)(*args)
        except (RuntimeError, IndexError):
            with pytest.raises(ValueError, match=f"{name}: axis . of shape .* has no elements"):
                getattr(nc.zeros(*shape), name)(*args)
            continue
        ours = getattr(nc.zeros(*shape), name)(*args)
        if isinstance(expected, tuple):
            ours, expected = ours[0], expected[0]
        assert ours.shape == tuple(expected.shape)
        np.testing.assert_array_equal(ours.numpy(), expected.numpy())


@pytest.mark.parametrize("name", [name for name, whole in REDUCTIONS.items() if whole])
def test_gradient_of_reducing_nothing(name):
    for dim in (0, 1):
        x = nc.zeros(2, 0, requires_grad=True)
        y = getattr(x, name)(dim)
        y.backward(np.ones(y.shape, np.float32))
        assert x.grad.shape == (2, 0)


BATCHES = {
    "conv2d": lambda F, x: F.conv2d(x, nc.ones(3, 4, 2, 2)),
    "relu": lambda F, x: F.relu(x),
    "interpolate": lambda F, x: F.interpolate(x, scale_factor=2, mode="bilinear"),
    "interpolate.area": lambda F, x: F.interpolate(x, 3, mode="area"),
    "pixel_shuffle": lambda F, x: F.pixel_shuffle(x, 2),
    "softmax": lambda F, x: F.softmax(x, 1),
    "sort": lambda F, x: x.sort(1)[0],
    "topk": lambda F, x: x.topk(2, 1)[0],
    "cumsum": lambda F, x: x.cumsum(0),
    "prod": lambda F, x: x.prod(1),
    "flip": lambda F, x: x.flip(0, 1),
    "roll": lambda F, x: x.roll((1, 2), (0, 1)),
    "repeat": lambda F, x: x.repeat(2, 1, 1, 2),
    "gather": lambda F, x: x.gather(1, nc.zeros(0, 1, 2, 2, dtype="int64")),
    "einsum": lambda F, x: nc.einsum("nchw,nchw->nc", x, x),
    "tril": lambda F, x: x.tril(),
    "amax": lambda F, x: x.amax((1, 2)),
}


@pytest.mark.parametrize("function", BATCHES.values(), ids=BATCHES)
def test_batches_of_nothing(function):
    x = nc.zeros(0, 4, 6, 6, requires_grad=True)
    y = function(nc.functional, x)
    assert y.shape[0] == 0
    y.sum().backward()
    assert x.grad.shape == x.shape


WEIGHED = {  # with t(*shape) as the weights, or the classes, of which there are none
    "max_pool2d": lambda F, x, t: F.max_pool2d(x, 2),
    "avg_pool2d": lambda F, x, t: F.avg_pool2d(x, 3, 2, 1, ceil_mode=True),
    "adaptive_max_pool2d": lambda F, x, t: F.adaptive_max_pool2d(x, 4),
    "adaptive_avg_pool2d": lambda F, x, t: F.adaptive_avg_pool2d(x, (3, 4)),
    "max_unpool2d": lambda F, x, t: F.max_unpool2d(x, t(0, 4, 6, 6).detach().long(), 2),
    "batch_norm": lambda F, x, t: F.batch_norm(x, t(4).detach(), t(4).detach(), t(4), t(4)),
    "batch_norm.training": lambda F, x, t: F.batch_norm(x, None, None, t(4), t(4), training=True),
    "group_norm": lambda F, x, t: F.group_norm(x, 2, t(4), t(4)),
    "layer_norm": lambda F, x, t: F.layer_norm(x, (6, 6), t(6, 6), t(6, 6)),
    "local_response_norm": lambda F, x, t: F.local_response_norm(x, 3),
    "conv2d": lambda F, x, t: F.conv2d(x, t(3, 4, 2, 2), t(3), 2),
    "conv2d.depthwise": lambda F, x, t: F.conv2d(x, t(4, 1, 3, 3), t(4), groups=4),
    "conv_transpose2d": lambda F, x, t: F.conv_transpose2d(x, t(4, 3, 2, 2), t(3), 2),
    "unfold": lambda F, x, t: F.unfold(x, 2),
    "fold": lambda F, x, t: F.fold(x.reshape(0, 16, 9), 4, 2),
    "pad": lambda F, x, t: F.pad(x, (1, 2, 0, -1), value=3.0),
    "pad.reflect": lambda F, x, t: F.pad(x, (1, 2, 0, 1), "reflect"),
    "pad.circular": lambda F, x, t: F.pad(x, (1, 2, 0, 1), "circular"),
    "interpolate": lambda F, x, t: F.interpolate(x, scale_factor=2, mode="bilinear"),
    "interpolate.nearest": lambda F, x, t: F.interpolate(x, (3, 8)),
    "prelu": lambda F, x, t: F.prelu(x, t(4)),
    "glu": lambda F, x, t: F.glu(x, 1),
    "mse_loss": lambda F, x, t: F.mse_loss(x, t(0, 4, 6, 6)),
    "mse_loss.sum": lambda F, x, t: F.mse_loss(x, t(0, 4, 6, 6), reduction="sum"),
    "huber_loss": lambda F, x, t: F.huber_loss(x, t(0, 4, 6, 6), reduction="none"),
    "binary_cross_entropy": lambda F, x, t: F.binary_cross_entropy(x, t(0, 4, 6, 6).detach()),
    "cross_entropy": lambda F, x, t: F.cross_entropy(x, t(0, 6, 6).detach().long()),
    "cross_entropy.sum": lambda F, x, t: F.cross_entropy(
        x, t(0, 6, 6).detach().long(), t(4).detach(), reduction="sum"
    ),
}  # instance_norm of no image is an error in PyTorch


def of_nothing(library, function):
    """The output for a batch of no images, and the gradients by x and by the weights."""
    leaves = []

    def ones(*shape):
        leaves.append(library.ones(*shape, requires_grad=True))
        return leaves[-1]

    x = ones(0, 4, 6, 6)
    y = function(nc.functional if library is nc else torch.nn.functional, x, ones)
    y.sum().backward()
    return [y.detach().numpy(), *(t.grad.numpy() for t in leaves if t.grad is not None)]


@pytest.mark.parametrize("function", WEIGHED.values(), ids=WEIGHED)
def test_batches_of_nothing_as_in_pytorch(function):
    """Shapes, means over nothing, and weights whose gradient is a sum over nothing."""
    for ours, theirs in zip(of_nothing(nc, function), of_nothing(torch, function), strict=True):
        assert ours.shape == theirs.shape
        np.testing.assert_array_equal(ours, theirs)


# --------------------------------------------------------------------------- huge sizes

HUGE = {
    "reshape": lambda x: x.reshape(2**32, 2**32),
    "view": lambda x: x.view(2**32, 2**32),
    "reshape nothing": lambda x: x[:0].reshape(2**62, 4, 0),
    "reshape by one huge length": lambda x: x[:0].reshape(2**70, 0),
    "expand": lambda x: x[:1].expand(2**40, 2**40),
    "expand nothing": lambda x: x[:1, None][:, :0].expand(2**62, 0),
    "repeat": lambda x: x.repeat(2**62),
    "repeat nothing": lambda x: x[:0].repeat(2**62, 4),
    "tile": lambda x: x.tile((2**35, 2**35)),
    "pixel_shuffle": lambda x: nc.functional.pixel_shuffle(
        nc.zeros(1).expand(1, 4, 2**20, 2**20), 2
    ),
    "interpolate": lambda x: nc.functional.interpolate(nc.zeros(1, 1, 2, 2), (2**21, 2**21)),
    "one_hot": lambda x: nc.functional.one_hot(nc.tensor([2**41])),
    "max_pool2d": lambda x: nc.functional.max_pool2d(x[0].expand(2**30, 2**11, 4, 4), 1),
    "avg_pool1d": lambda x: nc.functional.avg_pool1d(x[0].expand(2**30, 2**11, 4), 1),
    "adaptive_max_pool2d": lambda x: nc.functional.adaptive_max_pool2d(x.reshape(1, 2, 3), 2**30),
    "adaptive_avg_pool2d": lambda x: nc.functional.adaptive_avg_pool2d(x.reshape(1, 2, 3), 2**30),
    "max_unpool2d": lambda x: nc.functional.max_unpool2d(
        x.reshape(1, 1, 2, 3), nc.zeros(1, 1, 2, 3, dtype="int64"), 2, 2**30
    ),
    "conv_transpose2d": lambda x: nc.functional.conv_transpose2d(
        x.reshape(1, 1, 2, 3), nc.ones(1, 1, 2, 2), stride=2**30
    ),
    "conv_transpose2d by dilation": lambda x: nc.functional.conv_transpose2d(
        x.reshape(1, 1, 2, 3), nc.ones(1, 1, 2, 2), dilation=2**30
    ),
    "unfold": lambda x: nc.functional.unfold(x.reshape(1, 1, 2, 3), 2, padding=2**30),
    "pad": lambda x: nc.functional.pad(x.reshape(1, 2, 3), (2**30,) * 4),
    "interpolate by scale": lambda x: nc.functional.interpolate(
        x.reshape(1, 1, 2, 3), scale_factor=1e30
    ),
    "interpolate area": lambda x: nc.functional.interpolate(
        x.reshape(1, 1, 2, 3), 2**30, mode="area"
    ),
}


@pytest.mark.parametrize(("name", "function"), HUGE.items(), ids=HUGE)
def test_huge_sizes_are_refused_before_memory_is_asked_for(name, function):
    message = r"does not fit the 6 elements|larger than memory can be|at most 2\*\*40"
    with pytest.raises(ValueError, match=f"{name.partition(' ')[0]}: .*({message})"):
        function(nc.zeros(6))
