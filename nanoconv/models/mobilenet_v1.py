"""MobileNet: a stem, thirteen depthwise separable convolutions, a mean over the image, a matrix.

Howard et al., MobileNets: Efficient Convolutional Neural Networks for Mobile Vision Applications,
arXiv 1704.04861, table 1.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from ..nn import (
    BatchNorm2d,
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
from .building import build, initialise

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
    """Photographs (N, 3, H, W) → scores (N, num_classes), of any H and W from 1 up.

    `width_mult` is the paper's α: every layer has ⌊α·c⌋ channels, at least 8. Its ρ, the resolution
    multiplier, is the size of the photographs that are given: the mean over what is left of them
    makes the rest of the net the same for all.
    """

    def __init__(
        self, num_classes: int = 1000, width_mult: float = 1.0, dropout: float = 0.001
    ) -> None:
        super().__init__()
        norm = partial(BatchNorm2d, eps=1e-3)
        parts: dict[str, Any] = {"norm_layer": norm, "activation_layer": ReLU6}
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
    return build(MobileNetV1, "mobilenet_v1", weights, same_padding, arguments)
