"""Which of the tensors in a PyTorch file are the weights, and what they are called.

torch.save writes any objects. A state dict may be alone, {"conv.weight": tensor, …}, or stand in
the checkpoint of a training beside the optimizer, whose state is as large: {"state_dict": {…},
"optimizer": {…}, "epoch": 90}. The rule:

1. With `key`, the state dict under this key.
2. Otherwise, under the first of `WRAPPERS` that holds one; a wrapper may lie in a wrapper. Averaged
   weights (EMA) come after the plain ones: who wants them asks for them by `key`.
3. Otherwise the tensors of the dict itself, if it holds any.
4. Otherwise the only state dict under any key; several, or none, is an error that lists the keys.

A state dict is a dict that holds tensors directly. That of an optimizer is not: its tensors lie two
dicts deeper, by number. So they are left out, and with them everything else that is no tensor.

Wrappers of modules leave their name in front of every key: `module.` of DataParallel and of
averaged models, `model.` of Lightning's, `_orig_mod.` of torch.compile. It is taken off if all
names have it (MobileNetV1's keys begin with `model.`, but for `fc.weight`), as often as they do.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from itertools import islice

from .pickled_values import Pairs, RefusedError, Value, described
from .safely import shown
from .torch_values import is_tensor, pairs_of

WRAPPERS = (
    "state_dict", "model_state_dict", "model", "net", "network", "module", "weights", "params",
    "ema_state_dict", "state_dict_ema", "model_ema", "ema", "params_ema",
)  # fmt: skip
PREFIXES = ("module.", "model.", "_orig_mod.")
AVERAGES = "n_averaged"  # beside the names of torch.optim.swa_utils.AveragedModel
DEEPEST = 4

Weights = dict[str, Value]


def state_dict(objects: Value, key: str | None) -> tuple[Weights, list[str]]:
    """Names and tensors of the state dict, and notes on where it was and what stands beside it."""
    pairs = named(objects)
    if pairs is None:
        raise RefusedError("it holds no dict of tensors; save model.state_dict()")
    notes = []
    for _ in range(DEEPEST):
        inner = chosen(pairs, key)
        if inner is None:
            break
        beside = (told(name, value) for name, value in pairs.items() if name != inner)
        notes.append(f"the state dict is under {shown(inner)}, beside {listed(beside)}")
        pairs, key = named(pairs[inner]) or {}, None
    weights = {name: value for name, value in pairs.items() if is_tensor(value)}
    if not weights:
        raise RefusedError("its state dict lies too deep, or is empty")
    others = [name for name in pairs if name not in weights]
    if others:
        notes.append(f"left out, as no tensor: {listed(map(shown, others))}")
    return weights, notes


def named(value: Value) -> dict[str, Value] | None:
    """A dict by its names, without keys that are no names; None for what is no dict."""
    pairs = pairs_of(value)
    if pairs is None:
        return None
    found: dict[str, Value] = {}
    for name, item in pairs:
        if not isinstance(name, str):
            continue
        if name in found:
            raise ValueError(f"{shown(name)} stands in a dict twice")
        found[name] = item
    return found


def chosen(pairs: dict[str, Value], key: str | None) -> str | None:
    """The name under which the state dict is; None if `pairs` itself is one."""
    known: dict[int, bool] = {}
    inside = [name for name, value in pairs.items() if holds_tensors(value, DEEPEST, known)]
    if key is not None:
        if key not in inside:
            raise RefusedError(
                f"nothing under key={shown(key)}, but under {listed(map(shown, inside))}"
            )
        return key
    for name in WRAPPERS:
        if name in inside:
            return name
    if any(is_tensor(value) for value in pairs.values()):
        return None
    if len(inside) > 1:
        raise RefusedError(
            f"it holds several state dicts; choose by key= from {listed(map(shown, inside))}"
        )
    if not inside:
        raise RefusedError(f"it holds no dict of tensors, but {listed(map(shown, pairs))}")
    return inside[0]


def holds_tensors(value: Value, depth: int, known: dict[int, bool]) -> bool:
    """Whether this is a state dict, or a wrapper of one.

    known   the answers by id: one dict can stand in a pickle at a million places, even in itself
    """
    if id(value) not in known:
        known[id(value)] = False
        pairs = pairs_of(value) or Pairs()
        known[id(value)] = any(is_tensor(item) for _, item in pairs) or (
            depth > 0
            and any(
                isinstance(name, str) and name in WRAPPERS and holds_tensors(item, depth - 1, known)
                for name, item in pairs
            )
        )
    return known[id(value)]


def short_names(weights: Weights) -> tuple[Weights, list[str]]:
    """The weights without what wrappers of modules put in front of all names; and notes on that."""
    notes = []
    if all(name.startswith("module.") or name == AVERAGES for name in weights):
        if AVERAGES in weights:
            notes.append(f"left out, as no weight: {AVERAGES!r}")
        weights = {name: value for name, value in weights.items() if name != AVERAGES}
    while prefix := shared_prefix(weights):
        weights = {name.removeprefix(prefix): value for name, value in weights.items()}
        notes.append(f"taken off all names: {prefix!r}")
    return weights, notes


def shared_prefix(names: Collection[str]) -> str:
    """The prefix that all names have; empty if none is, or if nothing would be left of a name."""
    for prefix in PREFIXES:
        if names and all(name.startswith(prefix) and name != prefix for name in names):
            return prefix
    return ""


def told(name: str, value: Value) -> str:
    """A name, and its value where that is a number or a short text."""
    simple = value is None or isinstance(value, (bool, int, float, str))
    return f"{shown(name)} = {described(value)}" if simple else shown(name)


def listed(texts: Iterable[str]) -> str:
    """The first eight."""
    first = list(islice(texts, 9))
    return ", ".join(first[:8] + ["…"] * (len(first) > 8)) or "nothing"
