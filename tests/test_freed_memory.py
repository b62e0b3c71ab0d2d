"""Large arrays whose memory is used again: only when nobody sees it any more."""

import threading

import numpy as np
import pytest

import nanoconv as nc
from nanoconv import dispatch

FLOATS = dispatch.LARGE  # of four bytes each: four times the least size


def large(value: float) -> np.ndarray:
    array = dispatch.empty((1, 2, 4, FLOATS // 8), channels_last=True)
    array[...] = value
    return array


@pytest.fixture(autouse=True)
def nothing_kept():
    dispatch._kept.clear()
    yield
    dispatch._kept.clear()


def freed() -> int:
    """How many blocks nobody sees."""
    return sum(array() is None for array, _ in dispatch._kept.values())


def address(array: np.ndarray) -> int:
    return array.__array_interface__["data"][0]


def test_the_next_array_of_the_same_size_gets_it():
    first = large(1)
    where = address(first)
    del first
    assert freed() == 1
    second = large(2)
    assert address(second) == where
    assert freed() == 0
    del second
    assert address(dispatch.empty((2 * FLOATS,))) != where


VIEWS = {
    "a part": lambda x: x[0, 1:],
    "a view of a view": lambda x: x[0].reshape(2, -1)[::2].T,
    "another dtype": lambda x: x.transpose(0, 2, 3, 1).view(np.int32),
    "strides": lambda x: np.lib.stride_tricks.as_strided(x, (3,), (4,)),
    "a buffer": lambda x: memoryview(x[0]),
    "an array of a buffer": lambda x: np.asarray(memoryview(x)).T,
    "a tensor": nc.from_numpy,
    "a view of a tensor": lambda x: nc.from_numpy(x)[0, 1:],
}


@pytest.mark.parametrize("view", VIEWS.values(), ids=VIEWS)
def test_not_while_there_is(view):
    seen = view(large(1))
    assert freed() == 0
    other = large(2)
    values = seen.numpy() if isinstance(seen, nc.Tensor) else np.asarray(seen)
    assert (values.view(np.float32) == 1).all()
    assert (other == 2).all()
    del seen, values
    assert freed() == 1


def test_what_is_kept_is_bounded(monkeypatch):
    monkeypatch.setattr(dispatch, "MOST_KEPT", 10 * FLOATS)
    arrays = [large(k) for k in range(5)]
    assert len(dispatch._kept) == 2  # of 4·FLOATS bytes and some
    assert [(array == k).all() for k, array in enumerate(arrays)] == [True] * 5
    where = [address(array) for array in arrays]
    del arrays
    assert freed() == 2
    again = [large(k) for k in range(2)]
    assert {address(array) for array in again} == set(where[3:])


def test_nothing_is_kept_that_is_larger_than_all(monkeypatch):
    monkeypatch.setattr(dispatch, "MOST_KEPT", FLOATS)
    assert (large(1) == 1).all()
    assert not dispatch._kept


def test_threads_do_not_get_the_same():
    wrong = []

    def work(value: int) -> None:
        for k in range(200):
            array = large(value + k)
            if not (array == value + k).all():
                wrong.append(value)

    threads = [threading.Thread(target=work, args=(1000 * k,)) for k in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
