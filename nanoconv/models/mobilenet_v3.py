"""MobileNetV3: V2's blocks, but a computer chose their sizes, and some look at the whole image.

Every block of the two tables below has its own kernel size K, its own number of channels inside
(exp) and outside (out), a gate for its channels or none (SE), the activation ReLU (RE) or Hardswish
(HS), and a stride s:

    Hardswish(x) = x · min(max(x + 3, 0), 6) / 6

Before them comes a 3×3 convolution of 16 channels with stride 2, after them a 1×1 convolution of
six times as many channels as there are, a mean over the pixels, and two matrices. Behind the mean
the wide layers cost nothing for each pixel; that is what the paper calls the efficient last stage.

    net      parameters   convolutions' MACs   matrices' MACs   top-1: paper, torchvision
    large     5,483,032          214,080,960        2,508,800   75.2 %, 74.042 % and 75.274 %
    small     2,542,856           54,896,576        1,613,824   67.4 %, 67.668 %

(of ImageNet's photographs at 224²; "imagenet1k_v1" and "imagenet1k_v2"). Howard et al., Searching
for MobileNetV3, arXiv 1905.02244, tables 1 and 2.

>>> import nanoconv as nc
>>> model = mobilenet_v3_small(width_mult=0.5, num_classes=10).eval()
>>> model(nc.zeros(2, 3, 64, 64)).shape
(2, 10)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from ..nn import (
    AdaptiveAvgPool2d,
    ConvBNAct,
    Dropout,
    Hardswish,
    InvertedResidualV3,
    Linear,
    Module,
    Sequential,
)
from ..nn.blocks import make_divisible
from ..tensor import Tensor
from .building import build, initialise, tensorflow_norm

STEM = 16
Row = tuple[int, int, int, bool, str, int]
SE, __ = True, False
#    K   exp  out  SE  act   s
LARGE: list[Row] = [
    (3,  16,  16, __, "RE", 1),
    (3,  64,  24, __, "RE", 2),
    (3,  72,  24, __, "RE", 1),
    (5,  72,  40, SE, "RE", 2),
    (5, 120,  40, SE, "RE", 1),
    (5, 120,  40, SE, "RE", 1),
    (3, 240,  80, __, "HS", 2),
    (3, 200,  80, __, "HS", 1),
    (3, 184,  80, __, "HS", 1),
    (3, 184,  80, __, "HS", 1),
    (3, 480, 112, SE, "HS", 1),
    (3, 672, 112, SE, "HS", 1),
    (5, 672, 160, SE, "HS", 2),
    (5, 960, 160, SE, "HS", 1),
    (5, 960, 160, SE, "HS", 1),
]  # fmt: skip
SMALL: list[Row] = [
    (3,  16,  16, SE, "RE", 2),
    (3,  72,  24, __, "RE", 2),
    (3,  88,  24, __, "RE", 1),
    (5,  96,  40, SE, "HS", 2),
    (5, 240,  40, SE, "HS", 1),
    (5, 240,  40, SE, "HS", 1),
    (5, 120,  48, SE, "HS", 1),
    (5, 144,  48, SE, "HS", 1),
    (5, 288,  96, SE, "HS", 2),
    (5, 576,  96, SE, "HS", 1),
    (5, 576,  96, SE, "HS", 1),
]  # fmt: skip
TAIL = 3  # the blocks at the smallest resolution


class MobileNetV3(Module):
    """Photographs (N, 3, H, W) of any size → scores (N, num_classes).

    All channels are multiplied by `width_mult` and rounded to a multiple of 8. Two changes to the
    last three blocks are for detection and segmentation: `reduced_tail` halves their channels and
    those of the first matrix, `dilated` dilates their kernels in place of the last stride
    (sections 6.3 and 6.4).
    """

    def __init__(
        self,
        table: Sequence[Row],
        last_channel: int,
        num_classes: int = 1000,
        width_mult: float = 1.0,
        reduced_tail: bool = False,
        dilated: bool = False,
        norm_layer: Callable[..., Module] | None = None,
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        norm = tensorflow_norm if norm_layer is None else norm_layer
        make = partial(ConvBNAct, norm_layer=norm, activation_layer=Hardswish)

        def channels(c: int, tail: bool = False) -> int:
            return make_divisible((c // 2 if tail and reduced_tail else c) * width_mult)

        C = channels(STEM)
        layers: list[Module] = [make(3, C, stride=2)]
        for k, (kernel, expanded, out, se, act, s) in enumerate(table, TAIL - len(table)):
            # The tail begins with k = 0; what its first block expands to is not halved yet.
            E, O = channels(expanded, tail=k > 0), channels(out, tail=k >= 0)
            dilation = 2 if dilated and k >= 0 else 1
            layers.append(InvertedResidualV3(C, kernel, E, O, se, act, s, dilation, norm))
            C = O
        self.features = Sequential(*layers, make(C, 6 * C, 1))
        self.avgpool = AdaptiveAvgPool2d(1)
        last = channels(last_channel, tail=True)
        self.classifier = Sequential(
            Linear(6 * C, last),
            Hardswish(inplace=True),
            Dropout(dropout, inplace=True),
            Linear(last, num_classes),
        )
        initialise(self)

    def forward(self, input: Tensor) -> Tensor:
        return self.classifier(self.avgpool(self.features(input)).flatten(1))


def mobilenet_v3_small(
    *, weights: str | Path | None = None, same_padding: bool | None = None, **arguments: Any
) -> MobileNetV3:
    """The small net; `arguments` are those of `MobileNetV3` after the table and the last channels.

    The others are those of `building.build`.
    """
    network = partial(MobileNetV3, SMALL, 1024)
    return build(network, "mobilenet_v3_small", weights, same_padding, arguments)


def mobilenet_v3_large(
    *, weights: str | Path | None = None, same_padding: bool | None = None, **arguments: Any
) -> MobileNetV3:
    """The large net; its arguments are those of `mobilenet_v3_small`."""
    network = partial(MobileNetV3, LARGE, 1280)
    return build(network, "mobilenet_v3_large", weights, same_padding, arguments)
