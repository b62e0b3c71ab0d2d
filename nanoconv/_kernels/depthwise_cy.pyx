"""Depthwise convolution: each channel has a filter of its own, and channels never meet.

    y[n,i,j,c] = b[c] + Σ_{u,v} x[n, i·sh + u·dh − pt, j·sw + v·dw − pl, c]·w[u,v,c]

depthwise.h walks along a row of pixels with a few weights in registers; here stands who walks
where. At the edges of the image only the taps that are inside take part. A channel multiplier m > 1
repeats every input channel m times first.

The gradient by the input is the same walk over dy: dx[h] collects w[u]·dy[i] over the taps u with
i·s = h + p − u·d. For the rows (and columns) h with the same h mod s these are the same taps, and
from one such h to the next i grows by one. So nothing is ever scattered: an `Axis` describes both.
"""

from cython.parallel cimport prange
from libc.string cimport memcpy, memset

from .common cimport IN_L2, LINE, WORTH_THREADS, Geometry, ceil_div, geometry

cdef extern from "depthwise.h" nogil:
    const Py_ssize_t LANES
    ctypedef struct Walk "walk":
        bint to_weights
        Py_ssize_t n, y_step, start_step, x_step, x_tap, x_row, w_tap, w_row
        float *y
        const float *start
        const float *x
        float *w
    void walk_taps(
        const Walk *by, Py_ssize_t rows, Py_ssize_t taps, Py_ssize_t c, Py_ssize_t end)

cdef enum:
    CHUNK = 64              # channels: the least that is worth a pass over the image
    IN_L1 = 6_144           # floats of the rows that a window sees: 24 KB, most of a common L1
    STRIP = 32_768          # floats of dx that all phases of a stride write, while they are in L2


cdef Py_ssize_t chunk_of(Geometry *s) noexcept nogil:
    """How many channels to take at a time: the rows under a window stay in L1, or else in L2.

    If L1 is too small for CHUNK channels, as many as possible: then memory is read in longer runs.
    """
    cdef Py_ssize_t line = s.KH * max(s.W, s.OW)
    if line * CHUNK <= IN_L1:
        return IN_L1 // (line * CHUNK) * CHUNK
    return ceil_div(min(s.O, IN_L2 // line + 1), CHUNK) * CHUNK


# ------------------------------------------------------------------------------ one axis


cdef struct Axis:
    # Output first + k·step, k < count, reads through its tap t < taps, which is tap
    # tap_first + t·tap_step of the filter, the input base + k·per_output + t·per_tap, if that is
    # one of 0 ··· size − 1. All taps are inside for inner ≤ k < inner_end.
    Py_ssize_t count, first, step, taps, tap_first, tap_step
    Py_ssize_t base, per_output, per_tap, size, inner, inner_end


cdef Axis with_inner(Axis a) noexcept nogil:
    cdef Py_ssize_t highest = a.base + (a.taps - 1) * a.per_tap
    a.inner = min(ceil_div(-a.base, a.per_output), a.count) if a.base < 0 else 0
    a.inner_end = min(ceil_div(a.size - highest, a.per_output), a.count) if highest < a.size else 0
    a.inner_end = max(a.inner, a.inner_end)
    return a


cdef Axis forward_axis(
    Py_ssize_t size, Py_ssize_t outputs, Py_ssize_t taps, Py_ssize_t stride, Py_ssize_t padding,
    Py_ssize_t dilation,
) noexcept nogil:
    """Output i reads input i·stride + u·dilation − padding."""
    return with_inner(
        Axis(outputs, 0, 1, taps, 0, 1, -padding, stride, dilation, size, 0, 0)
    )


cdef Axis backward_axis(
    Py_ssize_t size, Py_ssize_t outputs, Py_ssize_t taps, Py_ssize_t stride, Py_ssize_t padding,
    Py_ssize_t dilation, Py_ssize_t phase,
) noexcept nogil:
    """The h with h mod stride = phase read the i with i·stride = h + padding − u·dilation."""
    cdef Axis a
    cdef Py_ssize_t u = taps - 1, common = stride, rest = dilation
    while rest:                                 # Euclid
        common, rest = rest, common % rest
    a.tap_step = -(stride // common)            # so far apart are the taps of one phase
    while u >= 0 and (phase + padding - u * dilation) % stride != 0:
        u -= 1
    a.tap_first = u                             # from the last tap on, for ascending i
    a.taps = ceil_div(u + 1, -a.tap_step)
    a.count = ceil_div(size - phase, stride)
    a.first = phase
    a.step = stride
    a.base = (phase + padding - u * dilation) // stride
    a.per_output = 1
    a.per_tap = dilation // common
    a.size = outputs
    return with_inner(a)


cdef inline void inside(Axis *a, Py_ssize_t k, Py_ssize_t *first, Py_ssize_t *last) noexcept nogil:
    """The taps first ≤ t < last of output k that are inside the input."""
    cdef Py_ssize_t start = a.base + k * a.per_output
    first[0] = 0
    last[0] = a.taps
    while first[0] < last[0] and not 0 <= start + first[0] * a.per_tap < a.size:
        first[0] += 1
    while first[0] < last[0] and not 0 <= start + (last[0] - 1) * a.per_tap < a.size:
        last[0] -= 1


# ------------------------------------------------------------------------------ walks


cdef void walk_channels(
    Walk *by, Py_ssize_t C, Py_ssize_t first, Py_ssize_t last, Py_ssize_t rows, Py_ssize_t taps
) noexcept nogil:
    """The channels first ≤ c < last; if the last vector is not full, it starts further left."""
    cdef Walk rest = by[0]
    cdef Py_ssize_t whole = last // LANES * LANES if C >= LANES else last
    if first < whole:
        walk_taps(by, rows, taps, first, whole)
    if whole < last:
        if by.to_weights:           # its sums stand apart, or some lanes would count twice
            rest.w += whole - (C - LANES)
        walk_taps(&rest, rows, taps, C - LANES, C)


cdef void walk_plane(
    Walk *by, Axis *rows, Axis *columns, Py_ssize_t begin, Py_ssize_t end,
    Py_ssize_t width, Py_ssize_t in_width, Py_ssize_t KW, Py_ssize_t C,
    Py_ssize_t first, Py_ssize_t last,
) noexcept nogil:
    """The rows begin ≤ k < end of one image: inner columns row by row, border columns downwards.

             ┌─┬───────┬─┐
             │·│→→→→→→→│·│    a top row: only some rows of the filter are inside
             ├─┼───────┼─┤
             │↓│→→→→→→→│↓│    inner rows: all of them are, so a border column
             │↓│→→→→→→→│↓│    is one walk, too
             └─┴───────┴─┘
    """
    cdef Walk piece = by[0]
    cdef Py_ssize_t k, j, u0, u1, v0, v1, y_row = rows.step * width * C
    cdef Py_ssize_t inner = max(rows.inner, begin), inner_end = min(rows.inner_end, end)
    piece.x_row = rows.per_tap * in_width * C
    piece.x_tap = columns.per_tap * C
    piece.w_row = rows.tap_step * KW * by.w_tap
    piece.w_tap = columns.tap_step * by.w_tap
    for k in range(begin, end):
        inside(rows, k, &u0, &u1)
        j = 0
        while j < columns.count:
            inside(columns, j, &v0, &v1)
            piece.n = 1
            piece.y_step = columns.step * C
            piece.x_step = columns.per_output * C
            if columns.inner <= j < columns.inner_end:
                piece.n = columns.inner_end - j
            elif inner <= k < inner_end:
                piece.n = inner_end - k if k == inner else 0
                piece.y_step = y_row
                piece.x_step = rows.per_output * in_width * C
            if piece.n > 0:
                piece.y = by.y + (rows.first * width + columns.first + j * columns.step) * C
                piece.y += k * y_row
                piece.x = by.x + C * (
                    (rows.base + k * rows.per_output + u0 * rows.per_tap) * in_width
                    + columns.base + j * columns.per_output + v0 * columns.per_tap
                )
                piece.w = by.w + by.w_tap * (
                    (rows.tap_first + u0 * rows.tap_step) * KW
                    + columns.tap_first + v0 * columns.tap_step
                )
                walk_channels(&piece, C, first, last, u1 - u0, v1 - v0)
            j += columns.inner_end - j if columns.inner <= j < columns.inner_end else 1


cdef void walk_rows(
    Walk by, Geometry *s, bint backward, Py_ssize_t begin, Py_ssize_t end,
    Py_ssize_t first, Py_ssize_t last,
) noexcept nogil:
    """The rows begin ≤ n·OH + i < end of y, or of n·H + h of dx if backward, in some channels."""
    cdef Axis rows, columns
    cdef Walk image = by
    cdef Py_ssize_t height = s.H if backward else s.OH, in_height = s.OH if backward else s.H
    cdef Py_ssize_t width = s.W if backward else s.OW, in_width = s.OW if backward else s.W
    cdef Py_ssize_t sh = min(s.sh, s.H) if backward else 1, sw = min(s.sw, s.W) if backward else 1
    cdef Py_ssize_t n, i0, i1, p, q
    while begin < end:
        n = begin // height
        i0 = begin - n * height
        i1 = min(end - n * height, height)
        image.y = by.y + n * height * width * s.O
        image.x = by.x + n * in_height * in_width * s.O
        for p in range(sh):
            for q in range(sw):
                if backward:
                    rows = backward_axis(s.H, s.OH, s.KH, s.sh, s.pt, s.dh, p)
                    columns = backward_axis(s.W, s.OW, s.KW, s.sw, s.pl, s.dw, q)
                else:
                    rows = forward_axis(s.H, s.OH, s.KH, s.sh, s.pt, s.dh)
                    columns = forward_axis(s.W, s.OW, s.KW, s.sw, s.pl, s.dw)
                walk_plane(
                    &image, &rows, &columns, ceil_div(max(i0 - p, 0), rows.step),
                    ceil_div(max(i1 - p, 0), rows.step),
                    width, in_width, s.KW, s.O, first, last,
                )
        begin += i1 - i0


cdef void walk_images(Walk by, Geometry *s, bint backward, int threads) noexcept nogil:
    """All rows of y, or of dx if backward: a band of them for each thread, chunk by chunk.

    With a stride the phases of dx take turns on a strip of rows, before it leaves the cache.
    """
    cdef Py_ssize_t rows = s.N * (s.H if backward else s.OH), chunk = chunk_of(s)
    cdef Py_ssize_t chunks = ceil_div(s.O, chunk), part, k, row, strip = rows
    if backward and s.sh * s.sw > 1:
        strip = max(1, STRIP // (s.W * chunk * s.sh)) * s.sh
    for part in prange(
        threads, schedule="static", num_threads=threads,
        use_threads_if=s.N * s.OH * s.OW * s.O * s.KH * s.KW > WORTH_THREADS,
    ):
        for k in range(chunks):
            row = part * rows // threads
            while row < (part + 1) * rows // threads:
                walk_rows(
                    by, s, backward, row, min(row + strip, (part + 1) * rows // threads),
                    k * chunk, min((k + 1) * chunk, s.O),
                )
                row = row + strip


# ------------------------------------------------------------------------------ multiplier


cdef void repeat(
    float *to, const float *x, Py_ssize_t n, Py_ssize_t m, int threads
) noexcept nogil:
    """to[k·m + r] = x[k]: every input channel as often as outputs read it."""
    cdef Py_ssize_t k, r
    for k in prange(n, schedule="static", num_threads=threads, use_threads_if=n > WORTH_THREADS):
        for r in range(m):
            to[k * m + r] = x[k]


cdef void fold(float *dx, const float *of, Py_ssize_t n, Py_ssize_t m, int threads) noexcept nogil:
    """dx[k] = Σ_r of[k·m + r]."""
    cdef Py_ssize_t k, r
    cdef float total
    for k in prange(n, schedule="static", num_threads=threads, use_threads_if=n > WORTH_THREADS):
        total = 0
        for r in range(m):
            total = total + of[k * m + r]
        dx[k] = total


cdef inline Py_ssize_t repeated(Geometry *s) noexcept nogil:
    return s.N * s.H * s.W * s.O if s.O > s.C else 0


# ------------------------------------------------------------------------------ the kernels


def depthwise_f32(
    float[:, :, :, ::1] y, const float[:, :, :, ::1] x, const float[:, :, ::1] w,
    const float[::1] b, float[::1] scratch, sizes, int threads,
):
    """y[n,i,j,o] = b[o] + Σ_{u,v} x[n, i·sh + u·dh − pt, j·sw + v·dw − pl, ⌊o/m⌋]·w[u,v,o].

    layout   x (N, H, W, C), y (N, OH, OW, O), w (KH, KW, O), O = C·m
    loops    bands of rows, one per thread → chunks of channels → rows → vectors → pixels
    tile     4 pixels × LANES channels × at most 3 × 3 taps, whose weights stay in registers
    why      all nine products of a sum without a store between them; the rows that a window sees
             stay in L1 from one output row to the next, if the chunk is small
    """
    cdef Geometry s = geometry(sizes)
    cdef Walk by
    if s.N * s.OH * s.OW * s.O == 0:
        return
    by.to_weights = False
    by.y = &y[0, 0, 0, 0]
    by.start = &b[0]
    by.start_step = 0
    by.x = &x[0, 0, 0, 0]
    by.w = <float *> &w[0, 0, 0]
    by.w_tap = s.O
    with nogil:
        if s.O > s.C:
            repeat(&scratch[0], by.x, s.N * s.H * s.W * s.C, s.O // s.C, threads)
            by.x = &scratch[0]
        walk_images(by, &s, False, threads)


def depthwise_f32_scratch(sizes, int threads):
    cdef Geometry s = geometry(sizes)
    return repeated(&s)


def depthwise_input_grad_f32(
    float[:, :, :, ::1] dx, const float[:, :, :, ::1] dy, const float[:, :, ::1] w,
    float[::1] scratch, sizes, int threads,
):
    """dx[n,h,w,c] = Σ dy[n,i,j,o]·w[u,v,o] over o with ⌊o/m⌋ = c and all that read x[n,h,w,c].

    layout   dx (N, H, W, C), dy (N, OH, OW, O), w (KH, KW, O), O = C·m
    loops    bands of rows of dx, one per thread → chunks of channels → rows and columns of one
             phase (h mod sh, w mod sw) → vectors → pixels
    tile     4 pixels × LANES channels × at most 3 × 3 taps, whose weights stay in registers
    why      each dx is gathered, not scattered: threads share no output, and it is stored once
    """
    cdef Geometry s = geometry(sizes)
    cdef Walk by
    if s.N * s.H * s.W * s.C == 0:
        return
    cdef float *out = &dx[0, 0, 0, 0]
    by.to_weights = False
    by.y = out
    by.start = &scratch[0]
    by.start_step = 0
    by.x = &dy[0, 0, 0, 0]
    by.w = <float *> &w[0, 0, 0]
    by.w_tap = s.O
    with nogil:
        memset(&scratch[0], 0, s.O * sizeof(float))
        if s.O > s.C:
            by.y = &scratch[s.O]
        walk_images(by, &s, True, threads)
        if s.O > s.C:
            fold(out, by.y, s.N * s.H * s.W * s.C, s.O // s.C, threads)


def depthwise_input_grad_f32_scratch(sizes, int threads):
    cdef Geometry s = geometry(sizes)
    return s.O + repeated(&s)


def depthwise_weight_grad_f32(
    float[:, :, ::1] dw, const float[:, :, :, ::1] dy, const float[:, :, :, ::1] x,
    float[::1] scratch, sizes, int threads,
):
    """dw[u,v,o] = Σ_{n,i,j} dy[n,i,j,o]·x[n, i·sh + u·dh − pt, j·sw + v·dw − pl, ⌊o/m⌋].

    layout   dw (KH, KW, O), dy (N, OH, OW, O), x (N, H, W, C), O = C·m
    loops    runs of channels, one per thread → chunks → rows → vectors → pixels
    tile     4 pixels × LANES channels × at most 3 × 3 taps, whose sums stay in registers
    why      the sum over all pixels belongs to one channel, so threads share out channels
    """
    cdef Geometry s = geometry(sizes)
    cdef Walk by
    cdef Py_ssize_t taps = s.KH * s.KW, vectors = ceil_div(s.O, LANES), lines = ceil_div(s.O, LINE)
    cdef Py_ssize_t part, c, end, t, skip, stride = vectors * LANES, chunk = chunk_of(&s)
    if taps * s.O == 0:
        return
    cdef float *out = &dw[0, 0, 0]
    cdef float *sums = &scratch[0]                                  # (KH·KW, stride)
    by.to_weights = True
    by.y = <float *> &dy[0, 0, 0, 0]
    by.start = by.y
    by.start_step = 0
    by.x = &x[0, 0, 0, 0]
    by.w = sums
    by.w_tap = stride
    skip = stride - s.O if s.O >= LANES else 0      # lanes that the last vector shares
    with nogil:
        if s.O > s.C:
            by.x = sums + taps * stride
            repeat(
                sums + taps * stride, &x[0, 0, 0, 0], s.N * s.H * s.W * s.C, s.O // s.C, threads
            )
        memset(sums, 0, taps * stride * sizeof(float))
        for part in prange(
            threads, schedule="static", num_threads=threads,
            use_threads_if=s.N * s.OH * s.OW * s.O * taps > WORTH_THREADS,
        ):
            c = part * lines // threads * LINE
            end = min((part + 1) * lines // threads * LINE, s.O)
            while c < end:
                walk_rows(by, &s, False, 0, s.N * s.OH, c, min(c + chunk, end))
                c = c + chunk
        for t in range(taps):
            c = (vectors - 1) * LANES
            memcpy(out + t * s.O, sums + t * stride, c * sizeof(float))
            memcpy(out + t * s.O + c, sums + t * stride + c + skip, (s.O - c) * sizeof(float))


def depthwise_weight_grad_f32_scratch(sizes, int threads):
    cdef Geometry s = geometry(sizes)
    return s.KH * s.KW * ceil_div(s.O, LANES) * LANES + repeated(&s)
