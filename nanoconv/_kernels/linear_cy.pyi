import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
Sizes = tuple[int, ...]

def gemv_f32(
    y: Array, x: Array, w: Array, b: Array, scratch: Array, sizes: Sizes, threads: int
) -> None: ...
def gemv_f32_scratch(sizes: Sizes, threads: int) -> int: ...
