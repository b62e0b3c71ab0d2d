"""The layers of MobileNetV2, ShuffleNetV2 1.0× and SqueezeNet 1.1, generated from their tables.

Batch 1, 224×224 pixels. A layer is named by its net and its place there; layers of one net that
compute on the same shapes are one `Layer` under the name of the first, with their number.

Papers: Sandler et al., arXiv 1801.04381, table 2; Ma et al., arXiv 1807.11164, table 5; Iandola et
al., arXiv 1602.07360, table 1, in the version 1.1 of its authors.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Layer:
    """One op at one shape: `op(x, w, bias, **attrs)`, which its net runs `count` times.

    Where two images meet (cat), w is the second.
    """

    name: str
    op: str
    x: Shape
    w: Shape | None = None
    bias: bool = False
    attrs: dict[str, Any] = field(default_factory=dict)
    count: int = 1

    @property
    def net(self) -> str:
        return self.name.partition(".")[0]

    @property
    def kernel(self) -> int:
        """Height and width of the window; 0 where there is none."""
        if self.w and len(self.w) == 4 and self.op != "cat":
            return self.w[2]
        return self.attrs.get("kernel_size", 0)

    @property
    def side(self) -> int:
        """Height and width of the output of a convolution or its im2col; transposed, its input."""
        if self.op == "conv_transpose2d":
            return self.x[2]
        window = self.attrs.get("dilation", 1) * (self.kernel - 1) + 1
        room = self.x[2] + 2 * self.attrs["padding"] - window
        return room // self.attrs["stride"] + 1

    @property
    def macs(self) -> int:
        """Multiply-adds of a convolution or a linear layer; 0 for all others."""
        if self.op in ("conv2d", "depthwise_conv2d", "conv_transpose2d"):
            o, c, kh, kw = self.w
            return o * c * kh * kw * self.side**2
        return self.w[0] * self.w[1] if self.op == "linear" else 0

    @property
    def work(self) -> int:
        """What grows with the time: multiply-adds, or numbers read where there are none."""
        return self.macs or math.prod(self.x)

    @property
    def title(self) -> str:
        """The shape in short: "144→24 1×1, 56×56"."""
        image = "×".join(map(str, self.x[2:]))
        window = f" {self.kernel}×{self.kernel}" if self.kernel else ""
        stride = f" /{self.attrs['stride']}" if self.attrs.get("stride", 1) != 1 else ""
        if self.op == "linear":
            return f"{self.w[1]}→{self.w[0]}"
        if self.op == "cat":
            return f"{self.x[1]}+{self.w[1]}, {image}"
        outputs = {"conv2d": 0, "conv_transpose2d": 1}  # the axis of w that they are
        channels = f"{self.x[1]}"
        if self.w and self.op in outputs:
            channels += f"→{self.w[outputs[self.op]]}"
        return f"{channels}{window}{stride}, {image}"


# --------------------------------------------------------------------------- building blocks


def conv(
    name: str, c: int, o: int, side: int, k: int = 1, s: int = 1, p: int | None = None,
    groups: int = 1, bias: bool = False,
) -> Layer:  # fmt: skip
    """A convolution from c to o channels; padding keeps the size unless p says otherwise."""
    attrs = {"stride": s, "padding": k // 2 if p is None else p}
    op = "depthwise_conv2d" if groups == c else "conv2d"
    return Layer(name, op, (1, c, side, side), (o, c // groups, k, k), bias, attrs)


def conv_norm(
    name: str, c: int, o: int, side: int, act: str = "", k: int = 1, s: int = 1, groups: int = 1
) -> Iterator[Layer]:
    """A convolution, its batch norm and, if named, an activation."""
    yield conv(name, c, o, side, k, s, groups=groups)
    side //= s
    yield Layer(f"{name}.norm", "batch_norm", (1, o, side, side), (o,), True)
    if act:
        yield bare(f"{name}.act", act, o, side)


def up(name: str, c: int, o: int, side: int, k: int, s: int, p: int = 0) -> Layer:
    """A transposed convolution from c to o channels.

    Without a bias: our ladder adds none, so that only then PyTorch's op is the same computation.
    """
    attrs = {"stride": s, "padding": p}
    return Layer(name, "conv_transpose2d", (1, c, side, side), (c, o, k, k), attrs=attrs)


def dilated(name: str, c: int, side: int, d: int) -> Layer:
    """A 3×3 convolution of c channels, whose taps are d pixels apart; padding keeps the size."""
    attrs = {"stride": 1, "padding": d, "dilation": d}
    return Layer(name, "conv2d", (1, c, side, side), (c, c, 3, 3), attrs=attrs)


def bare(name: str, op: str, c: int, side: int, **attrs: Any) -> Layer:
    """An op without weights, such as pooling."""
    return Layer(name, op, (1, c, side, side), attrs=attrs)


def linear(name: str, c: int, o: int) -> Layer:
    return Layer(name, "linear", (1, c), (o, c), True)


# --------------------------------------------------------------------------- the nets

MOBILENET_V2 = (  # expansion t, output channels c, repeats n, first stride s
    (1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2),
    (6, 320, 1, 1),
)  # fmt: skip
SHUFFLENET_V2 = ((2, 116, 4), (3, 232, 8), (4, 464, 4))  # stage, output channels, units
SQUEEZENET = (  # fire module, squeeze channels, expand channels (1×1 and 3×3 each), image side
    (2, 16, 64, 55), (3, 16, 64, 55), (4, 32, 128, 27), (5, 32, 128, 27),
    (6, 48, 192, 13), (7, 48, 192, 13), (8, 64, 256, 13), (9, 64, 256, 13),
)  # fmt: skip


def mobilenet_v2() -> Iterator[Layer]:
    yield from conv_norm("stem", 3, 32, 224, "relu6", k=3, s=2)
    c, side, block = 32, 112, 0
    for t, o, n, first in MOBILENET_V2:
        for s in (first, *[1] * (n - 1)):
            block += 1
            if t > 1:
                yield from conv_norm(f"block{block}.expand", c, t * c, side, "relu6")
            yield from conv_norm(f"block{block}.dw", t * c, t * c, side, "relu6", 3, s, t * c)
            side //= s
            yield from conv_norm(f"block{block}.project", t * c, o, side)
            c = o
    yield from conv_norm("head", c, 1280, side, "relu6")
    yield bare("pool", "adaptive_avg_pool2d", 1280, side, output_size=1)
    yield linear("classifier", 1280, 1000)


def shufflenet_v2() -> Iterator[Layer]:
    yield from conv_norm("conv1", 3, 24, 224, "relu", k=3, s=2)
    yield bare("maxpool", "max_pool2d", 24, 112, kernel_size=3, stride=2, padding=1)
    c, side = 24, 56
    for stage, o, units in SHUFFLENET_V2:
        half = o // 2
        for k in range(units):
            unit, s = f"stage{stage}.unit{k + 1}", 2 if k == 0 else 1
            if s == 2:
                yield from conv_norm(f"{unit}.left.dw", c, c, side, "", 3, 2, groups=c)
                yield from conv_norm(f"{unit}.left.pw", c, half, side // 2, "relu")
            yield from conv_norm(f"{unit}.pw1", c if s == 2 else half, half, side, "relu")
            yield from conv_norm(f"{unit}.dw", half, half, side, "", 3, s, groups=half)
            side //= s
            yield from conv_norm(f"{unit}.pw2", half, half, side, "relu")
            yield Layer(f"{unit}.cat", "cat", *[(1, half, side, side)] * 2)
            yield bare(f"{unit}.shuffle", "channel_shuffle", o, side, groups=2)
        c = o
    yield from conv_norm("conv5", c, 1024, side, "relu")
    yield bare("pool", "adaptive_avg_pool2d", 1024, side, output_size=1)
    yield linear("fc", 1024, 1000)


def squeezenet() -> Iterator[Layer]:
    def conv_relu(name: str, c: int, o: int, side: int, **kwargs: int) -> Iterator[Layer]:
        layer = conv(name, c, o, side, bias=True, **kwargs)
        yield layer
        yield bare(f"{name}.act", "relu", o, layer.side)

    yield from conv_relu("conv1", 3, 64, 224, k=3, s=2, p=0)
    c, before = 64, 111
    for fire, squeeze, expand, side in SQUEEZENET:
        if side != before:
            window = {"kernel_size": 3, "stride": 2, "ceil_mode": True}
            yield bare(f"pool{fire - 1}", "max_pool2d", c, before, **window)
        yield from conv_relu(f"fire{fire}.squeeze", c, squeeze, side)
        yield from conv_relu(f"fire{fire}.expand1x1", squeeze, expand, side)
        yield from conv_relu(f"fire{fire}.expand3x3", squeeze, expand, side, k=3)
        yield Layer(f"fire{fire}.cat", "cat", *[(1, expand, side, side)] * 2)
        c, before = 2 * expand, side
    yield from conv_relu("conv10", c, 1000, before)
    yield bare("pool10", "adaptive_avg_pool2d", 1000, before, output_size=1)


def distinct(net: str, layers: Iterator[Layer]) -> list[Layer]:
    """Each shape once, under the name of the first such layer, with their number."""
    found: dict[tuple, Layer] = {}
    for layer in layers:
        key = (layer.op, layer.x, layer.w, layer.bias, *layer.attrs.items())
        first = found.get(key, replace(layer, name=f"{net}.{layer.name}", count=0))
        found[key] = replace(first, count=first.count + 1)
    return list(found.values())


NETS = {
    "mobilenet_v2": distinct("mobilenet_v2", mobilenet_v2()),
    "shufflenet_v2": distinct("shufflenet_v2", shufflenet_v2()),
    "squeezenet": distinct("squeezenet", squeezenet()),
}


# --------------------------------------------------------------------------- all of them


def others() -> Iterator[Layer]:
    """Ops that none of the three nets contains, at shapes of MobileNetV2's."""
    for act in (
        "leaky_relu", "sigmoid", "tanh", "hardsigmoid", "hardswish", "silu", "gelu", "mish",
        "softplus", "softsign", "logsigmoid", "elu", "selu", "celu", "hardtanh", "hardshrink",
        "softshrink",
    ):  # fmt: skip
        yield bare("block3.expand.act", act, 144, 56)
        yield bare("block12.dw.act", act, 576, 14)
    for c, side, block in ((144, 56, "block3.expand"), (576, 14, "block12.dw")):
        yield bare(f"{block}.act", "threshold", c, side, threshold=0.1, value=0.0)
        yield bare(f"{block}.act", "gelu_tanh", c, side, approximate="tanh")
        yield bare(f"{block}.act", "glu", c, side, dim=1)
        yield Layer(f"{block}.norm", "batch_norm_eval", (1, c, side, side), (c,), True)
        yield Layer(f"{block}.act", "prelu", (1, c, side, side), (c,))
    window = {"kernel_size": 3, "stride": 2, "padding": 1}
    yield bare("block4.dw", "avg_pool2d", 144, 56, **window)
    yield bare("block14.dw", "avg_pool2d", 576, 14, **window)
    yield bare("pool", "adaptive_max_pool2d", 1280, 7, output_size=1)
    yield bare("block13.dw.act", "adaptive_max_pool2d", 576, 14, output_size=4)
    yield bare("block4.dw.act", "max_unpool2d", 144, 28, kernel_size=2)
    yield bare("block14.dw.act", "max_unpool2d", 576, 7, kernel_size=2)
    for mode in ("nearest", "bilinear", "bicubic"):  # a decoder's way back up, a picture's way down
        yield bare(f"block4.expand.{mode}", "interpolate", 144, 28, scale_factor=2, mode=mode)
        yield bare(f"stem.{mode}", "interpolate", 3, 224, size=112, mode=mode)
    yield conv("block4.expand", 144, 144, 56, 2, 2, 0, groups=144)  # what learnable pooling runs
    yield bare("block4.expand", "pixel_shuffle", 144, 56, upscale_factor=2)
    yield bare("stem", "pixel_unshuffle", 3, 224, downscale_factor=2)


DECODERS = {  # nets that make images larger: Radford et al., arXiv 1511.06434; Ronneberger et al.,
    # arXiv 1505.04597, here at half its width; Long et al., arXiv 1411.4038; and Chen et al., arXiv
    # 1706.05587, which keeps them large
    "dcgan": (
        up("conv2", 512, 256, 8, 4, 2, 1),
        up("conv3", 256, 128, 16, 4, 2, 1),
        up("conv4", 64, 3, 32, 4, 2, 1),
    ),
    "unet": (up("up3", 128, 64, 64, 2, 2),),
    "deeplab_v3": (dilated("aspp2", 256, 33, 12),),
    "fcn8s": (up("upscore2", 21, 21, 16, 4, 2), up("upscore8", 21, 21, 28, 16, 8, 4)),
}


def norms() -> Iterator[tuple[str, Layer]]:
    """Norms of other nets: ResNet-50 with group norm, ViT-S/16 and AlexNet (arXiv 1803.08494, table
    1; 2012.12877, table 1; Krizhevsky et al., 2012, section 3.5)."""
    for name, c, side in (("layer1.conv1", 64, 56), ("layer3.conv1", 256, 14)):
        x, groups = (1, c, side, side), {"num_groups": 32}
        yield "resnet50", Layer(f"{name}.norm", "group_norm", x, (c,), True, groups)
    row = {"normalized_shape": (384,)}
    yield "vit_s", Layer("block1.norm", "layer_norm", (197, 384), (384,), True, row)
    yield "alexnet", bare("norm1", "local_response_norm", 96, 55, size=5)
    yield "alexnet", bare("norm2", "local_response_norm", 256, 27, size=5)


def outputs() -> Iterator[tuple[str, Layer]]:
    """What a classifier and a segmenting net end with, softmax and losses: a batch of 64 images in
    1000 classes; 21 classes for each pixel, as in DeepLabV3."""
    rows, pixels = (64, 1000), (1, 21, 65, 65)
    for op in ("softmax", "log_softmax"):
        yield "rows", Layer("logits", op, rows, attrs={"dim": 1})
        yield "deeplab_v3", Layer("pixels", op, pixels, attrs={"dim": 1})
    every = {"reduction": "none"}
    for op in ("mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss"):
        yield "rows", Layer("logits", op, rows, rows, attrs=every)


def im2col(layer: Layer) -> Layer:
    """The windows of a convolution of more than one pixel."""
    groups = layer.x[1] // layer.w[1]
    attrs = layer.attrs | {"kernel_size": layer.kernel, "groups": groups}
    return replace(layer, op="im2col", w=None, bias=False, attrs=attrs)


LAYERS = [layer for net in NETS.values() for layer in net]
LAYERS += [im2col(layer) for layer in LAYERS if "conv2d" in layer.op and layer.kernel > 1]
LAYERS += distinct("mobilenet_v2", others())
LAYERS += [layer for net, own in DECODERS.items() for layer in distinct(net, iter(own))]
LAYERS += [replace(layer, name=f"{net}.{layer.name}") for net, layer in norms()]
LAYERS += [replace(layer, name=f"{net}.{layer.name}") for net, layer in outputs()]


def smallest_first(layers: list[Layer]) -> list[Layer]:
    return sorted(layers, key=lambda layer: (layer.op, layer.work))


def quick_layers() -> list[Layer]:
    """Of each op and window size the least and the median layer."""
    kinds: dict[tuple, list[Layer]] = {}
    for layer in smallest_first(LAYERS):
        kinds.setdefault((layer.op, layer.kernel), []).append(layer)
    found = [layers[k] for layers in kinds.values() for k in {0, len(layers) // 2}]
    return smallest_first(found)
