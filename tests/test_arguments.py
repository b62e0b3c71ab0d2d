"""Every combination of arguments that torch.nn.functional takes: same output, same gradients.

Names, order and defaults of the arguments are compared with PyTorch's; then each function is called
with all combinations of a grid of values, in float32, by keyword, in both libraries. Where PyTorch
raises, nanoconv must raise an error that names the op, unless `more` says that it can do more.
Where nanoconv refuses what PyTorch takes, `refused` says so, and docs/ops.md tells the user.
"""

from __future__ import annotations

import inspect
import itertools
import math
import re
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from harness import torch

import nanoconv as nc

ERRORS = (ValueError, TypeError, IndexError, RuntimeError, OverflowError)
Options = tuple[Any, ...]


@dataclass(frozen=True)
class Grid:
    """The values of each argument.

    tensors    name → shapes, or functions (rng, other arguments) → array, or None
    arguments  name → values
    more       combinations that nanoconv takes although PyTorch does not
    refused    combinations that only PyTorch takes, and what the error says
    crashes    combinations whose gradient makes PyTorch write outside of memory: to be refused
    """

    tensors: dict[str, Options]
    arguments: dict[str, Options] = field(default_factory=dict)
    more: Callable[[dict], bool] = lambda given: False
    refused: tuple[tuple[Callable[[dict], bool], str], ...] = ()
    crashes: Callable[[dict], bool] = lambda given: False

    def combinations(self) -> Iterator[dict[str, Any]]:
        names = [*self.tensors, *self.arguments]
        for values in itertools.product(*self.tensors.values(), *self.arguments.values()):
            yield dict(zip(names, values, strict=True))


# --------------------------------------------------------------------------- values

IMAGE = (2, 4, 7, 6)
UNBATCHED = (4, 7, 6)
INPLACE = {"inplace": (False, True)}
NO_DIM = ((lambda given: given["dim"] is None, "dim"),)
REDUCTION = {"reduction": ("mean", "sum", "none")}


def whole(low: int, high: int, *shape: int) -> Callable:
    """Integers from low up to high, without it."""
    return lambda rng, given: np.asarray(rng.integers(low, high, shape))


def uniform(low: float, high: float, *shape: int) -> Callable:
    return lambda rng, given: rng.uniform(low, high, shape).astype(np.float32)


def signs(*shape: int) -> Callable:
    return lambda rng, given: np.asarray(rng.choice((-1, 1), shape))


def weight_of(outputs: int, channels: int, *kernel: int) -> Callable:
    """Filters (O, C/groups, …)."""
    return lambda rng, given: rng.standard_normal(
        (outputs, channels // given["groups"], *kernel), np.float32
    )


def transposed_weight_of(channels: int, outputs: int, *kernel: int) -> Callable:
    """Filters (C, O/groups, …)."""
    return lambda rng, given: rng.standard_normal(
        (channels, outputs // given["groups"], *kernel), np.float32
    )


def one_statistic(given: dict) -> bool:
    """PyTorch wants both or neither."""
    return (given["running_mean"] is None) != (given["running_var"] is None)


def steps_over(given: dict) -> bool:
    """Whether a window of two taps in a row meets no pixel of a padded 1×1 image.

    Its taps are at −padding and dilation − padding, and the only pixel is at 0.
    """
    kernel, padding, dilation = (
        np.broadcast_to(given[name], 2) for name in ("kernel_size", "padding", "dilation")
    )
    return bool(np.any((padding > 0) & ((kernel - 1) * dilation >= padding) & (dilation > padding)))


# --------------------------------------------------------------------------- the grids

GRIDS: dict[str, Grid] = {
    "conv2d": Grid(
        {"input": (IMAGE, UNBATCHED), "weight": (weight_of(6, 4, 3, 2),), "bias": ((6,), None)},
        {
            "stride": (1, 2, (2, 1), (3,)),
            "padding": (0, 1, (1, 0), "same", "valid", -1),
            "dilation": (1, 2, (1, 2)),
            "groups": (1, 2),
        },
        more=lambda given: given["padding"] == "same" and given["stride"] != 1,
    ),
    "linear": Grid(
        {
            "input": ((3, 5), (5,), (2, 3, 5), (0, 5)),
            "weight": ((4, 5), (5,)),
            "bias": ((4,), None, (1,), ()),
        },
        refused=(
            (lambda given: given["weight"] == (5,), "weight"),
            (lambda given: given["bias"] not in ((4,), None), "bias"),
        ),
    ),
    "max_pool2d": Grid(
        {"input": (IMAGE, UNBATCHED, (0, 2, 5, 5), (1, 1, 1, 1))},
        {
            "kernel_size": (1, 2, (3, 2), (2,)),
            "stride": (None, 1, 2, (2, 3)),
            "padding": (0, 1, (1, 0)),
            "dilation": (1, 2, (2, 1)),
            "ceil_mode": (False, True),
            "return_indices": (False, True),
        },
        crashes=lambda given: given["input"] == (1, 1, 1, 1) and steps_over(given),
    ),
    "avg_pool2d": Grid(
        {"input": (IMAGE, UNBATCHED, (0, 2, 5, 5), (1, 1, 1, 1))},
        {
            "kernel_size": (1, 2, (3, 2)),
            "stride": (None, 1, 2, (2, 3)),
            "padding": (0, 1, (1, 0)),
            "ceil_mode": (False, True),
            "count_include_pad": (True, False),
            "divisor_override": (None, 3, -2, 0),
        },
    ),
    "adaptive_avg_pool2d": Grid(
        {"input": (IMAGE, UNBATCHED, (0, 2, 5, 5), (1, 1, 1, 1))},
        {"output_size": (1, 3, (2, 9), (None, 2), (5, None), (None, None))},
    ),
    "batch_norm": Grid(
        {
            "input": ((5, 3), (2, 3, 4), (2, 3, 4, 5), (0, 3, 4, 5), (1, 3), (1, 3, 1, 1)),
            "running_mean": ((3,), None),
            "running_var": (uniform(0.5, 2, 3), None),
            "weight": ((3,), None),
            "bias": ((3,), None),
        },
        {"training": (False, True), "momentum": (0.1, 0.7), "eps": (1e-5, 0.1)},
        more=one_statistic,
        refused=(
            (
                lambda given: (
                    not given["training"] and None in (given["running_mean"], given["running_var"])
                ),
                "running",
            ),
        ),
    ),
    "channel_shuffle": Grid({"input": (IMAGE, (2, 4, 5))}, {"groups": (1, 2, 4, 3, 0)}),
    "dropout": Grid(
        {"input": (IMAGE, (5,))},
        {"p": (0.0, 1.0, -0.1, 1.5), "training": (True, False), **INPLACE},
    ),
    "softmax": Grid({"input": (IMAGE, (5,), ())}, {"dim": (0, 1, -1, 4, None)}, refused=NO_DIM),
    "softmin": Grid({"input": (IMAGE, (5,), ())}, {"dim": (0, 1, -1, 4, None)}, refused=NO_DIM),
    "log_softmax": Grid({"input": (IMAGE, (5,), ())}, {"dim": (0, 1, -1, 4, None)}, refused=NO_DIM),
    **{
        name: Grid({"input": (IMAGE, (0, 3), ())}, INPLACE)
        for name in (
            "relu",
            "relu6",
            "silu",
            "hardswish",
            "hardsigmoid",
            "selu",
            "mish",
        )
    },
    **{
        name: Grid({"input": (IMAGE, (0, 3), ())})
        for name in (
            "sigmoid",
            "tanh",
            "softsign",
            "logsigmoid",
            "tanhshrink",
        )
    },
    "leaky_relu": Grid(
        {"input": (IMAGE, (0, 3))},
        {"negative_slope": (0.01, 0, -2.0), **INPLACE},
        more=lambda given: given["inplace"],
    ),
    "elu": Grid(
        {"input": (IMAGE, (0, 3))},
        {"alpha": (1.0, 0.3, -0.5, 2), **INPLACE},
        more=lambda given: given["inplace"],
    ),
    "celu": Grid(
        {"input": (IMAGE, (0, 3))},
        {"alpha": (1.0, 0.3, -0.5, 2, 0), **INPLACE},
        more=lambda given: given["inplace"],
    ),
    "gelu": Grid({"input": (IMAGE, (0, 3))}, {"approximate": ("none", "tanh", "fast")}),
    "softplus": Grid({"input": (IMAGE,)}, {"beta": (1, 0.5, 3), "threshold": (20, 1, -1)}),
    "hardtanh": Grid(
        {"input": (IMAGE,)}, {"min_val": (-1.0, 0, -0.3), "max_val": (1.0, 0.5, 0), **INPLACE}
    ),
    "threshold": Grid(
        {"input": (IMAGE,)}, {"threshold": (0.0, 0.5, -1), "value": (0.0, 7, -2.5), **INPLACE}
    ),
    "hardshrink": Grid({"input": (IMAGE,)}, {"lambd": (0.5, 0, 1.5)}),
    "softshrink": Grid({"input": (IMAGE,)}, {"lambd": (0.5, 0, 1.5, -1)}),
    "glu": Grid({"input": (IMAGE, (6,), (3, 5))}, {"dim": (-1, 0, 1, 7)}),
    "prelu": Grid({"input": (IMAGE, (2, 4), (5,), ()), "weight": ((1,), (4,), (), (2,))}),
    "nll_loss": Grid(
        {
            "input": ((5, 3),),
            "target": (whole(0, 3, 5), whole(0, 3, 4)),
            "weight": (uniform(0.5, 2, 3), None),
        },
        {"ignore_index": (-100, 1), **REDUCTION},
    ),
    "nll_loss.2d": Grid(
        {
            "input": ((2, 3, 4, 5),),
            "target": (whole(0, 3, 2, 4, 5), whole(0, 3, 2, 4)),
            "weight": (uniform(0.5, 2, 3), None),
        },
        {"ignore_index": (-100, 1), **REDUCTION},
    ),
    "cross_entropy": Grid(
        {
            "input": ((5, 3), (5, 3, 2, 2)),
            "target": (whole(0, 3, 5), whole(0, 3, 5, 2, 2), uniform(0, 1, 5, 3)),
            "weight": (uniform(0.5, 2, 3), None),
        },
        {"ignore_index": (-100, 1), "label_smoothing": (0.0, 0.2), **REDUCTION},
    ),
    **{
        name: Grid(
            {
                "input": (IMAGE, ()),
                "target": (IMAGE, ()),
                "weight": (None, uniform(0.5, 2, *IMAGE)),
            },
            REDUCTION,
            refused=((lambda given: given["input"] != given["target"], "`target`"),),
        )
        for name in ("mse_loss", "l1_loss")
    },
    "smooth_l1_loss": Grid(
        {"input": (IMAGE,), "target": (IMAGE,)}, {"beta": (1.0, 0.0, 0.3, -1), **REDUCTION}
    ),
    "huber_loss": Grid(
        {"input": (IMAGE,), "target": (IMAGE,), "weight": (None, uniform(0.5, 2, *IMAGE))},
        {"delta": (1.0, 0.3, 0.0, -1), **REDUCTION},
    ),
    "kl_div": Grid(
        {"input": (IMAGE,), "target": (uniform(0.1, 1, *IMAGE),)},
        {"log_target": (False, True), "reduction": ("mean", "sum", "none", "batchmean", "median")},
    ),
    "binary_cross_entropy": Grid(
        {
            "input": (uniform(0.1, 0.9, *IMAGE),),
            "target": (uniform(0, 1, *IMAGE),),
            "weight": (None, uniform(0.5, 2, *IMAGE), uniform(0.5, 2, 6)),
        },
        REDUCTION,
    ),
    "binary_cross_entropy_with_logits": Grid(
        {
            "input": (IMAGE,),
            "target": (uniform(0, 1, *IMAGE),),
            "weight": (None, uniform(0.5, 2, *IMAGE), uniform(0.5, 2, 6)),
            "pos_weight": (None, uniform(0.5, 2, 6)),
        },
        REDUCTION,
    ),
    "cosine_embedding_loss": Grid(
        {"input1": ((4, 3), (3,)), "input2": ((4, 3), (3,)), "target": (signs(4), signs())},
        {"margin": (0, 0.3, -0.5), **REDUCTION},
    ),
    "cosine_similarity": Grid(
        {"x1": ((4, 3), (2, 4, 3)), "x2": ((4, 3), (1, 3))},
        {"dim": (1, 0, -1, 5), "eps": (1e-8, 10)},
    ),
    "pad": Grid(
        {"input": (IMAGE, UNBATCHED)},
        {
            "pad": ((1, 2), (1, 0, 2, 3), (-1, 2, 0, -2), (0, 0, 0, 0), (1, 1, 1, 1, 1, 1), (1,)),
            "mode": ("constant", "reflect", "replicate", "circular", "mirror"),
            "value": (None, 0.0, 1.5),
        },
    ),
    "conv1d": Grid(
        {"input": ((2, 4, 9), (4, 9)), "weight": (weight_of(6, 4, 3),), "bias": ((6,), None)},
        {
            "stride": (1, 2, (3,)),
            "padding": (0, 2, (1,), "same", "valid"),
            "dilation": (1, 2),
            "groups": (1, 2),
        },
        more=lambda given: given["padding"] == "same" and given["stride"] != 1,
    ),
    "conv_transpose2d": Grid(
        {
            "input": (IMAGE, UNBATCHED),
            "weight": (transposed_weight_of(4, 6, 3, 2),),
            "bias": ((6,), None),
        },
        {
            "stride": (1, 2, (3, 2)),
            "padding": (0, 1, (1, 0)),
            "output_padding": (0, 1, (1, 0), 2),
            "groups": (1, 2),
            "dilation": (1, 2, (1, 3)),
        },
    ),
    "unfold": Grid(
        {"input": (IMAGE, UNBATCHED)},
        {
            "kernel_size": (2, (3, 1), 9),
            "dilation": (1, (2, 1)),
            "padding": (0, 1, (0, 2)),
            "stride": (1, 2, (1, 3)),
        },
    ),
    "fold": Grid(
        {"input": ((2, 12, 30), (12, 30), (2, 12, 20))},
        {
            "output_size": ((7, 6), (6, 7), (6, 5), 5),
            "kernel_size": (2, (3, 2), (2, 3)),
            "dilation": (1, (2, 1)),
            "padding": (0, (0, 1)),
            "stride": (1, 2),
        },
    ),
    "adaptive_max_pool2d": Grid(
        {"input": (IMAGE, UNBATCHED, (0, 2, 5, 5), (1, 1, 1, 1))},
        {
            "output_size": (1, 3, (2, 9), (None, 2), (5, None), (None, None)),
            "return_indices": (False, True),
        },
    ),
    "lp_pool2d": Grid(
        {"input": (IMAGE, UNBATCHED)},
        {
            "norm_type": (1, 2, 3, 2.5),
            "kernel_size": (1, 2, (3, 2)),
            "stride": (None, 1, (2, 1)),
            "ceil_mode": (False, True),
        },
    ),
    "max_unpool2d": Grid(
        {
            "input": ((2, 3, 3, 3), (3, 3, 3)),
            "indices": (
                lambda rng, given: np.broadcast_to(
                    2 * np.arange(3)[:, None] * 6 + 2 * np.arange(3), given["input"]
                ).copy(),
            ),
        },
        {
            "kernel_size": (2, (2, 2), 3),
            "stride": (None, 2, 1),
            "padding": (0, 1),
            "output_size": (None, (7, 6), (6, 6), (9, 9)),
        },
    ),
    "group_norm": Grid(
        {
            "input": (IMAGE, (3, 4, 5), (0, 4, 2), (1, 4)),
            "weight": ((4,), None),
            "bias": ((4,), None),
        },
        {"num_groups": (1, 2, 4, 3), "eps": (1e-5, 0.1)},
        more=lambda given: given["weight"] is None and given["bias"] is not None,
    ),
    "layer_norm": Grid(
        {"input": (IMAGE, (3, 6), (0, 6)), "weight": ((6,), None), "bias": ((6,), None)},
        {"normalized_shape": ((6,), [6], (7, 6), (5,)), "eps": (1e-5, 0.1)},
    ),
    "rms_norm": Grid(
        {"input": (IMAGE, (3, 6), (0, 6)), "weight": ((6,), None)},
        {"normalized_shape": ((6,), (7, 6), (5,)), "eps": (None, 1e-5, 0.1)},
    ),
    "instance_norm": Grid(
        {
            "input": ((2, 3, 4), (2, 3, 4, 5), (2, 3, 1, 1)),
            "running_mean": ((3,), None),
            "running_var": (uniform(0.5, 2, 3), None),
            "weight": ((3,), None),
            "bias": ((3,), None),
        },
        {"use_input_stats": (True, False), "momentum": (0.1, 0.7), "eps": (1e-5, 0.1)},
        more=one_statistic,
    ),
    "local_response_norm": Grid(
        {"input": (IMAGE, (2, 5, 4))},
        {"size": (1, 2, 3, 5, 9), "alpha": (1e-4, 0.5), "beta": (0.75, 2), "k": (1.0, 2)},
    ),
    "normalize": Grid(
        {"input": (IMAGE, (4, 5))},
        {"p": (2.0, 1, 3, math.inf), "dim": (1, 0, -1, (0, 1)), "eps": (1e-12, 0.5)},
    ),
    "pixel_shuffle": Grid({"input": ((2, 8, 3, 2), (8, 3, 2))}, {"upscale_factor": (1, 2, 3, 0)}),
    "pixel_unshuffle": Grid(
        {"input": ((2, 3, 4, 6), (3, 4, 6))}, {"downscale_factor": (1, 2, 3, 0)}
    ),
    "interpolate": Grid(
        {"input": (IMAGE, (1, 1, 1, 1))},
        {
            "size": (None, 5, (9, 3)),
            "scale_factor": (None, 2, 0.6, (1.7, 0.5)),
            "mode": ("nearest", "nearest-exact", "bilinear", "bicubic", "area"),
            "align_corners": (None, False, True),
            "recompute_scale_factor": (None, False, True),
            "antialias": (False,),
        },
    ),
    "interpolate.antialias": Grid(
        {"input": (IMAGE,)},
        {
            "size": ((3, 3),),
            "mode": ("nearest", "bilinear", "bicubic"),
            "antialias": (True,),
        },
        refused=((lambda given: given["mode"] != "nearest", "antialias"),),
    ),
    "one_hot": Grid(
        {"input": (whole(0, 4, 3, 2), whole(0, 4, 0), whole(-1, 2, 5))},
        {"num_classes": (-1, 4, 6, 1)},
    ),
    "conv_transpose1d": Grid(
        {
            "input": ((2, 4, 9), (4, 9)),
            "weight": (transposed_weight_of(4, 6, 3),),
            "bias": ((6,), None),
        },
        {
            "stride": (1, 2, (3,)),
            "padding": (0, 1, (2,)),
            "output_padding": (0, 1, (1,), 2),
            "groups": (1, 2),
            "dilation": (1, 2),
        },
    ),
    "max_pool1d": Grid(
        {"input": ((2, 3, 9), (3, 9), (2, 3, 1))},
        {
            "kernel_size": (1, 2, (3,)),
            "stride": (None, 1, (2,)),
            "padding": (0, 1),
            "dilation": (1, 2),
            "ceil_mode": (False, True),
            "return_indices": (False, True),
        },
        crashes=lambda given: given["input"] == (2, 3, 1) and steps_over(given),
    ),
    "avg_pool1d": Grid(
        {"input": ((2, 3, 9), (3, 9), (2, 3, 1))},
        {
            "kernel_size": (1, 2, (3,)),
            "stride": (None, 1, (2,)),
            "padding": (0, 1),
            "ceil_mode": (False, True),
            "count_include_pad": (True, False),
        },
    ),
    "lp_pool1d": Grid(
        {"input": ((2, 3, 9), (3, 9), (2, 3, 1))},
        {
            "norm_type": (1, 2, 3, 2.5, math.inf, -math.inf, 0),
            "kernel_size": (1, 2, (3,)),
            "stride": (None, 1, 2),
            "ceil_mode": (False, True),
        },
        more=lambda given: isinstance(given["kernel_size"], tuple),
    ),
    "max_unpool1d": Grid(
        {
            "input": ((2, 3, 3), (3, 3)),
            "indices": (
                lambda rng, given: np.broadcast_to(2 * np.arange(3), given["input"]).copy(),
            ),
        },
        {
            "kernel_size": (2, (2,), 3),
            "stride": (None, 2, (1,)),
            "padding": (0, 1),
            "output_size": (None, (7,), (6,), (2, 3, 6), (9,)),
        },
    ),
    "rrelu": Grid(  # bounds that leave nothing to chance
        {"input": (IMAGE, (0, 3), ())},
        {"lower": (0.25,), "upper": (0.25, 0.125), "training": (False, True), **INPLACE},
        more=lambda given: given["inplace"],
    ),
    "rrelu.evaluation": Grid(
        {"input": (IMAGE, (5,))},
        {"lower": (1 / 8, -2.0, 0), "upper": (1 / 3, 0, 3)},
    ),
    "adaptive_avg_pool1d": Grid({"input": ((2, 3, 9), (3, 9))}, {"output_size": (1, 4, (12,))}),
    "adaptive_max_pool1d": Grid(
        {"input": ((2, 3, 9), (3, 9))},
        {"output_size": (1, 4, (12,)), "return_indices": (False, True)},
    ),
    **{
        name: Grid(
            {"input": (shape,)}, {"p": (0.0, 1.0, 1.5), "training": (True, False), **INPLACE}
        )
        for name, shape in (
            ("alpha_dropout", IMAGE),
            ("feature_alpha_dropout", IMAGE),
            ("dropout1d", (2, 3, 4)),
            ("dropout2d", IMAGE),
            ("dropout3d", (2, 3, 4, 5, 2)),
        )
    },
}

# Arguments of PyTorch's that no function here has, and why.
WITHOUT = {
    "size_average": "deprecated in favour of reduction",
    "reduce": "deprecated in favour of reduction",
    "_stacklevel": "private",
    "out": "results are always new",
}

NOT_DIFFERENTIATED = ("running_mean", "running_var", "target", "pos_weight", "indices")


def arrays_of(grid: Grid, given: dict[str, Any]) -> dict[str, np.ndarray | None]:
    rng = np.random.default_rng(1)
    arrays = dict.fromkeys(grid.tensors)
    for name in grid.tensors:
        if callable(given[name]):
            arrays[name] = given[name](rng, given)
        elif given[name] is not None:
            arrays[name] = rng.standard_normal(given[name], np.float32)
    return arrays


def differentiated(name: str, argument: str, array: np.ndarray | None) -> bool:
    if array is None or array.dtype.kind != "f" or argument in NOT_DIFFERENTIATED:
        return False
    return argument != "weight" or not name.endswith(("_loss", "entropy", "with_logits"))


def outputs(library: Any, name: str, arrays: dict, arguments: dict) -> list[np.ndarray]:
    """[y, more outputs…, gradients…, running statistics afterwards…] of one call by keyword."""
    make, functional = library
    tensors = dict.fromkeys(arrays)
    for argument, array in arrays.items():
        if array is not None:
            tensors[argument] = make(array.copy())
            tensors[argument].requires_grad = differentiated(name, argument, array)
    # A copy, because PyTorch does not compute in place what it shall differentiate by.
    passed = {k: t if t is None or not t.requires_grad else t * 1 for k, t in tensors.items()}
    result = getattr(functional, name)(**passed, **arguments)
    found = list(result) if isinstance(result, tuple) else [result]
    y = found[0]
    results = [t.detach().numpy() for t in found]
    if y.requires_grad:
        dy = np.random.default_rng(2).standard_normal(tuple(y.shape), np.float32)
        y.backward(make(np.asarray(dy)))
        for tensor in tensors.values():
            if tensor is not None and tensor.requires_grad:
                zero = np.zeros(tuple(tensor.shape), np.float32)
                results.append(zero if tensor.grad is None else tensor.grad.numpy())
    results += [tensors[k].numpy() for k in tensors if "running" in k and tensors[k] is not None]
    return results


OURS = (nc.from_numpy, nc.functional)
PYTORCH = (torch.from_numpy, torch.nn.functional)


@pytest.mark.parametrize("row", GRIDS)
def test_every_combination_of_arguments(row: str) -> None:
    name, grid = row.partition(".")[0], GRIDS[row]
    accepted, problems = 0, []
    for given in grid.combinations():
        arrays = arrays_of(grid, given)
        arguments = {k: v for k, v in given.items() if k not in arrays}
        shown = {k: v if v is None else list(v.shape) for k, v in arrays.items()} | arguments
        expected = error = None
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # PyTorch warns of what it will do otherwise one day
            try:
                if grid.crashes(given):
                    raise RuntimeError("PyTorch crashes")
                expected = outputs(PYTORCH, name, arrays, arguments)
            except Exception as refusal:
                error = refusal
        texts = [text for applies, text in grid.refused if error is None and applies(given)]
        text = texts[0] if texts else None
        try:
            got = outputs(OURS, name, arrays, arguments)
        except ERRORS as refusal:
            if name not in str(refusal):
                problems.append(f"{shown}: the error does not name the op: {refusal}")
            elif text is not None and text.strip("`") not in str(refusal):
                problems.append(f"{shown}: expected {text!r} in: {refusal}")
            elif text is None and error is None:
                problems.append(f"{shown}: only PyTorch takes it; {refusal}")
            continue
        if text is not None:
            problems.append(f"{shown}: expected an error with {text!r}")
        elif expected is None:
            if not grid.more(given):
                problems.append(f"{shown}: PyTorch refuses it: {str(error).splitlines()[:1]}")
        else:
            accepted += 1
            problems += [f"{shown}: {text}" for text in differences(got, expected)]
    assert accepted or row == "interpolate.antialias"  # which is not supported at all
    assert not problems, f"{len(problems)} combinations; the first:\n" + "\n".join(problems[:8])


def differences(got: list[np.ndarray], expected: list[np.ndarray]) -> list[str]:
    if len(got) != len(expected):
        return [f"{len(got)} arrays for {len(expected)}"]
    found = []
    for k, (a, b) in enumerate(zip(got, expected, strict=True)):
        if a.shape != b.shape or a.dtype != b.dtype:
            found.append(f"array {k}: {a.dtype} {a.shape} for {b.dtype} {b.shape}")
            continue
        if a.dtype.kind != "f":
            wrong = a != b
        else:  # half of all digits more than rounding takes from sums of so few numbers
            finite = np.abs(b[np.isfinite(b)])
            scale = 1e-5 * (1 + (finite.max() if finite.size else 0))
            with np.errstate(invalid="ignore"):
                wrong = ~((np.abs(a - b) <= scale) | (a == b) | (np.isnan(a) & np.isnan(b)))
        if wrong.any():
            found.append(f"array {k}: {a[wrong][:3]} for {b[wrong][:3]}")
    return found


# --------------------------------------------------------------------------- signatures


def signature_in_pytorch(name: str) -> dict[str, Any] | None:
    """Argument → default; from the documentation where the function is not written in Python."""
    function = getattr(torch.nn.functional, name, None)
    function = getattr(torch.nn.functional, f"{name}_with_indices", function)
    if function is None:
        return None
    try:
        parameters = inspect.signature(function).parameters.values()
        return {p.name: p.default for p in parameters}
    except ValueError:
        lines = (function.__doc__ or "").strip().splitlines()
        text = re.match(rf"{name}\((.*?)\) ->", lines[0]).group(1)  # type: ignore[union-attr]
    empty = inspect.Parameter.empty
    found = {}
    for part in text.split(","):
        argument, equals, default = map(str.strip, part.partition("="))
        found[argument] = eval(default) if equals else empty
    if name == "one_hot":  # the documentation's name is not the function's
        found = {"input" if k == "tensor" else k: v for k, v in found.items()}
    return found


IN_PYTORCH = [n for n in nc.functional.__all__ if signature_in_pytorch(n) is not None]


@pytest.mark.parametrize("name", IN_PYTORCH)
def test_names_order_and_defaults_are_pytorchs(name: str) -> None:
    theirs = {k: v for k, v in signature_in_pytorch(name).items() if k not in WITHOUT}
    parameters = inspect.signature(getattr(nc.functional, name)).parameters.values()
    ours = {p.name: p.default for p in parameters}
    assert list(ours)[: len(theirs)] == list(theirs)
    for argument, default in theirs.items():
        same = ours[argument] is default or ours[argument] == default
        assert same, f"{argument}={ours[argument]!r}, PyTorch has {default!r}"
    more = list(parameters)[len(theirs) :]
    assert all(p.kind is p.KEYWORD_ONLY for p in more), f"PyTorch does not have {more}"


def test_every_function_that_pytorch_has_is_in_the_grid() -> None:
    assert {row.partition(".")[0] for row in GRIDS} == set(IN_PYTORCH)


def test_every_refusal_is_documented() -> None:
    page = (Path(__file__).parents[1] / "docs" / "ops.md").read_text(encoding="utf-8")
    for row, grid in GRIDS.items():
        for _, text in grid.refused:
            name = row.partition(".")[0]
            lines = [line for line in page.splitlines() if line.startswith(f"| `{name}`")]
            assert any(text in line for line in lines), f"{name}: {text}"
