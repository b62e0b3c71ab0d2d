"""What each instruction-set level reaches of its own peak, and beside the NumPy reference.

    python -m benchmarks.levels [--json FILE]

For each level that is built and that this machine runs, in a process of its own that is forced to
it: the pointwise layers of MobileNet V1 and V2 that sum over 64 channels or more, each compiled
alone, as a share of the multiply-adds that one core of that level can do, measured beside each; and
MobileNetV2 as a session beside the same model by the NumPy reference. One thread, least times.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from .layers import NETS

LEAST_K = 64
SECONDS = 0.1  # for each layer
V1 = (  # Howard et al., arXiv 1704.04861, table 1: input and output channels, image side
    (64, 128, 56), (128, 128, 56), (128, 256, 28), (256, 256, 28), (256, 512, 14), (512, 512, 14),
    (512, 1024, 7), (1024, 1024, 7),
)  # fmt: skip
Shape = tuple[int, int, int]
ONE_THREAD = dict.fromkeys(
    ("NANOCONV_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS"), "1"
)


def pointwise_layers() -> dict[str, Shape]:
    """Input and output channels and the image side of each layer."""
    layers = {f"mobilenet_v1.{c}-{o}": (c, o, side) for c, o, side in V1}
    for layer in NETS["mobilenet_v2"]:
        if layer.op == "conv2d" and layer.w and layer.kernel == 1:
            layers[layer.name] = (layer.w[1], layer.w[0], layer.x[2])
    return {name: shape for name, shape in layers.items() if shape[0] >= LEAST_K}


# --------------------------------------------------------------------------- one level


def share_of_peak(shape: Shape) -> tuple[float, float]:
    """GFLOP/s of a layer, and of the multiply-adds of a core in the same moments."""
    import numpy as np

    import nanoconv as nc
    from nanoconv._kernels.gemm_cy import fma_peak_f32

    c, o, side = shape
    session = nc.compile(nc.nn.Conv2d(c, o, 1).eval(), input_shape=(1, c, side, side), threads=1)
    segment = session.segments[0]
    step = next(k for k, s in enumerate(segment.plan.steps) if s.kernel == "conv")
    image = np.random.default_rng(0).random((1, c, side, side), np.float32)
    x, y = segment.buffers({segment.inputs[0]: image}, 1)
    flops = 2 * c * o * side**2
    runs = max(3, int(SECONDS / 10 / (flops / fma_peak_f32(0.01) / 1e9)))
    least, peak = np.inf, 0.0
    for _ in range(5):
        peak = max(peak, fma_peak_f32(0.005))
        least = min(least, *(times[step] for times in segment.program.time(x, y, 1, runs)))
    return flops / least / 1e9, peak


def beside_numpy() -> tuple[float, float]:
    """Milliseconds of MobileNetV2 as a session and by the NumPy reference."""
    import numpy as np

    import nanoconv as nc

    from .measure import take_turns

    model = nc.models.mobilenet_v2().eval()
    session = nc.compile(model, input_shape=(1, 3, 224, 224), threads=1)
    image = np.random.default_rng(0).random((1, 3, 224, 224), np.float32)

    def reference() -> Any:
        with nc.use("numpy"), nc.no_grad():
            return model(nc.tensor(image))

    times = take_turns({"session": partial(session, image), "numpy": reference}, 1.5)
    return 1e3 * min(times["session"]), 1e3 * min(times["numpy"])


def this_level() -> dict[str, Any]:
    layers = {name: share_of_peak(shape) for name, shape in pointwise_layers().items()}
    return {"layers": layers, "mobilenet_v2": beside_numpy()}


# --------------------------------------------------------------------------- all of them


def forced(level: str) -> dict[str, Any]:
    """What a fresh process measures that is forced to this level."""
    environment = {**os.environ, **ONE_THREAD, "NANOCONV_ISA": level}
    command = [sys.executable, "-m", "benchmarks.levels", "--this-level"]
    result = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def table(levels: dict[str, dict[str, Any]]) -> str:
    """A line for each layer, a column for each level, and what they come to."""
    lines = ["GFLOP/s, and share of the peak".ljust(42) + "".join(f"{lv:>16}" for lv in levels)]
    for name, (c, o, side) in pointwise_layers().items():
        measured = [lv["layers"][name] for lv in levels.values()]
        row = f"{name}, {c}→{o}, {side}×{side}".ljust(42)
        lines.append(row + "".join(f"{rate:9.1f} {rate / peak:6.0%}" for rate, peak in measured))
    for title, of in (("least share", min), ("median share", median)):
        shares = (of(r / p for r, p in lv["layers"].values()) for lv in levels.values())
        lines.append(title.ljust(42) + "".join(f"{share:16.0%}" for share in shares))
    pairs = [lv["mobilenet_v2"] for lv in levels.values()]
    lines.append("mobilenet_v2, ms".ljust(42) + "".join(f"{own:16.2f}" for own, _ in pairs))
    lines.append("NumPy reference, ms".ljust(42) + "".join(f"{ref:16.1f}" for _, ref in pairs))
    lines.append("times as fast".ljust(42) + "".join(f"{ref / own:16.1f}" for own, ref in pairs))
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> int:
    """Measure and print; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.levels", description=__doc__)
    parser.add_argument("--json", type=Path, help="where to write the numbers, too")
    parser.add_argument("--this-level", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.this_level:
        json.dump(this_level(), sys.stdout)
        return 0
    from nanoconv import _kernels

    able = [level for level in _kernels.built() if level in _kernels.supported()]
    if not able:
        print("no level is built: python setup.py build_ext --inplace", file=sys.stderr)
        return 1
    levels = {level: forced(level) for level in able}
    print(table(levels))
    if options.json:
        options.json.write_text(json.dumps(levels, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
