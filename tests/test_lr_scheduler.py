"""Learning-rate schedules against PyTorch's, epoch by epoch."""

import copy
import inspect
import json
import pickle
import warnings

import numpy as np
import pytest

import nanoconv as nc
from nanoconv import nn, optim

torch = pytest.importorskip("torch")
torch.set_num_threads(1)

EPOCHS = 60
PLATEAU = "ReduceLROnPlateau"


class Decay:
    """A function of the epoch that has something to save."""

    def __init__(self, rate):
        self.rate = rate

    def __call__(self, t):
        return self.rate**t


SCHEDULES = {
    "step": ("StepLR", {"step_size": 3}),
    "slow step": ("StepLR", {"step_size": 7, "gamma": 0.5}),
    "milestones": ("MultiStepLR", {"milestones": [4, 9, 30]}),
    "milestones twice, unsorted": ("MultiStepLR", {"milestones": [20, 5, 5], "gamma": 0.5}),
    "milestone 0": ("MultiStepLR", {"milestones": (0, 3), "gamma": 0.5}),
    "exponential": ("ExponentialLR", {"gamma": 0.9}),
    "constant": ("ConstantLR", {}),
    "constant for long": ("ConstantLR", {"factor": 0.125, "total_iters": 20}),
    "linear": ("LinearLR", {}),
    "linear up": ("LinearLR", {"start_factor": 0.001, "total_iters": 30}),
    "linear down": ("LinearLR", {"start_factor": 1.0, "end_factor": 0.0, "total_iters": 17}),
    "polynomial": ("PolynomialLR", {}),
    "polynomial squared": ("PolynomialLR", {"total_iters": 40, "power": 2.5}),
    "lambda": ("LambdaLR", {"lr_lambda": lambda t: 1 / (1 + t)}),
    "lambda of each group": ("LambdaLR", {"lr_lambda": [lambda t: 0.9**t, Decay(0.8)]}),
    "cosine": ("CosineAnnealingLR", {"T_max": 10}),
    "cosine that ends early": ("CosineAnnealingLR", {"T_max": 40, "eta_min": 0.01}),
    "one epoch down, one up": ("CosineAnnealingLR", {"T_max": 1}),
    "restarts": ("CosineAnnealingWarmRestarts", {"T_0": 7}),
    "ever longer": ("CosineAnnealingWarmRestarts", {"T_0": 3, "T_mult": 2, "eta_min": 0.01}),
    "longer by 3": ("CosineAnnealingWarmRestarts", {"T_0": 1, "T_mult": 3}),
    "one cycle": ("OneCycleLR", {"max_lr": 0.5, "total_steps": EPOCHS}),
    "one cycle of epochs": (
        "OneCycleLR",
        {"max_lr": [0.5, 0.2], "epochs": 6, "steps_per_epoch": 10, "div_factor": 5.0},
    ),
    "one cycle in lines": (
        "OneCycleLR",
        {
            "max_lr": 1.0,
            "total_steps": EPOCHS,
            "anneal_strategy": "linear",
            "pct_start": 0.4,
            "final_div_factor": 10.0,
            "base_momentum": [0.7, 0.8],
            "max_momentum": [0.9, 0.99],
        },
    ),
    "one cycle in three": (
        "OneCycleLR",
        {"max_lr": 1.0, "total_steps": EPOCHS, "three_phase": True, "pct_start": 0.35},
    ),
    "one cycle without momentum": (
        "OneCycleLR",
        {
            "max_lr": 1.0,
            "total_steps": EPOCHS,
            "three_phase": True,
            "anneal_strategy": "linear",
            "cycle_momentum": False,
        },
    ),
}
PLANS = pytest.mark.parametrize(("name", "options"), SCHEDULES.values(), ids=SCHEDULES.keys())

PLATEAUS = {
    "plateau": {"patience": 3},
    "of an accuracy": {"mode": "max", "patience": 2, "factor": 0.5},
    "by differences": {"threshold_mode": "abs", "threshold": 0.2, "patience": 1, "factor": 0.7},
    "of differences up": {"mode": "max", "threshold_mode": "abs", "threshold": 0.1, "patience": 0},
    "with rest": {"patience": 1, "cooldown": 4, "factor": 0.5, "threshold": 0.1},
    "with floors": {"patience": 0, "min_lr": [0.01, 0.02], "factor": 0.3},
    "with a floor": {"patience": 0, "min_lr": 0.05, "factor": 0.3, "eps": 0.03},
}

SEQUENCES = {
    "warm-up, cosine": ([("LinearLR", {}), ("CosineAnnealingLR", {"T_max": 20})], [5]),
    "three": (
        [
            ("ConstantLR", {"factor": 0.5, "total_iters": 3}),
            ("LambdaLR", {"lr_lambda": Decay(0.9)}),
            ("CosineAnnealingWarmRestarts", {"T_0": 4, "T_mult": 2, "eta_min": 0.01}),
        ],
        [4, 15],
    ),
    "steps": (
        [
            ("StepLR", {"step_size": 2, "gamma": 0.5}),
            ("MultiStepLR", {"milestones": [3, 4]}),
            ("ExponentialLR", {"gamma": 0.8}),
            ("PolynomialLR", {"total_iters": 10}),
        ],
        [7, 14, 20],
    ),
    "begins with the second": ([("ExponentialLR", {"gamma": 0.5}), ("LinearLR", {})], [0]),
    "one": ([("ExponentialLR", {"gamma": 0.8})], []),
    "restarts, one cycle": (
        [
            ("CosineAnnealingWarmRestarts", {"T_0": 4}),
            ("OneCycleLR", {"max_lr": 1.0, "total_steps": EPOCHS}),
        ],
        [10],
    ),
}


def two_groups(lib, classes, kind="SGD"):
    ones = np.ones(1, np.float32)
    p, q = (lib.Parameter(nc.tensor(ones) if lib is nn else torch.tensor(ones)) for _ in range(2))
    return getattr(classes, kind)([{"params": [p]}, {"params": [q], "lr": 0.3}], lr=0.1)


def plans(name, options, kind="SGD"):
    """((optimiser, schedule) of ours, the same of theirs); their warnings are about habits."""
    ours, theirs = two_groups(nn, optim, kind), two_groups(torch.nn, torch.optim, kind)
    return (
        (ours, getattr(optim.lr_scheduler, name)(ours, **copy.deepcopy(options))),
        (theirs, getattr(torch.optim.lr_scheduler, name)(theirs, **copy.deepcopy(options))),
    )


def sequences(parts, milestones):
    pairs = []
    for lib, classes in ((nn, optim), (torch.nn, torch.optim)):
        optimiser = two_groups(lib, classes)
        make = classes.lr_scheduler
        schedules = [getattr(make, n)(optimiser, **copy.deepcopy(o)) for n, o in parts]
        pairs.append((optimiser, make.SequentialLR(optimiser, schedules, list(milestones))))
    return pairs


def settings(optimiser):
    """All numbers of the groups that a schedule may set."""
    names = ("lr", "initial_lr", "momentum", "betas")
    return [
        value
        for group in optimiser.param_groups
        for name in names
        for value in np.atleast_1d(group.get(name, 0.0)).tolist()
    ]


def assert_same(ours, theirs, when):
    # A ratio of cosines divides by at least sin²(π / 2·T_max): errors grow by its inverse.
    allowed = 4 * EPOCHS**3 * np.finfo(np.float64).eps
    for a, b in zip(settings(ours), settings(theirs), strict=True):
        assert abs(a - b) <= allowed * max(abs(b), 0.3), when


def metrics():
    rng = np.random.default_rng(0)
    return [1 / (1 + t) + 0.3 * rng.normal() for t in range(EPOCHS)]


# --------------------------------------------------------------------------- rates


@PLANS
@pytest.mark.parametrize("kind", ["SGD", "Adam"])
def test_rates_equal_pytorch(name, options, kind):
    (ours, our_plan), (theirs, their_plan) = plans(name, options, kind)
    assert_same(ours, theirs, "at the start")
    for epoch in range(1, EPOCHS + (name == "OneCycleLR")):
        theirs.step()
        our_plan.step()
        their_plan.step()
        assert_same(ours, theirs, epoch)
        assert our_plan.get_last_lr() == [group["lr"] for group in ours.param_groups]
        assert our_plan.last_epoch == their_plan.last_epoch


@pytest.mark.parametrize("options", PLATEAUS.values(), ids=PLATEAUS.keys())
def test_plateaus_equal_pytorch(options):
    (ours, our_plan), (theirs, their_plan) = plans(PLATEAU, options)
    for epoch, metric in enumerate(metrics()):
        if epoch == 20:  # by hand
            ours.param_groups[0]["lr"] = theirs.param_groups[0]["lr"] = 0.2
        our_plan.step(nc.tensor(np.array(metric)))
        their_plan.step(metric)
        assert_same(ours, theirs, epoch)
        assert our_plan.get_last_lr() == [group["lr"] for group in ours.param_groups]
        for name in ("best", "num_bad_epochs", "cooldown_counter", "last_epoch"):
            assert getattr(our_plan, name) == getattr(their_plan, name), (epoch, name)
    assert ours.param_groups[1]["lr"] < 0.3


@pytest.mark.parametrize(("parts", "milestones"), SEQUENCES.values(), ids=SEQUENCES.keys())
def test_sequences_equal_pytorch(parts, milestones):
    (ours, our_plan), (theirs, their_plan) = sequences(parts, milestones)
    for epoch in range(45):
        assert_same(ours, theirs, epoch)
        assert our_plan.last_epoch == their_plan.last_epoch
        theirs.step()
        our_plan.step()
        their_plan.step()
        assert our_plan.get_last_lr() == [group["lr"] for group in ours.param_groups]


@PLANS
def test_jumps_equal_pytorch(name, options):
    (ours, our_plan), (theirs, their_plan) = plans(name, options)
    theirs.step()
    for epoch in (3, 4, 1, 17, 16, 40, 0, 30):
        our_plan.step(epoch)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # step(epoch) is deprecated there
            their_plan.step(epoch)
        assert_same(ours, theirs, epoch)
        for _ in range(3):
            our_plan.step()
            their_plan.step()
            assert_same(ours, theirs, epoch)


@pytest.mark.parametrize("options", [{"T_0": 5}, {"T_0": 2, "T_mult": 2}, {"T_0": 3, "T_mult": 3}])
def test_restarts_between_epochs_equal_pytorch(options):
    (ours, our_plan), (theirs, their_plan) = plans("CosineAnnealingWarmRestarts", options)
    for batch in range(200):
        epoch = batch / 7 + 0.01
        our_plan.step(epoch)
        their_plan.step(epoch)
        assert_same(ours, theirs, epoch)
        assert our_plan.last_epoch == their_plan.last_epoch == int(epoch)


def test_plateaus_can_be_told_the_epoch():
    (_, our_plan), (_, their_plan) = plans(PLATEAU, {})
    our_plan.step(1.0, 7)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        their_plan.step(1.0, 7)
    assert our_plan.last_epoch == their_plan.last_epoch == 7


CHAINS = {
    "step": [("StepLR", {"step_size": 4, "gamma": 0.7})],
    "cosine": [("CosineAnnealingLR", {"T_max": 12, "eta_min": 0.01})],
    "cosine down to nothing": [("CosineAnnealingLR", {"T_max": 7})],
    "one epoch down, one up": [("CosineAnnealingLR", {"T_max": 1})],
    "steps of a cosine": [
        ("CosineAnnealingLR", {"T_max": 12, "eta_min": 0.001}),
        ("StepLR", {"step_size": 5, "gamma": 0.5}),
    ],
    "two steps": [("StepLR", {"step_size": 5}), ("StepLR", {"step_size": 3, "gamma": 2.0})],
    "two cosines": [("CosineAnnealingLR", {"T_max": 50}), ("CosineAnnealingLR", {"T_max": 15})],
    "warm-up of milestones": [
        ("LinearLR", {"start_factor": 0.1, "total_iters": 8}),
        ("MultiStepLR", {"milestones": [10, 20], "gamma": 0.3}),
    ],
    "constant, exponential, polynomial": [
        ("ConstantLR", {"factor": 0.5}),
        ("ExponentialLR", {"gamma": 0.95}),
        ("PolynomialLR", {"total_iters": 60}),
    ],
}


@pytest.mark.parametrize("by_hand", [(), (0, 5, 6, 23)], ids=["untouched", "changed by hand"])
@pytest.mark.parametrize("chain", CHAINS.values(), ids=CHAINS.keys())
def test_chained_and_disturbed_schedules_equal_pytorch(chain, by_hand):
    ours, theirs = two_groups(nn, optim), two_groups(torch.nn, torch.optim)
    our_plans = [getattr(optim, name)(ours, **options) for name, options in chain]
    their_plans = [
        getattr(torch.optim.lr_scheduler, name)(theirs, **options) for name, options in chain
    ]
    for epoch in range(50):
        if epoch in by_hand:
            for optimiser in (ours, theirs):
                optimiser.param_groups[1]["lr"] = 0.2 + epoch / 100
        theirs.step()
        for plan in (*our_plans, *their_plans):
            plan.step()
        assert_same(ours, theirs, epoch)
        for ours_, theirs_ in zip(our_plans, their_plans, strict=True):  # in the middle of a chain
            assert ours_.get_last_lr() == pytest.approx(theirs_.get_last_lr(), rel=1e-8, abs=1e-10)


# --------------------------------------------------------------------------- resuming


def saved(state):
    return pickle.loads(pickle.dumps(state))


@PLANS
@pytest.mark.parametrize("at", [0, 5, 23])
def test_resumed_schedules_have_the_same_rates(name, options, at):
    def fresh():
        optimiser = two_groups(nn, optim)
        return optimiser, getattr(optim, name)(optimiser, **copy.deepcopy(options))

    optimiser, plan = fresh()
    for _ in range(at):
        plan.step()
    state = plan.state_dict()
    again, resumed = fresh()
    resumed.load_state_dict(saved(state))
    again.load_state_dict(saved(optimiser.state_dict()))
    assert resumed.get_last_lr() == plan.get_last_lr()
    for _ in range(30):
        plan.step()
        resumed.step()
        assert settings(again) == settings(optimiser)


def test_resumed_sequences_and_plateaus_have_the_same_rates():
    def sequence():
        optimiser = two_groups(nn, optim)
        parts, milestones = SEQUENCES["three"]
        schedules = [getattr(optim, n)(optimiser, **copy.deepcopy(o)) for n, o in parts]
        return optimiser, optim.SequentialLR(optimiser, schedules, milestones)

    def plateau():
        optimiser = two_groups(nn, optim)
        return optimiser, optim.ReduceLROnPlateau(optimiser, patience=1, cooldown=2)

    for fresh in (sequence, plateau):
        optimiser, plan = fresh()
        given = [[m] if fresh is plateau else [] for m in metrics()[:50]]
        for args in given[:14]:
            plan.step(*args)
        again, resumed = fresh()
        resumed.load_state_dict(saved(plan.state_dict()))
        again.load_state_dict(saved(optimiser.state_dict()))
        for args in given[14:]:
            plan.step(*args)
            resumed.step(*args)
            assert settings(again) == settings(optimiser)
            assert resumed.get_last_lr() == plan.get_last_lr()


def test_states_of_formulas_are_plain_numbers():
    for name, options in SCHEDULES.values():
        if name != "LambdaLR":
            plan = getattr(optim, name)(two_groups(nn, optim), **options)
            assert json.loads(json.dumps(plan.state_dict())).keys() == plan.state_dict().keys()


def test_functions_that_are_objects_are_saved():
    plan = optim.LambdaLR(two_groups(nn, optim), [Decay(0.5), lambda t: 1.0])
    state = plan.state_dict()
    assert state["lr_lambdas"] == [{"rate": 0.5}, None]
    other = optim.LambdaLR(two_groups(nn, optim), [Decay(0.9), lambda t: 1.0])
    other.load_state_dict(state)
    assert other.lr_lambdas[0].rate == 0.5
    other.step()
    assert other.get_last_lr() == [0.05, 0.3]


@PLANS
def test_resuming_by_last_epoch_equals_pytorch(name, options):
    (ours, our_plan), (theirs, their_plan) = plans(name, options)
    theirs.step()
    for _ in range(5):
        our_plan.step()
        their_plan.step()
    states = ours.state_dict(), theirs.state_dict()
    ours, theirs = two_groups(nn, optim), two_groups(torch.nn, torch.optim)
    ours.load_state_dict(states[0])
    theirs.load_state_dict(states[1])
    our_plan = getattr(optim, name)(ours, **options, last_epoch=5)
    their_plan = getattr(torch.optim.lr_scheduler, name)(theirs, **options, last_epoch=5)
    for epoch in range(20):
        assert_same(ours, theirs, epoch)
        theirs.step()
        our_plan.step()
        their_plan.step()


# --------------------------------------------------------------------------- names and mistakes


@pytest.mark.parametrize(
    "name", [*dict.fromkeys(name for name, _ in SCHEDULES.values()), PLATEAU, "SequentialLR"]
)
def test_names_and_arguments_are_pytorchs(name):
    ours = getattr(nc.optim.lr_scheduler, name)
    assert ours is getattr(optim, name)
    described = [
        [(p.name, p.default) for p in inspect.signature(kind).parameters.values()]
        for kind in (ours, getattr(torch.optim.lr_scheduler, name))
    ]
    assert described[0] == described[1]


def test_a_schedule_of_ones_own():
    class Halving(optim.LRScheduler):
        def lr_at(self, t, k):
            return self.base_lrs[k] / 2**t

    plan = Halving(two_groups(nn, optim))
    plan.step()
    assert plan.get_last_lr() == [0.05, 0.15]
    with pytest.raises(NotImplementedError, match=r"LRScheduler has no lr_at\(\)"):
        optim.LRScheduler(two_groups(nn, optim))


def mistakes():
    def sgd():
        return two_groups(nn, optim)

    def sequence(*schedules, milestones=(1,), optimiser=None):
        optimiser = optimiser or sgd()
        made = [s(optimiser) if callable(s) else s for s in schedules]
        return optim.SequentialLR(optimiser, made, milestones)

    def step(optimiser):
        return optim.StepLR(optimiser, 2)

    return {
        "StepLR: step_size=0 must be at least 1": lambda: optim.StepLR(sgd(), 0),
        "TypeError: StepLR: step_size=2.5 must be an integer": lambda: optim.StepLR(sgd(), 2.5),
        "T_max=0 must be above 0": lambda: optim.CosineAnnealingLR(sgd(), 0),
        "T_mult=0 must be": lambda: optim.CosineAnnealingWarmRestarts(sgd(), 3, 0),
        "epoch=-1 must be": lambda: optim.CosineAnnealingWarmRestarts(sgd(), 3).step(-1),
        "TypeError: optimizer must be an Optimizer, got list": lambda: optim.StepLR([1], 2),
        "TypeError: LambdaLR: optimizer must be": lambda: optim.LambdaLR(None, abs),
        "TypeError: LambdaLR: lr_lambda must be a function, got int": (
            lambda: optim.LambdaLR(sgd(), 3)
        ),
        "lr_lambda has 1 values, the optimiser 2": lambda: optim.LambdaLR(sgd(), [abs]),
        "group 0 has no 'initial_lr'": lambda: optim.StepLR(sgd(), 2, last_epoch=3),
        "factor=0 must be above 0, up to 1": lambda: optim.ConstantLR(sgd(), 0),
        "start_factor=1.5 must be": lambda: optim.LinearLR(sgd(), 1.5),
        "end_factor=-1 must be from 0 to 1": lambda: optim.LinearLR(sgd(), 0.5, -1),
        "give total_steps, or epochs and": lambda: optim.OneCycleLR(sgd(), 1.0, epochs=3),
        "total_steps=0 must be": lambda: optim.OneCycleLR(sgd(), 1.0, 0),
        "pct_start=2 must be": lambda: optim.OneCycleLR(sgd(), 1.0, 9, pct_start=2),
        "anneal_strategy='log'": lambda: optim.OneCycleLR(sgd(), 1.0, 9, anneal_strategy="log"),
        "max_lr has 3 values": lambda: optim.OneCycleLR(sgd(), [1.0] * 3, 9),
        "Adagrad has neither momentum nor betas": (
            lambda: optim.OneCycleLR(two_groups(nn, optim, "Adagrad"), 1.0, 9)
        ),
        "OneCycleLR: step 4 is after the end": (lambda: optim.OneCycleLR(sgd(), 1.0, 3).step(4)),
        "factor=1 must be less than 1": lambda: optim.ReduceLROnPlateau(sgd(), factor=1),
        "mode='mid' must be 'min' or 'max'": lambda: optim.ReduceLROnPlateau(sgd(), "mid"),
        "threshold_mode='x' must be": lambda: optim.ReduceLROnPlateau(sgd(), threshold_mode="x"),
        "min_lr has 1 values": lambda: optim.ReduceLROnPlateau(sgd(), min_lr=[0.1]),
        "2 schedulers and 3 milestones": lambda: sequence(step, step, milestones=[1, 2, 3]),
        "0 schedulers and 1 milestones": lambda: sequence(),
        r"milestones=\[3, 1\] must increase": (
            lambda: sequence(step, step, step, milestones=[3, 1])
        ),
        r"TypeError: schedulers\[1\] must be a schedule, got int": lambda: sequence(step, 3),
        r"schedulers\[0\] belongs to another optimizer": lambda: sequence(step(sgd()), step),
        "is a ReduceLROnPlateau, expected": lambda: sequence(step, optim.ReduceLROnPlateau),
        "is a SequentialLR, expected": (
            lambda: sequence(step, lambda o: optim.SequentialLR(o, [step(o)], []))
        ),
        "epoch=3 is not supported": lambda: sequence(step, step).step(3),
        r"StepLR expected the keys .*step_size.*, got \['gamma'\]": (
            lambda: step(sgd()).load_state_dict({"gamma": 1})
        ),
        "SequentialLR expected 2 schedulers, got 1": (
            lambda: sequence(step, step).load_state_dict(
                {**sequence(step, step).state_dict(), "schedulers": [{}]}
            )
        ),
    }


MISTAKES = mistakes()


@pytest.mark.parametrize("message", MISTAKES)
def test_mistakes(message):
    kind, _, pattern = message.rpartition("TypeError: ")
    with pytest.raises(TypeError if "TypeError" in message else ValueError, match=pattern):
        MISTAKES[message]()


def test_a_group_that_came_later_is_scheduled_from_then_on():
    optimiser = two_groups(nn, optim)
    steps, plateau = optim.StepLR(optimiser, 1), optim.ReduceLROnPlateau(optimiser, patience=0)
    function = optim.LambdaLR(optimiser, lambda t: 1.0)
    optimiser.add_param_group({"params": [nn.Parameter([1.0])], "lr": 8.0})
    steps.step()
    assert steps.get_last_lr() == pytest.approx([0.01, 0.03, 0.8])
    plateau.step(1.0)
    plateau.step(1.0)
    assert plateau.get_last_lr() == pytest.approx([0.001, 0.003, 0.08])
    steps.step(0)
    assert steps.get_last_lr() == [0.1, 0.3, 8.0]
    with pytest.raises(
        ValueError, match="LambdaLR: the optimiser has 3 parameter groups, it had 2"
    ):
        function.step()
