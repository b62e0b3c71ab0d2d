"""Initialisers: the whole distribution is tested, not only its mean and variance.

The largest distance between the distribution function F and that of n draws exceeds d with
probability at most 2·exp(−2·n·d²) (Dvoretzky-Kiefer-Wolfowitz); d is chosen for 10⁻⁹.
"""

import math

import numpy as np
import pytest

import nanoconv as nc
from nanoconv import nn
from nanoconv.nn import init

torch = pytest.importorskip("torch")
torch.set_num_threads(1)

SHAPE = (40, 50, 3, 2)
FAN_IN, FAN_OUT = 50 * 6, 40 * 6


def assert_drawn_from(values, cdf):
    values = np.sort(np.asarray(values, np.float64).ravel())
    n = values.size
    distance = np.abs(cdf(values) - (np.arange(n) + 0.5) / n).max()
    assert distance <= math.sqrt(math.log(2e9) / (2 * n)) + 0.5 / n


def uniform_cdf(low, high):
    return lambda x: np.clip((x - low) / (high - low), 0, 1)


def normal_cdf(std, mean=0.0):
    erf = np.vectorize(math.erf)
    return lambda x: (1 + erf((x - mean) / (std * math.sqrt(2)))) / 2


UNIFORM = {
    "uniform_": ((-2.0, 3.0), (-2, 3)),
    "xavier_uniform_": ((), math.sqrt(6 / (FAN_IN + FAN_OUT))),
    "kaiming_uniform_": ((), math.sqrt(6 / FAN_IN)),
}
NORMAL = {
    "normal_": ((1.0, 2.0), (2.0, 1.0)),
    "xavier_normal_": ((3.0,), (3 * math.sqrt(2 / (FAN_IN + FAN_OUT)),)),
    "kaiming_normal_": ((0, "fan_out", "relu"), (math.sqrt(2 / FAN_OUT),)),
}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", [*UNIFORM, *NORMAL])
def test_distributions(name, dtype):
    nc.manual_seed(0)
    torch.manual_seed(0)
    args, expected = {**UNIFORM, **NORMAL}[name]
    if name in UNIFORM:
        low, high = expected if isinstance(expected, tuple) else (-expected, expected)
        cdf = uniform_cdf(low, high)
    else:
        cdf = normal_cdf(*expected)
    ours = nc.tensor(np.full(SHAPE, np.nan, dtype))
    assert getattr(init, name)(ours, *args) is ours
    theirs = getattr(torch.nn.init, name)(torch.empty(SHAPE, dtype=torch.float64), *args)
    assert ours.dtype == dtype
    assert_drawn_from(theirs.numpy(), cdf)
    assert_drawn_from(ours.numpy(), cdf)
    if name in UNIFORM:
        assert low <= ours.numpy().min()
        assert ours.numpy().max() <= np.nextafter(dtype(high), dtype(np.inf))


def test_a_wrong_distribution_is_noticed():
    draws = np.random.default_rng(0).uniform(-1, 1, SHAPE)
    assert_drawn_from(draws, uniform_cdf(-1, 1))
    for wrong in (uniform_cdf(-1.1, 1.1), uniform_cdf(-1, 1.2), normal_cdf(math.sqrt(1 / 3))):
        with pytest.raises(AssertionError):
            assert_drawn_from(draws, wrong)


def test_constants():
    t = nc.tensor(np.full((2, 2), np.nan, np.float32))
    assert init.zeros_(t).tolist() == [[0, 0], [0, 0]]
    assert init.ones_(t).tolist() == [[1, 1], [1, 1]]
    assert init.constant_(t, 0.5).tolist() == [[0.5, 0.5], [0.5, 0.5]]


@pytest.mark.parametrize("name", ["linear", "conv2d", "sigmoid", "tanh", "relu", "selu"])
def test_gains(name):
    assert init.calculate_gain(name) == torch.nn.init.calculate_gain(name)


@pytest.mark.parametrize("slope", [None, 0, 0.3, math.sqrt(5)])
def test_gain_of_leaky_relu(slope):
    expected = torch.nn.init.calculate_gain("leaky_relu", slope)
    assert init.calculate_gain("leaky_relu", slope) == expected


@pytest.mark.parametrize("shape", [(3, 4), (6, 2, 5), (8, 3, 3, 2), (4, 0)])
def test_fans(shape):
    expected = torch.nn.init._calculate_fan_in_and_fan_out(torch.empty(shape))
    assert init.calculate_fans(nc.tensor(np.empty(shape, np.float32))) == expected


@pytest.mark.parametrize("name", ["kaiming_uniform_", "xavier_normal_"])
def test_empty_weights_stay_empty(name):
    assert getattr(init, name)(nc.tensor(np.empty((4, 0), np.float32))).shape == (4, 0)


# --------------------------------------------------------------------------- layers


LAYERS = {
    "Conv2d": lambda lib: lib.Conv2d(8, 600, 3),
    "grouped": lambda lib: lib.Conv2d(8, 600, (3, 1), groups=4),
    "Linear": lambda lib: lib.Linear(30, 700),
}


@pytest.mark.parametrize("make", LAYERS.values(), ids=LAYERS.keys())
def test_layers_start_as_in_pytorch(make):
    nc.manual_seed(1)
    torch.manual_seed(1)
    ours, theirs = make(nn), make(torch.nn)
    bound = 1 / math.sqrt(math.prod(ours.weight.shape[1:]))
    for layer in (ours, theirs):
        for p in (layer.weight, layer.bias):
            assert_drawn_from(p.detach().numpy(), uniform_cdf(-bound, bound))


def test_depthwise_starts_as_its_conv2d():
    nc.manual_seed(1)
    layer = nn.DepthwiseConv2d(500, 3, multiplier=2)
    assert_drawn_from(layer.weight.detach().numpy(), uniform_cdf(-1 / 3, 1 / 3))
    assert_drawn_from(layer.bias.detach().numpy(), uniform_cdf(-1 / 3, 1 / 3))


def test_the_seed_decides():
    def bits(seed):
        nc.manual_seed(seed)
        net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Linear(5, 6))
        return [array.tobytes() for array in net.state_dict().values()]

    assert bits(3) == bits(3)
    assert bits(3) != bits(4)


def test_parameters_are_filled_without_a_trace():
    p = nn.Parameter(np.zeros((3, 3), np.float32))
    init.xavier_uniform_(p)
    assert p.requires_grad
    assert p.is_leaf
    assert not p._storage.escaped


# --------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda t: init.uniform_(t, 2, 1), "a=2 must not be greater than b=1"),
        (lambda t: init.normal_(t, 0, -1), "std=-1 must not be negative"),
        (lambda t: init.kaiming_normal_(t, mode="fan"), "mode='fan' must be 'fan_in' or 'fan_out'"),
        (lambda t: init.kaiming_normal_(t, nonlinearity="?"), "nonlinearity='.' must be one of"),
        (lambda t: init.xavier_normal_(t[0]), r"shape \(3,\) has no fan"),
    ],
)
def test_mistakes_change_nothing(call, message):
    t = nc.tensor(np.zeros((2, 3), np.float32))
    with pytest.raises(ValueError, match=message):
        call(t)
    assert not t.numpy().any()


def test_integers_cannot_be_initialised():
    with pytest.raises(TypeError, match="expected a float32 or float64 tensor, got int64"):
        init.zeros_(nc.tensor([1, 2]))
