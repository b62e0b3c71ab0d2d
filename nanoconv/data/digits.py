"""The UCI digits: 1,797 handwritten digits of 8×8 pixels, small enough to travel with the package.

E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI Machine Learning
Repository, 1998, DOI 10.24432/C50P49, licensed under CC BY 4.0; see `digits.txt`. Thirteen people
wrote them. Each was scaled to a bitmap of 32×32 pixels, of which a pixel here is a 4×4 block: the
number of its inked pixels, from 0 to 16.

The split is fixed: of each digit, every fifth image in the order of the file is for the test.
Every writer is in both halves, so the test asks for new images, not for new hands.

>>> train, test = load()
>>> train.images.shape, test.images.shape
((1442, 1, 8, 8), (355, 1, 8, 8))
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

Array = np.ndarray
FILE = Path(__file__).with_name("digits.npz")


@dataclass(frozen=True)
class Dataset:
    """Images (N, C, H, W), float32, and what they show: labels (N,), int64."""

    images: Array
    labels: Array

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: Array | slice) -> Dataset:
        return Dataset(self.images[index], self.labels[index])


def load() -> tuple[Dataset, Dataset]:
    """The training set and the test set; ink runs from 0 to 1."""
    with np.load(FILE, allow_pickle=False) as file:
        images, labels = file["images"], file["labels"].astype(np.int64)
    everything = Dataset(images[:, None].astype(np.float32) / 16, labels)  # (1797, 1, 8, 8)
    held_out = np.zeros(len(labels), bool)
    for digit in range(10):
        held_out[np.flatnonzero(labels == digit)[4::5]] = True
    return everything[~held_out], everything[held_out]
