from numpy import float32
from numpy.typing import NDArray

F32 = NDArray[float32]
Sizes = tuple[int, int, int]

def norm_rows_f32(
    y: F32,
    mean: F32,
    invstd: F32,
    x: F32,
    w: F32,
    b: F32,
    eps: float,
    sizes: Sizes,
    threads: int,
) -> None: ...
def norm_rows_input_grad_f32(
    dx: F32, dy: F32, x: F32, mean: F32, invstd: F32, w: F32, sizes: Sizes, threads: int
) -> None: ...
def norm_rows_weight_grad_f32(
    dw: F32, db: F32, dy: F32, x: F32, mean: F32, invstd: F32, sizes: Sizes, threads: int
) -> None: ...
