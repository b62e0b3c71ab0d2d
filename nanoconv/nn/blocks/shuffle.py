"""The blocks of the ShuffleNets: 1×1 convolutions of part of the channels, which then are mixed.

>>> import nanoconv as nc
>>> x = nc.zeros(1, 24, 8, 8)
>>> ShuffleUnit(24, 240, stride=2, groups=3, first_groups=1)(x).shape
(1, 240, 4, 4)
>>> ShuffleUnitV2(24, 116, stride=2)(x).shape
(1, 116, 4, 4)
"""

from __future__ import annotations

from ...functional import channel_shuffle
from ...ops.shaping import cat, chunk
from ...tensor import Tensor
from ..activations import ReLU
from ..container import Sequential
from ..layers import Conv2d
from ..module import Module
from ..normalisation import BatchNorm2d
from ..pooling import AvgPool2d
from ..shaping import ChannelShuffle
from .conv import Layer, check_stride


class ShuffleUnit(Module):
    """A bottleneck of grouped 1×1 convolutions that a shuffle joins.

        stride 1                                  stride 2

                x (C, H, W)                               x (C, H, W)
                ├───────────────────────┐                 ├──────────────────────┐
        ┌───────▼────────┐              │         ┌───────▼────────┐             │
        │ 1×1  C → B     │ F groups,    │         │ 1×1  C → B     │ F groups,   │
        ├────────────────┤ BN, ReLU     │         ├────────────────┤ BN, ReLU    │
        │ shuffle        │              │         │ shuffle        │             │
        ├────────────────┤              │         ├────────────────┤       ┌─────▼──────┐
        │ 3×3  depthwise │ BN           │         │ 3×3  depthwise │ s, BN │ 3×3  mean  │ s
        ├────────────────┤              │         ├────────────────┤       └─────┬──────┘
        │ 1×1  B → C     │ G groups, BN │         │ 1×1  B → O−C   │ G, BN       │
        └───────┬────────┘              │         └───────┬────────┘             │
                + ◄─────────────────────┘               concat ◄─────────────────┘
                ReLU                                      ReLU
                y (C, H, W)                               y (O, OH, OW)

        parameters  C·B/F + 13·B + B·A/G + 2·A
        MACs        N·H·W·C·B/F + N·OH·OW·(9·B + B·A/G)

    B = O/4 channels in the bottleneck, A those that it adds: O, or O − C with stride 2, where they
    come first and the means after them. F is `first_groups`, G if None; the paper has 1 in the
    first unit of the net, which has few channels. Zhang et al., ShuffleNet, arXiv 1707.01083,
    figure 2(b) and (c).
    """

    def __init__(
        self,
        inp: int,
        oup: int,
        stride: int,
        groups: int,
        first_groups: int | None = None,
        norm_layer: Layer | None = None,
    ) -> None:
        super().__init__()
        check_stride("ShuffleUnit", stride, 1, 2)
        if stride == 1 and inp != oup:
            raise ValueError(f"ShuffleUnit: stride=1 needs oup = inp, got inp={inp} and oup={oup}")
        if stride == 2 and inp >= oup:
            raise ValueError(f"ShuffleUnit: stride=2 needs oup > inp, got inp={inp} and oup={oup}")
        if oup % 4:
            raise ValueError(f"ShuffleUnit: oup={oup} must be divisible by 4")
        added, narrow = oup if stride == 1 else oup - inp, oup // 4
        first = groups if first_groups is None else first_groups
        norm = BatchNorm2d if norm_layer is None else norm_layer
        self.compress_conv1 = Conv2d(inp, narrow, 1, groups=first, bias=False)
        self.compress_bn1 = norm(narrow)
        self.c_shuffle = ChannelShuffle(groups)
        self.dw_conv2 = Conv2d(narrow, narrow, 3, stride, padding=1, groups=narrow, bias=False)
        self.dw_bn2 = norm(narrow)
        self.expand_conv3 = Conv2d(narrow, added, 1, groups=groups, bias=False)
        self.expand_bn3 = norm(added)
        self.activ = ReLU(inplace=True)
        self.avgpool = AvgPool2d(3, 2, 1) if stride == 2 else None
        self.stride, self.out_channels = stride, oup

    def forward(self, input: Tensor) -> Tensor:
        y = self.activ(self.compress_bn1(self.compress_conv1(input)))
        y = self.dw_bn2(self.dw_conv2(self.c_shuffle(y)))
        y = self.expand_bn3(self.expand_conv3(y))
        if self.avgpool is None:
            return self.activ(y + input)
        return self.activ(cat([y, self.avgpool(input)], dim=1))


class ShuffleUnitV2(Module):
    """Half of the channels pass, the other half is computed; the shuffle deals them out anew.

        stride 1                              stride 2

                x (C, H, W)                           x (C, H, W)
                split                                 ├─────────────────┐
         ┌──────┴───────┐                     ┌───────▼────────┐ ┌──────▼─────────┐
         │     ┌────────▼───────┐             │                │ │ 1×1  C → B     │ BN, ReLU
         │     │ 1×1  B → B     │ BN, ReLU    │                │ ├────────────────┤
         │     ├────────────────┤             │ 3×3  depthwise │ │ 3×3  depthwise │ s, BN
         │     │ 3×3  depthwise │ BN          ├────────────────┤ ├────────────────┤
         │     ├────────────────┤             │ 1×1  C → B     │ │ 1×1  B → B     │ BN, ReLU
         │     │ 1×1  B → B     │ BN, ReLU    └───────┬────────┘ └──────┬─────────┘
         │     └────────┬───────┘                     └────── concat ───┘
         └─── concat ───┘                                    shuffle (2)
              shuffle (2)                                      y (O, OH, OW)
                y (C, H, W)

        parameters  D·B + 15·B + B² + [s > 1]·(11·C + C·B + 2·B)
        MACs        N·H·W·D·B + N·OH·OW·(9·B + B² + [s > 1]·(9·C + C·B))

    B = O/2; D = C with a stride, else B. torchvision calls it InvertedResidual (shufflenetv2), and
    makes oup − 1 channels of an odd `oup` with a stride, which is refused here. Ma et al.,
    ShuffleNet V2, arXiv 1807.11164, figure 3(c) and (d).
    """

    def __init__(self, inp: int, oup: int, stride: int) -> None:
        super().__init__()
        check_stride("ShuffleUnitV2", stride, 1, 2, 3)
        half = oup // 2
        if oup != 2 * half and stride > 1:
            raise ValueError(f"ShuffleUnitV2: oup={oup} must be even, half of it for each branch")
        if stride == 1 and inp != 2 * half:
            raise ValueError(
                f"ShuffleUnitV2: stride=1 needs an even oup = inp, got inp={inp} and oup={oup}"
            )
        first = inp if stride > 1 else half  # what the second branch gets
        self.branch1 = Sequential(
            *(_depthwise(inp, stride) + _pointwise(inp, half) if stride > 1 else [])
        )
        self.branch2 = Sequential(
            *_pointwise(first, half), *_depthwise(half, stride), *_pointwise(half, half)
        )
        self.stride = stride

    def forward(self, input: Tensor) -> Tensor:
        kept, changed = chunk(input, 2, dim=1) if self.stride == 1 else (input, input)
        return channel_shuffle(cat([self.branch1(kept), self.branch2(changed)], dim=1), 2)


def _depthwise(C: int, stride: int) -> list[Module]:
    return [Conv2d(C, C, 3, stride, padding=1, groups=C, bias=False), BatchNorm2d(C)]


def _pointwise(C: int, O: int) -> list[Module]:
    return [Conv2d(C, O, 1, bias=False), BatchNorm2d(O), ReLU(inplace=True)]
