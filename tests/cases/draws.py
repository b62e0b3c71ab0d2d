"""What the rows of several families draw: sizes, shapes, values."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

# Around the vector lengths (4, 8, 16 lanes) and the tiles of the kernels.
channels = st.sampled_from((1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 23, 24, 25, 31, 32, 33, 47, 49))
few_channels = st.integers(1, 5)
batches = st.sampled_from((1, 1, 2, 3, 0))


# --------------------------------------------------------------------------- windows


@st.composite
def window(draw, largest=9):
    """(image size, kernel size, attributes) of a window that fits at least once."""
    kernel = draw(st.tuples(st.integers(1, 4), st.integers(1, 4)))
    dilation = draw(st.sampled_from((1, 1, 1, 2, (1, 2), (3, 1))))
    stride = draw(st.sampled_from((1, 1, 2, (1, 2), (3, 2), 5)))
    padding = draw(
        st.one_of(
            st.integers(0, 3),
            st.tuples(st.integers(0, 3), st.integers(0, 3)),
            st.tuples(*[st.integers(0, 4)] * 4),
            st.sampled_from(("same", "valid")),
        )
    )
    d = (dilation, dilation) if isinstance(dilation, int) else dilation
    sides = {"same": (9,) * 4, "valid": (0,) * 4}.get(padding) if isinstance(padding, str) else None
    if sides is None:
        sides = (padding,) * 4 if isinstance(padding, int) else padding
        sides = (sides[0], sides[0], sides[1], sides[1]) if len(sides) == 2 else sides
    image = []
    for axis in (0, 1):
        least = d[axis] * (kernel[axis] - 1) + 1 - sides[2 * axis] - sides[2 * axis + 1]
        image.append(draw(st.integers(max(least, 1), max(least, largest))))
    attrs = {"stride": stride, "padding": padding, "dilation": dilation}
    return tuple(image), kernel, attrs


@st.composite
def any_shape(draw):
    size = st.sampled_from((5, 3, 2, 1, 8, 17, 0))
    shape = draw(st.one_of(st.lists(size, max_size=3), st.tuples(size, size, size, size)))
    return {"x": tuple(shape)}, {}


def around_kinks(name, shape, rng):
    """Where all pieces are met; not so far out that PyTorch's own 1 − y² loses its digits."""
    return np.clip(rng.standard_normal(shape) * 3, -7, 7)


def beside_kinks(array):
    """Moved to the middle between two multiples of 2⁻¹⁵: the kinks and jumps of all rows are such.

    Differences would step over one that is nearer.
    """
    return (np.floor(array * 2**15) + 0.5) / 2**15


def moderate(name, shape, rng):
    return np.clip(rng.standard_normal(shape), -2, 2)
