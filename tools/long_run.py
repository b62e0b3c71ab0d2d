"""10,000 newly drawn examples for each family of ops, in one run.

    python tools/long_run.py --seed 20261122        the same examples again with the same seed

A family is a module of tests/cases: convolution, transposed, pooling and so on. Its tests in
tests/test_ops.py (PyTorch, every rung, gradients, adjoint, memory formats …) share the examples,
so that each draws what makes 10,000 together. Stops at the first family with a failure, and says
how to repeat it.
"""

from __future__ import annotations

import argparse
import math
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
TESTS = "tests/test_ops.py"
EXAMPLES = 10_000


def families() -> dict[str, str]:
    """The family of each row of the table."""
    sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
    import cases

    found = {}
    for name, module in vars(cases).items():
        if getattr(module, "__name__", "") == f"cases.{name}":
            for rows in vars(module).values():
                if isinstance(rows, list):
                    found |= {row.name: name for row in rows if row in cases.CASES}
    return found


def collected() -> list[str]:
    """The tests that draw examples: those of a row, named test[row] or test[row-rung]."""
    command = [sys.executable, "-m", "pytest", "-q", "--collect-only", TESTS]
    output = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [line for line in output.splitlines() if "[" in line]


def by_family() -> Iterator[tuple[str, list[str]]]:
    rows, tests = families(), collected()
    names = sorted(rows, key=len, reverse=True)
    owner = re.compile(rf"\[({'|'.join(map(re.escape, names))})(-.*)?\]$")
    for family in dict.fromkeys(rows.values()):
        yield family, [t for t in tests if (m := owner.search(t)) and rows[m[1]] == family]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("-n", type=int, default=os.cpu_count(), help="processes")
    options = parser.parse_args()
    for family, tests in by_family():
        # One test draws a third of what the others do.
        share = sum(1 / 3 if "test_nan_and_inf" in test else 1 for test in tests)
        each = math.ceil(EXAMPLES / share)
        print(f"{family}: {len(tests)} tests, {each} examples each", flush=True)
        command = [
            *(sys.executable, "-m", "pytest", "-q", "--no-header", "-o", "timeout=3000"),
            *("-n", str(options.n), "--hypothesis-profile=thorough"),
            *(f"--hypothesis-seed={options.seed}", *tests),
        ]
        environment = os.environ | {"NANOCONV_EXAMPLES": str(each)}
        if subprocess.run(command, cwd=ROOT, env=environment).returncode:
            sys.exit(f"{family}: failed with NANOCONV_EXAMPLES={each}, seed {options.seed}")


if __name__ == "__main__":
    main()
