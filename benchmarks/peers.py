"""nanoconv beside ONNX Runtime, OpenVINO, ncnn and PyTorch: whole networks, each in its turn.

    python -m benchmarks.peers                                  seven nets, 1 and 2 threads
    python -m benchmarks.peers --nets resnet50 vgg16 --threads 2
    python -m benchmarks.peers --batch 8 32 --threads 2         images per second
    python -m benchmarks.peers --load                           with a busy process beside it
    python -m benchmarks.peers --start                          from process start to first logits
    python -m benchmarks.peers --json peers.json --chart peers.svg

Every network is exported once to ONNX, and every engine loads that file, in float32, into a process
of its own. All outputs are compared before anything is timed. Then the processes take turns, round
after round: one runs a burst, the others are stopped, so that no thread of theirs spins. A time is
the median over the rounds of a burst's median, or the least of all; of an engine that has several
ways to run a network, the best one counts. An engine that is not installed is left out by name.
`pip install "nanoconv[peers]"` brings them all.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

import nanoconv as nc

from . import measure, peers_report, peers_start
from .engines import ENGINES, Task, image
from .networks import NETS, SEVEN, fold, network, record
from .onnx_models import export

Row = dict[str, Any]
FAR = 1e-3  # how far logits may be from nanoconv's eager ones, relative to the largest
PACKAGES: dict[str, tuple[str, ...]] = {  # what an engine needs, and what exports its models
    "nanoconv": (),
    "onnxruntime": ("onnxruntime", "onnx"),
    "openvino": ("openvino", "onnx"),
    "ncnn": ("ncnn", "pnnx", "onnx"),
    "pytorch": ("torch", "onnx"),
}


# --------------------------------------------------------------------------- the models


def family(engine: str) -> str:
    """The engine without its way: "openvino" of "openvino@streams"."""
    return engine.partition("@")[0]


def prepare(directory: Path, net: str, size: int, batch: int, engines: set[str]) -> np.ndarray:
    """Export a network where it is not there yet; nanoconv's own eager logits for its input."""
    task = Task("", net, size, batch, 1, str(directory))
    model, x = network(net), image(batch, size)
    nc.save(model.state_dict(), directory / f"{net}.safetensors")
    if engines - {"nanoconv"} and not task.path(batch, ".onnx").exists():
        export(fold(record(model, x)), task.path(batch, ".onnx"))
    if "ncnn" in engines and batch == 1 and not task.path(1, ".ncnn.bin").exists():
        convert(task.path(1, ".onnx"), x.shape)
    with nc.no_grad():
        return model(nc.tensor(x)).numpy().copy()


def convert(path: Path, shape: Sequence[int]) -> None:
    """ONNX to ncnn, in a directory for the many other files that pnnx writes."""
    import pnnx

    with tempfile.TemporaryDirectory() as place:
        (Path(place) / "net.onnx").write_bytes(path.read_bytes())
        sizes = ",".join(map(str, shape))
        subprocess.run(
            [pnnx.EXEC_PATH, "net.onnx", f"inputshape=[{sizes}]", "fp16=0"],
            cwd=place,
            capture_output=True,
        )  # where it fails there is no file, and ncnn says so
        for made in Path(place).glob("net.ncnn.*"):
            path.with_suffix(made.suffixes[0] + made.suffixes[1]).write_bytes(made.read_bytes())


# --------------------------------------------------------------------------- the processes


class Worker:
    """The process of one engine, stopped whenever it has nothing to do."""

    def __init__(self, task: Task) -> None:
        self.task = task
        command = [sys.executable, "-P", "-m", "benchmarks.engines", json.dumps(asdict(task))]
        paths = (str(Path(module).parents[1]) for module in (nc.__file__, __file__))
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(dict.fromkeys(paths)),
            "OMP_NUM_THREADS": str(task.threads),
            "TORCHINDUCTOR_CACHE_DIR": str(Path(task.directory) / "inductor"),
        }
        self.errors = tempfile.TemporaryFile()  # noqa: SIM115 (closed by `close`)
        self.process = subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            text=True,
        )
        self.ready = self.answer()  # has "logits" or "error"
        self.stop()

    def answer(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if line:
            return json.loads(line)
        self.errors.seek(0)
        said = self.errors.read().decode(errors="replace").strip().splitlines()
        return {"error": said[-1] if said else f"exit status {self.process.wait()}"}

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGSTOP)

    def run(self, seconds: float, runs: int) -> list[float]:
        """The seconds of each call of one burst."""
        assert self.process.stdin is not None
        self.process.send_signal(signal.SIGCONT)
        with suppress(BrokenPipeError):  # then the answer says why
            print(seconds, runs, file=self.process.stdin, flush=True)
        answer = self.answer()
        self.stop()
        if "times" not in answer:
            raise RuntimeError(f"peers: {self.task} ended in a burst: {answer['error']}")
        return answer["times"]

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout, self.errors):
            if stream is not None:
                stream.close()


def busy() -> subprocess.Popen:
    """A process that takes a core."""
    return subprocess.Popen([sys.executable, "-c", "while True: pass"])


# --------------------------------------------------------------------------- the race


def difference(logits: Any, expected: np.ndarray) -> float:
    """The largest error, relative to the largest of the expected logits; inf for another shape."""
    found = np.asarray(logits, np.float64)
    if found.shape != expected.shape or not np.isfinite(found).all():
        return float("inf")
    return float(np.abs(found - expected).max() / np.abs(expected).max())


def take_turns(
    workers: dict[str, Worker], rounds: int, seconds: float, runs: int, loads: Sequence[bool]
) -> dict[tuple[str, bool], list[list[float]]]:
    """The times of each worker's bursts, without and with load; each round begins elsewhere."""
    times: dict[tuple[str, bool], list[list[float]]] = {}
    names = list(workers)
    for k in range(rounds if names else 0):
        first = k % len(names)
        for load in loads:
            other = busy() if load else None
            try:
                for name in names[first:] + names[:first]:
                    burst = workers[name].run(seconds, runs)
                    times.setdefault((name, load), []).append(burst)
            finally:
                if other:
                    other.kill()
                    other.wait()
    return times


def race(
    tasks: Iterable[Task],
    expected: np.ndarray,
    rounds: int,
    seconds: float,
    runs: int,
    loaded: bool,
    missing: dict[str, list[str]],
) -> list[Row]:
    """Load every task, check what it computes, and let them take turns; a row for each."""
    with ExitStack() as stack:
        workers: dict[str, Worker] = {}
        errors: dict[str, float] = {}
        for task in tasks:
            worker = Worker(task)
            stack.callback(worker.close)
            error = worker.ready.get("error")
            if not error:
                errors[task.engine] = difference(worker.ready.pop("logits"), expected)
                if not errors[task.engine] <= FAR:
                    error = f"logits differ by {errors[task.engine]:.1e}, more than {FAR}"
            if error:
                where = f"{task.net} at {task.size}, batch {task.batch}"
                missing.setdefault(f"{task.engine}: {error}", []).append(where)
            else:
                workers[task.engine] = worker
        rows = []
        loads = (False, True) if loaded else (False,)
        for (name, load), bursts in take_turns(workers, rounds, seconds, runs, loads).items():
            task = workers[name].task
            rows.append(
                {
                    "net": task.net,
                    "size": task.size,
                    "batch": task.batch,
                    "threads": task.threads,
                    "load": load,
                    "engine": name,
                    "ms": median(map(median, bursts)) * 1e3,
                    "min_ms": min(map(min, bursts)) * 1e3,
                    "runs": sum(map(len, bursts)),
                    "error": errors[name],
                }
            )
    return rows


def installed(engines: Iterable[str], missing: dict[str, list[str]]) -> list[str]:
    """The engines whose packages are there; the others are noted with what would bring them."""
    found = []
    for engine in engines:
        absent = [package for package in PACKAGES[family(engine)] if not find_spec(package)]
        if family(engine) == "nanoconv" and not hasattr(nc, "compile"):
            missing["nanoconv: this version has no nanoconv.compile"] = []
        elif absent:
            missing[f"{family(engine)}: pip install {' '.join(absent)}"] = []
        else:
            found.append(engine)
    return found


def ways(engines: Sequence[str], batch: int) -> list[str]:
    """The engines and their ways that make sense: streams and images need more than one image."""
    several = ("openvino@throughput", "openvino@streams", "onnxruntime@by image", "ncnn@by image")
    return [
        way for way in ENGINES
        if (family(way) in engines or way in engines) and (batch > 1 or way not in several)
    ]  # fmt: skip


# --------------------------------------------------------------------------- the command


def options_of(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.peers",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    nets = f"of {', '.join(NETS)}; or all; default: the first seven"
    engines = f"of {', '.join(PACKAGES)}; or one way: {', '.join(ENGINES)}"
    known = [*PACKAGES, *ENGINES]
    add = parser.add_argument
    add("--nets", nargs="+", default=SEVEN, choices=[*NETS, "all"], metavar="NET", help=nets)
    add("--sizes", nargs="+", type=int, default=[224], help="of the square input, in pixels")
    add("--batch", nargs="+", type=int, default=[1], help="images of one call")
    add("--threads", nargs="+", type=int, default=[1, 2])
    add("--engines", nargs="+", default=list(PACKAGES), choices=known, metavar="E", help=engines)
    add("--no-compile", action="store_true", help="without torch.compile: half a minute a net")
    add("--rounds", type=int, default=7, help="bursts of each engine")
    add("--seconds", type=float, default=0.4, help="of one burst, at least")
    add("--runs", type=int, default=5, help="calls in one burst, at least")
    add("--load", action="store_true", help="once more with a busy process beside")
    add("--start", action="store_true", help="only the cost of starting: time and memory")
    add("--models", type=Path, help="keep the exported models here, for the next time")
    add("--json", type=Path, help="write the result to this file")
    add("--chart", type=Path, help="draw the ratios to this file, .svg or .png")
    options = parser.parse_args(argv)
    for name in ("sizes", "batch", "threads", "rounds", "runs"):
        values = vars(options)[name]
        if min(values if isinstance(values, list) else [values]) < 1:
            parser.error(f"--{name}: {values}, expected integers from 1 up")
    if "all" in options.nets:
        options.nets = list(NETS)
    return options


def run(options: argparse.Namespace, directory: Path, say: Callable[[str], None]) -> dict[str, Any]:
    """Measure all that the options ask for; what the JSON file holds."""
    missing: dict[str, list[str]] = {}
    result = {
        "machine": measure.machine(max(options.threads)),
        "asked": {name: vars(options)[name] for name in ("rounds", "seconds", "runs")},
        "rows": [],
        "missing": missing,
    }
    probe = measure.multiply_adds()
    result["machine"]["peak_gflops"] = probe() if probe else None
    packages = {name for names in PACKAGES.values() for name in names}
    result["machine"]["versions"] |= {name: measure.version(name) for name in sorted(packages)}
    engines = installed(options.engines, missing)
    families = {family(engine) for engine in engines}
    for net in options.nets:
        for size in options.sizes:
            for batch in options.batch:
                expected = prepare(directory, net, size, batch, families)
                if batch > 1:
                    prepare(directory, net, size, 1, families)  # for those that go by image
                for threads in options.threads:
                    tasks = (
                        Task(engine, net, size, batch, threads, str(directory))
                        for engine in ways(engines, batch)
                        if not (options.no_compile and "compiled" in engine)
                    )
                    rows = race(tasks, expected, options.rounds, options.seconds, options.runs,
                                options.load, missing)  # fmt: skip
                    result["rows"] += rows
                    say(peers_report.line(rows))
    return result


def main(argv: list[str] | None = None) -> None:
    options = options_of(argv)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that no stopped process stays
    with tempfile.TemporaryDirectory() as place:
        directory = options.models or Path(place)
        directory.mkdir(parents=True, exist_ok=True)
        if options.start:
            result = peers_start.run(directory, options.rounds)
            print(peers_start.text(result))
        else:
            result = run(options, directory, lambda line: print(line, file=sys.stderr, flush=True))
            print(peers_report.text(result))
    if options.json:
        options.json.write_text(json.dumps(result, indent=1), encoding="utf-8")
    if options.chart and not options.start:
        peers_report.draw(result, options.chart)


if __name__ == "__main__":
    main()
