"""The layers that hold weights: each calls the function of the same name.

Names, arguments, defaults, attributes and initial values are PyTorch's. The maths of each layer is
in `nanoconv/ops/`, where the function is. A new layer is float32; `.double()` converts it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from .. import functional as F
from ..ops.checks import check_groups
from ..ops.conv1d import single
from ..ops.geometry import pair, same_padding, sides
from ..tensor import Tensor
from .arguments import Pair, count, parameter, reset_affine
from .module import Module, Parameter

PADDING_MODES = ("zeros", "reflect", "replicate", "circular")
Single = int | tuple[int]


class Convolution(Module):
    """What all convolutions share: sizes that were checked, the weights, and how they are shown.

    `_axes` says along how many axes the window moves. Transposed ones have their weights the other
    way round, (C, O/groups, …).
    """

    _axes: ClassVar[int] = 2
    transposed: ClassVar[bool] = False
    weight: Parameter
    bias: Parameter | None
    stride: Any  # one number for each axis, as dilation
    dilation: Any
    padding: Any  # a string, one number for each axis, or four sides

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Any,
        stride: Any,
        padding: Any,
        dilation: Any,
        groups: int,
        bias: bool,
        padding_mode: str,
        output_padding: Any = 0,
    ) -> None:
        super().__init__()
        name = type(self).__name__
        modes = PADDING_MODES[:1] if self.transposed else PADDING_MODES
        if padding_mode not in modes:
            expected = ", ".join(map(repr, modes))
            raise ValueError(f"{name}: padding_mode={padding_mode!r}, expected one of {expected}")
        self.padding_mode = padding_mode
        self.in_channels = count(name, "in_channels", in_channels)
        self.out_channels = count(name, "out_channels", out_channels)
        self.kernel_size = self._sizes("kernel_size", kernel_size, 1)
        self.stride = self._sizes("stride", stride, 1)
        self.dilation = self._sizes("dilation", dilation, 1)
        self.padding = self._padding(padding)
        self.output_padding = self._sizes("output_padding", output_padding, 0)
        check_groups(name, groups, self.in_channels, self.out_channels)
        self.groups = groups
        channels = (self.out_channels, self.in_channels // groups)
        if self.transposed:
            channels = (self.in_channels, self.out_channels // groups)
        self.weight = parameter(*channels, *self.kernel_size)
        self.register_parameter("bias", parameter(self.out_channels) if bias else None)
        self.reset_parameters()

    def _sizes(self, name: str, value: Any, least: int) -> tuple[int, ...]:
        layer = type(self).__name__
        if self._axes == 1:
            return (single(layer, name, value, least),)
        return pair(layer, name, value, least)

    def _padding(self, padding: Any) -> tuple[int, ...] | str:
        """As short as it was given: a string, one number for each axis, or four sides."""
        if isinstance(padding, str) and not self.transposed:
            sides(type(self).__name__, padding)
            return padding
        return self._sizes("padding", padding, 0)

    def reset_parameters(self) -> None:
        """New random values: weight and bias uniform on ±1/√(weight.shape[1] · KH · KW)."""
        reset_affine(self.weight, self.bias)

    def _bordered(self, input: Tensor) -> tuple[Tensor, Any]:
        """The input, and the padding that the convolution still has to add, which is zeros."""
        if self.padding_mode == "zeros" or self.padding == "valid":
            return input, self.padding
        if isinstance(self.padding, str):
            window = (self.kernel_size, self.stride, self.dilation)
            sizes = zip(input.shape[-self._axes :], *window, strict=True)
            border = [same_padding(*axis) for axis in sizes]
        elif len(self.padding) == 2 * self._axes:
            border = [self.padding[2 * k : 2 * k + 2] for k in range(self._axes)]
        else:
            border = [(k, k) for k in self.padding]
        widths = [width for axis in reversed(border) for width in axis]  # pad begins at the last
        return (F.pad(input, widths, self.padding_mode) if any(widths) else input), 0

    def extra_repr(self) -> str:
        text = f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}"
        text += f", stride={self.stride}"
        none, one = (0,) * self._axes, (1,) * self._axes
        if self.padding != none:
            text += f", padding={self.padding}"
        if self.dilation != one:
            text += f", dilation={self.dilation}"
        if self.output_padding != none:
            text += f", output_padding={self.output_padding}"
        if self.groups != 1:
            text += f", groups={self.groups}"
        if self.bias is None:
            text += ", bias=False"
        return text if self.padding_mode == "zeros" else f"{text}, padding_mode={self.padding_mode}"


class Conv1d(Convolution):
    """Convolution of signals with O learned filters of K taps (see `functional.conv1d`).

        y[n,o] = b[o] + Σ_c w[o,c] ⋆ x[n,c]          c over the input channels of o's group

    (N, C, L) → (N, O, OL), also without N; weight (O, C/groups, K), bias (O,). `padding` is an
    integer, "valid" or "same", `padding_mode` as in `Conv2d`. Waibel et al., IEEE Transactions on
    Acoustics, Speech and Signal Processing 37(3), 1989.

    >>> Conv1d(8, 16, 5, padding="same")
    Conv1d(8, 16, kernel_size=(5,), stride=(1,), padding=same)
    """

    _axes = 1

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Single,
        stride: Single = 1,
        padding: Single | str = 0,
        dilation: Single = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
    ) -> None:
        super().__init__(
            in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias,
            padding_mode,
        )  # fmt: skip

    def forward(self, input: Tensor) -> Tensor:
        x, padding = self._bordered(input)
        (stride,), (dilation,) = self.stride, self.dilation
        return F.conv1d(x, self.weight, self.bias, stride, padding, dilation, self.groups)


class Conv2d(Convolution):
    """Convolution of images with O learned filters of KH×KW taps (see `functional.conv2d`).

        y[n,o] = b[o] + Σ_c w[o,c] ⋆ x[n,c]          c over the input channels of o's group

    (N, C, H, W) → (N, O, OH, OW), also without N; weight (O, C/groups, KH, KW), bias (O,).
    `padding` is an integer, a pair, four values (top, bottom, left, right), "valid" or "same".
    What it adds is zeros or, by `padding_mode`, what `functional.pad` makes of the image in mode
    "reflect", "replicate" or "circular". LeCun et al., Neural Computation 1(4), 1989.

    >>> Conv2d(3, 16, 3, stride=2, padding=1)
    Conv2d(3, 16, kernel_size=(3, 3), stride=(2, 2), padding=(1, 1))
    """

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
        super().__init__(
            in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias,
            padding_mode,
        )  # fmt: skip

    def _padding(self, padding: Any) -> tuple[int, ...] | str:
        around = sides(type(self).__name__, padding)
        if isinstance(padding, str) or isinstance(around, str):
            return str(padding)
        four = isinstance(padding, (tuple, list)) and len(padding) == 4
        return around if four else around[::2]

    def forward(self, input: Tensor) -> Tensor:
        return self._convolved(input, self.weight)

    def _convolved(self, input: Tensor, weight: Tensor) -> Tensor:
        x, padding = input, self.padding
        if self.padding_mode != "zeros":
            x, padding = self._bordered(input)
        return F.conv2d(x, weight, self.bias, self.stride, padding, self.dilation, self.groups)


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
        padding_mode: str = "zeros",
    ) -> None:
        channels = count("DepthwiseConv2d", "in_channels", in_channels)
        out_channels = channels * count("DepthwiseConv2d", "multiplier", multiplier)
        super().__init__(
            channels, out_channels, kernel_size, stride, padding, dilation, channels, bias,
            padding_mode,
        )  # fmt: skip


class TransposedConvolution(Convolution):
    """What the transposed convolutions share: arguments, and `output_size` in a call."""

    transposed = True

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, ...],
        stride: int | tuple[int, ...] = 1,
        padding: int | tuple[int, ...] = 0,
        output_padding: int | tuple[int, ...] = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: int | tuple[int, ...] = 1,
        padding_mode: str = "zeros",
    ) -> None:
        super().__init__(
            in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias,
            padding_mode, output_padding,
        )  # fmt: skip

    def _output_padding(self, input: Tensor, output_size: Sequence[int] | None) -> tuple[int, ...]:
        """What makes the output of this `input` so large."""
        if output_size is None:
            return self.output_padding
        wanted = tuple(output_size)
        if len(wanted) == input.ndim:
            wanted = wanted[-self._axes :]
        window = (input.shape[-self._axes :], self.stride, self.padding, self.dilation)
        least = [
            (n - 1) * s - 2 * p + d * (k - 1) + 1
            for n, s, p, d, k in zip(*window, self.kernel_size, strict=True)
        ]
        most = [size + s - 1 for size, s in zip(least, self.stride, strict=True)]
        if len(wanted) != self._axes or not all(
            a <= size <= b for a, size, b in zip(least, wanted, most, strict=True)
        ):
            raise ValueError(
                f"{type(self).__name__}: output_size={list(output_size)}, expected {least} to "
                f"{most} for an input of shape {list(input.shape)}"
            )
        return tuple(size - a for size, a in zip(wanted, least, strict=True))


class ConvTranspose1d(TransposedConvolution):
    """Each number of a signal, sent to K of the output (see `functional.conv_transpose1d`).

        y[n,o] = b[o] + Σ_c wᵀ[c,o] ⋆ x[n,c]          c over the input channels of o's group

    (N, C, L) → (N, O, (L − 1)·stride − 2·padding + dilation·(K − 1) + 1 + output_padding), also
    without N; weight (C, O/groups, K), bias (O,). See `ConvTranspose2d`.
    """

    _axes = 1

    def forward(self, input: Tensor, output_size: Sequence[int] | None = None) -> Tensor:
        (more,) = self._output_padding(input, output_size)
        (stride,), (padding,), (dilation,) = self.stride, self.padding, self.dilation
        return F.conv_transpose1d(
            input, self.weight, self.bias, stride, padding, more, self.groups, dilation
        )


class ConvTranspose2d(TransposedConvolution):
    """Each pixel of an image, sent to KH×KW of the output (see `functional.conv_transpose2d`).

        y[n,o] = b[o] + Σ_c wᵀ[c,o] ⋆ x[n,c]          c over the input channels of o's group

    where wᵀ ⋆ is the adjoint of the convolution with w. (N, C, H, W) → (N, O, OH, OW), also without
    N, with OH = (H − 1)·stride − 2·padding + dilation·(KH − 1) + 1 + output_padding; weight
    (C, O/groups, KH, KW), bias (O,). A call may name its `output_size` instead of the
    output_padding. Long, Shelhamer, Darrell, arXiv 1411.4038.

    >>> ConvTranspose2d(64, 3, 4, stride=2, padding=1)
    ConvTranspose2d(64, 3, kernel_size=(4, 4), stride=(2, 2), padding=(1, 1))
    """

    def forward(self, input: Tensor, output_size: Sequence[int] | None = None) -> Tensor:
        more, (ph, pw) = self._output_padding(input, output_size), self.padding
        (sh, sw), (dh, dw) = self.stride, self.dilation
        return F.conv_transpose2d(
            input,
            self.weight,
            self.bias,
            (sh, sw),
            (ph, pw),
            (more[0], more[1]),
            self.groups,
            (dh, dw),
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
