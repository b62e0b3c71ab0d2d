"""What a network's outputs are called: the classes of ImageNet and CIFAR-10, in order.

A list is a text file here, a class a line. In ImageNet's, the class's WordNet id comes before its
name: n01440764 is noun 01440764, the tench, and what folders of ImageNet's photographs are called.

>>> imagenet = load("imagenet")
>>> imagenet[0], imagenet.ids[0], imagenet.index_of("great_white_shark")
('tench', 'n01440764', 2)
"""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from pathlib import Path

FOLDER = Path(__file__).parent


class Labels(tuple[str, ...]):
    """The names of the classes, in the order of the outputs; `ids`: what else they are called."""

    ids: tuple[str, ...]

    def __new__(cls, names: Sequence[str], ids: Sequence[str] = ()) -> Labels:
        self = super().__new__(cls, names)
        self.ids = tuple(ids)
        return self

    def index_of(self, text: str) -> int | None:
        """The class of this id, name (of any case, with underscores or spaces) or number."""
        return self._places.get(plain(text))

    @functools.cached_property
    def _places(self) -> dict[str, int]:
        places = {str(k): k for k in range(len(self))}
        for names in (self, self.ids):
            places.update((plain(name), k) for k, name in enumerate(names))
        return places


def plain(text: str) -> str:
    """Without case, and with one kind of gap."""
    return re.sub(r"[\s_]+", " ", text).strip().casefold()


@functools.cache
def load(name: str) -> Labels:
    """The list of this name, "imagenet" or "cifar10"; ValueError if there is none."""
    known = sorted(path.stem for path in FOLDER.glob("*.txt"))
    if name not in known:
        raise ValueError(f"labels.load: name={name!r} must be one of {', '.join(known)}")
    lines = (FOLDER / f"{name}.txt").read_text(encoding="utf-8").splitlines()
    lines = [line for line in lines if not line.startswith("#")]
    if not all(re.match(r"n\d{8} ", line) for line in lines):
        return Labels(lines)
    return Labels([line[10:] for line in lines], [line[:9] for line in lines])
