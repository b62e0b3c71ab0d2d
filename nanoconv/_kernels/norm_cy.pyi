from numpy import float32
from numpy.typing import NDArray

F32 = NDArray[float32]
Sizes = tuple[int, int, int, int, int, int]
BackwardSizes = tuple[int, int, int, int, int, int, int]

def norm_f32_scratch(sizes: Sizes, threads: int) -> int: ...
def norm_f32(
    y: F32,
    mean: F32,
    var: F32,
    invstd: F32,
    x: F32,
    w: F32,
    b: F32,
    eps: float,
    room: F32,
    sizes: Sizes,
    threads: int,
) -> None: ...
def norm_backward_f32_scratch(sizes: BackwardSizes, threads: int) -> int: ...
def norm_backward_f32(
    dx: F32,
    dw: F32,
    db: F32,
    dy: F32,
    x: F32,
    mean: F32,
    invstd: F32,
    w: F32,
    room: F32,
    sizes: BackwardSizes,
    threads: int,
) -> None: ...
def running_norm_f32_scratch(sizes: tuple[int, int, int, int], threads: int) -> int: ...
def running_norm_f32(
    y: F32,
    invstd: F32,
    x: F32,
    w: F32,
    b: F32,
    mean: F32,
    var: F32,
    eps: float,
    room: F32,
    sizes: tuple[int, int, int, int],
    threads: int,
) -> None: ...
