"""What nearly every block is made of: convolution, norm, activation; and a gate for channels.

>>> import nanoconv as nc
>>> ConvBNAct(3, 16, stride=2)
ConvBNAct(
  (0): Conv2d(3, 16, kernel_size=(3, 3), stride=(2, 2), padding=(1, 1), bias=False)
  (1): BatchNorm2d(16, eps=1e-05, momentum=0.1, affine=True, bias=True, track_running_stats=True)
  (2): ReLU(inplace=True)
)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ...ops.geometry import pair
from ...tensor import Tensor
from ..activations import ReLU, Sigmoid
from ..arguments import Pair
from ..container import Sequential
from ..layers import Conv2d
from ..module import Module
from ..normalisation import BatchNorm2d
from ..pooling import AdaptiveAvgPool2d

Layer = Callable[..., Module]  # a class of layers, or a function that makes one


class ConvBNAct(Sequential):
    """A convolution, a norm and an activation: y = act(norm(w ⋆ x)).

                x (C, H, W)
        ┌───────▼────────┐
        │ K×K  C → O     │ stride s, G groups, no bias
        ├────────────────┤
        │ norm           │ BatchNorm2d
        ├────────────────┤
        │ activation     │ ReLU
        └───────┬────────┘
                y (O, OH, OW)

        parameters  O·C/G·K² + 2·O
        MACs        N·OH·OW·O·C/G·K²

    A bias would be taken off again by the norm, which subtracts the mean; hence `bias=None` is one
    only without a norm. `padding=None` keeps the size where s = 1. `norm_layer` and
    `activation_layer` are called with the channels and with `inplace` (nothing, where that is
    None); None leaves the layer out. torchvision calls it Conv2dNormActivation: the arguments are
    the same, the shorter name tells the three parts that it nearly always has. Ioffe & Szegedy,
    arXiv 1502.03167, section 3.2.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Pair = 3,
        stride: Pair = 1,
        padding: Pair | str | None = None,
        groups: int = 1,
        norm_layer: Layer | None = BatchNorm2d,
        activation_layer: Layer | None = ReLU,
        dilation: Pair = 1,
        inplace: bool | None = True,
        bias: bool | None = None,
    ) -> None:
        if padding is None:
            taps = pair("ConvBNAct", "kernel_size", kernel_size, 1)
            steps = pair("ConvBNAct", "dilation", dilation, 1)
            padding = ((taps[0] - 1) // 2 * steps[0], (taps[1] - 1) // 2 * steps[1])
        if bias is None:
            bias = norm_layer is None
        layers: list[Module] = [
            Conv2d(in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias)
        ]
        if norm_layer is not None:
            layers.append(norm_layer(out_channels))
        if activation_layer is not None:
            arguments: dict[str, Any] = {} if inplace is None else {"inplace": inplace}
            layers.append(activation_layer(**arguments))
        super().__init__(*layers)
        self.out_channels = out_channels


class SqueezeExcite(Module):
    """Looks at the whole image, and turns each channel up or down: y = x · σ(W₂·δ(W₁·mean(x))).

             x (C, H, W)
             ├────────────────────┐
             │          ┌─────────▼─────────┐
             │          │ mean over pixels  │ (C, 1, 1)
             │          ├───────────────────┤
             │          │ 1×1  C → S        │ bias, δ: ReLU
             │          ├───────────────────┤
             │          │ 1×1  S → C        │ bias, σ: Sigmoid
             │          └─────────┬─────────┘
             × ◄──────────────────┘
             y (C, H, W)

        parameters  2·C·S + S + C
        MACs        2·N·C·S

    S is `squeeze_channels`; `activation` and `scale_activation` are δ and σ. torchvision calls it
    SqueezeExcitation. Hu et al., Squeeze-and-Excitation Networks, arXiv 1709.01507, figure 1.
    """

    def __init__(
        self,
        input_channels: int,
        squeeze_channels: int,
        activation: Layer = ReLU,
        scale_activation: Layer = Sigmoid,
    ) -> None:
        super().__init__()
        self.avgpool = AdaptiveAvgPool2d(1)
        self.fc1 = Conv2d(input_channels, squeeze_channels, 1)
        self.fc2 = Conv2d(squeeze_channels, input_channels, 1)
        self.activation = activation()
        self.scale_activation = scale_activation()

    def forward(self, input: Tensor) -> Tensor:
        scale = self.activation(self.fc1(self.avgpool(input)))
        return self.scale_activation(self.fc2(scale)) * input


def check_stride(block: str, stride: Any, *allowed: int) -> None:
    """ValueError unless the stride is one that the block has a form for."""
    if stride not in allowed:
        known = ", ".join(map(str, allowed[:-1]))
        raise ValueError(f"{block}: stride={stride!r} must be {known} or {allowed[-1]}")
