"""Data sets that travel with the package, and pictures from files."""

from . import digits
from .digits import Dataset
from .images import digit_image, read_digit

__all__ = ["Dataset", "digit_image", "digits", "read_digit"]
