"""Random small models: tools/fuzz_sessions.py compiles thousands, here a few of them."""

import sys
from pathlib import Path

import pytest

pytest.importorskip("nanoconv._kernels.plan_cy", reason="needs compiled kernels")
sys.path.append(str(Path(__file__).parent.parent / "tools"))

from fuzz_sessions import examine


@pytest.mark.parametrize("number", range(48))
def test_a_session_is_near_the_exact_result(number: int) -> None:
    examine(20261129, number)


def test_the_bound_is_far_below_the_numbers() -> None:
    """A pixel from the wrong place is no rounding: half of the bounds are below 1 %."""
    wide = sorted(examine(7, number)[1] for number in range(16))
    assert wide[len(wide) // 2] < 1e-2
