"""Dropout: statistics, seeds, and what does not depend on the layout or the dtype."""

import numpy as np
import pytest

import nanoconv as nc

F = nc.functional


@pytest.mark.parametrize("p", [0.1, 0.5, 0.8])
def test_statistics(p):
    """The number kept is binomial; 6 standard deviations are exceeded once in 10⁹ seeds."""
    nc.manual_seed(0)
    n = 100_000
    y = F.dropout(nc.ones(n), p).numpy()
    kept = y != 0
    assert abs(kept.sum() - n * (1 - p)) < 6 * np.sqrt(n * p * (1 - p))
    assert set(y[kept]) == {np.float32(1 / (1 - p))}
    pairs = (kept[1:] & kept[:-1]).mean()  # neighbours are independent
    assert abs(pairs - (1 - p) ** 2) < 6 / np.sqrt(n)


def test_the_same_seed_gives_the_same_bits_in_every_layout_and_precision():
    x = np.random.default_rng(0).standard_normal((2, 3, 4, 5)).astype(np.float32)
    last = np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    results = []
    for array in (x, x, last, x.astype(np.float64)):
        nc.manual_seed(7)
        results.append(F.dropout(nc.tensor(array), 0.5).numpy())
    for result in results[1:]:
        np.testing.assert_array_equal(result, results[0])
    assert not np.array_equal(F.dropout(nc.tensor(x), 0.5).numpy(), results[0])


def test_evaluation_gives_the_input_back():
    x = nc.ones(3)
    assert F.dropout(x, 0.5, training=False) is x
    assert F.dropout(x, 0.0) is x


def test_everything_dropped():
    x = nc.tensor([1.0, 2.0, np.nan, np.inf], requires_grad=True)
    y = F.dropout(x, 1.0)
    np.testing.assert_array_equal(y.detach().numpy(), [0, 0, np.nan, np.nan])
    y.backward(np.ones(4, np.float32))
    np.testing.assert_array_equal(x.grad.numpy(), 0)


@pytest.mark.parametrize("p", [-0.1, 1.5, np.nan])
def test_no_probability(p):
    for training in (True, False):
        with pytest.raises(ValueError, match="dropout: p="):
            F.dropout(nc.ones(3), p, training)
