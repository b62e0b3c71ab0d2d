"""Which instruction-set level the compiled kernels use."""

import os
from functools import cache
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

LEVELS = ("avx512", "avx2", "neon", "baseline")  # best first


def _built() -> tuple[str, ...]:
    kernels = Path(__file__).parent / "_kernels"
    suffix = EXTENSION_SUFFIXES[0]
    return tuple(level for level in LEVELS if any((kernels / level).glob(f"*{suffix}")))


@cache
def isa() -> str | None:
    """The level of the compiled kernels: the best that CPU and operating system support."""
    try:
        from nanoconv._kernels import cpu_cy
    except ImportError:
        return None
    usable = [level for level in _built() if level in cpu_cy.supported()]
    forced = os.environ.get("NANOCONV_ISA")
    if forced and forced not in usable:
        raise RuntimeError(f"NANOCONV_ISA={forced}: this machine and build have {usable}")
    return forced or (usable[0] if usable else None)
