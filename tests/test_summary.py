"""Parameters and multiply-adds, against counts by hand and the papers' formulas."""

import json
import sys
from typing import Any

import numpy as np
import pytest

import nanoconv as nc
from nanoconv import nn
from nanoconv.graph import summary
from nanoconv.graph.separable import separable, theory
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


def test_bytes_of_single_layers() -> None:
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),  # reads 2·3·4·4 and 224, writes 2·8·4·4 numbers
        nn.ReLU(),  # reads and writes 2·8·4·4
        nn.GlobalAvgPool2d(),  # reads 2·8·4·4, writes 2·8
        nn.Flatten(),  # a view
        nn.Linear(8, 5, bias=False),  # reads 2·8 and 5·8, writes 2·5
        nn.Dropout(),  # does nothing in evaluation
    )
    found = summary(model, (2, 3, 4, 4))
    expected = [4 * (96 + 224 + 256), 4 * 512, 4 * (256 + 16), 0, 4 * (16 + 40 + 10)]
    assert [layer.bytes for layer in found.layers] == expected
    assert found.bytes == sum(expected)


def test_depth_adds_up_what_is_inside() -> None:
    found = summary(digit_net("fire"), INPUT_SHAPE)
    for depth in (1, 2, 3, 99):
        shallow = found.at_depth(depth)
        for count in ("parameters", "macs", "flops", "bytes"):
            assert getattr(shallow, count) == getattr(found, count)
        assert max(layer.name.count(".") for layer in shallow.layers) < depth
        assert shallow.layers[-1].output == (1, 10)
    assert found.at_depth(99).layers == found.layers
    first = found.at_depth(1).layers[0]
    assert (first.name, first.kind) == ("stem", "Sequential")
    assert first.output == next(
        layer.output for layer in reversed(found.layers) if layer.name.startswith("stem.")
    )
    with pytest.raises(ValueError, match="depth=0 must be at least 1"):
        found.at_depth(0)


def test_a_summary_is_json() -> None:
    found = summary(digit_net("shuffle"), INPUT_SHAPE)
    read = json.loads(json.dumps(found.as_dict()))
    assert read["macs"] == found.macs == sum(layer["macs"] for layer in read["layers"])
    assert read["flops"] == 2 * read["macs"]
    assert read["layers"][0]["output"] == [1, 32, 8, 8]


def test_the_table_is_aligned() -> None:
    found = summary(digit_net("fire"), INPUT_SHAPE)
    lines = str(found).splitlines()
    heading = ["layer", "output", "parameters", "MACs", "FLOPs", "bytes", "share"]
    assert lines[0].split() == heading
    total = ["Sequential", "16,330", "404,096", "808,192", f"{found.bytes:,}", "100.0%"]
    assert lines[-1].split() == total
    assert len({len(line) for line in lines}) == 1


# --------------------------------------------------------------------------- separable


def test_pairs_of_the_separable_net_make_it_the_standard_one() -> None:
    separable_net, standard = digit_net("separable"), digit_net("standard")
    pairs = separable(separable_net, INPUT_SHAPE)
    assert [pair.name for pair in pairs] == [f"block{k}.0" for k in (1, 2, 3, 4)]
    assert all(pair.share == pytest.approx(pair.predicted, rel=1e-12) for pair in pairs)
    saved = sum(pair.standard - pair.macs for pair in pairs)
    cost = summary(separable_net, INPUT_SHAPE)
    assert cost.macs + saved == summary(standard, INPUT_SHAPE).macs
    page = theory(separable_net, INPUT_SHAPE, cost)
    assert f"would cost {cost.macs + saved:,} multiply-adds instead of {cost.macs:,}" in page
    assert "14.2%" in page


def test_a_gate_between_the_two_is_no_part_of_the_pair() -> None:
    block = nn.blocks.InvertedResidualV3(8, 5, 32, 16, True, "HS", 2)
    (pair,) = separable(block, (2, 8, 9, 9))
    assert (pair.channels, pair.kernel, pair.pixels) == ((32, 16), (5, 5), (2, 5, 5))
    assert pair.macs == 2 * 25 * (32 * 25 + 32 * 16)
    assert pair.standard == 2 * 25 * 32 * 16 * 25


def test_a_net_without_pairs_says_so() -> None:
    model = nn.Conv2d(4, 4, 3, groups=4)
    cost = summary(model, (1, 4, 5, 5))
    assert theory(model, (1, 4, 5, 5), cost) == ("Conv2d has no depthwise separable convolutions.")


# --------------------------------------------------------------------------- the command


@pytest.fixture
def run(monkeypatch, capsys):
    """Runs the command; gives its status, output and errors."""
    pytest.importorskip("typer", reason="needs the extra [cli]")
    from nanoconv.cli import main

    def command(*arguments: object) -> tuple[Any, str, str]:
        monkeypatch.setattr(sys, "argv", ["nanoconv", "summary", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        return ended.value.code or 0, *capsys.readouterr()

    return command


def test_the_command_counts_a_network(run) -> None:
    status, output, errors = run("mobilenet_v2", "--depth", 2, "--theory")
    assert (status, errors) == (0, "")
    assert "FLOPs: two for each MAC" in output
    (total,) = (line for line in output.splitlines() if line.startswith("MobileNetV2 "))
    assert total.split()[1:4] == ["3,504,872", f"{299_494_272 + 1_280_000:,}", "601,548,544"]
    assert "1/O + 1/K²" in output


def test_the_images_are_of_the_size_that_the_weights_are_for(run) -> None:
    status, output, _ = run("resnet20", "--depth", 1)
    assert status == 0
    (total,) = (line for line in output.splitlines() if line.startswith("ResNetCifar "))
    assert total.split()[1:3] == ["269,722", "40,551,040"]  # of 32×32 pixels
    assert "40,551,040" not in run("resnet20", "--size", 64)[1]


def test_the_command_prints_json(run) -> None:
    status, output, _ = run(
        "mobilenet_v1", "--set", "width_mult=0.25", "--size", 160, "--json", "--theory"
    )
    assert status == 0
    found = json.loads(output)
    assert found["parameters"] == 470_072
    assert found["layers"][0]["output"] == [1, 8, 80, 80]
    assert len(found["separable"]) == 13


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("mobilenet_v9",), "no network 'mobilenet_v9'"),
        (("mobilenet_v1", "--set", "width"), "--set width: expected NAME=VALUE"),
        (("mobilenet_v1", "--set", "colour=3"), "no argument 'colour'"),
        (("mobilenet_v1", "--set", "num_classes=0"), "num_classes"),
        (("mobilenet_v1", "--size", "1000000"), "--size"),
        (("mobilenet_v1", "--depth", "0"), "--depth"),
    ],
)
def test_the_command_says_what_is_wrong(run, arguments, message) -> None:
    status, output, errors = run(*arguments)
    assert status in (1, 2)
    assert message in errors
    assert errors.count("\n") == 1
    assert output == ""
