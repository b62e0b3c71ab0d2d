"""ResNet: layers that learn what to add to their input, so that a net can have very many of them.

The blocks are `nn.blocks.BasicBlock` and, for fifty layers and more, `nn.blocks.Bottleneck`, whose
outputs have four times as many channels as this table says:

    input       layer             channels   resnet18   resnet34   resnet50
      3 × 224²  7×7, stride 2     64
     64 × 112²  3×3 maximum, s 2  64
         56²    layer1            64         2 basic    3 basic    3 bottlenecks
         56²    layer2, stride 2  128        2 basic    4 basic    4 bottlenecks
         28²    layer3, stride 2  256        2 basic    6 basic    6 bottlenecks
         14²    layer4, stride 2  512        2 basic    3 basic    3 bottlenecks
          7²    mean over the pixels, matrix

    net       parameters   convolutions' MACs   matrix's MACs   top-1
    resnet18  11,689,512        1,813,561,344         512,000   69.758 %
    resnet34  21,797,672        3,663,249,408         512,000   73.314 %
    resnet50  25,557,032        4,087,136,256       2,048,000   76.130 %, 80.858 %

(of ImageNet's photographs at 224², with torchvision's weights, "imagenet1k_v1" and
"imagenet1k_v2"). Where a block changes the shape, a 1×1 convolution and a batch norm fit its
shortcut to that: the paper's option B. The stride of a bottleneck is that of its 3×3 convolution,
as in torchvision; the paper's is that of the first 1×1 one, which ignores three pixels of four.

He et al., Deep Residual Learning for Image Recognition, arXiv 1512.03385, table 1.

>>> import nanoconv as nc
>>> model = resnet18(num_classes=10).eval()
>>> model(nc.zeros(2, 3, 64, 64)).shape
(2, 10)
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from .. import functional as F
from ..nn import (
    BasicBlock,
    BatchNorm2d,
    Bottleneck,
    Conv2d,
    Linear,
    MaxPool2d,
    Module,
    ReLU,
    Sequential,
    init,
)
from ..nn.blocks.conv import Layer
from ..ops.shaping import flatten
from ..tensor import Tensor
from .building import build

CHANNELS = (64, 128, 256, 512)  # of layer1 to layer4
BLOCKS = {"resnet18": (2, 2, 2, 2), "resnet34": (3, 4, 6, 3), "resnet50": (3, 4, 6, 3)}


class ResNet(Module):
    """Photographs (N, 3, H, W) of any size → scores (N, num_classes).

    `block` is BasicBlock or Bottleneck, `layers` how many of them layer1 to layer4 have. With
    `zero_init_residual` every block begins as the identity. `groups` and `width_per_group` are
    those of bottlenecks: ResNeXt's and Wide ResNet's. `replace_stride_with_dilation` says of layer2
    to layer4 whether they keep the image's size, and see as far by a dilation. The convolutions
    begin as arXiv 1502.01852 has it, normal by fan-out.
    """

    def __init__(
        self,
        block: type[BasicBlock | Bottleneck],
        layers: Sequence[int],
        num_classes: int = 1000,
        zero_init_residual: bool = False,
        groups: int = 1,
        width_per_group: int = 64,
        replace_stride_with_dilation: Sequence[bool] | None = None,
        norm_layer: Layer | None = None,
    ) -> None:
        super().__init__()
        dilate = (False, *(replace_stride_with_dilation or (False, False, False)))
        if len(dilate) != len(CHANNELS):
            raise ValueError(
                f"ResNet: replace_stride_with_dilation={replace_stride_with_dilation!r}, expected "
                "None or three of True and False"
            )
        norm = BatchNorm2d if norm_layer is None else norm_layer
        make = partial(block, groups=groups, base_width=width_per_group, norm_layer=norm)
        C, dilation = CHANNELS[0], 1
        self.conv1 = Conv2d(3, C, 7, stride=2, padding=3, bias=False)
        self.bn1 = norm(C)
        self.relu = ReLU(inplace=True)
        self.maxpool = MaxPool2d(3, stride=2, padding=1)
        for k, (P, blocks) in enumerate(zip(CHANNELS, layers, strict=True)):
            stride, before, O = 1 if k == 0 else 2, dilation, P * block.expansion
            if dilate[k]:
                stride, dilation = 1, 2 * dilation
            shortcut = None
            if stride != 1 or C != O:
                shortcut = Sequential(Conv2d(C, O, 1, stride, bias=False), norm(O))
            first = make(C, P, stride, shortcut, dilation=before)
            rest = (make(O, P, dilation=dilation) for _ in range(blocks - 1))
            self.register_module(f"layer{k + 1}", Sequential(first, *rest))
            C = O
        self.fc = Linear(C, num_classes)
        for module in self.modules():
            if isinstance(module, Conv2d):
                init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            elif zero_init_residual and isinstance(module, (BasicBlock, Bottleneck)):
                last = module.bn3 if isinstance(module, Bottleneck) else module.bn2
                init.zeros_(last.weight)

    def forward(self, input: Tensor) -> Tensor:
        x = self.maxpool(self.relu(self.bn1(self.conv1(input))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(flatten(F.adaptive_avg_pool2d(x, 1), 1))


def resnet18(
    *, weights: str | Path | None = None, same_padding: bool | None = None, **arguments: Any
) -> ResNet:
    """`arguments` are those of `ResNet` from the third on, the rest is `building.build`'s."""
    network = partial(ResNet, BasicBlock, BLOCKS["resnet18"])
    return build(network, "resnet18", weights, same_padding, arguments)


def resnet34(
    *, weights: str | Path | None = None, same_padding: bool | None = None, **arguments: Any
) -> ResNet:
    """Arguments as for `resnet18`."""
    network = partial(ResNet, BasicBlock, BLOCKS["resnet34"])
    return build(network, "resnet34", weights, same_padding, arguments)


def resnet50(
    *, weights: str | Path | None = None, same_padding: bool | None = None, **arguments: Any
) -> ResNet:
    """Arguments as for `resnet18`."""
    network = partial(ResNet, Bottleneck, BLOCKS["resnet50"])
    return build(network, "resnet50", weights, same_padding, arguments)
