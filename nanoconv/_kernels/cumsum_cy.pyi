from numpy import float32
from numpy.typing import NDArray

F32 = NDArray[float32]

def cumsum_f32(y: F32, x: F32, sizes: tuple[int, int, int, int], threads: int) -> None: ...
