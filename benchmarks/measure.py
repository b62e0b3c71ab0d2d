"""Fair times on a machine that is not: contenders take turns, and the machine is timed with them.

A shared machine changes its speed within seconds, so contenders that run one after the other
cannot be compared. Here all contenders of one problem take short turns, round after round, and the
machine's own limits, multiply-adds of one core and a copy of as many bytes as the problem moves,
take part as two of them. Minimum and median are over all turns.
"""

from __future__ import annotations

import datetime
import gc
import os
import platform
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

import nanoconv as nc

TURN = 0.002  # seconds; a call that takes longer is a turn of its own
ONCE = 0.5  # seconds
LEAST, MOST = 5, 50  # turns
SPIN = 0.03  # seconds; so long do idle threads of OpenMP look for work at most


def take_turns(
    contenders: dict[str, Callable[[], Any]], seconds: float, threads: int = 1
) -> dict[str, list[float]]:
    """Seconds of each call of each contender, measured in turns for about `seconds` in all.

    Each gets the same time, so that slow ones sit out rounds, evenly spread. A turn begins with an
    unmeasured call, which brings the contender's data back into the cache, unless one call is
    longer than ten turns and does so by itself. With several threads it begins with a pause: those
    of the contender before spin for a while, and would take a core away. What takes longer than
    half a second is timed only once.
    """
    costs = {name: timed(run)[0] for name, run in contenders.items()}
    times = {name: [cost] if cost > ONCE else [] for name, cost in costs.items()}
    pause = SPIN if threads > 1 else 0
    turns = {
        name: min(max(int(seconds / len(costs) / (pause + turn_seconds(cost))), LEAST), MOST)
        for name, cost in costs.items()
        if cost <= ONCE
    }
    rounds = max(turns.values(), default=0)
    collecting = gc.isenabled()
    gc.disable()
    try:
        for k in range(rounds):
            present = [n for n, t in turns.items() if (k + 1) * t // rounds > k * t // rounds]
            first = k % len(present)
            for name in present[first:] + present[:first]:
                time.sleep(pause)
                if costs[name] < 10 * TURN:
                    contenders[name]()
                end = time.perf_counter() + TURN
                while True:
                    times[name].append(timed(contenders[name])[0])
                    if time.perf_counter() >= end:
                        break
    finally:
        if collecting:
            gc.enable()
    return times


def turn_seconds(cost: float) -> float:
    """How long a turn takes, for a call that takes `cost`."""
    return max(cost, TURN) + (cost if cost < 10 * TURN else 0)


def timed(run: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds of one call, and what it returned."""
    start = time.perf_counter()
    result = run()
    return time.perf_counter() - start, result


# --------------------------------------------------------------------------- the machine's limits


@lru_cache
def workers(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads)


def copy_of(nbytes: int, threads: int) -> Callable[[], Any]:
    """A streaming copy that reads and writes `nbytes` in all, on `threads` threads."""
    size = max(nbytes // 8, 1)  # half of the bytes are read, half written, 4 bytes each
    source, target = np.ones(size, np.float32), np.empty(size, np.float32)
    if threads == 1 or nbytes < 1 << 20:  # starting threads would take longer
        return lambda: np.copyto(target, source)
    pool = workers(threads)
    parts = list(zip(np.array_split(target, threads), np.array_split(source, threads), strict=True))
    return lambda: list(pool.map(lambda part: np.copyto(*part), parts))


def multiply_adds() -> Callable[[], float] | None:
    """Measures the GFLOP/s of one core's multiply-adds for a moment; None without the kernel."""
    try:
        from nanoconv._kernels.gemm_cy import fma_peak_f32
    except ImportError:
        return None
    return lambda: fma_peak_f32(TURN)


# --------------------------------------------------------------------------- which machine


def cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def machine(threads: int) -> dict[str, Any]:
    """What a reader must know to read the numbers, with the copy measured from RAM."""
    packages = ("numpy", "numba", "torch")
    large = copy_of(1 << 28, threads)
    times = take_turns({"copy": large}, 0.3, threads)["copy"]
    return {
        "cpu": cpu_name(),
        "cpus": nc.config.usable_cpus(),
        "isa": nc.isa(),
        "threads": threads,
        "date": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
        "load": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "system": platform.platform(terse=True),
        "versions": {
            "nanoconv": nc.__version__,
            "python": platform.python_version(),
            **{package: version(package) for package in packages},
        },
        "ram_gbs": round((1 << 28) / float(np.median(times)) / 1e9, 2),
    }


def version(package: str) -> str | None:
    """The version of an installed package."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
