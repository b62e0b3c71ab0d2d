"""torchvision's networks, without its C++ operators.

Installed beside a PyTorch that it was not built for (`pip install --no-deps torchvision`), it stops
at import: it describes operators (nms, roi_align) that its library failed to register. No network
here uses them, so descriptions of operators that do not exist are skipped during the import.
"""

from __future__ import annotations

import contextlib
import importlib
import warnings
from collections.abc import Iterator
from typing import Any


@contextlib.contextmanager
def missing_operators_are_skipped() -> Iterator[None]:
    library: Any = importlib.import_module("torch").library
    register = library.register_fake

    def register_if_there(op: str, *args: Any, **kwargs: Any) -> Any:
        def decorate(function: Any) -> Any:
            try:
                return register(op, *args, **kwargs)(function)
            except RuntimeError as error:
                if f"operator {op} does not exist" not in str(error):
                    raise
                return function

        return decorate

    library.register_fake = register_if_there
    try:
        yield
    finally:
        library.register_fake = register


def torchvision() -> Any:
    """The package; ImportError where it, or PyTorch, is not installed."""
    with warnings.catch_warnings(), missing_operators_are_skipped():
        warnings.simplefilter("ignore")  # about its image readers
        return importlib.import_module("torchvision")
