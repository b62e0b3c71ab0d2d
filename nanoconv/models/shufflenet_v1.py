"""ShuffleNet: 1×1 convolutions in groups, and a shuffle so that the groups hear of each other.

In a net of depthwise separable convolutions nearly all of the work is in the 1×1 ones. In G groups
they cost a G-th, so that for the same cost there can be more channels. The unit is
`nn.blocks.ShuffleUnit`; with G = 3:

    input        layer                      c   n   s   parameters          MACs
      3 × 224²   3×3                       24   1   2          696     8,128,512
     24 × 112²   3×3 maximum               24   1   2
     24 × 56²    stage1: shuffle units    240   4   2       39,552    32,175,360
    240 × 28²    stage2: shuffle units    480   8   2      307,680    63,786,240
    480 × 14²    stage3: shuffle units    960   4   2      556,800    32,410,560
    960 × 7²     mean over the pixels
    960          matrix                                    961,000       960,000
                                                         1,865,728   137,460,672

Each line is n layers of c channels, the first with stride s. The stages are numbered as in the
published weights; the paper begins with 2. Other G have other c, for about the same cost:

    G    stages             parameters   conv MACs + matrix        top-1 in the paper
    1    144, 288,  576      1,531,936   142,502,976 +   576,000   66.4 %
    2    200, 400,  800      1,733,848   140,036,512 +   800,000   67.3 %
    3    240, 480,  960      1,865,728   136,500,672 +   960,000   67.4 %
    4    272, 544, 1088      1,968,344   133,251,776 + 1,088,000   67.2 %
    8    384, 768, 1536      2,434,768   136,829,952 + 1,536,000   67.6 %

(of ImageNet's photographs at 224²). Zhang et al., ShuffleNet: An Extremely Efficient Convolutional
Neural Network for Mobile Devices, arXiv 1707.01083, tables 1 and 2.

>>> import nanoconv as nc
>>> model = shufflenet_v1(groups=8, scale=0.5, num_classes=10).eval()
>>> model(nc.zeros(2, 3, 64, 64)).shape
(2, 10)
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .. import functional as F
from ..nn import BatchNorm2d, Conv2d, Linear, MaxPool2d, Module, ReLU, Sequential, ShuffleUnit
from ..nn.blocks import make_divisible
from ..ops.shaping import flatten
from ..tensor import Tensor
from .building import build

UNITS = (4, 8, 4)
CHANNELS = {1: 144, 2: 200, 3: 240, 4: 272, 8: 384}  # of stage1, by groups; each stage doubles them
# Of the first convolution, by scale. That 1.5 has no more than 1 follows from its cost in the
# paper's table 5, 292 million MACs for G = 3, and from the authors' code.
STEM = {0.25: 6, 0.5: 12, 1.0: 24, 1.5: 24, 2.0: 48}


class ShuffleNetV1(Module):
    """Photographs (N, 3, H, W) of any size → scores (N, num_classes).

    `groups` is G; `scale`, 0.25, 0.5, 1, 1.5 or 2, multiplies all c, which are then rounded to what
    the groups divide. The first 1×1 convolution of all is in one group: it has few channels yet.
    """

    def __init__(self, groups: int = 3, scale: float = 1.0, num_classes: int = 1000) -> None:
        super().__init__()
        for name, given, known in (("groups", groups, CHANNELS), ("scale", scale, STEM)):
            if given not in known:
                expected = ", ".join(map(str, known))
                raise ValueError(f"ShuffleNetV1: {name}={given!r}, expected one of {expected}")
        C = make_divisible(STEM[scale], groups)
        O = make_divisible(CHANNELS[groups] * scale, 4 * groups)  # 4: the unit's bottleneck
        self.features = Sequential(
            {
                "init_block": Sequential(
                    {
                        "conv": Conv2d(3, C, 3, stride=2, padding=1, bias=False),
                        "bn": BatchNorm2d(C),
                        "activ": ReLU(inplace=True),
                        "pool": MaxPool2d(3, stride=2, padding=1),
                    }
                )
            }
        )
        for s, units in enumerate(UNITS, 1):
            first = ShuffleUnit(C, O, 2, groups, first_groups=1 if s == 1 else groups)
            rest = (ShuffleUnit(O, O, 1, groups) for _ in range(units - 1))
            stage = Sequential({f"unit{u}": unit for u, unit in enumerate((first, *rest), 1)})
            self.features.register_module(f"stage{s}", stage)
            C, O = O, 2 * O
        self.output = Linear(C, num_classes)

    def forward(self, input: Tensor) -> Tensor:
        return self.output(flatten(F.adaptive_avg_pool2d(self.features(input), 1), 1))


def shufflenet_v1(
    *, weights: str | Path | None = None, same_padding: bool | None = None, **arguments: Any
) -> ShuffleNetV1:
    """`arguments` are those of `ShuffleNetV1`, the rest is `building.build`'s."""
    return build(ShuffleNetV1, "shufflenet_v1", weights, same_padding, arguments)
