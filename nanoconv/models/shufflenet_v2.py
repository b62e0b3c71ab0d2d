"""ShuffleNet V2: the ShuffleNet that was designed with a stop-watch.

Ma et al., ShuffleNet V2, arXiv 1807.11164, table 5. Multiply-adds are not time: also memory traffic
costs, which for a 1×1 convolution is least with as many channels out as in, and which groups,
branches and elementwise additions make more. So a unit (`nn.blocks.ShuffleUnitV2`) lets half of its
channels pass, computes the other half with equally wide convolutions, and shuffles the two.

    layer        pixels    units    channels: 0.5×     1×     1.5×     2×
    conv1       112×112    3×3, stride 2       24      24      24      24
    max pool     56×56     3×3, stride 2       24      24      24      24
    stage2       28×28     1 with stride 2, 3  48     116     176     244
    stage3       14×14     1 with stride 2, 7  96     232     352     488
    stage4        7×7      1 with stride 2, 3 192     464     704     976
    conv5         7×7      1×1               1024    1024    1024    2048
    mean          1×1
    linear        1×1      classes

                        parameters    conv MACs  linear MACs  top-1 on ImageNet, torchvision's
    shufflenet_v2_x0_5   1,366,792   39,452,448    1,024,000  60.552
    shufflenet_v2_x1_0   2,278,604  143,883,992    1,024,000  69.362
    shufflenet_v2_x1_5   3,503,624  294,735,392    1,024,000  72.996
    shufflenet_v2_x2_0   7,393,996  581,205,464    2,048,000  76.230

>>> import nanoconv as nc
>>> model = shufflenet_v2_x0_5(num_classes=10)
>>> model(nc.zeros(1, 3, 64, 64)).shape
(1, 10)
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from .. import functional as F
from ..nn import ConvBNAct, Linear, MaxPool2d, Module, Sequential, ShuffleUnitV2
from ..ops.shaping import flatten
from ..tensor import Tensor
from .building import build

UNITS = (4, 8, 4)  # in stage2, stage3 and stage4
CHANNELS = {  # of conv1, the three stages, and conv5
    "x0_5": (24, 48, 96, 192, 1024),
    "x1_0": (24, 116, 232, 464, 1024),
    "x1_5": (24, 176, 352, 704, 1024),
    "x2_0": (24, 244, 488, 976, 2048),
}


class ShuffleNetV2(Module):
    """(N, 3, H, W) → (N, num_classes) scores.

    `stages_repeats` are the units of the three stages, `stages_out_channels` the channels of conv1,
    the stages, and conv5. Initial values are those of the layers.
    """

    def __init__(
        self,
        stages_repeats: Sequence[int],
        stages_out_channels: Sequence[int],
        num_classes: int = 1000,
    ) -> None:
        super().__init__()
        stem, *stages, last = stages_out_channels
        self.conv1 = ConvBNAct(3, stem, stride=2)
        self.maxpool = MaxPool2d(3, stride=2, padding=1)
        C = stem
        for k, (units, O) in enumerate(zip(stages_repeats, stages, strict=True), 2):
            stage = Sequential(ShuffleUnitV2(C, O, stride=2))
            stage.extend(ShuffleUnitV2(O, O, stride=1) for _ in range(units - 1))
            self.register_module(f"stage{k}", stage)
            C = O
        self.conv5 = ConvBNAct(C, last, 1)
        self.fc = Linear(last, num_classes)

    def forward(self, input: Tensor) -> Tensor:
        x = self.maxpool(self.conv1(input))
        x = self.conv5(self.stage4(self.stage3(self.stage2(x))))
        return self.fc(flatten(F.adaptive_avg_pool2d(x, 1), 1))


def shufflenet_v2_x0_5(
    *, weights: str | Path | None = None, same_padding: bool | None = None, **arguments: Any
) -> ShuffleNetV2:
    """The column 0.5×; `arguments` may have `num_classes`, the rest are those of `build`."""
    network = partial(ShuffleNetV2, UNITS, CHANNELS["x0_5"])
    return build(network, "shufflenet_v2_x0_5", weights, same_padding, arguments)


def shufflenet_v2_x1_0(
    *, weights: str | Path | None = None, same_padding: bool | None = None, **arguments: Any
) -> ShuffleNetV2:
    """The column 1×; arguments as for `shufflenet_v2_x0_5`."""
    network = partial(ShuffleNetV2, UNITS, CHANNELS["x1_0"])
    return build(network, "shufflenet_v2_x1_0", weights, same_padding, arguments)


def shufflenet_v2_x1_5(
    *, weights: str | Path | None = None, same_padding: bool | None = None, **arguments: Any
) -> ShuffleNetV2:
    """The column 1.5×; arguments as for `shufflenet_v2_x0_5`."""
    network = partial(ShuffleNetV2, UNITS, CHANNELS["x1_5"])
    return build(network, "shufflenet_v2_x1_5", weights, same_padding, arguments)


def shufflenet_v2_x2_0(
    *, weights: str | Path | None = None, same_padding: bool | None = None, **arguments: Any
) -> ShuffleNetV2:
    """The column 2×; arguments as for `shufflenet_v2_x0_5`."""
    network = partial(ShuffleNetV2, UNITS, CHANNELS["x2_0"])
    return build(network, "shufflenet_v2_x2_0", weights, same_padding, arguments)
