"""Measure what `import nanoconv` costs beside `import numpy`: `python tools/import_cost.py`.

Each import runs in a fresh interpreter, the two by turns; the smallest time of each counts, less
that of an interpreter that imports nothing.
"""

import subprocess
import sys
import time

ROUNDS = 15
STATEMENTS = ("pass", "import numpy", "import nanoconv")


def seconds(statement: str) -> float:
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", statement], check=True)
    return time.perf_counter() - start


def main() -> None:
    for statement in STATEMENTS:
        seconds(statement)  # fills the page cache and writes the .pyc files
    times = [[seconds(statement) for statement in STATEMENTS] for _ in range(ROUNDS)]
    empty, numpy, nanoconv = map(min, zip(*times, strict=True))
    print(f"import numpy     {1e3 * (numpy - empty):6.1f} ms")
    print(f"import nanoconv  {1e3 * (nanoconv - empty):6.1f} ms")
    print(f"ratio            {(nanoconv - empty) / (numpy - empty):6.2f}  (asked: at most 1.30)")


if __name__ == "__main__":
    main()
