"""Schedules that follow other things than a formula: each other, or the success of training.

>>> import nanoconv as nc
>>> optimizer = nc.optim.SGD([nc.nn.Parameter([0.0])], lr=1.0)
>>> schedule = ReduceLROnPlateau(optimizer, factor=0.5, patience=1)
>>> rates = []
>>> for loss in (0.9, 0.5, 0.6, 0.5, 0.4):
...     schedule.step(loss)
...     rates += schedule.get_last_lr()
>>> rates
[1.0, 1.0, 1.0, 0.5, 0.5]
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Mapping, Sequence
from typing import Any, SupportsFloat

from ..optimizer import Optimizer
from .schedule import LRScheduler, check_optimizer, per_group


class SequentialLR(LRScheduler):
    """One schedule after another: schedulers[k] from epoch milestones[k − 1] to milestones[k].

    Each begins anew, by its formula, in the epoch of its milestone.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        schedulers: Sequence[LRScheduler],
        milestones: Sequence[int],
        last_epoch: int = -1,
    ) -> None:
        check_optimizer("SequentialLR", optimizer)
        for k, schedule in enumerate(schedulers):
            if not isinstance(schedule, LRScheduler):
                raise TypeError(
                    f"SequentialLR: schedulers[{k}] must be a schedule, "
                    f"got {type(schedule).__name__}"
                )
            if isinstance(schedule, (ReduceLROnPlateau, SequentialLR)):
                raise ValueError(
                    f"SequentialLR: schedulers[{k}] is a {type(schedule).__name__}, expected a "
                    "schedule that is a function of the epoch"
                )
            if schedule.optimizer is not optimizer:
                raise ValueError(f"SequentialLR: schedulers[{k}] belongs to another optimizer")
        if len(schedulers) != len(milestones) + 1:
            raise ValueError(
                f"SequentialLR: {len(schedulers)} schedulers and {len(milestones)} milestones, "
                "expected one milestone between every two schedulers"
            )
        if list(milestones) != sorted(milestones):
            raise ValueError(f"SequentialLR: milestones={list(milestones)} must increase")
        self.schedulers, self.milestones = list(schedulers), list(milestones)
        self.optimizer, self.last_epoch = optimizer, last_epoch + 1
        # All of them have begun their first epoch; now only the first one is to have.
        for group in optimizer.param_groups:
            group["lr"] = group["initial_lr"]
        for schedule in self.schedulers:
            schedule.last_epoch -= 1
        first = self._current()
        first.begin()
        self._last_lr = first.get_last_lr()

    def _current(self) -> LRScheduler:
        return self.schedulers[bisect.bisect_right(self.milestones, self.last_epoch)]

    def step(self, epoch: int | None = None) -> None:
        """Begin the next epoch."""
        if epoch is not None:
            raise ValueError(f"SequentialLR: epoch={epoch} is not supported; steps go one by one")
        self.last_epoch += 1
        current = self._current()
        current.step(0 if self.last_epoch in self.milestones else None)
        self._last_lr = current.get_last_lr()

    def state_dict(self) -> dict[str, Any]:
        """The epoch, the milestones, and the state dicts of all schedules."""
        inner = [schedule.state_dict() for schedule in self.schedulers]
        return {**super().state_dict(), "schedulers": inner}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Continue from a state dict of the same schedules."""
        self._check_keys(state_dict)
        inner = state_dict["schedulers"]
        if len(inner) != len(self.schedulers):
            raise ValueError(
                f"load_state_dict: SequentialLR expected {len(self.schedulers)} schedulers, "
                f"got {len(inner)}"
            )
        for schedule, state in zip(self.schedulers, inner, strict=True):
            schedule.load_state_dict(state)
        vars(self).update({**state_dict, "schedulers": self.schedulers})


class ReduceLROnPlateau(LRScheduler):
    """lr ← max(factor · lr, min_lr) when a metric has not improved for `patience` epochs.

    `step(metrics)` is called after each epoch with the loss (mode "min") or the accuracy ("max").
    An epoch is better than the best so far, b, if its metric is

        below b · (1 − threshold) or b − threshold    mode "min", threshold_mode "rel" or "abs"
        above b · (1 + threshold) or b + threshold    mode "max"

    After more than `patience` epochs in a row that are not better the rate is reduced; then
    `cooldown` epochs do not count. A change of the rate by no more than `eps` is left out. `min_lr`
    is one number, or a list with one for each group.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        mode: str = "min",
        factor: float = 0.1,
        patience: int = 10,
        threshold: float = 1e-4,
        threshold_mode: str = "rel",
        cooldown: int = 0,
        min_lr: float | Sequence[float] = 0,
        eps: float = 1e-8,
    ) -> None:
        check_optimizer("ReduceLROnPlateau", optimizer)
        if not factor < 1:
            raise ValueError(f"ReduceLROnPlateau: factor={factor} must be less than 1")
        for name, value, known in (
            ("mode", mode, ("min", "max")),
            ("threshold_mode", threshold_mode, ("rel", "abs")),
        ):
            if value not in known:
                raise ValueError(
                    f"ReduceLROnPlateau: {name}={value!r} must be {known[0]!r} or {known[1]!r}"
                )
        self.optimizer, self.last_epoch = optimizer, 0
        self.mode, self.factor, self.patience = mode, factor, patience
        self.threshold, self.threshold_mode = threshold, threshold_mode
        self.cooldown, self.eps = cooldown, eps
        self.min_lr = min_lr
        per_group("ReduceLROnPlateau", "min_lr", min_lr, optimizer)
        self.base_lrs = [group["lr"] for group in optimizer.param_groups]
        self.best = math.inf if mode == "min" else -math.inf
        self.num_bad_epochs = self.cooldown_counter = 0
        self._last_lr = list(self.base_lrs)

    def step(self, metrics: SupportsFloat, epoch: int | None = None) -> None:  # type: ignore[override]
        """End an epoch that had this metric: reduce the rates if that is due."""
        self.last_epoch = self.last_epoch + 1 if epoch is None else epoch
        if self.is_better(float(metrics)):
            self.best, self.num_bad_epochs = float(metrics), 0
        else:
            self.num_bad_epochs += 1
        if self.cooldown_counter > 0:
            self.cooldown_counter -= 1
            self.num_bad_epochs = 0
        reduce = self.num_bad_epochs > self.patience
        if reduce:
            self.cooldown_counter, self.num_bad_epochs = self.cooldown, 0
        self._set(self.next_lr if reduce else lambda lr, t, k: lr)

    def next_lr(self, lr: float, t: int, k: int) -> float:
        floor = per_group("ReduceLROnPlateau", "min_lr", self.min_lr, self.optimizer)[k]
        reduced = max(lr * self.factor, floor)
        return reduced if lr - reduced > self.eps else lr

    def is_better(self, metric: float) -> bool:
        """Whether this is an improvement of the best metric so far."""
        sign = -1 if self.mode == "min" else 1
        scale, shift = 1.0, 0.0
        if self.threshold_mode == "rel":
            scale = 1 + sign * self.threshold
        else:
            shift = sign * self.threshold
        return sign * metric > sign * (self.best * scale + shift)
