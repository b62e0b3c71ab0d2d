from numpy import float32
from numpy.typing import NDArray

F32 = NDArray[float32]
Sizes = tuple[int, ...]

def pixel_shuffle_f32(y: F32, x: F32, sizes: Sizes, threads: int) -> None: ...
def pixel_unshuffle_f32(x: F32, y: F32, sizes: Sizes, threads: int) -> None: ...
