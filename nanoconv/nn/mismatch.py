"""Why a state dict does not fit a network, in a sentence."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np


def explain(own: Mapping[str, Any], given: Mapping[str, Any]) -> str:
    """What has probably happened, told from the arrays of the network and those given to it.

    Where nothing is known that looks like this, how many names are missing, unexpected or wrong.
    """
    if not given:
        return "it is empty"
    for name, value in given.items():
        if isinstance(value, Mapping):
            return f"what it calls {name!r} is a dict; the state dict may be that one"
    wrong = {
        name: (own[name].shape, np.shape(given[name]))
        for name in own
        if name in given and own[name].shape != np.shape(given[name])
    }
    missing = [name for name in own.keys() - given.keys() if "num_batches" not in name]
    unexpected = given.keys() - own.keys()
    if own.keys().isdisjoint(given):
        stranger = "none of its names is one of the network's"
        return prefix_too_many(own, given) or prefix_too_few(own, given) or stranger
    counts = (
        f"{len(missing)} names are missing, {len(unexpected)} are unexpected, {len(wrong)} arrays "
        "have another shape"
    )
    if missing or unexpected:
        return other_width(own, wrong) or counts
    if not wrong:
        return "its names and shapes do, but not the types of its numbers"
    return other_classes(own, wrong) or other_width(own, wrong) or counts


def prefix_too_many(own: Mapping[str, Any], given: Mapping[str, Any]) -> str:
    """The file was saved from a module that held the network."""
    if prefix := common_prefix(given, own):
        return f"all its names begin with {prefix!r}, the network's do not; take that off"
    return ""


def prefix_too_few(own: Mapping[str, Any], given: Mapping[str, Any]) -> str:
    """The network is held by another module."""
    if prefix := common_prefix(own, given):
        return (
            f"the network's names begin with {prefix!r}, its names do not; load it into "
            f"get_submodule({prefix[:-1]!r})"
        )
    return ""


def common_prefix(longer: Iterable[str], shorter: Mapping[str, Any]) -> str:
    """What most of the longer names must lose to be one of the shorter; "" if nothing helps."""
    longer, first = [str(name) for name in longer], str(next(iter(longer), ""))
    for prefix in (first[:k] for k, letter in enumerate(first, 1) if letter == "."):
        if 2 * sum(name.removeprefix(prefix) in shorter for name in longer) > len(longer):
            return prefix
    return ""


def other_classes(own: Mapping[str, Any], wrong: Mapping[str, Any]) -> str:
    """Only the last matrix and its bias differ, and only in how many outputs they have."""
    last = next((name for name in reversed(list(own)) if own[name].ndim > 1), "")
    layer = last.rpartition(".")[0]
    if last in wrong and wrong.keys() <= {f"{layer}.weight", f"{layer}.bias"}:
        expected, got = wrong[last]
        if expected[1:] == got[1:]:
            return f"it is for {got[0]} classes, the network for {expected[0]} (see {layer})"
    return ""


def other_width(own: Mapping[str, Any], wrong: Mapping[str, Any]) -> str:
    """Most arrays differ, in the number of channels but not in the size of the kernels."""
    alike = all(len(a) == len(b) > 0 and a[2:] == b[2:] for a, b in wrong.values())
    ratios = [b[0] / a[0] for a, b in wrong.values() if a[0] != b[0]] if alike else []
    if not ratios or 2 * len(ratios) < sum(array.ndim > 0 for array in own.values()):
        return ""
    ratio = statistics.median(ratios)
    return (
        f"its layers have about {ratio:.3g} times as many channels as the network's: they are of "
        "another width (often called width_mult)"
    )
