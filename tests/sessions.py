"""What is asserted of every compiled session: it computes what the model does, whoever asks how."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator, Sequence
from typing import Any

import numpy as np
from rounding import Array, Rounded, assert_near, outputs

import nanoconv as nc
from nanoconv.graph import capture
from nanoconv.graph.ir import leaves
from nanoconv.infer import convolutions, fusion


def flat(result: Any) -> list[Array]:
    """The arrays of a result, from left to right."""
    return list(leaves(result))


@contextlib.contextmanager
def with_threads(n: int) -> Iterator[None]:
    before = nc.get_num_threads()
    nc.set_num_threads(n)
    try:
        yield
    finally:
        nc.set_num_threads(before)


@contextlib.contextmanager
def eager_to_fuse(tile: int | None = None) -> Iterator[None]:
    """Plans made inside have bands wherever they can, and Winograd tiles of this size.

    What is fast only with large images is so computed on small ones, too.
    """
    before = fusion.LARGE, fusion.LEAST_HEIGHT, convolutions.winograd_tile

    def always(low: Any, geo: Any) -> int:
        if "winograd" in low.without or (geo.KH, geo.KW, geo.G) != (3, 3, 1):
            return 0
        steps = (geo.sh, geo.sw, geo.dh, geo.dw)
        return tile if steps == (1, 1, 1, 1) and min(geo.C, geo.O) >= low.machine.lanes else 0

    fusion.LARGE, fusion.LEAST_HEIGHT = 0, 1
    if tile is not None:
        convolutions.winograd_tile = always
    try:
        yield
    finally:
        fusion.LARGE, fusion.LEAST_HEIGHT, convolutions.winograd_tile = before


def kernels(session: nc.Session) -> list[str]:
    """Of each step, also those inside of bands; "eager" for a node without one."""
    found = []
    for segment in session.segments:
        if segment.plan is None:
            found.append("eager")
        else:
            for draft in segment.plan.drafts:
                found += [draft.kernel, *(part.kernel for part in draft.parts)]
    return found


def tiles(session: nc.Session) -> set[int]:
    """The sizes of Winograd tiles in use."""
    return {int(name[8:]) for name in kernels(session) if name.startswith("winograd")}


def same_bits(a: Any, b: Any, what: str) -> None:
    """NaN is NaN whatever its payload."""
    a, b = flat(a), flat(b)
    assert len(a) == len(b), what
    for k, (x, y) in enumerate(zip(a, b, strict=True)):
        assert x.shape == y.shape, what
        same = (x.view(np.uint32) == y.view(np.uint32)) | (np.isnan(x) & np.isnan(y))
        assert same.all(), f"{what}: output {k} differs in {(~same).sum()} of {same.size} places"


def truth_of(model: Any, xs: Sequence[Array], session: nc.Session) -> list[Rounded]:
    """The exact results, and how far the session may be from them."""
    graph = model if isinstance(model, nc.graph.Graph) else capture(model, *xs)
    return outputs(graph, *xs, tiles=tiles(session))


def check(model: Any, *xs: Array, skip: Collection[str] = ()) -> tuple[nc.Session, float]:
    """Compile the model, and assert all that holds for any session.

    Near the exact result; the same bits in every run, for 1 and 2 threads, after a run full of
    NaN, and without bands; inputs stay as they are. Returns the session, and how much of the error
    bound it needed.
    """
    session = nc.compile(model, [x.shape for x in xs], threads=2, skip=skip)
    given = [x.copy() for x in xs]
    y = session(*xs)
    worst = assert_near(flat(y), truth_of(model, xs, session), f"{model!r}")
    for x, before in zip(xs, given, strict=True):
        np.testing.assert_array_equal(x, before, "an input changed")
    same_bits(session(*xs), y, f"{model!r}, the second run")
    session(*(np.full_like(x, np.nan) for x in xs))
    same_bits(session(*xs), y, f"{model!r}, after a run on NaN")
    for n in (1, 2):
        with with_threads(n):
            same_bits(session(*xs), y, f"{model!r}, {n} threads")
    plain = nc.compile(model, [x.shape for x in xs], threads=1, skip=[*skip, "bands"])
    same_bits(plain(*xs), y, f"{model!r}, without bands, one thread")
    return session, worst


def check_batch(model: Any, *xs: Array) -> None:
    """A batch has the bits of its images alone."""
    session = nc.compile(model, [x.shape for x in xs], dynamic_batch=True, threads=2)
    N = xs[0].shape[0]
    alone = [flat(session(*(x[n : n + 1] for x in xs))) for n in range(N)]
    for size in range(1, N + 1):
        together = session(*(x[:size] for x in xs))
        expected = [
            np.concatenate([alone[n][k] for n in range(size)]) for k in range(len(alone[0]))
        ]
        same_bits(together, expected, f"{model!r}, a batch of {size}")
