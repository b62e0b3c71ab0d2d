"""What each idea of the fast path buys: the tables of the last chapters of docs/one_op.md.

    python -m benchmarks.steps_of_one [--rounds N] [--seconds S] [--nets NAME …]

On one thread, as Markdown. First the functions of one_conv.h, each checked against the NumPy
reference before it is timed: they take turns, with the machine's multiply-adds among them, and a
share of the peak is that of the same turn. "cold": the weights are not in the second-level cache,
as where a whole network ran in between. Then two layers as steps of a session; then whole networks
without one pass or choice at a time. Medians. Needs a C compiler.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from statistics import median
from typing import Any

import numpy as np

import nanoconv as nc
from nanoconv import nn

from .engines import image
from .measure import cpu_name, take_turns
from .networks import network
from .one_conv import OneConv
from .rows import percent, table

LAYER = (32, 128, 27, 27)  # squeezenet1_1: fire4.expand3x3
SLOW = 0.005  # seconds; such functions take part in every eighth round
AT_ONCE = 3  # runs in a turn, of which the best counts
SESSIONS: dict[str, tuple[tuple[int, ...], tuple[int, ...], tuple[str, ...]]] = {
    # C O K p, image, skip
    "3×3, 32 → 128, 27×27": ((32, 128, 3, 1), (27, 27), ("winograd",)),
    "the same, Winograd allowed": ((32, 128, 3, 1), (27, 27), ()),
    "1×1, 24 → 58, 28×28": ((24, 58, 1, 0), (28, 28), ()),
}
SKIPPED = {  # of each network, what it is shown without
    "mobilenet_v2": ("fold_batch_norm", "fuse_activation", "fuse_residual", "bands"),
    "shufflenet_v2_x1_0": ("fold_batch_norm", "fuse_activation", "channel_views"),
    "squeezenet1_1": ("fuse_activation", "winograd"),
}
LADDER = ("step", "µs", "GFLOP/s", "× before", "of peak", "cold µs")
Rows = list[tuple[str, ...]]


def ladder(one: OneConv, rounds: int) -> tuple[Rows, float]:
    """A row for each function of one_conv.h, and the GFLOP/s of multiply-adds alone."""
    names = one.names()
    for k in range(len(names)):
        one.check(k)
    slow = [one.seconds(k) > SLOW for k in range(len(names))]
    warm: list[list[float]] = [[] for _ in names]
    cold: list[list[float]] = [[] for _ in names]
    shares: list[list[float]] = [[] for _ in names]
    peaks: list[float] = []
    for turn in range(rounds):
        for k in range(len(names)):
            if slow[k] and turn % 8:
                continue
            peaks.append(max(one.functions.peak() for _ in range(AT_ONCE)))
            one.seconds(k)
            warm[k].append(min(one.seconds(k) for _ in range(AT_ONCE)))
            shares[k].append(one.flops / warm[k][-1] / peaks[-1] / 1e9)
            cold[k].append(one.seconds(k, cold=True))
    rows = []
    for k, name in enumerate(names):
        took = median(warm[k])
        gained = f"{median(warm[k - 1]) / took:.2f}" if k else ""
        rows.append(
            (name, f"{1e6 * took:,.0f}", f"{one.flops / took / 1e9:.1f}", gained,
             percent(median(shares[k])), f"{1e6 * median(cold[k]):,.0f}")
        )  # fmt: skip
    return rows, median(peaks)


def sessions(seconds: float) -> Rows:
    """A row for each layer as a step of a session."""
    rows = []
    for name, ((C, O, K, p), size, skip) in SESSIONS.items():
        nc.manual_seed(0)
        model = nn.Sequential(nn.Conv2d(C, O, K, padding=p), nn.ReLU()).eval()
        session = nc.compile(model, (1, C, *size), threads=1, skip=skip)
        (line,) = (line for line in session.explain(seconds).lines if line.op.startswith("conv"))
        rate = f"{line.flops / line.microseconds / 1e3:.1f}"
        rows.append((name, line.kernel, f"{line.microseconds:.1f}", rate, percent(line.share)))
    return rows


def whole_nets(names: Sequence[str], seconds: float) -> Rows:
    """A row for each network and each thing that it goes without."""
    rows = []
    x = image(1, 224)
    for name in names:
        model, contenders = network(name), {}
        for skip in [(), *((what,) for what in SKIPPED[name])]:
            session = nc.compile(model, x.shape, threads=1, skip=skip)
            contenders[f"without {skip[0]}" if skip else "all"] = lambda s=session: s(x)
        contenders["op by op: eager"] = lambda m=model: eager(m, x)
        times = {n: median(t) for n, t in take_turns(contenders, seconds).items()}
        for what, took in times.items():
            rows.append((name, what, f"{1e3 * took:.2f}", f"{took / times['all']:.2f}"))
    return rows


def eager(model: Any, x: np.ndarray) -> Any:
    with nc.no_grad():
        return model(nc.tensor(x))


def one_call(seconds: float) -> float:
    """Seconds of a call of a session that does next to nothing."""
    session = nc.compile(nn.ReLU().eval(), (1, 1, 1, 1), threads=1)
    x = np.zeros((1, 1, 1, 1), np.float32)
    return median(take_turns({"call": lambda: session(x)}, seconds / 10)["call"])


def main(argv: list[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.steps_of_one", description=__doc__)
    parser.add_argument("--rounds", type=int, default=40, help="turns of each function")
    parser.add_argument("--seconds", type=float, default=2.0, help="for each network")
    parser.add_argument("--nets", nargs="*", default=list(SKIPPED), choices=list(SKIPPED))
    options = parser.parse_args(argv)
    nc.set_num_threads(1)
    try:
        one = OneConv(*LAYER)
    except RuntimeError as error:
        sys.exit(str(error))
    rows, peak = ladder(one, max(options.rounds, 1))
    print(table(LADDER, rows))
    print(f"\n{cpu_name()}, {nc.isa()}: {peak:.0f} GFLOP/s of multiply-adds on one core\n")
    print(table(("layer", "kernel", "µs", "GFLOP/s", "of limit"), sessions(options.seconds / 4)))
    print(
        "\n" + table(("network", "with", "ms", "× all"), whole_nets(options.nets, options.seconds))
    )
    print(f"\none call of a session: {1e6 * one_call(options.seconds):.1f} µs")


if __name__ == "__main__":
    main()
