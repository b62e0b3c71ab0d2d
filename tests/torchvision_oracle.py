"""torchvision's models, imported as the benchmarks do it."""

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1]))  # last, as in test_benchmarks.py

from benchmarks import zoo

torch = pytest.importorskip("torch")


def torchvision():
    """The package; skips the test where it is not installed."""
    try:
        return zoo.torchvision()
    except ImportError as error:
        pytest.skip(f"no torchvision: {error}", allow_module_level=True)
