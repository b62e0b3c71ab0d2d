"""MobileNet: a plain convolution, thirteen depthwise separable ones, a mean, and a matrix.

    input        layer                     parameters          MACs
      3 × 224²   3×3, stride 2                    928    10,838,016
     32 × 112²   separable, 64                  2,528    29,302,784
     64 × 112²   separable, 128, stride 2       9,152    27,496,448
    128 × 56²    separable, 128                18,048    54,992,896
    128 × 56²    separable, 256, stride 2      34,688    26,593,280
    256 × 28²    separable, 256                68,864    53,186,560
    256 × 28²    separable, 512, stride 2     134,912    26,141,696
    512 × 14²    separable, 512, five times 1,344,000   261,416,960
    512 × 14²    separable, 1024, stride 2    531,968    25,915,904
   1024 × 7²     separable, 1024            1,061,888    51,831,808
   1024 × 7²     mean over the pixels
   1024          matrix                     1,025,000     1,024,000
                                            4,231,976   568,740,352

With plain 3×3 convolutions in place of the separable ones it would have 29.3 million parameters and
4,866 million MACs, and classify 71.7 % of ImageNet's photographs rightly instead of 70.6 %. Two
numbers trade accuracy for cost, the width multiplier α and the size of the photographs:

    α, at 224²   parameters          MACs   top-1        size, α = 1          MACs   top-1
    1.0           4,231,976   568,740,352   70.6 %              192²   418,121,728   69.1 %
    0.75          2,585,560   325,400,448   68.4 %              160²   290,675,200   67.2 %
    0.5           1,331,592   149,497,088   63.7 %              128²   186,400,768   64.4 %
    0.25            470,072    41,030,272   50.6 %

Howard et al., MobileNets: Efficient Convolutional Neural Networks for Mobile Vision Applications,
arXiv 1704.04861, tables 1, 4, 6 and 7 (whose second but last line gives that layer a stride of 2,
which its sizes contradict). The activation is TensorFlow's ReLU6, which the published weights need,
and not the ReLU of the paper.

>>> import nanoconv as nc
>>> model = mobilenet_v1(width_mult=0.25, num_classes=10).eval()
>>> model(nc.zeros(2, 3, 64, 64)).shape
(2, 10)
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..nn import (
    ConvBNAct,
    DepthwiseSeparable,
    Dropout,
    Flatten,
    GlobalAvgPool2d,
    Linear,
    Module,
    ReLU6,
    Sequential,
)
from ..tensor import Tensor
from .building import build, initialise, tensorflow_norm

STEM = 32
#   c: output channels   s: stride of the depthwise convolution
TABLE = [
    (64, 1),
    (128, 2),
    (128, 1),
    (256, 2),
    (256, 1),
    (512, 2),
    *[(512, 1)] * 5,
    (1024, 2),
    (1024, 1),
]


class MobileNetV1(Module):
    """Photographs (N, 3, H, W) of any size → scores (N, num_classes).

    `width_mult` is the paper's α: every layer has ⌊α·c⌋ channels, but at least 8. Its ρ, the
    resolution multiplier, needs no argument, for the mean takes images of any size.
    """

    def __init__(
        self, num_classes: int = 1000, width_mult: float = 1.0, dropout: float = 0.001
    ) -> None:
        super().__init__()
        parts: dict[str, Any] = {"norm_layer": tensorflow_norm, "activation_layer": ReLU6}
        C = scaled(STEM, width_mult)
        layers: list[Module] = [ConvBNAct(3, C, stride=2, **parts)]
        for c, s in TABLE:
            O = scaled(c, width_mult)
            layers.append(in_one_list(DepthwiseSeparable(C, O, stride=s, **parts)))
            C = O
        self.model = Sequential(*layers, GlobalAvgPool2d(), Flatten())
        self.dropout = Dropout(dropout)
        self.fc = Linear(C, num_classes)
        initialise(self)

    def forward(self, input: Tensor) -> Tensor:
        return self.fc(self.dropout(self.model(input)))


def scaled(c: int, width_mult: float) -> int:
    """How TensorFlow rounds: down, but to no less than 8."""
    return max(int(c * width_mult), 8)


def in_one_list(block: DepthwiseSeparable) -> Sequential:
    """Depthwise, norm, ReLU, 1×1, norm, ReLU: numbered 0 to 5 in the published weights."""
    depthwise, pointwise = block[0], block[1]
    return Sequential(*depthwise, *pointwise)


def mobilenet_v1(
    *, weights: str | Path | None = None, same_padding: bool | None = None, **arguments: Any
) -> MobileNetV1:
    """MobileNet; `arguments` are those of `MobileNetV1`, the others those of `building.build`."""
    return build(MobileNetV1, "mobilenet_v1", weights, same_padding, arguments)
