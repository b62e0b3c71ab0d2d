"""MobileNetV2: blocks with thin ends, which shortcuts join, and a wide depthwise middle.

    input       layer               t      c   n   s   parameters          MACs
      3 × 224²  3×3                       32   1   2          928    10,838,016
     32 × 112²  inverted residual   1     16   1   1          896    10,035,200
     16 × 112²  inverted residual   6     24   2   2       13,968    54,942,720
     24 × 56²   inverted residual   6     32   3   2       39,696    37,443,840
     32 × 28²   inverted residual   6     64   4   2      183,872    38,497,536
     64 × 14²   inverted residual   6     96   3   1      303,168    58,103,808
     96 × 14²   inverted residual   6    160   3   2      795,264    46,560,192
    160 × 7²    inverted residual   6    320   1   1      473,920    23,002,560
    320 × 7²    1×1                     1280   1   1      412,160    20,070,400
   1280 × 7²    mean over the pixels
   1280         dropout, matrix                         1,281,000     1,280,000
                                                        3,504,872   300,774,272

Each line is n blocks of c channels, the first with stride s; inside, they have t times as many
channels as come in. Of ImageNet's photographs it classifies 72.0 % rightly in the paper, 71.878 %
and 72.154 % with torchvision's two weights ("imagenet1k_v1" and "imagenet1k_v2").

Sandler et al., MobileNetV2: Inverted Residuals and Linear Bottlenecks, arXiv 1801.04381, table 2.

>>> import nanoconv as nc
>>> model = mobilenet_v2(width_mult=0.35, num_classes=10).eval()
>>> model(nc.zeros(2, 3, 64, 64)).shape
(2, 10)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from ..functional import adaptive_avg_pool2d
from ..nn import (
    BatchNorm2d,
    ConvBNAct,
    Dropout,
    InvertedResidual,
    Linear,
    Module,
    ReLU6,
    Sequential,
)
from ..nn.arguments import count
from ..nn.blocks import make_divisible
from ..tensor import Tensor
from .building import build, initialise

STEM, LAST = 32, 1280
#   t: expansion   c: output channels   n: blocks   s: stride of the first of them
TABLE = [
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
]


class MobileNetV2(Module):
    """Photographs (N, 3, H, W) of any size → scores (N, num_classes).

    All channels are multiplied by `width_mult` and rounded to a multiple of `round_nearest`; the
    last 1280 can only become more. `inverted_residual_setting` is another table of t, c, n and s.
    """

    def __init__(
        self,
        num_classes: int = 1000,
        width_mult: float = 1.0,
        inverted_residual_setting: Sequence[Sequence[int]] | None = None,
        round_nearest: int = 8,
        block: Callable[..., Module] | None = None,
        norm_layer: Callable[..., Module] | None = None,
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        count("MobileNetV2", "round_nearest", round_nearest)
        table = TABLE if inverted_residual_setting is None else inverted_residual_setting
        if len(table) == 0 or any(len(row) != 4 for row in table):
            raise ValueError(
                f"MobileNetV2: inverted_residual_setting={inverted_residual_setting!r}, expected "
                "rows (t, c, n, s)"
            )
        block = InvertedResidual if block is None else block
        norm = BatchNorm2d if norm_layer is None else norm_layer
        make = partial(ConvBNAct, norm_layer=norm, activation_layer=ReLU6)
        C = make_divisible(STEM * width_mult, round_nearest)
        self.last_channel = make_divisible(LAST * max(1.0, width_mult), round_nearest)
        layers: list[Module] = [make(3, C, stride=2)]
        for t, c, n, s in table:
            O = make_divisible(c * width_mult, round_nearest)
            for k in range(n):
                stride = s if k == 0 else 1
                layers.append(block(C, O, stride, expand_ratio=t, norm_layer=norm))
                C = O
        self.features = Sequential(*layers, make(C, self.last_channel, 1))
        self.classifier = Sequential(Dropout(dropout), Linear(self.last_channel, num_classes))
        initialise(self)

    def forward(self, input: Tensor) -> Tensor:
        x = adaptive_avg_pool2d(self.features(input), 1)
        return self.classifier(x.flatten(1))


def mobilenet_v2(
    *, weights: str | Path | None = None, same_padding: bool | None = None, **arguments: Any
) -> MobileNetV2:
    """MobileNetV2; `arguments` are those of `MobileNetV2`, the others those of `building.build`."""
    return build(MobileNetV2, "mobilenet_v2", weights, same_padding, arguments)
