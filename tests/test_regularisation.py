"""Regularisation: what is dropped together, how often, and what stays the same on average."""

import numpy as np
import pytest
from harness import torch

import nanoconv as nc
from nanoconv import nn

F = nc.functional
EPS = float(np.finfo(np.float32).eps)


def standard_deviations(count, n, p):
    """How far a binomial count is from its mean, in units of its standard deviation."""
    return abs(count - n * p) / np.sqrt(n * p * (1 - p))


# --------------------------------------------------------------------------- whole channels


@pytest.mark.parametrize(
    ("name", "shape", "axes"),
    [
        ("dropout1d", (50, 40, 3), 2),
        ("dropout1d", (2000, 3), 1),
        ("dropout2d", (50, 40, 3, 2), 2),
        ("dropout2d", (50, 40, 3), 2),
        ("dropout3d", (50, 40, 1, 3, 2), 2),
        ("dropout3d", (2000, 1, 3, 2), 1),
        ("feature_alpha_dropout", (50, 40, 3, 2), 2),
        ("feature_alpha_dropout", (50, 40), 2),
    ],
)
@pytest.mark.parametrize("p", [0.2, 0.7])
def test_whole_channels(name, shape, axes, p):
    """A channel has one value; 6 standard deviations are exceeded once in 10⁹ seeds."""
    nc.manual_seed(0)
    y = getattr(F, name)(nc.ones(*shape), p, True).numpy().reshape(2000, -1)
    assert (y == y[:, :1]).all()
    values = np.unique(y)
    assert len(values) == 2
    dropped = (y[:, 0] == values[0]).sum()
    assert standard_deviations(dropped, 2000, p) < 6


@pytest.mark.filterwarnings("ignore:dropout2d. Received a 3D input")
def test_whole_channels_in_pytorchs_shapes():
    """Which axes PyTorch takes for channels, seen in what is constant."""
    for name, shape in (
        ("dropout1d", (6, 5)),
        ("dropout1d", (2, 6, 5)),
        ("dropout2d", (2, 6, 5)),
        ("dropout2d", (2, 6, 5, 4)),
        ("dropout3d", (6, 5, 4, 3)),
        ("dropout3d", (2, 6, 5, 4, 3)),
        ("feature_alpha_dropout", (2, 6, 5)),
    ):
        theirs = getattr(torch.nn.functional, name)(torch.ones(shape), 0.5, True).numpy()
        ours = getattr(F, name)(nc.ones(*shape), 0.5, True).numpy()
        for k in range(1, len(shape)):
            alike = [(y == y[(*[slice(None)] * k, slice(1))]).all() for y in (ours, theirs)]
            assert alike[0] == alike[1], (name, shape, k)


# --------------------------------------------------------------------------- alpha dropout


@pytest.mark.parametrize("p", [0.05, 0.3, 0.6])
def test_alpha_dropout_keeps_mean_and_variance(p):
    """Both within 6 standard errors, for which fourth moments of at most 10 are allowed."""
    nc.manual_seed(0)
    n = 200_000
    x = np.random.default_rng(1).standard_normal(n).astype(np.float32)
    y = F.alpha_dropout(nc.tensor(x), p, training=True).numpy().astype(np.float64)
    assert abs(y.mean()) < 6 / np.sqrt(n)
    assert abs(y.var() - 1) < 6 * np.sqrt(10 / n)


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_alpha_dropout_has_pytorchs_two_lines(p):
    """y = a·x + b where x is kept, and one value where it is not."""
    x = np.random.default_rng(0).standard_normal(1000).astype(np.float32)
    lines = []
    for y in (
        F.alpha_dropout(nc.tensor(x), p, training=True).numpy(),
        torch.nn.functional.alpha_dropout(torch.tensor(x), p, training=True).numpy(),
    ):
        values, counts = np.unique(y, return_counts=True)
        dropped = values[counts.argmax()]
        kept = y != dropped
        slope, shift = np.polyfit(x[kept].astype(np.float64), y[kept], 1)
        lines.append((dropped, slope, shift))
    np.testing.assert_allclose(*lines, 64 * EPS, 64 * EPS)


def test_everything_dropped():
    x = np.array([[1.0, 2.0, np.nan, np.inf]], np.float32)
    for name in ("alpha_dropout", "feature_alpha_dropout"):
        t = nc.tensor(x, requires_grad=True)
        y = getattr(F, name)(t, 1.0, True)
        theirs = getattr(torch.nn.functional, name)(torch.tensor(x), 1.0, True)
        np.testing.assert_array_equal(y.detach().numpy(), theirs.numpy())
        y.sum().backward()
        assert not t.grad.numpy().any()
    assert not F.stochastic_depth(nc.ones(3, 2), 1.0, "row").numpy().any()
    assert not F.dropout2d(nc.ones(1, 3, 2, 2), 1.0).numpy().any()


# --------------------------------------------------------------------------- stochastic depth


@pytest.mark.parametrize("p", [0.1, 0.5])
def test_stochastic_depth_of_rows(p):
    nc.manual_seed(0)
    y = F.stochastic_depth(nc.ones(5000, 2, 3), p, "row").numpy().reshape(5000, 6)
    assert (y == y[:, :1]).all()
    assert set(np.unique(y)) == {np.float32(0), np.float32(1 / (1 - p))}
    assert standard_deviations((y[:, 0] == 0).sum(), 5000, p) < 6


def test_stochastic_depth_of_a_batch():
    nc.manual_seed(0)
    layer, x = nn.StochasticDepth(0.3, "batch"), nc.ones(3, 2, 2, 2)
    values = [np.unique(layer(x).numpy()) for _ in range(500)]
    assert {len(v) for v in values} == {1}
    assert standard_deviations(sum(v[0] == 0 for v in values), 500, 0.3) < 6
    assert layer.eval()(x) is x
    assert repr(layer) == "StochasticDepth(p=0.3, mode=batch)"


# --------------------------------------------------------------------------- layers


@pytest.mark.parametrize("name", ["Dropout1d", "Dropout2d", "Dropout3d"])
@pytest.mark.parametrize("p", [0.0, 1.0])
def test_layers_that_drop_nothing_or_all(name, p):
    x = np.ones((2, 3, *[2] * int(name[-2])), np.float32)
    ours, theirs = getattr(nn, name)(p), getattr(torch.nn, name)(p)
    np.testing.assert_array_equal(ours(nc.tensor(x)).numpy(), theirs(torch.tensor(x)).numpy())


@pytest.mark.parametrize(
    "name",
    ["Dropout", "Dropout1d", "Dropout2d", "Dropout3d", "AlphaDropout", "FeatureAlphaDropout"],
)
def test_layers(name):
    layer = getattr(nn, name)(0.25, True)
    assert repr(layer) == repr(getattr(torch.nn, name)(0.25, True))
    assert repr(getattr(nn, name)()) == repr(getattr(torch.nn, name)())
    x = nc.ones(40, 30, *[1] * {"Dropout1d": 1, "Dropout3d": 3}.get(name, 2))
    nc.manual_seed(3)
    y = layer(x).numpy()
    values, counts = np.unique(y, return_counts=True)
    assert len(values) == 2
    assert standard_deviations(counts[0], 1200, 0.25) < 6
    nc.manual_seed(3)
    np.testing.assert_array_equal(layer(x).numpy(), y)
    assert layer.eval()(x) is x


# --------------------------------------------------------------------------- DropConnect


def test_drop_connect_thins_out_the_weights():
    nc.manual_seed(0)
    linear = nn.Linear(100, 50)
    layer = nn.DropConnect(linear, 0.3)
    weight = linear.weight.detach().numpy().copy()
    x = nc.tensor(np.eye(100, dtype=np.float32))
    used = (layer(x) - linear.bias).detach().numpy().T  # x = 1 shows the weights
    dropped = np.abs(used) < 1e-6
    assert standard_deviations(dropped.sum(), 5000, 0.3) < 6
    np.testing.assert_allclose(used[~dropped], weight[~dropped] / 0.7, 1e-4, 1e-6)
    np.testing.assert_array_equal(linear.weight.detach().numpy(), weight)
    assert not np.array_equal(layer(x).detach().numpy(), layer(x).detach().numpy())
    np.testing.assert_array_equal(layer.eval()(x).detach().numpy(), linear(x).detach().numpy())


def test_drop_connect_gives_on_average_what_the_layer_gives():
    nc.manual_seed(0)
    layer = nn.DropConnect(nn.Conv2d(3, 4, 3), 0.5)
    x = nc.randn(1, 3, 6, 6)
    with nc.no_grad():
        runs = np.stack([layer(x).numpy() for _ in range(2000)])
        exact = layer.eval()(x).numpy()
    error = runs.std(0) / np.sqrt(len(runs))
    assert (np.abs(runs.mean(0) - exact) < 6 * error).all()


def test_drop_connect_sends_gradients_to_the_weights_that_were_used():
    nc.manual_seed(0)
    layer = nn.DropConnect(nn.Linear(20, 10), 0.5, names=("weight", "bias"))
    y = layer(nc.ones(1, 20))
    y.sum().backward()
    for parameter in layer.parameters():
        assert set(np.unique(parameter.grad.numpy())) == {np.float32(0), np.float32(2)}
    kept = layer.layer.weight.grad.numpy() / 2, layer.layer.bias.grad.numpy() / 2
    weight, bias = (p.detach().numpy() for p in layer.parameters())
    expected = 2 * ((weight * kept[0]).sum(1) + bias * kept[1])
    np.testing.assert_allclose(y.detach().numpy()[0], expected, 1e-5, 1e-5)


@pytest.mark.parametrize(
    ("make", "shape"),
    [
        (lambda: nn.Conv2d(4, 6, 3, groups=2), (2, 4, 5, 5)),
        (lambda: nn.DepthwiseConv2d(4, 3, bias=False), (2, 4, 5, 5)),
        (lambda: nn.Linear(5, 3).double(), (2, 5)),
    ],
)
def test_drop_connect_of_any_layer_trains_and_saves(make, shape):
    nc.manual_seed(0)
    inner = make()
    layer = nn.DropConnect(inner, 0.5)
    assert list(layer.state_dict()) == [f"layer.{name}" for name in inner.state_dict()]
    layer.load_state_dict({name: 0 * value + 1 for name, value in layer.state_dict().items()})
    assert (inner.weight.detach().numpy() == 1).all()
    x = nc.tensor(np.ones(shape, inner.weight.dtype))
    layer(x).sum().backward()
    assert isinstance(inner.weight, nn.Parameter)
    assert inner.weight.grad.shape == inner.weight.shape
    calls = []
    with inner.register_forward_hook(lambda module, args, y: calls.append(type(module))):
        layer(x)
    assert calls == [type(inner)]


# --------------------------------------------------------------------------- errors

OPS = {
    "dropout1d": (2, 3),
    "dropout2d": (2, 3, 4, 4),
    "dropout3d": (2, 3, 4, 4, 4),
    "alpha_dropout": (2,),
    "feature_alpha_dropout": (2, 3),
}


@pytest.mark.parametrize("name", OPS)
@pytest.mark.parametrize("training", [False, True])
def test_no_probability(name, training):
    for p in (-0.1, 1.5, np.nan, "half", None):
        with pytest.raises(ValueError, match=f"{name}: p=.*, expected a probability from 0 to 1"):
            getattr(F, name)(nc.ones(*OPS[name]), p, training)
    with pytest.raises(TypeError, match=f"{name}: input is int64"):
        getattr(F, name)(nc.ones(*OPS[name]).long(), 0.5, training)


@pytest.mark.parametrize(
    ("error", "call", "message"),
    [
        (
            ValueError,
            lambda: F.dropout1d(nc.ones(2)),
            r"dropout1d: input has shape \[2\], expected",
        ),
        (ValueError, lambda: F.dropout2d(nc.ones(2, 3)), "dropout2d: .* expected 3 or 4 axes"),
        (ValueError, lambda: F.dropout3d(nc.ones(2, 3)), "dropout3d: .* expected 4 or 5 axes"),
        (ValueError, lambda: F.feature_alpha_dropout(nc.ones(2)), "expected 2 axes or more"),
        (ValueError, lambda: F.stochastic_depth(nc.ones(2), 2, "row"), "stochastic_depth: p=2"),
        (ValueError, lambda: F.stochastic_depth(nc.ones(2), 0, "all"), "mode='all', expected"),
        (ValueError, lambda: F.stochastic_depth(nc.tensor(1.0), 0.5, "row"), "got a scalar"),
        (TypeError, lambda: F.stochastic_depth([1.0], 0.5, "row"), "must be a nanoconv Tensor"),
        (ValueError, lambda: nn.StochasticDepth(0.5, "some"), "StochasticDepth: mode='some'"),
        (ValueError, lambda: nn.StochasticDepth(-1, "row"), "StochasticDepth: p=-1"),
        (ValueError, lambda: nn.AlphaDropout(2), "AlphaDropout: p=2"),
        (ValueError, lambda: nn.DropConnect(nn.Linear(1, 1), 2), "DropConnect: p=2"),
        (TypeError, lambda: nn.DropConnect(F.relu), "layer must be a Module, got function"),
        (ValueError, lambda: nn.DropConnect(nn.ReLU()), r"names has 'weight', .* ReLU, .* \[\]"),
        (
            ValueError,
            lambda: nn.DropConnect(nn.Linear(1, 1, bias=False), names=("weight", "bias")),
            r"names has 'bias', expected parameters of Linear, which are \['weight'\]",
        ),
    ],
)
def test_errors(error, call, message):
    with pytest.raises(error, match=message):
        call()
