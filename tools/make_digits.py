"""Make nanoconv/data/digits.npz from scikit-learn's copy of the UCI digits (no arguments).

Every run gives the same bytes: `savez_compressed` writes no time stamps.
"""

from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits

TARGET = Path(__file__).parent.parent / "nanoconv/data/digits.npz"


def main() -> None:
    digits = load_digits()
    images = digits.images.astype(np.uint8)  # (1797, 8, 8), ink from 0 to 16
    labels = digits.target.astype(np.uint8)  # (1797,)
    assert (images == digits.images).all()
    assert images.max() == 16
    np.savez_compressed(TARGET, images=images, labels=labels)
    print(f"{TARGET.name}: {len(images)} images, {TARGET.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
