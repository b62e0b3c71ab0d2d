"""Data sets that travel with the package, and pictures from files."""

from .digits import Dataset, digits
from .images import digit_image, read_digit

__all__ = ["Dataset", "digit_image", "digits", "read_digit"]
