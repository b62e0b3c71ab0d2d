"""Pooling layers: PyTorch's results, names and representation; and what only nanoconv has."""

import numpy as np
import pytest
from harness import torch

import nanoconv as nc
from nanoconv import nn

EPS = float(np.finfo(np.float32).eps)
IMAGE, SIGNAL = (2, 4, 7, 6), (2, 4, 9)

LAYERS = [
    (lambda lib: lib.AdaptiveMaxPool2d(3), IMAGE),
    (lambda lib: lib.AdaptiveMaxPool2d((3, None)), IMAGE[1:]),
    (lambda lib: lib.AdaptiveMaxPool2d(2, return_indices=True), IMAGE),
    (lambda lib: lib.LPPool2d(2, 3), IMAGE),
    (lambda lib: lib.LPPool2d(2.0, (3, 2), stride=(2, 1), ceil_mode=True), IMAGE[1:]),
    (lambda lib: lib.LPPool2d(float("inf"), 2), IMAGE),
    (lambda lib: lib.MaxPool1d(2), SIGNAL),
    (lambda lib: lib.MaxPool1d(3, 2, 1, 2, True, True), SIGNAL[1:]),
    (lambda lib: lib.AvgPool1d(2), SIGNAL),
    (lambda lib: lib.AvgPool1d(3, 2, 1, True, False), SIGNAL[1:]),
    (lambda lib: lib.AvgPool1d((2,), (1,), (1,)), SIGNAL),
    (lambda lib: lib.AdaptiveAvgPool1d(4), SIGNAL),
    (lambda lib: lib.AdaptiveMaxPool1d(4), SIGNAL[1:]),
    (lambda lib: lib.AdaptiveMaxPool1d((3,), True), SIGNAL),
]


@pytest.mark.parametrize(("make", "shape"), LAYERS, ids=[repr(m(torch.nn)) for m, _ in LAYERS])
def test_layers_equal_pytorch(make, shape):
    x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    results = []
    for lib, library in ((nn, nc), (torch.nn, torch)):
        layer, t = make(lib), library.tensor(x)
        t.requires_grad = True
        found = layer(t)
        y, *index = found if isinstance(found, tuple) else (found,)
        y.sum().backward()
        results.append([y.detach().numpy(), t.grad.numpy(), *(k.numpy() for k in index)])
        results[-1].append(np.array([repr(layer), *layer.state_dict()]))
    for ours, theirs in zip(*results, strict=True):
        if theirs.dtype.kind == "f":
            np.testing.assert_allclose(ours, theirs, 64 * EPS, 64 * EPS)
        else:
            np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("args", [(2,), (3, 2, 1), ((3, 2), (2, 1), (1, 0))])
def test_max_unpool_layer_equals_pytorch(args):
    x = np.random.default_rng(0).standard_normal(IMAGE).astype(np.float32)
    results = []
    for lib, library in ((nn, nc), (torch.nn, torch)):
        pool, unpool = lib.MaxPool2d(*args, return_indices=True), lib.MaxUnpool2d(*args)
        y, index = pool(library.tensor(x))
        results.append((repr(unpool), unpool(y, index, output_size=x.shape).tolist()))
    assert results[0] == results[1]


def test_learnable_pooling_learns_where_to_look():
    """The target is one pixel of each window: its weight grows until it is all of the mean."""
    nc.manual_seed(0)
    layer = nn.LearnablePool2d(2)
    assert list(layer.state_dict()) == ["weight"]
    optimiser = nc.optim.SGD(layer.parameters(), lr=4.0)
    x = nc.randn(8, 3, 8, 8)
    wanted = x[:, :, 1::2, 0::2]
    first = float(((nc.functional.avg_pool2d(x, 2) - wanted) ** 2).mean().item())
    for _ in range(200):
        optimiser.zero_grad()
        loss = ((layer(x) - wanted) ** 2).mean()
        loss.backward()
        optimiser.step()
    assert loss.item() < first / 100
    shares = nc.functional.softmax(layer.weight.reshape(1, 4), 1).detach().numpy()[0]
    assert shares.argmax() == 2
    layer.reset_parameters()
    assert not layer.weight.detach().numpy().any()


def test_learnable_pooling_with_a_window_for_each_channel():
    layer = nn.LearnablePool2d((2, 3), channels=4, stride=1, padding=1)
    assert layer.weight.shape == (4, 1, 2, 3)
    x = np.random.default_rng(0).standard_normal(IMAGE).astype(np.float32)
    expected = torch.nn.AvgPool2d((2, 3), 1, 1)(torch.tensor(x)).numpy()
    np.testing.assert_allclose(layer(nc.tensor(x)).detach().numpy(), expected, 0, 16 * EPS)
    assert repr(layer) == (
        "LearnablePool2d(kernel_size=(2, 3), channels=4, stride=(1, 1), padding=(1, 1))"
    )


def test_spatial_pyramid_layer():
    layer = nn.SpatialPyramidPool2d([1, 3], "avg")
    assert repr(layer) == "SpatialPyramidPool2d(levels=(1, 3), mode='avg')"
    x = nc.tensor(np.random.default_rng(0).standard_normal(IMAGE).astype(np.float32))
    y = layer(x).numpy()
    assert y.shape == (2, 40)
    np.testing.assert_array_equal(y[:, :4], nc.functional.global_avg_pool2d(x).numpy()[..., 0, 0])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: nn.LPPool2d(0, 2), "LPPool2d: norm_type=0"),
        (lambda: nn.LPPool2d(2, 0), "LPPool2d: kernel_size=0"),
        (lambda: nn.LPPool2d(2, 2, -1), "LPPool2d: stride=-1"),
        (lambda: nn.MaxUnpool2d(2, 0), "MaxUnpool2d: stride=0"),
        (lambda: nn.LearnablePool2d(0), "LearnablePool2d: kernel_size=0"),
        (lambda: nn.LearnablePool2d(2, 0), "LearnablePool2d: channels=0"),
        (lambda: nn.SpatialPyramidPool2d(0), "SpatialPyramidPool2d: levels=0"),
        (lambda: nn.SpatialPyramidPool2d(mode="min"), "SpatialPyramidPool2d: mode='min'"),
        (lambda: nn.MaxPool1d((1, 2)), r"MaxPool1d: kernel_size=\(1, 2\)"),
        (lambda: nn.AvgPool1d(2, padding=-1), "AvgPool1d: padding=-1"),
        (lambda: nn.AdaptiveAvgPool1d(-1), "AdaptiveAvgPool1d: output_size=-1"),
        (lambda: nn.AdaptiveMaxPool1d(1.5), r"AdaptiveMaxPool1d: output_size=1\.5"),
    ],
)
def test_arguments_out_of_range(make, message):
    with pytest.raises(ValueError, match=message):
        make()
