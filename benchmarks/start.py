"""What `import nanoconv` costs beside `import numpy`: fresh interpreters in turns.

    python -m benchmarks.start [--rounds N]

Asked is a ratio of at most 1.3. Each round starts one interpreter for each, in alternating order,
and each measures its own import, so that the start of Python itself is not counted.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path
from statistics import median

CODE = "import time; t = time.perf_counter(); import {}; print(time.perf_counter() - t)"
MODULES = ("numpy", "nanoconv")


def seconds(module: str) -> float:
    """The time that a fresh interpreter takes to import a module."""
    import nanoconv

    path = str(Path(nanoconv.__file__).parents[1])  # the same one, from wherever it was found
    result = subprocess.run(
        [sys.executable, "-P", "-c", CODE.format(module)],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=True,
    )
    return float(result.stdout)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.start", description=__doc__)
    parser.add_argument("--rounds", type=int, default=20)
    rounds = parser.parse_args(argv).rounds
    times: dict[str, list[float]] = {module: [] for module in MODULES}
    for module in MODULES:  # once to fill the caches of the disk
        seconds(module)
    for k in range(rounds):
        for module in MODULES[:: 1 if k % 2 else -1]:
            times[module].append(seconds(module))
    for module, samples in times.items():
        print(f"import {module:9} {median(samples) * 1e3:6.1f} ms, least {min(samples) * 1e3:.1f}")
    ratio = median(times["nanoconv"]) / median(times["numpy"])
    least = min(times["nanoconv"]) / min(times["numpy"])
    print(f"ratio {ratio:.2f}, of the least {least:.2f}; asked: at most 1.3")


if __name__ == "__main__":
    main()
