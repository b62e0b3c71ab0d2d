"""The layers: each holds its parameters and calls the function of the same name.

Names, arguments, defaults, attributes and initial values are PyTorch's. The maths of each layer is
in `nanoconv/ops/`, where the function is. A new layer is float32; `.double()` converts it.
"""

from __future__ import annotations

import math
import operator
from typing import Any

import numpy as np

from .. import functional as F
from ..ops.checks import check_groups
from ..ops.geometry import four_sides, pair
from ..ops.shaping import flatten
from ..tensor import Tensor
from . import init
from .module import Module, Parameter

Pair = int | tuple[int, int]


def _count(layer: str, name: str, value: Any, least: int = 1) -> int:
    """A size: an integer from `least` up."""
    try:
        if (count := operator.index(value)) >= least:
            return count
    except TypeError:
        pass
    raise ValueError(f"{layer}: {name}={value!r}, expected an integer from {least} up")


def _parameter(*shape: int) -> Parameter:
    return Parameter(Tensor(np.empty(shape, np.float32)))


def _reset_affine(weight: Tensor, bias: Tensor | None) -> None:
    """PyTorch's initial values of w·x + b: both uniform on ±1/√fan_in."""
    init.kaiming_uniform_(weight, a=math.sqrt(5))
    if bias is not None:
        bound = 1 / math.sqrt(fan_in) if (fan_in := init.calculate_fans(weight)[0]) else 0.0
        init.uniform_(bias, -bound, bound)


# --------------------------------------------------------------------------- weighted sums


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
        self.in_channels = _count(name, "in_channels", in_channels)
        self.out_channels = _count(name, "out_channels", out_channels)
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
        self.weight = _parameter(self.out_channels, self.in_channels // groups, *self.kernel_size)
        self.register_parameter("bias", _parameter(self.out_channels) if bias else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """New random values: weight and bias uniform on ±1/√(C/groups · KH · KW)."""
        _reset_affine(self.weight, self.bias)

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
        channels = _count("DepthwiseConv2d", "in_channels", in_channels)
        out_channels = channels * _count("DepthwiseConv2d", "multiplier", multiplier)
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
        self.in_features = _count("Linear", "in_features", in_features, 0)
        self.out_features = _count("Linear", "out_features", out_features, 0)
        self.weight = _parameter(self.out_features, self.in_features)
        self.register_parameter("bias", _parameter(self.out_features) if bias else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """New random values: weight and bias uniform on ±1/√in_features."""
        _reset_affine(self.weight, self.bias)

    def forward(self, input: Tensor) -> Tensor:
        return F.linear(input, self.weight, self.bias)

    def extra_repr(self) -> str:
        bias = self.bias is not None
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={bias}"


# --------------------------------------------------------------------------- pooling


class MaxPool2d(Module):
    """The maximum of each window (see `functional.max_pool2d`).

        y[n,c,i,j] = max_{u,v} x[n, c, i·s + u·d − p, j·s + v·d − p]

    (N, C, H, W) → (N, C, OH, OW); with `return_indices` also the flat positions of the maxima.
    """

    def __init__(
        self,
        kernel_size: Pair,
        stride: Pair | None = None,
        padding: Pair = 0,
        dilation: Pair = 1,
        return_indices: bool = False,
        ceil_mode: bool = False,
    ) -> None:
        super().__init__()
        self.kernel_size, self.stride = kernel_size, kernel_size if stride is None else stride
        self.padding, self.dilation = padding, dilation
        self.return_indices, self.ceil_mode = return_indices, ceil_mode
        for name, least in (("kernel_size", 1), ("stride", 1), ("padding", 0), ("dilation", 1)):
            pair("MaxPool2d", name, getattr(self, name), least)

    def forward(self, input: Tensor) -> Any:
        return F.max_pool2d(
            input,
            self.kernel_size,
            self.stride,
            self.padding,
            self.dilation,
            ceil_mode=self.ceil_mode,
            return_indices=self.return_indices,
        )

    def extra_repr(self) -> str:
        return (
            f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}, "
            f"dilation={self.dilation}, ceil_mode={self.ceil_mode}"
        )


class AvgPool2d(Module):
    """The mean of each window (see `functional.avg_pool2d`).

        y[n,c,i,j] = Σ_{u,v} x[n, c, i·s + u − p, j·s + v − p] / (KH·KW)

    (N, C, H, W) → (N, C, OH, OW). Without `count_include_pad` the divisor counts only pixels of
    the image; `divisor_override` replaces it.
    """

    def __init__(
        self,
        kernel_size: Pair,
        stride: Pair | None = None,
        padding: Pair = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        divisor_override: int | None = None,
    ) -> None:
        super().__init__()
        self.kernel_size, self.stride = kernel_size, kernel_size if stride is None else stride
        self.padding, self.ceil_mode = padding, ceil_mode
        self.count_include_pad, self.divisor_override = count_include_pad, divisor_override
        for name, least in (("kernel_size", 1), ("stride", 1), ("padding", 0)):
            pair("AvgPool2d", name, getattr(self, name), least)

    def forward(self, input: Tensor) -> Tensor:
        return F.avg_pool2d(
            input,
            self.kernel_size,
            self.stride,
            self.padding,
            self.ceil_mode,
            self.count_include_pad,
            self.divisor_override,
        )

    def extra_repr(self) -> str:
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class AdaptiveAvgPool2d(Module):
    """The mean of each cell of an OH×OW grid over the image (see `functional.adaptive_avg_pool2d`).

        y[n,c,i,j] = mean x[n, c, ⌊i·H/OH⌋ : ⌈(i+1)·H/OH⌉, ⌊j·W/OW⌋ : ⌈(j+1)·W/OW⌉]

    (N, C, H, W) → (N, C, OH, OW); None in `output_size` keeps the input's size.
    """

    def __init__(self, output_size: int | tuple[int | None, int | None] | None) -> None:
        super().__init__()
        self.output_size = output_size

    def forward(self, input: Tensor) -> Tensor:
        return F.adaptive_avg_pool2d(input, self.output_size)

    def extra_repr(self) -> str:
        return f"output_size={self.output_size}"


class GlobalAvgPool2d(Module):
    """The mean of each channel: (N, C, H, W) → (N, C, 1, 1). Lin et al., arXiv 1312.4400."""

    def forward(self, input: Tensor) -> Tensor:
        return F.adaptive_avg_pool2d(input, 1)


# --------------------------------------------------------------------------- normalisation


class _BatchNorm(Module):
    """What BatchNorm1d and BatchNorm2d share: all but the shapes they accept."""

    _dims: tuple[int, ...]

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        *,
        bias: bool = True,
    ) -> None:
        super().__init__()
        self.num_features = _count(type(self).__name__, "num_features", num_features)
        self.eps, self.momentum = eps, momentum
        self.affine, self.track_running_stats = affine, track_running_stats
        shape, track = (self.num_features,), track_running_stats
        self.register_parameter("weight", _parameter(*shape) if affine else None)
        self.register_parameter("bias", _parameter(*shape) if affine and bias else None)
        for name in ("running_mean", "running_var"):
            self.register_buffer(name, Tensor(np.empty(shape, np.float32)) if track else None)
        self.register_buffer("num_batches_tracked", Tensor(np.array(0)) if track else None)
        self.reset_parameters()

    def reset_running_stats(self) -> None:
        """Forget the batches seen: mean 0, variance 1."""
        if self.running_mean is not None:
            init.zeros_(self.running_mean)
            init.ones_(self.running_var)
            self.num_batches_tracked.zero_()

    def reset_parameters(self) -> None:
        """Weight 1, bias 0, no batches seen."""
        self.reset_running_stats()
        if self.weight is not None:
            init.ones_(self.weight)
        if self.bias is not None:
            init.zeros_(self.bias)

    def forward(self, input: Tensor) -> Tensor:
        if isinstance(input, Tensor) and input.ndim not in self._dims:
            expected = " or ".join(map(str, self._dims))
            raise ValueError(
                f"{type(self).__name__}: input has shape {list(input.shape)}, "
                f"expected {expected} axes"
            )
        learning = self.training and self.track_running_stats
        momentum = self.momentum
        if momentum is None:  # the plain average over all batches, this one included
            momentum = 1 / (int(self.num_batches_tracked) + 1) if learning else 0.0
        y = F.batch_norm(
            input,
            self.running_mean if learning or not self.training else None,
            self.running_var if learning or not self.training else None,
            self.weight,
            self.bias,
            training=self.training or self.running_mean is None,
            momentum=momentum,
            eps=self.eps,
        )
        if learning:
            self.num_batches_tracked.add_(1)
        return y

    def extra_repr(self) -> str:
        return (
            f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, "
            f"affine={self.affine}, bias={self.bias is not None}, "
            f"track_running_stats={self.track_running_stats}"
        )


class BatchNorm2d(_BatchNorm):
    """Normalises each channel to mean 0 and variance 1, then scales and shifts it.

        y[n,c] = (x[n,c] − μ[c]) / √(σ²[c] + eps) · weight[c] + bias[c]

    (N, C, H, W) → the same. In training μ and σ² are the batch's, and the running ones move a
    part `momentum` towards them (None: their plain average over all batches); in evaluation μ and
    σ² are the running ones, or the batch's without `track_running_stats`. Ioffe & Szegedy,
    arXiv 1502.03167.
    """

    _dims = (4,)


class BatchNorm1d(_BatchNorm):
    """`BatchNorm2d` for (N, C) and (N, C, L)."""

    _dims = (2, 3)


# --------------------------------------------------------------------------- other shapes and noise


class Dropout(Module):
    """In training zeroes each value with probability p and scales the rest by 1 / (1 − p).

    Any shape → the same; in evaluation y = x. `inplace` is as in `nn.ReLU`. Srivastava et al.,
    JMLR 15, 2014.
    """

    def __init__(self, p: float = 0.5, inplace: bool = False) -> None:
        super().__init__()
        if not (isinstance(p, (int, float)) and 0 <= p <= 1):
            raise ValueError(f"Dropout: p={p!r} must be a probability between 0 and 1")
        self.p, self.inplace = p, inplace

    def forward(self, input: Tensor) -> Tensor:
        return F.dropout(input, self.p, self.training)

    def extra_repr(self) -> str:
        return f"p={self.p}, inplace={self.inplace}"


class ChannelShuffle(Module):
    """Reorders the channels so that each group of the next layer sees all groups of the last.

        y[n, k·G + g] = x[n, g·C/G + k]

    (N, C, H, W) → the same. Zhang et al., ShuffleNet, arXiv 1707.01083.
    """

    def __init__(self, groups: int) -> None:
        super().__init__()
        self.groups = _count("ChannelShuffle", "groups", groups)

    def forward(self, input: Tensor) -> Tensor:
        return F.channel_shuffle(input, self.groups)

    def extra_repr(self) -> str:
        return f"groups={self.groups}"


class Flatten(Module):
    """Joins the axes start_dim … end_dim into one: (N, C, H, W) → (N, C·H·W)."""

    def __init__(self, start_dim: int = 1, end_dim: int = -1) -> None:
        super().__init__()
        self.start_dim, self.end_dim = start_dim, end_dim

    def forward(self, input: Tensor) -> Tensor:
        return flatten(input, self.start_dim, self.end_dim)

    def extra_repr(self) -> str:
        return f"start_dim={self.start_dim}, end_dim={self.end_dim}"


class Identity(Module):
    """y = x; takes any arguments and ignores them."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__()

    def forward(self, input: Tensor) -> Tensor:
        return input
