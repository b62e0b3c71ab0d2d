"""ShuffleNets, SqueezeNets, ResNets and VGGs: what they cost, and whose numbers they have.

torchvision is the oracle where it has the network, `paper_networks.py` for the others.
"""

import inspect
import re
from functools import partial

import numpy as np
import pytest
from model_table import MORE, Net
from paper_networks import paper_cifar_resnet, paper_shufflenet
from test_models import assert_equal_logits, images, one_thread, pads_like_tensorflow
from torchvision_oracle import torchvision

import nanoconv as nc
from nanoconv import models, nn

torch = pytest.importorskip("torch")
torch.set_num_threads(1)
__all__ = ["one_thread"]  # a fixture

ORACLE = [net for net in MORE if net.oracle]
each = pytest.mark.parametrize("net", MORE, ids=str)
each_of_torchvisions = pytest.mark.parametrize("net", ORACLE, ids=str)
each_with_gradients = pytest.mark.parametrize(
    "net", [net for net in ORACLE if net.backward], ids=str
)


# --------------------------------------------------------------------------- what they cost


@each
def test_parameters_and_macs(net):
    with nn.init.skipped():
        model = models.builder(net.builder)(**net.arguments)
    found = nc.summary(model, (1, 3, net.size, net.size))
    linear = sum(layer.macs for layer in found.layers if layer.kind == "Linear")
    assert found.parameters == net.parameters
    assert (found.macs - linear, linear) == (net.conv_macs, net.linear_macs)
    text = inspect.getmodule(models.builder(net.builder)).__doc__
    assert f"{net.parameters:,}" in text
    macs = (f"{n:,}" for n in (net.conv_macs, net.linear_macs) if n)
    assert f"{found.macs:,}" in text or all(n in text for n in macs)


@pytest.mark.parametrize(
    ("network", "heading", "costs"),
    [
        (models.resnet20, "    input ", r"([\d,]+) +([\d,]+) +([\d,]+) +([\d,]+)$"),
        (models.shufflenet_v1, "    input ", r"([\d,]+) +([\d,]+)$"),
        (models.shufflenet_v2_x1_0, "    input ", r"([\d,]+) +([\d,]+)$"),
        (models.squeezenet1_0, "    layer ", r" ([\d,]+) +(?:\d+ × \d+² +)?([\d,]+)$"),
    ],
)
def test_the_lines_of_their_tables_add_up(network, heading, costs):
    text = inspect.getmodule(network).__doc__
    (table,) = [part for part in text.split("\n\n") if heading in part]
    lines = [re.search(costs, line) for line in table.splitlines() if "maximum" not in line]
    rows = [[int(n.replace(",", "")) for n in line.groups()] for line in lines if line]
    assert len(rows) >= 6
    assert np.sum(rows[:-1], axis=0).tolist() == rows[-1]


def test_rounded_figures_of_the_papers():
    shufflenet = {net.arguments["groups"]: net for net in MORE if net.builder == "shufflenet_v1"}
    millions = {G: round(net.conv_macs / 1e6) for G, net in shufflenet.items()}
    assert millions == {1: 143, 2: 140, 3: 137, 4: 133, 8: 137}  # table 2
    assert round(shufflenet[3].parameters / 1e6, 1) == 1.9
    for scale, macs in ((1.5, 292), (2, 524)):  # table 5, G = 3
        found = nc.summary(models.shufflenet_v1(groups=3, scale=scale), (1, 3, 224, 224))
        assert round(found.macs / 1e6) == macs
    cifar = {net.builder: net for net in MORE if net.size == 32}
    assert round(cifar["resnet20"].parameters / 1e6, 2) == 0.27
    assert round(cifar["resnet56"].parameters / 1e6, 2) == 0.85
    assert round(cifar["resnet20"].conv_macs / 1e6) == 41


# --------------------------------------------------------------------------- torchvision's numbers


def random_state(model):
    """He's weights, and random statistics for the batch norms; by name, float32."""
    rng = np.random.default_rng(0)

    def draw(name, shape):
        last = name.rpartition(".")[2]
        if last == "num_batches_tracked":
            return np.array(3)
        if last == "running_var" or (last == "weight" and len(shape) == 1):
            return rng.uniform(0.5, 1.5, shape).astype(np.float32)
        x = rng.standard_normal(shape, np.float32)
        return x * np.float32(0.3 if len(shape) == 1 else (2 / np.prod(shape[1:])) ** 0.5)

    return {name: draw(name, array.shape) for name, array in model.state_dict().items()}


def ours_and_theirs(net, same_padding=False, **arguments):
    """Both with the same random state; of a VGG only the convolutions."""
    arguments |= net.arguments
    with nn.init.skipped():
        ours = models.builder(net.builder)(same_padding=same_padding, **arguments)
    with torch.device("meta"):  # where tensors have shapes, and no memory
        theirs = torchvision().models.get_model(net.builder, weights=None, **arguments)
    shapes = [(name, tuple(tensor.shape)) for name, tensor in theirs.state_dict().items()]
    assert [(name, array.shape) for name, array in ours.state_dict().items()] == shapes
    if "vgg" in net.builder:
        ours, theirs = ours.features, theirs.features
    state = random_state(ours)
    ours.load_state_dict(state)
    theirs.load_state_dict({name: torch.tensor(a) for name, a in state.items()}, assign=True)
    return ours, theirs.requires_grad_()


@each_of_torchvisions
def test_logits_and_names_equal_torchvisions(net):
    ours, theirs = ours_and_theirs(net)
    assert_equal_logits(ours, theirs, images(161, 161)[:1])
    assert_equal_logits(ours, theirs, images(33, 66))


def assert_equal_gradients(ours, theirs, parameters, x, tolerance):
    """Of a training step with a random gradient of the logits, relative to each one's length.

    `theirs` is a module or function in training mode, with these parameters by name.
    """
    y, z = ours.train()(nc.tensor(x)), theirs(torch.tensor(x))
    dy = np.random.default_rng(2).normal(size=y.shape).astype(x.dtype)
    y.backward(nc.tensor(dy))
    z.backward(torch.tensor(dy))
    gradients = {name: parameter.grad.numpy() for name, parameter in parameters.items()}
    own = {name: parameter.grad.numpy() for name, parameter in ours.named_parameters()}
    assert own.keys() == gradients.keys()
    length = np.linalg.norm
    # What shifts the input of a batch norm has no effect: its gradient is a rounding error.
    least = 1e-3 * max(length(gradient) for gradient in gradients.values())
    errors = {
        name: length(own[name] - gradient) / max(length(gradient), least)
        for name, gradient in gradients.items()
    }
    assert not {name: error for name, error in errors.items() if not error <= tolerance}


@each_with_gradients
def test_gradients_equal_torchvisions(net):
    ours, theirs = without_dropout(*ours_and_theirs(net))
    x = images(net.backward, net.backward, np.float64)[:1]
    ours.double()
    theirs.double().train()
    assert_equal_gradients(ours, theirs, dict(theirs.named_parameters()), x, 1e-9)
    for (name, a), b in zip(ours.named_buffers(), theirs.buffers(), strict=True):
        assert np.abs(a.numpy() - b.numpy()).max() <= 1e-9 * max(1, b.abs().max()), name


def without_dropout(*both):
    for model in both:
        for module in model.modules():
            if isinstance(module, (nn.Dropout, torch.nn.Dropout)):
                module.p = 0.0
    return both


@each_with_gradients
def test_gradients_of_the_compiled_kernels(net):
    ours, theirs = without_corners(*ours_and_theirs(net))
    x = images(net.backward, net.backward)
    assert_equal_gradients(ours, theirs.train(), dict(theirs.named_parameters()), x, 1e-3)


def without_corners(ours, theirs):
    """Both with smooth activations in place of ReLU, means in place of maxima, and no dropout.

    In float32 a number at the corner of a ReLU, or one of two that are nearly the maximum, may fall
    to either side, and takes a gradient along.
    """
    for model, lib in ((ours, nn), (theirs, torch.nn)):
        for module in list(model.modules()):
            for name, child in module._modules.items():
                if isinstance(child, lib.ReLU):
                    setattr(module, name, lib.SiLU())
                elif isinstance(child, lib.MaxPool2d):
                    window = child.kernel_size, child.stride, child.padding, child.ceil_mode
                    setattr(module, name, lib.AvgPool2d(*window))
    return without_dropout(ours, theirs)


def test_a_whole_vgg():
    """With the matrices, which are the same in all of them, and share their memory here."""
    nc.manual_seed(0)
    ours = models.vgg11(num_classes=3, dropout=0.25)
    assert [m.p for m in ours.modules() if isinstance(m, nn.Dropout)] == [0.25, 0.25]
    for name, array in ours.state_dict().items():  # as they are drawn by torchvision
        if name.endswith("bias"):
            assert not array.any(), name
        else:
            std = (2 / (9 * array.shape[0])) ** 0.5 if array.ndim == 4 else 0.01
            assert array.std() == pytest.approx(std, rel=0.05), name
    with torch.device("meta"):
        theirs = torchvision().models.vgg11(num_classes=3)
    state = {name: torch.from_numpy(p.detach().numpy()) for name, p in ours.named_parameters()}
    theirs.load_state_dict(state, assign=True)
    theirs.requires_grad_()
    x = images(33, 33)
    assert_equal_logits(ours, theirs, x)
    without_corners(ours, theirs.train())
    assert_equal_gradients(ours, theirs, dict(theirs.named_parameters()), x, 1e-3)


def test_vgg_is_initialised_unless_told_not_to(monkeypatch):
    initialised = []
    monkeypatch.setattr(models.vgg, "initialise", initialised.append)
    with nn.init.skipped():
        first = models.vgg11(num_classes=2)
        models.vgg11(num_classes=2, init_weights=False)
    assert initialised == [first]


# --------------------------------------------------------------------------- their arguments

VARIANTS = [
    Net("resnet18", 0, 0, 0, {"zero_init_residual": True, "num_classes": 7}),
    Net("resnet50", 0, 0, 0, {"groups": 32, "width_per_group": 4, "num_classes": 7}),
    Net("resnet50", 0, 0, 0, {"replace_stride_with_dilation": [False, True, True]}),
    Net("shufflenet_v2_x0_5", 0, 0, 0, {"num_classes": 7}),
    Net("squeezenet1_0", 0, 0, 0, {"num_classes": 7, "dropout": 0.1}),
    Net("squeezenet1_1", 0, 0, 0, {"num_classes": 7, "dropout": 0.1}),
    Net("vgg11_bn", 0, 0, 0, {"init_weights": False, "num_classes": 7}),
]


@pytest.mark.parametrize("net", VARIANTS, ids=str)
def test_arguments_are_torchvisions(net):
    ours, theirs = ours_and_theirs(net)
    assert_equal_logits(ours, theirs, images(65, 65))
    both = [
        [m.p for m in model.modules() if isinstance(m, lib.Dropout)]
        for model, lib in ((ours, nn), (theirs, torch.nn))
    ]
    assert both[0] == both[1]


def test_other_norms():
    model = models.resnet18(norm_layer=lambda C: nn.GroupNorm(2, C), num_classes=2)
    assert sum(isinstance(m, nn.GroupNorm) for m in model.modules()) == 20
    assert not any(isinstance(m, nn.BatchNorm2d) for m in model.modules())


@pytest.mark.parametrize(
    ("builder", "least"),
    [("resnet18", 1), ("resnet20", 1), ("shufflenet_v1", 1), ("shufflenet_v2_x0_5", 1),
     ("squeezenet1_0", 21), ("squeezenet1_1", 17), ("vgg11", 32)],
)  # fmt: skip
def test_the_smallest_photographs(builder, least):
    with nn.init.skipped():
        model = models.builder(builder)(num_classes=3).eval()
    model = model.features if builder == "vgg11" else model
    assert len(model(nc.zeros(1, 3, least, least + 1))) == 1
    with pytest.raises(ValueError, match="height"):
        model(nc.zeros(1, 3, least - 1, least))


MISTAKES = {
    "ResNet: replace_stride_with_dilation=[True], expected None or three": (
        lambda: models.resnet50(replace_stride_with_dilation=[True])
    ),
    "ShuffleNetV1: groups=5, expected one of 1, 2, 3, 4, 8": (
        lambda: models.shufflenet_v1(groups=5)
    ),
    "ShuffleNetV1: scale=0.3, expected one of 0.25, 0.5": lambda: models.shufflenet_v1(scale=0.3),
    "SqueezeNet: version='1.1', expected '1_0' or '1_1'": (
        lambda: models.squeezenet.SqueezeNet("1.1")
    ),
    "VGG: configuration='F', expected 'A' or 'D'": lambda: models.vgg.convolutions("F"),
    "vgg16: num_classes=0": lambda: models.vgg16(num_classes=0),
    "squeezenet1_0: dropout": lambda: models.squeezenet1_0(dropout=2),
}


@pytest.mark.parametrize("message", MISTAKES)
def test_mistakes(message):
    with pytest.raises(ValueError, match=re.escape(message)):
        MISTAKES[message]()


# --------------------------------------------------------------------------- starting values


@pytest.mark.parametrize(
    ("builder", "arguments"),
    [
        ("resnet18", {"zero_init_residual": True}),
        ("resnet50", {"zero_init_residual": True}),
        ("shufflenet_v2_x0_5", {}),
        ("squeezenet1_0", {}),
        ("squeezenet1_1", {}),
    ],
)
def test_starting_values_are_distributed_as_torchvisions(builder, arguments):
    torch.manual_seed(0)
    nc.manual_seed(0)
    arguments = {"num_classes": 100, **arguments}
    theirs = torchvision().models.get_model(builder, weights=None, **arguments).state_dict()
    state = models.builder(builder)(**arguments).state_dict()
    compared = 0
    for name, tensor in theirs.items():
        a, b = (np.asarray(x, np.float64).ravel()[:100_000] for x in (state[name], tensor))
        if b.std() == 0:
            assert (a == b).all(), name
        elif a.size >= 10_000:
            assert abs(a.mean() - b.mean()) <= 0.1 * b.std(), name
            assert a.std() == pytest.approx(b.std(), rel=0.05), name
            tails = [((x - x.mean()) ** 4).mean() / x.var() ** 2 for x in (a, b)]  # 1.8, or 3
            assert tails[0] == pytest.approx(tails[1], abs=0.4), name
            compared += 1
    assert compared >= 2


# --------------------------------------------------------------------------- TensorFlow's padding


@pytest.mark.parametrize("size", [64, 81])
@pytest.mark.parametrize(
    "builder", ["resnet18", "resnet50", "shufflenet_v2_x0_5", "squeezenet1_0", "squeezenet1_1"]
)
def test_same_padding_is_tensorflows(builder, size):
    ours, theirs = ours_and_theirs(Net(builder, 0, 0, 0), same_padding=True)
    for module in theirs.modules():
        if isinstance(module, (torch.nn.Conv2d, torch.nn.MaxPool2d)):
            pads_like_tensorflow(module)
    assert_equal_logits(ours, theirs, images(size, size + 1))


def test_same_padding_of_vgg():
    ours, theirs = ours_and_theirs(Net("vgg11", 0, 0, 0), same_padding=True)
    for module in theirs.modules():
        if isinstance(module, (torch.nn.Conv2d, torch.nn.MaxPool2d)):
            pads_like_tensorflow(module)
    x = images(81, 70)
    assert ours(nc.tensor(x)).shape == (2, 512, 3, 3)  # ⌈81/32⌉, where PyTorch has ⌊81/32⌋
    assert_equal_logits(ours, theirs, x)


# --------------------------------------------------------------------------- the papers' networks


def assert_equals_paper(ours, paper, sizes, same=False):
    """Logits in evaluation, in float32; gradients of a training step, in float64."""
    state = {name: torch.tensor(array) for name, array in random_state(ours).items()}
    ours.load_state_dict(state)
    for H, W in sizes:
        x, how = images(H, W), {"state": state, "same": same}
        with nc.no_grad():
            y = ours.eval()(nc.tensor(x)).numpy()
        z = paper(torch.tensor(x), **how).numpy()
        assert np.abs(y - z).max() <= 1e-4 * np.abs(z).max()
    ours.double()
    state = {name: tensor.double() for name, tensor in state.items()}
    parameters = {name: state[name].requires_grad_() for name, _ in ours.named_parameters()}
    x = images(*sizes[-1], np.float64)
    assert_equal_gradients(
        ours, partial(paper, state=state, training=True, same=same), parameters, x, 1e-9
    )


@pytest.mark.parametrize("scale", [0.25, 0.5, 1, 1.5, 2])
@pytest.mark.parametrize("groups", [1, 2, 3, 4, 8])
def test_shufflenet_is_the_papers(groups, scale):
    ours = models.shufflenet_v1(groups=groups, scale=scale, num_classes=7)
    sizes = [(161, 161), (33, 47)] if scale == 1 else [(33, 47)]
    assert_equals_paper(ours, partial(paper_shufflenet, groups=groups), sizes)


# The channels of the first convolution and of stage1, from the authors' own code
CHANNELS = {
    (3, 0.5): (12, 120), (3, 1): (24, 240), (3, 1.5): (24, 360), (3, 2): (48, 480),
    (8, 0.5): (16, 192), (8, 1): (24, 384), (8, 1.5): (24, 576), (8, 2): (48, 768),
}  # fmt: skip


@pytest.mark.parametrize(("groups", "scale"), CHANNELS)
def test_channels_of_shufflenet_are_the_authors(groups, scale):
    model = models.shufflenet_v1(groups=groups, scale=scale)
    stem, first = CHANNELS[groups, scale]
    assert model.features.init_block.conv.out_channels == stem
    stages = (model.features.stage1, model.features.stage2, model.features.stage3)
    assert [stage.unit1.out_channels for stage in stages] == [first, 2 * first, 4 * first]


@pytest.mark.parametrize(("builder", "n"), [("resnet20", 3), ("resnet56", 9)])
def test_resnets_of_cifar_are_the_papers(builder, n):
    paper = partial(paper_cifar_resnet, n=n)
    assert_equals_paper(models.builder(builder)(), paper, [(32, 32), (17, 21)])


@pytest.mark.parametrize("size", [48, 65])
def test_same_padding_of_the_papers_networks(size):
    ours = models.shufflenet_v1(groups=2, scale=0.5, num_classes=7, same_padding=True)
    sizes = [(size, size + 1)]
    assert_equals_paper(ours, partial(paper_shufflenet, groups=2), sizes, same=True)
    paper = partial(paper_cifar_resnet, n=3)
    assert_equals_paper(models.resnet20(same_padding=True), paper, [(size // 2, 21)], same=True)


def test_starting_values_of_the_resnets_of_cifar():
    nc.manual_seed(0)
    for name, array in models.resnet56().state_dict().items():
        if array.ndim == 4:  # arXiv 1502.01852: N(0, 2/fan_in)
            assert array.std() == pytest.approx((2 / array[0].size) ** 0.5, rel=0.15), name
