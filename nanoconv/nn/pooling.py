"""Pooling layers: they have no parameters. The maths is in `nanoconv/ops/pool2d.py`."""

from __future__ import annotations

from typing import Any

from .. import functional as F
from ..ops.geometry import pair
from ..tensor import Tensor
from .arguments import Pair
from .module import Module


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
