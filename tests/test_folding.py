"""Checkpoints whose batch norms were folded load into networks that have them."""

import numpy as np
import pytest

import nanoconv as nc
from nanoconv import models, nn
from nanoconv.nn.folding import folded, unfolded


def with_random_norms(model):
    rng = np.random.default_rng(0)
    for module in model.modules():
        if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
            C = module.num_features
            state = {
                "weight": rng.uniform(-1.5, 1.5, C),
                "bias": rng.normal(size=C),
                "running_mean": rng.normal(size=C),
                "running_var": rng.uniform(0.01, 2, C),
            }
            state = {name: array.astype(np.float32) for name, array in state.items()}
            module.load_state_dict(state)
    return model.eval()


def folded_by_hand(model, pairs):
    """A state dict in which each norm is part of the layer that is paired with it."""
    state = {name: array.astype(np.float64) for name, array in model.state_dict().items()}
    for layer, norm in pairs:
        g, b, m, v = (
            state.pop(f"{norm}.{key}") for key in ("weight", "bias", "running_mean", "running_var")
        )
        state.pop(f"{norm}.num_batches_tracked")
        a = g / np.sqrt(v + model.get_submodule(norm).eps)
        w = state[f"{layer}.weight"]
        state[f"{layer}.weight"] = w * a.reshape(-1, *[1] * (w.ndim - 1))
        state[f"{layer}.bias"] = (state.get(f"{layer}.bias", 0) - m) * a + b
    counters = {name: np.array(0) for name in state if name.endswith("num_batches_tracked")}
    return {name: array.astype(np.float32) for name, array in state.items()} | counters


class NormsFirst(nn.Module):
    """Each norm has its place in the state dict before the convolution that it follows."""

    def __init__(self):
        super().__init__()
        self.bn1, self.bn2 = nn.BatchNorm2d(6), nn.BatchNorm2d(6, eps=0.1)
        self.conv1 = nn.Conv2d(3, 6, 3, bias=False)
        self.conv2 = nn.Conv2d(6, 6, 3, groups=2, bias=False)
        self.fc = nn.Linear(6, 4)

    def forward(self, x):
        x = self.bn2(self.conv2(self.bn1(self.conv1(x)).relu()))
        return self.fc(x.mean((2, 3)))


class PreActivation(nn.Module):
    """A block of DenseNet's: of the two norms only the second follows a convolution."""

    def __init__(self):
        super().__init__()
        self.norm1, self.conv1 = nn.BatchNorm2d(3), nn.Conv2d(3, 5, 1, bias=False)
        self.norm2, self.conv2 = nn.BatchNorm2d(5), nn.Conv2d(5, 2, 3, bias=False)

    def forward(self, x):
        x = self.conv1(self.norm1(x).relu())
        return self.conv2(self.norm2(x).relu())


def vgg():
    """Convolutions that have biases although a norm follows."""
    return nn.Sequential(
        nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4)),
        nn.GlobalAvgPool2d(),
        nn.Flatten(),
        nn.Sequential(nn.Linear(4, 5, bias=False), nn.BatchNorm1d(5), nn.Linear(5, 2)),
    )


def in_order(model):
    """The pairs of a net in which a norm follows its layer at once."""
    found, layer = [], ""
    for name, module in model.named_modules():
        if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
            found.append((layer, name))
        elif isinstance(module, (nn.Conv2d, nn.Linear)):
            layer = name
    return found


NETS = {
    "mobilenet_v1": lambda: models.mobilenet_v1(width_mult=0.25, num_classes=5),
    "mobilenet_v2": lambda: models.mobilenet_v2(width_mult=0.25, num_classes=5),
    "mobilenet_v3_small": lambda: models.mobilenet_v3_small(width_mult=0.25, num_classes=5),
    "grouped_cnn": lambda: models.grouped_cnn(6, 2, 5),
    "transposed": lambda: nn.Sequential(
        nn.Conv2d(3, 4, 1), nn.ConvTranspose2d(4, 4, 3, groups=4, bias=False), nn.BatchNorm2d(4)
    ),
    "norms first": NormsFirst,
    "pre-activation": PreActivation,
    "biases": vgg,
}
PAIRS = {
    "transposed": [("1", "2")],
    "norms first": [("conv1", "bn1"), ("conv2", "bn2")],
    "pre-activation": [("conv1", "norm2")],
    "biases": [("0.0", "0.1"), ("0.2", "0.3"), ("3.0", "3.1")],
}


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("order", ["as saved", "sorted"])
def test_folded_weights_give_the_same_logits(name, order):
    model = with_random_norms(NETS[name]())
    pairs = PAIRS.get(name) or in_order(model)
    state = folded_by_hand(model, pairs)
    if order == "sorted":  # as in a .safetensors file
        state = dict(sorted(state.items()))
    assert sorted(folded(model, state)) == sorted(pairs)
    given = dict(state)
    other = NETS[name]().eval()
    assert other.load_state_dict(state) == ([], [])
    assert state.keys() == given.keys()  # it is not changed
    x = nc.tensor(np.random.default_rng(1).normal(size=(2, 3, 33, 33)).astype(np.float32))
    with nc.no_grad():
        expected, found = model(x).numpy(), other(x).numpy()
    assert np.abs(found - expected).max() <= 1e-4 * np.abs(expected).max()
    assert np.abs(expected).max() > 0


def test_what_takes_the_norms_place():
    model = nn.Sequential(nn.Conv2d(1, 2, 1, bias=False), nn.BatchNorm2d(2, eps=0.21))
    bias = np.array([3, -4], np.float32)
    model.load_state_dict({"0.weight": np.ones((2, 1, 1, 1), np.float32), "0.bias": bias})
    norm = model[1]
    assert norm.weight.tolist() == pytest.approx([1.1, 1.1])
    assert norm.bias.tolist() == [3, -4]
    assert norm.running_mean.tolist() == [0, 0]
    assert norm.running_var.tolist() == [1, 1]


def test_what_was_not_folded_is_left_alone():
    conv, norm = nn.Conv2d(1, 2, 1, bias=False), nn.BatchNorm2d(2)
    model = nn.Sequential(conv, norm)
    whole = {name: np.array(array) for name, array in model.state_dict().items()}
    bias = np.ones(2, np.float32)
    assert unfolded(model, whole) == whole
    lost = {"0.weight": whole["0.weight"]}  # a norm that is just not there
    assert unfolded(model, lost) == lost
    part = whole | {"0.bias": bias}  # a norm that is there, and a bias that is not wanted
    assert unfolded(model, part) == part
    wide = lost | {"0.bias": np.ones(3, np.float32)}
    assert unfolded(model, wide) == wide
    for state in (lost, part, wide):
        with pytest.raises(ValueError, match="the state dict does not fit Sequential"):
            model.load_state_dict(state)
    biased = nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2), nn.Linear(2, 2), norm)
    state = {name: a for name, a in biased.state_dict().items() if not name.startswith("1.")}
    with pytest.raises(ValueError, match=r"1\.running_mean: missing"):
        biased.load_state_dict(state)  # the other norm is there, so nothing was folded
    for norm in (nn.BatchNorm2d(2, affine=False), nn.BatchNorm2d(2, track_running_stats=False)):
        model = nn.Sequential(conv, norm)
        with pytest.raises(ValueError, match=r"0\.bias: unexpected"):
            model.load_state_dict({"0.weight": whole["0.weight"], "0.bias": bias})
