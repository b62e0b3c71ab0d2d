"""SqueezeNet: AlexNet's accuracy with a fiftieth of its parameters.

Iandola et al., SqueezeNet, arXiv 1602.07360. Three quarters of the table's rows are one module,
`nn.blocks.Fire`: a 1×1 convolution squeezes the image to few channels, so that the 3×3 ones after
it are cheap. There are no fully connected layers, and no batch norms; the classifier is a 1×1
convolution to one image for each class, whose mean is the score.

    layer         SqueezeNet 1.0              pixels    SqueezeNet 1.1              pixels
    conv1         7×7, 96, stride 2          109×109    3×3, 64, stride 2          111×111
    max pool      3×3, stride 2               54×54     3×3, stride 2               55×55
    fire2         16 → 64 + 64                          16 → 64 + 64
    fire3         16 → 64 + 64                          16 → 64 + 64
    max pool                                            3×3, stride 2               27×27
    fire4         32 → 128 + 128                        32 → 128 + 128
    max pool      3×3, stride 2               27×27
    fire5         32 → 128 + 128                        32 → 128 + 128
    max pool                                            3×3, stride 2               13×13
    fire6         48 → 192 + 192                        48 → 192 + 192
    fire7         48 → 192 + 192                        48 → 192 + 192
    fire8         64 → 256 + 256                        64 → 256 + 256
    max pool      3×3, stride 2               13×13
    fire9         64 → 256 + 256                        64 → 256 + 256
    conv10        1×1, classes                          1×1, classes
    mean          over all pixels               1×1     over all pixels               1×1

                    parameters         MACs    top-1 on ImageNet, torchvision's weights
    squeezenet1_0    1,248,424  818,924,576    58.092
    squeezenet1_1    1,235,496  349,151,936    58.178

Version 1.1, of the authors' later release, pools earlier, and has 2.3 times fewer multiply-adds.

>>> import nanoconv as nc
>>> model = squeezenet1_1(num_classes=10)
>>> model(nc.zeros(1, 3, 64, 64)).shape
(1, 10)
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
# To how many channels each Fire module squeezes; it expands to four times as many of either kind.
# There is a max pooling before each list.
FIRES = {
    "1_0": [[16, 16, 32], [32, 48, 48, 64], [64]],
    "1_1": [[16, 16], [32, 32], [48, 48, 64, 64]],
}


class SqueezeNet(Module):
    """(N, 3, H, W) → (N, num_classes) scores; `version` is "1_0" or "1_1".

    `dropout` is the probability before conv10. Initial values: He et al.'s uniform ones, and
    N(0, 0.01²) in conv10.
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
                layers.append(Fire(C, S, 4 * S, 4 * S))
                C = 8 * S
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
    """The network of the paper; `arguments` are those of `SqueezeNet`, the rest of `build`."""
    return build(partial(SqueezeNet, "1_0"), "squeezenet1_0", weights, same_padding, arguments)


def squeezenet1_1(
    *, weights: str | Path | None = None, same_padding: bool | None = None, **arguments: Any
) -> SqueezeNet:
    """The authors' cheaper one; `arguments` are those of `SqueezeNet`, the rest of `build`."""
    return build(partial(SqueezeNet, "1_1"), "squeezenet1_1", weights, same_padding, arguments)
