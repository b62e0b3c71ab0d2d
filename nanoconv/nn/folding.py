"""Weights whose batch norms were folded into the convolutions before them, unfolded again.

In evaluation a batch norm multiplies and shifts each channel by constants, so that a convolution w
and the norm after it are together one convolution with a bias, and checkpoints made for inference
often hold only that one:

    γ·(w ⋆ x − μ)/√(σ² + ε) + β  =  (a·w) ⋆ x + b        a = γ/√(σ² + ε),  b = β − a·μ

A network that has its batch norms takes a·w for the convolution's weight, and for the norm the one
that does nothing but add b:

    μ = 0    σ² = 1    γ = √(1 + ε)    β = b

Evaluation is the same again; what the statistics were, nobody can tell any more. Jacob et al.,
arXiv 1712.05877, section 3.2, fold for inference.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from .layers import Convolution, Linear
from .module import Module
from .normalisation import BatchNorm1d, BatchNorm2d

KEYS = ("weight", "bias", "running_mean", "running_var")  # γ, β, μ, σ²


def unfolded(model: Module, state_dict: Mapping[str, Any]) -> dict[str, Any]:
    """The state dict with the batch norms that were folded; the same where none was.

    A layer that has a bias in the network too, as VGG's have, keeps it, and its norm adds 0.
    """
    state = dict(state_dict)
    for layer, norm in folded(model, state):
        b = np.asarray(state[f"{layer}.bias"])
        ones, zeros = np.ones_like(b), np.zeros_like(b)
        scale = ones * b.dtype.type(math.sqrt(1 + model.get_submodule(norm).eps))
        if model.get_submodule(layer).bias is None:
            del state[f"{layer}.bias"]
        else:
            b = zeros
        values = zip(KEYS, (scale, b, zeros, ones), strict=True)
        state |= {f"{norm}.{key}": value for key, value in values}
    return state


def folded(model: Module, state: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The names of layers, and of the norms that were folded into them.

    A norm was folded if nothing of it is left, but a bias where the network has none; or if no norm
    is left in the whole network, and the layer has a bias. Among the children of one module, the
    first norm belongs to the first layer, the second to the second, …: which of the two is defined
    before the other differs from net to net.
    """
    norms = [
        name
        for name, module in model.named_modules()
        if isinstance(module, (BatchNorm1d, BatchNorm2d))
        and all(getattr(module, key) is not None for key in KEYS)
    ]
    lost = [name for name in norms if all(f"{name}.{key}" not in state for key in KEYS)]
    found: list[tuple[str, str]] = []
    for path, parent in model.named_modules() if lost else ():
        children = {f"{path}.{key}".lstrip("."): child for key, child in parent.named_children()}
        biased = [
            name
            for name, child in children.items()
            if isinstance(child, (Convolution, Linear)) and f"{name}.bias" in state
        ]
        layers = [name for name in biased if children[name].bias is None]
        if not layers and len(lost) == len(norms):
            layers = biased
        here = [name for name in children if name in lost]
        if [np.size(state[f"{name}.bias"]) for name in layers] == [
            children[name].num_features for name in here
        ]:
            found += zip(layers, here, strict=True)
    return found
