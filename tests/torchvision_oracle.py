"""torchvision's models, without its C++ operators.

Installed beside a PyTorch that it was not built for (`pip install --no-deps torchvision`), it stops
at import: it describes operators (nms, roi_align) that its library failed to register. No model
here uses them, so descriptions of operators that do not exist are skipped during the import.
"""

import contextlib
import warnings

import pytest

torch = pytest.importorskip("torch")


@contextlib.contextmanager
def _missing_operators_are_skipped():
    register = torch.library.register_fake

    def register_if_there(op, *args, **kwargs):
        def decorate(function):
            try:
                return register(op, *args, **kwargs)(function)
            except RuntimeError as error:
                if f"operator {op} does not exist" not in str(error):
                    raise
                return function

        return decorate

    torch.library.register_fake = register_if_there
    try:
        yield
    finally:
        torch.library.register_fake = register


def torchvision():
    """The package; skips the test where it is not installed."""
    with warnings.catch_warnings(), _missing_operators_are_skipped():
        warnings.simplefilter("ignore")  # about its image readers
        return pytest.importorskip("torchvision")
