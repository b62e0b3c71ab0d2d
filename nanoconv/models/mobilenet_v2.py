"""MobileNetV2: thin ends that a shortcut joins, with a wide depthwise convolution between them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
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
    """Photographs (N, 3, H, W) → scores (N, num_classes), of any H and W from 1 up.

    All channels are multiplied by `width_mult` and rounded to a multiple of `round_nearest`; the
    last 1280 only grow, for the matrix after them needs them in a thin net too.
    """

    def __init__(
        self,
        num_classes: int = 1000,
        width_mult: float = 1.0,
        inverted_residual_setting: Sequence[Sequence[int]] | None = None,
        round_nearest: int = 8,
        block: Callable[..., Module] = InvertedResidual,
        norm_layer: Callable[..., Module] = BatchNorm2d,
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        C = make_divisible(STEM * width_mult, round_nearest)
        self.last_channel = make_divisible(LAST * max(1.0, width_mult), round_nearest)
        stem = ConvBNAct(3, C, stride=2, norm_layer=norm_layer, activation_layer=ReLU6)
        layers: list[Module] = [stem]
        for t, c, n, s in TABLE if inverted_residual_setting is None else inverted_residual_setting:
            O = make_divisible(c * width_mult, round_nearest)
            for k in range(n):
                stride = s if k == 0 else 1
                layers.append(block(C, O, stride, expand_ratio=t, norm_layer=norm_layer))
                C = O
        last = ConvBNAct(C, self.last_channel, 1, norm_layer=norm_layer, activation_layer=ReLU6)
        self.features = Sequential(*layers, last)
        self.classifier = Sequential(Dropout(dropout), Linear(self.last_channel, num_classes))
        initialise(self)

    def forward(self, input: Tensor) -> Tensor:
        x = adaptive_avg_pool2d(self.features(input), 1)
        return self.classifier(x.flatten(1))


def mobilenet_v2(
    *, weights: str | Path | None = None, same_padding: bool | None = None, **arguments: Any
) -> MobileNetV2:
    return build(MobileNetV2, "mobilenet_v2", weights, same_padding, arguments)
