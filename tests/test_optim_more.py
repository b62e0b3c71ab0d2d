"""What PyTorch does not have: Lion, against its paper's algorithm, and penalties."""

import pickle

import numpy as np
import pytest

import nanoconv as nc
from nanoconv import nn, optim

STEPS, SIZE = 50, 40


def problem():
    """A start, and the gradients of all steps."""
    rng = np.random.default_rng(0)
    return rng.normal(size=SIZE), rng.normal(size=(STEPS, SIZE))


def steps(optimiser, p, count, seed):
    rng = np.random.default_rng(seed)
    for _ in range(count):
        p.grad = nc.tensor(rng.normal(size=p.shape).astype(p.dtype))
        optimiser.step()


# --------------------------------------------------------------------------- Lion


@pytest.mark.parametrize("maximize", [False, True])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("options", [{}, {"lr": 0.01, "betas": (0.5, 0.8), "weight_decay": 0.3}])
def test_lion_equals_the_papers_algorithm(options, dtype, maximize):
    start, noise = (a.astype(dtype) for a in problem())
    p = nn.Parameter(start)
    optimiser = optim.Lion([p], **options, maximize=maximize)
    eta, (beta1, beta2), decay = (
        optimiser.param_groups[0]["lr"],
        *(optimiser.param_groups[0][key] for key in ("betas", "weight_decay")),
    )
    theta, m = start.astype(np.float64), np.zeros(SIZE)  # algorithm 2 of arXiv 2302.06675
    for gradient in noise:
        p.grad = nc.tensor(gradient)
        optimiser.step()
        g = gradient.astype(np.float64) * (-1 if maximize else 1)
        c = beta1 * m + (1 - beta1) * g
        theta = theta - eta * (np.sign(c) + decay * theta)
        m = beta2 * m + (1 - beta2) * g
    bound = 4 * STEPS * np.finfo(dtype).eps * np.abs(theta).max()
    assert np.abs(p.detach().numpy() - theta).max() <= bound < eta


def test_lion_resumes():
    p, q = nn.Parameter([1.0, 2.0]), nn.Parameter([1.0, 2.0])
    optimiser, resumed = optim.Lion([p], lr=0.1), optim.Lion([q], lr=0.5)
    steps(optimiser, p, 3, seed=0)
    q.data[...] = p.detach().numpy()
    resumed.load_state_dict(pickle.loads(pickle.dumps(optimiser.state_dict())))
    steps(optimiser, p, 3, seed=1)
    steps(resumed, q, 3, seed=1)
    assert p.tolist() == q.tolist()


# --------------------------------------------------------------------------- penalties


def test_penalties_and_their_gradients():
    values = [np.array([[1.5, -2.0], [0.0, 3.0]]), np.array([-0.5])]
    for dtype in (np.float64, np.float32):
        params = [nn.Parameter(v.astype(dtype)) for v in values]
        for penalty, expected, slope in (
            (optim.l1_penalty, 0.25 * 7, lambda v: 0.25 * np.sign(v)),
            (optim.l2_penalty, 0.125 * (2.25 + 4 + 9 + 0.25), lambda v: 0.25 * v),
        ):
            optim.SGD(params).zero_grad()
            loss = penalty(iter(params), 0.25)
            assert loss.dtype == dtype
            assert loss.shape == ()
            assert loss.item() == expected
            loss.backward()
            for p, v in zip(params, values, strict=True):
                assert p.grad.tolist() == slope(v).tolist()
    assert optim.l1_penalty(params[1], 2).item() == 1


@pytest.mark.parametrize("name", ["SGD", "Adam", "NAdam", "RMSprop", "Adagrad"])
def test_weight_decay_is_an_l2_penalty(name):
    start, noise = problem()
    p, q = nn.Parameter(start), nn.Parameter(start)
    decayed = getattr(optim, name)([p], lr=0.05, weight_decay=0.3)
    penalised = getattr(optim, name)([q], lr=0.05)
    for r in noise:
        p.grad = nc.tensor(r)
        q.grad = None
        ((q * nc.tensor(r)).sum() + optim.l2_penalty([q], 0.3)).backward()
        decayed.step()
        penalised.step()
    assert np.abs(p.detach().numpy() - q.detach().numpy()).max() <= 1e-10 * np.abs(start).max()


@pytest.mark.parametrize("penalty", [optim.l1_penalty, optim.l2_penalty])
def test_penalties_gradcheck(penalty):
    w = nc.tensor(np.array([1.0, -2.0, 0.5]), requires_grad=True)
    assert nc.gradcheck(lambda w: penalty([w], 0.7), [w])


def test_penalty_mistakes():
    p = nn.Parameter([1.0])
    for call, error, message in [
        (lambda: optim.l1_penalty([], 1), ValueError, "l1_penalty: parameters is empty"),
        (lambda: optim.l2_penalty([p], -1), ValueError, "l2_penalty: factor=-1 must be"),
        (lambda: optim.l1_penalty([p], float("nan")), ValueError, "factor=nan"),
        (lambda: optim.l2_penalty([1.0], 1), TypeError, "parameters holds a float, not a tensor"),
    ]:
        with pytest.raises(error, match=message):
            call()
