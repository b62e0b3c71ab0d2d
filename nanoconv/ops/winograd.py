"""Winograd's convolution: a dense 3×3 window with stride 1, in fewer multiplications.

    Y = Aᵀ·[ Σ_c (G·g·Gᵀ) ⊙ (Bᵀ·d·B) ]·A        F(m×m, 3×3)

computes a tile Y of m×m output pixels from the tile d of α×α input pixels that it sees, α = m + 2,
and the 3×3 weights g; ⊙ multiplies place by place. What is multiplied for every input channel c are
α² numbers for m² outputs, instead of 9·m²: 4 for each output with m = 2, 2.25 with m = 4.

Where it comes from, in one dimension: a product of polynomials with m and 3 coefficients is known
from its values at α points, each one multiplication: evaluate both factors, multiply, interpolate.
It sends what is at i and k to place i + k; the outputs y[i] = Σ_k d[i+k]·g[k] collect from there,
so they are the same three steps with the matrices of y and d transposed and in the other's place.
With m + 1 points p and one "at infinity", where only the highest coefficient counts, and
N_p = Π_{q≠p} (p − q):

    G[p]  = (1, p, p²) / N_p                         G[∞]  = (0, 0, 1)
    Aᵀ[p] = (1, p, …, p^(m−1)) as a column           Aᵀ[∞] = (0, …, 0, 1)
    Bᵀ[p] = coefficients of Π_{q≠p} (x − q)          Bᵀ[∞] = coefficients of Π_q (x − q)

The points are 0, 1, −1 for m = 2, and 2, −2 as well for m = 4: Bᵀ and Aᵀ then hold small integers,
so that both transforms are a few additions. G has fractions, but weights are transformed only once.
In two dimensions columns and rows are transformed one after the other.

    shapes    x (N, C, H, W)   w (O, C, 3, 3)   b (O,)   y (N, O, OH, OW)   U (α², C, O)
    cost      N·⌈OH/m⌉·⌈OW/m⌉ · α²·C·O multiply-adds and about α² additions for each tile of each
              channel, in and out

What it costs is digits: Y is a small difference of large numbers. Like any other, the sum errs by
at most 2·K·ε·R, but R (`winograd_bound`) is now that of the equation above with the absolute values
of all five factors, and reaches over the whole tile: a pixel errs by what its neighbours are, and
NaN or ∞ among them spreads to it. If all numbers are equally large, that is 7 times as much as for
the sum itself with m = 2 and up to 256 times with m = 4 (`winograd_factor`). Measured on random
numbers, 16 to 256 channels, against one chain of 9·C multiply-adds, the root mean square error is
0.6 times as large with m = 2, whose sums have only C terms, and 4 times with m = 4.

Paper: Lavin & Gray, Fast Algorithms for Convolutional Neural Networks, arXiv 1509.09308; Winograd,
Arithmetic Complexity of Computations, SIAM 1980. One worked example, in one dimension: two outputs
of a window of three from four products instead of six:

>>> import numpy as np
>>> bt, g, at = matrices(2)
>>> d, weights = np.array([1.0, 2.0, 3.0, 4.0]), np.array([1.0, 10.0, 100.0])
>>> bt @ d
array([2., 5., 1., 2.])
>>> g @ weights
array([ -1. ,  55.5,  45.5, 100. ])
>>> at @ ((g @ weights) * (bt @ d))  # 1 + 20 + 300, 2 + 30 + 400
array([321., 432.])
>>> [float(winograd_factor(m).round()) for m in (2, 4)]
[7.0, 256.0]
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any

import numpy as np

from .geometry import Geometry

Array = np.ndarray
POINTS = {2: (0, 1, -1), 4: (0, 1, -1, 2, -2)}


# --------------------------------------------------------------------------- the matrices


@lru_cache(maxsize=2)
def matrices(m: int) -> tuple[Array, Array, Array]:
    """Bᵀ (α, α), G (α, 3) and Aᵀ (m, α) of F(m, 3), in float64."""
    if m not in POINTS:
        raise ValueError(f"winograd: m={m!r}, expected 2 or 4")
    points = np.array(POINTS[m], np.float64)
    others = [np.delete(points, k) for k in range(len(points))]
    scale = [np.prod(p - rest) for p, rest in zip(points, others, strict=True)]
    bt = np.zeros((m + 2, m + 2))
    for k, rest in enumerate(others):
        bt[k, : m + 1] = np.poly(rest)[::-1]  # np.poly begins with the highest power
    bt[m + 1] = np.poly(points)[::-1]
    g = np.vstack([np.vander(points, 3, increasing=True) / np.array(scale)[:, None], [0, 0, 1]])
    at = np.vander(points, m, increasing=True).T  # (m, m + 1)
    return bt, g, np.hstack([at, np.eye(m)[:, -1:]])


def winograd_factor(m: int) -> np.float64:
    """How many times as large as Σ|x|·|w| the R of `winograd_bound` can be, for equal numbers.

    The sums of the rows of |Bᵀ| and |G| meet in the worst row of |Aᵀ|, once for each dimension.
    """
    bt, g, at = map(np.abs, matrices(m))
    return ((at @ (bt.sum(1) * g.sum(1))).max() / 3) ** 2


# --------------------------------------------------------------------------- the NumPy reference


def winograd_weights(w: Array, m: int) -> Array:
    """U = G·g·Gᵀ in float64, rounded to float32 at the end: (α², C, O), a matrix for each place."""
    return transformed_weights(w, matrices(m)[1]).astype(np.float32)


def transformed_weights(w: Array, g: Array) -> Array:
    u = np.einsum("pu,ocuv,qv->pqco", g, w.astype(np.float64), g, optimize=True)
    return u.reshape(-1, *u.shape[2:])  # (α², C, O)


def winograd_forward(x: Array, w: Array, b: Array | None, geo: Geometry, m: int) -> Array:
    """The convolution of a dense 3×3 window with stride 1, as the equation says."""
    bt, g, at = (matrix.astype(x.dtype) for matrix in matrices(m))
    u = transformed_weights(w, matrices(m)[1]).astype(x.dtype)  # (α², C, O)
    return from_tiles(x, u, b, geo, bt, at)


def winograd_bound(x: Array, w: Array, b: Array | None, geo: Geometry, m: int) -> Array:
    """R of the error bound: the same equation with absolute values everywhere, in float64."""
    bt, g, at = map(np.abs, matrices(m))
    x, w = np.abs(x).astype(np.float64), np.abs(w)
    return from_tiles(x, transformed_weights(w, g), None if b is None else np.abs(b), geo, bt, at)


def from_tiles(x: Array, u: Array, b: Array | None, geo: Geometry, bt: Array, at: Array) -> Array:
    m, wide = at.shape
    tiles = -(-geo.OH // m), -(-geo.OW // m)
    size = tuple(m * k + 2 for k in tiles)  # what all tiles see: the padding, and what hangs over
    xp = np.zeros((geo.N, geo.C, *size), x.dtype)
    h, q = min(geo.H, size[0] - geo.pt), min(geo.W, size[1] - geo.pl)
    xp[:, :, geo.pt : geo.pt + h, geo.pl : geo.pl + q] = x[:, :, :h, :q]
    d = np.lib.stride_tricks.sliding_window_view(xp, (wide, wide), (2, 3))[:, :, ::m, ::m]
    v = np.einsum("pu,ncijuv,qv->pqnijc", bt, d, bt, optimize=True)
    products = np.matmul(v.reshape(wide**2, -1, geo.C), u)  # (α², N·tiles, O)
    products = products.reshape(wide, wide, geo.N, *tiles, geo.O)
    y = np.einsum("kp,pqnijo,lq->noikjl", at, products, at, optimize=True)
    y = y.reshape(geo.N, geo.O, m * tiles[0], m * tiles[1])[:, :, : geo.OH, : geo.OW]
    return y if b is None else y + b[:, None, None]  # (N, O, OH, OW)


# --------------------------------------------------------------------------- where it applies


def dense_3x3(_x: Array, _w: Array, *rest: Any) -> bool:
    """A 3×3 window of one group that moves by one pixel and never sees padding alone."""
    geo = rest[-1]
    ones = (geo.sh, geo.sw, geo.dh, geo.dw, geo.G)
    padding = max(geo.pt, geo.pb, geo.pl, geo.pr)
    return geo.KH == geo.KW == 3 and all(k == 1 for k in ones) and padding < 3


def large_image(pixels: int) -> Callable[..., bool]:
    """The predicate of a tile size that is the fastest from so many pixels of each output on.

    Both what it saves and what it costs to transform the weights, in every eager call again, are
    proportional to C·O; so only the pixels decide. Fewer than 16 channels would not fill vectors.
    """

    def predicate(_x: Array, _w: Array, *rest: Any) -> bool:
        geo = rest[-1]
        return pixels <= geo.OH * geo.OW and min(geo.C, geo.O) >= 16

    predicate.__name__ = f"at least {pixels} pixels and 16 channels"
    return predicate


BOUNDS = {m: partial(winograd_bound, m=m) for m in POINTS}
