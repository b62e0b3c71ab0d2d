"""Initialisers: the whole distribution is tested, not only its mean and variance.

The largest distance between the distribution function F and that of n draws exceeds d with
probability at most 2·exp(−2·n·d²) (Dvoretzky-Kiefer-Wolfowitz); d is chosen for 10⁻⁹.
"""

import inspect
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


# --------------------------------------------------------------------------- truncated normal


def truncated_cdf(mean, std, a, b):
    """The distribution function, from the tail that the interval lies in: no digits cancel."""
    side = 1 if (a + b) / 2 >= mean else -1
    beyond = np.vectorize(lambda x: math.erfc(side * (x - mean) / (std * math.sqrt(2))))
    first, last = beyond(a), beyond(b)
    return lambda x: (beyond(x) - first) / (last - first)


TRUNCATED = {
    "default": (0.0, 1.0, -2.0, 2.0),
    "of a transformer": (0.0, 0.02, -2.0, 2.0),
    "one side": (1.0, 2.0, 0.0, 100.0),
    "narrow": (0.0, 1.0, -0.1, 0.2),
    "narrow, off the peak": (0.0, 1.0, 0.5, 0.6),
    "the upper tail": (0.0, 1.0, 2.0, 3.0),
    "the lower tail": (0.0, 1.0, -9.0, -3.0),
    "far away": (0.0, 1.0, 8.0, 1000.0),
    "shifted tail": (-1.0, 0.5, 1.0, 2.0),
}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("mean", "std", "a", "b"), TRUNCATED.values(), ids=TRUNCATED.keys())
def test_truncated_normal(mean, std, a, b, dtype):
    nc.manual_seed(0)
    ours = nc.tensor(np.full(SHAPE, np.nan, dtype))
    assert init.trunc_normal_(ours, mean, std, a, b) is ours
    values = ours.numpy()
    assert dtype(a) <= values.min() <= values.max() <= dtype(b)
    assert_drawn_from(values, truncated_cdf(mean, std, a, b))


@pytest.mark.parametrize("name", ["default", "narrow", "one side"])
def test_pytorchs_truncated_normal_passes_the_same_test(name):
    torch.manual_seed(0)
    theirs = torch.nn.init.trunc_normal_(torch.empty(SHAPE, dtype=torch.float64), *TRUNCATED[name])
    assert_drawn_from(theirs.numpy(), truncated_cdf(*TRUNCATED[name]))


def test_truncated_normal_without_bounds_or_width():
    nc.manual_seed(0)
    t = nc.tensor(np.zeros(SHAPE, np.float64))
    init.trunc_normal_(t, 1, 2, -math.inf, math.inf)
    assert_drawn_from(t.numpy(), normal_cdf(2, 1))
    init.trunc_normal_(t, 0, 1, 6, math.inf)
    assert t.numpy().min() >= 6
    assert init.trunc_normal_(nc.tensor([0.0, 0.0]), 0, 1, 3, 3).tolist() == [3, 3]
    assert init.trunc_normal_(nc.tensor(np.empty((0, 2)))).shape == (0, 2)


# --------------------------------------------------------------------------- matrices


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    "shape", [(5, 5), (3, 7), (7, 3), (1, 4), (4, 1), (6, 2, 3, 3), (40, 2, 3, 3), (2, 3, 4)]
)
def test_orthogonal(shape, dtype):
    t = nc.tensor(np.full(shape, np.nan, dtype))
    assert init.orthogonal_(t, gain=3) is t
    matrix = t.numpy().reshape(shape[0], -1).astype(np.float64)
    if matrix.shape[0] > matrix.shape[1]:
        matrix = matrix.T
    assert np.abs(matrix @ matrix.T - 9 * np.eye(len(matrix))).max() <= 200 * np.finfo(dtype).eps


def test_orthogonal_prefers_no_direction():
    nc.manual_seed(0)
    angles = []
    for _ in range(4000):
        x, y = init.orthogonal_(nc.tensor(np.empty((2, 2)))).numpy()[0]
        angles.append(math.atan2(y, x))
    assert_drawn_from(angles, uniform_cdf(-math.pi, math.pi))
    assert init.orthogonal_(nc.tensor(np.empty((0, 2)))).shape == (0, 2)


@pytest.mark.parametrize("shape", [(3, 3), (2, 5), (4, 1), (0, 2)])
def test_eye_equals_pytorch(shape):
    ours, theirs = nc.tensor(np.full(shape, np.nan, np.float32)), torch.empty(shape)
    assert init.eye_(ours).tolist() == torch.nn.init.eye_(theirs).tolist()


@pytest.mark.parametrize("groups", [1, 2, 3])
@pytest.mark.parametrize("shape", [(6, 2, 3), (6, 4, 3, 3), (6, 1, 1, 4), (12, 3, 2, 3, 3)])
def test_dirac_equals_pytorch(shape, groups):
    ours, theirs = nc.tensor(np.full(shape, np.nan, np.float32)), torch.empty(shape)
    assert init.dirac_(ours, groups).tolist() == torch.nn.init.dirac_(theirs, groups).tolist()


def test_dirac_copies_the_input():
    x = nc.tensor(np.random.default_rng(0).normal(size=(2, 6, 5, 5)).astype(np.float32))
    for groups in (1, 2, 3):
        layer = nn.Conv2d(6, 6, 3, padding=1, groups=groups, bias=False)
        init.dirac_(layer.weight, groups)
        assert np.array_equal(layer(x).detach().numpy(), x.numpy())


@pytest.mark.parametrize("sparsity", [0, 0.1, 0.25, 1])
def test_sparse_has_as_many_zeros_as_in_pytorch(sparsity):
    nc.manual_seed(0)
    torch.manual_seed(0)
    ours = init.sparse_(nc.tensor(np.full((30, 500), np.nan)), sparsity, std=2).numpy()
    theirs = torch.nn.init.sparse_(torch.empty(30, 500), sparsity).numpy()
    assert ((ours == 0).sum(0) == (theirs == 0).sum(0)).all()
    if sparsity < 1:
        assert_drawn_from(ours[ours != 0], normal_cdf(2))
    if 0 < sparsity < 1:
        assert len(np.unique((ours == 0).sum(1))) > 1  # other rows in every column


LINEAR = ["linear", "conv1d", "conv2d", "conv3d"]
LINEAR += ["conv_transpose1d", "conv_transpose2d", "conv_transpose3d"]


@pytest.mark.parametrize("name", [*LINEAR, "sigmoid", "tanh", "relu", "selu"])
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


def test_the_mode_may_be_in_capitals():
    nc.manual_seed(0)
    t = init.kaiming_normal_(nc.tensor(np.empty(SHAPE, np.float32)), mode="FAN_OUT")
    assert_drawn_from(t.numpy(), normal_cdf(math.sqrt(2 / FAN_OUT)))


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
        (lambda t: init.kaiming_normal_(t, a=True), "param=True must be a number, the slope"),
        (lambda t: init.trunc_normal_(t, std=0), "std=0 must be positive"),
        (lambda t: init.trunc_normal_(t, a=2, b=1), "a=2 must not be greater than b=1"),
        (lambda t: init.orthogonal_(t[0]), r"orthogonal_: tensor has shape \[3\], expected 2 or"),
        (lambda t: init.eye_(t[0]), r"eye_: tensor has shape \[3\], expected 2 axes"),
        (lambda t: init.sparse_(t[0], 0.1), r"sparse_: tensor has shape \[3\], expected 2 axes"),
        (lambda t: init.sparse_(t, 1.5), "sparsity=1.5 must be from 0 to 1"),
        (lambda t: init.dirac_(t), r"dirac_: tensor has shape \[2, 3\], expected 3 or 4 or 5"),
        (lambda t: init.dirac_(t.reshape(2, 3, 1), 3), "groups=3 must divide the 2 output"),
        (lambda t: init.dirac_(t.reshape(2, 3, 1), 0), "groups=0 must divide the 2 output"),
        (lambda t: init.xavier_normal_(t[0]), r"xavier_normal_: shape \(3,\) has no fan"),
    ],
)
def test_mistakes_change_nothing(call, message):
    t = nc.tensor(np.zeros((2, 3), np.float32))
    with pytest.raises(ValueError, match=message):
        call(t)
    assert not t.numpy().any()


def test_integers_cannot_be_initialised():
    with pytest.raises(TypeError, match="zeros_: tensor is int64, expected float32 or float64"):
        init.zeros_(nc.tensor([1, 2]))


@pytest.mark.parametrize(
    "name",
    [
        *("uniform_", "normal_", "trunc_normal_", "zeros_", "ones_", "eye_", "dirac_"),
        *("orthogonal_", "xavier_uniform_", "xavier_normal_", "kaiming_uniform_"),
        "kaiming_normal_",
    ],
)
def test_only_tensors_can_be_initialised(name):
    with pytest.raises(TypeError, match=f"^{name}: tensor must be a nanoconv Tensor, got ndarray"):
        getattr(init, name)(np.zeros((2, 2), np.float32))


@pytest.mark.parametrize("name", ["constant_", "sparse_"])
def test_only_tensors_can_be_initialised_with_a_number(name):
    with pytest.raises(TypeError, match=f"^{name}: tensor must be a nanoconv Tensor, got ndarray"):
        getattr(init, name)(np.zeros((2, 2), np.float32), 0.5)


RANDOM = {
    "uniform_": (), "normal_": (), "trunc_normal_": (), "orthogonal_": (), "sparse_": (0.5,),
    "xavier_uniform_": (), "xavier_normal_": (), "kaiming_uniform_": (), "kaiming_normal_": (),
}  # fmt: skip


@pytest.mark.parametrize("name", RANDOM)
def test_a_generator_of_its_own(name):
    """It decides all numbers, and that of manual_seed goes on as if nothing had been drawn."""
    nc.manual_seed(3)
    expected = nc.rand(4).tolist()
    function, args = getattr(init, name), RANDOM[name]
    nc.manual_seed(3)
    first, again, other = (
        function(nc.zeros(6, 5), *args, generator=np.random.default_rng(seed)).tolist()
        for seed in (7, 7, 8)
    )
    assert first == again
    assert first != other
    assert nc.rand(4).tolist() == expected
    nc.manual_seed(7)
    assert function(nc.zeros(6, 5), *args).tolist() == first  # the same kind of generator
    with pytest.raises(TypeError, match=f"{name}: generator must be a numpy.random.Generator"):
        function(nc.zeros(6, 5), *args, generator=torch.Generator())


def test_names_and_arguments_are_pytorchs():
    for name in (n for n in dir(torch.nn.init) if n.endswith("_") and not n.startswith("_")):
        ours, theirs = (
            [(p.name, p.default) for p in inspect.signature(f).parameters.values()]
            for f in (getattr(init, name), getattr(torch.nn.init, name))
        )
        assert ours == theirs, name


@pytest.mark.parametrize("name", [n for n in dir(init) if n.endswith("_") and n[0] != "_"])
def test_integers_are_refused(name):
    args = {"constant_": (1,), "sparse_": (0.5,)}.get(name, ())
    x = nc.zeros(3, 3, 3, dtype="int64") if name == "dirac_" else nc.zeros(3, 3, dtype="int64")
    with pytest.raises(TypeError, match=f"{name}: tensor is int64, expected float32 or float64"):
        getattr(init, name)(x, *args)
    assert not x.numpy().any()
