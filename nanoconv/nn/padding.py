"""Layers that put a border around images or signals, or take images apart into windows."""

from __future__ import annotations

from typing import ClassVar

from .. import functional as F
from ..ops.shaping import integers
from ..tensor import Tensor
from .arguments import Pair
from .module import Module


class Pad(Module):
    """What the layers that pad share: an integer or the widths (left, right, top, bottom, …)."""

    _axes: ClassVar[int] = 2
    _mode: ClassVar[str] = "constant"

    def __init__(self, padding: int | tuple[int, ...]) -> None:
        super().__init__()
        name, widths = type(self).__name__, integers(type(self).__name__, "padding", (padding,))
        if len(widths) == 1 and not isinstance(padding, (tuple, list)):
            widths *= 2 * self._axes
        if len(widths) != 2 * self._axes:
            raise ValueError(
                f"{name}: padding={padding!r}, expected an integer or {2 * self._axes} of them"
            )
        self.padding = widths

    def forward(self, input: Tensor) -> Tensor:
        return F.pad(input, self.padding, self._mode)

    def extra_repr(self) -> str:
        return f"{self.padding}"


class ConstantPad1d(Pad):
    """A border of `value` around signals: (N, C, L) → (N, C, left + L + right), also without N."""

    _axes = 1

    def __init__(self, padding: int | tuple[int, int], value: float) -> None:
        super().__init__(padding)
        self.value = value

    def forward(self, input: Tensor) -> Tensor:
        return F.pad(input, self.padding, value=self.value)

    def extra_repr(self) -> str:
        return f"padding={self.padding}, value={self.value}"


class ConstantPad2d(ConstantPad1d):
    """A border of `value` around images: (N, C, H, W) → (N, C, top + H + bottom, left + W + right).

    `padding` is an integer or (left, right, top, bottom); negative widths crop. See
    `functional.pad`.

    >>> ConstantPad2d(1, 0.5)
    ConstantPad2d(padding=(1, 1, 1, 1), value=0.5)
    """

    _axes = 2

    def __init__(self, padding: int | tuple[int, int, int, int], value: float) -> None:
        super().__init__(padding, value)  # type: ignore[arg-type]


class ZeroPad1d(ConstantPad1d):
    """Zeros around signals: `ConstantPad1d` with the value 0."""

    def __init__(self, padding: int | tuple[int, int]) -> None:
        super().__init__(padding, 0.0)

    def extra_repr(self) -> str:
        return f"{self.padding}"


class ZeroPad2d(ConstantPad2d):
    """Zeros around images: `ConstantPad2d` with the value 0."""

    def __init__(self, padding: int | tuple[int, int, int, int]) -> None:
        super().__init__(padding, 0.0)

    def extra_repr(self) -> str:
        return f"{self.padding}"


class ReflectionPad1d(Pad):
    """Signals continued by their mirror image, without the edge: 3 2|1 2 3 4|3 2."""

    _axes, _mode = 1, "reflect"


class ReflectionPad2d(Pad):
    """Images continued by their mirror image, without the edge: 3 2|1 2 3 4|3 2 on every side.

    `padding` as in `ConstantPad2d`; less than the image is large. See `functional.pad`.
    """

    _mode = "reflect"


class ReplicationPad1d(Pad):
    """Signals continued by their first and last number: 1 1|1 2 3 4|4 4."""

    _axes, _mode = 1, "replicate"


class ReplicationPad2d(Pad):
    """Images continued by the nearest pixel: 1 1|1 2 3 4|4 4 on every side.

    `padding` as in `ConstantPad2d`. See `functional.pad`.
    """

    _mode = "replicate"


class CircularPad1d(Pad):
    """Signals that go round: 3 4|1 2 3 4|1 2."""

    _axes, _mode = 1, "circular"


class CircularPad2d(Pad):
    """Images that go round, as if on a torus: 3 4|1 2 3 4|1 2 in both directions.

    `padding` as in `ConstantPad2d`; no more than the image is large. See `functional.pad`.
    """

    _mode = "circular"


class Unfold(Module):
    """The windows of images as the columns of matrices (see `functional.unfold`).

    (N, C, H, W) → (N, C·KH·KW, OH·OW), also without N.
    """

    def __init__(
        self, kernel_size: Pair, dilation: Pair = 1, padding: Pair = 0, stride: Pair = 1
    ) -> None:
        super().__init__()
        self.kernel_size, self.dilation = kernel_size, dilation
        self.padding, self.stride = padding, stride

    def forward(self, input: Tensor) -> Tensor:
        return F.unfold(input, self.kernel_size, self.dilation, self.padding, self.stride)

    def extra_repr(self) -> str:
        return (
            f"kernel_size={self.kernel_size}, dilation={self.dilation}, padding={self.padding}, "
            f"stride={self.stride}"
        )


class Fold(Unfold):
    """Images from their windows, added up where they overlap (see `functional.fold`).

    (N, C·KH·KW, OH·OW) → (N, C, H, W) with (H, W) = `output_size`, also without N.
    """

    def __init__(
        self,
        output_size: Pair,
        kernel_size: Pair,
        dilation: Pair = 1,
        padding: Pair = 0,
        stride: Pair = 1,
    ) -> None:
        super().__init__(kernel_size, dilation, padding, stride)
        self.output_size = output_size

    def forward(self, input: Tensor) -> Tensor:
        return F.fold(
            input, self.output_size, self.kernel_size, self.dilation, self.padding, self.stride
        )

    def extra_repr(self) -> str:
        return f"output_size={self.output_size}, {super().extra_repr()}"
