from numpy import float32, int64
from numpy.typing import NDArray

F32 = NDArray[float32]
I64 = NDArray[int64]
Sizes = tuple[int, ...]

def max_pool_f32(y: F32, index: I64, x: F32, sizes: Sizes, threads: int) -> None: ...
def max_pool_backward_f32(dx: F32, dy: F32, index: I64, sizes: Sizes, threads: int) -> None: ...
def window_mean_f32(
    y: F32, x: F32, rows: I64, cols: I64, scale: F32, sizes: Sizes, threads: int
) -> None: ...
def window_mean_backward_f32(
    dx: F32, dy: F32, rows: I64, cols: I64, scale: F32, sizes: Sizes, threads: int
) -> None: ...
