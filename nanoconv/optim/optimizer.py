"""What all optimisers share: groups of parameters, their hyper-parameters and their state.

An optimiser is its method `update`: one parameter p, its gradient g, what it remembers of earlier
steps, and the hyper-parameters of its group; p and the memory are changed in place.

>>> import nanoconv as nc
>>> class SignDescent(Optimizer):
...     def update(self, p, g, state, group):
...         p -= group["lr"] * np.sign(g)
>>> w = nc.nn.Parameter([4.0])
>>> w.grad = nc.tensor([-7.0])
>>> SignDescent([w], {"lr": 0.25}).step()
>>> w.detach()
tensor([4.25])
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from ..tape import enable_grad, no_grad
from ..tensor import Array, Tensor

Group = dict[str, Any]  # hyper-parameters by name, and the list "params"


class Optimizer:
    """Base of all optimisers: groups of parameters, their hyper-parameters and their state.

    `params` is an iterable of tensors, or of dicts {"params": tensors, **hyper-parameters} whose
    missing hyper-parameters are the `defaults`. Of pairs (name, tensor), as `named_parameters()`
    gives them, the names are kept in the group as "param_names". A tensor without a gradient is
    left as it is.

    Of the arguments that PyTorch's optimisers have in common, `maximize` goes up the gradient
    instead of down. `foreach`, `fused` and `capturable` choose between implementations of the same
    arithmetic there: they are accepted and kept in the groups, and change nothing.

    Unlike PyTorch: `differentiable=True` is refused, because a step here is never recorded; so is a
    hyper-parameter NaN, and a tensor that is given twice in one group, of which PyTorch warns.
    """

    not_negative: tuple[str, ...] = ("lr", "eps", "momentum", "weight_decay")

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
        params = [params] if isinstance(params, Tensor) else list(params)
        if any(isinstance(p, tuple) for p in params):
            group["param_names"], params = self._unzipped(params)
        if len({"param_names" in g for g in (*self.param_groups, group)}) == 2:
            raise ValueError(f"{self._name}: some groups name their tensors, expected all or none")
        group["params"] = params
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

    def _unzipped(self, params: list[Any]) -> tuple[list[str], list[Any]]:
        """The names and the tensors of pairs."""
        for p in params:
            if not (isinstance(p, tuple) and len(p) == 2 and isinstance(p[0], str)):
                raise TypeError(
                    f"{self._name}: params holds a {type(p).__name__} beside pairs, expected all "
                    "to be pairs (name, tensor)"
                )
        return [name for name, _ in params], [p for _, p in params]

    def check(self, group: Group) -> None:
        """ValueError if a hyper-parameter is out of its range."""
        for name in self.not_negative:
            value = group.get(name, 0)
            if not (isinstance(value, (int, float, np.number)) and value >= 0):
                raise ValueError(f"{self._name}: {name}={value!r} must be a number from 0 up")
        betas = group.get("betas", (0.0, 0.0))
        two = isinstance(betas, (tuple, list)) and len(betas) == 2
        if not (two and all(isinstance(b, (int, float, np.number)) and 0 <= b < 1 for b in betas)):
            raise ValueError(
                f"{self._name}: betas={betas!r} must be two numbers from 0 up, below 1"
            )
        if group.get("differentiable"):
            raise ValueError(
                f"{self._name}: differentiable=True is not supported; steps are not recorded"
            )

    def update(self, p: Array, g: Array, state: dict[str, Any], group: Group) -> None:
        """One step of one parameter `p` with gradient `g`: changes `p` and `state` in place."""
        raise NotImplementedError

    @no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update every parameter that has a gradient; `closure` computes and returns the loss.

        ValueError, before any parameter has moved, if a gradient does not fit its parameter.
        """
        loss = None
        if closure is not None:
            with enable_grad():
                loss = closure()
        for p in self._all():
            if p.grad is not None and (p.grad.shape, p.grad.dtype) != (p.shape, p.dtype):
                raise ValueError(
                    f"{self._name}: a parameter is {p.dtype}{list(p.shape)} "
                    f"but its gradient {p.grad.dtype}{list(p.grad.shape)}"
                )
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                g = -p.grad._data if group.get("maximize") else p.grad._data
                self.update(p._written(), g, self.state.setdefault(p, {}), group)
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


# What an optimiser remembers as a number, not as an array of the parameter's shape.
NUMBERS: dict[str, Callable[[Any], Any]] = {"step": int, "mu_product": float}


def _frozen(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        value = value.view()
        value.flags.writeable = False
    return value


def _thawed(name: str, value: Any, p: Tensor) -> Any:
    """A copy of what a state dict holds for p; its arrays have p's shape, and get its dtype."""
    if value is None or name in NUMBERS:
        return value if value is None else NUMBERS[name](value)
    array = np.asarray(value)
    if array.shape != p.shape:
        raise ValueError(
            f"load_state_dict: {name} has shape {array.shape}, its parameter {p.shape}"
        )
    return array.astype(p.dtype)
