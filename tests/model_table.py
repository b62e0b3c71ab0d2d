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


MORE = [
    Net("resnet18", 11_689_512, 1_813_561_344, 512_000, backward=33),
    Net("resnet20", 269_722, 40_550_400, 640, size=32, oracle=False),
    Net("resnet34", 21_797_672, 3_663_249_408, 512_000, backward=33),
    Net("resnet50", 25_557_032, 4_087_136_256, 2_048_000, backward=33),
    Net("resnet56", 853_018, 125_485_056, 640, size=32, oracle=False),
    Net("shufflenet_v1", 1_531_936, 142_502_976, 576_000, {"groups": 1}, oracle=False),
    Net("shufflenet_v1", 1_733_848, 140_036_512, 800_000, {"groups": 2}, oracle=False),
    Net("shufflenet_v1", 1_865_728, 136_500_672, 960_000, {"groups": 3}, oracle=False),
    Net("shufflenet_v1", 1_968_344, 133_251_776, 1_088_000, {"groups": 4}, oracle=False),
    Net("shufflenet_v1", 2_434_768, 136_829_952, 1_536_000, {"groups": 8}, oracle=False),
    Net("shufflenet_v2_x0_5", 1_366_792, 39_452_448, 1_024_000, backward=65),
    Net("shufflenet_v2_x1_0", 2_278_604, 143_883_992, 1_024_000, backward=65),
    Net("shufflenet_v2_x1_5", 3_503_624, 294_735_392, 1_024_000, backward=65),
    Net("shufflenet_v2_x2_0", 7_393_996, 581_205_464, 2_048_000, backward=65),
    Net("squeezenet1_0", 1_248_424, 818_924_576, 0, backward=65),
    Net("squeezenet1_1", 1_235_496, 349_151_936, 0, backward=65),
    Net("vgg11", 132_863_336, 7_485_456_384, 123_633_664, backward=33),
    Net("vgg11_bn", 132_868_840, 7_485_456_384, 123_633_664, backward=33),
    Net("vgg16", 138_357_544, 15_346_630_656, 123_633_664, backward=33),
    Net("vgg16_bn", 138_365_992, 15_346_630_656, 123_633_664, backward=33),
]
