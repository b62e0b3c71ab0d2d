"""Passes: each alone on random small networks, and what each is for on networks that show it."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_graphs import Net, assert_equal, assert_near, names, nets, normal

import nanoconv as nc
from nanoconv.graph import capture
from nanoconv.graph.passes import PASSES, optimise
from nanoconv.ops.fused import Activation

F = nc.functional
EXACT = (
    "drop_identity", "fold_constants", "remove_dead", "fold_pad", "fuse_residual",
    "split_activation", "fuse_activation",
)  # fmt: skip
AFFINE = ("batch_norm", "scale", "shift", "divide", "subtract", "subtract from")
RELU = Activation("clamp", 0.0, math.inf)
X = np.random.default_rng(5).standard_normal((2, 4, 6, 5)).astype(np.float32)


def after(model, *passes, x=X):
    """The graph of a function, and that after these passes."""
    before = graph = capture(model, x)
    for name in passes:
        graph = PASSES[name](graph)
    return before, graph


# --------------------------------------------------------------------------- all passes


@pytest.mark.parametrize("name", PASSES)
@given(net=nets())
def test_each_pass_alone_changes_nothing(name, net):
    before = net.graph()
    listing = str(before)
    graph = PASSES[name](before)
    assert str(before) == listing  # the old graph is as it was
    (assert_equal if name in EXACT else assert_near)(before, graph, net.input())


@given(net=nets("batch_norm", "depthwise", "relu", "residual"))
def test_all_passes_together(net):
    before = net.graph()
    graph = optimise(before)
    assert_near(before, graph, net.input())
    assert len(graph.nodes) <= len(before.nodes)


@given(net=nets("shuffle", "select", "cat", "every other", "depthwise", "grouped", "conv 1×1"))
def test_channels_go_where_they_went(net):
    before = net.graph()
    graph = optimise(before)
    assert_near(before, graph, net.input())
    assert not {"channel_shuffle", "cat", "flip", "roll", "index_select"} & set(names(graph))


@given(net=nets(), skip=st.sets(st.sampled_from(list(PASSES))))
def test_any_passes_together(net, skip):
    before = net.graph()
    assert_near(before, optimise(before, skip=skip), net.input())


@given(net=nets())
def test_a_second_time_changes_nothing(net):
    once = optimise(net.graph())
    assert names(optimise(once)) == names(once)


def test_passes_can_be_left_out_by_name():
    graph = Net(["conv 1×1", "relu"], "image", 0).graph()
    assert names(optimise(graph)) == ["conv2d_act"]
    assert names(optimise(graph, skip=["fuse_activation"])) == ["conv2d", "relu"]
    with pytest.raises(ValueError, match=r"skip has no pass 'fuse'; expected any of drop_identity"):
        optimise(graph, skip="fuse")


# --------------------------------------------------------------------------- what changes nothing


def test_identities_go():
    def model(x):
        x = x.clone().reshape(2, 4, 6, 5).permute(0, 1, 2, 3)[:, :4].expand(2, 4, 6, 5)
        x = F.pad(F.avg_pool2d(x, 1), (0, 0)) * 1.0
        return x.contiguous("channels_last").flatten(0, 0)

    before, graph = after(model, "drop_identity")
    assert len(before.nodes) > 7
    assert (names(graph), graph.outputs) == ([], graph.inputs[0])


@pytest.mark.parametrize(
    "model",
    [
        lambda x: x[:, ::-1],
        lambda x: x[:, [1, 0, 3, 2]],
        lambda x: F.pad(x, (1, -1)),
        lambda x: F.max_pool2d(x, 2, 1),
        lambda x: F.avg_pool2d(x, 1, divisor_override=2),
        lambda x: F.max_pool2d(x, 1, 2, ceil_mode=True),
        lambda x: x * 2.0,
        lambda x: x.reshape(4, 2, 5, 6),
    ],
)
def test_what_only_looks_like_an_identity_stays(model):
    before, graph = after(model, "drop_identity")
    assert names(graph) == names(before)


def test_constants_are_computed_and_what_nothing_reads_is_not():
    def model(x):
        x.exp()
        return x + x.abs()

    before, graph = after(model, "remove_dead")
    assert (names(before), names(graph)) == (["exp", "abs", "add"], ["abs", "add"])
    known = replace(graph, inputs=(), constants={graph.inputs[0]: X})
    folded = PASSES["fold_constants"](known)
    assert names(folded) == []
    np.testing.assert_array_equal(folded.run(), before.run(X))


@pytest.mark.parametrize(
    "layer",
    [
        lambda x: F.conv2d(x, normal(np.random.default_rng(0), 3, 4, 3, 3), padding=1),
        lambda x: F.conv2d(x, normal(np.random.default_rng(0), 4, 1, 3, 3), groups=4),
        lambda x: F.avg_pool2d(x, 3, 1, 1),
    ],
)
def test_a_border_of_zeros_is_padding(layer):
    before, graph = after(lambda x: layer(F.pad(x, (1, 0, 0, 2))), "fold_pad")
    assert names(graph) == names(before)[1:]
    geo = graph.nodes[0].attrs["geo"]
    own = before.nodes[1].attrs["geo"]
    assert (geo.pt, geo.pb, geo.pl, geo.pr) == (own.pt, own.pb + 2, own.pl + 1, own.pr)
    assert_equal(before, graph, X)


@pytest.mark.parametrize(
    "model",
    [
        lambda x: F.max_pool2d(F.pad(x, (1, 1)), 2),
        lambda x: F.avg_pool2d(F.pad(x, (1, 1)), 2, count_include_pad=False),
        lambda x: F.conv2d(
            F.pad(x, (1, 1), value=1.0), normal(np.random.default_rng(0), 2, 4, 1, 1)
        ),
        lambda x: F.conv2d(F.pad(x, (2, -1)), normal(np.random.default_rng(0), 2, 4, 1, 1)),
        lambda x: F.conv2d(
            F.pad(x, (1, 1, 1, 1), "reflect"), normal(np.random.default_rng(0), 2, 4, 1, 1)
        ),
    ],
)
def test_other_borders_stay(model):
    before, graph = after(model, "fold_pad")
    assert names(graph) == names(before)


# --------------------------------------------------------------------------- batch norm


@given(
    st.sampled_from(("conv 3×3", "grouped", "depthwise", "transposed", "transposed depthwise")),
    st.lists(st.sampled_from(AFFINE), min_size=1, max_size=3),
    st.integers(0, 100),
)
def test_norms_fold_into_the_layer_before(layer, norms, seed):
    net = Net([layer, *norms], "image", seed)
    before, graph = after(net, "fold_batch_norm")
    assert names(graph) == names(before)[:1]
    assert_near(before, graph, X)


@given(
    st.sampled_from(("conv 1×1", "conv without padding")),
    st.lists(st.sampled_from(("batch_norm", "shift")), min_size=1, max_size=2),
    st.integers(0, 100),
)
def test_norms_fold_into_the_layer_behind_if_it_has_no_padding(layer, norms, seed):
    before, graph = after(Net([*norms, layer], "image", seed), "fold_batch_norm")
    assert names(graph) == names(before)[-1:]
    assert_near(before, graph, X)


def test_a_factor_may_pass_padding_and_a_shift_may_not():
    _, graph = after(Net(["scale", "depthwise"], "image", 0), "fold_batch_norm")
    assert names(graph) == ["depthwise_conv2d"]
    before, graph = after(Net(["batch_norm", "conv 3×3"], "image", 0), "fold_batch_norm")
    assert names(graph) == ["depthwise_conv2d", "conv2d"]  # the norm became one of a single tap
    assert_near(before, graph, X)


def test_a_norm_does_not_fold_into_what_others_read():
    def model(x):
        y = F.conv2d(x, normal(np.random.default_rng(0), 4, 4, 1, 1))
        return y, F.batch_norm(y, nc.zeros(4), nc.ones(4))

    before, graph = after(model, "fold_batch_norm")
    assert names(graph) == ["conv2d", "depthwise_conv2d"]
    assert_near(before, graph, X)


def test_a_norm_by_the_statistics_of_the_batch_stays():
    model = lambda x: F.batch_norm(x, None, None, training=True)  # noqa: E731
    _, graph = after(model, *PASSES)
    assert names(graph) == ["batch_norm"]


# --------------------------------------------------------------------------- fusing


@pytest.mark.parametrize("layer", ["conv 3×3", "depthwise", "residual"])
@pytest.mark.parametrize(
    "activation",
    [
        "relu",
        "relu6",
        "leaky_relu",
        "hardtanh",
        "clamp",
        "hardswish",
        "hardsigmoid",
        "sigmoid",
        "silu",
    ],
)
def test_activations_fuse(layer, activation):
    before, graph = after(Net([layer, activation], "image", 0), "fuse_activation")
    fused = {"conv 3×3": "conv2d_act", "depthwise": "depthwise_conv2d_act", "residual": "add_act"}
    assert names(graph) == [fused[layer]]
    assert_equal(before, graph, X)


def test_an_activation_with_a_bound_for_each_channel_stays():
    _, graph = after(Net(["conv 1×1", "clamp by channel"], "image", 0), *PASSES)
    assert names(graph) == ["conv2d", "clamp"]


def test_a_residual_is_added_by_the_convolution_that_runs_last():
    rng = np.random.default_rng(0)
    w = normal(rng, 4, 4, 1, 1)

    def model(x):
        a = F.conv2d(x, w)
        b = F.conv2d(F.relu(a), w)
        return F.relu(b + F.conv2d(x, w))

    before, graph = after(model, "fuse_residual", "fuse_activation")
    assert names(graph) == ["conv2d_act", "conv2d", "conv2d_act"]
    last = graph.nodes[-1]
    assert (last.inputs[0], last.inputs[3]) == (graph.inputs[0], graph.nodes[1].output)
    assert last.attrs["activation"] == RELU
    assert_equal(before, graph, X)


def test_a_sum_of_a_convolution_and_itself_is_no_residual():
    before, graph = after(Net(["conv 1×1", "relu", "residual"], "image", 3), *PASSES)
    assert_near(before, graph, X)
    w = normal(np.random.default_rng(0), 4, 4, 1, 1)

    def model(x):
        y = F.conv2d(x, w)
        return y + y

    _, graph = after(model, *PASSES)
    assert names(graph) == ["conv2d", "add"]


def test_activations_behind_cat_go_before_it():
    w = normal(np.random.default_rng(0), 4, 4, 1, 1)

    def model(x):
        x = F.relu(F.conv2d(x, w))
        return F.relu(nc.cat([F.avg_pool2d(x, 3, 1, 1), F.conv2d(x, w)], 1))

    before, graph = after(model, "split_activation", "fuse_activation")
    assert names(graph) == ["conv2d_act", "avg_pool2d", "conv2d_act", "cat"]
    assert_equal(before, graph, X)


# --------------------------------------------------------------------------- channels


@pytest.mark.parametrize(
    ("model", "index"),
    [
        (lambda x: F.channel_shuffle(x, 2), (0, 2, 1, 3)),
        (lambda x: x[:, 1:], (1, 2, 3)),
        (lambda x: x[..., ::2, :, :], (0, 2)),
        (lambda x: x[:, [2, 2, 0]], (2, 2, 0)),
        (lambda x: x.flip(1), (3, 2, 1, 0)),
        (lambda x: x.roll(1, 1), (3, 0, 1, 2)),
        (lambda x: x.index_select(1, nc.tensor([3, 1])), (3, 1)),
        (lambda x: F.pad(x, (0, 0, 0, 0, 2, -1)), (-1, -1, 0, 1, 2)),
        (lambda x: nc.cat([x, x[:, :1]], 1), (0, 1, 2, 3, 0)),
        (lambda x: F.channel_shuffle(x, 2)[:, 2:].flip(1), (3, 1)),
        (lambda x: x.reshape(2, 2, 2, 6, 5).transpose(1, 2).reshape(2, 4, 6, 5), (0, 2, 1, 3)),
    ],
)
def test_what_moves_channels_is_one_index(model, index):
    before, graph = after(model, "channel_views")
    assert (names(graph), graph.nodes[0].attrs["index"]) == (["channels"], index)
    assert_equal(before, graph, X)


def test_halves_of_a_shuffle_of_two_branches_read_the_branches():
    def model(x):
        y = F.channel_shuffle(nc.cat([x.exp(), x.abs()], 1), 2)
        return y[:, :4], y[:, 4:]

    before, graph = after(model, "channel_views")
    assert names(graph) == ["exp", "abs", "channels", "channels"]
    assert [node.attrs["index"] for node in graph.nodes[2:]] == [(0, 4, 1, 5), (2, 6, 3, 7)]
    assert_equal(before, graph, X)


@pytest.mark.parametrize(
    "steps",
    [
        ["shuffle", "conv 3×3"],  # into its weights
        ["conv 3×3", "flip", "border"],
        ["shuffle", "depthwise", "relu", "max_pool", "batch_norm", "conv 1×1"],  # past all that
        ["shuffle", "depthwise", "shuffle"],  # they cancel
        ["roll", "mean", "conv 1×1"],
        ["roll", "depthwise", "batch_norm", "conv 1×1"],
    ],
)
def test_permutations_become_an_order_of_weights(steps):
    before, graph = after(Net(steps, "image", 1), "channel_views")
    assert "channels" not in names(graph)
    assert_near(before, graph, X)


def test_a_permutation_that_nothing_takes_stays_where_it_was():
    before, graph = after(Net(["shuffle", "depthwise", "grouped"], "image", 0), "channel_views")
    assert names(graph) == ["channels", "depthwise_conv2d", "conv2d"]
    assert_near(before, graph, X)


def test_two_of_the_same_permutation_become_one_of_the_sum():
    model = lambda x: x.exp().flip(1) + x.abs().flip(1)  # noqa: E731
    before, graph = after(model, "channel_views")
    assert names(graph) == ["exp", "abs", "add", "channels"]
    assert_equal(before, graph, X)


# --------------------------------------------------------------------------- networks


def randomised(name):
    """A network with statistics that a training might have left."""
    model, rng = nc.models.builder(name)().eval(), np.random.default_rng(0)
    for module in model.modules():
        if hasattr(module, "running_var"):
            C = module.num_features
            module.running_mean.data = rng.normal(0, 0.1, C).astype(np.float32)
            module.running_var.data = rng.uniform(0.5, 2, C).astype(np.float32)
            module.weight.data = rng.uniform(0.5, 1.5, C).astype(np.float32)
            module.bias.data = rng.normal(0, 0.1, C).astype(np.float32)
    return model


def image():
    return np.random.default_rng(1).standard_normal((1, 3, 48, 48)).astype(np.float32)


LEFT = {"conv2d", "conv2d_act", "depthwise_conv2d", "depthwise_conv2d_act", "linear", "linear_act"}
LEFT |= {"channels", "max_pool2d", "avg_pool2d", "adaptive_avg_pool2d", "flatten"}


@pytest.mark.parametrize("name", nc.models.names())
def test_networks_keep_their_logits(name):
    before = capture(randomised(name), image())
    graph = optimise(before)
    expected, y = before.run(image()), graph.run(image())
    assert np.abs(y - expected).max() <= 1e-5 * np.abs(expected).max()
    more = {"mul"} if "v3" in name else {"getitem"} if name in ("resnet20", "resnet56") else set()
    assert set(names(graph)) <= LEFT | more | ({"softmax"} if name == "lightweight_cnn" else set())
