"""The networks: their costs, torchvision's numbers and names, TensorFlow's padding, and weights."""

import inspect
import re
from types import SimpleNamespace

import numpy as np
import pytest
from model_table import NETS
from torchvision_oracle import torchvision

import nanoconv as nc
from nanoconv import models, nn
from nanoconv.models import building

torch = pytest.importorskip("torch")
torch.set_num_threads(1)

ORACLE = [net for net in NETS if net.oracle]
each = pytest.mark.parametrize("net", NETS, ids=str)
each_of_torchvisions = pytest.mark.parametrize("net", ORACLE, ids=str)
each_with_gradients = pytest.mark.parametrize("net", [n for n in ORACLE if n.backward], ids=str)


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """As PyTorch has; the tests run side by side already."""
    before = nc.get_num_threads()
    nc.set_num_threads(1)
    yield
    nc.set_num_threads(before)


# --------------------------------------------------------------------------- what they cost


@each
def test_parameters_and_macs(net):
    with nn.init.skipped():
        model = models.builder(net.builder)(**net.arguments)
    found = nc.summary(model, (1, 3, net.size, net.size))
    linear = sum(layer.macs for layer in found.layers if layer.kind == "Linear")
    assert (found.parameters, found.macs - linear, linear) == (
        net.parameters,
        net.conv_macs,
        net.linear_macs,
    )


@pytest.mark.parametrize("net", [net for net in NETS if "mobilenet" in net.builder], ids=str)
def test_the_files_name_the_same_figures(net):
    text = inspect.getmodule(models.builder(net.builder)).__doc__
    assert f"{net.parameters:,}" in text
    macs = f"{net.conv_macs + net.linear_macs:,}"
    assert macs in text or (f"{net.conv_macs:,}" in text and f"{net.linear_macs:,}" in text)


@pytest.mark.parametrize("builder", [models.mobilenet_v1, models.mobilenet_v2])
def test_the_lines_of_their_tables_add_up(builder):
    table = inspect.getmodule(builder).__doc__.split("\n\n")[1]
    costs = [[int(n.replace(",", "")) for n in line.split()[-2:]] for line in lines_of_costs(table)]
    assert len(costs) > 10
    assert np.sum(costs[:-1], axis=0).tolist() == costs[-1]


def lines_of_costs(table):
    return [line for line in table.splitlines() if re.search(r"\d  +[\d,]+$", line)]


# α and resolution: millions of parameters and of multiply-adds, arXiv 1704.04861, tables 6 and 7
PAPER = {
    (1.0, 224): (4.2, 569),
    (0.75, 224): (2.6, 325),
    (0.5, 224): (1.3, 149),
    (0.25, 224): (0.5, 41),
    (1.0, 192): (4.2, 418),
    (1.0, 160): (4.2, 290),
    (1.0, 128): (4.2, 186),
}


@pytest.mark.parametrize(("width_mult", "size"), PAPER)
def test_widths_and_resolutions_of_mobilenet_v1(width_mult, size):
    with nn.init.skipped():
        model = models.mobilenet_v1(width_mult=width_mult)
    found = nc.summary(model, (1, 3, size, size))
    parameters, macs = PAPER[width_mult, size]
    assert round(found.parameters / 1e6, 1) == parameters
    assert abs(found.macs / 1e6 - macs) < 1
    assert f"{found.macs:,}" in inspect.getmodule(models.mobilenet_v1).__doc__


# --------------------------------------------------------------------------- torchvision's numbers


def draw_statistics(model):
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            with torch.no_grad():
                module.weight.uniform_(0.5, 1.5)
                module.bias.normal_(0, 0.3)
                module.running_mean.normal_(0, 0.3)
                module.running_var.uniform_(0.5, 2)


def ours_and_theirs(net, dtype=torch.float32, **arguments):
    """Both with the same random weights and random statistics."""
    arguments |= net.arguments
    torch.manual_seed(0)
    theirs = torchvision().models.get_model(net.builder, weights=None, **arguments)
    draw_statistics(theirs)
    theirs.to(dtype)
    ours = models.builder(net.builder)(**arguments)
    ours.to(np.float64 if dtype == torch.float64 else np.float32)
    ours.load_state_dict(theirs.state_dict())
    return ours, theirs


def images(H, W, dtype=np.float32):
    return np.random.default_rng(0).normal(size=(2, 3, H, W)).astype(dtype)


def assert_equal_logits(ours, theirs, x):
    with nc.no_grad(), torch.no_grad():
        y, z = ours.eval()(nc.tensor(x)).numpy(), theirs.eval()(torch.tensor(x)).numpy()
    assert y.shape == z.shape
    assert np.abs(y - z).max() <= 1e-4 * np.abs(z).max()


@each_of_torchvisions
def test_logits_and_names_equal_torchvisions(net):
    ours, theirs = ours_and_theirs(net)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    assert_equal_logits(ours, theirs, images(161, 161))
    assert_equal_logits(ours, theirs, images(65, 98))


def assert_equal_gradients(ours, theirs, x):
    """After a training step on x: of every parameter, and the statistics of the norms."""
    for module in (*ours.modules(), *theirs.modules()):
        if isinstance(module, (nn.Dropout, torch.nn.Dropout)):
            module.p = 0.0
    y, z = ours.train()(nc.tensor(x)), theirs.train()(torch.tensor(x))
    dy = np.random.default_rng(1).normal(size=y.shape).astype(x.dtype)
    y.backward(nc.tensor(dy))
    z.backward(torch.tensor(dy))
    gradients = [parameter.grad.numpy() for parameter in theirs.parameters()]
    largest = max(np.abs(gradient).max() for gradient in gradients)
    for (name, parameter), expected in zip(ours.named_parameters(), gradients, strict=True):
        # What only shifts the input of a batch norm has no effect: its gradient is rounding errors.
        scale = max(np.abs(expected).max(), np.sqrt(np.finfo(x.dtype).eps) * largest)
        assert np.abs(parameter.grad.numpy() - expected).max() <= 1e-3 * scale, name
    for (name, a), b in zip(ours.named_buffers(), theirs.buffers(), strict=True):
        assert np.abs(a.numpy() - b.numpy()).max() <= 1e-4 * max(1, b.abs().max()), name


@each_with_gradients
def test_gradients_equal_torchvisions(net):
    ours, theirs = ours_and_theirs(net, torch.float64)
    assert_equal_gradients(ours, theirs, images(net.backward, net.backward, np.float64)[:1])


@each_with_gradients
def test_gradients_of_the_compiled_kernels(net):
    """In float32, with norms that keep away from the corners of ReLU, ReLU6 and Hardswish.

    A number at such a corner may be rounded to either side of it, and its pixel is then in one
    library's gradients and not in the other's.
    """
    ours, theirs = ours_and_theirs(net)
    for module in theirs.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            with torch.no_grad():
                module.weight.uniform_(0.15, 0.25)
                module.bias.uniform_(1.4, 1.6)
    ours.load_state_dict(theirs.state_dict())
    assert_equal_gradients(ours, theirs, images(net.backward, net.backward))


# --------------------------------------------------------------------------- its arguments

VARIANTS = [
    ("mobilenet_v2", {"width_mult": 1.4, "num_classes": 7, "dropout": 0.1}),
    ("mobilenet_v2", {"width_mult": 0.35, "round_nearest": 4}),
    ("mobilenet_v2", {"inverted_residual_setting": [[1, 8, 1, 1], [6, 24, 2, 2]]}),
    ("mobilenet_v3_small", {"width_mult": 0.75, "num_classes": 7, "dropout": 0.1}),
    ("mobilenet_v3_small", {"reduced_tail": True, "dilated": True}),
    ("mobilenet_v3_large", {"width_mult": 1.25, "reduced_tail": True}),
    ("mobilenet_v3_large", {"dilated": True}),
]


@pytest.mark.parametrize(("builder", "arguments"), VARIANTS)
def test_arguments_are_torchvisions(builder, arguments):
    ours, theirs = ours_and_theirs(SimpleNamespace(builder=builder, arguments=arguments))
    assert [(n, a.shape) for n, a in ours.state_dict().items()] == [
        (n, tuple(a.shape)) for n, a in theirs.state_dict().items()
    ]
    assert_equal_logits(ours, theirs, images(65, 65))
    dropouts = [m.p for m in ours.modules() if isinstance(m, nn.Dropout)]
    assert dropouts == [m.p for m in theirs.modules() if isinstance(m, torch.nn.Dropout)]


@pytest.mark.parametrize("builder", [models.mobilenet_v2, models.mobilenet_v3_small])
def test_other_norms(builder):
    def found(norm_layer):
        model = builder(norm_layer=norm_layer, width_mult=0.1)
        return {type(m) for m in model.modules() if isinstance(m, (nn.BatchNorm2d, nn.GroupNorm))}

    assert found(lambda C: nn.GroupNorm(1, C)) == {nn.GroupNorm}
    assert found(None) == {nn.BatchNorm2d}


def test_norms_have_the_epsilon_and_momentum_of_their_weights():
    def found(model, norm):
        return {(m.eps, m.momentum) for m in model.modules() if isinstance(m, norm)}

    for name in ("mobilenet_v2", "mobilenet_v3_small"):
        theirs = found(torchvision().models.get_model(name), torch.nn.BatchNorm2d)
        assert found(models.builder(name)(), nn.BatchNorm2d) == theirs
    assert found(models.mobilenet_v1(width_mult=0.25), nn.BatchNorm2d) == {(1e-3, 0.01)}


@each_of_torchvisions
def test_starting_values_are_distributed_as_torchvisions(net):
    torch.manual_seed(0)
    nc.manual_seed(0)
    theirs = torchvision().models.get_model(net.builder, weights=None, **net.arguments)
    ours = models.builder(net.builder)(**net.arguments).state_dict()
    compared = 0
    for name, tensor in theirs.state_dict().items():
        a, b = (np.asarray(array, np.float64).ravel() for array in (ours[name], tensor))
        if b.std() == 0:
            assert (a == b).all(), name
        elif a.size >= 10_000:
            assert abs(a.mean() - b.mean()) <= 0.1 * b.std(), name
            assert a.std() == pytest.approx(b.std(), rel=0.05), name
            tails = [((x - x.mean()) ** 4).mean() / x.var() ** 2 for x in (a, b)]  # 1.8, or 3
            assert tails[0] == pytest.approx(tails[1], abs=0.4), name
            compared += 1
    assert compared >= 1


# --------------------------------------------------------------------------- TensorFlow's padding


def pads_like_tensorflow(module):
    """Let a layer of PyTorch's pad by TensorFlow's rule, before it is called."""
    pool = isinstance(module, torch.nn.MaxPool2d)
    border = -float("inf") if pool else 0.0

    def both(value):
        return value if isinstance(value, tuple) else (value, value)

    K, s, d = (both(getattr(module, name)) for name in ("kernel_size", "stride", "dilation"))
    module.padding = 0 if pool else (0, 0)

    def pad(module, args):
        widths = []
        for size, k, step, apart in reversed(list(zip(args[0].shape[2:], K, s, d, strict=True))):
            outputs = (size + step - 1) // step
            total = max((outputs - 1) * step + (k - 1) * apart + 1 - size, 0)
            widths += [total // 2, total - total // 2]
        return torch.nn.functional.pad(args[0], widths, value=border)

    module.register_forward_pre_hook(pad)


@each_of_torchvisions
@pytest.mark.parametrize("size", [64, 81])
def test_same_padding_is_tensorflows(net, size):
    ours, theirs = ours_and_theirs(net)
    ours = models.builder(net.builder)(same_padding=True, **net.arguments)
    ours.load_state_dict(theirs.state_dict())
    for module in theirs.modules():
        if isinstance(module, (torch.nn.Conv2d, torch.nn.MaxPool2d)):
            pads_like_tensorflow(module)
    assert_equal_logits(ours, theirs, images(size, size + 1))


def test_same_padding_reaches_averages_and_leaves_what_has_no_window():
    net = nn.Sequential(nn.AvgPool2d(3, 2, 1), nn.ConvTranspose2d(1, 1, 3, padding=1))
    building.use_same_padding(net)
    x = nc.ones(1, 1, 4, 5)
    assert (net[0](x).numpy() == 1).all()  # the border is not counted
    assert net[0](x).shape == (1, 1, 2, 3)
    assert net[1].padding == (1, 1)


# --------------------------------------------------------------------------- nets written by hand


def same_weights(ours, theirs):
    """Random ones, for both; the layers have other names, but the same order."""
    draw_statistics(theirs)
    state = theirs.state_dict().values()
    ours.load_state_dict(dict(zip(ours.state_dict(), state, strict=True)))


def test_mobilenet_v1_by_hand():
    t = torch.nn

    def layers(C, O, K, s=1, G=1):
        conv = t.Conv2d(C, O, K, s, K // 2, groups=G, bias=False)
        return [conv, t.BatchNorm2d(O, eps=1e-3, momentum=0.01), t.ReLU6()]

    channels = [8, 16, 32, 32, 64, 64, 128, 128, 128, 128, 128, 128, 256, 256]
    halved = {2, 4, 6, 12}
    body = layers(3, 8, 3, 2)
    for k in range(1, 14):
        C, O = channels[k - 1 : k + 1]
        body += [*layers(C, C, 3, 2 if k in halved else 1, C), *layers(C, O, 1)]
    head = [t.AdaptiveAvgPool2d(1), t.Flatten(), t.Dropout(0.001), t.Linear(256, 7)]
    torch.manual_seed(0)
    theirs = t.Sequential(*body, *head).double()
    ours = models.mobilenet_v1(width_mult=0.25, num_classes=7).double()
    same_weights(ours, theirs)
    assert_equal_logits(ours, theirs, images(65, 98, np.float64))
    assert_equal_gradients(ours, theirs, images(65, 65, np.float64))
    keys = {name.rpartition(".")[0] for name in ours.state_dict()}
    parts = {f"model.{i}.{k}" for i in range(1, 14) for k in (0, 1, 3, 4)}
    assert keys == parts | {"model.0.0", "model.0.1", "fc"}


def test_lightweight_cnn_by_hand():
    model = models.lightweight_cnn(in_channels=2, num_classes=5).eval()
    state = {name: torch.tensor(array.copy()) for name, array in model.state_dict().items()}
    x = torch.randn(3, 2, 9, 7)
    y = torch.conv2d(x, state["depthwise.weight"], state["depthwise.bias"], padding=1, groups=2)
    y = torch.conv2d(y, state["pointwise.weight"], state["pointwise.bias"]).relu().mean((2, 3))
    y = (y @ state["classifier.weight"].T + state["classifier.bias"]).softmax(1)
    with nc.no_grad():
        found = model(nc.tensor(x.numpy())).numpy()
        scores = model[:-1](nc.tensor(x.numpy())).numpy()
    assert np.abs(found - y.numpy()).max() <= 1e-6
    assert np.abs(torch.tensor(scores).softmax(1).numpy() - found).max() <= 1e-6


@pytest.mark.parametrize(("channels", "groups", "num_classes"), [(8, 1, 3), (12, 3, 10), (8, 8, 2)])
def test_grouped_cnn_by_hand(channels, groups, num_classes):
    C, G, t = channels, groups, torch.nn

    def block(inp, out, K, s=1, G=G):
        return [t.Conv2d(inp, out, K, s, K // 2, 1, G, bias=False), t.BatchNorm2d(out), t.ReLU()]

    def shuffled(*layers):
        return [*layers, *([t.ChannelShuffle(G)] if G > 1 else [])]

    blocks = [shuffled(*block(C, C, 3)), shuffled(*block(C, C, 1))]
    for k in range(4):
        first = block(C, 2 * C, 3, 2) if k == 0 else block(2 * C, 2 * C, 3)
        blocks += [shuffled(*first), shuffled(*block(2 * C, 2 * C, 1))]
    body = [layer for layers in blocks for layer in layers]
    stem = [*block(3, C, 3, 2, 1), t.MaxPool2d(3, 2, 1)]
    head = [t.AdaptiveAvgPool2d(1), t.Flatten(), t.Dropout(0.2), t.Linear(2 * C, num_classes)]
    theirs = t.Sequential(*stem, *body, *head)
    ours = models.grouped_cnn(channels, groups, num_classes)
    same_weights(ours.double(), theirs.double())
    assert ours.dropout.p == 0.2
    assert_equal_logits(ours, theirs, images(33, 41, np.float64))
    assert_equal_gradients(ours, theirs, images(33, 41, np.float64))
