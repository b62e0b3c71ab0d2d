"""Two nets as in a textbook: one idea each, and no more around it than it needs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..nn import (
    ChannelShuffle,
    Conv2d,
    ConvBNAct,
    DepthwiseConv2d,
    Dropout,
    Flatten,
    GlobalAvgPool2d,
    Linear,
    MaxPool2d,
    ReLU,
    Sequential,
    Softmax,
)
from .building import build


class LightweightCNN(Sequential):
    """x"""

    def __init__(self, in_channels: int = 3, num_classes: int = 10) -> None:
        layers = {
            "depthwise": DepthwiseConv2d(in_channels, 3, padding=1),
            "pointwise": Conv2d(in_channels, 32, 1),
            "relu": ReLU(),
            "pool": GlobalAvgPool2d(),
            "flatten": Flatten(),
            "classifier": Linear(32, num_classes),
            "softmax": Softmax(dim=1),
        }
        super().__init__(layers)


class GroupedCNN(Sequential):
    """x"""

    def __init__(
        self, channels: int = 48, groups: int = 3, num_classes: int = 10, dropout: float = 0.2
    ) -> None:
        layers = {
            "stem": ConvBNAct(3, channels, stride=2),
            "pool": MaxPool2d(3, 2, padding=1),
            "stage1": stage(channels, channels, 2, 1, groups),
            "stage2": stage(channels, 2 * channels, 8, 2, groups),
            "mean": GlobalAvgPool2d(),
            "flatten": Flatten(),
            "dropout": Dropout(dropout),
            "classifier": Linear(2 * channels, num_classes),
        }
        super().__init__(layers)


def stage(C: int, O: int, blocks: int, stride: int, groups: int) -> Sequential:
    """Blocks of which every other one has 3×3 taps; the first changes channels and resolution."""
    layers = []
    for k in range(blocks):
        conv = ConvBNAct(
            C if k == 0 else O,
            O,
            3 if k % 2 == 0 else 1,
            stride=stride if k == 0 else 1,
            groups=groups,
        )
        layers.append(conv.append(ChannelShuffle(groups)))
    return Sequential(*layers)


def lightweight_cnn(
    *, weights: str | Path | None = None, same_padding: bool | None = None, **arguments: Any
) -> LightweightCNN:
    return build(LightweightCNN, "lightweight_cnn", weights, same_padding, arguments)


def grouped_cnn(
    channels: int = 48,
    groups: int = 3,
    num_classes: int = 10,
    *,
    weights: str | Path | None = None,
    same_padding: bool | None = None,
    **arguments: Any,
) -> GroupedCNN:
    arguments |= {"channels": channels, "groups": groups, "num_classes": num_classes}
    return build(GroupedCNN, "grouped_cnn", weights, same_padding, arguments)
