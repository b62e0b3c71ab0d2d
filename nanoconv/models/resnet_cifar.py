"""The thin ResNets for images of 32×32 pixels: as deep as one likes, with few parameters.

He et al., Deep Residual Learning, arXiv 1512.03385, section 4.2. Three stages of n basic blocks
(`nn.blocks.BasicBlock`), 6·n + 2 layers with weights in all. Shortcuts have no parameters: where
the shape changes they take every second pixel, and zeros for the channels that are new (option A).

    layer       pixels   channels    resnet20      resnet56
    conv1       32×32       16       3×3           3×3
    layer1      32×32       16       3 blocks      9 blocks
    layer2      16×16       32       3 blocks      9 blocks
    layer3       8×8        64       3 blocks      9 blocks
    mean         1×1        64
    linear       1×1     classes

                parameters    conv MACs  linear MACs   top-1 on CIFAR-10
    resnet20       269,722   40,550,400          640   91.25 in the paper, 91.7 published weights
    resnet56       853,018  125,485,056          640   93.03 in the paper, 93.4 published weights

>>> import nanoconv as nc
>>> model = resnet20()
>>> model(nc.zeros(1, 3, 32, 32)).shape
(1, 10)
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
    """(N, 3, H, W) → (N, num_classes) scores; `blocks` is n, the blocks of each of three stages.

    Initial values: He et al.'s normal ones by fan-in, in the convolutions and the linear layer.
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
    """Twenty layers; `arguments` may have `num_classes`, the rest are those of `build`."""
    return build(partial(ResNetCifar, 3), "resnet20", weights, same_padding, arguments)


def resnet56(
    *, weights: str | Path | None = None, same_padding: bool | None = None, **arguments: Any
) -> ResNetCifar:
    """Fifty-six layers; arguments as for `resnet20`."""
    return build(partial(ResNetCifar, 9), "resnet56", weights, same_padding, arguments)
