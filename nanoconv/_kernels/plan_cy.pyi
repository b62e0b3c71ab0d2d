from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

Array = np.ndarray

def memory(floats: int) -> Any: ...
def band_scratch(step: Any) -> int: ...

class Program:
    arena_floats: int
    input_floats: list[int]
    output_floats: list[int]
    def __init__(
        self,
        steps: Sequence[Any],
        weights: Array,
        tables: Array,
        arena_floats: int,
        input_floats: Sequence[int],
        output_floats: Sequence[int],
    ) -> None: ...
    def run(
        self, inputs: Sequence[Array], outputs: Sequence[Array], N: int, threads: int, team: int
    ) -> float: ...
    def trace(
        self,
        inputs: Sequence[Array],
        outputs: Sequence[Array],
        threads: int,
        see: Callable[[int, Any], None],
    ) -> None: ...
    def time(
        self, inputs: Sequence[Array], outputs: Sequence[Array], threads: int, runs: int
    ) -> list[list[float]]: ...
