"""Schedules of one line: rates that drop in steps, or follow a ramp or a function.

t is the epoch, lr(t) the rate in it, base the rate that the optimiser was made with.

>>> import nanoconv as nc
>>> optimizer = nc.optim.SGD([nc.nn.Parameter([0.0])], lr=1.0)
>>> schedule = MultiStepLR(optimizer, milestones=[2, 3], gamma=0.5)
>>> rates = []
>>> for epoch in range(5):
...     rates += schedule.get_last_lr()
...     schedule.step()
>>> rates
[1.0, 1.0, 0.5, 0.25, 0.25]
"""

from __future__ import annotations

import bisect
import types
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from ..optimizer import Optimizer
from .schedule import LRScheduler, check_count, check_factor, per_group


class StepLR(LRScheduler):
    """lr ← gamma · lr in each epoch t that is a multiple of step_size.

    lr(t) = base · gamma^⌊t / step_size⌋.

    Unlike PyTorch: a step_size that is not an integer from 1 up is refused.
    """

    def __init__(
        self, optimizer: Optimizer, step_size: int, gamma: float = 0.1, last_epoch: int = -1
    ) -> None:
        check_count("StepLR", "step_size", step_size)
        self.step_size, self.gamma = step_size, gamma
        super().__init__(optimizer, last_epoch)

    def next_lr(self, lr: float, t: int, k: int) -> float:
        return lr if t == 0 or t % self.step_size else lr * self.gamma

    def lr_at(self, t: int, k: int) -> float:
        return self.base_lrs[k] * self.gamma ** (t // self.step_size)


class MultiStepLR(LRScheduler):
    """lr ← gamma · lr in each epoch that is a milestone, twice in one that is named twice.

    lr(t) = base · gamma^(number of milestones ≤ t).
    """

    def __init__(
        self,
        optimizer: Optimizer,
        milestones: Iterable[int],
        gamma: float = 0.1,
        last_epoch: int = -1,
    ) -> None:
        self.milestones, self.gamma = sorted(milestones), gamma
        super().__init__(optimizer, last_epoch)

    def next_lr(self, lr: float, t: int, k: int) -> float:
        return lr * self.gamma ** self.milestones.count(t)

    def lr_at(self, t: int, k: int) -> float:
        return self.base_lrs[k] * self.gamma ** bisect.bisect_right(self.milestones, t)


class ExponentialLR(LRScheduler):
    """lr ← gamma · lr in each epoch.

    lr(t) = base · gammaᵗ.
    """

    def __init__(self, optimizer: Optimizer, gamma: float, last_epoch: int = -1) -> None:
        self.gamma = gamma
        super().__init__(optimizer, last_epoch)

    def first_lr(self, lr: float, t: int, k: int) -> float:
        return lr

    def next_lr(self, lr: float, t: int, k: int) -> float:
        return lr * self.gamma

    def lr_at(self, t: int, k: int) -> float:
        return self.base_lrs[k] * self.gamma**t


class ConstantLR(LRScheduler):
    """A factor on the rate until epoch total_iters.

    lr(t) = base · factor for t < total_iters, else base. PyTorch divides by the factor in the end,
    so that there is none of 0 here.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        factor: float = 1 / 3,
        total_iters: int = 5,
        last_epoch: int = -1,
    ) -> None:
        check_factor("ConstantLR", "factor", factor, zero=False)
        self.factor, self.total_iters = factor, total_iters
        super().__init__(optimizer, last_epoch)

    def next_lr(self, lr: float, t: int, k: int) -> float:
        if t == 0:
            return lr * self.factor
        return lr / self.factor if t == self.total_iters else lr

    def lr_at(self, t: int, k: int) -> float:
        return self.base_lrs[k] * (self.factor if t < self.total_iters else 1)


class LinearLR(LRScheduler):
    """A factor on the rate that goes in a line from start_factor to end_factor: a warm-up.

        f(t) = start_factor + (end_factor − start_factor) · min(t / total_iters, 1)

    lr(t) = base · f(t). Goyal et al., Accurate, Large Minibatch SGD, arXiv 1706.02677, section 2.2.

    Unlike PyTorch: a total_iters that is not an integer from 1 up is refused; there the rate would
    not come to end_factor.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        start_factor: float = 1 / 3,
        end_factor: float = 1.0,
        total_iters: int = 5,
        last_epoch: int = -1,
    ) -> None:
        check_factor("LinearLR", "start_factor", start_factor, zero=False)
        check_factor("LinearLR", "end_factor", end_factor)
        check_count("LinearLR", "total_iters", total_iters)
        self.start_factor, self.end_factor = start_factor, end_factor
        self.total_iters = total_iters
        super().__init__(optimizer, last_epoch)

    def factor(self, t: int) -> float:
        part = min(self.total_iters, t) / self.total_iters
        return self.start_factor + (self.end_factor - self.start_factor) * part

    def first_lr(self, lr: float, t: int, k: int) -> float:
        return lr * self.start_factor if t == 0 else lr

    def next_lr(self, lr: float, t: int, k: int) -> float:
        if t == 0 or t > self.total_iters:
            return self.first_lr(lr, t, k)
        return lr * (self.factor(t) / self.factor(t - 1))

    def lr_at(self, t: int, k: int) -> float:
        return self.base_lrs[k] * self.factor(t)


class PolynomialLR(LRScheduler):
    """The rate falls to 0 in epoch total_iters, like a power of the epochs that are left.

    lr(t) = base · (1 − min(t / total_iters, 1))^power.

    Unlike PyTorch: a total_iters that is not an integer from 1 up is refused; there the rate would
    not come to 0.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        total_iters: int = 5,
        power: float = 1.0,
        last_epoch: int = -1,
    ) -> None:
        check_count("PolynomialLR", "total_iters", total_iters)
        self.total_iters, self.power = total_iters, power
        super().__init__(optimizer, last_epoch)

    def first_lr(self, lr: float, t: int, k: int) -> float:
        return lr

    def next_lr(self, lr: float, t: int, k: int) -> float:
        left = self.total_iters - t
        return lr * (left / (left + 1)) ** self.power if left >= 0 else lr

    def lr_at(self, t: int, k: int) -> float:
        return self.base_lrs[k] * (1 - min(self.total_iters, t) / self.total_iters) ** self.power


class LambdaLR(LRScheduler):
    """lr(t) = base · lr_lambda(t), with one function for all groups or a list of theirs.

    A state dict holds the attributes of functions that are objects with `__call__`, and None for
    plain functions and lambdas, which have to be given anew.
    """

    one_setting_per_group = True

    def __init__(
        self,
        optimizer: Optimizer,
        lr_lambda: Callable[[int], float] | Sequence[Callable[[int], float]],
        last_epoch: int = -1,
    ) -> None:
        self.lr_lambdas: list[Callable[[int], float]] = []
        if isinstance(optimizer, Optimizer):  # else the base says so
            self.lr_lambdas = per_group("LambdaLR", "lr_lambda", lr_lambda, optimizer)
        for function in self.lr_lambdas:
            if not callable(function):
                raise TypeError(
                    f"LambdaLR: lr_lambda must be a function, got {type(function).__name__}"
                )
        super().__init__(optimizer, last_epoch)

    def lr_at(self, t: int, k: int) -> float:
        return self.base_lrs[k] * self.lr_lambdas[k](t)

    def state_dict(self) -> dict[str, Any]:
        """Everything but the optimiser and plain functions."""
        kept = [None if _plain(f) else dict(vars(f)) for f in self.lr_lambdas]
        return {**super().state_dict(), "lr_lambdas": kept}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Continue from a state dict; functions that are objects get their attributes back."""
        self._check_keys(state_dict)
        vars(self).update({**state_dict, "lr_lambdas": self.lr_lambdas})
        for function, kept in zip(self.lr_lambdas, state_dict["lr_lambdas"], strict=True):
            if kept is not None:
                vars(function).update(kept)


def _plain(function: Any) -> bool:
    return isinstance(function, types.FunctionType) or not hasattr(function, "__dict__")
