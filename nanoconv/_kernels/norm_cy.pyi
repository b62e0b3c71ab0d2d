from numpy import float32
from numpy.typing import NDArray

F32 = NDArray[float32]
Sizes = tuple[int, int, int]

def channel_stats_f32(mean: F32, var: F32, x: F32, sizes: Sizes, threads: int) -> None: ...
def channel_affine_f32(
    y: F32, x: F32, scale: F32, shift: F32, sizes: Sizes, threads: int
) -> None: ...
def channel_grad_sums_f32(
    sum_dy: F32,
    sum_dy_xhat: F32,
    dy: F32,
    x: F32,
    mean: F32,
    invstd: F32,
    sizes: Sizes,
    threads: int,
) -> None: ...
def channel_input_grad_f32(
    dx: F32, dy: F32, x: F32, a: F32, k: F32, d: F32, sizes: Sizes, threads: int
) -> None: ...
