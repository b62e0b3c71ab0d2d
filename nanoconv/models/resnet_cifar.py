"""The thin ResNets for images of 32×32 pixels: as deep as one likes, with few parameters.

Three stages of n basic blocks (`nn.blocks.BasicBlock`) are 6·n + 2 layers. The shortcuts have no
parameters: where the shape changes they take every second pixel, and zeros for the channels that
are new, which is the paper's option A.

                                                resnet20, n = 3             resnet56, n = 9
    input      layer              channels   parameters         MACs   parameters          MACs
     3 × 32²   3×3                      16          464      442,368          464       442,368
    16 × 32²   layer1                   16       14,016   14,155,776       42,048    42,467,328
    16 × 32²   layer2, stride 2         32       51,072   12,976,128      162,432    41,287,680
    32 × 16²   layer3, stride 2         64      203,520   12,976,128      647,424    41,287,680
    64 × 8²    mean, matrix                         650          640          650           640
                                                269,722   40,551,040      853,018   125,485,696

    top-1 of CIFAR-10 in the paper                           91.25 %                    93.03 %
    with the published weights                                91.7 %                     93.4 %

(The 126 million MACs that are often given for resnet56 are those of option B, whose two 1×1
convolutions cost 262,144 more.) He et al., Deep Residual Learning for Image Recognition, arXiv
1512.03385, section 4.2.

>>> import nanoconv as nc
>>> model = resnet20().eval()
>>> model(nc.zeros(2, 3, 32, 32)).shape
(2, 10)
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from .. import functional as F
from ..nn import BasicBlock, BatchNorm2d, Conv2d, Linear, Module, ReLU, Sequential, init
from ..ops.shaping import flatten
from ..tensor import Tensor
from .building import build

CHANNELS = (16, 32, 64)  # of layer1, layer2 and layer3


class ResNetCifar(Module):
    """Images (N, 3, H, W) of any size → scores (N, num_classes); `blocks` is n.

    All weights begin as arXiv 1502.01852 has it, normal by fan-in.
    """

    def __init__(self, blocks: int, num_classes: int = 10) -> None:
        super().__init__()
        C = CHANNELS[0]
        self.conv1 = Conv2d(3, C, 3, padding=1, bias=False)
        self.bn1 = BatchNorm2d(C)
        self.relu = ReLU(inplace=True)
        for k, O in enumerate(CHANNELS, 1):
            first = BasicBlock(C, O) if C == O else BasicBlock(C, O, 2, EverySecondPixel(O - C))
            rest = (BasicBlock(O, O) for _ in range(blocks - 1))
            self.register_module(f"layer{k}", Sequential(first, *rest))
            C = O
        self.linear = Linear(C, num_classes)
        for module in self.modules():
            if isinstance(module, (Conv2d, Linear)):
                init.kaiming_normal_(module.weight)

    def forward(self, input: Tensor) -> Tensor:
        x = self.relu(self.bn1(self.conv1(input)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.linear(flatten(F.adaptive_avg_pool2d(x, 1), 1))


class EverySecondPixel(Module):
    """The shortcut without parameters: (N, C, H, W) → (N, C + `added`, ⌈H/2⌉, ⌈W/2⌉).

    Half of the new channels, which are 0, lie before the old ones, half behind them.
    """

    def __init__(self, added: int) -> None:
        super().__init__()
        self.added = added

    def forward(self, input: Tensor) -> Tensor:
        before = self.added // 2
        return F.pad(input[:, :, ::2, ::2], (0, 0, 0, 0, before, self.added - before))

    def extra_repr(self) -> str:
        return f"added={self.added}"


def resnet20(
    *, weights: str | Path | None = None, same_padding: bool | None = None, **arguments: Any
) -> ResNetCifar:
    """`arguments` may have `num_classes`, the rest is `building.build`'s."""
    return build(partial(ResNetCifar, 3), "resnet20", weights, same_padding, arguments)


def resnet56(
    *, weights: str | Path | None = None, same_padding: bool | None = None, **arguments: Any
) -> ResNetCifar:
    """Arguments as for `resnet20`."""
    return build(partial(ResNetCifar, 9), "resnet56", weights, same_padding, arguments)
