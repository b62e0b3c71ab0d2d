"""What a first answer costs: from process start to the first logits, and the memory it took.

nanoconv runs a saved session, ONNX Runtime the exported model; `import numpy` alone is what both
stand on. Each round starts one fresh interpreter for each, in turns.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any

import nanoconv as nc

from .engines import Task, image
from .networks import fold, network, record
from .onnx_models import export
from .rows import digits, table

NET = "mobilenet_v2"
X = "import numpy; x = numpy.full((1, 3, 224, 224), 0.5, numpy.float32); "
PEAK = (  # its own high-water mark; getrusage's would begin with that of the process before it
    "print([l.split()[1] for l in open('/proc/self/status') if l.startswith('VmHWM')][0], y, "
    "flush=True)"
)
CODE = {
    "import numpy": "import numpy; y = 0; " + PEAK,
    "nanoconv": X + "import nanoconv; y = nanoconv.Session.load({session!r})(x)[0, 0]; " + PEAK,
    "onnxruntime": X
    + "import onnxruntime; y = onnxruntime.InferenceSession({onnx!r}).run(None, {{'x': x}})[0]"
    "[0, 0]; " + PEAK,
}


def first_answer(code: str) -> tuple[float, float]:
    """Seconds until a fresh interpreter has its logits, and MB of its peak resident memory."""
    path = str(Path(nc.__file__).parents[1])
    start = time.perf_counter()
    with subprocess.Popen(
        [sys.executable, "-P", "-c", code],
        env={**os.environ, "PYTHONPATH": path},
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        seconds = time.perf_counter() - start
    if not line:
        raise RuntimeError(f"peers_start: {code} ended with status {process.returncode}")
    return seconds, int(line.split()[0]) * 1024 / 1e6


def run(directory: Path, rounds: int) -> dict[str, Any]:
    """The times and peaks of each; what the JSON file holds."""
    task = Task("", NET, 224, 1, 1, str(directory))
    model, x = network(NET), image(1, 224)
    export(fold(record(model, x)), task.path(1, ".onnx"))
    files = {"session": str(directory / f"{NET}.nanoconv"), "onnx": str(task.path(1, ".onnx"))}
    missing: dict[str, list[str]] = {}
    compiling = []
    if hasattr(nc, "compile"):
        for _ in range(rounds):
            start = time.perf_counter()
            session = nc.compile(model, input_shape=x.shape)
            compiling.append(time.perf_counter() - start)
        session.save(files["session"])
    else:
        missing["nanoconv: this version has no nanoconv.compile"] = []
    if not find_spec("onnxruntime"):
        missing["onnxruntime: pip install onnxruntime"] = []
    absent = {why.partition(":")[0] for why in missing}
    codes = {name: code.format(**files) for name, code in CODE.items() if name not in absent}
    for code in codes.values():  # once to fill the caches of the disk and of byte code
        first_answer(code)
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in codes}
    for k in range(rounds):
        for name in list(codes)[:: 1 if k % 2 else -1]:
            found[name].append(first_answer(codes[name]))
    rows = [
        {
            "engine": name,
            "s": median(seconds for seconds, _ in samples),
            "min_s": min(seconds for seconds, _ in samples),
            "peak_mb": median(peak for _, peak in samples),
        }
        for name, samples in found.items()
    ]
    return {"start": rows, "compile_s": compiling, "missing": missing}


def text(result: dict[str, Any]) -> str:
    """What `--start` prints."""
    body = [
        (row["engine"], digits(row["s"]), digits(row["min_s"]), digits(row["peak_mb"]))
        for row in result["start"]
    ]
    lines = [table(("", "s", "least s", "peak MB"), body, markdown=False)]
    if compiling := result["compile_s"]:
        seconds = f"{digits(median(compiling))} s, least {digits(min(compiling))}"
        lines.append(f"nanoconv.compile: {seconds}")
    lines += [f"Left out: {why}" for why in result["missing"]]
    return f"{NET}, from process start to the first logits:\n\n" + "\n".join(lines)
