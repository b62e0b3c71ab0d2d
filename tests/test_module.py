"""Modules: members, names, state dicts, hooks, copies. The oracle is PyTorch's Module itself.

Networks here are written once, as functions of the library (`nn` is nanoconv.nn or torch.nn), so
that both are asked the same questions.
"""

import copy
import pickle
from collections import OrderedDict

import numpy as np
import pytest

import nanoconv as nc
from nanoconv import nn

torch = pytest.importorskip("torch")
torch.set_num_threads(1)

LIBRARIES = [nn, torch.nn]


def tensor_of(lib, *values):
    return nc.tensor(list(values)) if lib is nn else torch.tensor(list(values))


def network(lib):
    """Shared modules and parameters, an empty place, buffers of both kinds, lists in lists."""

    class Block(lib.Module):
        def __init__(self, channels):
            super().__init__()
            self.scale = lib.Parameter(tensor_of(lib, 2.0))
            self.conv = lib.Conv2d(channels, channels, 3, padding=1, groups=2, bias=False)
            self.norm = lib.BatchNorm2d(channels)
            self.absent = None
            self.register_parameter("offset", None)
            self.register_buffer("grid", tensor_of(lib, 1.0, 2.0))
            self.register_buffer("cache", tensor_of(lib, 3.0), persistent=False)
            self.register_buffer("empty", None)

        def extra_repr(self):
            return "a block\nof two lines"

    class Net(lib.Module):
        def __init__(self):
            super().__init__()
            block = Block(4)
            self.stages = lib.ModuleList([block, Block(2), block])
            self.head = lib.Sequential(lib.Flatten(), lib.Linear(8, 3), lib.ReLU(inplace=True))
            self.register_module("nothing", None)
            self.tied = self.head[1].weight

    return Net()


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


# --------------------------------------------------------------------------- containers


@pytest.mark.parametrize("lib", LIBRARIES)
def test_containers_are_lists(lib):
    a, b, c, d = lib.ReLU(), lib.Identity(), lib.Tanh(), lib.Sigmoid()
    for container in (lib.ModuleList([a, b]), lib.Sequential(a, b)):
        container.append(c)
        container.extend([d])
        container.insert(1, d)
        assert list(container) == [a, d, b, c, d]
        assert len(container) == 5
        assert container[-2] is c
        assert list(container[1:3]) == [d, b]
        assert type(container[1:3]) is type(container)
        container[0] = b
        del container[3]
        assert list(container) == [b, d, b, d]
        del container[:2]
        assert [name for name, _ in container.named_children()] == ["0", "1"]
        with pytest.raises(IndexError):
            container[2]


@pytest.mark.parametrize("lib", LIBRARIES)
def test_containers_are_joined_and_taken_apart(lib):
    a, b, c, d = lib.ReLU(), lib.Identity(), lib.Tanh(), lib.Sigmoid()
    both = lib.Sequential(a, b) + lib.Sequential(c)
    assert type(both) is lib.Sequential
    assert list(both) == [a, b, c]
    same = both
    both += lib.Sequential(d)
    assert both is same
    assert list(both) == [a, b, c, d]
    assert both.pop(1) is b
    assert both.pop(-1) is d
    assert [name for name, _ in both.named_children()] == ["0", "1"]
    with pytest.raises((TypeError, ValueError), match="Sequential"):
        both + [d]  # noqa: RUF005 (the error is what is asked for)
    longer = lib.ModuleList([a]) + [b, c]  # noqa: RUF005
    assert type(longer) is lib.ModuleList
    assert list(longer) == [a, b, c]
    longer += [d]
    assert longer.pop(0) is a
    assert list(longer) == [b, c, d]
    with pytest.raises(IndexError):
        longer.pop(7)


@pytest.mark.parametrize("lib", LIBRARIES)
def test_sequential_of_names(lib):
    net = lib.Sequential(OrderedDict(first=lib.Identity(), last=lib.ReLU()))
    assert net.last is net[1]
    assert [name for name, _ in net[1:].named_children()] == ["last"]


def test_sequential_runs_in_order():
    assert nn.Sequential(Affine(2, 0), Affine(1, 3))(5) == 13
    assert nn.Sequential()(5) == 5
    with pytest.raises(NotImplementedError, match="ModuleList has no forward"):
        nn.ModuleList([Affine(1, 1)])(5)


class Affine(nn.Module):
    """y = a·x + b on numbers, which modules are indifferent to."""

    def __init__(self, a, b):
        super().__init__()
        self.a, self.b = a, b

    def forward(self, x, extra=0):
        return self.a * x + self.b + extra


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


# --------------------------------------------------------------------------- state dicts


def test_state_dict_is_a_read_only_view():
    layer = nn.Linear(2, 3)
    state = layer.state_dict()
    with pytest.raises(ValueError, match="read-only"):
        state["bias"][0] = 1
    with nc.no_grad():
        layer.bias.fill_(4)
    assert state["bias"].tolist() == [4, 4, 4]
    assert not layer.bias._storage.escaped
    state["bias"].shape = (3, 1)
    assert layer.bias.shape == (3,)


def test_state_dict_round_trip_with_pytorch():
    ours, theirs = network(nn), network(torch.nn)
    assert ours.load_state_dict(theirs.state_dict()) == ([], [])
    for name, value in theirs.state_dict().items():
        assert ours.state_dict()[name].tolist() == value.tolist(), name
    ours = network(nn)
    theirs.load_state_dict({k: torch.tensor(v) for k, v in ours.state_dict().items()})
    for name, value in theirs.state_dict().items():
        assert ours.state_dict()[name].tolist() == value.tolist(), name


def test_load_state_dict_copies_in_place():
    layer = nn.Linear(2, 1)
    weight, given = layer.weight, np.array([[1, 2]], np.float32)
    layer.load_state_dict({"weight": given, "bias": nc.tensor([3.0])})
    given[:] = 0
    assert layer.weight is weight
    assert weight.tolist() == [[1, 2]]
    assert layer.bias.tolist() == [3]
    assert weight.requires_grad
    assert not weight._storage.escaped


def test_load_state_dict_reports_everything_and_changes_nothing():
    net = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    state = {name: array.copy() for name, array in net.state_dict().items()}
    state["0.bias"] += 1
    state["0.weight"] = np.zeros((3, 1), np.float32)
    state["1.weight"] = state["1.weight"].astype(np.float64)
    state["1.running_mean"] = "text"
    state["extra"] = state.pop("1.bias")
    before = net.state_dict()["0.bias"].copy()
    for strict in (True, False):
        with pytest.raises(ValueError, match="the state dict does not fit Sequential") as caught:
            net.load_state_dict(state, strict=strict)
        lines = str(caught.value).split("\n")[1:]
        assert ("  1.bias: missing" in lines) == strict
        assert ("  extra: unexpected" in lines) == strict
        assert "  0.weight: shape (3, 1), expected (3, 2)" in lines
        assert "  1.weight: dtype float64, expected float32" in lines
        assert any(line.startswith("  1.running_mean: ") for line in lines)
        assert (net.state_dict()["0.bias"] == before).all()
    with pytest.raises(TypeError, match="must be a dict"):
        net.load_state_dict([1])


def test_load_state_dict_that_is_not_strict():
    net = nn.Sequential(nn.Linear(2, 3), nn.ReLU())
    result = net.load_state_dict({"0.bias": np.ones(3, np.float32), "x": 1}, strict=False)
    assert result.missing_keys == ["0.weight"]
    assert result.unexpected_keys == ["x"]
    assert net[0].bias.tolist() == [1, 1, 1]


def test_old_checkpoints_lack_num_batches_tracked():
    net = nn.Sequential(nn.BatchNorm2d(2))
    net[0].num_batches_tracked.fill_(5)
    state = {k: v for k, v in net.state_dict().items() if "num_batches" not in k}
    assert net.load_state_dict(state) == ([], [])
    assert net[0].num_batches_tracked.item() == 5
    fresh = nn.BatchNorm2d(2, track_running_stats=False)
    with pytest.raises(ValueError, match="running_mean: unexpected"):
        fresh.load_state_dict(net[0].state_dict())
