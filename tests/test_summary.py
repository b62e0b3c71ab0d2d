"""Parameters and multiply-adds, against counts by hand and the papers' formulas."""

import numpy as np
import pytest

import nanoconv as nc
from nanoconv import nn
from nanoconv.graph import summary
from nanoconv.models.digits import BLOCKS, INPUT_SHAPE, digit_net


def test_counts_of_single_layers() -> None:
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2, padding=1),  # 2·8·4·4 outputs, 27 multiply-adds each
        nn.BatchNorm2d(8),
        nn.Conv2d(8, 8, 3, groups=8, bias=False),  # 2·8·2·2 outputs, 9 each
        nn.Conv2d(8, 12, 1, groups=4),  # 2·12·2·2 outputs, 2 each
        nn.Flatten(),
        nn.Linear(48, 5),
    )
    found = summary(model, (2, 3, 8, 8))
    assert [layer.macs for layer in found.layers] == [256 * 27, 0, 64 * 9, 96 * 2, 0, 2 * 5 * 48]
    assert [layer.parameters for layer in found.layers] == [224, 16, 72, 36, 0, 245]
    assert [layer.output for layer in found.layers][-3:] == [(2, 12, 2, 2), (2, 48), (2, 5)]
    assert found.macs == 256 * 27 + 64 * 9 + 96 * 2 + 480
    assert found.flops == 2 * found.macs
    assert found.parameters == sum(p.numel() for p in model.parameters())


def test_own_ops_shared_layers_and_bare_parameters() -> None:
    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.twice = nn.Linear(4, 4, bias=False)
            self.tied = nn.Linear(4, 4, bias=False)
            self.tied.weight = self.twice.weight
            self.scale = nn.Parameter(np.ones((4, 4), np.float32))
            self.unused = nn.Linear(4, 2)

        def forward(self, x):
            return self.tied(self.twice(self.twice(x))) @ self.scale

    found = {layer.name: layer for layer in summary(Odd(), (3, 4)).layers}
    assert {name: layer.macs for name, layer in found.items()} == {
        "": 48,  # the matrix product that no layer owns
        "twice": 96,
        "tied": 48,
        "unused": 0,
    }
    assert {name: layer.parameters for name, layer in found.items()} == {
        "": 16,
        "twice": 16,
        "tied": 0,
        "unused": 10,
    }


def test_the_model_is_left_as_it_was() -> None:
    model = nn.Sequential(nn.BatchNorm2d(2), nn.Dropout(), nn.Conv2d(2, 2, 1))
    model[1].eval()
    before = {name: array.copy() for name, array in model.state_dict().items()}
    summary(model, (1, 2, 4, 4))
    with pytest.raises(ValueError, match="expected"):
        summary(model, (1, 5, 4, 4))
    assert [m.training for m in model.modules()] == [True, True, False, True]
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    assert all((before[name] == array).all() for name, array in model.state_dict().items())
    assert nc.is_grad_enabled()


@pytest.mark.parametrize(("C", "N"), [(32, 32), (32, 64), (64, 64)])
def test_blocks_cost_what_their_equations_say(C: int, N: int) -> None:
    K2, S, A = 9, N // 4, N if C == N else N - C
    per_pixel = {
        "standard": C * N * K2,
        "separable": C * K2 + C * N,
        "shuffle": C * N // 4 + N * K2 + N * A // 4,
        "fire": C * S + S * N // 2 + S * N // 2 * K2,
    }
    costs = {net: summary(make(C, N), (1, C, 5, 5)).macs for net, make in BLOCKS.items()}
    assert costs == {net: 25 * macs for net, macs in per_pixel.items()}
    assert costs["separable"] / costs["standard"] == pytest.approx(1 / N + 1 / 9, rel=1e-12)


@pytest.mark.parametrize("net", BLOCKS)
def test_the_nets(net: str) -> None:
    found = summary(digit_net(net), INPUT_SHAPE)
    assert found.layers[-1].output == (1, 10)
    assert found.parameters == sum(p.numel() for p in digit_net(net).parameters())


def test_the_table_is_aligned() -> None:
    lines = str(summary(digit_net("fire"), INPUT_SHAPE)).splitlines()
    assert lines[0].split() == ["layer", "output", "parameters", "MACs"]
    assert lines[-1].split() == ["Sequential", "16,330", "404,096"]
    assert len({len(line) for line in lines}) == 1
