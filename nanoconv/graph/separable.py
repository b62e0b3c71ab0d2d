"""What depthwise separable convolutions save: each beside the standard one in its place.

    standard     K²·C·O       multiply-adds for an output pixel
    separable    K²·C + C·O   K×K in each channel alone, then 1×1 across the channels
    its share    1/O + 1/K²   of the standard one

K×K window, C input and O output channels. The share is Howard et al.'s, MobileNets, arXiv
1704.04861, section 3.1. A pair is a depthwise convolution and the next 1×1 convolution that reads
its pixels; what is between them (norm, activation, squeeze-and-excite) costs no or few MACs. If the
1×1 convolution has groups, the pair is cheaper still, and the formula an upper bound.

>>> from nanoconv.nn.blocks import DepthwiseSeparable
>>> (pair,) = separable(DepthwiseSeparable(24, 32), (1, 24, 8, 8))
>>> pair.macs, pair.standard, pair.share == pair.macs / pair.standard
(62976, 442368, True)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..dispatch import Op
from ..tensor import Tensor
from .summary import Summary, aligned, listen


@dataclass(frozen=True)
class Pair:
    """A depthwise convolution and the 1×1 convolution behind it.

    name        the module of the depthwise convolution
    channels    C and O
    kernel      KH and KW
    pixels      N, OH and OW
    macs        what the two cost
    """

    name: str
    channels: tuple[int, int]
    kernel: tuple[int, ...]
    pixels: tuple[int, ...]
    macs: int

    @property
    def standard(self) -> int:
        """The multiply-adds of a standard convolution in this place."""
        (C, O), (KH, KW), (N, OH, OW) = self.channels, self.kernel, self.pixels
        return N * OH * OW * O * C * KH * KW

    @property
    def share(self) -> float:
        """What the pair costs of it."""
        return self.macs / self.standard

    @property
    def predicted(self) -> float:
        """1/O + 1/K²."""
        return 1 / self.channels[1] + 1 / (self.kernel[0] * self.kernel[1])


def separable(model: Any, input_shape: Sequence[int]) -> list[Pair]:
    """The depthwise separable convolutions of a model, in the order in which they run."""
    found: list[Pair] = []
    waiting: list[Pair] = []  # depthwise convolutions that no 1×1 convolution has read yet

    def hear(name: str, op: Op, inputs: tuple, attrs: dict, y: Tensor) -> None:
        if op.name not in ("conv2d", "depthwise_conv2d"):
            return
        x, w = inputs[0].shape, inputs[1].shape
        macs, pixels = op.macs(y, *inputs, **attrs), (y.shape[0], *y.shape[2:])
        if op.name == "depthwise_conv2d":
            waiting.append(Pair(name, (x[1], y.shape[1]), w[2:], pixels, macs))
        elif w[2:] == (1, 1):
            for pair in waiting:
                if (x[0], *x[2:]) == pair.pixels and x[1] == pair.channels[1]:
                    C, O = pair.channels[0], y.shape[1]
                    found.append(Pair(pair.name, (C, O), pair.kernel, pixels, pair.macs + macs))
                    waiting.remove(pair)
                    break

    listen(model, input_shape, hear)
    return found


def theory(model: Any, input_shape: Sequence[int], cost: Summary) -> str:
    """A page on what the separable convolutions of a model save, and the model with them."""
    pairs = separable(model, input_shape)
    if not pairs:
        return f"{cost.model} has no depthwise separable convolutions."
    rows = [["layer", "convolution", "pixels", "standard", "separable", "share", "1/O + 1/K²"]]
    for pair in pairs:
        (C, O), (KH, KW), (_, OH, OW) = pair.channels, pair.kernel, pair.pixels
        cells = (f"{pair.standard:,}", f"{pair.macs:,}", f"{pair.share:.1%}")
        title, pixels = f"{KH}×{KW}, {C} → {O}", f"{OH} × {OW}"
        rows.append([pair.name, title, pixels, *cells, f"{pair.predicted:.1%}"])
    standard, macs = (sum(getattr(pair, k) for pair in pairs) for k in ("standard", "macs"))
    rows.append(["together", "", "", f"{standard:,}", f"{macs:,}", f"{macs / standard:.1%}", ""])
    whole = cost.macs - macs + standard
    return (
        f"{aligned(rows, left=3)}\n\n"
        f"With standard convolutions in these places, {cost.model} would cost {whole:,} "
        f"multiply-adds instead of {cost.macs:,}: {whole / cost.macs:.1f} times as many."
    )
