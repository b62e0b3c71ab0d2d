"""The blocks of the MobileNets: depthwise convolutions look around, 1×1 ones mix channels.

>>> import nanoconv as nc
>>> x = nc.zeros(1, 24, 8, 8)
>>> InvertedResidual(24, 32, stride=2, expand_ratio=6)(x).shape
(1, 32, 4, 4)
>>> plain, separable = ConvBNAct(24, 32), DepthwiseSeparable(24, 32)
>>> [nc.summary(block, x.shape).macs for block in (plain, separable)]
[442368, 62976]
"""

from __future__ import annotations

from functools import partial

from ...tensor import Tensor
from ..activations import Hardsigmoid, Hardswish, ReLU, ReLU6
from ..arguments import Pair
from ..container import Sequential
from ..layers import Conv2d
from ..module import Module
from ..normalisation import BatchNorm2d
from .conv import ConvBNAct, Layer, SqueezeExcite, check_stride


class DepthwiseSeparable(Sequential):
    """A convolution in two steps: K×K in each channel alone, then 1×1 across the channels.

                x (C, H, W)
        ┌───────▼────────┐
        │ K×K  depthwise │ stride s, BN, ReLU
        ├────────────────┤
        │ 1×1  C → O     │ BN, ReLU
        └───────┬────────┘
                y (O, OH, OW)

        parameters  C·K² + 2·C + C·O + 2·O
        MACs        N·OH·OW·(C·K² + C·O)

    A plain K×K convolution has N·OH·OW·C·O·K² MACs: this is the share 1/O + 1/K² of it. Howard et
    al., MobileNets, arXiv 1704.04861, figure 3.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Pair = 3,
        stride: Pair = 1,
        norm_layer: Layer | None = BatchNorm2d,
        activation_layer: Layer | None = ReLU,
    ) -> None:
        make = partial(ConvBNAct, norm_layer=norm_layer, activation_layer=activation_layer)
        super().__init__(
            make(in_channels, in_channels, kernel_size, stride, groups=in_channels),
            make(in_channels, out_channels, 1),
        )
        self.out_channels = out_channels


class InvertedResidual(Module):
    """Thin ends and a wide middle: expand by 1×1, look around depthwise, project by 1×1.

                x (C, H, W)
                ├───────────────────────────────┐
        ┌───────▼────────┐                      │
        │ 1×1  C → E     │ BN, ReLU6; if t ≠ 1  │
        ├────────────────┤                      │
        │ 3×3  depthwise │ stride s, BN, ReLU6  │ if s = 1 and C = O
        ├────────────────┤                      │
        │ 1×1  E → O     │ BN                   │
        └───────┬────────┘                      │
                + ◄─────────────────────────────┘
                y (O, OH, OW)

        parameters  [t ≠ 1]·(C·E + 2·E) + 11·E + E·O + 2·O
        MACs        N·H·W·[t ≠ 1]·C·E + N·OH·OW·(9·E + E·O)

    t = `expand_ratio`, E = C·t. No activation follows the projection: in few channels a ReLU would
    lose too much. Sandler et al., MobileNetV2, arXiv 1801.04381, figure 4(d).
    """

    def __init__(
        self,
        inp: int,
        oup: int,
        stride: int,
        expand_ratio: float,
        norm_layer: Layer | None = None,
    ) -> None:
        super().__init__()
        check_stride("InvertedResidual", stride, 1, 2)
        norm = BatchNorm2d if norm_layer is None else norm_layer
        make = partial(ConvBNAct, norm_layer=norm, activation_layer=ReLU6)
        hidden = round(inp * expand_ratio)
        self.conv = Sequential(
            *([make(inp, hidden, 1)] if expand_ratio != 1 else []),
            make(hidden, hidden, stride=stride, groups=hidden),
            Conv2d(hidden, oup, 1, bias=False),
            norm(oup),
        )
        self.stride, self.out_channels = stride, oup
        self.use_res_connect = stride == 1 and inp == oup

    def forward(self, input: Tensor) -> Tensor:
        y = self.conv(input)
        return input + y if self.use_res_connect else y


class InvertedResidualV3(Module):
    """MobileNetV3's form: other kernels and activations, and a gate before the projection.

                x (C, H, W)
                ├─────────────────────────────────┐
        ┌───────▼────────┐                        │
        │ 1×1  C → E     │ BN, act; if E ≠ C      │
        ├────────────────┤                        │
        │ K×K  depthwise │ stride s, BN, act      │
        ├────────────────┤                        │ if s = 1 and C = O
        │ SqueezeExcite  │ S, ReLU, Hardsigmoid;  │
        ├────────────────┤ if use_se              │
        │ 1×1  E → O     │ BN                     │
        └───────┬────────┘                        │
                + ◄───────────────────────────────┘
                y (O, OH, OW)

        parameters  [E ≠ C]·(C·E + 2·E) + E·K² + 2·E + [S > 0]·(2·E·S + S + E) + E·O + 2·O
        MACs        N·H·W·[E ≠ C]·C·E + N·OH·OW·(E·K² + E·O) + 2·N·E·S

    C, K, E, O: the first four arguments. S = E/4 as `make_divisible` rounds it, 0 without `use_se`.
    `activation` is "RE" (ReLU) or "HS" (Hardswish), as in the paper's tables. With a dilation above
    1 the depthwise convolution has no stride. torchvision's block takes the same arguments, in an
    InvertedResidualConfig. Howard et al., Searching for MobileNetV3, arXiv 1905.02244, figure 4.
    """

    def __init__(
        self,
        input_channels: int,
        kernel: int,
        expanded_channels: int,
        out_channels: int,
        use_se: bool,
        activation: str,
        stride: int,
        dilation: int = 1,
        norm_layer: Layer | None = None,
        se_layer: Layer | None = None,
    ) -> None:
        super().__init__()
        check_stride("InvertedResidualV3", stride, 1, 2)
        if activation not in ("RE", "HS"):
            raise ValueError(
                f"InvertedResidualV3: activation={activation!r} must be 'RE' (ReLU) or "
                "'HS' (Hardswish)"
            )
        norm = BatchNorm2d if norm_layer is None else norm_layer
        act = Hardswish if activation == "HS" else ReLU
        make = partial(ConvBNAct, norm_layer=norm, activation_layer=act)
        expanded = expanded_channels
        layers: list[Module] = []
        if expanded != input_channels:
            layers.append(make(input_channels, expanded, 1))
        layers.append(
            make(
                expanded,
                expanded,
                kernel,
                stride=1 if dilation > 1 else stride,
                dilation=dilation,
                groups=expanded,
            )
        )
        if use_se:
            gate = partial(SqueezeExcite, scale_activation=Hardsigmoid)
            make_gate = gate if se_layer is None else se_layer
            layers.append(make_gate(expanded, make_divisible(expanded // 4)))
        layers.append(ConvBNAct(expanded, out_channels, 1, norm_layer=norm, activation_layer=None))
        self.block = Sequential(*layers)
        self.out_channels = out_channels
        self.use_res_connect = stride == 1 and input_channels == out_channels

    def forward(self, input: Tensor) -> Tensor:
        y = self.block(input)
        return y + input if self.use_res_connect else y


def make_divisible(v: float, divisor: int = 8, min_value: int | None = None) -> int:
    """The multiple of `divisor` nearest to v, at least `min_value` and more than 0.9 · v.

    How the MobileNets round numbers of channels.

    >>> make_divisible(16 * 0.75), make_divisible(11), make_divisible(2)
    (16, 16, 8)
    """
    nearest = int(v + divisor / 2) // divisor * divisor
    rounded = max(divisor if min_value is None else min_value, nearest)
    return rounded if rounded >= 0.9 * v else rounded + divisor
