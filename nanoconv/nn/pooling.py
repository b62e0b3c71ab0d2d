"""Pooling layers: only LearnablePool2d has parameters. The maths is in `ops/*pool*.py`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .. import functional as F
from ..ops.geometry import pair
from ..ops.lp_pool2d import checked_norm
from ..ops.pool1d import single
from ..ops.pool2d import pooled_padding
from ..ops.spatial_pyramid_pool2d import check_pyramid
from ..tensor import Tensor
from . import init
from .arguments import Pair, count, parameter
from .module import Module, Parameter

Single = int | tuple[int]


class MaxPool2d(Module):
    """The maximum of each window (see `functional.max_pool2d`).

        y[n,c,i,j] = max_{u,v} x[n, c, i·s + u·d − p, j·s + v·d − p]

    (N, C, H, W) → (N, C, OH, OW); with `return_indices` also the flat positions of the maxima.
    `padding` is an integer, a pair or "same".
    """

    def __init__(
        self,
        kernel_size: Pair,
        stride: Pair | None = None,
        padding: Pair | str = 0,
        dilation: Pair = 1,
        return_indices: bool = False,
        ceil_mode: bool = False,
    ) -> None:
        super().__init__()
        self.kernel_size, self.stride = kernel_size, kernel_size if stride is None else stride
        self.padding, self.dilation = padding, dilation
        self.return_indices, self.ceil_mode = return_indices, ceil_mode
        for name in ("kernel_size", "stride", "dilation"):
            pair("MaxPool2d", name, getattr(self, name), 1)
        pooled_padding("MaxPool2d", padding)

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
    the image; `divisor_override` replaces it. `padding` is an integer, a pair or "same".
    """

    def __init__(
        self,
        kernel_size: Pair,
        stride: Pair | None = None,
        padding: Pair | str = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        divisor_override: int | None = None,
    ) -> None:
        super().__init__()
        self.kernel_size, self.stride = kernel_size, kernel_size if stride is None else stride
        self.padding, self.ceil_mode = padding, ceil_mode
        self.count_include_pad, self.divisor_override = count_include_pad, divisor_override
        for name in ("kernel_size", "stride"):
            pair("AvgPool2d", name, getattr(self, name), 1)
        pooled_padding("AvgPool2d", padding)

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


class AdaptiveMaxPool2d(Module):
    """The maximum of each cell of an OH×OW grid over the image (`functional.adaptive_max_pool2d`).

        y[n,c,i,j] = max x[n, c, ⌊i·H/OH⌋ : ⌈(i+1)·H/OH⌉, ⌊j·W/OW⌋ : ⌈(j+1)·W/OW⌉]

    (N, C, H, W) → (N, C, OH, OW); None in `output_size` keeps the input's size. With
    `return_indices` also the flat positions of the maxima.
    """

    def __init__(
        self,
        output_size: int | tuple[int | None, int | None] | None,
        return_indices: bool = False,
    ) -> None:
        super().__init__()
        self.output_size, self.return_indices = output_size, return_indices

    def forward(self, input: Tensor) -> Any:
        return F.adaptive_max_pool2d(input, self.output_size, self.return_indices)

    def extra_repr(self) -> str:
        return f"output_size={self.output_size}"


class GlobalAvgPool2d(Module):
    """The mean of each channel: (N, C, H, W) → (N, C, 1, 1). Lin et al., arXiv 1312.4400."""

    def forward(self, input: Tensor) -> Tensor:
        return F.adaptive_avg_pool2d(input, 1)


class LPPool2d(Module):
    """The p-norm of each window, up to signs (see `functional.lp_pool2d`).

        y[n,c,i,j] = (Σ_{u,v} x[n, c, i·s + u, j·s + v]ᵖ)^(1/p)

    (N, C, H, W) → (N, C, OH, OW). Sermanet et al., arXiv 1204.3968.
    """

    def __init__(
        self,
        norm_type: float,
        kernel_size: Pair,
        stride: Pair | None = None,
        ceil_mode: bool = False,
    ) -> None:
        super().__init__()
        checked_norm("LPPool2d", norm_type)
        pair("LPPool2d", "kernel_size", kernel_size, 1)
        if stride is not None:
            pair("LPPool2d", "stride", stride, 1)
        self.norm_type, self.kernel_size = norm_type, kernel_size
        self.stride, self.ceil_mode = stride, ceil_mode

    def forward(self, input: Tensor) -> Tensor:
        return F.lp_pool2d(
            input, float(self.norm_type), self.kernel_size, self.stride, self.ceil_mode
        )

    def extra_repr(self) -> str:
        return (
            f"norm_type={self.norm_type}, kernel_size={self.kernel_size}, stride={self.stride}, "
            f"ceil_mode={self.ceil_mode}"
        )


class MaxUnpool2d(Module):
    """Puts each maximum back to where a MaxPool2d took it (see `functional.max_unpool2d`).

        y[n, c, indices[n,c,i,j]] = x[n,c,i,j]         0 everywhere else

    (N, C, H, W) and indices → (N, C, OH, OW). Badrinarayanan et al., SegNet, arXiv 1511.00561.
    """

    def __init__(self, kernel_size: Pair, stride: Pair | None = None, padding: Pair = 0) -> None:
        super().__init__()
        self.kernel_size = pair("MaxUnpool2d", "kernel_size", kernel_size, 1)
        self.stride = pair("MaxUnpool2d", "stride", kernel_size if stride is None else stride, 1)
        self.padding = pair("MaxUnpool2d", "padding", padding, 0)

    def forward(
        self, input: Tensor, indices: Tensor, output_size: Sequence[int] | None = None
    ) -> Tensor:
        return F.max_unpool2d(
            input, indices, self.kernel_size, self.stride, self.padding, output_size
        )

    def extra_repr(self) -> str:
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class LearnablePool2d(Module):
    """The mean of each window with learned weights (see `functional.learnable_pool2d`).

        y[n,c] = softmax(w[c]) ⋆ x[n,c]               the softmax is over the KH·KW taps

    (N, C, H, W) → (N, C, OH, OW); weight (1, 1, KH, KW), which all channels share, or with
    `channels` = C one for each, (C, 1, KH, KW). It starts at 0, which is average pooling. Lee et
    al., arXiv 1509.08985.

    >>> LearnablePool2d(2, channels=8)
    LearnablePool2d(kernel_size=(2, 2), channels=8, stride=(2, 2), padding=(0, 0))
    """

    weight: Parameter

    def __init__(
        self,
        kernel_size: Pair,
        channels: int | None = None,
        stride: Pair | None = None,
        padding: Pair = 0,
    ) -> None:
        super().__init__()
        self.kernel_size = pair("LearnablePool2d", "kernel_size", kernel_size, 1)
        self.channels = None if channels is None else count("LearnablePool2d", "channels", channels)
        given = self.kernel_size if stride is None else stride
        self.stride = pair("LearnablePool2d", "stride", given, 1)
        self.padding = pair("LearnablePool2d", "padding", padding, 0)
        self.weight = parameter(self.channels or 1, 1, *self.kernel_size)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Average pooling again: all weights 0."""
        init.zeros_(self.weight)

    def forward(self, input: Tensor) -> Tensor:
        return F.learnable_pool2d(input, self.weight, self.stride, self.padding)

    def extra_repr(self) -> str:
        return (
            f"kernel_size={self.kernel_size}, channels={self.channels}, stride={self.stride}, "
            f"padding={self.padding}"
        )


class SpatialPyramidPool2d(Module):
    """Grids of k×k cells over the image, joined (see `functional.spatial_pyramid_pool2d`).

        y[n] = [adaptive pooling of x[n] to k×k, for k in levels]

    (N, C, H, W) → (N, C·Σ k²), whatever H and W are. He et al., arXiv 1406.4729.
    """

    def __init__(self, levels: int | Sequence[int] = (1, 2, 4), mode: str = "max") -> None:
        super().__init__()
        self.levels, self.mode = check_pyramid("SpatialPyramidPool2d", levels, mode), mode

    def forward(self, input: Tensor) -> Tensor:
        return F.spatial_pyramid_pool2d(input, self.levels, self.mode)

    def extra_repr(self) -> str:
        return f"levels={self.levels}, mode={self.mode!r}"


# --------------------------------------------------------------------------- signals


class MaxPool1d(Module):
    """The maximum of each window of a signal: (N, C, L) → (N, C, OL); see `MaxPool2d`.

    y[n,c,j] = max_v x[n, c, j·s + v·d − p]
    """

    def __init__(
        self,
        kernel_size: Single,
        stride: Single | None = None,
        padding: Single = 0,
        dilation: Single = 1,
        return_indices: bool = False,
        ceil_mode: bool = False,
    ) -> None:
        super().__init__()
        self.kernel_size, self.stride = kernel_size, kernel_size if stride is None else stride
        self.padding, self.dilation = padding, dilation
        self.return_indices, self.ceil_mode = return_indices, ceil_mode
        for name, least in (("kernel_size", 1), ("stride", 1), ("padding", 0), ("dilation", 1)):
            single("MaxPool1d", name, getattr(self, name), least)

    def forward(self, input: Tensor) -> Any:
        return F.max_pool1d(
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


class AvgPool1d(Module):
    """The mean of each window of a signal: (N, C, L) → (N, C, OL); see `AvgPool2d`.

    y[n,c,j] = Σ_v x[n, c, j·s + v − p] / K
    """

    def __init__(
        self,
        kernel_size: Single,
        stride: Single | None = None,
        padding: Single = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
    ) -> None:
        super().__init__()
        self.kernel_size = (single("AvgPool1d", "kernel_size", kernel_size, 1),)
        step = self.kernel_size if stride is None else stride
        self.stride = (single("AvgPool1d", "stride", step, 1),)
        self.padding = (single("AvgPool1d", "padding", padding, 0),)
        self.ceil_mode, self.count_include_pad = ceil_mode, count_include_pad

    def forward(self, input: Tensor) -> Tensor:
        return F.avg_pool1d(
            input,
            self.kernel_size,
            self.stride,
            self.padding,
            self.ceil_mode,
            self.count_include_pad,
        )

    def extra_repr(self) -> str:
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class AdaptiveAvgPool1d(Module):
    """The means of `output_size` cells of a signal: (N, C, L) → (N, C, OL)."""

    def __init__(self, output_size: Single) -> None:
        super().__init__()
        single("AdaptiveAvgPool1d", "output_size", output_size, 0)
        self.output_size = output_size

    def forward(self, input: Tensor) -> Tensor:
        return F.adaptive_avg_pool1d(input, self.output_size)

    def extra_repr(self) -> str:
        return f"output_size={self.output_size}"


class AdaptiveMaxPool1d(Module):
    """The maxima of `output_size` cells of a signal: (N, C, L) → (N, C, OL)."""

    def __init__(self, output_size: Single, return_indices: bool = False) -> None:
        super().__init__()
        single("AdaptiveMaxPool1d", "output_size", output_size, 0)
        self.output_size, self.return_indices = output_size, return_indices

    def forward(self, input: Tensor) -> Any:
        return F.adaptive_max_pool1d(input, self.output_size, self.return_indices)

    def extra_repr(self) -> str:
        return f"output_size={self.output_size}"
