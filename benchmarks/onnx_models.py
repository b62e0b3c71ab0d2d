"""A recorded network as an ONNX file: one entry of `WRITERS` for each op that the networks run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from .networks import Record, Step

OPSET = 17


class Model:
    """Nodes and constants that are being written."""

    def __init__(self, helper: Any, numpy_helper: Any) -> None:
        self._helper, self._numpy_helper = helper, numpy_helper
        self.nodes: list[Any] = []
        self.initializers: list[Any] = []

    def node(self, kind: str, inputs: tuple[str, ...], *outputs: str, **attrs: Any) -> str:
        name = f"{kind}_{len(self.nodes)}"
        self.nodes.append(self._helper.make_node(kind, inputs, outputs, name, **attrs))
        return outputs[0]

    def constant(self, array: Any, name: str = "") -> str:
        name = name or f"c{len(self.initializers)}"
        array = np.ascontiguousarray(array)
        self.initializers.append(self._numpy_helper.from_array(array, name))
        return name


def window(geo: Any) -> dict[str, Any]:
    """The attributes that convolution and pooling share."""
    return {
        "kernel_shape": (geo.KH, geo.KW),
        "strides": (geo.sh, geo.sw),
        "pads": (geo.pt, geo.pl, geo.pb, geo.pr),
    }


def conv2d(model: Model, step: Step) -> None:
    geo = step.attrs["geo"]
    inputs = step.inputs if step.inputs[-1] else step.inputs[:-1]
    dilations = (geo.dh, geo.dw)
    model.node("Conv", inputs, step.output, **window(geo), dilations=dilations, group=geo.G)


def batch_norm(model: Model, step: Step) -> None:
    model.node("BatchNormalization", step.inputs, step.output, epsilon=step.attrs["eps"])


def relu6(model: Model, step: Step) -> None:
    bounds = (model.constant(np.float32(0)), model.constant(np.float32(6)))
    model.node("Clip", (*step.inputs, *bounds), step.output)


def hardsigmoid(model: Model, step: Step) -> None:
    model.node("HardSigmoid", step.inputs, step.output, alpha=1 / 6, beta=0.5)


def same(kind: str) -> Callable[[Model, Step], Any]:
    """For an op that ONNX has too, without attributes."""
    return lambda model, step: model.node(kind, step.inputs, step.output)


def cat(model: Model, step: Step) -> None:
    model.node("Concat", step.inputs, step.output, axis=step.attrs["dim"])


def max_pool2d(model: Model, step: Step) -> None:
    geo = step.attrs["geo"]
    ceil = {"ceil_mode": 1} if hangs_over(geo) else {}
    model.node("MaxPool", step.inputs, step.output, **window(geo), **ceil)


def hangs_over(geo: Any) -> bool:
    """True where the last window hangs over the padding: ceil_mode in PyTorch and ONNX."""
    down = (geo.OH - 1) * geo.sh + geo.KH > geo.H + geo.pt + geo.pb
    return down or (geo.OW - 1) * geo.sw + geo.KW > geo.W + geo.pl + geo.pr


def avg_pool2d(model: Model, step: Step) -> None:
    geo, counted = step.attrs["geo"], int(step.attrs["count_include_pad"])
    model.node("AveragePool", step.inputs, step.output, **window(geo), count_include_pad=counted)


def adaptive_avg_pool2d(model: Model, step: Step) -> None:
    cells = step.attrs["cells"]
    if len(cells.rows) == len(cells.cols) == 1:
        model.node("GlobalAveragePool", step.inputs, step.output)
    elif (len(cells.rows), len(cells.cols)) == (cells.H, cells.W):
        model.node("Identity", step.inputs, step.output)
    else:  # y = R·x·Cᵀ, where each row of R and of C is the mean over one cell
        C = model.constant(means(cells.cols, cells.W).T)
        across = model.node("MatMul", (step.inputs[0], C), f"{step.output}.across")
        model.node("MatMul", (model.constant(means(cells.rows, cells.H)), across), step.output)


def means(cells: np.ndarray, size: int) -> np.ndarray:
    """A row for each cell, which takes the mean from its first to before its last position."""
    k = np.arange(size)
    inside = (k >= cells[:, :1]) & (k < cells[:, 1:])
    return (inside / inside.sum(1, keepdims=True)).astype(np.float32)


def channel_shuffle(model: Model, step: Step) -> None:
    (N, C, H, W), G = step.shape, step.attrs["groups"]
    apart = model.constant(np.array([N, G, C // G, H, W]))
    y = model.node("Reshape", (*step.inputs, apart), f"{step.output}.apart")
    y = model.node("Transpose", (y,), f"{step.output}.turned", perm=(0, 2, 1, 3, 4))
    model.node("Reshape", (y, model.constant(np.array(step.shape))), step.output)


def flatten(model: Model, step: Step) -> None:
    model.node("Flatten", step.inputs, step.output, axis=step.attrs["start_dim"])


def linear(model: Model, step: Step) -> None:
    model.node("Gemm", step.inputs, step.output, transB=1)


WRITERS: dict[str, Callable[[Model, Step], Any]] = {
    "conv2d": conv2d,
    "depthwise_conv2d": conv2d,
    "batch_norm": batch_norm,
    "relu": same("Relu"),
    "relu6": relu6,
    "hardswish": same("HardSwish"),
    "hardsigmoid": hardsigmoid,
    "add": same("Add"),
    "mul": same("Mul"),
    "cat": cat,
    "max_pool2d": max_pool2d,
    "avg_pool2d": avg_pool2d,
    "adaptive_avg_pool2d": adaptive_avg_pool2d,
    "channel_shuffle": channel_shuffle,
    "flatten": flatten,
    "linear": linear,
}


def first_channel(step: Step) -> int:
    views = step.attrs["index"].views
    return (views[1].start or 0) if len(views) > 1 and isinstance(views[1], slice) else 0


def split(model: Model, made: Record, value: str) -> None:
    """All slices of a value's channels as one Split, which some engines need not copy.

    ValueError where together they are not the whole, each channel once.
    """
    whole = {made.input: made.shape, **{step.output: step.shape for step in made.steps}}[value]
    slices = [step for step in made.steps if step.op == "getitem" and step.inputs[0] == value]
    slices.sort(key=first_channel)
    ends = np.cumsum([0, *(step.shape[1] for step in slices)]).tolist()
    starts = [first_channel(step) for step in slices]
    others = {(step.shape[0], *step.shape[2:]) for step in slices}
    if [*starts, whole[1]] != ends or others != {(whole[0], *whole[2:])}:
        raise ValueError(
            f"onnx_models: getitem takes {[step.shape for step in slices]} of {whole}, expected "
            "slices that together are all channels"
        )
    sizes = model.constant(np.diff(ends))
    model.node("Split", (value, sizes), *(step.output for step in slices), axis=1)


def write(model: Model, made: Record) -> None:
    """All steps as nodes, in their order; ValueError for an op that is not in the table."""
    done: set[str] = set()  # values that were split
    for step in made.steps:
        if step.op == "getitem":
            if step.inputs[0] not in done:
                split(model, made, step.inputs[0])
            done.add(step.inputs[0])
        elif step.op in WRITERS:
            WRITERS[step.op](model, step)
        else:
            raise ValueError(
                f"onnx_models: there is no writer for {step.op}, only for {', '.join(WRITERS)}"
            )


def export(made: Record, path: Path) -> None:
    """Write the recorded run as an ONNX model with the same fixed input shape."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    model = Model(helper, numpy_helper)
    for name, array in made.constants.items():
        model.constant(array, name)
    write(model, made)
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in ((made.input, made.shape), (made.output, made.steps[-1].shape))
    ]
    graph = helper.make_graph(model.nodes, "net", ends[:1], ends[1:], model.initializers)
    opset = [helper.make_opsetid("", OPSET)]
    proto = helper.make_model(graph, opset_imports=opset, ir_version=8)
    onnx.checker.check_model(proto)
    onnx.save(proto, str(path))
