"""ShuffleNet: 1×1 convolutions in groups, and a shuffle so that the groups hear of each other.

Zhang et al., ShuffleNet, arXiv 1707.01083, table 1. In a net of depthwise separable convolutions
nearly all of the work is in the 1×1 convolutions. In G groups they cost a G-th, so at equal cost
the layers can be wider: each row of the last five columns adds up to about 140 million MACs.

    layer        pixels    units                  channels: G=1   G=2   G=3   G=4   G=8
    conv1       112×112    3×3, stride 2                     24    24    24    24    24
    max pool     56×56     3×3, stride 2                     24    24    24    24    24
    stage1       28×28     1 with stride 2, 3               144   200   240   272   384
    stage2       14×14     1 with stride 2, 7               288   400   480   544   768
    stage3        7×7      1 with stride 2, 3               576   800   960  1088  1536
    mean          1×1
    linear        1×1      classes

                               parameters    conv MACs  linear MACs   top-1 (paper)
    shufflenet_v1(groups=1)     1,531,936  142,502,976      576,000   66.4
    shufflenet_v1(groups=2)     1,733,848  140,036,512      800,000   67.3
    shufflenet_v1(groups=3)     1,865,728  136,500,672      960,000   67.4
    shufflenet_v1(groups=4)     1,968,344  133,251,776    1,088,000   67.2
    shufflenet_v1(groups=8)     2,434,768  136,829,952    1,536,000   67.6

The unit is `nn.blocks.ShuffleUnit`. The paper counts the stages from 2, the published weights,
whose names these are, from 1.

>>> import nanoconv as nc
>>> model = shufflenet_v1(groups=3, scale=0.5, num_classes=10)
>>> model(nc.zeros(1, 3, 64, 64)).shape
(1, 10)
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
CHANNELS = {1: 144, 2: 200, 3: 240, 4: 272, 8: 384}  # of stage1 by groups; each stage doubles them
# The filters of conv1 by scale. That 1.5× has no more than 1× follows from its cost in the paper's
# table 5, 292 million MACs for G = 3, and from the authors' code.
STEM = {0.25: 6, 0.5: 12, 1.0: 24, 1.5: 24, 2.0: 48}


class ShuffleNetV1(Module):
    """(N, 3, H, W) → (N, num_classes) scores.

    `groups` is G, 1, 2, 3, 4 or 8; `scale` multiplies the channels, and is 0.25, 0.5, 1, 1.5 or 2.
    What does not come out divisible by the groups then is rounded to the nearest that does. The
    first 1×1 convolution of all is in one group, for there are few channels yet. Initial values are
    those of the layers.
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
    """`arguments` are those of `ShuffleNetV1`, the rest those of `build`."""
    return build(ShuffleNetV1, "shufflenet_v1", weights, same_padding, arguments)
