from numpy import float32, int64
from numpy.typing import NDArray

F32 = NDArray[float32]
I64 = NDArray[int64]
Sizes = tuple[int, ...]

def interpolate_f32_scratch(sizes: Sizes, threads: int) -> int: ...
def interpolate_f32(
    y: F32,
    x: F32,
    row_start: I64,
    row_index: I64,
    row_weight: F32,
    col_start: I64,
    col_index: I64,
    col_weight: F32,
    scratch: F32,
    sizes: Sizes,
    threads: int,
) -> None: ...
