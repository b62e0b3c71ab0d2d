"""What `import nanoconv` costs beside `import numpy`: fresh interpreters in turns.

    python -m benchmarks.start [--rounds N]

Asked is a ratio of at most 1.3, of the least times; the exit status is 1 if it is more. Each round
starts one interpreter for each, in alternating order, and each measures its own import, so that
the start of Python itself is not counted. The byte code of both is in a cache that an unmeasured
round has filled.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

CODE = "import time; t = time.perf_counter(); import {}; print(time.perf_counter() - t)"
MODULES = ("numpy", "nanoconv")
LIMIT = 1.3


def seconds(module: str, cache: str) -> float:
    """The time that a fresh interpreter with this cache of byte code takes to import a module."""
    import nanoconv

    path = str(Path(nanoconv.__file__).parents[1])  # the same one, from wherever it was found
    environment = {**os.environ, "PYTHONPATH": path, "PYTHONPYCACHEPREFIX": cache}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    result = subprocess.run(
        [sys.executable, "-P", "-c", CODE.format(module)],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return float(result.stdout)


def measure(rounds: int) -> dict[str, list[float]]:
    """The times of each module, one per round."""
    times: dict[str, list[float]] = {module: [] for module in MODULES}
    with tempfile.TemporaryDirectory() as cache:
        for module in MODULES:  # once to compile them, and to fill the caches of the disk
            seconds(module, cache)
        for k in range(rounds):
            for module in MODULES[:: 1 if k % 2 else -1]:
                times[module].append(seconds(module, cache))
    return times


def main(argv: list[str] | None = None) -> int:
    """Measure and print; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.start", description=__doc__)
    parser.add_argument("--rounds", type=int, default=20)
    times = measure(parser.parse_args(argv).rounds)
    for module, samples in times.items():
        print(f"import {module:9} {median(samples) * 1e3:6.1f} ms, least {min(samples) * 1e3:.1f}")
    ratio = median(times["nanoconv"]) / median(times["numpy"])
    least = min(times["nanoconv"]) / min(times["numpy"])
    print(f"ratio {ratio:.2f}, of the least {least:.2f}; asked: at most {LIMIT}")
    if least > LIMIT:
        print(f"import nanoconv takes {least:.2f} times as long as import numpy", file=sys.stderr)
    return int(least > LIMIT)


if __name__ == "__main__":
    sys.exit(main())
