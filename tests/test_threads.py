"""The compiled kernels under many threads: OpenMP's, Python's, and what a fork leaves of them."""

import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from interpreter import run_python

import nanoconv as nc

pytestmark = pytest.mark.skipif(nc.isa() is None, reason="no compiled kernels")
needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")

PROGRAM = """
import os
import numpy as np, nanoconv as nc

def bits():
    rng = np.random.default_rng(0)
    x, w, v = (nc.tensor(rng.standard_normal(shape).astype(np.float32), requires_grad=True)
               for shape in ((2, 32, 24, 24), (48, 32, 3, 3), (32, 1, 3, 3)))
    y = nc.functional.conv2d(x, w, padding=1)
    z = nc.functional.conv2d(nc.functional.relu(x), v, padding=1, groups=32)
    (y.sum() + z.mean()).backward()
    return b"".join(a.numpy().tobytes() for a in (y.detach(), z.detach(), x.grad, w.grad, v.grad))

def in_child(work):
    pid = os.fork()
    if pid == 0:
        try:
            work()
            os._exit(0)
        finally:
            os._exit(1)
    assert os.waitpid(pid, 0)[1] == 0
"""


def run(code: str) -> None:
    """Run PROGRAM and `code` on three threads; a deadlock shows as a timeout."""
    result = run_python(
        PROGRAM + code,
        "-Wignore::DeprecationWarning",  # Python 3.12 warns of any fork beside threads
        NANOCONV_NUM_THREADS="3",
        NANOCONV_BACKEND="simd",
    )
    assert result.returncode == 0, result.stderr


@needs_fork
def test_a_child_of_a_process_that_used_threads_computes_on_one() -> None:
    run("""
expected = bits()
def work():
    assert nc.get_num_threads() == 1
    assert bits() == expected
    in_child(lambda: bits() == expected or 1 / 0)
in_child(work)
assert nc.get_num_threads() == 3 and bits() == expected
""")


@needs_fork
def test_threads_asked_for_in_such_a_child_are_refused_not_a_deadlock() -> None:
    run("""
bits()
def work():
    nc.set_num_threads(1)
    try:
        nc.set_num_threads(2)
    except RuntimeError as error:
        assert str(error).startswith("set_num_threads: n=2 must be 1 in a process forked after")
        return
    raise AssertionError("no error")
in_child(work)
""")


@needs_fork
def test_a_child_forked_before_any_kernel_has_all_threads() -> None:
    run("""
def work():
    assert nc.get_num_threads() == 3
    assert len(bits()) > 0
in_child(work)
in_child(work)
""")


@needs_fork
def test_a_fork_while_kernels_run_in_other_threads() -> None:
    run("""
import threading
expected, stop = bits(), threading.Event()
def forever():
    while not stop.is_set():
        bits()
threads = [threading.Thread(target=forever) for _ in range(3)]
for thread in threads:
    thread.start()
for _ in range(5):
    in_child(lambda: bits() == expected or 1 / 0)
stop.set()
for thread in threads:
    thread.join()
""")


@needs_fork
def test_workers_of_a_pool_that_forks() -> None:
    run("""
import multiprocessing
expected = bits()
def work(k):
    return bits() == expected
with multiprocessing.get_context("fork").Pool(2) as pool:
    assert pool.map(work, range(6)) == [True] * 6
""")


def gradients(seed: int) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    x = nc.tensor(rng.standard_normal((2, 24, 15, 14)).astype(np.float32), requires_grad=True)
    w = nc.tensor(rng.standard_normal((24, 1, 3, 3)).astype(np.float32), requires_grad=True)
    v = nc.tensor(rng.standard_normal((40, 24, 1, 1)).astype(np.float32), requires_grad=True)
    y = nc.functional.conv2d(x, w, padding=1, stride=2, groups=24)
    y = nc.functional.max_pool2d(nc.functional.hardswish(nc.functional.conv2d(y, v)), 2)
    y.sum().backward()
    return [y.detach().numpy(), x.grad.numpy(), w.grad.numpy(), v.grad.numpy()]


@pytest.fixture
def threads():
    """Restores the number of threads."""
    before = nc.get_num_threads()
    yield
    nc.set_num_threads(before)


@pytest.mark.parametrize("own", [1, 3])
def test_calls_from_many_python_threads_at_once(own: int, threads: None) -> None:
    nc.set_num_threads(own)

    def work(k: int) -> list[np.ndarray]:
        with nc.use("simd"):  # holds for the thread that says so
            return gradients(k % 4)

    expected = [work(seed) for seed in range(4)]
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(work, range(64)))
    for k, result in enumerate(results):
        for got, want in zip(result, expected[k % 4], strict=True):
            np.testing.assert_array_equal(got, want)


def test_the_most_threads_that_may_be_asked_for_can_be_started() -> None:
    run("expected = bits(); nc.set_num_threads(nc.config.max_threads()); assert bits() == expected")


def test_the_number_of_threads_changes_no_bit(threads: None) -> None:
    with nc.use("simd"):
        nc.set_num_threads(1)
        expected = gradients(0)
        for n in (2, 3, 5, 16):
            nc.set_num_threads(n)
            for got, want in zip(gradients(0), expected, strict=True):
                np.testing.assert_array_equal(got, want)
