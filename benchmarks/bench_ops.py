"""Every rung of every ladder, on every layer: first right, then timed.

pytest-benchmark is not used: it times one function for many rounds and then the next, and on a
shared machine the ratio of two such times is mostly noise. `measure.take_turns` interleaves.

Rules, so that nothing is left out in silence:

- Each body gets the memory format that it works in: compiled kernels channels-last, literal loops
  contiguous. The NumPy reference and PyTorch are timed in both, and the faster one counts.
- The literal loops run in Python on the smallest layer of each ladder only, once, and not above
  three million operations, which take a few seconds.
- PyTorch runs its op or its gradient without its tape, as our ladders run without ours.
- A rung whose condition refuses a layer has no row there; one that is not installed is reported.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

import nanoconv as nc

from . import measure
from .book import Book
from .layers import LAYERS, Layer, quick_layers, smallest_first
from .problems import (
    Problem,
    bounds_of,
    channels_last,
    complaint,
    contiguous,
    mismatch,
    problems_of,
    traffic,
    truth_and_bounds,
)
from .pytorch import in_pytorch

LOOPS_AT_MOST = 3_000_000  # operations in Python


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    quick = metafunc.config.getoption("quick")
    layers = quick_layers() if quick else smallest_first(LAYERS)
    metafunc.parametrize("layer", layers, ids=[f"{layer.name}-{layer.op}" for layer in layers])


def test_layer(layer: Layer, book: Book) -> None:
    """All rungs of all ladders of one layer are right; their times are in the report."""
    wrong: list[str] = []
    for problem in problems_of(layer):
        expected, runs, known = truth_and_bounds(problem), contenders(problem, book), {}
        for name, run in list(runs.items()):
            seconds, result = measure.timed(run)
            if name.startswith("pytorch"):
                error = mismatch(result, expected)
            else:
                error = complaint(result, bounds_of(problem, name, expected))
            if error:
                wrong.append(f"{problem.name}, {name}: {error}")
                del runs[name]
            elif name == "loops":
                known[name] = [seconds]
                del runs[name]
        with nc.use("auto"):
            auto = problem.choose(*problem.arguments(channels_last))
        book.time(problem, runs, known, traffic(problem, expected), auto)
    assert not wrong, "\n".join(wrong)


def contenders(problem: Problem, book: Book) -> dict[str, Callable[[], Any]]:
    """Who takes part, as "rung" or "rung@memory format"."""
    formats = {
        "contiguous": problem.arguments(contiguous),
        "channels_last": problem.arguments(channels_last),
    }
    runs: dict[str, Callable[[], Any]] = {}
    for rung in problem.rungs:
        if rung == "numpy":
            runs |= {f"numpy@{how}": partial(problem.run, rung, *a) for how, a in formats.items()}
        elif rung == "loops":
            if book.is_smallest(problem) and problem.layer.work <= LOOPS_AT_MOST:
                runs[rung] = partial(problem.run, rung, *formats["contiguous"])
        elif reason := problem.refusal(rung, *formats["channels_last"]):
            book.note(problem, rung, reason)
        else:
            layout = "contiguous" if rung.endswith(".loops") else "channels_last"
            runs[rung] = partial(problem.run, rung, *formats[layout])
    if problem.alone and book.torch is not None:
        runs |= {f"pytorch@{how}": in_pytorch(problem, how, book.torch) for how in formats}
    return runs
