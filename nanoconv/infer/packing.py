"""Weights in the order in which the kernels read them: from front to back, without a gap.

A kernel works on vectors of `lanes` output channels, a few of them, a panel, at a time; so weights
(K, N) are cut into panels of columns, the last one filled up with zeros, one behind the other. The
panels are those of _kernels/gemm.h, which has a picture.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

Array = np.ndarray
TILE_ROWS = (0, 16, 12, 8, 6)  # of tiles of so many vectors, with 32 registers (gemm.h)


@dataclass(frozen=True)
class Machine:
    """What packed weights depend on."""

    lanes: int  # floats in a vector
    registers: int  # vectors

    @property
    def panel(self) -> int:
        """Vectors of the widest tile (PANEL in gemm.h)."""
        return 4 if self.registers >= 32 else 3

    def whole(self, n: int) -> int:
        """n rounded up to whole vectors."""
        return -(-n // self.lanes) * self.lanes

    def panels(self, N: int, most: int = 0) -> list[tuple[int, int]]:
        """The first and last + 1 columns of each panel, of at most `most` vectors."""
        vectors = -(-N // self.lanes)
        count = -(-vectors // (most or self.panel))
        cuts = [p * vectors // count * self.lanes for p in range(count + 1)] if count else [0]
        return list(pairwise(cuts))

    def quickest_panel(self, N: int, K: int, row: int) -> int:
        """The vectors of a panel with which N sums over K, in rows of so many pixels, are quickest.

        A row of 7 is one tile of 7 pixels × 3 vectors, but two of 4 vectors, of which one has 6 at
        most. In cycles: half of one for each multiply-add of a vector; for each k of a tile two
        more, and where there are few vectors a little more than that; and to begin and end a tile.
        """

        def cycles(most: int) -> float:
            total = 0.0
            for begin, end in self.panels(N, most):
                vectors = (end - begin) // self.lanes
                tiles = -(-row // TILE_ROWS[vectors])
                total += K * (row * vectors / 2 + tiles * (1.5 + 2.7 / vectors)) + 35 * tiles
            return total

        return self.panel if self.panel == 3 else min((self.panel, 3), key=cycles)


def matrix(machine: Machine, w: Array, panel: int = 0) -> Array:
    """(K, N) as panels, one behind the other."""
    K, N = w.shape
    padded = np.zeros((K, machine.whole(N)), np.float32)
    padded[:, :N] = w
    return np.concatenate([padded[:, a:b].ravel() for a, b in machine.panels(N, panel)])


def vector(machine: Machine, b: Array | None, N: int, G: int = 1) -> Array:
    """A bias (N,), or zeros, as whole vectors for each group."""
    padded = np.zeros((G, machine.whole(N // G)), np.float32)
    if b is not None:
        padded[:, : N // G] = b.reshape(G, -1)
    return padded.ravel()


def dense(machine: Machine, w: Array, G: int, panel: int = 0) -> Array:
    """A convolution (O, C/G, KH, KW) for conv_steps.h: (KH·KW·C/G, O/G), group by group."""
    O, Cg, KH, KW = w.shape
    taps = w.reshape(G, O // G, Cg, KH, KW).transpose(0, 3, 4, 2, 1)  # (G, KH, KW, C/G, O/G)
    return np.concatenate([matrix(machine, group.reshape(-1, O // G), panel) for group in taps])


def depthwise(machine: Machine, w: Array) -> Array:
    """(C, 1, KH, KW) for depthwise_rows.h: [vector of channels][tap][lane]."""
    C, _, KH, KW = w.shape
    padded = np.zeros((machine.whole(C), KH * KW), np.float32)
    padded[:C] = w.reshape(C, -1)
    vectors = padded.reshape(-1, machine.lanes, KH * KW)
    return np.ascontiguousarray(vectors.transpose(0, 2, 1)).ravel()


def linear(machine: Machine, w: Array) -> Array:
    """(O, C) for linear_step.h: panels of at most 8 vectors of outputs, each [c][vectors]."""
    O, C = w.shape
    vectors = -(-O // machine.lanes)
    count = -(-vectors // 8)
    padded = np.zeros((C, vectors * machine.lanes), np.float32)
    padded[:, :O] = w.T
    cuts = [p * vectors // count * machine.lanes for p in range(count + 1)]
    return np.concatenate([padded[:, a:b].ravel() for a, b in pairwise(cuts)])
