"""Published weights: where each file is, what it was trained with and how its images are prepared.

A file of torchvision's is named after its SHA-256: mobilenet_v2-b0353104.pth begins with b0353104.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..data.preprocessing import HALF, Preprocessing

TORCHVISION = "https://download.pytorch.org/models/"
SUFFIXES = (".safetensors", ".npz", ".pth", ".pt", ".th")
USUAL = Preprocessing()
LIKE_TENSORFLOW = Preprocessing(mean=HALF, std=HALF)  # x/127.5 − 1
NEWER = Preprocessing(resize=232)  # torchvision's second round of training


@dataclass(frozen=True)
class Weights:
    """One file of trained weights.

    name        what `weights=` takes: "imagenet1k_v1", or the stem of a file
    builder     the function in `nanoconv.models` whose network it fits
    file        its name, with suffix where it can be downloaded
    arguments   what that function must be called with
    labels      the list of class names that its outputs are; None if there is none here
    """

    name: str
    builder: str
    file: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    preprocessing: Preprocessing = USUAL
    labels: str | None = "imagenet"

    @property
    def url(self) -> str | None:
        """Where torchvision publishes the file; None for weights of other origin."""
        return TORCHVISION + self.file if self.checksum else None

    @property
    def checksum(self) -> str:
        """The first hexadecimal digits of the file's SHA-256, from its name."""
        found = re.search(r"-([0-9a-f]{8,})\.pth$", self.file)
        return found[1] if found else ""


def torchvision(builder: str, *files: str) -> list[Weights]:
    """The first file is "imagenet1k_v1"; a second one, trained anew, "imagenet1k_v2"."""
    recipes = zip(files, (USUAL, NEWER), strict=False)
    return [
        Weights(f"imagenet1k_v{k}", builder, file, preprocessing=recipe)
        for k, (file, recipe) in enumerate(recipes, 1)
    ]


def tensorflow(builder: str, stem: str, **arguments: Any) -> Weights:
    """Weights that were trained in TensorFlow, whose SAME padding they need."""
    return Weights(stem, builder, stem, {"same_padding": True, **arguments}, LIKE_TENSORFLOW)


WEIGHTS = [
    *torchvision("mobilenet_v2", "mobilenet_v2-b0353104.pth", "mobilenet_v2-7ebf99e0.pth"),
    *torchvision("mobilenet_v3_small", "mobilenet_v3_small-047dcff4.pth"),
    *torchvision("mobilenet_v3_large", "mobilenet_v3_large-8738ca79.pth",
                 "mobilenet_v3_large-5c1a4163.pth"),
    *torchvision("shufflenet_v2_x0_5", "shufflenetv2_x0.5-f707e7126e.pth"),
    *torchvision("shufflenet_v2_x1_0", "shufflenetv2_x1-5666bf0f80.pth"),
    *torchvision("shufflenet_v2_x1_5", "shufflenetv2_x1_5-3c479a10.pth"),
    *torchvision("shufflenet_v2_x2_0", "shufflenetv2_x2_0-8be3c8ee.pth"),
    *torchvision("squeezenet1_0", "squeezenet1_0-b66bff10.pth"),
    *torchvision("squeezenet1_1", "squeezenet1_1-b8a52dc0.pth"),
    *torchvision("resnet18", "resnet18-f37072fd.pth"),
    *torchvision("resnet34", "resnet34-b627a593.pth"),
    *torchvision("resnet50", "resnet50-0676ba61.pth", "resnet50-11ad3fa6.pth"),
    *torchvision("vgg11", "vgg11-8a719046.pth"),
    *torchvision("vgg16", "vgg16-397923af.pth"),
    *torchvision("vgg16_bn", "vgg16_bn-6c64b313.pth"),
    # from here on, of other origin: known by the name of the file
    tensorflow("mobilenet_v1", "mobilenet_v1_0.25_tfpad_bn", width_mult=0.25),
    tensorflow("mobilenet_v1", "mobilenet_v1_0.75_tfpad", width_mult=0.75),
    tensorflow("mobilenet_v2", "mobilenet_v2_1.0_tfpad"),
    tensorflow("mobilenet_v3_small", "mobilenet_v3_small_1.0_tfpad"),
    Weights("mobilenet_v2_1.0_torchpad", "mobilenet_v2", "mobilenet_v2_1.0_torchpad"),
    Weights("shufflenet_v1_g8_1.0", "shufflenet_v1", "shufflenet_v1_g8_1.0", {"groups": 8}),
    Weights("squeezenet1_0_pruned", "squeezenet1_0", "squeezenet1_0_pruned"),
    Weights("squeezenet1_1", "squeezenet1_1", "squeezenet1_1"),
    Weights("shufflenet_v2_x0.5_33cls", "shufflenet_v2_x0_5", "shufflenet_v2_x0.5_33cls",
            {"num_classes": 33}, Preprocessing(224, square=True, mean=(0, 0, 0), std=(1, 1, 1)),
            labels=None),
    Weights("resnet20_cifar10", "resnet20", "resnet20_cifar10", {},
            Preprocessing(32, 32), labels="cifar10"),
    *(Weights(file, file.split("-")[0], file, {}, Preprocessing(32, 32), labels="cifar10")
      for file in ("resnet20-12fca82f", "resnet56-4bfd9763")),
]  # fmt: skip


def weights_named(builder: str, name: str) -> Weights:
    """The weights of a network by name; "imagenet" is torchvision's newest of them.

    torchvision writes the names in capitals, and "DEFAULT" for "imagenet".
    """
    own = {weights.name: weights for weights in WEIGHTS if weights.builder == builder}
    published = [weights for weights in own.values() if weights.url]
    if published and name.lower() in ("imagenet", "default"):
        return published[-1]
    if name.lower().startswith("imagenet1k_"):
        name = name.lower()
    if name not in own:
        known = ["imagenet"] * bool(published) + list(own)
        raise ValueError(
            f"{builder}: weights={name!r}, expected None, a file with one of the suffixes "
            f"{', '.join(SUFFIXES)}" + "".join(f", {k!r}" for k in known)
        )
    return own[name]


def weights_of_file(path: Path) -> Weights | None:
    """What is known of a file by its name; None if nothing."""
    return next((w for w in WEIGHTS if path.name == w.file or path.stem == w.file), None)
