"""Random small networks for the tests of passes, and how far two graphs may differ."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
from hypothesis import strategies as st

import nanoconv as nc
from nanoconv.graph import Graph, capture

F = nc.functional
EPS = float(np.finfo(np.float32).eps)


def normal(rng, *shape, scale=1.0):
    return nc.tensor((scale * rng.standard_normal(shape)).astype(np.float32))


def conv(rng, x, past, kernel=1, groups=1, bias=True, padding=0):
    C = x.shape[1]
    groups = math.gcd(groups, C)
    O = C if groups > 1 else int(rng.integers(2, 7))
    kernel = min(kernel, *x.shape[2:]) if padding == 0 else kernel
    w = normal(rng, O, C // groups, kernel, kernel, scale=1 / math.sqrt(kernel * kernel * C))
    return F.conv2d(x, w, normal(rng, O) if bias else None, 1, padding, 1, groups)


def transposed(rng, x, past, groups=1):
    C = x.shape[1]
    w = normal(rng, C, 1 if groups == C else 3, 2, 2, scale=1 / math.sqrt(C))
    return F.conv_transpose2d(x, w, normal(rng, w.shape[1] * groups), groups=groups)


def batch_norm(rng, x, past):
    C = x.shape[1]
    var = nc.tensor(rng.uniform(0.5, 2, C).astype(np.float32))
    w, b = (normal(rng, C), normal(rng, C)) if rng.random() < 0.8 else (None, None)
    return F.batch_norm(x, normal(rng, C), var, w, b)


def shuffle_by_hand(rng, x, past):
    N, C, H, W = x.shape
    G = 2 if C % 2 == 0 else 1
    return x.reshape(N, G, C // G, H, W).transpose(1, 2).contiguous().reshape(N, C, H, W)


def earlier(rng, x, past, same_channels):
    """An earlier tensor that fits; x itself if there is none."""
    fits = [
        t for t in past if t.shape[2:] == x.shape[2:] and (not same_channels or t.shape == x.shape)
    ]
    return fits[int(rng.integers(len(fits)))] if fits else x


def shape_kept(pool):
    return lambda rng, x, past: pool(x, 3, 1, 1)


def selected(rng, x, past):
    C = x.shape[1]
    positions = rng.permutation(C) if rng.random() < 0.7 else rng.integers(0, C, C)
    return x.index_select(1, nc.tensor(positions))


STEPS: dict[str, Callable] = {
    "conv 1×1": conv,
    "conv 3×3": lambda *args: conv(*args, kernel=3, padding=1),
    "conv without padding": lambda *args: conv(*args, kernel=2, bias=False),
    "grouped": lambda *args: conv(*args, kernel=3, groups=2, padding=1),
    "depthwise": lambda *args: conv(*args, kernel=3, groups=args[1].shape[1], padding=1),
    "transposed": transposed,
    "transposed depthwise": lambda *args: transposed(*args, groups=args[1].shape[1]),
    "batch_norm": batch_norm,
    "scale": lambda rng, x, past: x * normal(rng, x.shape[1], 1, 1),
    "divide": lambda rng, x, past: x / nc.tensor(rng.uniform(1, 2, (1, 1, 1, 1)).astype("f4")),
    "shift": lambda rng, x, past: normal(rng, 1, x.shape[1], 1, 1) + x,
    "subtract": lambda rng, x, past: x - normal(rng, x.shape[1], 1, 1),
    "subtract from": lambda rng, x, past: 1.0 - x,
    "relu": lambda rng, x, past: F.relu(x),
    "relu6": lambda rng, x, past: F.relu6(x),
    "leaky_relu": lambda rng, x, past: F.leaky_relu(x, 0.25),
    "hardtanh": lambda rng, x, past: F.hardtanh(x, -0.5, 0.75),
    "clamp": lambda rng, x, past: x.clamp(min=-0.25),
    "clamp by channel": lambda rng, x, past: x.clamp(max=normal(rng, x.shape[1], 1, 1)),
    "hardswish": lambda rng, x, past: F.hardswish(x),
    "hardsigmoid": lambda rng, x, past: F.hardsigmoid(x),
    "sigmoid": lambda rng, x, past: F.sigmoid(x),
    "silu": lambda rng, x, past: F.silu(x),
    "residual": lambda rng, x, past: x + earlier(rng, x, past, True),
    "residual before": lambda rng, x, past: earlier(rng, x, past, True) + x,
    "cat": lambda rng, x, past: nc.cat([x, earlier(rng, x, past, False)], 1)[:, :8],
    "cat before": lambda rng, x, past: nc.cat([earlier(rng, x, past, False), x], 1)[:, -7:],
    "shuffle": lambda rng, x, past: F.channel_shuffle(x, 2 if x.shape[1] % 2 == 0 else 1),
    "shuffle by hand": shuffle_by_hand,
    "every other": lambda rng, x, past: x[:, ::2],
    "flip": lambda rng, x, past: x.flip(1),
    "roll": lambda rng, x, past: x.roll(1, 1),
    "select": selected,
    "zero channels": lambda rng, x, past: F.pad(x, (0, 0, 0, 0, 1, -1)),
    "border": lambda rng, x, past: F.pad(x, (1, 0, 0, 2)),
    "max_pool": shape_kept(F.max_pool2d),
    "avg_pool": shape_kept(F.avg_pool2d),
    "mean": lambda rng, x, past: x.mean((2, 3), keepdim=True),
    "clone": lambda rng, x, past: x.clone(),
    "everything": lambda rng, x, past: x[:, :],
    "pool of one": lambda rng, x, past: F.max_pool2d(x, 1),
    "times one": lambda rng, x, past: x * 1.0,
}
HEADS = {
    "image": lambda rng, x: x,
    "linear": lambda rng, x: F.relu(F.linear(x.mean((2, 3)), normal(rng, 5, x.shape[1]))),
    "two": lambda rng, x: {"image": x, "mean": (x.mean((2, 3)), x[:, :1])},
}


class Net:
    """The steps one after the other, with weights that the seed decides."""

    def __init__(self, steps, head, seed):
        self.steps, self.head, self.seed = steps, head, seed

    def __repr__(self):
        return f"Net({self.steps}, {self.head!r}, {self.seed})"

    def __call__(self, x):
        rng, past = np.random.default_rng(self.seed), [x]
        for step in self.steps:
            x = STEPS[step](rng, x, past)
            past.append(x)
        return HEADS[self.head](rng, x)

    def input(self):
        return np.random.default_rng(self.seed + 1).standard_normal((2, 4, 6, 5)).astype("f4")

    def graph(self):
        return capture(self, self.input())


def nets(*names: str) -> st.SearchStrategy:
    """Nets of all steps; of these more often."""
    every = st.sampled_from([*names, *names, *names, *STEPS] if names else list(STEPS))
    return st.builds(
        Net,
        st.lists(every, min_size=1, max_size=9),
        st.sampled_from(list(HEADS)),
        st.integers(0, 2**20),
    )


# --------------------------------------------------------------------------- comparing


def flat(result):
    """The arrays of a result, in order."""
    if isinstance(result, np.ndarray):
        return [result]
    return [
        a for part in (result.values() if isinstance(result, dict) else result) for a in flat(part)
    ]


def wide(graph: Graph, change: Callable = lambda array: array) -> Graph:
    """The same graph in float64, with `change` of its constants."""
    double = {k: np.dtype(np.float64) if d.kind == "f" else d for k, d in graph.dtypes.items()}
    constants = {
        k: change(a.astype(np.float64)) if a.dtype.kind == "f" else a
        for k, a in graph.constants.items()
    }
    return replace(graph, dtypes=double, constants=constants)


def longest_sum(graph: Graph) -> int:
    """The terms of all sums behind each other: roundings that one number may have gone through."""
    total = 4 * len(graph.nodes)
    for node in graph.nodes:
        if "geo" in node.attrs:
            total += node.attrs["geo"].KH * node.attrs["geo"].KW * node.attrs["geo"].C
        elif node.op.name in ("linear", "mean"):
            total += math.prod(graph.shapes[node.inputs[0]][1:])
    return total


def allowed(graph: Graph, *arrays) -> list[np.ndarray]:
    """2·K·(ε·|y| + |Δy|): Δy is what relative changes ε of all inputs and constants do."""
    rng = np.random.default_rng(0)
    doubles = [a.astype(np.float64) for a in arrays]
    truth = flat(wide(graph).run(*doubles))

    def moved(a):
        return a * (1 + EPS * rng.choice((-1.0, 1.0), a.shape))

    runs = [flat(wide(graph, moved).run(*map(moved, doubles))) for _ in range(6)]
    size = [np.max([np.abs(run[k] - y) for run in runs], 0) for k, y in enumerate(truth)]
    # Numbers that met in sums here may cancel in y: what each was counts too.
    scale = max(
        float(np.abs(v).max(initial=0)) for v in wide(graph).run(*doubles, keep=True)[1].values()
    )
    K = longest_sum(graph)
    return [
        2 * K * (d + EPS * np.abs(y) + EPS * scale / K) for d, y in zip(size, truth, strict=True)
    ]


def assert_near(before: Graph, after: Graph, *arrays) -> None:
    """Both give the same, up to rounding, in the same structure."""
    assert nc.graph.ir.mapped(before.outputs, lambda k: 0) == nc.graph.ir.mapped(
        after.outputs, lambda k: 0
    )
    truth = flat(wide(before).run(*(a.astype(np.float64) for a in arrays)))
    for y, expected, bound in zip(
        flat(after.run(*arrays)), truth, allowed(before, *arrays), strict=True
    ):
        assert y.shape == expected.shape
        assert y.dtype == np.float32
        assert (np.abs(y - expected) <= bound).all(), np.abs((y - expected) / bound).max()


def assert_equal(before: Graph, after: Graph, *arrays) -> None:
    """Bit for bit, by the references."""
    with nc.use("numpy"):
        for y, expected in zip(flat(after.run(*arrays)), flat(before.run(*arrays)), strict=True):
            np.testing.assert_array_equal(y, expected)


def names(graph: Graph) -> list[str]:
    return [node.op.name for node in graph.nodes]
