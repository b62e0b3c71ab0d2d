"""VGG: nothing but 3×3 convolutions, many of them.

Two 3×3 convolutions see as much as one of 5×5, three as much as one of 7×7, with fewer weights and
more nonlinearities. Every image that is halved gets twice the channels, up to 512:

    pixels   A: vgg11           D: vgg16
    224²     64                 64, 64
    112²     128                128, 128
     56²     256, 256           256, 256, 256
     28²     512, 512           512, 512, 512
     14²     512, 512           512, 512, 512
      7²     matrices to 4096, to 4096 and to the classes

A number is a 3×3 convolution to so many channels and a ReLU, in the nets with "_bn" with a batch
norm between the two; a 2×2 maximum halves the image at the end of each row. Nearly all of the work
is in the convolutions, nearly all of the parameters are in the matrices:

    net        parameters   convolutions' MACs   matrices' MACs   top-1
    vgg11     132,863,336        7,485,456,384      123,633,664   69.020 %
    vgg11_bn  132,868,840        7,485,456,384      123,633,664
    vgg16     138,357,544       15,346,630,656      123,633,664   71.592 %
    vgg16_bn  138,365,992       15,346,630,656      123,633,664   73.360 %

(of ImageNet's photographs at 224², with torchvision's weights). Simonyan & Zisserman, Very Deep
Convolutional Networks for Large-Scale Image Recognition, arXiv 1409.1556, table 1.

>>> import nanoconv as nc
>>> convolutions("A")(nc.zeros(1, 3, 64, 64)).shape
(1, 512, 2, 2)
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from ..nn import (
    AdaptiveAvgPool2d,
    BatchNorm2d,
    Conv2d,
    Dropout,
    Linear,
    MaxPool2d,
    Module,
    ReLU,
    Sequential,
)
from ..ops.shaping import flatten
from ..tensor import Tensor
from .building import build, initialise

CONFIGURATIONS = {
    "A": [[64], [128], [256, 256], [512, 512], [512, 512]],
    "D": [[64, 64], [128, 128], [256, 256, 256], [512, 512, 512], [512, 512, 512]],
}


def convolutions(configuration: str, batch_norm: bool = False) -> Sequential:
    """A column of the table but for the matrices: (N, 3, H, W) → (N, 512, ⌊H/32⌋, ⌊W/32⌋)."""
    if configuration not in CONFIGURATIONS:
        known = " or ".join(map(repr, CONFIGURATIONS))
        raise ValueError(f"VGG: configuration={configuration!r}, expected {known}")
    layers: list[Module] = []
    C = 3
    for row in CONFIGURATIONS[configuration]:
        for O in row:
            layers.append(Conv2d(C, O, 3, padding=1))
            if batch_norm:
                layers.append(BatchNorm2d(O))
            layers.append(ReLU(inplace=True))
            C = O
        layers.append(MaxPool2d(2))
    return Sequential(*layers)


class VGG(Module):
    """Photographs (N, 3, H, W) → scores (N, num_classes), of 32×32 pixels and more.

    `configuration` is a column of the table, "A" or "D". What is left of photographs of another
    size than 224×224 is averaged or repeated in 7×7 cells. `dropout` is the probability after the
    first two matrices. `init_weights` as in `building.initialise`; else the layers' own.
    """

    def __init__(
        self,
        configuration: str,
        batch_norm: bool = False,
        num_classes: int = 1000,
        init_weights: bool = True,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        self.features = convolutions(configuration, batch_norm)
        self.avgpool = AdaptiveAvgPool2d(7)
        self.classifier = Sequential(
            Linear(512 * 7 * 7, 4096),
            ReLU(inplace=True),
            Dropout(dropout),
            Linear(4096, 4096),
            ReLU(inplace=True),
            Dropout(dropout),
            Linear(4096, num_classes),
        )
        if init_weights:
            initialise(self)

    def forward(self, input: Tensor) -> Tensor:
        return self.classifier(flatten(self.avgpool(self.features(input)), 1))


def vgg11(
    *, weights: str | Path | None = None, same_padding: bool | None = None, **arguments: Any
) -> VGG:
    """Column A; `arguments` are the last three of `VGG`, the rest is `building.build`'s."""
    network = partial(VGG, "A", False)
    return build(network, "vgg11", weights, same_padding, arguments)


def vgg11_bn(
    *, weights: str | Path | None = None, same_padding: bool | None = None, **arguments: Any
) -> VGG:
    """Column A with batch norms; arguments as for `vgg11`."""
    network = partial(VGG, "A", True)
    return build(network, "vgg11_bn", weights, same_padding, arguments)


def vgg16(
    *, weights: str | Path | None = None, same_padding: bool | None = None, **arguments: Any
) -> VGG:
    """Column D; arguments as for `vgg11`."""
    network = partial(VGG, "D", False)
    return build(network, "vgg16", weights, same_padding, arguments)


def vgg16_bn(
    *, weights: str | Path | None = None, same_padding: bool | None = None, **arguments: Any
) -> VGG:
    """Column D with batch norms; arguments as for `vgg11`."""
    network = partial(VGG, "D", True)
    return build(network, "vgg16_bn", weights, same_padding, arguments)
