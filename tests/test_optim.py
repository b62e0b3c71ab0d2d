"""Optimisers against PyTorch's, over whole trajectories.

Rounding errors add up over the steps, so two right implementations differ by at most

    2·K·(ε·max|p| + max|Δp|)      K: steps, Δp: what relative changes ε of all inputs do

with Δp measured on PyTorch's own float64 trajectory.
"""

import copy
import inspect
import pickle

import numpy as np
import pytest

import nanoconv as nc
from nanoconv import nn, optim

torch = pytest.importorskip("torch")
torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def numbers_in_float64():
    """PyTorch keeps NAdam's mu_product in the default dtype, here it is a Python float."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


STEPS, SIZE = 50, 40

OPTIMISERS = {
    "sgd": ("SGD", {"lr": 0.1}),
    "sgd with the default lr": ("SGD", {}),
    "momentum": ("SGD", {"lr": 0.1, "momentum": 0.9}),
    "dampening": ("SGD", {"lr": 0.1, "momentum": 0.9, "dampening": 0.3}),
    "sgd with decay": ("SGD", {"lr": 0.1, "weight_decay": 0.2}),
    "momentum with decay": ("SGD", {"lr": 0.1, "momentum": 0.5, "weight_decay": 0.2}),
    "nesterov": ("SGD", {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.01}),
    "sgd up": ("SGD", {"lr": 0.01, "momentum": 0.5, "weight_decay": 0.1, "maximize": True}),
    "adam": ("Adam", {}),
    "adam with betas": ("Adam", {"lr": 0.05, "betas": (0.5, 0.7), "eps": 1e-3}),
    "adam with decay": ("Adam", {"lr": 0.01, "weight_decay": 0.1}),
    "adam decoupled": ("Adam", {"weight_decay": 0.1, "decoupled_weight_decay": True}),
    "adam up": ("Adam", {"lr": 0.01, "weight_decay": 0.1, "maximize": True}),
    "amsgrad": ("Adam", {"lr": 0.01, "betas": (0.9, 0.5), "amsgrad": True}),
    "adamw": ("AdamW", {}),
    "adamw with decay": ("AdamW", {"lr": 0.05, "weight_decay": 0.3, "amsgrad": True}),
    "adamw up": ("AdamW", {"lr": 0.02, "maximize": True}),
    "nadam": ("NAdam", {}),
    "nadam with decays": ("NAdam", {"lr": 0.05, "weight_decay": 0.1, "momentum_decay": 0.5}),
    "nadam decoupled": (
        "NAdam",
        {"betas": (0.5, 0.8), "weight_decay": 0.2, "decoupled_weight_decay": True, "eps": 1e-4},
    ),
    "nadam up": ("NAdam", {"momentum_decay": 0, "maximize": True}),
    "rmsprop": ("RMSprop", {}),
    "rmsprop with decay": ("RMSprop", {"alpha": 0.5, "eps": 1e-2, "weight_decay": 0.1}),
    "rmsprop with momentum": ("RMSprop", {"lr": 0.005, "momentum": 0.9, "weight_decay": 0.1}),
    "rmsprop centered": ("RMSprop", {"centered": True, "alpha": 0.9, "eps": 1e-2}),
    "rmsprop with all": (
        "RMSprop",
        {"centered": True, "momentum": 0.5, "eps": 1e-2, "maximize": True, "weight_decay": 0.1},
    ),
    "adagrad": ("Adagrad", {}),
    "adagrad with decays": ("Adagrad", {"lr": 0.5, "lr_decay": 0.1, "weight_decay": 0.1}),
    "adagrad from 1": ("Adagrad", {"initial_accumulator_value": 1, "eps": 0.1, "maximize": True}),
}
MODES = pytest.mark.parametrize(("name", "options"), OPTIMISERS.values(), ids=OPTIMISERS.keys())


def problem(seed=0, change=0.0):
    """A start, and the curvature and noise of each step's gradient h·p + r."""
    rng = np.random.default_rng(seed)
    arrays = rng.normal(size=SIZE), rng.uniform(0, 1, SIZE), rng.normal(size=(STEPS, SIZE))
    arrays[2][:, 0] = 0  # a parameter whose gradient is all curvature
    signs = np.random.default_rng(seed + 1)
    return [a * (1 + change * signs.choice([-1, 1], a.shape)) for a in arrays]


def run(lib, dtype, name, options, change=0.0):
    """All positions of a trajectory, (STEPS, SIZE) in float64."""
    start, curvature, noise = (a.astype(dtype) for a in problem(change=change))
    if lib is nc:
        p, as_tensor, classes = nn.Parameter(start), nc.tensor, optim
    else:
        p, as_tensor, classes = torch.nn.Parameter(torch.tensor(start)), torch.tensor, torch.optim
    optimiser = getattr(classes, name)([p], **options)
    path = []
    for r in noise:
        p.grad = as_tensor(curvature * p.detach().numpy() + r)
        optimiser.step()
        path.append(p.detach().numpy().astype(np.float64))
    return np.array(path)


@MODES
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_trajectories_equal_pytorch(name, options, dtype):
    expected = run(torch, np.float64, name, options)
    eps = np.finfo(dtype).eps / 2
    moved = run(torch, np.float64, name, options, change=eps) - expected
    bound = 2 * STEPS * (eps * np.abs(expected).max() + np.abs(moved).max())
    assert np.abs(expected[-1] - problem()[0]).max() > 1000 * bound
    assert np.abs(run(nc, dtype, name, options) - expected).max() <= bound


def run_groups(lib, name, options):
    """Two groups with rates of their own; in some steps a parameter has no gradient."""
    starts = [np.array([1.0, -2.0]), np.array([[0.5]]), np.array([3.0])]
    if lib is nc:
        params, as_tensor, classes = [nn.Parameter(s) for s in starts], nc.tensor, optim
    else:
        params = [torch.nn.Parameter(torch.tensor(s)) for s in starts]
        as_tensor, classes = torch.tensor, torch.optim
    groups = [{"params": params[:1]}, {"params": params[1:2], "lr": 0.003}]
    optimiser = getattr(classes, name)(groups, **options)
    rng, path = np.random.default_rng(2), []
    for step in range(STEPS):
        if step == 10:
            optimiser.add_param_group({"params": params[2:], "weight_decay": 0.3})
        for k, p in enumerate(params):
            gradient = as_tensor(rng.normal(size=tuple(p.shape)))
            p.grad = None if (step + k) % 3 == 0 else gradient
        optimiser.step()
        path.append(np.concatenate([p.detach().numpy().ravel() for p in params]))
    return np.array(path)


@MODES
def test_groups_and_missing_gradients_equal_pytorch(name, options):
    expected = run_groups(torch, name, options)
    assert (expected[0] != expected[-1]).all()
    bound = 1e-10 * np.abs(expected).max()
    assert np.abs(run_groups(nc, name, options) - expected).max() <= bound


def train(lib, change=0.0):
    """The parameters and buffers of a small network after training, as one vector."""
    net = lib.Sequential(
        lib.Conv2d(2, 8, 3, padding=1, bias=False),
        lib.BatchNorm2d(8),
        lib.Hardswish(),
        lib.Conv2d(8, 8, 3, stride=2, groups=8),
        lib.AvgPool2d(2),
        lib.Flatten(),
        lib.Linear(8, 3),
    ).double()
    rng = np.random.default_rng(0)
    state = {
        name: rng.uniform(0.1, 1, value.shape) * (1 + change * rng.choice([-1, 1], value.shape))
        for name, value in sorted(net.state_dict().items())
        if "num_batches" not in name
    }
    state["1.num_batches_tracked"] = np.array(0)
    images, labels = rng.normal(size=(12, 2, 6, 6)), rng.integers(0, 3, 12)
    as_tensor, classes = (nc.tensor, optim) if lib is nn else (torch.tensor, torch.optim)
    net.load_state_dict(state if lib is nn else {k: torch.tensor(v) for k, v in state.items()})
    optimiser = classes.SGD(net.parameters(), lr=0.05, momentum=0.9, weight_decay=1e-3)
    criterion = lib.CrossEntropyLoss(label_smoothing=0.1)
    for _ in range(STEPS):
        optimiser.zero_grad()
        criterion(net(as_tensor(images)), as_tensor(labels)).backward()
        optimiser.step()
    return np.concatenate([np.asarray(v).ravel() for _, v in sorted(net.state_dict().items())])


def test_a_network_trains_as_in_pytorch():
    expected, eps = train(torch.nn), np.finfo(np.float64).eps / 2
    moved = train(torch.nn, change=eps) - expected
    bound = 2 * STEPS * (eps * np.abs(expected).max() + np.abs(moved).max())
    assert np.abs(train(nn) - expected).max() <= bound < 1e-9 * np.abs(expected).max()


@MODES
def test_a_scalar_moves_as_an_array_does(name, options):
    scalar, array = nn.Parameter(nc.tensor(1.5)), nn.Parameter([1.5])
    optimiser = getattr(optim, name)([scalar, array], **options)
    for gradient in (0.5, -2.0, 1.0):
        scalar.grad, array.grad = nc.tensor(gradient), nc.tensor([gradient])
        optimiser.step()
        assert scalar.item() == array.item() != 1.5
        optimiser.load_state_dict(optimiser.state_dict())


@pytest.mark.parametrize("name", ["SGD", "Adam", "AdamW", "NAdam", "RMSprop", "Adagrad"])
def test_arguments_are_pytorchs(name):
    ours, theirs = (inspect.signature(getattr(lib, name)) for lib in (optim, torch.optim))
    described = [
        [(p.name, p.kind, p.default) for p in signature.parameters.values()]
        for signature in (ours, theirs)
    ]
    assert described[0] == described[1]


def test_arguments_for_speed_change_nothing():
    p, q = nn.Parameter([1.0]), nn.Parameter([1.0])
    plain = optim.Adam([p])
    fast = optim.Adam([q], foreach=True, capturable=True, fused=True)
    steps(plain, p, 3, seed=0)
    steps(fast, q, 3, seed=0)
    assert p.tolist() == q.tolist()
    assert fast.state_dict()["param_groups"][0]["fused"] is True


def test_adagrad_starts_each_group_from_its_own_value():
    p = nn.Parameter([1.0])
    optimiser = optim.Adagrad([{"params": [p], "initial_accumulator_value": 9.0}], lr=1.0)
    p.grad = nc.tensor([4.0])
    optimiser.step()
    assert p.item() == pytest.approx(1 - 4 / 5, rel=1e-6)


@MODES
def test_defaults_and_groups_are_pytorchs(name, options):
    ours = getattr(optim, name)([nn.Parameter([1.0])], **options).state_dict()
    theirs = getattr(torch.optim, name)([torch.nn.Parameter(torch.ones(1))], **options).state_dict()
    assert ours["param_groups"] == theirs["param_groups"]
    assert ours["state"] == {}


def test_groups_have_their_own_settings():
    p, q = nn.Parameter([1.0]), nn.Parameter([1.0])
    optimiser = optim.SGD([{"params": p}, {"params": [q], "lr": 0.5}], lr=0.25)
    p.grad = q.grad = nc.tensor([1.0])
    optimiser.step()
    assert (p.item(), q.item()) == (0.75, 0.5)
    late = nn.Parameter([1.0])
    late.grad = nc.tensor([1.0])
    optimiser.add_param_group({"params": [late], "lr": 0.0, "weight_decay": 3.0})
    optimiser.step()
    assert (p.item(), q.item(), late.item()) == (0.5, 0.0, 1.0)
    assert [len(group["params"]) for group in optimiser.param_groups] == [1, 1, 1]
    assert "Parameter Group 2" in repr(optimiser)
    assert "    weight_decay: 3.0" in repr(optimiser)


def test_without_a_gradient_nothing_moves():
    p, q = nn.Parameter([1.0]), nn.Parameter([1.0])
    optimiser = optim.AdamW([p, q])
    q.grad = nc.tensor([0.0])
    optimiser.step()
    assert p.item() == 1
    assert q.item() < 1
    assert list(optimiser.state) == [q]
    optimiser.zero_grad(set_to_none=False)
    assert p.grad is None
    assert q.grad.item() == 0
    optimiser.zero_grad()
    assert q.grad is None


def test_step_runs_a_closure_that_may_differentiate():
    p = nn.Parameter([3.0])
    optimiser = optim.SGD([p], lr=0.5)

    def closure():
        optimiser.zero_grad()
        loss = (p * p).sum()
        loss.backward()
        return loss

    assert optimiser.step(closure).item() == 9
    assert p.item() == 0


def test_gradients_are_left_alone():
    for name, options in OPTIMISERS.values():
        p = nn.Parameter(np.ones(3, np.float32))
        p.grad = nc.tensor([1.0, 2.0, 3.0])
        optimiser = getattr(optim, name)([p], **options)
        optimiser.step()
        optimiser.step()
        assert p.grad.tolist() == [1, 2, 3]


def test_steps_do_not_escape_and_are_noticed_by_the_tape():
    p = nn.Parameter([2.0])
    optimiser = optim.SGD([p], lr=0.1)
    loss = (p * p).sum()
    p.grad = nc.tensor([1.0])
    optimiser.step()
    assert not p._storage.escaped
    with pytest.raises(RuntimeError, match="changed in place"):
        loss.backward()


# --------------------------------------------------------------------------- state dicts


def steps(optimiser, p, count, seed):
    rng = np.random.default_rng(seed)
    for _ in range(count):
        p.grad = nc.tensor(rng.normal(size=p.shape).astype(p.dtype))
        optimiser.step()


@MODES
def test_a_resumed_run_has_the_same_bits(name, options):
    def fresh(start):
        p = nn.Parameter(start)
        return p, getattr(optim, name)([p], **options)

    p, optimiser = fresh(np.ones((3, 2), np.float32))
    steps(optimiser, p, 5, seed=0)
    state = optimiser.state_dict()
    q, resumed = fresh(p.detach().numpy())
    resumed.load_state_dict(pickle.loads(pickle.dumps(state)))
    for array in (a for entry in state["state"].values() for a in entry.values()):
        assert not isinstance(array, np.ndarray) or not array.flags.writeable
    steps(optimiser, p, 5, seed=1)
    steps(resumed, q, 5, seed=1)
    assert p.tolist() == q.tolist()


@MODES
def test_pytorchs_state_continues_here(name, options):
    start = np.random.default_rng(0).normal(size=SIZE)
    theirs = torch.nn.Parameter(torch.tensor(start))
    optimiser = getattr(torch.optim, name)([theirs], **options)
    rng = np.random.default_rng(1)
    for _ in range(3):
        theirs.grad = torch.tensor(rng.normal(size=SIZE))
        optimiser.step()
    ours = nn.Parameter(theirs.detach().numpy())
    resumed = getattr(optim, name)([ours], lr=123)
    resumed.load_state_dict(optimiser.state_dict())
    gradient = rng.normal(size=SIZE)
    ours.grad, theirs.grad = nc.tensor(gradient), torch.tensor(gradient)
    before = ours.detach().numpy().copy()
    resumed.step()
    optimiser.step()
    expected = theirs.detach().numpy()
    bound = 2 * 10 * np.finfo(np.float64).eps * (np.abs(before) + np.abs(expected - before)).max()
    assert np.abs(ours.detach().numpy() - expected).max() <= bound


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda o: pickle.loads(pickle.dumps(o))])
def test_optimisers_can_be_copied(duplicate):
    p = nn.Parameter(np.ones(2, np.float32))
    optimiser = optim.Adam([p])
    steps(optimiser, p, 2, seed=0)
    twin = duplicate(optimiser)
    q = twin.param_groups[0]["params"][0]
    steps(optimiser, p, 2, seed=1)
    steps(twin, q, 2, seed=1)
    assert q is not p
    assert q.tolist() == p.tolist()


def test_load_state_dict_mistakes_change_nothing():
    p = nn.Parameter(np.ones((2, 3), np.float32))
    optimiser = optim.SGD([p], lr=0.1, momentum=0.9)
    steps(optimiser, p, 1, seed=0)
    good = optimiser.state_dict()
    before = good["state"][0]["momentum_buffer"].tolist()

    def with_group(**changes):
        return {**good, "param_groups": [{**good["param_groups"][0], **changes}]}

    wrong = {
        r"groups hold \[1, 1\] parameters, expected \[1\]": {
            **good,
            "param_groups": good["param_groups"] * 2,
        },
        r"momentum_buffer has shape \(3,\), its parameter \(2, 3\)": {
            **good,
            "state": {0: {"momentum_buffer": np.ones(3, np.float32)}},
        },
        r"lr=-1 must be a number from 0 up": with_group(lr=-1),
    }
    for message, state in wrong.items():
        with pytest.raises(ValueError, match=message):
            optimiser.load_state_dict(state)
        assert optimiser.state[p]["momentum_buffer"].tolist() == before
        assert optimiser.param_groups[0]["lr"] == 0.1


# --------------------------------------------------------------------------- mistakes


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("SGD", {"lr": -0.1}, r"SGD: lr=-0\.1 must be a number from 0 up"),
        ("SGD", {"lr": float("nan")}, "SGD: lr=nan"),
        ("SGD", {"lr": "fast"}, "SGD: lr='fast'"),
        ("SGD", {"momentum": -1}, "SGD: momentum=-1"),
        ("SGD", {"weight_decay": -1}, "SGD: weight_decay=-1"),
        ("SGD", {"nesterov": True}, "SGD: nesterov=True needs momentum > 0 and dampening = 0"),
        ("SGD", {"nesterov": True, "momentum": 0.9, "dampening": 0.1}, "dampening=0.1"),
        ("Adam", {"lr": -1}, "Adam: lr=-1"),
        ("Adam", {"eps": -1}, "Adam: eps=-1"),
        ("Adam", {"betas": (0.9, 1.0)}, r"Adam: betas=\(0\.9, 1\.0\)"),
        ("Adam", {"betas": (-0.1, 0.9)}, "Adam: betas="),
        ("Adam", {"betas": (0.9,)}, r"Adam: betas=\(0\.9,\) must be two numbers"),
        ("Adam", {"betas": 0.9}, r"Adam: betas=0\.9 must be two numbers"),
        ("AdamW", {"betas": ("a", 0.9)}, r"AdamW: betas=\('a', 0\.9\) must be two numbers"),
        ("AdamW", {"weight_decay": -1}, "AdamW: weight_decay=-1"),
        ("AdamW", {"differentiable": True}, "AdamW: differentiable=True is not supported"),
        ("NAdam", {"momentum_decay": -1}, "NAdam: momentum_decay=-1"),
        ("RMSprop", {"alpha": -1}, "RMSprop: alpha=-1"),
        ("Adagrad", {"lr_decay": -1}, "Adagrad: lr_decay=-1"),
        ("Adagrad", {"initial_accumulator_value": -1}, "initial_accumulator_value=-1"),
        ("Lion", {"betas": (1.0, 0.9)}, r"Lion: betas=\(1\.0, 0\.9\)"),
    ],
)
def test_hyper_parameters_out_of_range(name, options, message):
    with pytest.raises(ValueError, match=message):
        getattr(optim, name)([nn.Parameter([1.0])], **options)


def test_params_that_do_not_fit():
    p = nn.Parameter([1.0])
    for params, error, message in [
        (p, TypeError, "params must be an iterable of tensors or of dicts, got Parameter"),
        ({"params": p}, TypeError, "got dict"),
        ([], ValueError, "params is empty"),
        ([1.0], TypeError, "params holds a float, not a tensor"),
        ([p, p], ValueError, r"shape \(1,\) is given twice"),
        ([{"params": [p]}, {"params": [p]}], ValueError, "given twice"),
        ([{"lr": 1}], TypeError, "must be a dict with 'params'"),
        ([p * 2], ValueError, "that an op computed"),
    ]:
        with pytest.raises(error, match=message):
            optim.SGD(params)
    p.grad = nc.tensor([1.0, 2.0])
    with pytest.raises(
        ValueError, match=r"a parameter is float32\[1\] but its gradient float32\[2\]"
    ):
        optim.SGD([p]).step()


def test_a_gradient_that_does_not_fit_moves_no_parameter():
    first, second = nn.Parameter([1.0]), nn.Parameter([2.0])
    optimizer = optim.SGD([{"params": [first]}, {"params": [second]}], lr=0.5, momentum=0.9)
    first.grad, second.grad = nc.tensor([1.0]), nc.tensor([1.0, 2.0])
    with pytest.raises(ValueError, match="but its gradient"):
        optimizer.step()
    assert (first.tolist(), second.tolist(), optimizer.state) == ([1.0], [2.0], {})
