"""Pooling layers: only LearnablePool2d has parameters. The maths is in `ops/*pool*.py`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

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
Window = int | tuple[int, ...]  # a number for all axes, or one for each


def _numbers(layer: Any, name: str, value: Any, least: int) -> tuple[int, ...]:
    """A size of a layer's windows: one number for each axis that they move along."""
    if layer._axes == 1:
        return (single(type(layer).__name__, name, value, least),)
    return pair(type(layer).__name__, name, value, least)


def _around(layer: Any, padding: Any) -> tuple[int, ...] | str:
    """The padding of a layer's windows; of images also "same"."""
    if layer._axes == 1:
        return _numbers(layer, "padding", padding, 0)
    return pooled_padding(type(layer).__name__, padding)


class _MaxPool(Module):
    """What MaxPool1d and MaxPool2d share."""

    _axes: ClassVar[int] = 2

    def __init__(
        self,
        kernel_size: Window,
        stride: Window | None = None,
        padding: Window | str = 0,
        dilation: Window = 1,
        return_indices: bool = False,
        ceil_mode: bool = False,
    ) -> None:
        super().__init__()
        self.kernel_size, self.stride = kernel_size, kernel_size if stride is None else stride
        self.padding, self.dilation = padding, dilation
        self.return_indices, self.ceil_mode = return_indices, ceil_mode
        for name in ("kernel_size", "stride", "dilation"):
            _numbers(self, name, getattr(self, name), 1)
        _around(self, padding)

    def _windows(self) -> dict[str, Any]:
        names = ("kernel_size", "stride", "padding", "dilation", "ceil_mode", "return_indices")
        return {name: getattr(self, name) for name in names}

    def extra_repr(self) -> str:
        return (
            f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}, "
            f"dilation={self.dilation}, ceil_mode={self.ceil_mode}"
        )


class MaxPool2d(_MaxPool):
    """The maximum of each window (see `functional.max_pool2d`).

        y[n,c,i,j] = max_{u,v} x[n, c, i·s + u·d − p, j·s + v·d − p]

    (N, C, H, W) → (N, C, OH, OW); with `return_indices` also the flat positions of the maxima.
    `padding` is an integer, a pair or "same".
    """

    def forward(self, input: Tensor) -> Any:
        return F.max_pool2d(input, **self._windows())


class _AvgPool(Module):
    """What AvgPool1d and AvgPool2d share."""

    _axes: ClassVar[int] = 2

    def __init__(
        self,
        kernel_size: Window,
        stride: Window | None = None,
        padding: Window | str = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
    ) -> None:
        super().__init__()
        self.kernel_size, self.stride = kernel_size, kernel_size if stride is None else stride
        self.padding = padding
        self.ceil_mode, self.count_include_pad = ceil_mode, count_include_pad
        sizes = {
            name: _numbers(self, name, getattr(self, name), 1) for name in ("kernel_size", "stride")
        }
        around = _around(self, padding)
        if self._axes == 1:  # as PyTorch keeps them
            (self.kernel_size, self.stride), self.padding = sizes.values(), around

    def _windows(self) -> dict[str, Any]:
        names = ("kernel_size", "stride", "padding", "ceil_mode", "count_include_pad")
        return {name: getattr(self, name) for name in names}

    def extra_repr(self) -> str:
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class AvgPool2d(_AvgPool):
    """The mean of each window (see `functional.avg_pool2d`).

        y[n,c,i,j] = Σ_{u,v} x[n, c, i·s + u − p, j·s + v − p] / (KH·KW)

    (N, C, H, W) → (N, C, OH, OW). Without `count_include_pad` the divisor counts only pixels of
    the image; `divisor_override` replaces it. `padding` is an integer, a pair or "same".
    """

    def __init__(
        self,
        kernel_size: Window,
        stride: Window | None = None,
        padding: Window | str = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        divisor_override: int | None = None,
    ) -> None:
        super().__init__(kernel_size, stride, padding, ceil_mode, count_include_pad)
        self.divisor_override = divisor_override

    def forward(self, input: Tensor) -> Tensor:
        return F.avg_pool2d(input, **self._windows(), divisor_override=self.divisor_override)


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


class _LPPool(Module):
    """What LPPool1d and LPPool2d share."""

    _axes: ClassVar[int] = 2

    def __init__(
        self,
        norm_type: float,
        kernel_size: Window,
        stride: Window | None = None,
        ceil_mode: bool = False,
    ) -> None:
        super().__init__()
        checked_norm(type(self).__name__, norm_type)
        _numbers(self, "kernel_size", kernel_size, 1)
        if stride is not None:
            _numbers(self, "stride", stride, 1)
        self.norm_type, self.kernel_size = norm_type, kernel_size
        self.stride, self.ceil_mode = stride, ceil_mode

    def _windows(self) -> dict[str, Any]:
        names = ("norm_type", "kernel_size", "stride", "ceil_mode")
        return {name: getattr(self, name) for name in names}

    def extra_repr(self) -> str:
        return ", ".join(f"{name}={value}" for name, value in self._windows().items())


class LPPool2d(_LPPool):
    """The p-norm of each window, up to signs (see `functional.lp_pool2d`).

        y[n,c,i,j] = (Σ_{u,v} x[n, c, i·s + u, j·s + v]ᵖ)^(1/p)

    (N, C, H, W) → (N, C, OH, OW). Sermanet et al., arXiv 1204.3968.
    """

    def forward(self, input: Tensor) -> Tensor:
        return F.lp_pool2d(input, **self._windows())


class _MaxUnpool(Module):
    """What MaxUnpool1d and MaxUnpool2d share."""

    _axes: ClassVar[int] = 2

    def __init__(
        self, kernel_size: Window, stride: Window | None = None, padding: Window = 0
    ) -> None:
        super().__init__()
        self.kernel_size: Any = _numbers(self, "kernel_size", kernel_size, 1)
        self.stride: Any = _numbers(self, "stride", kernel_size if stride is None else stride, 1)
        self.padding: Any = _numbers(self, "padding", padding, 0)

    def extra_repr(self) -> str:
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class MaxUnpool2d(_MaxUnpool):
    """Puts each maximum back to where a MaxPool2d took it (see `functional.max_unpool2d`).

        y[n, c, indices[n,c,i,j]] = x[n,c,i,j]         0 everywhere else

    (N, C, H, W) and indices → (N, C, OH, OW). Badrinarayanan et al., SegNet, arXiv 1511.00561.
    """

    def forward(
        self, input: Tensor, indices: Tensor, output_size: Sequence[int] | None = None
    ) -> Tensor:
        return F.max_unpool2d(
            input, indices, self.kernel_size, self.stride, self.padding, output_size
        )


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


class MaxPool1d(_MaxPool):
    """The maximum of each window of a signal: (N, C, L) → (N, C, OL); see `MaxPool2d`.

    y[n,c,j] = max_v x[n, c, j·s + v·d − p]
    """

    _axes = 1

    def forward(self, input: Tensor) -> Any:
        return F.max_pool1d(input, **self._windows())


class AvgPool1d(_AvgPool):
    """The mean of each window of a signal: (N, C, L) → (N, C, OL); see `AvgPool2d`.

    y[n,c,j] = Σ_v x[n, c, j·s + v − p] / K
    """

    _axes = 1

    def forward(self, input: Tensor) -> Tensor:
        return F.avg_pool1d(input, **self._windows())


class LPPool1d(_LPPool):
    """The p-norm of each window of a signal: (N, C, L) → (N, C, OL); see `LPPool2d`.

    y[n,c,j] = (Σ_v x[n, c, j·s + v]ᵖ)^(1/p)
    """

    _axes = 1

    def forward(self, input: Tensor) -> Tensor:
        return F.lp_pool1d(input, **self._windows())


class MaxUnpool1d(_MaxUnpool):
    """Puts each maximum back to where a MaxPool1d took it: (N, C, L) → (N, C, OL).

    y[n, c, indices[n,c,j]] = x[n,c,j]         0 everywhere else; see `MaxUnpool2d`
    """

    _axes = 1

    def forward(
        self, input: Tensor, indices: Tensor, output_size: Sequence[int] | None = None
    ) -> Tensor:
        return F.max_unpool1d(
            input, indices, self.kernel_size, self.stride, self.padding, output_size
        )


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
