"""Whole calls: ops that are made of others, or of NumPy, with the tape and all the Python around.

What `layers.py` lists is timed rung by rung, on plain arrays. These ops have no ladder of their
own, so what can be timed is what a user calls, beside what a user of PyTorch calls. Shapes are of
real nets: M5 is Dai et al., arXiv 1610.00087; AlexNet and VGG as published; segmentation as in
DeepLabV3; `rows` are the logits of an ImageNet batch; `mobilenet_v2.…` are its feature maps.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray
CLASSES, DEEPLAB = 1000, 21


class Library:
    """The functions of nanoconv or PyTorch by their common names: F.relu, and F.roll, too."""

    def __init__(self, functional: Any, module: Any) -> None:
        self.functional, self.module = functional, module

    def __getattr__(self, name: str) -> Any:
        return getattr(self.functional, name, None) or getattr(self.module, name)


@dataclass(frozen=True)
class Call:
    """`run(F, *tensors)` of one op. The arrays are normal random numbers in these shapes.

    change   what the random arrays are made into: probabilities, classes …
    twin     the same in PyTorch's ops, where it has no such function
    random   the result is random, and only its distribution can be compared
    learned  how many of the arrays, the first ones, get a gradient if they are of floats
    """

    op: str
    name: str
    shapes: tuple[tuple[int, ...], ...]
    run: Callable[..., Any]
    change: Callable[..., tuple[Array, ...]] | None = None
    twin: Callable[..., Any] | None = None
    random: bool = False
    learned: int = 9

    def arrays(self) -> tuple[Array, ...]:
        rng = np.random.default_rng(zlib.crc32(self.name.encode()))
        drawn = tuple(rng.standard_normal(shape, np.float32) for shape in self.shapes)
        return self.change(*drawn) if self.change else drawn


# --------------------------------------------------------------------------- inputs


def positive(x: Array, *rest: Array) -> tuple[Array, ...]:
    return np.abs(x), *rest


def probabilities(*arrays: Array) -> tuple[Array, ...]:
    return tuple(1 / (1 + np.exp(-array)) for array in arrays)


def with_classes(x: Array, y: Array) -> tuple[Array, Array]:
    """Logits x, and y made into a class for each of their rows or pixels."""
    return x, np.abs(1e6 * y).astype(np.int64) % x.shape[1]


def distributions(x: Array, y: Array) -> tuple[Array, Array]:
    """Logarithms of probabilities, twice."""
    return tuple(a - np.log(np.exp(a).sum(1, keepdims=True)) for a in (x, y))  # type: ignore


def bits(x: Array, y: Array) -> tuple[Array, Array]:
    return x, (y > 0).astype(np.float32)


def chances(x: Array, y: Array) -> tuple[Array, Array]:
    return probabilities(x)[0], bits(x, y)[1]


def weighted(x: Array, y: Array, w: Array) -> tuple[Array, Array, Array]:
    return *bits(x, y), np.abs(w)


def classes(x: Array) -> tuple[Array]:
    return (np.abs(1e6 * x).astype(np.int64) % CLASSES,)


def signs(x: Array, y: Array, which: Array) -> tuple[Array, Array, Array]:
    return x, y, np.sign(which)


# --------------------------------------------------------------------------- twins


def learnable_pool(F: Any, x: Any, w: Any) -> Any:
    shares = F.softmax(w.reshape(len(w), -1), 1).reshape(w.shape)
    return F.conv2d(x, shares, stride=w.shape[2:], groups=x.shape[1])


def pyramid(F: Any, x: Any) -> Any:
    parts = [F.adaptive_max_pool2d(x, size).flatten(1) for size in (1, 2, 4)]
    return F.cat(parts, 1)


def standardized(F: Any, w: Any) -> Any:
    rows = w.reshape(len(w), -1)
    variance = rows.var(1, correction=0, keepdim=True)
    return ((rows - rows.mean(1, keepdim=True)) / (variance + 1e-5).sqrt()).reshape(w.shape)


def dice(F: Any, p: Any, t: Any) -> Any:
    p, t = p.flatten(2), t.flatten(2)
    overlap = (2 * (p * t).sum(2) + 1) / ((p * p).sum(2) + (t * t).sum(2) + 1)
    return (1 - overlap).mean()


def focal(F: Any, x: Any, t: Any) -> Any:
    p, ce = F.sigmoid(x), F.binary_cross_entropy_with_logits(x, t, reduction="none")
    right = p * t + (1 - p) * (1 - t)
    return (ce * (1 - right) ** 2 * (0.25 * t + 0.75 * (1 - t))).mean()


# --------------------------------------------------------------------------- all of them

EXPAND, LATE = (1, 144, 56, 56), (1, 576, 14, 14)  # mobilenet_v2.block3.expand, .block12.dw
PIXELS, LOGITS = (1, DEEPLAB, 65, 65), (64, CLASSES)


def pads() -> list[Call]:
    found = [
        Call("pad", "mobilenet_v2.stem", ((1, 3, 224, 224),), lambda F, x: F.pad(x, (0, 1, 0, 1)))
    ]
    for mode in ("constant", "reflect", "replicate", "circular"):
        for place, shape in (("block3.dw", EXPAND), ("block12.dw", LATE)):

            def run(F: Any, x: Any, mode: str = mode) -> Any:
                return F.pad(x, (1, 1, 1, 1), mode)

            found.append(Call("pad", f"mobilenet_v2.{place}.{mode}", (shape,), run))
    return found


def pools() -> list[Call]:
    m5, norms = ((1, 128, 7981), (1, 512, 121)), (2.0, 1.5)
    found = []
    for k, shape in enumerate(m5):
        name = f"m5.pool{k + 1}"
        found += [
            Call("max_pool1d", name, (shape,), lambda F, x: F.max_pool1d(x, 4)),
            Call("avg_pool1d", name, (shape,), lambda F, x: F.avg_pool1d(x, 4)),
        ]
    for place, shape in (("block3", EXPAND), ("block12", LATE)):
        for p in norms:

            def run(F: Any, x: Any, p: float = p) -> Any:
                return F.lp_pool2d(x, p, 2)

            found.append(Call("lp_pool2d", f"mobilenet_v2.{place}.p{p:g}", (shape,), run, positive))
        window = (shape[1], 1, 2, 2)
        found += [
            Call("learnable_pool2d", f"mobilenet_v2.{place}", (shape, window),
                 lambda F, x, w: F.learnable_pool2d(x, w), twin=learnable_pool),
        ]  # fmt: skip
    found += [
        Call("lp_pool2d", "mobilenet_v2.block3.inf", (EXPAND,),
             lambda F, x: F.lp_pool2d(x, float("inf"), 2), positive),
        Call("lp_pool1d", "m5.pool1", m5[:1], lambda F, x: F.lp_pool1d(x, 2.0, 4), positive),
        Call("adaptive_avg_pool1d", "m5.pool2", m5[1:], lambda F, x: F.adaptive_avg_pool1d(x, 1)),
        Call("adaptive_max_pool1d", "m5.pool2", m5[1:], lambda F, x: F.adaptive_max_pool1d(x, 1)),
        Call("spatial_pyramid_pool2d", "alexnet.conv5", ((1, 256, 13, 13),),
             lambda F, x: F.spatial_pyramid_pool2d(x, (1, 2, 4)), twin=pyramid),
        Call("adaptive_max_pool2d", "mobilenet_v2.pool", ((1, 1280, 7, 7),),
             lambda F, x: F.adaptive_max_pool2d(x, 1)),
        Call("interpolate", "deeplab_v3.area", (PIXELS,),
             lambda F, x: F.interpolate(x, (33, 33), mode="area")),
    ]  # fmt: skip
    return found


def signals() -> list[Call]:
    return [
        Call("conv1d", "m5.conv1", ((1, 1, 32000), (128, 1, 80), (128,)),
             lambda F, x, w, b: F.conv1d(x, w, b, 4)),
        Call("conv1d", "m5.conv2", ((1, 128, 1995), (128, 128, 3), (128,)),
             lambda F, x, w, b: F.conv1d(x, w, b)),
        Call("conv_transpose1d", "m5.conv2", ((1, 128, 1993), (128, 128, 3), (128,)),
             lambda F, x, w, b: F.conv_transpose1d(x, w, b)),
        Call("unfold", "mobilenet_v2.block3", (EXPAND,), lambda F, x: F.unfold(x, 3, padding=1)),
        Call("fold", "mobilenet_v2.block3", ((1, 9 * 144, 56 * 56),),
             lambda F, x: F.fold(x, (56, 56), 3, padding=1)),
    ]  # fmt: skip


def regularisers() -> list[Call]:
    found = [
        Call("weight_standardization", "resnet50.layer4.conv2", ((512, 512, 3, 3),),
             lambda F, w: F.weight_standardization(w), twin=standardized),
        Call("instance_norm", "mobilenet_v2.block3", (EXPAND, (144,), (144,)),
             lambda F, x, w, b: F.instance_norm(x, weight=w, bias=b)),
        Call("rms_norm", "vit_s.block1", ((197, 384), (384,)),
             lambda F, x, w: F.rms_norm(x, (384,), w)),
        Call("normalize", "rows", (LOGITS,), lambda F, x: F.normalize(x)),
    ]  # fmt: skip
    found.append(
        Call("rrelu", "mobilenet_v2.block3", (EXPAND,), lambda F, x: F.rrelu(x, training=True),
             random=True)
    )  # fmt: skip
    for op in ("dropout", "dropout2d", "alpha_dropout"):
        for place, shape in (("block3", EXPAND), ("block12", LATE)):

            def run(F: Any, x: Any, op: str = op) -> Any:
                return getattr(F, op)(x, 0.2, True)

            found.append(Call(op, f"mobilenet_v2.{place}", (shape,), run, random=True))
    return found


def losses() -> list[Call]:
    found = [
        Call("cross_entropy", "rows", (LOGITS, LOGITS[:1]),
             lambda F, x, t: F.cross_entropy(x, t), with_classes),
        Call("cross_entropy", "deeplab_v3.pixels", (PIXELS, (1, *PIXELS[2:])),
             lambda F, x, t: F.cross_entropy(x, t), with_classes),
        Call("nll_loss", "rows", (LOGITS, LOGITS[:1]),
             lambda F, x, t: F.nll_loss(x, t), with_classes),
        Call("cross_entropy", "rows.smoothed", (LOGITS, LOGITS[:1]),
             lambda F, x, t: F.cross_entropy(x, t, label_smoothing=0.1), with_classes),
        Call("dice_loss", "deeplab_v3.pixels", (PIXELS, PIXELS),
             lambda F, p, t: F.dice_loss(p, t), probabilities, twin=dice),
        Call("binary_cross_entropy_with_logits", "rows.weighted", (LOGITS, LOGITS, LOGITS[1:]),
             lambda F, x, t, w: F.binary_cross_entropy_with_logits(x, t, pos_weight=w), weighted,
             learned=2),
        Call("kl_div", "rows", (LOGITS, LOGITS),
             lambda F, x, t: F.kl_div(x, t, reduction="batchmean", log_target=True), distributions),
        Call("binary_cross_entropy", "rows", (LOGITS, LOGITS),
             lambda F, x, t: F.binary_cross_entropy(x, t), chances),
        Call("binary_cross_entropy_with_logits", "rows", (LOGITS, LOGITS),
             lambda F, x, t: F.binary_cross_entropy_with_logits(x, t), bits),
        Call("sigmoid_focal_loss", "rows", (LOGITS, LOGITS),
             lambda F, x, t: F.sigmoid_focal_loss(x, t, reduction="mean"), bits, twin=focal),
        Call("cosine_embedding_loss", "rows", (LOGITS, LOGITS, LOGITS[:1]),
             lambda F, x, y, t: F.cosine_embedding_loss(x, y, t), signs),
        Call("cosine_similarity", "rows", (LOGITS, LOGITS),
             lambda F, x, y: F.cosine_similarity(x, y)),
    ]  # fmt: skip
    for op in ("mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss"):

        def run(F: Any, x: Any, t: Any, op: str = op) -> Any:
            return getattr(F, op)(x, t)

        found.append(Call(op, "rows", (LOGITS, LOGITS), run))
    for op in ("softmax", "log_softmax"):
        for place, shape in (("rows", LOGITS), ("deeplab_v3.pixels", PIXELS)):

            def soft(F: Any, x: Any, op: str = op) -> Any:
                return getattr(F, op)(x, 1)

            found.append(Call(op, place, (shape,), soft))
    return found


def shapes() -> list[Call]:
    return [
        Call("roll", "mobilenet_v2.block3", (EXPAND,), lambda F, x: F.roll(x, (3, 3), (2, 3))),
        Call("flip", "mobilenet_v2.block3", (EXPAND,), lambda F, x: F.flip(x, (3,))),
        Call("gather", "rows", (LOGITS, (64, 1)),
             lambda F, x, k: F.gather(x, 1, k), with_classes),
        Call("topk", "rows", (LOGITS,), lambda F, x: F.topk(x, 5)[0]),
        Call("sort", "rows", (LOGITS,), lambda F, x: F.sort(x)[0]),
        Call("cumsum", "rows", (LOGITS,), lambda F, x: F.cumsum(x, 1)),
        Call("cumprod", "rows", (LOGITS,), lambda F, x: F.cumprod(x, 1), probabilities),
        Call("one_hot", "rows", (LOGITS[:1],), lambda F, k: F.one_hot(k, CLASSES), classes),
        Call("repeat_interleave", "mobilenet_v2.block12", (LATE,),
             lambda F, x: F.repeat_interleave(x, 2, 1)),
        Call("einsum", "vit_s.attention", ((1, 6, 197, 64), (1, 6, 197, 64)),
             lambda F, q, k: F.einsum("bhid,bhjd->bhij", q, k)),
    ]  # fmt: skip


CALLS = [*pads(), *pools(), *signals(), *regularisers(), *losses(), *shapes()]
