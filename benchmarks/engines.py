"""One engine with one network in a process of its own: loads it once, runs it in bursts.

    python -m benchmarks.engines TASK       TASK is a `Task` as JSON; `peers.py` starts these

The process answers each line that it reads by one line of JSON: "run SECONDS RUNS" by the seconds
of each call of one burst, at least RUNS calls. Its first line, without being asked, says that it is
ready, or why it cannot be. In between it waits for the next line and takes no processor.

An engine is a function: a `Task` → what computes the logits of x (N, 3, H, W). Of an engine that
has more than one way to do it, each is a row here, named ENGINE@WAY: the best of them counts.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

Run = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Task:
    """What a process is asked to load."""

    engine: str
    net: str
    size: int
    batch: int
    threads: int
    directory: str  # of the exported models

    def path(self, batch: int, suffix: str) -> Path:
        return Path(self.directory) / f"{self.net}-{self.size}-{batch}{suffix}"


def by_image(task: Task, one: Callable[[Task], Run]) -> Run:
    """The batch image by image, one image per thread: as many single-threaded runs at once."""
    runs = [one(alone(task)) for _ in range(task.threads)]
    pool = ThreadPoolExecutor(task.threads)

    def part(k: int, x: np.ndarray) -> list[np.ndarray]:
        return [np.array(runs[k](x[n : n + 1])) for n in range(k, len(x), task.threads)]

    def run(x: np.ndarray) -> np.ndarray:
        parts = list(pool.map(part, range(task.threads), [x] * task.threads))
        y = np.empty((len(x), *parts[0][0].shape[1:]), np.float32)
        for k, images in enumerate(parts):
            for n, image in zip(range(k, len(x), task.threads), images, strict=True):
                y[n] = image[0]
        return y

    return run


def alone(task: Task) -> Task:
    """The same for one image on one thread."""
    return replace(task, batch=1, threads=1)


def image(batch: int, size: int) -> np.ndarray:
    """The input that every engine gets: normal noise, (N, 3, H, W)."""
    return np.random.default_rng(0).standard_normal((batch, 3, size, size), np.float32)


# --------------------------------------------------------------------------- the engines


def nanoconv(task: Task) -> Run:
    import nanoconv as nc

    from .networks import NETS

    nc.set_num_threads(task.threads)
    builder, arguments = NETS[task.net]
    model = nc.models.builder(builder)(**arguments).eval()
    model.load_state_dict(nc.load(Path(task.directory) / f"{task.net}.safetensors"))
    session: Run = nc.compile(model, input_shape=(task.batch, 3, task.size, task.size))
    return session


def onnxruntime(task: Task, spinning: bool = True) -> Run:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = task.threads, 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    if not spinning:
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(
        task.path(task.batch, ".onnx"), options, providers=["CPUExecutionProvider"]
    )
    return lambda x: session.run(None, {"x": x})[0]


def openvino(task: Task, hint: str = "LATENCY") -> Run:
    """In float32 by request: where a processor multiplies bfloat16, OpenVINO may take that."""
    import openvino

    core = openvino.Core()
    settings = {
        "INFERENCE_NUM_THREADS": task.threads,
        "INFERENCE_PRECISION_HINT": "f32",
        "PERFORMANCE_HINT": hint,
    }
    compiled = core.compile_model(core.read_model(task.path(task.batch, ".onnx")), "CPU", settings)
    request = compiled.create_infer_request()

    def run(x: np.ndarray) -> np.ndarray:
        request.infer({0: x}, share_inputs=True)
        return request.get_output_tensor().data

    return run


def openvino_streams(task: Task) -> Run:
    """The batch image by image, in as many requests at once as THROUGHPUT chooses."""
    import openvino

    core = openvino.Core()
    settings = {
        "INFERENCE_NUM_THREADS": task.threads,
        "INFERENCE_PRECISION_HINT": "f32",
        "PERFORMANCE_HINT": "THROUGHPUT",
    }
    compiled = core.compile_model(core.read_model(task.path(1, ".onnx")), "CPU", settings)
    queue = openvino.AsyncInferQueue(compiled)
    y = np.empty((task.batch, *list(compiled.outputs[0].shape)[1:]), np.float32)

    def keep(request: Any, n: int) -> None:
        y[n] = request.get_output_tensor().data[0]

    queue.set_callback(keep)

    def run(x: np.ndarray) -> np.ndarray:
        for n in range(len(x)):
            queue.start_async({0: x[n : n + 1]}, n, share_inputs=True)
        queue.wait_all()
        return y

    return run


def ncnn(task: Task) -> Run:
    """In float32: the half precisions that ncnn would take for storage and sums are off."""
    import ncnn

    net = ncnn.Net()
    net.opt.num_threads = task.threads
    for name in ("fp16_packed", "fp16_storage", "fp16_arithmetic", "bf16_storage"):
        setattr(net.opt, f"use_{name}", False)
    if net.load_param(str(task.path(1, ".ncnn.param"))):
        raise RuntimeError("pnnx did not convert the network")
    net.load_model(str(task.path(1, ".ncnn.bin")))

    def image(x: np.ndarray) -> np.ndarray:
        extractor = net.create_extractor()
        extractor.input("in0", ncnn.Mat(x))
        return np.array(extractor.extract("out0")[1])

    return lambda x: np.stack([image(x[n]) for n in range(len(x))])  # it knows no batches


def pytorch(task: Task, channels_last: bool = False, compiled: bool = False) -> Run:
    import torch

    from .torch_models import module

    torch.set_num_threads(task.threads)
    net = module(task.path(task.batch, ".onnx"))
    layout = torch.channels_last if channels_last else torch.contiguous_format
    net = net.eval().to(memory_format=layout)
    if compiled:
        torch._inductor.config.freezing = True  # weights are constants, and packed once
        net = torch.compile(net)

    def run(x: np.ndarray) -> np.ndarray:
        with torch.no_grad() if compiled else torch.inference_mode():
            return net(torch.from_numpy(x).contiguous(memory_format=layout)).numpy()

    return run


ENGINES: dict[str, Callable[[Task], Run]] = {
    "nanoconv": nanoconv,
    "onnxruntime@spinning": onnxruntime,
    "onnxruntime@no spinning": lambda task: onnxruntime(task, spinning=False),
    "onnxruntime@by image": lambda task: by_image(task, onnxruntime),
    "openvino@latency": openvino,
    "openvino@throughput": lambda task: openvino(task, "THROUGHPUT"),
    "openvino@streams": openvino_streams,
    "ncnn": ncnn,
    "ncnn@by image": lambda task: by_image(task, ncnn),
    "pytorch@eager": pytorch,
    "pytorch@eager channels last": lambda task: pytorch(task, channels_last=True),
    "pytorch@compiled": lambda task: pytorch(task, compiled=True),
    "pytorch@compiled channels last": lambda task: pytorch(task, True, True),
}

# --------------------------------------------------------------------------- the process


def burst(run: Run, x: np.ndarray, seconds: float, runs: int) -> list[float]:
    """Seconds of each call; unmeasured ones before bring code and data back into the caches."""
    warm = time.perf_counter() + min(0.1, seconds / 4)
    for _ in range(2):
        run(x)
    while time.perf_counter() < warm:
        run(x)
    times: list[float] = []
    end = time.perf_counter() + seconds
    while len(times) < runs or time.perf_counter() < end:
        start = time.perf_counter()
        run(x)
        times.append(time.perf_counter() - start)
    return times


def serve(task: Task, replies: Any) -> None:
    def reply(**values: Any) -> None:
        print(json.dumps(values), file=replies, flush=True)

    try:
        run, x = ENGINES[task.engine](task), image(task.batch, task.size)
        y = np.array(run(x))
    except Exception as error:
        traceback.print_exc()
        reply(error=f"{type(error).__name__}: {error}".splitlines()[0])
        return
    reply(logits=y.reshape(task.batch, -1).tolist())
    for line in sys.stdin:
        seconds, runs = line.split()
        before = time.process_time()
        times = burst(run, x, float(seconds), int(runs))
        reply(times=times, cpu=time.process_time() - before)


def main(argv: list[str]) -> None:
    """Serve until the standard input ends; what engines print goes to the standard error."""
    replies = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    with contextlib.suppress(BrokenPipeError), contextlib.redirect_stdout(sys.stderr):
        os.dup2(sys.stderr.fileno(), 1)
        serve(Task(**json.loads(argv[0])), replies)


if __name__ == "__main__":
    main(sys.argv[1:])
