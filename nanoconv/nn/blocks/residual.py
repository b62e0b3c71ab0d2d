"""The blocks of ResNet: layers compute what is to be added to their input.

>>> import nanoconv as nc
>>> shortcut = nc.nn.Sequential(nc.nn.Conv2d(64, 512, 1, stride=2, bias=False), BatchNorm2d(512))
>>> Bottleneck(64, 128, stride=2, downsample=shortcut)(nc.zeros(1, 64, 8, 8)).shape
(1, 512, 4, 4)
"""

from __future__ import annotations

from ...tensor import Tensor
from ..activations import ReLU
from ..layers import Conv2d
from ..module import Module
from ..normalisation import BatchNorm2d
from .conv import Layer


class BasicBlock(Module):
    """Two 3×3 convolutions beside a shortcut: y = relu(f(x) + x).

                x (C, H, W)
                ├──────────────────────────┐
        ┌───────▼────────┐                 │
        │ 3×3  C → P     │ s, BN, ReLU     │ the input, or `downsample` of it
        ├────────────────┤                 │
        │ 3×3  P → P     │ BN              │
        └───────┬────────┘                 │
                + ◄────────────────────────┘
                ReLU
                y (P, OH, OW)

        parameters  9·C·P + 9·P² + 4·P + R·(C·P + 2·P)
        MACs        N·OH·OW·(9·C·P + 9·P² + R·C·P)

    P = `planes`. R is 1 with a `downsample` of a 1×1 convolution with stride s and a batch norm,
    which is needed where s ≠ 1 or C ≠ P, and 0 without. `groups`, `base_width` and `dilation` are
    there because `Bottleneck` has them; only 1, 64 and 1 are supported, as in torchvision. He et
    al., Deep Residual Learning, arXiv 1512.03385, figure 5, left.
    """

    expansion = 1

    def __init__(
        self,
        inplanes: int,
        planes: int,
        stride: int = 1,
        downsample: Module | None = None,
        groups: int = 1,
        base_width: int = 64,
        dilation: int = 1,
        norm_layer: Layer | None = None,
    ) -> None:
        super().__init__()
        if (groups, base_width, dilation) != (1, 64, 1):
            raise ValueError(
                f"BasicBlock: groups={groups}, base_width={base_width} and dilation={dilation} "
                "must be 1, 64 and 1"
            )
        norm = BatchNorm2d if norm_layer is None else norm_layer
        self.conv1 = conv3x3(inplanes, planes, stride)
        self.bn1 = norm(planes)
        self.relu = ReLU(inplace=True)
        self.conv2 = conv3x3(planes, planes)
        self.bn2 = norm(planes)
        self.downsample = downsample
        self.stride = stride

    def forward(self, input: Tensor) -> Tensor:
        y = self.relu(self.bn1(self.conv1(input)))
        y = self.bn2(self.conv2(y))
        return self.relu(plus_shortcut(self, y, input))


class Bottleneck(Module):
    """A 3×3 convolution between two 1×1 ones that narrow and widen: y = relu(f(x) + x).

                x (C, H, W)
                ├──────────────────────────┐
        ┌───────▼────────┐                 │
        │ 1×1  C → D     │ BN, ReLU        │
        ├────────────────┤                 │
        │ 3×3  D → D     │ s, G, BN, ReLU  │ the input, or `downsample` of it
        ├────────────────┤                 │
        │ 1×1  D → 4·P   │ BN              │
        └───────┬────────┘                 │
                + ◄────────────────────────┘
                ReLU
                y (4·P, OH, OW)

        parameters  C·D + 9·D²/G + 4·D·P + 4·D + 8·P + R·(4·C·P + 8·P)
        MACs        N·H·W·C·D + N·OH·OW·(9·D²/G + 4·D·P + R·4·C·P)

    P = `planes`, D = ⌊P · base_width / 64⌋ · G. R is 1 with a `downsample` of a 1×1 convolution
    with stride s and a batch norm, which is needed where s ≠ 1 or C ≠ 4·P, and 0 without. The
    stride is that of the 3×3 convolution, which sees all pixels; the paper's is that of the first.
    He et al., Deep Residual Learning, arXiv 1512.03385, figure 5, right; Xie et al., ResNeXt, arXiv
    1611.05431 (groups); Zagoruyko & Komodakis, Wide ResNet, arXiv 1605.07146 (base_width).
    """

    expansion = 4

    def __init__(
        self,
        inplanes: int,
        planes: int,
        stride: int = 1,
        downsample: Module | None = None,
        groups: int = 1,
        base_width: int = 64,
        dilation: int = 1,
        norm_layer: Layer | None = None,
    ) -> None:
        super().__init__()
        norm = BatchNorm2d if norm_layer is None else norm_layer
        width = int(planes * (base_width / 64)) * groups
        self.conv1 = Conv2d(inplanes, width, 1, bias=False)
        self.bn1 = norm(width)
        self.conv2 = conv3x3(width, width, stride, groups, dilation)
        self.bn2 = norm(width)
        self.conv3 = Conv2d(width, planes * self.expansion, 1, bias=False)
        self.bn3 = norm(planes * self.expansion)
        self.relu = ReLU(inplace=True)
        self.downsample = downsample
        self.stride = stride

    def forward(self, input: Tensor) -> Tensor:
        y = self.relu(self.bn1(self.conv1(input)))
        y = self.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        return self.relu(plus_shortcut(self, y, input))


def conv3x3(C: int, O: int, stride: int = 1, groups: int = 1, dilation: int = 1) -> Conv2d:
    """Keeps the image's size, but for the stride."""
    return Conv2d(C, O, 3, stride, dilation, dilation, groups, bias=False)


def plus_shortcut(block: Module, y: Tensor, input: Tensor) -> Tensor:
    """y + input, or + `downsample` of it; ValueError where the shapes differ."""
    shortcut = input if block.downsample is None else block.downsample(input)
    if shortcut.shape != y.shape:
        raise ValueError(
            f"{type(block).__name__}: the shortcut has shape {list(shortcut.shape)}, expected "
            f"{list(y.shape)}; give a downsample with stride={block.stride} that makes them equal"
        )
    return y + shortcut
