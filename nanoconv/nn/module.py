"""Module: layers and networks, the parameters and buffers they hold, and their names.

A Module holds, under attribute names, its `Parameter`s (what training changes), its buffers
(tensors that belong to it but are not trained, as a batch norm's running mean) and other Modules.
Names joined by dots along this tree are the keys of its state dict, as in PyTorch, so that
PyTorch's checkpoints load without a mapping:

>>> from nanoconv import nn
>>> model = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1))
>>> list(model.state_dict())
['0.weight', '0.bias', '2.weight', '2.bias']
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple, Self

import numpy as np

from ..tape import RemovableHandle, Storage, no_grad
from ..tensor import Array, Tensor


class Parameter(Tensor):
    """A tensor that training changes: a Module lists it among its parameters.

    It shares the memory of a Tensor that it is made from, and copies anything else.
    """

    __slots__ = ()

    def __init__(self, data: Any, requires_grad: bool = True) -> None:
        super().__init__(data, requires_grad)

    def __repr__(self) -> str:
        return "Parameter containing:\n" + super().__repr__()


class IncompatibleKeys(NamedTuple):
    """The keys that `load_state_dict(strict=False)` went without, and those it ignored."""

    missing_keys: list[str]
    unexpected_keys: list[str]


class Module:
    """Base class of layers and networks: subclasses set members in `__init__`, and `forward`.

    >>> class Residual(Module):
    ...     def __init__(self, body):
    ...         super().__init__()
    ...         self.body = body
    ...
    ...     def forward(self, input):
    ...         return input + self.body(input)

    Unlike PyTorch: layers take no `device` and no `dtype` (they are float32, and `double()`
    converts them); there are no hooks on the backward pass and on state dicts, and no extra state.
    """

    training: bool
    _parameters: dict[str, Parameter | None]
    _buffers: dict[str, Tensor | None]
    _modules: dict[str, Module | None]
    _transient: set[str]  # the buffers that the state dict leaves out
    _forward_hooks: dict[int, tuple[Callable, bool]]  # each with whether it wants the kwargs
    _forward_pre_hooks: dict[int, tuple[Callable, bool]]

    def __init__(self) -> None:
        self.__dict__.update(training=True, _parameters={}, _buffers={}, _modules={})
        self.__dict__.update(_transient=set(), _forward_hooks={}, _forward_pre_hooks={})

    def __dir__(self) -> list[str]:
        """Parameters, buffers and children are attributes too."""
        return [*super().__dir__(), *self._parameters, *self._buffers, *self._modules]

    # ---- running it

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The computation; call the module itself, which also runs the hooks."""
        raise NotImplementedError(f"{type(self).__name__} has no forward()")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        before, after = self._forward_pre_hooks, self._forward_hooks  # dicts, nearly always empty
        for hook, with_kwargs in tuple(before.values()) if before else ():
            changed = hook(self, args, kwargs) if with_kwargs else hook(self, args)
            if changed is None:
                continue
            if with_kwargs:
                if not (isinstance(changed, tuple) and len(changed) == 2):
                    raise RuntimeError(
                        f"{type(self).__name__}: a forward pre-hook with kwargs returned "
                        f"{changed!r}, expected None or (args, kwargs)"
                    )
                args, kwargs = changed
            else:
                args = changed if isinstance(changed, tuple) else (changed,)
        output = self.forward(*args, **kwargs)
        for hook, with_kwargs in tuple(after.values()) if after else ():
            given = (args, kwargs, output) if with_kwargs else (args, output)
            changed = hook(self, *given)
            if changed is not None:
                output = changed
        return output

    def register_forward_pre_hook(
        self, hook: Callable[..., Any], *, with_kwargs: bool = False
    ) -> RemovableHandle:
        """Call `hook(module, args)` before forward; unless None, its result replaces the args.

        `with_kwargs`: `hook(module, args, kwargs)`, whose result (args, kwargs) replaces both.
        """
        return RemovableHandle(self._forward_pre_hooks, (hook, with_kwargs))

    def register_forward_hook(
        self, hook: Callable[..., Any], *, with_kwargs: bool = False
    ) -> RemovableHandle:
        """Call `hook(module, args, output)` after forward; unless None, its result replaces it.

        `with_kwargs`: `hook(module, args, kwargs, output)`.
        """
        return RemovableHandle(self._forward_hooks, (hook, with_kwargs))

    # ---- members: attributes that live in one of three tables

    def register_parameter(self, name: str, param: Parameter | None) -> None:
        """Add a parameter (or None: a place for one) under this name."""
        self._register("_parameters", name, param)

    def register_buffer(self, name: str, tensor: Tensor | None, persistent: bool = True) -> None:
        """Add a tensor that is not trained; unless `persistent` the state dict leaves it out."""
        self._register("_buffers", name, tensor)
        (self._transient.discard if persistent else self._transient.add)(name)

    def register_module(self, name: str, module: Module | None) -> None:
        """Add a child module under this name."""
        self._register("_modules", name, module)

    add_module = register_module

    def _register(self, kind: str, name: str, value: Any) -> None:
        if kind not in self.__dict__:
            raise AttributeError(f"cannot set {name!r} before Module.__init__() has run")
        if not isinstance(name, str):
            raise TypeError(f"name={name!r} must be a string, got {type(name).__name__}")
        if name == "" or "." in name:
            raise KeyError(f"name={name!r} must not be empty or contain a dot")
        if hasattr(self, name) and name not in self.__dict__[kind]:
            raise KeyError(f"{type(self).__name__} has an attribute {name!r} already")
        if value is not None and not isinstance(value, MEMBERS[kind]):
            raise TypeError(
                f"{type(self).__name__}.{name} must be a {MEMBERS[kind].__name__} or None, "
                f"got {type(value).__name__}"
            )
        self.__dict__[kind][name] = value

    def __setattr__(self, name: str, value: Any) -> None:
        for kind, member in MEMBERS.items():
            known = name in self.__dict__.get(kind, ())
            if known or (isinstance(value, member) and kind != "_buffers"):
                if not known:  # it may have been an attribute of another kind
                    with contextlib.suppress(AttributeError):
                        delattr(self, name)
                return self._register(kind, name, value)
        return super().__setattr__(name, value)

    def __getattr__(self, name: str) -> Any:  # asked only for what is no ordinary attribute
        own = self.__dict__
        for kind in MEMBERS:
            members = own.get(kind)
            if members is not None and name in members:
                return members[name]
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def __delattr__(self, name: str) -> None:
        for kind in MEMBERS:
            if name in self.__dict__.get(kind, ()):
                del self.__dict__[kind][name]
                return self._transient.discard(name)
        return super().__delattr__(name)

    # ---- walking the tree

    def named_modules(
        self, memo: set[int] | None = None, prefix: str = "", remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Module]]:
        """This module and all below it with their names, parents first; a shared one once."""
        memo = set() if memo is None else memo
        if id(self) in memo:
            return
        if remove_duplicate:
            memo.add(id(self))
        yield prefix, self
        for name, module in _present(self._modules.items(), remove_duplicate=False):
            yield from module.named_modules(memo, _join(prefix, name), remove_duplicate)

    def modules(self) -> Iterator[Module]:
        """This module and all below it."""
        return (module for _, module in self.named_modules())

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """The modules directly below this one with their names; a shared one once."""
        return _present(self._modules.items(), remove_duplicate=True)

    def children(self) -> Iterator[Module]:
        """The modules directly below this one."""
        return (module for _, module in self.named_children())

    def get_submodule(self, target: str) -> Module:
        """The module of this dotted name; AttributeError if there is none."""
        module: Any = self
        for name in target.split(".") if target else ():
            module = getattr(module, name)
        if not isinstance(module, Module):
            raise AttributeError(f"{target!r} is not a module of {type(self).__name__}")
        return module

    def get_parameter(self, target: str) -> Parameter:
        """The parameter of this dotted name; AttributeError if there is none."""
        return self._get("_parameters", target)

    def get_buffer(self, target: str) -> Tensor:
        """The buffer of this dotted name; AttributeError if there is none."""
        return self._get("_buffers", target)

    def _get(self, kind: str, target: str) -> Any:
        path, _, name = target.rpartition(".")
        module = self.get_submodule(path)
        value = getattr(module, name)
        if value is None or value is not module.__dict__[kind].get(name):
            what = kind.strip("_").rstrip("s")
            raise AttributeError(f"{target!r} is not a {what} of {type(self).__name__}")
        return value

    def _named(
        self, kind: str, prefix: str, recurse: bool, remove_duplicate: bool
    ) -> Iterator[tuple[str, Any]]:
        members = (
            (_join(path, name), value)
            for path, module in self.named_modules(prefix=prefix, remove_duplicate=remove_duplicate)
            for name, value in module.__dict__[kind].items()
            if recurse or module is self
        )
        return _present(members, remove_duplicate)

    def named_parameters(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Parameter]]:
        """All parameters with their names; a shared one once, unless `remove_duplicate=False`."""
        return self._named("_parameters", prefix, recurse, remove_duplicate)

    def parameters(self, recurse: bool = True) -> Iterator[Parameter]:
        """All parameters: what an optimiser takes."""
        return (parameter for _, parameter in self.named_parameters(recurse=recurse))

    def named_buffers(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Tensor]]:
        """All buffers with their names."""
        return self._named("_buffers", prefix, recurse, remove_duplicate)

    def buffers(self, recurse: bool = True) -> Iterator[Tensor]:
        """All buffers."""
        return (buffer for _, buffer in self.named_buffers(recurse=recurse))

    # ---- changing all of it

    def apply(self, fn: Callable[[Module], Any]) -> Self:
        """Call `fn` on every module below and then on this one, for instance to initialise."""
        for child in self.children():
            child.apply(fn)
        fn(self)
        return self

    def train(self, mode: bool = True) -> Self:
        """Choose training behaviour (dropout drops, batch norm takes the batch's statistics)."""
        if not isinstance(mode, bool):
            raise ValueError(f"train: mode={mode!r} must be True or False")
        for module in self.modules():
            module.training = mode
        return self

    def eval(self) -> Self:
        """Choose evaluation behaviour: `train(False)`."""
        return self.train(False)

    def requires_grad_(self, requires_grad: bool = True) -> Self:
        """Whether backward() computes the gradients of all parameters (False: freeze them)."""
        for parameter in self.parameters():
            parameter.requires_grad = requires_grad
        return self

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients of all parameters, or fill them with zeros."""
        for parameter in self.parameters():
            if set_to_none or parameter.grad is None:
                parameter.grad = None
            else:
                parameter.grad.zero_()

    def to(self, dtype: Any) -> Self:
        """Convert all floating parameters and buffers, in place, to float32 or float64."""
        if dtype is None or np.dtype(dtype) not in (np.float32, np.float64):
            raise TypeError(f"to: dtype={dtype!r} must be float32 or float64")
        for t in itertools.chain(self.parameters(), self.buffers()):
            if t.dtype.kind == "f" and t.dtype != dtype:
                t._storage.version += 1  # a tape that saved the old array cannot go on
                t._data = t._data.astype(dtype)
                t._storage = Storage(t._data)
                t.grad = None if t.grad is None else Tensor(t.grad._data.astype(dtype))
        return self

    def float(self) -> Self:
        """Convert to float32."""
        return self.to(np.float32)

    def double(self) -> Self:
        """Convert to float64."""
        return self.to(np.float64)

    # ---- the state dict

    def _state(self) -> dict[str, Tensor]:
        return {
            _join(path, name): value
            for path, module in self.named_modules(remove_duplicate=False)
            for name, value in {**module._parameters, **module._buffers}.items()
            if value is not None and name not in module._transient
        }

    def state_dict(self, *, prefix: str = "") -> dict[str, Array]:
        """All parameters and persistent buffers by `prefix` + name, as read-only views.

        The arrays follow later training; `{k: v.copy() for k, v in …}` is a snapshot.
        """
        return {prefix + name: _read_only(value._data) for name, value in self._state().items()}

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True
    ) -> IncompatibleKeys:
        """Copy the arrays of a state dict into this module's parameters and buffers.

        ValueError, before anything is changed, lists all keys that are missing or unexpected
        (unless `strict=False`, which returns them) and all arrays whose shape or dtype differs.
        A missing `num_batches_tracked` is not reported and keeps its value: checkpoints older
        than PyTorch 0.4.1, of which torchvision still publishes some, do not have it. Batch norms
        may have been folded into the layers before them (see `nn/folding.py`).
        """
        from .folding import unfolded  # which knows layers, and so this file
        from .mismatch import explain

        if not isinstance(state_dict, Mapping):
            raise TypeError(
                "load_state_dict: state_dict must be a dict of arrays, "
                f"got {type(state_dict).__name__}"
            )
        own, state_dict = self._state(), unfolded(self, state_dict)
        absent = [name for name in own if name not in state_dict]
        missing = [name for name in absent if name.split(".")[-1] != "num_batches_tracked"]
        unexpected = [name for name in state_dict if name not in own]
        given = {name: _plain(state_dict[name]) for name in own if name in state_dict}
        faults = [f"{name}: missing" for name in missing if strict]
        faults += [f"{name}: unexpected" for name in unexpected if strict]
        for name, array in given.items():
            for what in ("shape", "dtype"):
                got, expected = getattr(array, what), getattr(own[name], what)
                if got != expected:
                    faults.append(f"{name}: {what} {got}, expected {expected}")
        if faults:
            raise ValueError(
                f"load_state_dict: the state dict does not fit {type(self).__name__}: "
                + "\n  ".join([explain(own, state_dict), *faults])
            )
        with no_grad():
            for name, array in given.items():
                own[name]._written()[...] = array
        return IncompatibleKeys(missing, unexpected)

    # ---- what it looks like

    def extra_repr(self) -> str:
        """The arguments that `repr` shows."""
        return ""

    def __repr__(self) -> str:
        name, extra = type(self).__name__, self.extra_repr()
        lines = extra.split("\n") if extra else []
        for key, module in self._modules.items():
            lines.append(f"({key}): " + repr(module).replace("\n", "\n  "))
        if len(lines) <= 1 and not self._modules:
            return f"{name}({extra})"
        return f"{name}(\n  " + "\n  ".join(lines) + "\n)"


# What an attribute must be to live in a table, in the order in which __setattr__ asks.
MEMBERS: dict[str, type] = {"_parameters": Parameter, "_modules": Module, "_buffers": Tensor}


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _present(
    members: Iterable[tuple[str, Any]], remove_duplicate: bool
) -> Iterator[tuple[str, Any]]:
    """The members that are not None; each object only under its first name, if so asked."""
    seen: set[int] = set()
    for name, value in members:
        if value is not None and id(value) not in seen:
            if remove_duplicate:
                seen.add(id(value))
            yield name, value


def _plain(value: Any) -> Array:
    return value._data if isinstance(value, Tensor) else np.asarray(value)


def _read_only(array: Array) -> Array:
    view = array.view()
    view.flags.writeable = False
    return view
