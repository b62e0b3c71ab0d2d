"""From a photograph to what a network was trained on: resize, crop, scale, normalise.

torchvision's recipe for PIL images, to the last bit, so that published weights see what they were
trained on. Its details matter, for a network notices a shift by a pixel:

    resize      the shorter side becomes R pixels, the longer ⌊R·longer/shorter⌋; Pillow's bilinear
                filter widens with the reduction (antialiasing) and rounds to 8 bits
    crop        C×C pixels from row (H − C)/2 and column (W − C)/2, of which halves are rounded to
                the even neighbour; what is narrower than C is centred in black
    normalise   y[c,h,w] = (x[c,h,w] / 255 − mean[c]) / std[c], in float32
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # red, green, blue
HALF = (0.5, 0.5, 0.5)
PIXELS = 89_478_485  # of an image before or after resizing: above this Pillow speaks of a bomb


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

    def pixels(self, image: Any) -> Array:
        """The middle of a Pillow image, resized: (crop, crop, 3) uint8, red, green, blue.

        ValueError for an image so narrow that resizing it would take too much memory.
        """
        if image.mode != "RGB":
            image = image.convert("RGB")
        return np.asarray(self.cropped(self.resized(self.squared(image))))

    def squared(self, image: Any) -> Any:
        """As high as it is wide, by black bars; the odd line of them comes last."""
        W, H = image.size
        if not self.square or W == H:
            return image
        side = max(W, H)
        top, left = (side - H) // 2, (side - W) // 2
        checked(side, side)
        return image.crop((-left, -top, side - left, side - top))

    def resized(self, image: Any) -> Any:
        from PIL import Image  # an image of Pillow's is here already

        W, H = image.size
        shorter = min(W, H)
        size = (self.resize * W // shorter, self.resize * H // shorter)
        checked(*size)
        return image.resize(size, Image.Resampling[self.interpolation.upper()])

    def cropped(self, image: Any) -> Any:
        """Pillow fills with black what a crop takes from beyond the edge."""
        W, H = image.size
        left, top = start(W, self.crop), start(H, self.crop)
        return image.crop((left, top, left + self.crop, top + self.crop))

    def normalise(self, pixels: Array | Sequence[Array]) -> Array:
        """(N, H, W, 3) uint8 → (N, 3, H, W) float32, whose memory stays channels-last."""
        x = np.asarray(pixels, np.uint8).astype(np.float32)
        x /= 255
        x -= np.asarray(self.mean, np.float32)
        x /= np.asarray(self.std, np.float32)
        return x.transpose(0, 3, 1, 2)


def start(length: int, crop: int) -> int:
    """The first of `crop` pixels in the middle; negative where the image is shorter than that."""
    if length < crop:
        return -((crop - length) // 2)
    return round((length - crop) / 2)


def checked(W: int, H: int) -> None:
    if W * H > PIXELS:
        raise ValueError(f"the photograph is too narrow: it would be resized to {W}×{H} pixels")
