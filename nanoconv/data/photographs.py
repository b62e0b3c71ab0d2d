"""Photographs from files, folders and globs, as networks see them: upright, red, green and blue.

What is not RGB becomes so as Pillow's `convert("RGB")` has it, which is what torchvision's readers
of folders call:

    greyscale             three equal channels
    palette               its colours
    CMYK, YCbCr, Lab      by Pillow's formulas, without colour profiles
    alpha, transparency   dropped: a pixel counts with the colour that is stored behind it, white,
                          black or other, and nothing shines through
    several pictures      the first (GIF, TIFF, WebP, a camera's MPO)

but for one kind that it would turn white, because it cuts off at 255 what runs to 65535:

    16-bit greyscale      its upper eight bits, as Pillow reads 16-bit colours
"""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Iterator
from os import PathLike
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

import numpy as np

from .images import FORMATS
from .preprocessing import PIXELS

SUFFIXES = (
    *(".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".gif", ".bmp", ".dib"),
    *(".tif", ".tiff", ".webp", ".ppm", ".pgm", ".pbm", ".pnm"),
)


def read_photograph(path: str | PathLike[str]) -> Any:
    """The photograph in a file as a Pillow image of mode RGB, turned as its EXIF orientation says.

    JPEG, PNG, WebP, GIF, BMP, TIFF or PNM; no other format is tried, for Pillow runs programs to
    read some. OSError where there is no file to read, ValueError for one that is no photograph,
    damaged, or of so many pixels that it must be a decompression bomb; ImportError without Pillow.
    """
    with Path(path).open("rb") as file:
        return rgb(decoded(file))


def decoded(file: BinaryIO) -> Any:
    """The picture in an open file, upright."""
    try:
        from PIL import Image
    except ImportError as error:
        raise ImportError(
            'reading photographs needs Pillow: pip install "nanoconv[cli]"'
        ) from error
    try:
        image = Image.open(file, formats=FORMATS)
        if image.width * image.height <= PIXELS:
            image.load()
            return upright(image)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        pass
    except Exception as error:  # a damaged file can make Pillow raise almost anything
        known = ", ".join(FORMATS)
        raise ValueError(f"not a photograph, or a damaged one (of {known})") from error
    raise ValueError(f"the photograph is too large: more than {PIXELS:,} pixels")


def upright(image: Any) -> Any:
    """Turned as its EXIF orientation says; as it is where the EXIF data are damaged."""
    from PIL import ImageOps

    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # as many kinds as in `decoded`, but the pixels are there
        return image


def rgb(image: Any) -> Any:
    """A Pillow image of any mode as one of mode RGB."""
    from PIL import Image

    if image.mode == "F":
        raise ValueError("its pixels are fractions, and nothing says which of them is white")
    if image.mode.startswith("I"):  # "I;16" and its like; from some formats 16 bits come as "I"
        grey = np.asarray(image)
        if grey.min() < 0 or grey.max() >= 1 << 16:
            raise ValueError("its pixels are of 32 bits, and nothing says which of them is white")
        image = Image.fromarray((grey >> 8).astype(np.uint8))
    return image.convert("RGB")


# --------------------------------------------------------------------------- which files


def find_photographs(arguments: Iterable[str | PathLike[str]]) -> list[Path]:
    """The files that are meant by files, folders and globs, each once, in the order of arguments.

    A folder means what is in it and in the folders below, sorted, with a photograph's suffix and
    not hidden; a glob (`*`, `?`, `[…]`, `**` for any depth) means its matches, likewise. What is
    not there stays in the list, for its reader to miss. ValueError for a folder without
    photographs, OSError for one that cannot be read.
    """
    found: dict[Path, Path] = {}
    for argument in arguments:
        for path in meant(os.fspath(argument)):
            found.setdefault(path.absolute(), path)
    return list(found.values())


def meant(argument: str) -> list[Path]:
    if Path(argument).is_dir():
        if not (inside := photographs_in(argument)):
            raise ValueError(f"no photograph in {argument} ({', '.join(SUFFIXES)})")
        return inside
    if glob.has_magic(argument) and not Path(argument).exists():
        # Path.glob takes no absolute pattern
        matches = map(Path, sorted(glob.glob(argument, recursive=True)))  # noqa: PTH207
        inside = [
            path
            for match in matches
            for path in (photographs_in(match) if match.is_dir() else [match])
            if path.suffix.lower() in SUFFIXES
        ]
        return inside or [Path(argument)]
    return [Path(argument)]


def photographs_in(folder: str | PathLike[str]) -> list[Path]:
    """All photographs in a folder and below, by their suffixes, sorted; nothing hidden."""
    return sorted(visible(folder))


def visible(folder: str | PathLike[str]) -> Iterator[Path]:
    def complain(error: OSError) -> NoReturn:
        raise error

    for here, folders, names in os.walk(folder, onerror=complain):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            if Path(name).suffix.lower() in SUFFIXES and not name.startswith("."):
                yield Path(here, name)
