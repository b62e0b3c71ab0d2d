"""Sequential and ModuleList: modules that hold others by number."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Self

from .module import Module


class _Numbered(Module):
    """What lists of modules share; new children are named by their position."""

    _modules: dict[str, Module]  # type: ignore[assignment]

    def __len__(self) -> int:
        return len(self._modules)

    def __iter__(self) -> Iterator[Module]:
        return iter(self._modules.values())

    def __getitem__(self, index: int | slice) -> Any:
        return list(self)[index]

    def __setitem__(self, index: int, module: Module) -> None:
        setattr(self, list(self._modules)[index], module)

    def __delitem__(self, index: int | slice) -> None:
        kept = list(self)
        del kept[index]
        self._modules.clear()
        self.extend(kept)

    def pop(self, index: int | slice) -> Any:
        """Remove the module at `index`, or those of a slice, and return it; the rest is renamed."""
        removed = self[index]
        del self[index]
        return removed

    def append(self, module: Module) -> Self:
        """Add a module at the end."""
        self.register_module(str(len(self)), module)
        return self

    def extend(self, modules: Iterable[Module]) -> Self:
        """Add modules at the end."""
        for module in modules:
            self.append(module)
        return self

    def insert(self, index: int, module: Module) -> Self:
        """Add a module before position `index`; those after it are renamed."""
        changed = list(self)
        changed.insert(index, module)
        self._modules.clear()
        return self.extend(changed)


class ModuleList(_Numbered):
    """Modules in a list, for the parent's forward to use as it likes."""

    def __init__(self, modules: Iterable[Module] | None = None) -> None:
        super().__init__()
        self.extend(modules or ())

    def __getitem__(self, index: int | slice) -> Any:
        part = super().__getitem__(index)
        return ModuleList(part) if isinstance(index, slice) else part

    def __add__(self, other: Iterable[Module]) -> ModuleList:
        return ModuleList([*self, *other])

    def __iadd__(self, other: Iterable[Module]) -> Self:
        return self.extend(list(other))  # which may be the list itself


class Sequential(_Numbered):
    """Modules one after the other: y = fₙ(… f₂(f₁(x))); given in order, or as a dict with names."""

    def __init__(self, *modules: Any) -> None:
        super().__init__()
        if len(modules) == 1 and isinstance(modules[0], Mapping):
            for name, module in modules[0].items():
                self.register_module(name, module)
        else:
            self.extend(modules)

    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return Sequential(dict(list(self._modules.items())[index]))
        return super().__getitem__(index)

    def __add__(self, other: Sequential) -> Sequential:
        return Sequential(*self, *_sequential(other))

    def __iadd__(self, other: Sequential) -> Self:
        return self.extend(_sequential(other))

    def forward(self, input: Any) -> Any:
        for module in self:
            input = module(input)
        return input


def _sequential(value: Any) -> list[Module]:
    if not isinstance(value, Sequential):
        raise TypeError(f"Sequential: + expected another Sequential, got {type(value).__name__}")
    return list(value)
