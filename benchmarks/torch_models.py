"""An exported network as a PyTorch module: torch.fx writes its Python, one call for each node.

So PyTorch runs, op by op, what every other engine was given: it has no networks of its own for
some of these, and an interpreter of graphs would cost time between the ops.
"""
# ruff: noqa: N802 (the names are ONNX's)

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any


class Writer:
    """Writes a torch.fx graph; each method named like an ONNX operator translates it.

    A method gets the inputs by name and the attributes, and returns what the first output is.
    """

    def __init__(self, proto: Any, torch: Any) -> None:
        from onnx import numpy_helper

        self.torch, self.F = torch, torch.nn.functional
        self.root, self.graph = torch.nn.Module(), torch.fx.Graph()
        self.arrays = {t.name: numpy_helper.to_array(t) for t in proto.initializer}
        self.kinds = {name: node.op_type for node in proto.node for name in node.output}
        self.uses = Counter(name for node in proto.node for name in node.input)
        self.values: dict[str, Any] = {proto.input[0].name: self.graph.placeholder("x")}

    def __getitem__(self, name: str) -> Any:
        """A value by its name; a constant becomes a parameter when it is first read."""
        if name not in self.values:
            key, array = f"p{len(self.values)}", self.torch.from_numpy(self.arrays[name].copy())
            self.root.register_parameter(key, self.torch.nn.Parameter(array, False))
            self.values[name] = self.graph.get_attr(key)
        return self.values[name]

    def call(self, function: Any, *args: Any, **kwargs: Any) -> Any:
        return self.graph.call_function(function, args, kwargs)

    def activation(self, function: Any, name: str) -> Any:
        """It overwrites what nothing else reads, as in torchvision's networks."""
        inplace = self.uses[name] == 1 and self.kinds[name] in ("Conv", "Add")
        return self.call(function, self[name], inplace=inplace)

    def Conv(self, names: list[str], a: dict[str, Any]) -> Any:
        (top, left), (bottom, right) = a["pads"][:2], a["pads"][2:]
        x, padding = self[names[0]], (top, left)
        if (top, left) != (bottom, right):
            x, padding = self.call(self.F.pad, x, (left, right, top, bottom)), (0, 0)
        w, b = self[names[1]], self[names[2]] if len(names) > 2 else None
        strides, dilations = tuple(a["strides"]), tuple(a["dilations"])
        return self.call(self.F.conv2d, x, w, b, strides, padding, dilations, a["group"])

    def BatchNormalization(self, names: list[str], a: dict[str, Any]) -> Any:
        x, gamma, beta, mean, var = (self[name] for name in names)
        return self.call(self.F.batch_norm, x, mean, var, gamma, beta, False, 0.0, a["epsilon"])

    def Relu(self, names: list[str], a: dict[str, Any]) -> Any:
        return self.activation(self.F.relu, names[0])

    def Clip(self, names: list[str], a: dict[str, Any]) -> Any:
        return self.activation(self.F.relu6, names[0])  # no other bounds are exported

    def HardSwish(self, names: list[str], a: dict[str, Any]) -> Any:
        return self.activation(self.F.hardswish, names[0])

    def HardSigmoid(self, names: list[str], a: dict[str, Any]) -> Any:
        return self.activation(self.F.hardsigmoid, names[0])

    def Add(self, names: list[str], a: dict[str, Any]) -> Any:
        return self.call(self.torch.add, self[names[0]], self[names[1]])

    def Mul(self, names: list[str], a: dict[str, Any]) -> Any:
        return self.call(self.torch.mul, self[names[0]], self[names[1]])

    def MatMul(self, names: list[str], a: dict[str, Any]) -> Any:
        return self.call(self.torch.matmul, self[names[0]], self[names[1]])

    def Concat(self, names: list[str], a: dict[str, Any]) -> Any:
        return self.call(self.torch.cat, [self[name] for name in names], a["axis"])

    def Split(self, names: list[str], a: dict[str, Any]) -> Any:
        sizes = self.arrays[names[1]].tolist()
        return self.call(self.torch.split, self[names[0]], sizes, a["axis"])

    def MaxPool(self, names: list[str], a: dict[str, Any]) -> Any:
        ceil = bool(a.get("ceil_mode", 0))
        return self.call(self.F.max_pool2d, self[names[0]], *window(a), ceil_mode=ceil)

    def AveragePool(self, names: list[str], a: dict[str, Any]) -> Any:
        counted = bool(a["count_include_pad"])
        return self.call(self.F.avg_pool2d, self[names[0]], *window(a), count_include_pad=counted)

    def GlobalAveragePool(self, names: list[str], a: dict[str, Any]) -> Any:
        return self.call(self.F.adaptive_avg_pool2d, self[names[0]], 1)

    def Reshape(self, names: list[str], a: dict[str, Any]) -> Any:
        return self.call(self.torch.reshape, self[names[0]], self.arrays[names[1]].tolist())

    def Transpose(self, names: list[str], a: dict[str, Any]) -> Any:
        return self.call(self.torch.permute, self[names[0]], tuple(a["perm"]))

    def Flatten(self, names: list[str], a: dict[str, Any]) -> Any:
        return self.call(self.torch.flatten, self[names[0]], a["axis"])

    def Gemm(self, names: list[str], a: dict[str, Any]) -> Any:
        return self.call(self.F.linear, *(self[name] for name in names))

    def Identity(self, names: list[str], a: dict[str, Any]) -> Any:
        return self[names[0]]


def window(a: dict[str, Any]) -> tuple[Any, ...]:
    """Kernel, stride and padding of pooling; PyTorch pads both sides alike."""
    top, left, bottom, right = a["pads"]
    if (top, left) != (bottom, right):
        raise ValueError(f"torch_models: pads={a['pads']}, expected the same on opposite sides")
    return tuple(a["kernel_shape"]), tuple(a["strides"]), (top, left)


def module(path: Path) -> Any:
    """The ONNX model as a torch.fx.GraphModule, in evaluation mode."""
    import operator

    import onnx
    import torch

    proto = onnx.load(str(path)).graph
    writer = Writer(proto, torch)
    for node in proto.node:
        attrs = {attr.name: onnx.helper.get_attribute_value(attr) for attr in node.attribute}
        y = getattr(writer, node.op_type)(list(node.input), attrs)
        for k, name in enumerate(node.output):
            several = len(node.output) > 1
            writer.values[name] = writer.call(operator.getitem, y, k) if several else y
    writer.graph.output(writer[proto.output[0].name])
    return torch.fx.GraphModule(writer.root, writer.graph).eval()
