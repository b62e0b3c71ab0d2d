"""From a photograph to what a network was trained on: resize, crop, scale, normalise."""

from __future__ import annotations

from dataclasses import dataclass

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # red, green, blue
HALF = (0.5, 0.5, 0.5)


@dataclass(frozen=True)
class Preprocessing:
    """y[c,h,w] = (x[c,h,w] / 255 − mean[c]) / std[c], of the crop×crop pixels in the middle.

    resize   the length of the shorter side before that, in pixels
    square   pads the photograph to a square first, so that nothing is cut off
    """

    resize: int = 256
    crop: int = 224
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    interpolation: str = "bilinear"
    square: bool = False
