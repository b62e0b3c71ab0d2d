"""Networks, one paper or family per file."""

from . import digits

__all__ = ["digits"]
