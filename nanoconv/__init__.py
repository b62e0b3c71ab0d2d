"""nanoconv: a CNN engine from scratch, readable from the equation to the machine code."""

# ruff: noqa: A004 (PyTorch's names, also where they are Python's)

import importlib
from typing import TYPE_CHECKING, Any

from numpy import float32, float64, int64

from .config import (
    get_backend,
    get_num_threads,
    isa,
    manual_seed,
    set_num_threads,
    show_config,
    use,
)
from .gradcheck import gradcheck
from .ops.arithmetic import (
    abs,
    add,
    clamp,
    div,
    eq,
    exp,
    ge,
    gt,
    le,
    log,
    logical_and,
    logical_not,
    logical_or,
    logical_xor,
    lt,
    matmul,
    maximum,
    minimum,
    mul,
    ne,
    neg,
    pow,
    sqrt,
    sub,
    where,
)
from .ops.creation import arange, eye, full, ones, ones_like, rand, randn, zeros, zeros_like
from .ops.cumulative import cumprod, cumsum, prod
from .ops.einsum import einsum
from .ops.indexing import gather, index_select, repeat_interleave, take_along_dim
from .ops.rearranging import (
    flip,
    moveaxis,
    movedim,
    narrow,
    roll,
    swapaxes,
    swapdims,
    tile,
    tril,
    triu,
    unbind,
)
from .ops.reductions import amax, amin, argmax, argmin, logsumexp, max, mean, min, sum, var
from .ops.shaping import (
    cat,
    channels_last,
    chunk,
    clone,
    contiguous_format,
    flatten,
    permute,
    reshape,
    split,
    squeeze,
    stack,
    t,
    transpose,
    unsqueeze,
)
from .ops.sorting import argsort, sort, topk
from .tape import enable_grad, is_grad_enabled, no_grad
from .tensor import Tensor, from_numpy, tensor

__version__ = "0.1.0"

for name in ("prelu", "smooth_activations", "softmax"):  # they attach methods to Tensor
    importlib.import_module(f"nanoconv.ops.{name}")
del name

# Imported when first asked for, so that `import nanoconv` stays quick.
_MODULES = ("data", "functional", "models", "nn", "optim")
_LATER = {
    "Session": "infer.session",
    "compile": "infer.session",
    "load": "io.checkpoints",
    "save": "io.checkpoints",
    "summary": "graph",
}


if TYPE_CHECKING:
    from . import functional


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f"nanoconv.{name}")
    if name in _LATER:
        return getattr(importlib.import_module(f"nanoconv.{_LATER[name]}"), name)
    raise AttributeError(f"module 'nanoconv' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_MODULES, *_LATER])


__all__ = [
    "Session",
    "Tensor",
    "abs",
    "add",
    "amax",
    "amin",
    "arange",
    "argmax",
    "argmin",
    "argsort",
    "cat",
    "channels_last",
    "chunk",
    "clamp",
    "clone",
    "compile",
    "contiguous_format",
    "cumprod",
    "cumsum",
    "div",
    "einsum",
    "enable_grad",
    "eq",
    "exp",
    "eye",
    "flatten",
    "flip",
    "float32",
    "float64",
    "from_numpy",
    "full",
    "functional",
    "gather",
    "ge",
    "get_backend",
    "get_num_threads",
    "gradcheck",
    "gt",
    "index_select",
    "int64",
    "is_grad_enabled",
    "isa",
    "le",
    "log",
    "logical_and",
    "logical_not",
    "logical_or",
    "logical_xor",
    "logsumexp",
    "lt",
    "manual_seed",
    "matmul",
    "max",
    "maximum",
    "mean",
    "min",
    "minimum",
    "moveaxis",
    "movedim",
    "mul",
    "narrow",
    "ne",
    "neg",
    "no_grad",
    "ones",
    "ones_like",
    "permute",
    "pow",
    "prod",
    "rand",
    "randn",
    "repeat_interleave",
    "reshape",
    "roll",
    "set_num_threads",
    "show_config",
    "sort",
    "split",
    "sqrt",
    "squeeze",
    "stack",
    "sub",
    "sum",
    "swapaxes",
    "swapdims",
    "t",
    "take_along_dim",
    "tensor",
    "tile",
    "topk",
    "transpose",
    "tril",
    "triu",
    "unbind",
    "unsqueeze",
    "use",
    "var",
    "where",
    "zeros",
    "zeros_like",
]
