"""Networks run op by op, beside PyTorch's eager mode; and what loading a checkpoint costs.

    python -m benchmarks.eager [--seconds S]

Each number of threads has a process of its own, in which BLAS has no more of them. There both
libraries have torchvision's network with the same weights, PyTorch in both memory formats, of which
the quicker one counts; that they agree is checked first; then they take turns for S seconds (2
unless said). Asked are PyTorch's speed, 100 ms for loading MobileNetV2's 14 MB, and a peak of
memory of 3 times the file beyond what a process has that imports NumPy alone.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

import nanoconv as nc
from nanoconv.graph.summary import aligned

from .measure import cpu_name, take_turns
from .zoo import torchvision

NETWORKS = ("mobilenet_v2", "shufflenet_v2_x1_0")
BATCHES, THREADS, SIZE = (1, 8), (1, 2), 224
AGREE = 1e-4  # of the largest score: what the tests of the networks ask for
LOADED = "mobilenet_v2"
LOADS = 9  # in each process, of which the first finds nothing warm
HEADING = ["network", "images", "threads", "nanoconv, ms", "PyTorch", "channels last", "speed"]


# --------------------------------------------------------------------------- networks


def networks(name: str) -> tuple[Any, dict[str, Any]]:
    """Ours and torchvision's in both memory formats, with the same weights and statistics."""
    import torch

    torch.manual_seed(0)
    build = getattr(torchvision().models, name)
    contiguous, last = build(weights=None), build(weights=None)
    with torch.no_grad():
        contiguous(torch.rand(4, 3, 96, 96))  # in training mode: statistics that are not 0 and 1
    last.load_state_dict(contiguous.state_dict())
    ours = getattr(nc.models, name)()
    ours.load_state_dict({key: value.numpy() for key, value in contiguous.state_dict().items()})
    last = last.to(memory_format=torch.channels_last)
    return ours.eval(), {"PyTorch": contiguous.eval(), "channels last": last.eval()}


def measure(threads: int, seconds: float) -> list[dict[str, Any]]:
    """The times of all networks and batches, after a check of their results."""
    import torch

    nc.set_num_threads(threads)
    torch.set_num_threads(threads)
    rows = []
    for name in NETWORKS:
        ours, theirs = networks(name)
        for N in BATCHES:
            x = np.random.default_rng(N).standard_normal((N, 3, SIZE, SIZE), np.float32)
            image, tensor = nc.from_numpy(x), torch.from_numpy(x)
            last = tensor.to(memory_format=torch.channels_last)
            with nc.no_grad(), torch.inference_mode():
                runs = {
                    "nanoconv": lambda ours=ours, x=image: ours(x).numpy(),
                    "PyTorch": lambda net=theirs["PyTorch"], x=tensor: net(x).numpy(),
                    "channels last": lambda net=theirs["channels last"], x=last: net(x).numpy(),
                }
                check(name, {library: run() for library, run in runs.items()})
                times = take_turns(runs, seconds, threads)
            rows.append({"network": name, "images": N, "threads": threads, "times": times})
    return rows


def check(name: str, scores: dict[str, np.ndarray]) -> None:
    ours, theirs = scores["nanoconv"], scores["PyTorch"]
    error = float(np.abs(ours - theirs).max() / np.abs(theirs).max())
    if not error <= AGREE:
        raise ValueError(f"{name}: the scores differ from PyTorch's by {error:.1e} of the largest")


def row(found: dict[str, Any]) -> list[str]:
    """A line of the table: least and median of each, and how many times PyTorch's speed ours is."""
    times = found["times"]
    cells = [f"{min(t) * 1e3:.2f} {median(t) * 1e3:8.2f}" for t in times.values()]
    return [*(str(found[key]) for key in HEADING[:3]), *cells, " ".join(map(two, speeds(times)))]


def speeds(times: dict[str, list[float]]) -> list[float]:
    """Of the least times and of the medians."""
    theirs = [times[name] for name in times if name != "nanoconv"]
    return [min(map(of, theirs)) / of(times["nanoconv"]) for of in (min, median)]


def two(number: float) -> str:
    return f"{number:.2f}"


# --------------------------------------------------------------------------- checkpoints

LOADING = """
import json, sys, time
import numpy as np
peak = lambda: next(int(line.split()[1]) << 10 for line in open("/proc/self/status")
                    if line.startswith("VmHWM"))
np.ones(9) @ np.ones(9)
alone, seconds = peak(), []
if sys.argv[1] != "numpy":
    import nanoconv as nc
    for _ in range(int(sys.argv[2])):
        start = time.perf_counter()
        nc.load(sys.argv[1])
        seconds.append(time.perf_counter() - start)
        most = peak()  # of the last: nothing may pile up
print(json.dumps({"peak": peak(), "seconds": seconds}))
"""


def checkpoints(folder: Path) -> list[Path]:
    """The same weights in each format that `nc.load` reads."""
    import torch

    net = getattr(torchvision().models, LOADED)(weights=None)
    state = {key: value.numpy() for key, value in net.state_dict().items()}
    files = [folder / f"{LOADED}{end}" for end in (".pth", ".old.pth", ".safetensors", ".npz")]
    torch.save(net.state_dict(), files[0])
    torch.save(net.state_dict(), files[1], _use_new_zipfile_serialization=False)
    nc.save(state, files[2])
    np.savez(files[3], **state)
    return files


def load(path: Path | str, times: int = 1) -> dict[str, Any]:
    """Peak memory and times of a fresh process that loads a file so often; "numpy" loads none."""
    code = [sys.executable, "-c", LOADING, str(path), str(times)]
    return json.loads(subprocess.run(code, capture_output=True, text=True, check=True).stdout)


def loading() -> list[list[str]]:
    """A table: for each format the first and the least time, and the peak of memory."""
    rows = [["file", "MB", "first load, ms", "least", "peak memory beyond NumPy's, × the file"]]
    with tempfile.TemporaryDirectory() as folder:
        files = checkpoints(Path(folder))
        alone = min(load("numpy")["peak"] for _ in range(3))
        for path in files:
            size = path.stat().st_size
            once, often = load(path), load(path, LOADS)
            beyond = (once["peak"] - alone) / size
            first, least = once["seconds"][0], min(often["seconds"])
            cells = [f"{number * 1e3:.1f}" for number in (first, least)]
            rows.append([path.name, f"{size / 1e6:.1f}", *cells, two(beyond)])
    return rows


# --------------------------------------------------------------------------- the command


def main(argv: list[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.eager", description=__doc__)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--threads", type=int, help=argparse.SUPPRESS)  # of one such process
    options = parser.parse_args(argv)
    if options.threads:
        print(json.dumps(measure(options.threads, options.seconds)))
        return
    rows = [HEADING]
    for threads in THREADS:
        command = [sys.executable, "-m", __spec__.name, f"--seconds={options.seconds}"]
        environment = {**os.environ, "OPENBLAS_NUM_THREADS": str(threads)}
        result = subprocess.run(
            [*command, f"--threads={threads}"], env=environment, stdout=subprocess.PIPE, check=True
        )
        rows += map(row, json.loads(result.stdout))
    print(f"{cpu_name()}, {nc.isa()}; each time is the least, then the median\n")
    print(aligned(rows))
    print(f"\n{aligned(loading())}")


if __name__ == "__main__":
    main()
