"""SqueezeNet: AlexNet's accuracy with a fiftieth of its parameters.

A 1×1 convolution squeezes the image to few channels, so that the 3×3 ones after it are cheap: that
is `nn.blocks.Fire`, of which the net is built. "16 → 64 + 64" squeezes to 16 channels, and expands
to 64 by 1×1 and 64 by 3×3. There is no batch norm, and no matrix either: conv10 makes an image for
each class, whose mean is the score. Version 1.1, the authors' later one, pools earlier.

                              version 1.0                   version 1.1
    layer                     output             MACs       output             MACs
    conv1     7×7 / 3×3, s 2   96 × 109²  167,664,672        64 × 111²   21,290,688
    maximum   3×3, s 2         96 × 54²                      64 × 55²
    fire2     16 → 64 + 64    128 × 54²    34,338,816       128 × 55²    34,073,600
    fire3     16 → 64 + 64    128 × 54²    35,831,808       128 × 55²    37,171,200
    maximum   3×3, s 2                                      128 × 27²
    fire4     32 → 128 + 128  256 × 54²   131,383,296       256 × 27²    32,845,824
    maximum   3×3, s 2        256 × 27²
    fire5     32 → 128 + 128  256 × 27²    35,831,808       256 × 27²    35,831,808
    maximum   3×3, s 2                                      256 × 13²
    fire6     48 → 192 + 192  384 × 27²    76,142,592       384 × 13²    17,651,712
    fire7     48 → 192 + 192  384 × 27²    80,621,568       384 × 13²    18,690,048
    fire8     64 → 256 + 256  512 × 27²   137,355,264       512 × 13²    31,842,304
    maximum   3×3, s 2        512 × 13²
    fire9     64 → 256 + 256  512 × 13²    33,226,752       512 × 13²    33,226,752
    conv10    1×1            1000 × 13²    86,528,000      1000 × 13²    86,528,000
    mean      over the pixels
                                          818,924,576                   349,151,936

    parameters                              1,248,424                     1,235,496
    top-1 with torchvision's weights         58.092 %                      58.178 %

(of ImageNet's photographs at 224²). Iandola et al., SqueezeNet: AlexNet-level accuracy with 50×
fewer parameters and < 0.5 MB model size, arXiv 1602.07360, table 1.

>>> import nanoconv as nc
>>> model = squeezenet1_1(num_classes=10).eval()
>>> model(nc.zeros(2, 3, 64, 64)).shape
(2, 10)
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from ..nn import (
    AdaptiveAvgPool2d,
    Conv2d,
    Dropout,
    Fire,
    MaxPool2d,
    Module,
    ReLU,
    Sequential,
    init,
)
from ..ops.shaping import flatten
from ..tensor import Tensor
from .building import build

STEM = {"1_0": (96, 7), "1_1": (64, 3)}  # the filters of conv1, and their size
FIRES = {  # to how many channels each squeezes, in lists that begin with a maximum
    "1_0": [[16, 16, 32], [32, 48, 48, 64], [64]],
    "1_1": [[16, 16], [32, 32], [48, 48, 64, 64]],
}


class SqueezeNet(Module):
    """Photographs (N, 3, H, W) → scores (N, num_classes), of 21×21 pixels and more (1.1: 17×17).

    `version` is "1_0" or "1_1", `dropout` the probability before conv10. The weights begin as
    arXiv 1502.01852 has them, uniform by fan-in, those of conv10 as N(0, 0.01²); biases are 0.
    """

    def __init__(self, version: str = "1_0", num_classes: int = 1000, dropout: float = 0.5) -> None:
        super().__init__()
        if version not in FIRES:
            raise ValueError(f"SqueezeNet: version={version!r}, expected '1_0' or '1_1'")
        C, K = STEM[version]
        layers: list[Module] = [Conv2d(3, C, K, stride=2), ReLU(inplace=True)]
        for between_pools in FIRES[version]:
            layers.append(MaxPool2d(3, stride=2, ceil_mode=True))
            for S in between_pools:
                E = 4 * S  # channels of either kind of expansion
                layers.append(Fire(C, S, E, E))
                C = 2 * E
        self.features = Sequential(*layers)
        conv10 = Conv2d(C, num_classes, 1)
        self.classifier = Sequential(
            Dropout(dropout), conv10, ReLU(inplace=True), AdaptiveAvgPool2d(1)
        )
        for module in self.modules():
            if isinstance(module, Conv2d):
                if module is conv10:
                    init.normal_(module.weight, std=0.01)
                else:
                    init.kaiming_uniform_(module.weight)
                if module.bias is not None:
                    init.zeros_(module.bias)

    def forward(self, input: Tensor) -> Tensor:
        return flatten(self.classifier(self.features(input)), 1)


def squeezenet1_0(
    *, weights: str | Path | None = None, same_padding: bool | None = None, **arguments: Any
) -> SqueezeNet:
    """Version 1.0; `arguments` are the others of `SqueezeNet`, the rest is `building.build`'s."""
    return build(partial(SqueezeNet, "1_0"), "squeezenet1_0", weights, same_padding, arguments)


def squeezenet1_1(
    *, weights: str | Path | None = None, same_padding: bool | None = None, **arguments: Any
) -> SqueezeNet:
    """Version 1.1; `arguments` are the others of `SqueezeNet`, the rest is `building.build`'s."""
    return build(partial(SqueezeNet, "1_1"), "squeezenet1_1", weights, same_padding, arguments)
