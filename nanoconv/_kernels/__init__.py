"""Fast bodies over raw arrays; nothing here knows a Tensor.

The compiled modules exist once per instruction-set level, in the directories beside this file.
Importing this package chooses the best level that was built and that both CPU and operating
system support, or the one that `NANOCONV_ISA` names, and puts its directory on the package's
path: `nanoconv._kernels.conv_cy` is then the one for this machine.
"""

import json
import os
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

__all__ = ["built", "choose", "compiler", "level", "missing", "openmp", "supported"]

LEVELS = ("avx512", "avx2", "neon", "baseline")  # best first
_HERE = Path(__file__).parent

_failure = ""

# GNU's OpenMP reads this once, as it is loaded. By default its idle threads spin for milliseconds;
# on a machine that has other work, each small kernel then waits for a time slice of the scheduler.
_spin = os.environ.get("GOMP_SPINCOUNT")
if _spin is None and "OMP_WAIT_POLICY" not in os.environ:
    os.environ["GOMP_SPINCOUNT"] = "1000"

try:
    from .cpu_cy import compiler, openmp, supported
except ImportError as error:  # no compiled kernels: the Numba bodies and NumPy are left
    if not isinstance(error, ModuleNotFoundError):
        _failure = str(error)  # built, but a library that it needs is not here

    def supported() -> tuple[str, ...]:
        return ()

    def openmp() -> int:
        return 0

    def compiler() -> str:
        return ""

finally:  # what other libraries do is not ours to say
    if _spin is None:
        os.environ.pop("GOMP_SPINCOUNT", None)


def built() -> tuple[str, ...]:
    """The levels that this installation has compiled modules for, best first."""
    suffix = EXTENSION_SUFFIXES[0]
    return tuple(level for level in LEVELS if any((_HERE / level).glob(f"*{suffix}")))


def missing() -> dict[str, str]:
    """What is not there, and why: as setup.py recorded it, or as the import found it."""
    if _failure:
        return {"extensions": _failure}
    try:
        record = json.loads((_HERE / "build.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {"extensions": "never built in this source tree"}
    return dict(record["missing"])


def choose(forced: str) -> str | None:
    """The level to use: `forced` if it names one, else the best; None where nothing can be."""
    if not forced:
        return next((level for level in built() if level in supported()), None)
    if forced not in LEVELS:
        raise ValueError(f"NANOCONV_ISA={forced!r} must be one of {', '.join(LEVELS)}")
    if forced not in built():
        why = missing().get(forced) or missing().get("extensions") or "not a level of this machine"
        raise RuntimeError(f"NANOCONV_ISA={forced}: no kernels were built for it: {why}")
    if forced not in supported():
        able = ", ".join(supported())
        raise RuntimeError(f"NANOCONV_ISA={forced}: this machine cannot run it, only {able}")
    return forced


level = choose(os.environ.get("NANOCONV_ISA", ""))
if level:
    __path__.append(str(_HERE / level))
