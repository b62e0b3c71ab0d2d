"""Modules: members, names, hooks, copies. The oracle is PyTorch's Module itself.

Networks here are written once, as functions of the library (`nn` is nanoconv.nn or torch.nn), so
that both are asked the same questions.
"""

import copy
import pickle

import numpy as np
import pytest
from networks import LIBRARIES, Affine, network, tensor_of, torch

import nanoconv as nc
from nanoconv import nn

# --------------------------------------------------------------------------- names


def names(members):
    return [name for name, _ in members]


def shapes(members):
    return [(name, tuple(value.shape)) for name, value in members]


def kinds(modules):
    return [type(module).__name__ for module in modules]


def visited(net):
    order = []
    net.apply(order.append)
    return order


QUESTIONS = {
    "named_modules": lambda net: names(net.named_modules()),
    "all named_modules": lambda net: names(net.named_modules(remove_duplicate=False)),
    "prefixed named_modules": lambda net: names(net.named_modules(prefix="net")),
    "modules": lambda net: kinds(net.modules()),
    "named_children": lambda net: names(net.named_children()),
    "children": lambda net: kinds(net.stages.children()),
    "named_parameters": lambda net: shapes(net.named_parameters()),
    "own named_parameters": lambda net: names(net.named_parameters(prefix="a", recurse=False)),
    "all named_parameters": lambda net: names(net.named_parameters(remove_duplicate=False)),
    "parameters": lambda net: [tuple(p.shape) for p in net.parameters()],
    "named_buffers": lambda net: shapes(net.named_buffers()),
    "own named_buffers": lambda net: names(net.stages[0].named_buffers(recurse=False)),
    "buffers": lambda net: [tuple(b.shape) for b in net.buffers()],
    "state_dict": lambda net: shapes(net.state_dict().items()),
    "prefixed state_dict": lambda net: shapes(net.head.state_dict(prefix="net.head.").items()),
    "get_parameter": lambda net: tuple(net.get_parameter("stages.0.conv.weight").shape),
    "own get_parameter": lambda net: tuple(net.head[1].get_parameter("bias").shape),
    "get_buffer": lambda net: tuple(net.get_buffer("stages.1.norm.running_var").shape),
    "apply": lambda net: kinds(visited(net)),
    "get_submodule": lambda net: kinds([net.get_submodule("head.1"), net.get_submodule("")]),
    "repr": lambda net: [repr(m) for m in (*net.stages, net.head)],
}


@pytest.mark.parametrize("question", QUESTIONS.values(), ids=QUESTIONS.keys())
def test_answers_as_pytorch(question):
    assert question(network(nn)) == question(network(torch.nn))


def test_repr_is_nested():
    assert repr(nn.Sequential(nn.ReLU(), nn.Sequential(nn.Linear(2, 1)))) == (
        "Sequential(\n"
        "  (0): ReLU()\n"
        "  (1): Sequential(\n"
        "    (0): Linear(in_features=2, out_features=1, bias=True)\n"
        "  )\n"
        ")"
    )
    assert repr(nn.Parameter([1.0])) == "Parameter containing:\ntensor([1.], requires_grad=True)"


def test_get_submodule_errors():
    net = network(nn)
    with pytest.raises(AttributeError, match="no attribute 'tail'"):
        net.get_submodule("head.tail")
    with pytest.raises(AttributeError, match=r"'head\.1\.weight' is not a module"):
        net.get_submodule("head.1.weight")


@pytest.mark.parametrize("lib", LIBRARIES)
@pytest.mark.parametrize(
    ("kind", "target"),
    [
        ("parameter", "head.1"),
        ("parameter", "head.1.nothing"),
        ("parameter", "head.9.weight"),
        ("parameter", "stages.1.grid"),
        ("buffer", "stages.1.scale"),
        ("buffer", "stages.1"),
    ],
)
def test_get_parameter_and_get_buffer_refuse_what_is_none(lib, kind, target):
    with pytest.raises(AttributeError):
        getattr(network(lib), f"get_{kind}")(target)


# --------------------------------------------------------------------------- members


def parameter(lib):
    return lib.Parameter(tensor_of(lib, 1.0))


MISTAKES = {
    "tensor for a parameter": lambda m, lib: setattr(m, "p", tensor_of(lib, 1.0)),
    "number for a parameter": lambda m, lib: setattr(m, "p", 1.0),
    "module for a parameter": lambda m, lib: setattr(m, "p", lib.ReLU()),
    "tensor for a module": lambda m, lib: setattr(m, "child", tensor_of(lib, 1.0)),
    "number for a module": lambda m, lib: setattr(m, "child", 1),
    "number for a buffer": lambda m, lib: setattr(m, "b", 1.0),
    "register_parameter of a tensor": lambda m, lib: m.register_parameter("x", tensor_of(lib, 1.0)),
    "register_parameter without a name": lambda m, lib: m.register_parameter("", None),
    "register_parameter with a dot": lambda m, lib: m.register_parameter("a.b", None),
    "register_parameter with a number": lambda m, lib: m.register_parameter(1, None),
    "register_parameter over an attribute": lambda m, lib: m.register_parameter("b", None),
    "register_buffer of a number": lambda m, lib: m.register_buffer("x", 1.0),
    "register_buffer over a parameter": lambda m, lib: m.register_buffer("p", None),
    "register_buffer over a method": lambda m, lib: m.register_buffer("forward", None),
    "register_module of a number": lambda m, lib: m.register_module("x", 1),
    "add_module over a buffer": lambda m, lib: m.add_module("b", lib.ReLU()),
    "read what is not there": lambda m, lib: m.nothing,
    "delete what is not there": lambda m, lib: delattr(m, "nothing"),
    "train with a number": lambda m, lib: m.train(1),
    "call without a forward": lambda m, lib: m(1),
    "append a number": lambda m, lib: lib.Sequential().append(1),
    "assign past the end": lambda m, lib: lib.ModuleList([lib.ReLU()]).__setitem__(3, lib.ReLU()),
}


@pytest.mark.parametrize("mistake", MISTAKES.values(), ids=MISTAKES.keys())
def test_mistakes_raise_what_pytorch_raises(mistake):
    raised = []
    for lib in LIBRARIES:
        module = full_module(lib)
        with pytest.raises(Exception) as caught:  # noqa: PT011 (compared below)
            mistake(module, lib)
        raised.append(caught.type)
        assert members_of(module) == members_of(full_module(lib))
    assert raised[0] is raised[1]


def full_module(lib):
    module = lib.Module()
    module.p, module.child = parameter(lib), lib.ReLU()
    module.register_buffer("b", tensor_of(lib, 1.0))
    module.plain = 1
    return module


def members_of(module):
    return (
        [name for name, _ in module.named_parameters()],
        [name for name, _ in module.named_buffers()],
        [name for name, _ in module.named_children()],
        list(module.state_dict()),
        "plain" in vars(module),
    )


CHANGES = {
    "another parameter": lambda m, lib: setattr(m, "p", parameter(lib)),
    "no parameter": lambda m, lib: setattr(m, "p", None),
    "a parameter again": lambda m, lib: (setattr(m, "p", None), setattr(m, "p", parameter(lib))),
    "parameter for a module": lambda m, lib: setattr(m, "child", parameter(lib)),
    "parameter for a buffer": lambda m, lib: setattr(m, "b", parameter(lib)),
    "parameter for a number": lambda m, lib: setattr(m, "plain", parameter(lib)),
    "module for a buffer": lambda m, lib: setattr(m, "b", lib.ReLU()),
    "module for a number": lambda m, lib: setattr(m, "plain", lib.ReLU()),
    "tensor for a buffer": lambda m, lib: setattr(m, "b", tensor_of(lib, 1.0, 2.0)),
    "tensor for a number": lambda m, lib: setattr(m, "plain", tensor_of(lib, 1.0)),
    "a transient buffer": lambda m, lib: m.register_buffer("b", tensor_of(lib, 1.0), False),
    "a persistent buffer again": lambda m, lib: (
        m.register_buffer("b", None, persistent=False),
        m.register_buffer("b", tensor_of(lib, 1.0)),
    ),
    "parameter for a transient buffer": lambda m, lib: (
        m.register_buffer("b", None, persistent=False),
        setattr(m, "b", parameter(lib)),
    ),
    "delete a parameter": lambda m, lib: delattr(m, "p"),
    "delete a buffer": lambda m, lib: delattr(m, "b"),
    "delete a module": lambda m, lib: delattr(m, "child"),
    "delete a number": lambda m, lib: delattr(m, "plain"),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_changes_do_what_they_do_in_pytorch(change):
    modules = [full_module(lib) for lib in LIBRARIES]
    for module, lib in zip(modules, LIBRARIES, strict=True):
        change(module, lib)
    assert members_of(modules[0]) == members_of(modules[1])


def test_members_before_init_are_an_error():
    class Hasty(nn.Module):
        def __init__(self):
            self.weight = nn.Parameter([1.0])

    with pytest.raises(AttributeError, match=r"'weight' before Module\.__init__\(\)"):
        Hasty()


def test_parameter_shares_a_tensor_and_copies_an_array():
    source, array = nc.tensor([1.0, 2.0]), np.ones(2, np.float32)
    shared, copied = nn.Parameter(source), nn.Parameter(array)
    source.fill_(5)
    array[:] = 5
    assert shared.tolist() == [5, 5]
    assert copied.tolist() == [1, 1]
    assert not nn.Parameter([1.0], requires_grad=False).requires_grad
    with pytest.raises(TypeError, match="got int64"):
        nn.Parameter([1, 2])


# --------------------------------------------------------------------------- modes and hooks


def test_train_and_eval_reach_every_module():
    net = network(nn)
    assert all(m.training for m in net.modules())
    assert net.eval() is net
    assert not any(m.training for m in net.modules())
    net.stages[1].train()
    assert [m.training for m in net.stages] == [False, True, False]


def test_hooks_see_and_change_what_passes():
    module, seen = Affine(2, 1), []
    before = module.register_forward_pre_hook(lambda m, args: seen.append((m, args)))
    after = module.register_forward_hook(lambda m, args, y: seen.append((m, args, y)))
    assert module(3) == 7
    assert seen == [(module, (3,)), (module, (3,), 7)]
    before.remove()
    after.remove()
    after.remove()
    assert module(3) == 7
    assert len(seen) == 2
    with (
        module.register_forward_pre_hook(lambda m, args: 10),
        module.register_forward_pre_hook(lambda m, args: (args[0] + 1, 100)),
        module.register_forward_hook(lambda m, args, y: y * 2),
        module.register_forward_hook(lambda m, args, y: (y, args)),
    ):
        assert module(3) == (246, (11, 100))
    assert module(3) == 7
    assert module(3, extra=1) == 8


@pytest.mark.parametrize("lib", LIBRARIES)
def test_hooks_with_kwargs(lib):
    class Shifted(lib.Module):
        def forward(self, x, extra=0):
            return x + extra

    module, seen = Shifted(), []
    with (
        module.register_forward_pre_hook(
            lambda m, args, kwargs: seen.append((m, args, kwargs)), with_kwargs=True
        ),
        module.register_forward_hook(
            lambda m, args, kwargs, y: seen.append((m, args, kwargs, y)), with_kwargs=True
        ),
    ):
        assert module(3, extra=4) == 7
    assert seen == [(module, (3,), {"extra": 4}), (module, (3,), {"extra": 4}, 7)]
    with (
        module.register_forward_pre_hook(
            lambda m, args, kwargs: (args, {"extra": kwargs["extra"] + 1}), with_kwargs=True
        ),
        module.register_forward_pre_hook(lambda m, args: 10),
        module.register_forward_hook(lambda m, args, kwargs, y: (y, kwargs), with_kwargs=True),
    ):
        assert module(3, extra=4) == (15, {"extra": 5})
    with (
        module.register_forward_pre_hook(lambda m, args, kwargs: args, with_kwargs=True),
        pytest.raises(RuntimeError),
    ):
        module(3)
    assert module(3) == 3


def test_a_hook_may_remove_itself():
    module, seen = Affine(1, 0), []

    def once(module, args, output):
        seen.append(output)
        handle.remove()

    handle = module.register_forward_hook(once)
    module(1)
    module(2)
    assert seen == [1]


def test_zero_grad_and_freezing():
    net = network(nn)
    for p in net.parameters():
        p.grad = nc.tensor(np.ones(p.shape, np.float32))
    net.zero_grad(set_to_none=False)
    assert all((p.grad.numpy() == 0).all() for p in net.parameters())
    net.zero_grad()
    assert all(p.grad is None for p in net.parameters())
    assert net.requires_grad_(False) is net
    assert not any(p.requires_grad for p in net.parameters())
    net.head.requires_grad_()
    assert [n for n, p in net.named_parameters() if p.requires_grad] == [
        "tied",
        "head.1.bias",
    ]


# --------------------------------------------------------------------------- dtypes and copies


def test_dtype_conversions():
    net = network(nn)
    first = net.stages[0]
    parameters = list(net.parameters())
    parameters[0].grad = nc.tensor(np.ones(parameters[0].shape, np.float32))
    values = {name: array.copy() for name, array in net.state_dict().items()}
    assert net.double() is net
    assert [id(p) for p in net.parameters()] == [id(p) for p in parameters]
    assert {p.dtype for p in net.parameters()} == {np.dtype("float64")}
    assert parameters[0].grad.dtype == np.float64
    assert first.norm.running_mean.dtype == first.cache.dtype == np.float64
    assert first.norm.num_batches_tracked.dtype == np.int64
    net.to("float32")
    assert all((array == values[name]).all() for name, array in net.state_dict().items())
    assert {array.dtype.name for array in net.float().state_dict().values()} == {"float32", "int64"}
    for dtype in (np.int64, "float16", None):
        with pytest.raises(TypeError, match=r"to: dtype=.* must be float32 or float64"):
            net.to(dtype)


def test_the_tape_notices_a_conversion():
    layer = nn.Linear(2, 1)
    y = layer.weight * layer.weight
    layer.double()
    with pytest.raises(RuntimeError, match="changed in place"):
        y.backward(np.ones((1, 2), np.float32))
    y = layer.weight * layer.weight
    layer.weight.data[0, 0] = 5
    with pytest.raises(RuntimeError, match="changed in place"):
        y.backward(np.ones((1, 2)))


class Tied(nn.Module):
    """Module-level, so that it can be pickled."""

    def __init__(self):
        super().__init__()
        self.first = nn.Linear(2, 2)
        self.second = nn.Linear(2, 2)
        self.second.weight = self.first.weight
        self.register_buffer("steps", nc.tensor([0]), persistent=False)
        self.name = "tied"


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_copies_are_complete_and_independent(duplicate):
    net = Tied().eval()
    net.first.bias.requires_grad = False
    net.first.weight.grad = nc.tensor(np.ones((2, 2), np.float32))
    twin = duplicate(net)
    assert twin.second.weight is twin.first.weight
    assert isinstance(twin.first.weight, nn.Parameter)
    assert not twin.training
    assert not twin.first.bias.requires_grad
    assert twin.name == "tied"
    assert list(twin.state_dict()) == list(net.state_dict())
    assert twin.first.weight.grad.tolist() == [[1, 1], [1, 1]]
    before = net.first.weight.tolist()
    assert twin.first.weight.tolist() == before
    with nc.no_grad():
        twin.first.weight.zero_()
        twin.steps.fill_(7)
    assert net.first.weight.tolist() == before
    assert net.steps.tolist() == [0]
    assert list(duplicate(net)._transient) == ["steps"]


def test_copying_a_history_is_an_error():
    with pytest.raises(RuntimeError, match="detach"):
        copy.deepcopy(nn.Parameter([1.0]) * 2)
