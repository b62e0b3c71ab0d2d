"""Capture: the graph of a run computes what eager computes; what no graph can hold is an error."""

from __future__ import annotations

import copy
import inspect
import operator
from typing import NamedTuple

import numpy as np
import pytest
import test_layers_nn as layers
import test_pool_layers as pools
from cases import CASES
from harness import arrays_of
from hypothesis import given
from hypothesis import strategies as st
from small_graphs import flat, names, nets

import nanoconv as nc
from nanoconv import nn
from nanoconv.graph import CaptureError, capture
from nanoconv.graph.batch import why_together
from nanoconv.tape import watch

F = nc.functional
X = np.random.default_rng(5).standard_normal((2, 4, 6, 5)).astype(np.float32)


def eager(model, *arrays):
    """The arrays of the result."""
    with nc.no_grad():
        result = model(*map(nc.tensor, arrays))
    return [t.numpy() for t in nc.graph.ir.leaves(result)]


def assert_captured(model, *arrays):
    """The graph gives what eager gives, bit for bit, also for other numbers."""
    graph = capture(model, *arrays)
    rng = np.random.default_rng(0)
    others = [rng.permutation(a.ravel()).reshape(a.shape) for a in arrays]
    for inputs in (arrays, others):
        for y, expected in zip(flat(graph.run(*inputs)), eager(model, *inputs), strict=True):
            np.testing.assert_array_equal(y, expected)
            assert y.dtype == expected.dtype
    return graph


# --------------------------------------------------------------------------- what is captured


@given(net=nets())
def test_random_networks(net):
    assert_captured(net, net.input())


@pytest.mark.parametrize("name", nc.models.names())
def test_networks(name):
    model = nc.models.builder(name)().eval()
    x = np.random.default_rng(1).standard_normal((1, 3, 48, 48)).astype(np.float32)
    graph = assert_captured(model, x)
    modules = dict(model.named_modules())
    assert {node.name for node in graph.nodes} <= set(modules)
    parameters = {id(p._data) for p in (*model.parameters(), *model.buffers())}
    assert all(id(array) in parameters for array in graph.constants.values())
    assert not why_together(graph, capture(model, np.concatenate([x, x])))


LAYER_CASES = [
    (make, shape)
    for make, shape in (*layers.LAYERS.values(), *pools.LAYERS)
    if not repr(make(nn)).startswith("CrossEntropy")
]


@pytest.mark.parametrize(("make", "shape"), LAYER_CASES, ids=[repr(m(nn)) for m, _ in LAYER_CASES])
def test_every_layer(make, shape):
    layer, x = make(nn).eval(), np.random.default_rng(0).uniform(0, 1, shape).astype(np.float32)
    if getattr(layer, "return_indices", False):
        with pytest.raises(CaptureError, match="returned beside its output"):
            capture(layer, x)
        return
    assert_captured(layer, x)


# What draws random numbers, and losses, whose mean counts the examples that count.
RANDOM = ("dropout", "alpha_dropout", "feature_alpha_dropout", "stochastic_depth", "rrelu")


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
@given(data=st.data())
def test_every_op(case, data):
    """With all tensors that have a gradient as inputs, the others as constants."""
    problem = data.draw(case.problems("contiguous"))
    given = {
        name: array.astype(np.float32) if array is not None and array.dtype.kind == "f" else array
        for name, array in arrays_of(case, problem).items()
    }
    arrays = {name: given[name] for name in case.differentiable(given)}
    others = {
        name: nc.tensor(given[name]) for name in case.constants if given.get(name) is not None
    }

    def model(*tensors):
        inputs = {**dict.fromkeys(given), **others, **dict(zip(arrays, tensors, strict=True))}
        result = case.function(F, *inputs.values(), **problem.attrs)
        return result[0] if isinstance(result, tuple) else result

    if case.name.startswith(RANDOM):
        with pytest.raises(CaptureError, match=" is random; call eval"):
            capture(model, *arrays.values())
        return
    graph = capture(model, *arrays.values())
    (expected,) = eager(model, *arrays.values())
    np.testing.assert_array_equal(graph.run(*arrays.values()), expected)


def test_several_inputs_and_nested_outputs():
    class Pair(NamedTuple):
        total: object
        parts: object

    def model(x, y):
        z = x + y
        return {"pair": Pair(z, [x.exp(), (y, None)]), "again": z}

    graph = capture(model, X, X[:1])
    assert (graph.inputs, names(graph)) == ((0, 1), ["add", "exp"])
    total, exp = (node.output for node in graph.nodes)
    assert graph.outputs == {"pair": Pair(total, [exp, (1, None)]), "again": total}
    assert graph.output_ids() == (total, exp, 1, total)
    result = graph.run(X, X[:1])
    np.testing.assert_array_equal(result["pair"].total, X + X[:1])
    assert result["pair"].parts[1] == (result["pair"].parts[1][0], None)


def test_one_array_given_twice_is_two_inputs():
    graph = capture(lambda a, b: a - b, X, X)
    np.testing.assert_array_equal(graph.run(X, 2 * X), -X)


def test_what_no_input_went_into_is_a_constant():
    w = nc.tensor(np.ones((3, 4), np.float32))

    def model(x):
        return F.linear(x.mean((2, 3)), w * 2.0 - w.mean()) + w[0, :3] + w[0, :3]

    graph = capture(model, X)
    assert names(graph) == ["mean", "linear", "add", "add"]
    assert graph.nodes[2].inputs[1] == graph.nodes[3].inputs[1]  # one view of w, made twice
    assert len(graph.constants) == 2


def test_detached_tensors_and_views_stay_what_they_are():
    graph = capture(lambda x: (x.detach() + x[0], nc.Tensor(x).reshape(-1)), X)
    assert names(graph) == ["getitem", "add", "reshape"]
    assert [node.inputs for node in graph.nodes] == [(0,), (0, graph.nodes[0].output), (0,)]


def test_names_and_lines_say_where_a_node_came_from():
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = nn.Sequential(nn.Conv2d(4, 2, 1), nn.ReLU())

        def forward(self, x):
            x = self.body(x)
            return x + 1.0

    graph = capture(Model().eval(), X)
    first = inspect.getsourcelines(Model.forward)[1]
    assert [(node.name, node.line) for node in graph.nodes] == [
        ("body.0", f"test_capture.py:{first + 1}"),
        ("body.1", f"test_capture.py:{first + 1}"),
        ("", f"test_capture.py:{first + 2}"),
    ]


def test_intermediate_values_and_who_reads_them():
    graph = capture(lambda x: (x.exp() + x).abs(), X)
    exp, add, absolute = graph.nodes
    result, values = graph.run(X, keep=True)
    np.testing.assert_array_equal(values[exp.output], np.exp(X))
    assert values[absolute.output] is result
    assert set(values) == set(graph.shapes)
    assert (graph.users(0), graph.users(add.output)) == ([exp, add], [absolute])
    assert (graph.producer(add.output), graph.producer(0)) == (add, None)
    assert graph.last_uses() == {1: [0, exp.output], 2: [add.output]}


def test_inputs_must_fit():
    graph = capture(lambda x: x + 1.0, X)
    with pytest.raises(ValueError, match="got 0 inputs, expected 1"):
        graph.run()
    with pytest.raises(
        ValueError, match=r"input 0 is float32\[1, 4, 6, 5\], expected float32\[2, 4"
    ):
        graph.run(X[:1])
    with pytest.raises(ValueError, match=r"input 0 is float64\["):
        graph.run(X.astype(np.float64))


# --------------------------------------------------------------------------- what is not captured

PARAMETER = nc.tensor([1.0])


def escaped(x):
    y = x.exp()
    return nc.from_numpy(y._data[:1]) + 1.0


ERRORS = [
    (lambda x: x if x.sum() > 0 else -x, "item of a tensor that was computed from an input"),
    (lambda x: x * float(x.mean()), "item of a tensor"),
    (lambda x: x * x.exp()[0, 0, 0, 0].item(), "item of a tensor"),
    (lambda x: x * nc.tensor(x.detach().numpy()), "data of a tensor"),
    (lambda x: x * np.asarray(x), "data of a tensor"),
    (lambda x: x * nc.tensor(x.tolist()), "tolist of a tensor"),
    (lambda x: x * nc.tensor(x), "tensor of a tensor"),
    (lambda x: x[:, x.argmax(1)[0, 0, 0]], "index of a tensor|item of a tensor"),
    (lambda x: x[x > 0], "index of a tensor"),
    (lambda x: copy.deepcopy(x), "copy of a tensor"),
    (lambda x: x.exp().add_(1.0), "in-place add_ of a tensor that was computed"),
    (lambda x: x.exp().mul_(2.0), "in-place mul_ of a tensor"),
    (lambda x: x.exp().copy_(x), "copy_ of a tensor"),
    (lambda x: operator.setitem(x, 0, 1.0), "in-place setitem of a tensor"),
    (lambda x: operator.iadd(x, 1.0), "in-place add of a tensor"),
    (lambda x: nc.zeros(4).add_(x[0, :, 0, 0]), "add_ of a tensor that was computed"),
    (lambda x: (x * PARAMETER) + PARAMETER.add_(1.0), "in-place add_ of .* used before"),
    (lambda x: F.dropout(x), "dropout is random; call eval"),
    (
        lambda x: x + F.max_pool2d(x, 1, return_indices=True)[1].float() * 2.0,
        "add reads what max_pool2d",
    ),
    (
        lambda x: F.max_unpool2d(*F.max_pool2d(x, (2, 1), return_indices=True), (2, 1)),
        "max_unpool2d reads what max_pool2d returned beside its output",
    ),
    (
        lambda x: nc.repeat_interleave(x, x.argmax(0).flatten()[:2], 0),
        "repeat_interleave of a tensor",
    ),
    (lambda x: F.one_hot(x.argmax(1), 4), "one_hot of a tensor"),
    (escaped, "add reads an array that shares memory with what exp computed"),
]


@pytest.mark.parametrize(("model", "message"), ERRORS)
def test_what_depends_on_numbers_is_an_error_with_its_line(model, message):
    with pytest.raises(CaptureError, match=rf"^capture: test_capture.py:\d+: .*(?:{message})"):
        capture(model, X)


@pytest.mark.parametrize("take", [lambda found: found[1], lambda found: -found[1]])
def test_what_ops_return_beside_their_output_is_no_result(take):
    with pytest.raises(CaptureError, match="the result reads what max_pool2d returned"):
        capture(lambda x: take(F.max_pool2d(x, 2, return_indices=True)), X)
    assert names(capture(lambda x: x.max(1).values + x.sort(1)[0][:, 0], X))[0] == "max_along"


def test_errors_name_the_module_and_where_it_is_in_no_code_of_a_model():
    class Gate(nn.Module):
        def forward(self, x):
            return x if x.mean().item() > 0 else -x

    line = inspect.getsourcelines(Gate.forward)[1] + 1
    with pytest.raises(CaptureError, match=rf"test_capture.py:{line}: item .* in module '1'; its"):
        capture(nn.Sequential(nn.ReLU(), Gate()).eval(), X)


def test_modules_must_be_in_evaluation_mode():
    model = nn.Sequential(nn.Conv2d(4, 2, 1), nn.Dropout())
    with pytest.raises(
        ValueError, match=r"the model is in training mode; call model.eval\(\) first"
    ):
        capture(model, X)
    model.eval()[1].train()
    with pytest.raises(ValueError, match="its module '1' is in training mode"):
        capture(model, X)
    assert names(capture(model.eval(), X)) == ["conv2d"]


def test_state_must_not_change():
    class Counter(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("calls", nc.zeros(1))

        def forward(self, x):
            self.calls += 1.0
            return x.exp()

    with pytest.raises(CaptureError, match="in-place add of a parameter, a buffer or a constant"):
        capture(Counter().eval(), X)


def test_random_numbers_are_no_constants():
    with pytest.raises(CaptureError, match="drew random numbers"):
        capture(lambda x: x + nc.randn(5), X)


def test_results_are_tensors():
    with pytest.raises(CaptureError, match="returned a float, expected tensors"):
        capture(lambda x: (x, 1.0), X)


def test_constants_may_be_filled_in_place():
    def model(x):
        mask = nc.zeros(4, 1, 1)
        mask[1] = 2.0
        mask.add_(PARAMETER)
        return x * mask

    assert names(assert_captured(model, X)) == ["mul"]


def test_nothing_stays_behind():
    """After an error too: no observer, no reader, no hook."""
    model = nn.Sequential(nn.ReLU()).eval()
    with pytest.raises(CaptureError):
        capture(lambda x: model(x).item(), X[:1, :1, :1, :1])
    assert model(nc.tensor([1.0])).item() == 1
    assert (nc.tape.state.observers, nc.tape.state.reader) == ((), None)
    assert not model._forward_hooks


def test_reading_is_told_before_it_happens():
    told, x = [], nc.tensor([1.0])
    with watch(lambda t, how: told.append((t is x, how))):
        x.item(), x.numpy(), x.tolist(), bool(x), x.add_(x), x[0]
    assert [how for _, how in told] == ["item", "data", "tolist", "item", "add_", "in-place add_"]
    assert all(own for own, _ in told)
    x.item()
    assert len(told) == 6


# --------------------------------------------------------------------------- single images


def pair(model, shape=(4, 6, 5)):
    return [capture(model, np.ones((n, *shape), np.float32)) for n in (1, 2)]


ALONE = [
    lambda x: F.softmax(x.flatten(1), 1),
    lambda x: x.reshape(x.shape[0], -1) + 1.0,
    lambda x: x.reshape(-1, 120).sum(1, keepdim=True).expand(x.shape[0], 7),
    lambda x: x * x.mean((2, 3), keepdim=True),
    lambda x: nc.cat([x, x[:, :1]], 1).permute(0, 2, 3, 1),
    lambda x: F.pad(x, (1, 1)).clamp(0.0, 1.0) @ nc.ones(7, 2),
    lambda x: F.layer_norm(x, (6, 5)),
    lambda x: (x, [F.channel_shuffle(x, 2), x[..., ::2]]),
    lambda x: F.interpolate(x, scale_factor=2, mode="bilinear"),
    lambda x: x[:, [1, 0]] + nc.ones(2, 6, 5),
    lambda x: F.fold(F.unfold(x, 3, padding=1) * 2.0, (6, 5), 3, padding=1),
    lambda x: x.repeat(1, 2, 1, 3),
]
TOGETHER = [
    lambda x: x - x.mean(0, keepdim=True),
    lambda x: x.mean(),
    lambda x: F.softmax(x, 0),
    lambda x: x.flip(0),
    lambda x: x.roll(x.shape[0], 1),
    lambda x: x.flatten(),
    lambda x: x[:1],
    lambda x: x[-1:],
    lambda x: nc.cat([x, x], 0),
    lambda x: x * float(x.shape[0]),
    lambda x: x + nc.ones(x.shape[0], 1, 1, 1),
    lambda x: x.permute(1, 0, 2, 3),
    lambda x: F.batch_norm(x, None, None, training=True),
    lambda x: x.transpose(0, 1).transpose(0, 1),
    lambda x: F.conv2d(x, x[:1] * 1.0),
    lambda x: nc.einsum("nchw,nchw->nchw", x, x),
    lambda x: x.sort(0)[0],
    lambda x: (x, nc.ones(1)),
    lambda x: x if x.shape[0] == 1 else x.exp(),
    lambda x: x.repeat(2, 1, 1, 1),
    lambda x: x.repeat(1, 1, 1, 1, 1),
]


@pytest.mark.parametrize("model", ALONE)
def test_images_on_their_own(model):
    assert not why_together(*pair(model))
    x = np.random.default_rng(0).standard_normal((3, 4, 6, 5)).astype(np.float32)
    single = pair(model)[0]
    parts = [flat(single.run(x[k : k + 1])) for k in range(3)]
    for k, y in enumerate(eager(model, x)):
        np.testing.assert_allclose(np.concatenate([p[k] for p in parts]), y, rtol=1e-6)


@pytest.mark.parametrize("model", TOGETHER)
def test_images_that_meet(model):
    assert why_together(*pair(model))


@pytest.mark.parametrize(
    ("model", "why"),
    [
        (lambda x: nc.einsum("nchw,c->nhw", x, nc.ones(4)), "einsum is not known to treat images"),
        (lambda x: x - x.mean(), "what mean gives has no batch in axis 0"),
        (lambda x: F.softmax(x, 0), "softmax may mix images"),
        (lambda x: x.roll(x.shape[0], 1), "what roll does depends on the size of the batch"),
        (lambda x: x if x.shape[0] == 1 else x.exp(), "what the model does depends on the size"),
        (lambda x: (x, nc.ones(1)), "a result is a constant"),
    ],
)
def test_it_says_where_images_may_meet(model, why):
    assert why_together(*pair(model)).startswith(why)


def test_two_sizes_are_needed():
    one = pair(ALONE[0])[0]
    with pytest.raises(ValueError, match="both batches have size 1"):
        why_together(one, one)
