"""Building blocks: the few layers that a paper repeats all through its net.

    ConvBNAct, SqueezeExcite                parts of the others
    DepthwiseSeparable                      MobileNet
    InvertedResidual, InvertedResidualV3    MobileNetV2, MobileNetV3
    ShuffleUnit, ShuffleUnitV2              ShuffleNet, ShuffleNet V2
    Fire                                    SqueezeNet
    BasicBlock, Bottleneck                  ResNet

Arguments, submodules and state dicts are those of torchvision where it has the block, so that its
checkpoints load without a mapping. Each docstring draws the figure of the paper and says what the
block costs, in the letters of docs/conventions.md: N images of H×W pixels and C channels come in,
O channels of OH×OW pixels go out, K is the kernel's size, s the stride, G the number of groups;
[condition] is 1 where it holds, else 0. Batch norms have two parameters for each channel, and no
MACs (see `nanoconv.summary`).
"""

from .conv import ConvBNAct, SqueezeExcite
from .fire import Fire
from .mobile import DepthwiseSeparable, InvertedResidual, InvertedResidualV3, make_divisible
from .residual import BasicBlock, Bottleneck
from .shuffle import ShuffleUnit, ShuffleUnitV2

__all__ = [
    "BasicBlock",
    "Bottleneck",
    "ConvBNAct",
    "DepthwiseSeparable",
    "Fire",
    "InvertedResidual",
    "InvertedResidualV3",
    "ShuffleUnit",
    "ShuffleUnitV2",
    "SqueezeExcite",
    "make_divisible",
]
