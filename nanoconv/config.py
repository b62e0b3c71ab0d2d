"""Settings of the process: backend, threads, instruction set, random numbers.

Each setting has an environment variable and a function; the function wins. They hold for all
threads of the process; only a `with use(...)` block is its thread's own.

    NANOCONV_BACKEND      use()               the highest rung allowed, default "auto"
    NANOCONV_NUM_THREADS  set_num_threads()   default: the CPUs that this process may use
    NANOCONV_ISA          isa()               default: the best level that this machine runs
"""

from __future__ import annotations

import importlib
import os
import sys
import threading
import weakref
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:  # pathlib, importlib.metadata and others would double the cost of importing
    from pathlib import Path

BACKENDS = ("loops", "numpy", "numba", "cython", "simd", "auto")
rungs: set[str] = set()  # every `<language>.<algorithm>` there is: each ladder adds its own

# --------------------------------------------------------------------------- backend

# The last of these holds for the process. Each is kept with a reference to its `use` object: while
# somebody holds that, a `with` may yet begin and take the setting back.
_settings: tuple[tuple[str, weakref.ref[use]], ...] = ()
_open = 0  # blocks that any thread is inside of; without one, asking for the backend is quicker
_lock = threading.RLock()  # for changing them


class _Blocks(threading.local):
    backends: tuple[str, ...] = ()  # of the `with` blocks that this thread is inside of


_blocks = _Blocks()


class use:  # noqa: N801 (reads as a statement: `with use("numpy"):`)
    """Allow no rung above `backend`: a language, "auto" for all, or one rung by its exact name.

    A plain call sets it for the process, from then on. As a context manager it holds inside the
    block, for the calling thread only; there it wins over what the process has.
    ValueError if there is no such backend.

    >>> with use("numpy"):
    ...     get_backend()
    'numpy'
    """

    def __init__(self, backend: str) -> None:
        global _settings
        if backend not in BACKENDS and backend not in rungs:
            importlib.import_module("nanoconv.functional")  # every ladder
        if backend not in BACKENDS and backend not in rungs:
            known = ", ".join((*BACKENDS, *sorted(rungs)))
            raise ValueError(f"use: backend={backend!r} must be one of {known}")
        self._backend = backend
        with _lock:
            # What stands before a setting that nobody can take back will never hold again.
            final = [k for k, (_, holder) in enumerate(_settings) if holder() is None]
            kept = _settings[final[-1] :] if final else _settings
            _settings = (*kept, (backend, weakref.ref(self)))

    def __enter__(self) -> None:
        global _settings, _open
        with _lock:
            _settings = tuple(s for s in _settings if s[1]() is not self)
            _open += 1
        _blocks.backends += (self._backend,)

    def __exit__(self, *exception: object) -> None:
        global _open
        _blocks.backends = _blocks.backends[:-1]
        with _lock:
            _open -= 1


def get_backend() -> str:
    """The backend of the calling thread: of its innermost `with use(...)`, or of the process."""
    if _open and (own := _blocks.backends):
        return own[-1]
    if settings := _settings:
        return settings[-1][0]
    use(os.environ.get("NANOCONV_BACKEND") or "auto")
    return get_backend()


# --------------------------------------------------------------------------- threads

_threads: int | None = None
_forked = False  # from a process whose kernels may have started threads


def cgroup_cpus(root: str = "/") -> float:
    """The CPUs that the control groups (v1 and v2) of this process grant; inf without a quota."""
    from pathlib import Path

    try:
        groups = (Path(root) / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return float("inf")
    cpus = float("inf")
    for group in groups:
        _, controllers, path = group.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        mount = Path(root) / "sys/fs/cgroup" / controllers
        # A quota binds everything below it; inside a container the path may not be visible.
        for folder in [mount / path[1:], *(mount / path[1:]).parents]:
            if folder.is_relative_to(mount):
                cpus = min(cpus, _quota(folder))
    return cpus


def _quota(folder: Path) -> float:
    for names in (["cpu.max"], ["cpu.cfs_quota_us", "cpu.cfs_period_us"]):
        try:
            quota, period = " ".join((folder / name).read_text() for name in names).split()
        except OSError:
            continue
        if quota not in ("max", "-1"):
            return int(quota) / int(period)
    return float("inf")


def usable_cpus() -> int:
    """The CPUs that this process may use: its affinity, and no more than its cgroup quota."""
    affinity = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else ()
    return max(1, int(min(len(affinity) or os.cpu_count() or 1, cgroup_cpus())))


def max_threads() -> int:
    """The most threads a kernel may have; OpenMP ends the process when it cannot start them."""
    return max(256, 4 * (os.cpu_count() or 1))


def set_num_threads(n: int) -> None:
    """Let each compiled kernel use `n` threads; results do not depend on `n`, bit for bit.

    TypeError unless `n` is an int, ValueError if it is below 1 or above `max_threads()`.
    RuntimeError for more than one in a child forked after the parent had loaded a kernel: the
    threads of OpenMP (GNU's) do not survive a fork and waiting for them would hang, so such a
    child computes on one thread.
    Workers that want threads are started with "spawn" or "forkserver".
    """
    global _threads
    if not isinstance(n, int) or isinstance(n, bool):
        raise TypeError(f"set_num_threads: n={n!r} must be an int, not {type(n).__name__}")
    if n < 1:
        raise ValueError(f"set_num_threads: n={n} must be at least 1")
    if n > max_threads():
        raise ValueError(f"set_num_threads: n={n} must be at most {max_threads()}")
    if _forked and n > 1:
        raise RuntimeError(
            f"set_num_threads: n={n} must be 1 in a process forked after kernels were loaded;"
            " start it with 'spawn' instead"
        )
    _threads = n


def get_num_threads() -> int:
    """The threads that each compiled kernel uses."""
    global _threads
    if _threads is None:
        text = os.environ.get("NANOCONV_NUM_THREADS")
        if text and not (text.isascii() and text.isdecimal() and int(text) > 0):
            raise ValueError(f"NANOCONV_NUM_THREADS={text!r} must be a positive integer")
        if text and int(text) > max_threads():
            raise ValueError(f"NANOCONV_NUM_THREADS={text} must be at most {max_threads()}")
        _threads = 1 if _forked else int(text) if text else usable_cpus()
    return _threads


def _after_fork_in_child() -> None:
    global _threads, _forked, _lock
    _lock = threading.RLock()  # another thread may have held it
    if "nanoconv._kernels.cpu_cy" in sys.modules:
        _threads, _forked = 1, True


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)

# --------------------------------------------------------------------------- instruction set


def isa() -> str | None:
    """The instruction-set level of the compiled kernels: avx512, avx2, neon or baseline.

    Chosen once, from what CPU and operating system support, or by `NANOCONV_ISA`. None if there
    are no compiled kernels. ValueError if `NANOCONV_ISA` names no level, RuntimeError if it names
    one that was not built or that this machine cannot run.
    """
    from nanoconv import _kernels

    return _kernels.level


# --------------------------------------------------------------------------- random numbers

_generator: np.random.Generator | None = None


def manual_seed(seed: int) -> None:
    """Restart the generator of dropout and initialisers; the same seed gives the same numbers.

    TypeError unless `seed` is an int, ValueError if it is negative.
    """
    global _generator
    if not isinstance(seed, int) or isinstance(seed, bool):
        raise TypeError(f"manual_seed: seed={seed!r} must be an int, not {type(seed).__name__}")
    if seed < 0:
        raise ValueError(f"manual_seed: seed={seed} must not be negative")
    _generator = np.random.default_rng(seed)


def generator() -> np.random.Generator:
    """The random generator of the process; seeded by the operating system until `manual_seed`."""
    global _generator
    if _generator is None:
        _generator = np.random.default_rng()
    return _generator


# --------------------------------------------------------------------------- report

_EXTRAS = {
    "numba": ("numba",),
    "cli": ("PIL", "rich", "typer"),
    "plot": ("matplotlib",),
}
_REBUILD = "with GCC or Clang and Python's headers, in the source tree: pip install ."


def _version(package: str) -> str:
    from importlib import metadata

    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def _describe_kernels() -> list[tuple[str, str]]:
    try:
        from nanoconv import _kernels
    except (RuntimeError, ValueError) as error:
        return [("kernels", f"error: {error}")]
    forced = os.environ.get("NANOCONV_ISA")
    why = "forced by NANOCONV_ISA" if forced else "the best of those built that this machine runs"
    built, supported = ", ".join(_kernels.built()), ", ".join(_kernels.supported())
    openmp = _kernels.openmp()
    rows = [
        ("kernels", f"{_kernels.level}: {why}" if _kernels.level else "none compiled"),
        ("built", built or "none"),
        ("compiler", _kernels.compiler() or "none"),
        ("runs here", supported or "unknown"),
        ("OpenMP", str(openmp) if openmp else "no: every kernel runs on one thread"),
    ]
    missing = _kernels.missing().items()
    rows += [("missing", f"{what}: {reason}") for what, reason in missing]
    return [*rows, ("to get it", _REBUILD)] if missing else rows


def show_config() -> None:
    """Print versions, backend, threads and kernels; what is missing, why, and how to get it."""
    import importlib.util
    import platform

    system = f"{platform.system()} {platform.machine()}"
    rows = [
        ("nanoconv", _version("nanoconv")),
        ("Python", f"{platform.python_version()} on {system}"),
        ("NumPy", np.__version__),
        ("Numba", _version("numba")),
        ("backend", get_backend()),
        ("threads", f"{get_num_threads()} (usable CPUs: {usable_cpus()})"),
        *_describe_kernels(),
    ]
    for extra, modules in _EXTRAS.items():
        if absent := [name for name in modules if importlib.util.find_spec(name) is None]:
            rows.append(("missing", f'{", ".join(absent)}: pip install "nanoconv[{extra}]"'))
    for name, value in rows:
        print(f"{name:<11}{value}")
