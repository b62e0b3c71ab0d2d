"""ShuffleNets, SqueezeNets, ResNets and VGGs: what they cost, and whose numbers they have.

torchvision is the oracle where it has the network. For the others the paper is written down once
more, as functions of a state dict in PyTorch: `paper_shufflenet` and `paper_cifar_resnet`.
"""

import inspect

import numpy as np
import pytest
from model_table import MORE
from torchvision_oracle import torchvision

import nanoconv as nc
from nanoconv import models, nn
from nanoconv.models.vgg import convolutions

torch = pytest.importorskip("torch")
torch.set_num_threads(1)
F = torch.nn.functional

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


def images(N, H, W, dtype=np.float32):
    return np.random.default_rng(1).normal(size=(N, 3, H, W)).astype(dtype)


def assert_equal_logits(ours, theirs, x):
    ours.eval()
    with nc.no_grad(), torch.no_grad():
        y, z = ours(nc.tensor(x)).numpy(), theirs(torch.tensor(x)).numpy()
    assert y.shape == z.shape
    assert np.abs(y - z).max() <= 1e-4 * np.abs(z).max()


@each_of_torchvisions
def test_logits_and_names_equal_torchvisions(net):
    ours, theirs = ours_and_theirs(net)
    assert_equal_logits(ours, theirs.eval(), images(1, 161, 161))
    assert_equal_logits(ours, theirs, images(2, 33, 66))


def assert_equal_gradients(ours, theirs, parameters, x, tolerance):
    """Of a training step with a random gradient of the logits, relative to each one's length."""
    y, z = ours.train()(nc.tensor(x)), theirs(torch.tensor(x))
    dy = np.random.default_rng(2).normal(size=y.shape).astype(x.dtype)
    y.backward(nc.tensor(dy))
    z.backward(torch.tensor(dy))
    gradients = {name: parameter.grad.numpy() for name, parameter in parameters}
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
    x = images(2, net.backward, net.backward, np.float64)
    ours.double()
    theirs.double().train()
    assert_equal_gradients(ours, theirs, theirs.named_parameters(), x, 1e-9)
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
    """In float32 a number at the corner of a ReLU may fall to either side, and takes a gradient
    with it, so that a smooth activation stands in for it here.
    """
    ours, theirs = without_dropout(*ours_and_theirs(net))
    for model, lib in ((ours, nn), (theirs, torch.nn)):
        for module in list(model.modules()):
            for name, child in module._modules.items():
                if isinstance(child, lib.ReLU):
                    setattr(module, name, lib.SiLU())
    x = images(2, net.backward, net.backward)
    assert_equal_gradients(ours, theirs.train(), theirs.named_parameters(), x, 1e-2)
