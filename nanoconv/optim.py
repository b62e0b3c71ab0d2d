"""Optimisers and learning-rate schedules: how parameters follow their gradients.

An optimiser is its method `update`: one parameter p, its gradient g, what it remembers of earlier
steps, and the hyper-parameters of its group; all of them are changed in place. Names, defaults and
results are PyTorch's.

>>> import nanoconv as nc
>>> w = nc.nn.Parameter([4.0])
>>> optimizer = SGD([w], lr=0.25)
>>> for _ in range(3):
...     optimizer.zero_grad()
...     (w * w).sum().backward()
...     optimizer.step()
>>> w.detach()
tensor([0.5])
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from .tape import enable_grad, no_grad
from .tensor import Array, Tensor

Group = dict[str, Any]  # hyper-parameters by name, and the list "params"


class Optimizer:
    """Base of all optimisers: groups of parameters, their hyper-parameters and their state.

    `params` is an iterable of tensors, or of dicts {"params": tensors, **hyper-parameters} whose
    missing hyper-parameters are the `defaults`. A tensor without a gradient is left as it is.
    """

    def __init__(self, params: Iterable[Any], defaults: Group) -> None:
        self.defaults = defaults
        self.param_groups: list[Group] = []
        self.state: dict[Tensor, dict[str, Any]] = {}
        if isinstance(params, (Tensor, Mapping)):
            raise TypeError(
                f"{self._name}: params must be an iterable of tensors or of dicts, "
                f"got {type(params).__name__}"
            )
        groups = list(params)
        if not groups:
            raise ValueError(f"{self._name}: params is empty")
        for group in groups if isinstance(groups[0], Mapping) else [{"params": groups}]:
            self.add_param_group(group)

    @property
    def _name(self) -> str:
        return type(self).__name__

    def add_param_group(self, param_group: Mapping[str, Any]) -> None:
        """Optimise more tensors, for instance layers that were frozen until now."""
        if not isinstance(param_group, Mapping) or "params" not in param_group:
            raise TypeError(f"{self._name}: a parameter group must be a dict with 'params'")
        group = {**self.defaults, **param_group}
        params = group["params"]
        group["params"] = params = [params] if isinstance(params, Tensor) else list(params)
        known = {id(p) for g in self.param_groups for p in g["params"]}
        for p in params:
            if not isinstance(p, Tensor):
                raise TypeError(f"{self._name}: params holds a {type(p).__name__}, not a tensor")
            if not p.is_leaf:
                raise ValueError(f"{self._name}: params holds a tensor that an op computed")
            if id(p) in known:
                raise ValueError(f"{self._name}: a tensor of shape {p.shape} is given twice")
            known.add(id(p))
        self.check(group)
        self.param_groups.append(group)

    def check(self, group: Group) -> None:
        """ValueError if a hyper-parameter is out of its range."""
        for name in ("lr", "eps", "momentum", "weight_decay"):
            value = group.get(name, 0)
            if not (isinstance(value, (int, float, np.number)) and value >= 0):
                raise ValueError(f"{self._name}: {name}={value!r} must be a number from 0 up")

    def update(self, p: Array, g: Array, state: dict[str, Any], group: Group) -> None:
        """One step of one parameter `p` with gradient `g`: changes `p` and `state` in place."""
        raise NotImplementedError

    @no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update every parameter that has a gradient; `closure` computes and returns the loss."""
        loss = None
        if closure is not None:
            with enable_grad():
                loss = closure()
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                if (p.grad.shape, p.grad.dtype) != (p.shape, p.dtype):
                    raise ValueError(
                        f"{self._name}: a parameter is {p.dtype}{list(p.shape)} "
                        f"but its gradient {p.grad.dtype}{list(p.grad.shape)}"
                    )
                self.update(p._written(), p.grad._data, self.state.setdefault(p, {}), group)
        return loss

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget all gradients, or fill them with zeros."""
        for group in self.param_groups:
            for p in group["params"]:
                if set_to_none or p.grad is None:
                    p.grad = None
                else:
                    p.grad.zero_()

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run needs, in PyTorch's form: parameters are numbered across the groups.

        {"state": {0: {name: array or number}, …}, "param_groups": [{…, "params": [0, …]}, …]};
        the arrays are read-only views.
        """
        number = {p: k for k, p in enumerate(self._all())}
        state = {
            number[p]: {name: _frozen(value) for name, value in entry.items()}
            for p, entry in self.state.items()
        }
        groups = [{**g, "params": [number[p] for p in g["params"]]} for g in self.param_groups]
        return {"state": state, "param_groups": groups}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Continue from a state dict of the same parameters in the same groups.

        ValueError, before anything is changed, if groups or shapes differ.
        """
        groups = state_dict["param_groups"]
        theirs, ours = ([len(g["params"]) for g in gs] for gs in (groups, self.param_groups))
        if theirs != ours:
            raise ValueError(
                f"load_state_dict: the groups hold {theirs} parameters, expected {ours}"
            )
        numbers = [k for group in groups for k in group["params"]]
        state = {
            p: {name: _thawed(name, value, p) for name, value in state_dict["state"][k].items()}
            for k, p in zip(numbers, self._all(), strict=True)
            if k in state_dict["state"]
        }
        for group in groups:
            self.check(group)
        self.state = state
        for own, group in zip(self.param_groups, groups, strict=True):
            own.update({name: value for name, value in group.items() if name != "params"})

    def _all(self) -> list[Tensor]:
        return [p for group in self.param_groups for p in group["params"]]

    def __repr__(self) -> str:
        lines = [f"{self._name} ("]
        for k, group in enumerate(self.param_groups):
            lines.append(f"Parameter Group {k}")
            lines += [f"    {name}: {group[name]}" for name in sorted(group) if name != "params"]
        return "\n".join((*lines, ")"))


def _frozen(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        value = value.view()
        value.flags.writeable = False
    return value


def _thawed(name: str, value: Any, p: Tensor) -> Any:
    """A copy of what a state dict holds for p; its arrays have p's shape, and get its dtype."""
    if value is None or name == "step":
        return value if value is None else int(value)
    array = np.asarray(value)
    if array.shape != p.shape:
        raise ValueError(
            f"load_state_dict: {name} has shape {array.shape}, its parameter {p.shape}"
        )
    return array.astype(p.dtype)


# --------------------------------------------------------------------------- optimisers


class SGD(Optimizer):
    """Gradient descent, with momentum m and Nesterov's variant of it.

        g ← g + weight_decay · p
        b ← m · b + (1 − dampening) · g          b ← g in the first step
        p ← p − lr · b                           Nesterov: p ← p − lr · (g + m · b)

    Sutskever et al., On the importance of initialization and momentum, ICML 2013.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        momentum: float = 0,
        dampening: float = 0,
        weight_decay: float = 0,
        nesterov: bool = False,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr,
                "momentum": momentum,
                "dampening": dampening,
                "weight_decay": weight_decay,
                "nesterov": nesterov,
            },
        )

    def check(self, group: Group) -> None:
        super().check(group)
        if group["nesterov"] and (group["momentum"] <= 0 or group["dampening"] != 0):
            raise ValueError(
                "SGD: nesterov=True needs momentum > 0 and dampening = 0, "
                f"got momentum={group['momentum']} and dampening={group['dampening']}"
            )

    def update(self, p: Array, g: Array, state: dict[str, Any], group: Group) -> None:
        momentum = group["momentum"]
        if group["weight_decay"]:
            g = g + group["weight_decay"] * p
        if momentum:
            b = state.get("momentum_buffer")
            if b is None:
                b = state["momentum_buffer"] = np.array(g)
            else:
                b *= momentum
                b += (1 - group["dampening"]) * g if group["dampening"] else g
            g = g + momentum * b if group["nesterov"] else b
        p -= group["lr"] * g


class Adam(Optimizer):
    """Steps of nearly equal size for all parameters: the mean gradient over its own magnitude.

        g ← g + weight_decay · p
        m ← β₁ · m + (1 − β₁) · g                m̂ = m / (1 − β₁ᵗ)
        v ← β₂ · v + (1 − β₂) · g²               v̂ = v / (1 − β₂ᵗ)
        p ← p − lr · m̂ / (√v̂ + eps)

    t counts the steps of the parameter. `amsgrad` takes the largest v so far (Reddi et al., arXiv
    1904.09237). Kingma & Ba, arXiv 1412.6980.
    """

    decoupled = False

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        amsgrad: bool = False,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr,
                "betas": betas,
                "eps": eps,
                "weight_decay": weight_decay,
                "amsgrad": amsgrad,
            },
        )

    def check(self, group: Group) -> None:
        super().check(group)
        if not all(0 <= beta < 1 for beta in group["betas"]):
            raise ValueError(f"{self._name}: betas={group['betas']} must be from 0 up, below 1")

    def update(self, p: Array, g: Array, state: dict[str, Any], group: Group) -> None:
        beta1, beta2 = group["betas"]
        if not state:
            state.update(step=0, exp_avg=np.zeros_like(p), exp_avg_sq=np.zeros_like(p))
            if group["amsgrad"]:
                state["max_exp_avg_sq"] = np.zeros_like(p)
        state["step"] += 1
        m, v, t = state["exp_avg"], state["exp_avg_sq"], state["step"]
        if group["weight_decay"] and self.decoupled:
            p *= 1 - group["lr"] * group["weight_decay"]
        elif group["weight_decay"]:
            g = g + group["weight_decay"] * p

        # One temporary, s, takes every intermediate result: these are passes over memory.
        s = np.multiply(g, 1 - beta1, out=np.empty_like(p))
        m *= beta1
        m += s
        np.multiply(g, g, out=s)
        s *= 1 - beta2
        v *= beta2
        v += s
        if group["amsgrad"]:
            v = np.maximum(state["max_exp_avg_sq"], v, out=state["max_exp_avg_sq"])
        np.sqrt(v, out=s)
        s /= math.sqrt(1 - beta2**t)
        s += group["eps"]  # √v̂ + eps
        np.divide(m, s, out=s)
        s *= group["lr"] / (1 - beta1**t)
        p -= s


class AdamW(Adam):
    """Adam whose weight decay does not pass through the moments: p ← (1 − lr · weight_decay) · p.

    Loshchilov & Hutter, arXiv 1711.05101.
    """

    decoupled = True

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        amsgrad: bool = False,
    ) -> None:
        super().__init__(params, lr, betas, eps, weight_decay, amsgrad)


# --------------------------------------------------------------------------- schedules


class LRScheduler:
    """Base of all schedules: `step()` begins an epoch t, in which a group's lr is lr(group, t).

    That is computed from the lr that the group has, so that a change of it by hand lasts, and
    schedules can be chained: several of one optimiser, all stepped after each epoch. The lr at the
    start is kept in the group as "initial_lr". To resume, load the state dicts of optimiser and
    schedule, or give `last_epoch`, the number of the last epoch done.
    """

    def __init__(self, optimizer: Optimizer, last_epoch: int = -1) -> None:
        if not isinstance(optimizer, Optimizer):
            raise TypeError(
                f"{type(self).__name__}: optimizer must be an Optimizer, "
                f"got {type(optimizer).__name__}"
            )
        for k, group in enumerate(optimizer.param_groups):
            if last_epoch == -1:
                group.setdefault("initial_lr", group["lr"])
            elif "initial_lr" not in group:
                raise ValueError(
                    f"{type(self).__name__}: last_epoch={last_epoch} resumes a run, but parameter "
                    f"group {k} has no 'initial_lr'; load the optimiser's state dict first"
                )
        self.optimizer, self.last_epoch = optimizer, last_epoch
        self.base_lrs = [group["initial_lr"] for group in optimizer.param_groups]
        self.step()

    def lr(self, group: Group, t: int) -> float:
        """The learning rate of epoch `t`, from 1, of a group that has group["lr"] until then."""
        raise NotImplementedError

    def step(self) -> None:
        """Begin the next epoch: set every group's learning rate."""
        self.last_epoch += 1
        if self.last_epoch > 0:  # in epoch 0 it is what it is
            for group in self.optimizer.param_groups:
                group["lr"] = self.lr(group, self.last_epoch)

    def get_last_lr(self) -> list[float]:
        """The learning rate of every group."""
        return [group["lr"] for group in self.optimizer.param_groups]

    def state_dict(self) -> dict[str, Any]:
        """Everything but the optimiser."""
        return {name: value for name, value in vars(self).items() if name != "optimizer"}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Continue from a state dict of the same kind of schedule."""
        expected = self.state_dict().keys()
        if state_dict.keys() != expected:
            raise ValueError(
                f"load_state_dict: {type(self).__name__} expected the keys {sorted(expected)}, "
                f"got {sorted(state_dict)}"
            )
        vars(self).update(state_dict)


class StepLR(LRScheduler):
    """lr ← gamma · lr in each epoch t that is a multiple of step_size.

    Undisturbed that is lr(t) = base · gamma^⌊t / step_size⌋.
    """

    def __init__(
        self, optimizer: Optimizer, step_size: int, gamma: float = 0.1, last_epoch: int = -1
    ) -> None:
        if step_size < 1:
            raise ValueError(f"StepLR: step_size={step_size} must be at least 1")
        self.step_size, self.gamma = step_size, gamma
        super().__init__(optimizer, last_epoch)

    def lr(self, group: Group, t: int) -> float:
        return group["lr"] * (1 if t % self.step_size else self.gamma)


class CosineAnnealingLR(LRScheduler):
    """lr(t) = eta_min + (base − eta_min) · (1 + cos(π · t / T_max)) / 2.

    Computed as lr(t) from lr(t − 1), by the ratio of the cosines.
    Loshchilov & Hutter, SGDR, arXiv 1608.03983 (one period, no restart).
    """

    def __init__(
        self,
        optimizer: Optimizer,
        T_max: int,
        eta_min: float = 0.0,
        last_epoch: int = -1,
    ) -> None:
        if T_max < 1:
            raise ValueError(f"CosineAnnealingLR: T_max={T_max} must be at least 1")
        self.T_max, self.eta_min = T_max, eta_min
        super().__init__(optimizer, last_epoch)

    def lr(self, group: Group, t: int) -> float:
        now, before = ((1 + math.cos(math.pi * k / self.T_max)) / 2 for k in (t, t - 1))
        if (t - 1) % (2 * self.T_max) == self.T_max:  # from the lowest point up: `before` is 0
            return group["lr"] + (group["initial_lr"] - self.eta_min) * now
        return self.eta_min + (group["lr"] - self.eta_min) * (now / before)


lr_scheduler = sys.modules[__name__]  # PyTorch's place for the schedules: optim.lr_scheduler.StepLR
