"""Every layer that torch.nn has too: the same arguments, attributes and repr.

What differs on purpose, the docstring of the class or of one of its bases tells.
"""

from __future__ import annotations

import inspect
import re
from typing import Any

import pytest
from harness import torch

import nanoconv as nc
from nanoconv import nn

# Arguments to make a layer with: in the end, of each kind that is kept or shown in its own way.
MADE: dict[str, list[tuple[tuple, dict]]] = {
    "AdaptiveAvgPool1d": [((2,), {}), (((2,),), {})],
    "AdaptiveAvgPool2d": [((2,), {}), (((2, None),), {})],
    "AdaptiveMaxPool1d": [((2,), {}), ((2, True), {})],
    "AdaptiveMaxPool2d": [((2,), {}), (((None, 3), True), {})],
    "AlphaDropout": [((), {}), ((0.2, True), {})],
    "AvgPool1d": [((2,), {}), ((3, 1, 1, True, False), {}), (((3,), (2,), (1,)), {})],
    "AvgPool2d": [((2,), {}), (((3, 2), 1, (1, 0), True, False, 5), {})],
    "BCEWithLogitsLoss": [((), {}), ((), {"reduction": "sum"})],
    "BatchNorm1d": [((3,), {}), ((3, 0.1, None, False, False), {})],
    "BatchNorm2d": [((3,), {}), ((3, 0.1, 0.5, True, False), {})],
    "CELU": [((), {}), ((2.0, True), {})],
    "ChannelShuffle": [((2,), {})],
    "CircularPad1d": [((1,), {}), (((1, 2),), {})],
    "CircularPad2d": [((1,), {}), (((1, 2, 3, 4),), {})],
    "ConstantPad1d": [((1, 2.0), {}), (((1, 2), 3), {})],
    "ConstantPad2d": [((1, 2.0), {}), (((1, 2, 3, 4), 3), {})],
    "Conv1d": [((4, 6, 3), {}), ((4, 6, (3,), 2, "valid", 2, 2, False, "reflect"), {})],
    "Conv2d": [
        ((4, 6, 3), {}),
        ((4, 6, (3, 2), 2, (1, 0), (2, 1), 2, False, "circular"), {}),
        ((4, 6, 3), {"padding": "same"}),
    ],
    "ConvTranspose1d": [((4, 6, 3), {}), ((4, 6, 3, 2, 1, 1, 2, False, 2), {})],
    "ConvTranspose2d": [((4, 6, 3), {}), ((4, 6, (3, 2), 2, (1, 0), 1, 2, False, (2, 3)), {})],
    "CosineEmbeddingLoss": [((), {}), ((0.5,), {"reduction": "sum"})],
    "CosineSimilarity": [((), {}), ((0, 1e-3), {})],
    "CrossEntropyLoss": [((), {}), ((), {"ignore_index": 3, "label_smoothing": 0.1})],
    "ELU": [((), {}), ((2.0, True), {})],
    "FeatureAlphaDropout": [((), {}), ((0.2,), {})],
    "Flatten": [((), {}), ((0, 2), {})],
    "Fold": [((4, 2), {}), (((4, 5), (2, 3), 2, 1, (1, 2)), {})],
    "GELU": [((), {}), (("tanh",), {})],
    "GLU": [((), {}), ((1,), {})],
    "GroupNorm": [((2, 4), {}), ((2, 4, 0.1, False), {})],
    "Hardshrink": [((), {}), ((1.0,), {})],
    "Hardtanh": [((), {}), ((-2.0, 3.0, True), {})],
    "HuberLoss": [((), {}), (("sum", 2.0), {})],
    "Identity": [((), {}), ((3,), {"a": 1})],
    "InstanceNorm1d": [((3,), {}), ((3, 0.1, 0.5, True, True), {})],
    "InstanceNorm2d": [((3,), {}), ((3, 0.1, 0.5, True, True), {})],
    "KLDivLoss": [((), {}), ((), {"reduction": "batchmean", "log_target": True})],
    "LPPool1d": [((2.0, 2), {}), ((1, (3,), 2, True), {})],
    "LPPool2d": [((2.0, 2), {}), ((1, (3, 2), 2, True), {})],
    "LayerNorm": [((3,), {}), (((3, 4), 0.1, True, False), {}), (([3, 4], 0.1, False), {})],
    "LeakyReLU": [((), {}), ((0.3, True), {})],
    "Linear": [((3, 2), {}), ((3, 2, False), {})],
    "LocalResponseNorm": [((3,), {}), ((3, 0.1, 0.5, 2.0), {})],
    "LogSoftmax": [((1,), {})],
    "MaxPool1d": [((2,), {}), ((3, 1, 1, 2, True, True), {}), (((3,), (2,)), {})],
    "MaxPool2d": [((2,), {}), (((3, 2), 1, (1, 0), 2, True, True), {})],
    "MaxUnpool1d": [((2,), {}), ((3, 2, 1), {}), (((3,), (2,), (1,)), {})],
    "MaxUnpool2d": [((2,), {}), ((3, 2, 1), {}), (((3, 2), (2, 1), (1, 0)), {})],
    "NLLLoss": [((), {}), ((), {"ignore_index": 3, "reduction": "none"})],
    "PReLU": [((), {}), ((3, 0.5), {})],
    "PixelShuffle": [((2,), {})],
    "PixelUnshuffle": [((2,), {})],
    "RMSNorm": [((3,), {}), (((3, 4), 0.1, False), {})],
    "RReLU": [((), {}), ((0.1, 0.2, True), {})],
    "ReflectionPad1d": [((1,), {}), (((1, 2),), {})],
    "ReflectionPad2d": [((1,), {}), (((1, 2, 3, 4),), {})],
    "ReplicationPad1d": [((1,), {}), (((1, 2),), {})],
    "ReplicationPad2d": [((1,), {}), (((1, 2, 3, 4),), {})],
    "SmoothL1Loss": [((), {}), ((), {"reduction": "none", "beta": 2.0})],
    "Softmax": [((1,), {})],
    "Softmin": [((1,), {})],
    "Softplus": [((), {}), ((2.0, 10.0), {})],
    "Softshrink": [((), {}), ((1.0,), {})],
    "Threshold": [((0.1, 20.0), {}), ((0.1, 20.0, True), {})],
    "Unfold": [((2,), {}), (((2, 3), 2, 1, (1, 2)), {})],
    "Upsample": [((3,), {}), (((3, 4), None, "bilinear", True), {}), ((None, 2, "bicubic"), {})],
    "UpsamplingBilinear2d": [((3,), {}), ((None, (2, 3)), {})],
    "UpsamplingNearest2d": [((3,), {}), ((None, 2.5), {})],
    "ZeroPad1d": [((1,), {}), (((1, 2),), {})],
    "ZeroPad2d": [((1,), {}), (((1, 2, 3, 4),), {})],
}
SHARED = [
    name
    for name in nn.__all__
    if inspect.isclass(cls := getattr(nn, name))
    and issubclass(cls, nn.Module)
    and name not in ("Module", "ModuleList", "Sequential")
    and hasattr(torch.nn, name)
]
CALLS = [(name, *call) for name in SHARED for call in MADE.get(name, [((), {})])]


def public(module: Any, base: type) -> set[str]:
    return {name for name in dir(module) if name[0] != "_"} - set(dir(base()))


@pytest.mark.parametrize(("name", "args", "kwargs"), CALLS, ids=[call[0] for call in CALLS])
def test_attributes_and_repr_are_pytorchs(name: str, args: tuple, kwargs: dict) -> None:
    ours, theirs = getattr(nn, name)(*args, **kwargs), getattr(torch.nn, name)(*args, **kwargs)
    assert repr(ours) == repr(theirs)
    assert public(ours, nn.Module) == public(theirs, torch.nn.Module)
    for attribute in public(theirs, torch.nn.Module):
        a, b = getattr(ours, attribute), getattr(theirs, attribute)
        if isinstance(b, torch.Tensor):
            assert isinstance(a, nc.Tensor)
            assert tuple(a.shape) == tuple(b.shape)
        elif not callable(b):
            assert (a, type(a)) == (b, type(b)), attribute


def arguments(function: Any) -> list[tuple]:
    parameters = inspect.signature(function).parameters.values()
    taken = [p for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    return [(p.name, p.default, p.kind) for p in taken if p.name not in ("device", "dtype")]


@pytest.mark.parametrize("name", SHARED)
def test_arguments_are_pytorchs(name: str) -> None:
    ours, theirs = getattr(nn, name), getattr(torch.nn, name)
    assert arguments(ours.forward) == arguments(theirs.forward)
    expected, found = arguments(theirs), arguments(ours)
    names = {argument for argument, _, _ in found}
    without = [argument for argument, _, _ in expected if argument not in names]
    if without:
        said = " ".join(inspect.getdoc(cls) or "" for cls in ours.__mro__ if cls is not nn.Module)
        (told,) = re.findall("Unlike PyTorch: (.*)", said.replace("\n", " "))
        assert all(f"`{argument}`" in told for argument in without)
        assert [p[:2] for p in found] == [p[:2] for p in expected if p[0] not in without]
    else:
        assert found == expected


def test_dir_lists_what_a_module_holds() -> None:
    model = nn.Sequential(nn.BatchNorm2d(3))
    assert "0" in dir(model)
    assert {"weight", "running_mean", "forward", "eps"} <= set(dir(model[0]))


def test_an_empty_list_of_modules() -> None:
    assert len(nn.ModuleList()) == len(nn.ModuleList(None)) == len(torch.nn.ModuleList(None)) == 0
