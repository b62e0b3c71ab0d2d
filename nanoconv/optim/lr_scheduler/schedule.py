"""What all schedules share: the epoch they are in, and how it comes to the groups.

>>> import nanoconv as nc
>>> class Halving(LRScheduler):
...     def lr_at(self, t, k):
...         return self.base_lrs[k] / 2**t
>>> optimizer = nc.optim.SGD([nc.nn.Parameter([0.0])], lr=1.0)
>>> schedule = Halving(optimizer)
>>> schedule.step()
>>> optimizer.param_groups[0]["lr"]
0.5
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ..optimizer import Optimizer


class LRScheduler:
    """Base of all schedules: `step()` begins epoch t = last_epoch + 1 and sets every group's lr.

    A schedule is one or both of two functions of the epoch t and the group's number k:

        lr_at(t, k)          the rate by a formula, from base_lrs[k]
        next_lr(lr, t, k)    the rate from `lr`, which the group has until now

    `step()` goes by the second, so that a change of a rate by hand lasts, and schedules can be
    chained: several of one optimiser, all stepped after each epoch. `step(epoch)` jumps, by the
    first. A schedule that has no second function computes all rates by the first.

    The lr at the start is kept in the group as "initial_lr". To resume, make the schedule as
    before and load its state dict and the optimiser's. Or give `last_epoch`, the number of the last
    epoch done, with the optimiser's state dict loaded: as in PyTorch, the schedule then goes on in
    epoch last_epoch + 1; what it does to the rates at this first step, `first_lr` says.
    Groups that the optimiser gets later are scheduled from then on.

    Unlike PyTorch: no factor is NaN.
    """

    one_setting_per_group = False  # then there is none for a group that comes later

    def __init__(self, optimizer: Optimizer, last_epoch: int = -1) -> None:
        name = type(self).__name__
        check_optimizer(name, optimizer)
        for k, group in enumerate(optimizer.param_groups):
            if last_epoch == -1:
                group.setdefault("initial_lr", group["lr"])
            elif "initial_lr" not in group:
                raise ValueError(
                    f"{name}: last_epoch={last_epoch} resumes a run, but parameter "
                    f"group {k} has no 'initial_lr'; load the optimiser's state dict first"
                )
        self.optimizer, self.last_epoch = optimizer, last_epoch
        self.base_lrs = [group["initial_lr"] for group in optimizer.param_groups]
        self.begin()

    def lr_at(self, t: int, k: int) -> float:
        """The learning rate of group k in epoch t, by a formula."""
        raise NotImplementedError(f"{type(self).__name__} has no lr_at()")

    def next_lr(self, lr: float, t: int, k: int) -> float:
        """The learning rate of group k in epoch t, if it was `lr` until now."""
        return self.lr_at(t, k)

    def first_lr(self, lr: float, t: int, k: int) -> float:
        """As `next_lr`, when the schedule is made: the same, unless a class says otherwise."""
        return self.next_lr(lr, t, k)

    def begin(self) -> None:
        """Begin the first epoch."""
        self.last_epoch += 1
        self._set(self.first_lr)

    def step(self, epoch: int | None = None) -> None:
        """Begin the next epoch, or jump to `epoch`: set every group's learning rate."""
        if epoch is None:
            self.last_epoch += 1
            self._set(self.next_lr)
        else:
            self.last_epoch = epoch
            self._set(lambda lr, t, k: self.lr_at(t, k))

    def _set(self, rate: Callable[[float, int, int], float]) -> None:
        groups = self.optimizer.param_groups
        new = groups[len(self.base_lrs) :]
        if new and self.one_setting_per_group:
            raise ValueError(
                f"{type(self).__name__}: the optimiser has {len(groups)} parameter groups, it had "
                f"{len(self.base_lrs)} when the schedule was made; make a new one"
            )
        starts = [group.setdefault("initial_lr", group["lr"]) for group in new]
        self.base_lrs = self.base_lrs + starts  # a new list: state dicts may hold the old one
        rates = [rate(group["lr"], self.last_epoch, k) for k, group in enumerate(groups)]
        for group, lr in zip(groups, rates, strict=True):
            group["lr"] = lr
        self._last_lr = rates

    def get_last_lr(self) -> list[float]:
        """The learning rates that the last step set, one for each group."""
        return self._last_lr

    def state_dict(self) -> dict[str, Any]:
        """Everything but the optimiser."""
        return {name: value for name, value in vars(self).items() if name != "optimizer"}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Continue from a state dict of the same kind of schedule."""
        self._check_keys(state_dict)
        vars(self).update(state_dict)

    def _check_keys(self, state_dict: Mapping[str, Any]) -> None:
        expected = self.state_dict().keys()
        if state_dict.keys() != expected:
            raise ValueError(
                f"load_state_dict: {type(self).__name__} expected the keys {sorted(expected)}, "
                f"got {sorted(state_dict)}"
            )


def check_optimizer(name: str, optimizer: Any) -> None:
    """TypeError unless it is an Optimizer."""
    if not isinstance(optimizer, Optimizer):
        raise TypeError(f"{name}: optimizer must be an Optimizer, got {type(optimizer).__name__}")


def check_count(name: str, argument: str, value: Any, least: int = 1) -> None:
    """TypeError unless it is an integer, ValueError if it is below `least`."""
    try:
        operator.index(value)
    except TypeError:
        raise TypeError(f"{name}: {argument}={value!r} must be an integer") from None
    if value < least:
        raise ValueError(f"{name}: {argument}={value} must be at least {least}")


def check_positive(name: str, argument: str, value: Any) -> None:
    """TypeError unless it is a number, ValueError unless it is above 0."""
    if not isinstance(value, (int, float, np.number)):
        raise TypeError(f"{name}: {argument}={value!r} must be a number")
    if not value > 0:
        raise ValueError(f"{name}: {argument}={value} must be above 0")


def check_factor(name: str, argument: str, value: float, zero: bool = True) -> None:
    """ValueError unless it is from 0 (or above 0) to 1."""
    if not (0 <= value <= 1 and (zero or value > 0)):
        raise ValueError(
            f"{name}: {argument}={value} must be {'from 0' if zero else 'above 0, up'} to 1"
        )


def per_group(name: str, argument: str, value: Any, optimizer: Optimizer) -> list[Any]:
    """One value for each group of the optimiser: `value` for all of them, or a list of theirs."""
    count = len(optimizer.param_groups)
    if not isinstance(value, Sequence):
        return [value] * count
    if len(value) != count:
        raise ValueError(
            f"{name}: {argument} has {len(value)} values, the optimiser {count} parameter groups"
        )
    return list(value)
