"""Compiles random small models, and compares each session with what eager computes.

    python tools/fuzz_sessions.py --seed 20261129 --models 10000

Of each model (tests/small_models.py) the session must be as near to the exact result as float32
allows: the bound is a running error analysis of the captured graph in float64, tests/rounding.py;
eager must be, too, so that the two differ by twice the bound at most. And it must have the same
bits in every run, for 1 and 2 threads, after a run on NaN, and without bands (tests/sessions.py).
A quarter of the plans is made as if images were large, with bands and Winograd wherever they can
be. Stops at the first failure, and says how to repeat it.
"""

from __future__ import annotations

import argparse
import sys
import time
import traceback
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parent.parent
sys.path += [str(ROOT), str(ROOT / "tests")]  # behind an installed nanoconv

from rounding import assert_near, looseness  # noqa: E402 (the tests are no package)
from sessions import check, check_batch, eager_to_fuse, flat, truth_of  # noqa: E402
from small_models import SmallModel  # noqa: E402

import nanoconv as nc  # noqa: E402


def examine(*seed: int) -> tuple[float, float, list[str]]:
    """AssertionError if a session of this model is wrong.

    Returns how much of the bound it needed, how wide the bound is for the numbers that it is for,
    and the kernels that ran.
    """
    from sessions import kernels

    model = SmallModel(*seed)
    xs = model.inputs()
    if seed[-1] % 4 == 3:
        with eager_to_fuse(2 if seed[-1] % 8 == 3 else 4):
            session, worst = check(model, *xs)
    else:
        session, worst = check(model, *xs)
    truth = truth_of(model, xs, session)
    with nc.no_grad():
        eager = model(*map(nc.tensor, xs))
    arrays = [t.numpy() for t in flat(eager)]
    assert_near(arrays, truth, f"{model!r} in eager mode")
    if seed[-1] % 8 == 0:
        check_batch(model, *model.inputs(5))
    return worst, looseness(truth), kernels(session)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--models", type=int, default=10_000)
    parser.add_argument("--first", type=int, default=0, help="number of the first model")
    options = parser.parse_args()
    begin, counted = time.perf_counter(), {}
    needed, wide = [], []
    for k in range(options.first, options.first + options.models):
        try:
            worst, loose, names = examine(options.seed, k)
        except Exception:
            traceback.print_exc()
            sys.exit(f"failed: python tools/fuzz_sessions.py --seed {options.seed} --first {k} "
                     "--models 1")  # fmt: skip
        needed.append(worst)
        wide.append(loose)
        for name in names:
            counted[name] = counted.get(name, 0) + 1
        if (k + 1) % 500 == 0:
            print(f"{k + 1} models, {time.perf_counter() - begin:.0f} s", flush=True)
    print(
        f"{options.models} models without a difference in {(time.perf_counter() - begin) / 60:.1f} "
        f"minutes; of the bound they needed up to {max(needed):.0%} (median "
        f"{np.median(needed):.1%}); it is {np.median(wide):.1e} of the numbers (median; at most "
        f"{max(wide):.1e})"
    )
    print(", ".join(f"{name} {n}" for name, n in sorted(counted.items(), key=lambda i: -i[1])))


if __name__ == "__main__":
    main()
