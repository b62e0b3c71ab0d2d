"""Whole calls beside PyTorch's: forward alone, and forward and back through the tape.

Both get their images contiguous and channels-last, and each is judged by the format that suits it.
What is compared is what users wait for, so small shapes show what Python costs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import nanoconv as nc

from . import measure
from .book import SECONDS, Book, better_formats
from .calls import CALLS, Call, Library
from .problems import EPS, channels_last, contiguous

FORMATS = {"contiguous": contiguous, "channels_last": channels_last}
OURS = Library(nc.functional, nc)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    first = {call.op: call for call in reversed(CALLS)}
    calls = list(first.values()) if metafunc.config.getoption("quick") else CALLS
    metafunc.parametrize("call", calls, ids=[f"{call.name}-{call.op}" for call in calls])


def test_call(call: Call, book: Book) -> None:
    """The results and gradients are PyTorch's; the times are in the report."""
    if book.torch is None:
        pytest.skip("PyTorch is not installed")
    theirs = Library(book.torch.nn.functional, book.torch)
    trained = any(array.dtype.kind == "f" for array in call.arrays()[: call.learned])
    for training in (False, True)[: 1 + trained]:
        runs: dict[str, Callable[[], Any]] = {}
        for name, how in FORMATS.items():
            arrays = [how(array) for array in call.arrays()]
            inputs = [nc.from_numpy(array) for array in arrays]
            runs[f"ours@{name}"] = prepared(call, call.run, OURS, inputs, nc.from_numpy, training)
            peers, wrap = [book.torch.from_numpy(a) for a in arrays], book.torch.from_numpy
            runs[f"pytorch@{name}"] = prepared(
                call, call.twin or call.run, theirs, peers, wrap, training
            )
        if not call.random:
            results = [run() for run in runs.values()]
            for found, expected in zip(results[::2], results[1::2], strict=True):
                for array, truth in zip(found, expected, strict=True):
                    agrees(array, truth)
        times = {
            rung: samples
            for rung, (_, samples) in better_formats(
                measure.take_turns(runs, SECONDS[book.mode], book.threads)
            ).items()
        }
        book.call(call, training, times)


def prepared(
    call: Call,
    run: Callable[..., Any],
    F: Library,
    inputs: list[Any],
    wrap: Callable[[np.ndarray], Any],
    training: bool,
) -> Callable[[], tuple[np.ndarray, ...]]:
    """Forward without a tape; or forward and back, whose results are the inputs' gradients."""
    floating = [t for t in inputs[: call.learned] if "float" in str(t.dtype)]

    def forward() -> tuple[np.ndarray, ...]:
        with F.no_grad():
            return (run(F, *inputs).numpy(),)

    if not training:
        return forward
    with F.no_grad():
        y = run(F, *inputs).numpy()
    dy = np.empty_like(y)  # laid out as y is
    dy[...] = np.random.default_rng(3).standard_normal(y.shape, np.float32)
    gradient = wrap(dy)
    for tensor in floating:
        tensor.requires_grad_()

    def step() -> tuple[np.ndarray, ...]:
        for tensor in floating:
            tensor.grad = None
        run(F, *inputs).backward(gradient)
        return tuple(tensor.grad.numpy() for tensor in floating if tensor.grad is not None)

    return step


def agrees(array: np.ndarray, truth: np.ndarray) -> None:
    """Half of all digits: the references are held to computed bounds elsewhere."""
    assert array.shape == truth.shape
    error = np.linalg.norm(array.astype(np.float64) - truth)
    scale = max(np.linalg.norm(truth.astype(np.float64)), EPS * truth.size**0.5)
    assert error <= EPS**0.5 * scale
