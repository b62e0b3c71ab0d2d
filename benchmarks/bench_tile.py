"""The pointwise tile by itself, beside the multiply-adds that the machine can do.

Weights are packed before, as they are where a net runs many times with the same ones. What is left
is the tile of gemm.h, and how near it comes to the machine's limit is what it is judged by.
"""

from __future__ import annotations

import math

import numpy as np
import pytest

import nanoconv as nc
from nanoconv.dispatch import empty, rows

from . import measure
from .book import SECONDS, Book
from .layers import LAYERS, Layer, quick_layers
from .problems import EPS, arrays_of

LEAST_CHANNELS = 64
ROUNDS = {"quick": 1, "full": 6}  # the best counts, and a shared machine is seldom undisturbed


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    layers = quick_layers() if metafunc.config.getoption("quick") else LAYERS
    chosen = [
        layer
        for layer in layers
        if layer.op == "conv2d" and layer.kernel == 1 and layer.x[1] >= LEAST_CHANNELS
    ]
    metafunc.parametrize("layer", chosen, ids=[layer.name for layer in chosen])


@pytest.mark.skipif(nc.isa() is None, reason="no compiled kernels")
def test_tile(layer: Layer, book: Book) -> None:
    """The product is right; its share of the peak is in the report."""
    from nanoconv._kernels import gemm_cy

    x, w, _ = arrays_of(layer)
    assert x is not None
    assert w is not None
    a, b = rows(x), w[:, :, 0, 0]
    (M, K), N = a.shape, len(b)
    packed, c = empty((gemm_cy.packed_size((N, K)),)), empty((M, N))
    bias = np.zeros(math.ceil(N / 16) * 16, np.float32)
    gemm_cy.pack_f32(packed, np.ascontiguousarray(b), (N, K))

    def product() -> None:
        gemm_cy.packed_matmul_f32(c, a, packed, bias, (M, N, K), book.threads)

    product()
    wide, wide_b = a.astype(np.float64), b.astype(np.float64)
    assert (np.abs(c - wide @ wide_b.T) <= 2 * K * EPS * (np.abs(wide) @ np.abs(wide_b.T))).all()
    rates: list[float] = []
    peak = measure.multiply_adds()
    assert peak is not None
    contenders = {"tile": product, "peak": lambda: rates.append(peak())}
    times: list[float] = []
    for _ in range(ROUNDS[book.mode]):
        times += measure.take_turns(contenders, SECONDS[book.mode], book.threads)["tile"]
    book.tiles.append(
        {
            "layer": layer.name,
            "shape": layer.title,
            "gflops": 2e-9 * layer.macs / min(times),
            "peak_gflops": max(rates) * book.threads,
        }
    )
