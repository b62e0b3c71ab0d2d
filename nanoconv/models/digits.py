"""Four nets for 8×8 digits that differ in one thing: what stands in for a 3×3 convolution.

All have the same skeleton, with a block where a plain net has a convolution from C to N channels:

    stem 1 → 32, block 32 → 32, block 32 → 32, halve, block 32 → 64, block 64 → 64, mean, linear

    net        a block is                                     multiply-adds per pixel (K = 3)
    standard   K×K                                            C·N·K²
    separable  depthwise K×K, then 1×1                        C·K² + C·N
    shuffle    1×1 in G groups, shuffle, depthwise K×K,       C·N/G + N·K² + N·N/G
               1×1 in G groups; added to the input
    fire       1×1 squeezes to S, then 1×1 beside K×K         C·S + S·N/2 + S·N/2·K²

A plain convolution multiplies K² taps for every pair of channels. A separable one looks around with
the K² taps of each channel alone, and then mixes channels at each pixel alone; divide its line by
the first, and 1/N + 1/K² is left.
"""

from __future__ import annotations

from collections.abc import Callable
from os import PathLike
from pathlib import Path
from typing import Any

from .. import nn
from ..functional import relu
from ..io import checkpoints
from ..ops.shaping import cat
from ..tensor import Tensor

INPUT_SHAPE = (1, 1, 8, 8)


# --------------------------------------------------------------------------- the blocks


def conv(C: int, N: int, K: int = 1, groups: int = 1) -> list[nn.Module]:
    """A convolution that keeps the image's size; the batch norm after it makes a bias needless."""
    return [
        nn.Conv2d(C, N, K, padding=K // 2, groups=groups, bias=False),
        nn.BatchNorm2d(N),
    ]


def standard(C: int, N: int) -> nn.Module:
    """One 3×3 convolution that sees all channels, as in LeNet and VGG."""
    return nn.Sequential(*conv(C, N, K=3), nn.ReLU())


def separable(C: int, N: int) -> nn.Module:
    """Depthwise 3×3, then pointwise 1×1: MobileNet. Howard et al., arXiv 1704.04861, figure 3."""
    return nn.Sequential(
        *conv(C, C, K=3, groups=C),
        nn.ReLU(),
        *conv(C, N),
        nn.ReLU(),
    )


class ShuffleUnit(nn.Module):
    """Grouped 1×1 convolutions that a shuffle joins: ShuffleNet.

    Zhang et al., arXiv 1707.01083, figure 2, without the bottleneck, for N is small already:
    relu(x + f(x)) where the channels stay the same in number; where they grow, f computes only the
    new ones and the old ones are kept beside them, as in the paper's unit with stride 2.
    """

    def __init__(self, C: int, N: int, groups: int = 4) -> None:
        super().__init__()
        A = N if C == N else N - C  # channels of f(x)
        self.adds = C == N
        self.f = nn.Sequential(
            *conv(C, N, groups=groups),
            nn.ReLU(),
            nn.ChannelShuffle(groups),
            *conv(N, N, K=3, groups=N),
            *conv(N, A, groups=groups),
        )

    def forward(self, x: Tensor) -> Tensor:
        return relu(x + self.f(x) if self.adds else cat([x, self.f(x)], dim=1))


class Fire(nn.Module):
    """Squeeze to few channels, expand half with 1×1 and half with 3×3: SqueezeNet.

    Iandola et al., arXiv 1602.07360, figure 1, with the batch norm that is usual today.
    """

    def __init__(self, C: int, N: int) -> None:
        super().__init__()
        S = N // 4
        self.squeeze = nn.Sequential(*conv(C, S), nn.ReLU())
        self.expand1x1 = nn.Sequential(*conv(S, N // 2), nn.ReLU())
        self.expand3x3 = nn.Sequential(*conv(S, N // 2, K=3), nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        x = self.squeeze(x)
        return cat([self.expand1x1(x), self.expand3x3(x)], dim=1)


# --------------------------------------------------------------------------- the nets

BLOCKS: dict[str, Callable[[int, int], nn.Module]] = {
    "standard": standard,
    "separable": separable,
    "shuffle": ShuffleUnit,
    "fire": Fire,
}


def digit_net(block: str) -> nn.Sequential:
    """The net of this name: (N, 1, 8, 8) → (N, 10) scores; ValueError if there is none."""
    if block not in BLOCKS:
        raise ValueError(f"digit_net: block={block!r} must be one of {', '.join(BLOCKS)}")
    make = BLOCKS[block]
    layers: dict[str, Any] = {
        "stem": nn.Sequential(*conv(1, 32, K=3), nn.ReLU()),
        "block1": make(32, 32),
        "block2": make(32, 32),
        "halve": nn.MaxPool2d(2),
        "block3": make(32, 64),
        "block4": make(64, 64),
        "mean": nn.GlobalAvgPool2d(),
        "flatten": nn.Flatten(),
        "classifier": nn.Linear(64, 10),
    }
    return nn.Sequential(layers)


def load_digit_net(path: str | PathLike[str]) -> tuple[nn.Sequential, dict[str, str]]:
    """The net in a file that `nanoconv demo` saved, in evaluation mode, and the file's metadata.

    OSError where there is no file to read, ValueError for any other file.
    """
    if Path(path).suffix != ".safetensors":
        raise ValueError(f"{path} is not a .safetensors file as `nanoconv demo` saves it")
    metadata = checkpoints.load_metadata(path)
    if metadata.get("net") not in BLOCKS:
        raise ValueError(f"{path} is not a model that `nanoconv demo` saved: it names no such net")
    model = digit_net(metadata["net"])
    model.load_state_dict(checkpoints.load(path))
    return model.eval(), metadata
