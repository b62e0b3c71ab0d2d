"""A digit in a picture of any size, brought into the form of the UCI digits: 8×8 pixels of ink.

The paper's brightness is that of the picture's border (the median), ink is how much a pixel differs
from it, so dark on light and light on dark are the same. The smallest box around the ink is
stretched to the full height and to 5 of the 8 columns, as the data set's makers did (20 of 32
pixels), but widened at most twofold against its height, or a bare stroke, a one, would become a
slab. Each of the 8×8 pixels is then the mean of the block of the picture that it covers.
"""

from __future__ import annotations

import warnings
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

Array = np.ndarray
FORMATS = ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM")  # Pillow runs no program for these
FAINT = 0.35  # ink below this part of the darkest does not widen the box: blur, noise, shadows


def digit_image(picture: Array) -> Array:
    """The digit in a picture (H, W) of brightness, as (1, 8, 8) float32 with ink from 0 to 1.

    ValueError if the picture is not two-dimensional, or blank.
    """
    picture = np.asarray(picture, np.float64)
    if picture.ndim != 2 or picture.size == 0:
        raise ValueError(f"digit_image: picture has shape {list(picture.shape)}, expected (H, W)")
    border = np.concatenate([picture[0], picture[-1], picture[:, 0], picture[:, -1]])
    ink = np.abs(picture - np.median(border))
    if not ink.max() > 0:
        raise ValueError("the picture is blank")
    ink /= ink.max()
    top, bottom = extent((ink > FAINT).any(1))
    left, right = extent((ink > FAINT).any(0))
    height, centre = bottom - top, (left + right) / 2
    width = max((right - left) * 8 / 5, height / 2)  # of the piece that becomes 8 columns
    rows = coverage(top, bottom, ink.shape[0])
    columns = coverage(centre - width / 2, centre + width / 2, ink.shape[1])
    image = rows @ ink @ columns.T  # (8, 8)
    return (image / image.max()).astype(np.float32)[None]


def extent(marked: Array) -> tuple[int, int]:
    """The first marked place and the one after the last."""
    places = np.flatnonzero(marked)
    return int(places[0]), int(places[-1]) + 1


def coverage(start: Array | float, stop: Array | float, pixels: int) -> Array:
    """(…, 8, pixels): how much of each eighth of [start, stop) each pixel covers; a row's sum is 1.

    Less than 1 where an eighth reaches beyond the picture: there is only paper.
    """
    edges = np.linspace(start, stop, 9, axis=-1)[..., None]  # (…, 9, 1)
    first = np.maximum(edges[..., :-1, :], np.arange(pixels))
    last = np.minimum(edges[..., 1:, :], np.arange(1, pixels + 1))
    return np.maximum(last - first, 0) / np.diff(edges, axis=-2)


def recut(images: Array, rng: np.random.Generator) -> Array:
    """Digits (N, 1, 8, 8) as if their boxes had been found a little elsewhere: to train on.

    Up to half a pixel to the left or right, and up to a tenth wider or narrower.
    """
    N = len(images)
    centre, half = 4 + rng.uniform(-0.5, 0.5, N), 4 * rng.uniform(0.9, 1.1, N)
    columns = coverage(centre - half, centre + half, 8)  # (N, 8, 8)
    return np.einsum("nchw,nkw->nchk", images, columns).astype(np.float32)


def read_digit(path: str | PathLike[str]) -> Array:
    """`digit_image` of the picture in a file: PNG, JPEG, GIF, BMP, TIFF, WebP or PNM.

    Transparent pixels are paper. OSError where there is no file to read, ValueError for one that is
    no picture, damaged, too large or blank; ImportError without Pillow.
    """
    try:
        from PIL import Image, ImageOps
    except ImportError as error:
        raise ImportError('reading pictures needs Pillow: pip install "nanoconv[cli]"') from error
    with warnings.catch_warnings(), Path(path).open("rb") as file:
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        try:
            picture = brightness(ImageOps.exif_transpose(Image.open(file, formats=FORMATS)))
        except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
            raise ValueError("the picture is too large") from error
        except Exception as error:  # a damaged file can make Pillow raise almost anything
            raise ValueError("not a picture, or a damaged one") from error
    return digit_image(picture)


def brightness(image: Any) -> Array:
    """The (H, W) brightness of a Pillow image of any mode, transparent pixels as paper."""
    if image.mode[0] in "IF":  # 16 and 32 bits: only differences count, so any scale will do
        return np.asarray(image, np.float64)
    if "A" not in image.getbands() and "transparency" not in image.info:
        return np.asarray(image.convert("L"), np.float64)
    grey, opaque = np.moveaxis(np.asarray(image.convert("RGBA").convert("LA"), np.float64), -1, 0)
    # On the one of white and black paper on which there is more to see.
    on_black = grey * opaque / 255
    return max(on_black, on_black + 255 - opaque, key=np.std)
