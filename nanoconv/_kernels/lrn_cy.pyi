from numpy import float32
from numpy.typing import NDArray

F32 = NDArray[float32]
Sizes = tuple[int, int, int]

def local_response_norm_f32_scratch(sizes: Sizes, threads: int) -> int: ...
def local_response_norm_backward_f32_scratch(sizes: Sizes, threads: int) -> int: ...
def local_response_norm_f32(
    y: F32,
    x: F32,
    alpha: float,
    beta: float,
    k: float,
    scratch: F32,
    sizes: Sizes,
    threads: int,
) -> None: ...
def local_response_norm_backward_f32(
    dx: F32,
    dy: F32,
    x: F32,
    alpha: float,
    beta: float,
    k: float,
    scratch: F32,
    sizes: Sizes,
    threads: int,
) -> None: ...
