"""`nc.compile` and `nc.Session`: what may be asked of them, and what they say to bad questions."""

import copy
import pickle
import sys
import threading
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from rounding import assert_near
from sessions import (
    check,
    check_batch,
    eager_to_fuse,
    flat,
    kernels,
    same_bits,
    truth_of,
    with_threads,
)  # fmt: skip
from small_models import SmallModel

import nanoconv as nc
from nanoconv import nn
from nanoconv.graph import capture
from nanoconv.graph.passes import PASSES
from nanoconv.infer import packing
from nanoconv.infer.plan import Arranger

pytest.importorskip("nanoconv._kernels.plan_cy", reason="needs compiled kernels")
F = nc.functional


def images(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def weight(*shape: int) -> nc.Tensor:
    return nc.tensor(images(*shape, seed=1) / np.float32(np.sqrt(np.prod(shape[1:]))))


W3, W1, W16, DW = (
    weight(16, 3, 3, 3),
    weight(16, 16, 1, 1),
    weight(20, 16, 3, 3),
    weight(16, 1, 3, 3),
)
HEAD = weight(10, 20)


def net(x: nc.Tensor) -> nc.Tensor:
    """A stem, a block with a residual, a head."""
    y = F.relu(F.conv2d(x, W3, None, 2, 1))
    z = F.conv2d(F.hardswish(F.conv2d(y, DW, None, 1, 1, 1, 16)), W1)
    y = F.conv2d(y + z, W16, None, 1, 1)
    return F.softmax(F.linear(F.relu6(y).mean((2, 3)), HEAD), 1)


X = images(1, 3, 20, 22)


# --------------------------------------------------------------------------- inputs and outputs


def test_several_inputs_and_nested_outputs() -> None:
    def model(a: nc.Tensor, b: nc.Tensor) -> Any:
        y = F.relu(F.conv2d(a, W3, None, 1, 1))
        return {"sum": y + b, "parts": [b, (y, y)], "mean": y.mean((2, 3))}

    a, b = images(2, 3, 7, 6), images(2, 16, 7, 6, seed=1)
    session, _ = check(model, a, b)
    y = session(a, b)
    assert list(y) == ["sum", "parts", "mean"]
    assert isinstance(y["parts"], list)
    assert isinstance(y["parts"][1], tuple)
    same_bits(y["parts"][0], b, "an output that is an input")
    same_bits(y["parts"][1][0], y["parts"][1][1], "the same output twice")
    assert session.input_shapes == [(2, 3, 7, 6), (2, 16, 7, 6)]


def test_results_are_not_the_memory_of_the_caller_or_of_the_session() -> None:
    constant = nc.tensor(images(1, 2))
    session = nc.compile(lambda x: (x, constant, F.relu(x)), (1, 2, 3, 3))
    x = images(1, 2, 3, 3)
    for y in session(x):
        y[...] = 7
    first, second, third = session(x)
    assert (x != 7).all()
    np.testing.assert_array_equal(first, x)
    np.testing.assert_array_equal(second, constant.numpy())
    np.testing.assert_array_equal(third, np.maximum(x, 0))


def permuted(x: nc.Tensor) -> Any:
    return x.permute(0, 2, 3, 1)


def twice(x: nc.Tensor) -> Any:
    y = F.relu(x)
    return y, y, y.permute(0, 2, 3, 1), y.reshape(-1)[::2]


def constants(x: nc.Tensor) -> Any:
    return W1.permute(1, 0, 2, 3), x + W1[:1, :2]


@pytest.mark.parametrize("backend", ["auto", "numpy"])
@pytest.mark.parametrize(
    "model", [permuted, twice, constants, lambda x: x.reshape(1, -1), nn.Flatten().eval()]
)
def test_writing_to_a_result_changes_nothing_else(backend: str, model: Any) -> None:
    x = images(1, 2, 3, 3)
    with nc.use(backend):
        session = nc.compile(model, x.shape)
        expected = [y.copy() for y in flat(session(x))]
        results = flat(session(x))
        for n, y in enumerate(results):
            y[...] = 7
            same_bits(results[n + 1 :], expected[n + 1 :], f"results behind {n}")
            same_bits(x, images(1, 2, 3, 3), "the input")
        same_bits(session(x), expected, "a second run")


def test_an_input_that_nothing_reads() -> None:
    session = nc.compile(lambda a, b: F.relu(b), [(1, 2, 3, 3), (1, 2, 3, 3)])
    a, b = images(1, 2, 3, 3), images(1, 2, 3, 3, seed=1)
    np.testing.assert_array_equal(session(a * np.nan, b), np.maximum(b, 0))


def test_inputs_that_are_no_images() -> None:
    w = weight(5, 6)
    check(lambda x: F.linear(x, w), images(1, 6))
    check(lambda x: F.linear(F.relu(x), w), images(1, 4, 6))
    check(lambda x: F.relu(x) + 1, images(1, 3, 4, 5, 2))
    check(lambda a, b: (F.linear(a, w), F.conv2d(b, W1)), images(1, 6), images(1, 16, 3, 3))


def test_dynamic_batch() -> None:
    session = nc.compile(net, (4, 3, 20, 22), dynamic_batch=True)
    assert session.input_shapes == [(None, 3, 20, 22)]
    check_batch(net, images(5, 3, 20, 22))
    for n in (3, 1, 7, 0):
        y = session(images(n, 3, 20, 22))
        assert (y.shape, y.dtype) == ((n, 10), np.float32)


def test_nodes_without_a_kernel_know_each_image_of_a_batch() -> None:
    """They are run as eager does, on one image at a time: reshape and cumsum with its own sizes."""

    def model(x: nc.Tensor) -> nc.Tensor:
        y = F.relu(F.conv2d(x, W3, None, 1, 1)).reshape(x.shape[0], 16, -1).cumsum(2)
        return F.conv2d(y.reshape(x.shape[0], 16, 6, 5), W1)

    check_batch(model, images(5, 3, 6, 5))
    session = nc.compile(model, (1, 3, 6, 5))
    assert kernels(session).count("eager") >= 2
    assert kernels(session).count("conv") == 2
    assert "eager" in str(session.explain(0.01))


def test_weights_are_packed_once_however_many_nodes_have_no_kernel(monkeypatch: Any) -> None:
    packed: list[Any] = []
    collected = Arranger.collected
    monkeypatch.setattr(Arranger, "collected", lambda self: packed.append(self) or collected(self))
    layers = [part for _ in range(6) for part in (nn.Conv2d(8, 8, 1), nn.GroupNorm(2, 8))]
    session = nc.compile(nn.Sequential(*layers, nn.ReLU()).eval(), (1, 8, 4, 4))
    assert kernels(session).count("eager") == 6
    assert len(packed) == len(session.programs()) == 7


def test_images_that_depend_on_each_other() -> None:
    def model(x: nc.Tensor) -> nc.Tensor:
        return F.conv2d(x - x.mean(0, keepdim=True), W3)

    x = images(5, 3, 8, 8)
    dynamic = nc.compile(model, (2, 3, 8, 8), dynamic_batch=True)
    for n in (1, 2, 5):
        truth = truth_of(model, [x[:n]], dynamic)
        assert_near(flat(nc.compile(model, (n, 3, 8, 8))(x[:n])), truth, f"a batch of {n}")
        assert_near(flat(dynamic(x[:n])), truth, f"a dynamic batch of {n}")
    with pytest.raises(ValueError, match="depend on each other"):
        nc.compile(model, (2, 3, 8, 8)).save("never.safetensors")


class Centred(nn.Module):
    """Its images depend on each other."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 1))

    def forward(self, x: nc.Tensor) -> nc.Tensor:
        y = self.conv(x)
        return y - y.mean(0, keepdim=True)


def test_a_batch_size_that_comes_later_has_the_weights_of_the_first() -> None:
    nc.manual_seed(0)
    model = Centred().eval()
    x = images(3, 3, 5, 5)
    session = nc.compile(model, (2, 3, 5, 5), dynamic_batch=True)
    expected = nc.compile(model, x.shape)(x)
    with nc.no_grad():
        for parameter in model.parameters():
            parameter.fill_(3)
    model.train()
    same_bits(session(x), expected, "after the model changed")
    found = session.trace(x)
    assert list(found)[-1] == "sub"
    same_bits(found["sub"], expected, "traced")


def test_a_batch_size_that_comes_later_is_refused_with_the_reason() -> None:
    drop = nn.Dropout(0.5).eval()
    session = nc.compile(lambda x: drop(x - x.mean(0)), (2, 3), dynamic_batch=True)
    assert session(images(3, 3)).shape == (3, 3)
    drop.train()
    assert session(images(2, 3)).shape == (2, 3)
    with pytest.raises(RuntimeError, match=r"session: .* one of 4 images, .*: dropout is random"):
        session(images(4, 3))


def test_a_graph() -> None:
    graph = capture(net, X)
    same_bits(nc.compile(graph)(X), nc.compile(net, X.shape)(X), "a captured graph")
    same_bits(nc.compile(graph, X.shape)(X), nc.compile(graph)(X), "with its shape")
    batch = capture(net, images(2, 3, 20, 22))
    assert nc.compile(batch)(images(2, 3, 20, 22)).shape == (2, 10)


@pytest.mark.parametrize("shapes", [[(1, 5), (4, 5)], [(4, 5), (1, 5)], [(1, 5), ()], [(), (5,)]])
def test_a_graph_whose_inputs_have_no_batch_in_common(shapes: list[tuple]) -> None:
    xs = [np.float32(1) + np.zeros(shape, np.float32) for shape in shapes]
    session = nc.compile(capture(lambda a, b: a + b, *xs))
    assert session.input_shapes == shapes
    same_bits(session(*xs), xs[0] + xs[1], "the sum")
    same_bits(session.trace(*xs)["add"], xs[0] + xs[1], "traced")
    assert "the graph is that of a batch" in str(session.explain(0.01))
    with pytest.raises(ValueError, match=r"session: input 0 is float32\[2, 5\], expected"):
        session(np.zeros((2, 5), np.float32), xs[1])


@pytest.mark.parametrize("backend", ["auto", "numpy"])
@pytest.mark.parametrize("from_graph", [False, True], ids=["model", "graph"])
def test_later_changes_of_the_model_do_not_reach_a_session(
    backend: str, from_graph: bool, tmp_path: Any
) -> None:
    nc.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 20, 3), nn.BatchNorm2d(20), nn.GroupNorm(4, 20), nn.Conv2d(20, 8, 1),
        nn.Flatten(), nn.Linear(8 * 16, 3),
    ).eval()  # fmt: skip
    x = images(1, 3, 6, 6)
    with nc.use(backend):
        session = nc.compile(capture(model, x) if from_graph else model, x.shape)
        before, values = session(x), session.trace(x)
        with nc.no_grad():
            for parameter in model.parameters():
                parameter.fill_(3)
        same_bits(session(x), before, "after the model changed")
        same_bits(session.trace(x), values, "traced after the model changed")
        session.save(tmp_path / "s")
        same_bits(nc.Session.load(tmp_path / "s")(x), before, "written after the model changed")


def test_zero_pixels_and_no_nodes() -> None:
    same_bits(nc.compile(lambda x: x, (1, 3, 2, 2))(images(1, 3, 2, 2)), images(1, 3, 2, 2), "x")


# --------------------------------------------------------------------------- going without


SKIPS = [*([name] for name in (*PASSES, "winograd", "bands")), [*PASSES]]


@pytest.mark.parametrize("skip", [*SKIPS, [*PASSES, "winograd", "bands"]], ids="+".join)
def test_going_without_a_pass_changes_nothing_but_rounding(skip: list[str]) -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            nc.manual_seed(3)
            self.stem = nn.Sequential(nn.Conv2d(3, 32, 3, 1, 1), nn.BatchNorm2d(32), nn.ReLU6())
            self.wide = nn.Sequential(nn.Conv2d(32, 48, 3, padding=1), nn.BatchNorm2d(48))
            self.each = nn.Conv2d(48, 48, 3, 1, 1, groups=48)
            self.end = nn.Sequential(nn.Dropout(0.5), nn.Linear(24, 5))

        def forward(self, x: nc.Tensor) -> Any:
            y = self.stem(F.pad(x, (1, 1, 1, 1)))
            z = F.hardswish(self.wide(y))
            z = F.channel_shuffle(F.relu(self.each(z) + z), 3)
            y = nc.cat([y, z[:, :24]], 1)
            return self.end(y[:, 32:].mean((2, 3))), y * (nc.tensor([1.5]) + 2)

    with eager_to_fuse():
        check(Net().eval(), images(1, 3, 15, 14), skip=skip)


@pytest.mark.parametrize("number", range(12))
def test_without_passes_and_compiled_kernels_a_session_has_the_bits_of_eager(number: int) -> None:
    model = SmallModel(11, number)
    for N in (1, 3):
        xs = model.inputs(N)
        with nc.use("numpy"), nc.no_grad():
            session = nc.compile(model, [x.shape for x in xs], skip=list(PASSES))
            assert set(kernels(session)) <= {"eager"}
            expected = [[t.numpy() for t in flat(model(*(nc.tensor(x[n : n + 1]) for x in xs)))]
                        for n in range(N)]  # fmt: skip
            y = flat(session(*xs))
        alone = [np.concatenate([e[k] for e in expected]) for k in range(len(y))]
        same_bits(y, alone, f"{model!r}, {N} images")


# --------------------------------------------------------------------------- bad questions


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ((), "session: got 0 inputs, expected 1"),
        ((X, X), "session: got 2 inputs, expected 1"),
        ((X[0],), r"session: input 0 is float32\[3, 20, 22\], expected float32\[1, 3, 20, 22\]"),
        ((X[:, :2],), r"input 0 is float32\[1, 2, 20, 22\], expected float32\[1, 3, 20, 22\]"),
        (
            (np.concatenate([X, X]),),
            r"is float32\[2, 3, 20, 22\], expected float32\[1, 3, 20, 22\]",
        ),
        ((X[:0],), r"is float32\[0, 3, 20, 22\], expected"),
        ((X.astype("f8"),), r"is float64\[1, 3, 20, 22\], expected float32\[1, 3, 20, 22\]"),
        ((np.float64(1.5),), r"session: input 0 is float64\[\], expected float32"),
        ((1.5,), r"session: input 0 is of type float, expected an array float32\[1, 3, 20, 22\]"),
        ((X.tolist(),), "session: input 0 is of type list, expected an array float32"),
        (("image",), "session: input 0 is of type str, expected an array float32"),
        ((None,), "session: input 0 is of type NoneType, expected an array float32"),
    ],
)
def test_bad_inputs(inputs: tuple, message: str) -> None:
    session = nc.compile(net, X.shape)
    with pytest.raises(ValueError, match=message):
        session(*inputs)
    if inputs:
        with pytest.raises(ValueError, match=message):
            session.trace(*inputs)


def test_bad_batches() -> None:
    session = nc.compile(net, X.shape, dynamic_batch=True)
    for x in (X[0], X[:, :0], np.float32(3)):
        with pytest.raises(ValueError, match=r"expected float32\[N, 3, 20, 22\]"):
            session(x)
    two = nc.compile(lambda a, b: a + b, [(1, 2, 3, 3)] * 2, dynamic_batch=True)
    with pytest.raises(ValueError, match=r"input 1 is float32\[2, 2, 3, 3\], expected"):
        two(images(3, 2, 3, 3), images(2, 2, 3, 3))


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"input_shape": None}, ValueError, "compile: input_shape is missing, expected"),
        ({"input_shape": (1, 3, 0, 4)}, ValueError, r"input_shape=\(1, 3, 0, 4\), expected pos"),
        ({"input_shape": 3}, ValueError, "compile: input_shape=3, expected"),
        ({"input_shape": ()}, ValueError, r"compile: input_shape=\(\), expected"),
        ({"input_shape": [()]}, ValueError, r"compile: input_shape=\[\(\)\], expected"),
        ({"input_shape": (1.0, 3)}, ValueError, r"compile: input_shape=\(1.0, 3\), expected"),
        ({"input_shape": (True, 3)}, ValueError, r"compile: input_shape=\(True, 3\), expected"),
        ({"input_shape": [(1, 3), (2, 3)]}, ValueError, "with the same N"),
        (
            {"input_shape": X.shape[1:]},
            ValueError,
            r"input_shape=\(3, 20, 22\) does not fit the mod",
        ),
        ({"input_shape": X.shape[1:]}, ValueError, r"expected \(N, C, H, W\), of which the first"),
        ({"threads": 0}, ValueError, "compile: threads=0, expected a positive integer"),
        ({"threads": 1.5}, ValueError, "compile: threads=1.5, expected a positive integer"),
        ({"threads": True}, ValueError, "compile: threads=True, expected a positive integer"),
        ({"skip": ["fold"]}, ValueError, r"compile: skip=\['fold'\], expected any of drop_ident"),
        ({"skip": "winograd"}, ValueError, "compile: skip='winograd', expected a list"),
        ({"dynamic_batch": 2}, TypeError, "compile: dynamic_batch=2, expected True or False"),
    ],
)
def test_bad_arguments(arguments: dict, error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        nc.compile(net, **{"input_shape": X.shape, **arguments})


def test_shapes_of_any_integers() -> None:
    expected = nc.compile(net, X.shape)(X)
    for shape in (np.array(X.shape), tuple(np.array(X.shape)), list(X.shape), np.array([X.shape])):
        same_bits(nc.compile(net, shape)(X), expected, f"{shape!r}")


def test_bad_models() -> None:
    with pytest.raises(ValueError, match=r"in training mode; call model.eval\(\) first"):
        nc.compile(nn.Conv2d(3, 4, 1), X.shape)
    with pytest.raises(TypeError, match="compile: model=3, expected a Module, a function or a Gra"):
        nc.compile(3, X.shape)
    with pytest.raises(RuntimeError, match=r"test_infer_session.py:\d+: item of a tensor"):
        nc.compile(lambda x: x if x.sum() > 0 else -x, X.shape)
    with pytest.raises(RuntimeError, match="returned a str"):
        nc.compile(lambda x: "x", X.shape)
    with pytest.raises(RuntimeError, match="returned a NoneType, expected tensors"):
        nc.compile(lambda x: None, X.shape)
    with pytest.raises(RuntimeError, match="returned a dict, expected tensors"):
        nc.compile(lambda x: {}, X.shape)
    with pytest.raises(TypeError, match="the model is the class Conv2d, expected an object"):
        nc.compile(nn.Conv2d, X.shape)
    with pytest.raises(ValueError, match="conv2d: "):
        nc.compile(net, (1, 4, 20, 22))
    graph = capture(net, X)
    with pytest.raises(ValueError, match="a Graph has a fixed batch"):
        nc.compile(graph, dynamic_batch=True)
    with pytest.raises(ValueError, match=r"input_shape=\(1, 3, 4, 4\), but the graph has"):
        nc.compile(graph, (1, 3, 4, 4))


def test_a_session_is_no_pickle_and_says_what_it_is() -> None:
    session = nc.compile(net, X.shape, threads=1, dynamic_batch=True)
    for copied in (pickle.dumps, copy.deepcopy, copy.copy):
        with pytest.raises(TypeError, match=r"use session\.save and nc\.Session\.load"):
            copied(session)
    steps = len(session.segments[0].plan.steps)
    shown = "Session(float32[N, 3, 20, 22]: {} steps, {} eager nodes, threads=1)"
    assert repr(session) == shown.format(steps, 0)
    with nc.use("numpy"):
        session = nc.compile(net, X.shape, threads=1, dynamic_batch=True)
    assert repr(session) == shown.format(0, len(session.graph.nodes))


def test_too_many_outputs_for_one_plan_are_an_error_that_says_so() -> None:
    with pytest.raises(ValueError, match="65 outputs; expected at most 64"):
        nc.compile(lambda x: [F.relu(x + k) for k in range(65)], (1, 1, 2, 2))


# --------------------------------------------------------------------------- trace and explain


@pytest.mark.parametrize("number", range(20))
def test_trace_has_every_value_of_the_run_bit_for_bit(number: int) -> None:
    """A session of the same graph that returns all of its values returns the trace's."""
    model = SmallModel(5, number)
    xs = model.inputs()
    with eager_to_fuse(2 if number % 2 else None):
        session = nc.compile(model, model.shapes)
        found = session.trace(*xs)
        graph = session.graph
        nodes = tuple(node.output for node in graph.nodes)
        everything = nc.Session(replace(graph, outputs=nodes), 1, 2, frozenset(["bands"]))
    assert len(found) == len(xs) + len(nodes)
    same_bits([*found.values()], [*xs, *everything(*xs)], f"{model!r}, all values")
    values = dict(zip((*graph.inputs, *nodes), found.values(), strict=True))
    same_bits([values[k] for k in graph.output_ids()], session(*xs), f"{model!r}, the results")


@pytest.mark.parametrize("batch", [None, 3])
def test_trace_of_a_batch_is_that_of_its_images(batch: int | None) -> None:
    def model(x: nc.Tensor) -> nc.Tensor:
        y = F.relu(F.conv2d(x, W3, None, 1, 1))
        return y, nc.cat([y[:, 9:], y[:, :5]], 1).reshape(x.shape[0], 12, -1).cumsum(2)

    xs = images(3, 3, 6, 5)
    session = nc.compile(model, (batch or 1, 3, 6, 5), dynamic_batch=batch is None)
    one = nc.compile(model, (1, 3, 6, 5))
    alone = [one.trace(xs[n : n + 1]) for n in range(3)]
    found = session.trace(xs)
    assert list(found) == ["input 0", "conv2d_act", "channels", "reshape", "cumsum"]
    for name, y in found.items():
        same_bits(y, np.concatenate([image[name] for image in alone]), name)
    if batch is None:
        none = session.trace(xs[:0])
        assert [y.shape for y in none.values()] == [(0, *y.shape[1:]) for y in found.values()]


def test_trace_is_not_the_memory_of_the_caller_and_packs_nothing(monkeypatch: Any) -> None:
    session = nc.compile(lambda x: F.conv2d(x, W3).permute(0, 2, 3, 1).sum(), (1, 3, 6, 5))
    monkeypatch.setattr(packing, "dense", None)
    x = images(1, 3, 6, 5)
    before = x.copy()
    found = session.trace(x)
    assert found["sum"].shape == ()
    for y in found.values():
        y[...] = 7
    same_bits(x, before, "the input")


@pytest.mark.parametrize("side", [14, 28, 40])
def test_trace_of_bands_with_panels_of_any_width(side: int) -> None:
    model = nn.Sequential(
        nn.Conv2d(24, 192, 1), nn.Conv2d(192, 192, 3, 1, 1, groups=192), nn.Conv2d(192, 64, 1)
    ).eval()
    session = nc.compile(model, (1, 24, side, side))
    x = images(1, 24, side, side)
    kernels = [step.kernel for segment in session.segments for step in segment.plan.steps]
    assert ("band" in kernels) == (side > 14)
    assert np.array_equal(session.trace(x)["2"], session(x))


def test_trace_names_the_layers() -> None:
    nc.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 24, 1), nn.ReLU(), nn.Conv2d(24, 24, 3, 1, 1, groups=24),
                          nn.Flatten(), nn.Linear(24 * 30, 4)).eval()  # fmt: skip
    x = images(1, 3, 6, 5)
    with eager_to_fuse():
        session = nc.compile(model, x.shape)
        assert "band" in kernels(session)
        found = session.trace(x)
    assert list(found) == ["input 0", "0", "2", "3", "4"]
    assert [a.shape for a in found.values()] == [
        (1, 3, 6, 5), (1, 24, 6, 5), (1, 24, 6, 5), (1, 720), (1, 4)
    ]  # fmt: skip
    same_bits(found["input 0"], x, "the input")
    same_bits(found["2"].reshape(1, -1), found["3"], "flattened")
    same_bits(found["4"], session(x), "the result")


def test_explain_is_consistent() -> None:
    with eager_to_fuse():
        session = nc.compile(net, X.shape, threads=1)
    explanation = session.explain(0.01)
    lines, facts = explanation.lines, explanation.as_dict()
    assert [line.kernel for line in lines] == [
        d.kernel for s in session.segments for d in s.plan.drafts
    ]
    total = sum(step["microseconds"] for step in facts["steps"])
    assert facts["milliseconds"] == pytest.approx(total / 1e3)
    macs = [110 * 16 * 27, 110 * 16 * 9, 110 * 16 * 16, 110 * 20 * 16 * 9, 20 * 10]
    assert sum(line.flops for line in lines) == 2 * sum(macs)
    assert facts["limits"]["threads"] == 1
    for line in lines:
        assert min(line.microseconds, line.bytes, line.share) > 0
    text = str(explanation).splitlines()
    assert text[0].split()[0] == "step"
    assert [row.partition("  ")[0] for row in text[1:]][: len(lines)] == [s.name for s in lines]


# --------------------------------------------------------------------------- many at once


def together(count: int, work: Any) -> None:
    """Run `work(n)` in so many threads at once; the first failure is raised here."""
    failures: list[BaseException] = []
    start = threading.Barrier(count)

    def run(n: int) -> None:
        try:
            start.wait()
            work(n)
        except BaseException as error:  # to be raised in the thread that waits
            failures.append(error)

    threads = [threading.Thread(target=run, args=(n,)) for n in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]


@pytest.mark.parametrize("threads", [1, 2])
def test_many_threads_call_one_session(threads: int) -> None:
    with eager_to_fuse(4):
        session = nc.compile(net, X.shape, threads=threads, dynamic_batch=True)
    xs = [images(1 + n % 3, 3, 20, 22, seed=n) for n in range(8)]
    expected = [session(x) for x in xs]

    def work(n: int) -> None:
        for _ in range(20):
            same_bits(session(xs[n]), expected[n], f"thread {n}")

    with with_threads(threads):
        together(8, work)


def test_many_threads_compile_and_run_one_model() -> None:
    """No compilation hears of what other threads do with the model, nor do they of it."""
    nc.manual_seed(0)
    model = Centred().eval()
    shape = (3, 5, 5)
    shared = nc.compile(model, (1, *shape), dynamic_batch=True)
    xs = [images(n, *shape, seed=n) for n in range(1, 9)]
    with nc.no_grad():
        eager = [model(nc.tensor(x)).numpy() for x in xs]
    expected = [nc.compile(model, x.shape)(x) for x in xs]
    names = [node.name for node in capture(model, xs[0]).nodes]

    def work(n: int) -> None:
        for k in (*range(n, 8), *range(n)):
            if n % 2:
                with nc.no_grad():
                    same_bits(model(nc.tensor(xs[k])).numpy(), eager[k], f"eager, thread {n}")
            else:
                assert [node.name for node in capture(model, xs[k]).nodes] == names
                same_bits(nc.compile(model, xs[k].shape)(xs[k]), expected[k], f"thread {n}")
            same_bits(shared(xs[k]), expected[k], f"a shared session, thread {n}")

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        together(8, work)
    finally:
        sys.setswitchinterval(before)


def test_several_sessions_at_once() -> None:
    models = [SmallModel(9, n) for n in range(6)]
    sessions = [nc.compile(m, m.shapes, threads=2) for m in models]
    expected = [s(*m.inputs()) for s, m in zip(sessions, models, strict=True)]

    def work(n: int) -> None:
        for k in (*range(n, 6), *range(n)):
            same_bits(sessions[k](*models[k].inputs()), expected[k], f"thread {n}, session {k}")

    together(6, work)


def test_more_threads_than_processors() -> None:
    expected = nc.compile(net, X.shape, threads=1)(X)
    with with_threads(5):
        same_bits(nc.compile(net, X.shape, threads=5)(X), expected, "5 threads")
        many = nc.compile(net, (7, 3, 20, 22), threads=5)
        y = many(np.repeat(X, 7, 0))
    same_bits(y, np.repeat(expected, 7, 0), "7 images, 5 threads")


def test_a_session_in_a_forked_process(tmp_path: Any) -> None:
    """OpenMP's threads do not survive a fork; config.py turns to one thread there."""
    import multiprocessing

    session = nc.compile(net, X.shape, threads=2)
    expected = session(X)
    context = multiprocessing.get_context("fork")
    with context.Pool(1) as pool:
        y = pool.apply_async(_call, (net, X)).get(60)
    same_bits(y, expected, "in a child")


def _call(model: Any, x: np.ndarray) -> np.ndarray:
    return nc.compile(model, x.shape, threads=2)(x)
