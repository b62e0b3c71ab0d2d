"""ShuffleNet V2: half of the channels wait while the others are computed; then all are shuffled.

Multiply-adds are not time. Memory costs time too, and a 1×1 convolution needs the least of it when
as many channels go out as come in; groups, branches and additions need more. So there are no groups
in this unit (`nn.blocks.ShuffleUnitV2`), its convolutions are as wide as their inputs, and what is
not computed is passed on instead of added. At width 1×:

    input        layer                     c   n   s   parameters          MACs
      3 × 224²   3×3                      24   1   2          696     8,128,512
     24 × 112²   3×3 maximum              24   1   2
     24 × 56²    stage2: shuffle units   116   4   2       30,192    25,724,608
    116 × 28²    stage3: shuffle units   232   8   2      244,180    54,589,136
    232 × 14²    stage4: shuffle units   464   4   2      501,352    32,160,072
    464 × 7²     1×1                    1024   1   1      477,184    23,281,664
   1024 × 7²     mean over the pixels
   1024          matrix                                 1,025,000     1,024,000
                                                        2,278,604   144,907,992

Each line is n layers of c channels, the first with stride s. The widths differ in c:

    net                  stages          last   parameters   conv MACs + matrix       top-1
    shufflenet_v2_x0_5    48,  96, 192   1024    1,366,792    39,452,448 + 1,024,000   60.552 %
    shufflenet_v2_x1_0   116, 232, 464   1024    2,278,604   143,883,992 + 1,024,000   69.362 %
    shufflenet_v2_x1_5   176, 352, 704   1024    3,503,624   294,735,392 + 1,024,000   72.996 %
    shufflenet_v2_x2_0   244, 488, 976   2048    7,393,996   581,205,464 + 2,048,000   76.230 %

(of ImageNet's photographs at 224², with torchvision's weights). Ma et al., ShuffleNet V2: Practical
Guidelines for Efficient CNN Architecture Design, arXiv 1807.11164, table 5.

>>> import nanoconv as nc
>>> model = shufflenet_v2_x0_5(num_classes=10).eval()
>>> model(nc.zeros(2, 3, 64, 64)).shape
(2, 10)
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
CHANNELS = {  # of the first convolution, the three stages, and the last convolution
    "x0_5": (24, 48, 96, 192, 1024),
    "x1_0": (24, 116, 232, 464, 1024),
    "x1_5": (24, 176, 352, 704, 1024),
    "x2_0": (24, 244, 488, 976, 2048),
}


class ShuffleNetV2(Module):
    """Photographs (N, 3, H, W) of any size → scores (N, num_classes).

    `stages_repeats` are the units of the three stages, `stages_out_channels` the channels of the
    first convolution, the stages, and the last convolution.
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
    """Width 0.5×; `arguments` may have `num_classes`, the rest is `building.build`'s."""
    network = partial(ShuffleNetV2, UNITS, CHANNELS["x0_5"])
    return build(network, "shufflenet_v2_x0_5", weights, same_padding, arguments)


def shufflenet_v2_x1_0(
    *, weights: str | Path | None = None, same_padding: bool | None = None, **arguments: Any
) -> ShuffleNetV2:
    """Width 1×; arguments as for `shufflenet_v2_x0_5`."""
    network = partial(ShuffleNetV2, UNITS, CHANNELS["x1_0"])
    return build(network, "shufflenet_v2_x1_0", weights, same_padding, arguments)


def shufflenet_v2_x1_5(
    *, weights: str | Path | None = None, same_padding: bool | None = None, **arguments: Any
) -> ShuffleNetV2:
    """Width 1.5×; arguments as for `shufflenet_v2_x0_5`."""
    network = partial(ShuffleNetV2, UNITS, CHANNELS["x1_5"])
    return build(network, "shufflenet_v2_x1_5", weights, same_padding, arguments)


def shufflenet_v2_x2_0(
    *, weights: str | Path | None = None, same_padding: bool | None = None, **arguments: Any
) -> ShuffleNetV2:
    """Width 2×; arguments as for `shufflenet_v2_x0_5`."""
    network = partial(ShuffleNetV2, UNITS, CHANNELS["x2_0"])
    return build(network, "shufflenet_v2_x2_0", weights, same_padding, arguments)
