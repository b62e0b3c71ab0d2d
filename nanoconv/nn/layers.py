"""The layers that hold weights: each calls the function of the same name.

Names, arguments, defaults, attributes and initial values are PyTorch's. The maths of each layer is
in `nanoconv/ops/`, where the function is. A new layer is float32; `.double()` converts it.
"""

from __future__ import annotations

from .. import functional as F
from ..ops.checks import check_groups
from ..ops.geometry import four_sides, pair
from ..tensor import Tensor
from .arguments import Pair, count, parameter, reset_affine
from .module import Module, Parameter


class Conv2d(Module):
    """Convolution of images with O learned filters of KH×KW taps (see `functional.conv2d`).

        y[n,o] = b[o] + Σ_c w[o,c] ⋆ x[n,c]          c over the input channels of o's group

    (N, C, H, W) → (N, O, OH, OW), also without N; weight (O, C/groups, KH, KW), bias (O,).
    `padding` is an integer, a pair, four values (top, bottom, left, right), "valid" or "same";
    what it adds is zeros, the only `padding_mode` there is. LeCun et al., Neural Computation 1(4),
    1989.

    >>> Conv2d(3, 16, 3, stride=2, padding=1)
    Conv2d(3, 16, kernel_size=(3, 3), stride=(2, 2), padding=(1, 1))
    """

    weight: Parameter
    bias: Parameter | None

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Pair,
        stride: Pair = 1,
        padding: Pair | tuple[int, int, int, int] | str = 0,
        dilation: Pair = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
    ) -> None:
        super().__init__()
        name = type(self).__name__
        if padding_mode != "zeros":
            raise ValueError(
                f"{name}: padding_mode={padding_mode!r} is not supported, only 'zeros'"
            )
        self.padding_mode = padding_mode
        self.in_channels = count(name, "in_channels", in_channels)
        self.out_channels = count(name, "out_channels", out_channels)
        self.kernel_size = pair(name, "kernel_size", kernel_size, 1)
        self.stride = pair(name, "stride", stride, 1)
        self.dilation = pair(name, "dilation", dilation, 1)
        check_groups(name, groups, self.in_channels, self.out_channels)
        self.groups = groups
        sides = four_sides(name, padding, self.kernel_size, self.kernel_size, (1, 1), (1, 1))
        if isinstance(padding, str):
            self.padding: str | tuple[int, ...] = padding
        else:  # as short as it was given: a pair, or four sides
            four = isinstance(padding, (tuple, list)) and len(padding) == 4
            self.padding = sides if four else sides[::2]
        self.weight = parameter(self.out_channels, self.in_channels // groups, *self.kernel_size)
        self.register_parameter("bias", parameter(self.out_channels) if bias else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """New random values: weight and bias uniform on ±1/√(C/groups · KH · KW)."""
        reset_affine(self.weight, self.bias)

    def forward(self, input: Tensor) -> Tensor:
        return F.conv2d(
            input, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups
        )

    def extra_repr(self) -> str:
        text = f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}"
        text += f", stride={self.stride}"
        if self.padding != (0, 0):
            text += f", padding={self.padding}"
        if self.dilation != (1, 1):
            text += f", dilation={self.dilation}"
        if self.groups != 1:
            text += f", groups={self.groups}"
        return text if self.bias is not None else text + ", bias=False"


class DepthwiseConv2d(Conv2d):
    """Convolution of each channel on its own, with `multiplier` filters of its own.

        y[n,o] = b[o] + w[o,0] ⋆ x[n, ⌊o / multiplier⌋]

    (N, C, H, W) → (N, C·multiplier, OH, OW); weight (C·multiplier, 1, KH, KW). The same layer as
    Conv2d(C, C·multiplier, …, groups=C). Howard et al., MobileNets, arXiv 1704.04861.
    """

    def __init__(
        self,
        in_channels: int,
        kernel_size: Pair,
        multiplier: int = 1,
        stride: Pair = 1,
        padding: Pair | tuple[int, int, int, int] | str = 0,
        dilation: Pair = 1,
        bias: bool = True,
    ) -> None:
        channels = count("DepthwiseConv2d", "in_channels", in_channels)
        out_channels = channels * count("DepthwiseConv2d", "multiplier", multiplier)
        super().__init__(
            channels, out_channels, kernel_size, stride, padding, dilation, channels, bias
        )


class Linear(Module):
    """A matrix product and a shift along the last axis (see `functional.linear`).

        y = x·Wᵀ + b

    (…, in_features) → (…, out_features); weight (out_features, in_features), bias (out_features,).
    """

    weight: Parameter
    bias: Parameter | None

    def __init__(self, in_features: int, out_features: int, bias: bool = True) -> None:
        super().__init__()
        self.in_features = count("Linear", "in_features", in_features, 0)
        self.out_features = count("Linear", "out_features", out_features, 0)
        self.weight = parameter(self.out_features, self.in_features)
        self.register_parameter("bias", parameter(self.out_features) if bias else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """New random values: weight and bias uniform on ±1/√in_features."""
        reset_affine(self.weight, self.bias)

    def forward(self, input: Tensor) -> Tensor:
        return F.linear(input, self.weight, self.bias)

    def extra_repr(self) -> str:
        bias = self.bias is not None
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={bias}"
