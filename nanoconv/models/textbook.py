"""Two nets as a textbook draws them: one idea each, and around it no more than it needs.

`lightweight_cnn` is the smallest net with a depthwise separable convolution; the parameters are for
3 channels and 10 classes, the MACs for images of 32×32 pixels:

    input      layer                     parameters      MACs
    3 × 32²    3×3, depthwise                    30    27,648
    3 × 32²    1×1, ReLU                        128    98,304
    32 × 32²   mean over the pixels
    32         matrix, softmax                  330       320
                                                488   126,272

`grouped_cnn` is built of convolutions in G groups, which see only a part of the channels, so that a
shuffle after each of them has to deal the channels out anew. Its blocks are in turn

    3×3 in G groups, batch norm, ReLU, shuffle        9·C·O/G MACs per pixel
    1×1 in G groups, batch norm, ReLU, shuffle          C·O/G

    input        layer                      channels    stride
    3 × H²       3×3, batch norm, ReLU      C                2
    C × (H/2)²   3×3 maximum                C                2
    C × (H/4)²   2 blocks                   C                1
    C × (H/4)²   8 blocks                   2·C              2, the first
    2·C × (H/8)² mean, dropout, matrix

>>> import nanoconv as nc
>>> nc.summary(lightweight_cnn(), (1, 3, 32, 32)).macs
126272
>>> grouped_cnn(16, groups=4, num_classes=5).eval()(nc.zeros(2, 3, 32, 32)).shape
(2, 5)
>>> [nc.summary(grouped_cnn(48, G, 10), (1, 3, 64, 64)).macs for G in (1, 2, 4)]
[28165056, 14746560, 8037312]
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..nn import (
    BatchNorm2d,
    ChannelShuffle,
    Conv2d,
    ConvBNAct,
    DepthwiseConv2d,
    Dropout,
    Flatten,
    GlobalAvgPool2d,
    Linear,
    MaxPool2d,
    Module,
    ReLU,
    Sequential,
    Softmax,
)
from ..nn.arguments import count
from .building import build


class LightweightCNN(Sequential):
    """Images (N, in_channels, H, W) of any size → probabilities (N, num_classes).

    For training, `model[:-1]` gives the scores that `cross_entropy` takes.
    """

    def __init__(self, in_channels: int = 3, num_classes: int = 10) -> None:
        layers: dict[str, Module] = {
            "depthwise": DepthwiseConv2d(in_channels, 3, padding=1),
            "pointwise": Conv2d(in_channels, 32, 1),
            "relu": ReLU(),
            "mean": GlobalAvgPool2d(),
            "flatten": Flatten(),
            "classifier": Linear(32, num_classes),
            "softmax": Softmax(dim=1),
        }
        super().__init__(layers)


class GroupedCNN(Sequential):
    """Images (N, 3, H, W) of any size → scores (N, num_classes); `groups` divides `channels`."""

    def __init__(
        self, channels: int = 48, groups: int = 3, num_classes: int = 10, dropout: float = 0.2
    ) -> None:
        C, G = count("GroupedCNN", "channels", channels), count("GroupedCNN", "groups", groups)
        if C % G:
            raise ValueError(f"GroupedCNN: groups={groups} must divide channels={channels}")
        layers: dict[str, Module] = {
            "stem": ConvBNAct(3, C, stride=2),
            "maximum": MaxPool2d(3, stride=2, padding=1),
            "stage1": stage(C, C, blocks=2, stride=1, groups=G),
            "stage2": stage(C, 2 * C, blocks=8, stride=2, groups=G),
            "mean": GlobalAvgPool2d(),
            "flatten": Flatten(),
            "dropout": Dropout(dropout),
            "classifier": Linear(2 * C, num_classes),
        }
        super().__init__(layers)


def stage(C: int, O: int, blocks: int, stride: int, groups: int) -> Sequential:
    """Blocks of O channels, in turn of 3×3 and of 1×1 taps; the first of them has the stride."""
    layers: list[Module] = []
    for k in range(blocks):
        K = 1 if k % 2 else 3
        layers.append(
            Sequential(
                Conv2d(C, O, K, stride, padding=K // 2, groups=groups, bias=False),
                BatchNorm2d(O),
                ReLU(),
                ChannelShuffle(groups),
            )
        )
        C, stride = O, 1
    return Sequential(*layers)


def lightweight_cnn(
    *, weights: str | Path | None = None, same_padding: bool | None = None, **arguments: Any
) -> LightweightCNN:
    """A depthwise separable net; `arguments` are those of `LightweightCNN`, others of `build`."""
    return build(LightweightCNN, "lightweight_cnn", weights, same_padding, arguments)


def grouped_cnn(
    channels: int = 48,
    groups: int = 3,
    num_classes: int | None = None,
    *,
    weights: str | Path | None = None,
    same_padding: bool | None = None,
    **arguments: Any,
) -> GroupedCNN:
    """A net of grouped convolutions; see `GroupedCNN` and `building.build`.

    None is as many classes as the weights have, or 10.
    """
    arguments |= {"channels": channels, "groups": groups}
    if num_classes is not None:
        arguments["num_classes"] = num_classes
    return build(GroupedCNN, "grouped_cnn", weights, same_padding, arguments)
