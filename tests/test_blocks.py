"""Building blocks: against torchvision's, against the same layers in torch.nn, and their costs.

Two blocks are compared with one state dict, in evaluation and in training, in float64: outputs,
all gradients, and the statistics that the batch norms gather.
"""

import re
from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from torchvision_oracle import torchvision

import nanoconv as nc
from nanoconv import nn
from nanoconv.nn import blocks

torch = pytest.importorskip("torch")
torch.set_num_threads(1)
tnn = torch.nn


def drawn(strategies):
    """Dictionaries with these values, in this order."""
    return st.tuples(*strategies.values()).map(
        lambda values: dict(zip(strategies, values, strict=True))
    )


few = st.integers(1, 4)
strides = st.integers(1, 2)


def layers(C, O, K=1, s=1, G=1, act=tnn.ReLU, d=1, norm=tnn.BatchNorm2d, bias=False):
    """Convolution, norm and activation of torch.nn, in a list."""
    padding = (K - 1) // 2 * d
    conv = tnn.Conv2d(C, O, K, s, padding, d, G, bias)
    return [conv, *([norm(O)] if norm else []), *([act()] if act else [])]


class Hand(tnn.Module):
    """torch.nn's layers in the order of our state dict, and how they are joined."""

    def __init__(self, join, *parts):
        super().__init__()
        self.parts = tnn.ModuleList(
            tnn.Sequential(*part) if isinstance(part, list) else part for part in parts
        )
        self.join = join

    def forward(self, x):
        return self.join(x, *self.parts)


# --------------------------------------------------------------------------- the cases
#
# Each has: `settings`, what Hypothesis draws; `channels` of the input; `ours` and `hand`, how the
# block is made here and from torch.nn; `theirs`, how in torchvision, if it has it; `letters`, those
# of the formulas in its docstring beside N, C, H, W, O, OH and OW, None where they do not apply.


class ConvBNActCase:
    block = blocks.ConvBNAct
    settings = drawn(
        {
            "C": few,
            "O": few,
            "K": st.sampled_from([1, 3, 5]),
            "s": strides,
            "G": strides,
            "d": strides,
            "norm": st.booleans(),
            "act": st.sampled_from(["ReLU", "Hardswish", None]),
            "bias": st.sampled_from([None, None, True, False]),
        }
    )
    channels = staticmethod(lambda x: x["C"] * x["G"])

    @staticmethod
    def make(kind, lib, x):
        return kind(
            x["C"] * x["G"],
            x["O"] * x["G"],
            x["K"],
            x["s"],
            groups=x["G"],
            norm_layer=lib.BatchNorm2d if x["norm"] else None,
            activation_layer=getattr(lib, x["act"]) if x["act"] else None,
            dilation=x["d"],
            bias=x["bias"],
        )

    @classmethod
    def ours(cls, x):
        return cls.make(blocks.ConvBNAct, nn, x)

    @classmethod
    def theirs(cls, vision, x):
        return cls.make(vision.ops.Conv2dNormActivation, tnn, x)

    @staticmethod
    def hand(x):
        act = getattr(tnn, x["act"]) if x["act"] else None
        norm = tnn.BatchNorm2d if x["norm"] else None
        bias = not x["norm"] if x["bias"] is None else x["bias"]
        C, O, G = x["C"] * x["G"], x["O"] * x["G"], x["G"]
        return Hand(lambda x, f: f(x), layers(C, O, x["K"], x["s"], G, act, x["d"], norm, bias))

    @staticmethod
    def letters(x):
        return {"K": x["K"], "G": x["G"]} if x["norm"] and not x["bias"] else None


class SqueezeExciteCase:
    block = blocks.SqueezeExcite
    settings = drawn(
        {
            "C": few,
            "S": few,
            "act": st.sampled_from(["ReLU", "SiLU"]),
            "scale": st.sampled_from(["Sigmoid", "Hardsigmoid"]),
        }
    )
    channels = staticmethod(lambda x: x["C"])

    @staticmethod
    def ours(x):
        acts = getattr(nn, x["act"]), getattr(nn, x["scale"])
        return blocks.SqueezeExcite(x["C"], x["S"], *acts)

    @staticmethod
    def theirs(vision, x):
        acts = getattr(tnn, x["act"]), getattr(tnn, x["scale"])
        return vision.ops.SqueezeExcitation(x["C"], x["S"], *acts)

    @staticmethod
    def hand(x):
        act, scale = getattr(tnn, x["act"])(), getattr(tnn, x["scale"])()
        return Hand(
            lambda x, first, second: x * scale(second(act(first(x.mean((2, 3), keepdim=True))))),
            tnn.Conv2d(x["C"], x["S"], 1),
            tnn.Conv2d(x["S"], x["C"], 1),
        )

    @staticmethod
    def letters(x):
        return {"S": x["S"]}


class DepthwiseSeparableCase:
    block = blocks.DepthwiseSeparable
    settings = drawn({"C": few, "O": few, "K": st.sampled_from([3, 5]), "s": strides})
    channels = staticmethod(lambda x: x["C"])
    theirs = None

    @staticmethod
    def ours(x):
        return blocks.DepthwiseSeparable(x["C"], x["O"], x["K"], x["s"])

    @staticmethod
    def hand(x):
        C, O, K, s = x.values()
        return Hand(lambda x, f: f(x), [*layers(C, C, K, s, C), *layers(C, O)])

    @staticmethod
    def letters(x):
        return {"K": x["K"]}


class InvertedResidualCase:
    block = blocks.InvertedResidual
    settings = drawn({"C": few, "O": few, "s": strides, "t": st.sampled_from([1, 2, 6, 1.5])})
    channels = staticmethod(lambda x: x["C"])

    @staticmethod
    def ours(x):
        return blocks.InvertedResidual(*x.values())

    @staticmethod
    def theirs(vision, x):
        return vision.models.mobilenetv2.InvertedResidual(*x.values())

    @staticmethod
    def hand(x):
        C, O, s, t = x.values()
        E = round(C * t)
        body = [*layers(E, E, 3, s, E, tnn.ReLU6), *layers(E, O, act=None)]
        if t != 1:
            body = [*layers(C, E, act=tnn.ReLU6), *body]
        return Hand(lambda x, f: x + f(x) if s == 1 and C == O else f(x), body)

    @staticmethod
    def letters(x):
        return {"t": x["t"], "E": round(x["C"] * x["t"])}


class InvertedResidualV3Case:
    block = blocks.InvertedResidualV3
    settings = drawn(
        {
            "C": few,
            "K": st.sampled_from([3, 5]),
            "E": st.integers(1, 40),
            "O": few,
            "se": st.booleans(),
            "act": st.sampled_from(["RE", "HS"]),
            "s": strides,
            "d": strides,
        }
    )
    channels = staticmethod(lambda x: x["C"])
    ours = staticmethod(lambda x: blocks.InvertedResidualV3(*x.values()))

    @staticmethod
    def theirs(vision, x):
        v3 = vision.models.mobilenetv3
        config = v3.InvertedResidualConfig(*x.values(), 1.0)
        # which rounds the channels to multiples of 8
        config.input_channels, config.expanded_channels = x["C"], x["E"]
        config.out_channels = x["O"]
        return v3.InvertedResidual(config, tnn.BatchNorm2d)

    @classmethod
    def hand(cls, x):
        C, K, E, O, se, act, s, d = x.values()
        act = tnn.Hardswish if act == "HS" else tnn.ReLU
        body = layers(E, E, K, 1 if d > 1 else s, E, act, d)
        if E != C:
            body = [*layers(C, E, act=act), *body]
        if se:
            gate = {"C": E, "S": cls.letters(x)["S"], "act": "ReLU", "scale": "Hardsigmoid"}
            body.append(SqueezeExciteCase.hand(gate))
        body += layers(E, O, act=None)
        return Hand(lambda x, f: x + f(x) if s == 1 and C == O else f(x), body)

    @staticmethod
    def letters(x):
        S = blocks.make_divisible(x["E"] // 4) if x["se"] else 0
        return {"K": x["K"], "E": x["E"], "S": S}


class ShuffleUnitCase:
    block = blocks.ShuffleUnit
    settings = drawn(
        {
            "s": strides,
            "G": st.integers(1, 3),
            "more": strides,
            "new": strides,
            "first": st.sampled_from([None, 1]),
        }
    )

    @staticmethod
    def sizes(x):
        """C, O: numbers of channels that all groups divide."""
        O = 4 * x["G"] * (x["more"] + x["new"])
        return (O if x["s"] == 1 else 4 * x["G"] * x["more"]), O

    @classmethod
    def channels(cls, x):
        return cls.sizes(x)[0]

    theirs = None

    @classmethod
    def ours(cls, x):
        return blocks.ShuffleUnit(*cls.sizes(x), x["s"], x["G"], x["first"])

    @classmethod
    def hand(cls, x):
        C, O = cls.sizes(x)
        letters, s, G = cls.letters(x), x["s"], x["G"]
        B, A, F = (letters[name] for name in "BAF")

        def join(x, first, rest):
            y = first(x)
            y = y.reshape(len(y), G, B // G, *y.shape[2:]).transpose(1, 2).reshape(y.shape)
            y = rest(y)
            mean = tnn.functional.avg_pool2d(x, 3, 2, 1)
            return torch.relu(x + y if s == 1 else torch.cat([y, mean], 1))

        rest = [*layers(B, B, 3, s, B, None), *layers(B, A, G=G, act=None)]
        return Hand(join, layers(C, B, G=F), rest)

    @classmethod
    def letters(cls, x):
        C, O = cls.sizes(x)
        A = O if x["s"] == 1 else O - C
        return {"B": O // 4, "A": A, "G": x["G"], "F": x["G"] if x["first"] is None else 1}


class ShuffleUnitV2Case:
    block = blocks.ShuffleUnitV2
    settings = drawn({"C": few, "O": few, "s": st.integers(1, 3)})

    @staticmethod
    def sizes(x):
        return (2 * x["O"] if x["s"] == 1 else x["C"]), 2 * x["O"], x["s"]

    @classmethod
    def channels(cls, x):
        return cls.sizes(x)[0]

    @classmethod
    def ours(cls, x):
        return blocks.ShuffleUnitV2(*cls.sizes(x))

    @classmethod
    def theirs(cls, vision, x):
        return vision.models.shufflenetv2.InvertedResidual(*cls.sizes(x))

    @classmethod
    def hand(cls, x):
        C, O, s = cls.sizes(x)
        B, D = O // 2, cls.letters(x)["D"]

        def join(x, left, right):
            x1, x2 = (x[:, : C // 2], x[:, C // 2 :]) if s == 1 else (x, x)
            y = torch.stack([left(x1), right(x2)], dim=2)  # card by card
            return y.flatten(1, 2)

        left = [*layers(C, C, 3, s, C, None), *layers(C, B)] if s > 1 else []
        right = [*layers(D, B), *layers(B, B, 3, s, B, None), *layers(B, B)]
        return Hand(join, left, right)

    @classmethod
    def letters(cls, x):
        C, O, s = cls.sizes(x)
        return {"s": s, "B": O // 2, "D": C if s > 1 else O // 2}


class FireCase:
    block = blocks.Fire
    settings = drawn({"C": few, "S": few, "A": few, "B": few})
    channels = staticmethod(lambda x: x["C"])
    ours = staticmethod(lambda x: blocks.Fire(*x.values()))

    @staticmethod
    def theirs(vision, x):
        return vision.models.squeezenet.Fire(*x.values())

    @staticmethod
    def hand(x):
        C, S, A, B = x.values()
        make = partial(layers, norm=None, bias=True)
        return Hand(
            lambda x, f, near, far: torch.cat([near(f(x)), far(f(x))], 1),
            make(C, S),
            make(S, A),
            make(S, B, 3),
        )

    @staticmethod
    def letters(x):
        return {name: x[name] for name in "SAB"}


def shortcut(lib, C, O, s):
    return lib.Sequential(lib.Conv2d(C, O, 1, s, bias=False), lib.BatchNorm2d(O))


def with_shortcut(C, O, s, body):
    parts = [body] + ([layers(C, O, s=s, act=None)] if s != 1 or C != O else [])
    return Hand(lambda x, f, *down: torch.relu(f(x) + (down[0](x) if down else x)), *parts)


class BasicBlockCase:
    block = blocks.BasicBlock
    settings = drawn({"C": few, "P": few, "s": strides})
    channels = staticmethod(lambda x: x["C"])

    @staticmethod
    def make(kind, lib, C, P, s):
        return kind(C, P, s, shortcut(lib, C, P, s) if s != 1 or C != P else None)

    @classmethod
    def ours(cls, x):
        return cls.make(blocks.BasicBlock, nn, *x.values())

    @classmethod
    def theirs(cls, vision, x):
        return cls.make(vision.models.resnet.BasicBlock, tnn, *x.values())

    @staticmethod
    def hand(x):
        C, P, s = x.values()
        return with_shortcut(C, P, s, [*layers(C, P, 3, s), *layers(P, P, 3, act=None)])

    @staticmethod
    def letters(x):
        return {"P": x["P"], "R": x["s"] != 1 or x["C"] != x["P"]}


class BottleneckCase:
    block = blocks.Bottleneck
    settings = drawn(
        {
            "C": st.sampled_from([1, 3, 4, 8]),
            "P": few,
            "s": strides,
            "G": st.integers(1, 3),
            "width": st.sampled_from([64, 96, 128]),
            "d": strides,
        }
    )
    channels = staticmethod(lambda x: x["C"])

    @staticmethod
    def make(kind, lib, C, P, s, G, width, d):
        down = shortcut(lib, C, 4 * P, s) if s != 1 or C != 4 * P else None
        return kind(C, P, s, down, G, width, d)

    @classmethod
    def ours(cls, x):
        return cls.make(blocks.Bottleneck, nn, *x.values())

    @classmethod
    def theirs(cls, vision, x):
        return cls.make(vision.models.resnet.Bottleneck, tnn, *x.values())

    @classmethod
    def hand(cls, x):
        C, P, s, G, _, d = x.values()
        D = cls.letters(x)["D"]
        body = [*layers(C, D), *layers(D, D, 3, s, G, d=d), *layers(D, 4 * P, act=None)]
        return with_shortcut(C, 4 * P, s, body)

    @staticmethod
    def letters(x):
        D = x["P"] * x["width"] // 64 * x["G"]
        R = x["s"] != 1 or x["C"] != 4 * x["P"]
        return {"P": x["P"], "D": D, "R": R, "G": x["G"]}


CASES: dict[str, Any] = {
    case.block.__name__: case
    for case in (
        ConvBNActCase,
        SqueezeExciteCase,
        DepthwiseSeparableCase,
        InvertedResidualCase,
        InvertedResidualV3Case,
        ShuffleUnitCase,
        ShuffleUnitV2Case,
        FireCase,
        BasicBlockCase,
        BottleneckCase,
    )
}
EACH = pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())


def test_every_block_has_a_case():
    assert {name for name in blocks.__all__ if name != "make_divisible"} == CASES.keys()


# --------------------------------------------------------------------------- the same numbers


def randomised(block, rng):
    """A state dict for it of random numbers."""

    def draw(name, shape):
        if name.endswith("num_batches_tracked"):
            return np.array(3)
        return rng.uniform(0.5, 2, shape) if name.endswith("var") else rng.normal(size=shape)

    return {name: draw(name, array.shape) for name, array in block.state_dict().items()}


def assert_close(ours, theirs, tolerance):
    theirs = theirs.detach().numpy()
    assert ours.shape == theirs.shape
    assert np.abs(ours - theirs).max(initial=0) <= tolerance * max(1, np.abs(theirs).max(initial=0))


def assert_same_block(ours, theirs, C, H, W, same_names=True):
    rng = np.random.default_rng(0)
    ours.double()
    theirs.double()
    state = randomised(ours, rng)
    names = list(theirs.state_dict())
    if same_names:
        assert list(state) == names
    ours.load_state_dict(state)
    values = map(torch.tensor, state.values())
    theirs.load_state_dict(dict(zip(names, values, strict=True)))
    tolerance = 1e-7  # PyTorch's hardsigmoid multiplies by a 1/6 of float32, in float64 too
    for training in (False, True):
        ours.train(training)
        theirs.train(training)
        x = rng.normal(size=(2, C, H, W))
        a, b = nc.tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
        y, z = ours(a), theirs(b)
        assert_close(y.detach().numpy(), z, tolerance)
        dy = rng.normal(size=y.shape)
        for p in (*ours.parameters(), *theirs.parameters()):
            p.grad = None
        y.backward(nc.tensor(dy))
        z.backward(torch.tensor(dy))
        assert_close(a.grad.numpy(), b.grad, tolerance)
        for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
            assert_close(p.grad.numpy(), q.grad, tolerance)
        for p, q in zip(ours.buffers(), theirs.buffers(), strict=True):
            assert_close(p.numpy(), q, tolerance)
    ours.float()
    ours.eval()
    theirs.eval()
    y = ours(nc.tensor(x.astype(np.float32)))
    assert_close(y.detach().numpy(), theirs(torch.tensor(x)), 1e-4)  # the compiled rungs


@EACH
@given(st.data(), st.integers(3, 7), st.integers(3, 7))
def test_blocks_equal_the_same_layers_of_pytorch(case, data, H, W):
    x = data.draw(case.settings)
    assert_same_block(case.ours(x), case.hand(x), case.channels(x), H, W, same_names=False)


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.theirs])
@given(st.data(), st.integers(3, 7), st.integers(3, 7))
def test_blocks_equal_torchvisions(name, data, H, W):
    case = CASES[name]
    x = data.draw(case.settings)
    assert_same_block(case.ours(x), case.theirs(torchvision(), x), case.channels(x), H, W)


def test_channels_are_rounded():
    expected = {1: 8, 8: 8, 8.8: 8, 9: 16, 12: 16, 19.9: 24, 26.4: 24, 90: 88, 100: 104}
    assert {v: blocks.make_divisible(v) for v in expected} == expected


def test_channels_are_rounded_as_in_torchvision():
    theirs = torchvision().models._utils._make_divisible
    for v in (*range(1, 100), 12.5, 26.4, 71.99):
        assert blocks.make_divisible(v) == theirs(v, 8)
        assert blocks.make_divisible(v, 4, 16) == theirs(v, 4, 16)


# --------------------------------------------------------------------------- costs


def formula(block, name):
    """The right-hand side in its docstring, in Python."""
    (text,) = re.findall(rf"^ *{name}  +(\S.*)$", block.__doc__, re.MULTILINE)
    for sign, python in (("·", "*"), ("²", "**2"), ("≠", "!="), ("[", "("), ("]", ")")):
        text = text.replace(sign, python)
    return text


@EACH
@given(st.data(), st.integers(1, 3), st.integers(3, 9), st.integers(3, 9))
def test_blocks_cost_what_their_docstrings_say(case, data, N, H, W):
    x = data.draw(case.settings)
    letters = case.letters(x)
    if letters is None:
        return
    block, C = case.ours(x), case.channels(x)
    found = nc.summary(block, (N, C, H, W))
    _, O, OH, OW = block.eval()(nc.zeros(N, C, H, W)).shape
    letters |= {"N": N, "C": C, "H": H, "W": W, "O": O, "OH": OH, "OW": OW}
    assert eval(formula(case.block, "parameters"), letters) == found.parameters
    assert eval(formula(case.block, "MACs"), letters) == found.macs


# --------------------------------------------------------------------------- arguments


def test_padding_and_kernels_of_conv_bn_act():
    block = blocks.ConvBNAct(2, 3, (5, 3), padding=None, dilation=(1, 2))
    assert block[0].padding == (2, 2)
    assert block(nc.zeros(1, 2, 6, 7)).shape == (1, 3, 6, 7)
    assert blocks.ConvBNAct(2, 3, 3, padding=0)[0].padding == (0, 0)
    assert blocks.ConvBNAct(2, 3, 3, padding="valid")[0].padding == "valid"
    assert block.out_channels == 3


def test_inplace_goes_to_the_activation_unless_it_is_none():
    assert blocks.ConvBNAct(1, 1)[2].inplace is True
    assert blocks.ConvBNAct(1, 1, inplace=False)[2].inplace is False
    assert isinstance(
        blocks.ConvBNAct(1, 1, activation_layer=nn.Sigmoid, inplace=None)[2], nn.Sigmoid
    )


def test_norms_and_gates_can_be_exchanged():
    norm = partial(nn.BatchNorm2d, eps=0.5)
    for block in (
        blocks.DepthwiseSeparable(2, 3, norm_layer=norm),
        blocks.InvertedResidual(2, 3, 1, 2, norm),
        blocks.InvertedResidualV3(2, 3, 4, 3, False, "RE", 1, norm_layer=norm),
        blocks.ShuffleUnit(8, 8, 1, 2, norm_layer=norm),
        blocks.BasicBlock(2, 2, norm_layer=norm),
        blocks.Bottleneck(8, 2, norm_layer=norm),
    ):
        found = [m.eps for m in block.modules() if isinstance(m, nn.BatchNorm2d)]
        assert len(found) > 1
        assert set(found) == {0.5}
    gate = blocks.InvertedResidualV3(2, 3, 4, 2, True, "HS", 1, se_layer=blocks.SqueezeExcite)
    assert isinstance(gate.block[2].scale_activation, nn.Sigmoid)


MISTAKES = {
    "InvertedResidual: stride=3 must be 1 or 2": lambda: blocks.InvertedResidual(2, 2, 3, 6),
    "InvertedResidualV3: stride=0 must be 1 or 2": (
        lambda: blocks.InvertedResidualV3(2, 3, 4, 2, True, "HS", 0)
    ),
    "InvertedResidualV3: activation='relu' must be 'RE'": (
        lambda: blocks.InvertedResidualV3(2, 3, 4, 2, True, "relu", 1)
    ),
    "ShuffleUnit: stride=3 must be 1 or 2": lambda: blocks.ShuffleUnit(8, 8, 3, 2),
    "stride=1 needs oup = inp, got inp=8 and oup=16": lambda: blocks.ShuffleUnit(8, 16, 1, 2),
    "stride=2 needs oup > inp, got inp=8 and oup=8": lambda: blocks.ShuffleUnit(8, 8, 2, 2),
    "oup=6 must be divisible by 4": lambda: blocks.ShuffleUnit(6, 6, 1, 1),
    "groups=3 must divide the 8 input channels": lambda: blocks.ShuffleUnit(8, 8, 1, 3),
    "ShuffleUnitV2: stride=4 must be 1, 2 or 3": lambda: blocks.ShuffleUnitV2(4, 4, 4),
    "ShuffleUnitV2: oup=7 must be even": lambda: blocks.ShuffleUnitV2(4, 7, 2),
    "needs an even oup = inp, got inp=4 and oup=6": lambda: blocks.ShuffleUnitV2(4, 6, 1),
    "BasicBlock: groups=2, base_width=64": lambda: blocks.BasicBlock(2, 2, groups=2),
    "and dilation=2 must be 1, 64 and 1": lambda: blocks.BasicBlock(2, 2, dilation=2),
    r"BasicBlock: the shortcut has shape \[1, 2, 4, 4\], expected \[1, 3, 2, 2\]; give": (
        lambda: blocks.BasicBlock(2, 3, stride=2)(nc.zeros(1, 2, 4, 4))
    ),
    "ConvBNAct: kernel_size=0": lambda: blocks.ConvBNAct(2, 2, 0),
}


@pytest.mark.parametrize("message", MISTAKES)
def test_mistakes(message):
    with pytest.raises(ValueError, match=message):
        MISTAKES[message]()
