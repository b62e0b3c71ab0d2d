"""Layers: with the same state dict they give what PyTorch's give, forward and backward.

The ops have tests of their own; here a small input per layer shows that every argument arrives.
Two right results differ by at most 2·K·ε·R, with K the number of values that enter the layer and R
the largest result; in float32 as in float64.
"""

import numpy as np
import pytest

import nanoconv as nc
from nanoconv import nn

torch = pytest.importorskip("torch")
torch.set_num_threads(1)

IMAGE = (2, 4, 7, 6)


class Composed(torch.nn.Module):
    """PyTorch's side of a layer that PyTorch has to compose."""

    def __init__(self, function, **parameters):
        super().__init__()
        self.function = function
        for name, value in parameters.items():
            self.register_parameter(name, value)

    def forward(self, x):
        return self.function(x, *self.parameters())


def four_sides(lib):
    if lib is nn:
        return nn.Conv2d(4, 3, 3, stride=2, padding=(0, 1, 2, 3))
    conv, F = torch.nn.Conv2d(4, 3, 3), torch.nn.functional
    return Composed(
        lambda x, w, b: F.conv2d(F.pad(x, (2, 3, 0, 1)), w, b, stride=2),
        weight=conv.weight,
        bias=conv.bias,
    )


def hardsigmoid(lib):
    # PyTorch's own multiplies a float64 gradient by 1/6 rounded to float32.
    relu6 = torch.nn.functional.relu6
    return nn.Hardsigmoid() if lib is nn else Composed(lambda x: relu6(x + 3) / 6)


def global_pool(lib):
    return nn.GlobalAvgPool2d() if lib is nn else torch.nn.AdaptiveAvgPool2d(1)


def stopped_tracking(lib):
    layer = lib.BatchNorm2d(4)
    layer.track_running_stats = False
    return layer


def depthwise(lib, multiplier, **options):
    if lib is nn:
        return nn.DepthwiseConv2d(4, (3, 2), multiplier, **options)
    return torch.nn.Conv2d(4, 4 * multiplier, (3, 2), groups=4, **options)


def weighted_loss(lib):
    weight = np.array([0.5, 1, 2], np.float32)
    return lib.CrossEntropyLoss((nc if lib is nn else torch).tensor(weight))


# name: (the layer in either library, shapes of its input)
LAYERS = {
    "conv": (lambda lib: lib.Conv2d(4, 6, 3), IMAGE),
    "conv without batch": (lambda lib: lib.Conv2d(4, 6, 3), IMAGE[1:]),
    "pointwise": (lambda lib: lib.Conv2d(4, 6, 1, bias=False), IMAGE),
    "conv with everything": (
        lambda lib: lib.Conv2d(4, 6, (3, 2), (2, 1), (1, 3), (2, 1), 2, False),
        IMAGE,
    ),
    "conv same": (lambda lib: lib.Conv2d(4, 3, (3, 2), padding="same", dilation=(1, 2)), IMAGE),
    "conv valid": (lambda lib: lib.Conv2d(4, 3, 2, padding="valid", stride=3), IMAGE),
    "conv four sides": (four_sides, IMAGE),
    "depthwise": (lambda lib: depthwise(lib, 1, padding=1), IMAGE),
    "depthwise twice": (lambda lib: depthwise(lib, 2, stride=2, dilation=2, bias=False), IMAGE),
    "linear": (lambda lib: lib.Linear(6, 5), IMAGE),
    "linear without bias": (lambda lib: lib.Linear(6, 5, bias=False), (2, 6)),
    "max pool": (lambda lib: lib.MaxPool2d(2), IMAGE),
    "max pool with everything": (
        lambda lib: lib.MaxPool2d((2, 3), (2, 1), (0, 1), (1, 2), False, True),
        IMAGE,
    ),
    "avg pool": (lambda lib: lib.AvgPool2d(2), IMAGE),
    "avg pool with everything": (
        lambda lib: lib.AvgPool2d((3, 2), (2, 2), (1, 1), True, False),
        IMAGE,
    ),
    "avg pool divisor": (lambda lib: lib.AvgPool2d(3, 2, divisor_override=5), IMAGE),
    "adaptive": (lambda lib: lib.AdaptiveAvgPool2d((3, 4)), IMAGE),
    "adaptive None": (lambda lib: lib.AdaptiveAvgPool2d((None, 2)), IMAGE),
    "global": (global_pool, IMAGE),
    "batch norm": (lambda lib: lib.BatchNorm2d(4), IMAGE),
    "batch norm average": (lambda lib: lib.BatchNorm2d(4, 0.1, None), IMAGE),
    "batch norm plain": (lambda lib: lib.BatchNorm2d(4, momentum=0.3, affine=False), IMAGE),
    "batch norm untracked": (lambda lib: lib.BatchNorm2d(4, track_running_stats=False), IMAGE),
    "batch norm that stopped tracking": (stopped_tracking, IMAGE),
    "batch norm without bias": (lambda lib: lib.BatchNorm2d(4, bias=False), IMAGE),
    "batch norm 1d": (lambda lib: lib.BatchNorm1d(4), (5, 4)),
    "batch norm 1d of signals": (lambda lib: lib.BatchNorm1d(4, momentum=None), (5, 4, 3)),
    "dropout of nothing": (lambda lib: lib.Dropout(0.0), IMAGE),
    "dropout of all": (lambda lib: lib.Dropout(1.0), IMAGE),
    "channel shuffle": (lambda lib: lib.ChannelShuffle(2), IMAGE),
    "flatten": (lambda lib: lib.Flatten(), IMAGE),
    "flatten some": (lambda lib: lib.Flatten(0, 2), IMAGE),
    "identity": (lambda lib: lib.Identity(3, any="thing"), IMAGE),
    "relu": (lambda lib: lib.ReLU(), IMAGE),
    "relu6": (lambda lib: lib.ReLU6(), IMAGE),
    "leaky relu": (lambda lib: lib.LeakyReLU(), IMAGE),
    "leaky relu of slope 0.3": (lambda lib: lib.LeakyReLU(0.3), IMAGE),
    "sigmoid": (lambda lib: lib.Sigmoid(), IMAGE),
    "tanh": (lambda lib: lib.Tanh(), IMAGE),
    "hardsigmoid": (hardsigmoid, IMAGE),
    "hardswish": (lambda lib: lib.Hardswish(), IMAGE),
    "silu": (lambda lib: lib.SiLU(), IMAGE),
    "prelu": (lambda lib: lib.PReLU(), IMAGE),
    "prelu by channel": (lambda lib: lib.PReLU(num_parameters=4, init=-0.5), IMAGE),
    "hardtanh": (lambda lib: lib.Hardtanh(), IMAGE),
    "hardtanh elsewhere": (lambda lib: lib.Hardtanh(-2, 0.5), IMAGE),
    "threshold": (lambda lib: lib.Threshold(0.1, 20), IMAGE),
    "hardshrink": (lambda lib: lib.Hardshrink(0.25), IMAGE),
    "softshrink": (lambda lib: lib.Softshrink(), IMAGE),
    "tanhshrink": (lambda lib: lib.Tanhshrink(), IMAGE),
    "gelu": (lambda lib: lib.GELU(), IMAGE),
    "gelu by tanh": (lambda lib: lib.GELU("tanh"), IMAGE),
    "mish": (lambda lib: lib.Mish(), IMAGE),
    "softplus": (lambda lib: lib.Softplus(), IMAGE),
    "softplus of beta 2": (lambda lib: lib.Softplus(2, threshold=3), IMAGE),
    "log sigmoid": (lambda lib: lib.LogSigmoid(), IMAGE),
    "softsign": (lambda lib: lib.Softsign(), IMAGE),
    "elu": (lambda lib: lib.ELU(), IMAGE),
    "elu of alpha 2": (lambda lib: lib.ELU(2), IMAGE),
    "celu": (lambda lib: lib.CELU(0.5), IMAGE),
    "selu": (lambda lib: lib.SELU(), IMAGE),
    "glu": (lambda lib: lib.GLU(), IMAGE),
    "glu of channels": (lambda lib: lib.GLU(1), IMAGE),
    "softmin": (lambda lib: lib.Softmin(-3), IMAGE),
    "convolution padded with zeros": (
        lambda lib: lib.Conv2d(4, 6, 3, padding=1, padding_mode="zeros"),
        IMAGE,
    ),
    "softmax": (lambda lib: lib.Softmax(1), IMAGE),
    "log softmax": (lambda lib: lib.LogSoftmax(dim=-1), IMAGE),
    "cross entropy": (lambda lib: lib.CrossEntropyLoss(), (6, 3)),
    "cross entropy with weights": (weighted_loss, (6, 3)),
    "cross entropy smoothed": (
        lambda lib: lib.CrossEntropyLoss(ignore_index=1, reduction="sum", label_smoothing=0.2),
        (6, 3),
    ),
    "sequential": (
        lambda lib: lib.Sequential(
            lib.Conv2d(4, 8, 3, padding=1, bias=False),
            lib.BatchNorm2d(8),
            lib.ReLU6(inplace=True),
            lib.AdaptiveAvgPool2d(1),
            lib.Flatten(),
            lib.Linear(8, 3),
        ),
        IMAGE,
    ),
}
ALL = pytest.mark.parametrize(("make", "shape"), LAYERS.values(), ids=LAYERS.keys())
DTYPES = pytest.mark.parametrize("dtype", [np.float64, np.float32])
TARGETS = np.array([0, 2, 1, 1, 0, 2])


def pair_of_layers(make, dtype):
    """The layer in both libraries, in this dtype, with the same random state."""
    ours, theirs = make(nn).to(dtype), make(torch.nn).to(getattr(torch, np.dtype(dtype).name))
    rng = np.random.default_rng(0)
    with torch.no_grad():
        for value in theirs.state_dict().values():
            if value.is_floating_point():  # positive: a variance is among them
                value.copy_(torch.tensor(rng.uniform(0.1, 1, value.shape)))
    ours.load_state_dict(theirs.state_dict())
    return ours, theirs


def assert_close(ours, theirs, inputs, at_least=0.0):
    values = [np.asarray(v.detach().numpy()) for v in (ours, theirs)]
    assert values[0].shape == values[1].shape
    assert values[0].dtype == values[1].dtype
    largest = np.abs(values[1]).max(initial=at_least)
    bound = 2 * inputs * np.finfo(values[0].dtype).eps * largest
    assert np.abs(values[0] - values[1]).max(initial=0) <= bound


@ALL
@DTYPES
@pytest.mark.parametrize("training", [True, False])
def test_layers_equal_pytorch(make, shape, dtype, training):
    ours, theirs = (layer.train(training) for layer in pair_of_layers(make, dtype))
    rng = np.random.default_rng(1)
    inputs = int(np.prod(shape)) + sum(p.numel() for p in theirs.parameters())
    targets = ([], [])
    if isinstance(ours, nn.CrossEntropyLoss):
        targets = ([nc.tensor(TARGETS)], [torch.tensor(TARGETS)])
    for _ in range(2):  # batch norm remembers the first batch in the second
        x = rng.normal(size=shape).astype(dtype)
        a, b = nc.tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
        ya, yb = ours(a, *targets[0]), theirs(b, *targets[1])
        assert_close(ya, yb, inputs)
        dy = rng.normal(size=yb.shape).astype(dtype)
        ours.zero_grad()
        theirs.zero_grad()
        ya.backward(nc.tensor(dy))
        yb.backward(torch.tensor(dy))
        for p, q in [(a, b), *zip(ours.parameters(), theirs.parameters(), strict=True)]:
            assert_close(p.grad, q.grad, inputs, at_least=np.abs(dy).max())
    for name, value in theirs.state_dict().items():
        if value.is_floating_point():
            assert_close(nc.tensor(ours.state_dict()[name]), value, inputs)
        else:
            assert ours.state_dict()[name] == value.numpy()


@ALL
def test_state_dicts_have_pytorchs_names_and_shapes(make, shape):
    ours, theirs = make(nn), make(torch.nn)
    state = {name: torch.tensor(value) for name, value in ours.state_dict().items()}
    theirs.load_state_dict(state)
    assert list(state) == list(theirs.state_dict())


COMPOSED = ("conv four sides", "depthwise", "depthwise twice", "global", "hardsigmoid")
REPRS = [
    *(make for name, (make, _) in LAYERS.items() if name not in COMPOSED),
    lambda lib: lib.Hardsigmoid(),
    lambda lib: lib.ReLU(True),
    lambda lib: lib.LeakyReLU(0.2, True),
    lambda lib: lib.SiLU(inplace=True),
    lambda lib: lib.ELU(0.5, True),
    lambda lib: lib.CELU(inplace=True),
    lambda lib: lib.SELU(True),
    lambda lib: lib.Mish(True),
    lambda lib: lib.Hardtanh(-2, 2, True),
    lambda lib: lib.Threshold(1, 2, True),
    lambda lib: lib.Dropout(0.2, True),
]


@pytest.mark.parametrize("make", REPRS)
def test_reprs_are_pytorchs(make):
    assert repr(make(nn)) == repr(make(torch.nn))


def test_reprs_of_our_own_layers():
    assert repr(nn.GlobalAvgPool2d()) == "GlobalAvgPool2d()"
    assert repr(nn.Conv2d(2, 2, 3, padding=[1, 2, 3, 4])).endswith("padding=(1, 2, 3, 4))")
    assert repr(nn.DepthwiseConv2d(2, 3, 2, padding=1)) == (
        "DepthwiseConv2d(2, 4, kernel_size=(3, 3), stride=(1, 1), padding=(1, 1), groups=2)"
    )


def test_padding_is_kept_in_its_short_form():
    for given, kept in [(1, (1, 1)), ([1, 2], (1, 2)), ((1, 2, 3, 4),) * 2, ("same", "same")]:
        assert nn.Conv2d(1, 1, 3, padding=given).padding == kept


def test_max_pool_returns_indices_like_pytorch():
    x = np.random.default_rng(0).normal(size=IMAGE).astype(np.float32)
    options = {"kernel_size": 3, "stride": 2, "padding": 1, "return_indices": True}
    y, index = nn.MaxPool2d(**options)(nc.tensor(x))
    expected, expected_index = torch.nn.MaxPool2d(**options)(torch.tensor(x))
    assert y.tolist() == expected.tolist()
    assert index.tolist() == expected_index.tolist()


def test_dropout_in_training():
    nc.manual_seed(5)
    layer, x = nn.Dropout(0.25), nc.tensor(np.ones(10_000, np.float32), requires_grad=True)
    y = layer(x)
    kept = y.detach().numpy() != 0
    assert set(np.unique(y.detach().numpy())) == {np.float32(0), np.float32(4 / 3)}
    # Hoeffding: the share of 10,000 draws is off by more than this with probability 10⁻⁹.
    assert abs(kept.mean() - 0.75) < np.sqrt(np.log(2e9) / 20_000)
    y.sum().backward()
    assert ((x.grad.numpy() != 0) == kept).all()
    nc.manual_seed(5)
    assert layer(x).tolist() == y.tolist()
    assert layer(x).tolist() != y.tolist()
    assert layer.eval()(x).tolist() == x.tolist()


def test_inplace_leaves_the_input_alone():
    x = nc.tensor([-1.0, 2.0])
    assert nn.ReLU(inplace=True)(x).tolist() == [0, 2]
    assert x.tolist() == [-1, 2]


def test_batch_norm_refuses_and_then_remembers_nothing():
    layer = nn.BatchNorm2d(4)
    for shape, message in [
        ((2, 4), r"BatchNorm2d: input has shape \[2, 4\], expected 4 axes"),
        ((2, 3, 2, 2), "3|channels|features"),
        ((1, 4, 1, 1), "one|1"),
    ]:
        with pytest.raises(ValueError, match=message):
            layer(nc.tensor(np.ones(shape, np.float32)))
    assert layer.num_batches_tracked.item() == 0
    assert layer.running_mean.tolist() == [0, 0, 0, 0]
    with pytest.raises(TypeError, match="must be a nanoconv Tensor, got list"):
        layer([1.0])
    with pytest.raises(ValueError, match=r"BatchNorm1d: .* expected 2 or 3 axes"):
        nn.BatchNorm1d(4)(nc.tensor(np.ones(IMAGE, np.float32)))


def test_batch_norm_forgets():
    layer = nn.BatchNorm2d(4)
    layer(nc.tensor(np.random.default_rng(0).normal(size=IMAGE).astype(np.float32)))
    assert layer.num_batches_tracked.item() == 1
    assert layer.running_mean.tolist() != [0, 0, 0, 0]
    layer.reset_running_stats()
    assert layer.num_batches_tracked.item() == 0
    assert layer.running_mean.tolist() == [0, 0, 0, 0]
    assert layer.running_var.tolist() == [1, 1, 1, 1]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: nn.Conv2d(0, 1, 1), "Conv2d: in_channels=0, expected an integer from 1 up"),
        (lambda: nn.Conv2d(1, -1, 1), "Conv2d: out_channels=-1"),
        (lambda: nn.Conv2d(1, 1.5, 1), r"Conv2d: out_channels=1\.5"),
        (lambda: nn.Conv2d(1, 1, 0), "Conv2d: kernel_size=0"),
        (lambda: nn.Conv2d(1, 1, (1, 2, 3)), r"Conv2d: kernel_size=\(1, 2, 3\)"),
        (lambda: nn.Conv2d(1, 1, 1, stride=0), "Conv2d: stride=0"),
        (lambda: nn.Conv2d(1, 1, 1, dilation=-1), "Conv2d: dilation=-1"),
        (lambda: nn.Conv2d(1, 1, 1, padding=-1), "Conv2d: padding=-1"),
        (lambda: nn.Conv2d(1, 1, 1, padding=(1, 2, 3)), r"Conv2d: padding=\(1, 2, 3\)"),
        (lambda: nn.Conv2d(1, 1, 1, padding="full"), "Conv2d: padding='full', expected .*'same'"),
        (lambda: nn.Conv2d(4, 6, 1, groups=3), "Conv2d: groups=3 must divide the 4 input channels"),
        (
            lambda: nn.Conv2d(4, 6, 1, groups=4),
            "groups=4 must divide the 6 output channels",
        ),
        (lambda: nn.Conv2d(4, 6, 1, groups=0), "Conv2d: groups=0"),
        (
            lambda: nn.Conv2d(1, 1, 1, padding_mode="constant"),
            "Conv2d: padding_mode='constant', expected one of 'zeros', 'reflect'",
        ),
        (lambda: nn.DepthwiseConv2d(4, 3, 0), "DepthwiseConv2d: multiplier=0"),
        (lambda: nn.DepthwiseConv2d(4, -3), "DepthwiseConv2d: kernel_size=-3"),
        (
            lambda: nn.Linear(3, -1),
            "Linear: out_features=-1, expected an integer from 0 up",
        ),
        (lambda: nn.MaxPool2d(0), "MaxPool2d: kernel_size=0"),
        (lambda: nn.MaxPool2d(2, dilation=0), "MaxPool2d: dilation=0"),
        (lambda: nn.AvgPool2d(2, padding=-1), "AvgPool2d: padding=-1"),
        (lambda: nn.BatchNorm2d(0), "BatchNorm2d: num_features=0"),
        (lambda: nn.Dropout(1.5), r"Dropout: p=1\.5"),
        (lambda: nn.Dropout("half"), "Dropout: p='half'"),
        (lambda: nn.ChannelShuffle(0), "ChannelShuffle: groups=0"),
        (lambda: nn.CrossEntropyLoss(reduction="max"), "CrossEntropyLoss: reduction='max'"),
        (lambda: nn.CrossEntropyLoss(label_smoothing=2), "CrossEntropyLoss: label_smoothing=2"),
    ],
)
def test_arguments_out_of_range(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")
@pytest.mark.parametrize(("inputs", "outputs"), [(0, 3), (3, 0), (0, 0)])
def test_linear_of_nothing(inputs, outputs):
    """A sum over nothing is the bias, which starts at 0: as in PyTorch."""
    results = []
    for lib, tensor in ((nn, nc.tensor), (torch.nn, torch.tensor)):
        layer = lib.Linear(inputs, outputs)
        x = tensor(np.ones((2, inputs), np.float32))
        x.requires_grad = True
        y = layer(x)
        y.sum().backward()
        if inputs == 0:
            assert not layer.bias.detach().numpy().any()
        gradients = [x.grad, layer.weight.grad, layer.bias.grad]
        results.append([y.detach().numpy().shape, *(g.numpy().tolist() for g in gradients)])
    assert results[0] == results[1]


@pytest.mark.parametrize("layer", [nn.Softmax, nn.LogSoftmax])
def test_softmax_asks_for_its_axis(layer):
    with pytest.raises(
        TypeError, match=f"{layer.__name__}: dim=None must be the number of an axis"
    ):
        layer()
