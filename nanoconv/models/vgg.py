"""VGG: nothing but 3×3 convolutions, many of them.

Simonyan & Zisserman, Very deep convolutional networks, arXiv 1409.1556, table 1. Two 3×3
convolutions see as much as one of 5×5, three as much as one of 7×7, with fewer weights and more
nonlinearities. Every image that is halved gets twice the channels, up to 512:

    pixels       A (vgg11)       D (vgg16)
    224×224      64              64, 64
    112×112      128             128, 128
     56×56       256, 256        256, 256, 256
     28×28       512, 512        512, 512, 512
     14×14       512, 512        512, 512, 512
      7×7        linear 4096, linear 4096, linear classes

A number is a 3×3 convolution to so many channels, with a ReLU, and in the nets with "_bn" a batch
norm between the two; a 2×2 max pooling ends each row. Nine tenths of the parameters are in the
linear layers, nearly all of the work is in the convolutions:

                parameters       conv MACs   linear MACs   top-1 on ImageNet, torchvision's weights
    vgg11      132,863,336   7,485,456,384   123,633,664   69.020
    vgg11_bn   132,868,840   7,485,456,384   123,633,664
    vgg16      138,357,544  15,346,630,656   123,633,664   71.592
    vgg16_bn   138,365,992  15,346,630,656   123,633,664   73.360

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
    """A column of the table without the linear layers: (N, 3, H, W) → (N, 512, ⌊H/32⌋, ⌊W/32⌋)."""
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
    """(N, 3, H, W) → (N, num_classes) scores, for images of 32×32 pixels and more.

    `configuration` is a column of the table, "A" or "D". Images of other sizes than 224×224 are
    pooled to the 7×7 cells that the linear layers expect. `dropout` is the probability after the
    first two linear layers. Initial values with `init_weights`: He et al.'s normal ones by fan-out
    in the convolutions, N(0, 0.01²) in the linear layers, biases 0; without, those of the layers.
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
    """Column A; `arguments` are the last three of `VGG`, the rest those of `build`."""
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
