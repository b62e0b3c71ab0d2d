"""Data sets that travel with the package, and pictures from files."""

from . import digits
from .digits import Dataset
from .images import digit_image, read_digit
from .photographs import find_photographs, read_photograph
from .preprocessing import Preprocessing

__all__ = [
    "Dataset",
    "Preprocessing",
    "digit_image",
    "digits",
    "find_photographs",
    "read_digit",
    "read_photograph",
]
