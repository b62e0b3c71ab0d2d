"""The networks that the tests of models go through, one on each line, and what they cost."""

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Net:
    """What `builder(**arguments)` costs for one image of size×size pixels.

    oracle     whether torchvision has the builder
    backward   the size of the images of its training step, odd; 0 for none
    """

    builder: str
    parameters: int
    conv_macs: int
    linear_macs: int
    arguments: dict[str, Any] = field(default_factory=dict)
    size: int = 224
    oracle: bool = True
    backward: int = 161

    def __str__(self) -> str:
        values = (f"{name}={value}" for name, value in self.arguments.items())
        return f"{self.builder}({', '.join(values)})"


NETS = [
    Net("grouped_cnn", 120_826, 125_841_408, 960, oracle=False),
    Net("lightweight_cnn", 488, 125_952, 320, size=32, oracle=False),
    Net("mobilenet_v1", 4_231_976, 567_716_352, 1_024_000, oracle=False),
    Net("mobilenet_v1", 470_072, 40_774_272, 256_000, {"width_mult": 0.25}, oracle=False),
    Net("mobilenet_v2", 3_504_872, 299_494_272, 1_280_000),
    Net("mobilenet_v3_large", 5_483_032, 214_080_960, 2_508_800),
    Net("mobilenet_v3_small", 2_542_856, 54_896_576, 1_613_824),
]
