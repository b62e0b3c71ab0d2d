"""The book of one session: what took part, what was measured, and what could not be."""

from __future__ import annotations

from collections.abc import Callable
from statistics import median
from typing import Any

from . import measure
from .calls import Call
from .layers import LAYERS
from .problems import Problem

SECONDS = {"quick": 0.1, "full": 0.5}  # for the turns of one problem
Times = dict[str, list[float]]


class Book:
    """Collects the rows of the report; `result()` is what the JSON file holds."""

    def __init__(self, mode: str, threads: int, torch: Any) -> None:
        self.mode, self.threads, self.torch = mode, threads, torch
        self.machine = measure.machine(threads)
        self.rows: list[dict[str, Any]] = []
        self.tiles: list[dict[str, Any]] = []  # of bench_tile.py
        self.calls: list[dict[str, Any]] = []  # of bench_calls.py
        self.peaks: list[float] = []
        self._missing: dict[str, list[str]] = {}
        self._smallest: dict[str, str] = {}

    def is_smallest(self, problem: Problem) -> bool:
        """True for the first layer that has this problem; they come smallest first."""
        return self._smallest.setdefault(problem.name, problem.layer.name) == problem.layer.name

    def note(self, problem: Problem, rung: str, reason: str) -> None:
        """Remember that a rung is not installed; that its condition refuses a layer is no news."""
        if reason.startswith("not installed"):
            problems = self._missing.setdefault(f"{rung} is {reason}", [])
            problems += [problem.name] if problem.name not in problems else []

    def time(
        self,
        problem: Problem,
        runs: dict[str, Callable[[], Any]],
        known: Times,
        nbytes: int,
        auto: str,
    ) -> None:
        """Let all `runs` take turns with the machine's limits, and write a row for each rung.

        runs     what to time, as "rung" or "rung@memory format"
        known    times measured already
        nbytes   what the problem must read and write at least
        auto     the rung that is chosen where `use()` says nothing
        """
        rates: list[float] = []
        limits: dict[str, Callable[[], Any]] = {"copy": measure.copy_of(nbytes, self.threads)}
        if probe := measure.multiply_adds():
            limits["multiply-adds"] = lambda: rates.append(probe())
        times = known | measure.take_turns(runs | limits, SECONDS[self.mode], self.threads)
        peak = median(rates) * self.threads if rates else None
        self.peaks += [peak] if peak else []
        copy, flops = median(times["copy"]), 2 * problem.layer.macs
        computing = flops / peak / 1e9 if peak else 0.0
        layer, rungs = problem.layer, better_formats({n: times[n] for n in (*runs, *known)})
        medians = {rung: median(samples) for rung, (_, samples) in rungs.items()}
        for rung, (layout, samples) in rungs.items():
            seconds = medians[rung]
            as_is = times.get(f"{rung}@channels_last", samples)  # what `auto` could have taken
            self.rows.append(
                {
                    "problem": problem.name,
                    "part": not problem.alone,
                    "op": layer.op,
                    "layer": layer.name,
                    "place": LAYERS.index(layer),
                    "shape": layer.title,
                    "kernel": layer.kernel,
                    "channels": layer.x[1],
                    "count": layer.count,
                    "rung": rung,
                    "format": layout,
                    "auto": rung == auto,
                    "ms": seconds * 1e3,
                    "min_ms": min(samples) * 1e3,
                    "as_is_ms": median(as_is) * 1e3,
                    "as_is_min_ms": min(as_is) * 1e3,
                    "runs": len(samples),
                    "gflops": flops / seconds / 1e9 if flops else None,
                    "gbs": nbytes / seconds / 1e9,
                    "peak_gflops": peak,
                    "best_peak_gflops": max(rates) * self.threads if rates else None,
                    "copy_gbs": nbytes / copy / 1e9,
                    "bound": "multiply-adds" if computing > copy else "memory",
                    "share": max(computing, copy) / seconds,
                    "over_numpy": medians["numpy"] / seconds if "numpy" in medians else None,
                    "over_pytorch": medians["pytorch"] / seconds if "pytorch" in medians else None,
                }
            )

    def call(self, call: Call, training: bool, times: Times) -> None:
        """Write down a whole call, ours and PyTorch's."""
        ms = {name: median(samples) * 1e3 for name, samples in times.items()}
        self.calls.append(
            {
                "op": call.op,
                "name": call.name,
                "shape": "×".join(map(str, call.shapes[0])),
                "direction": "and back" if training else "forward",
                "ms": ms["ours"],
                "pytorch_ms": ms["pytorch"],
                "over_pytorch": ms["pytorch"] / ms["ours"],
                "best_over_pytorch": min(times["pytorch"]) / min(times["ours"]),
            }
        )

    def result(self) -> dict[str, Any]:
        """Everything that the report needs; problems and layers in the order of the networks."""
        rows = sorted(self.rows, key=lambda row: row["place"])
        problems = list(dict.fromkeys(row["problem"] for row in rows))
        return {
            "machine": self.machine
            | {"peak_gflops": median(self.peaks) / self.threads if self.peaks else None},
            "mode": self.mode,
            "missing": self._missing,
            "tiles": self.tiles,
            "calls": self.calls,
            "rows": sorted(rows, key=lambda row: problems.index(row["problem"])),
        }


def better_formats(times: Times) -> dict[str, tuple[str, list[float]]]:
    """(memory format, times) of each rung, in the format in which its median is less."""
    best: dict[str, tuple[str, list[float]]] = {}
    for name, samples in times.items():
        rung, _, layout = name.partition("@")
        if rung not in best or median(samples) < median(best[rung][1]):
            best[rung] = layout, samples
    return best
