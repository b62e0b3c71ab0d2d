"""Depthwise convolution: each channel has a filter of its own, and channels never meet.

    y[n,i,j,c] = b[c] + Σ_{u,v} x[n, i·sh + u·dh − pt, j·sw + v·dw − pl, c]·w[u,v,c]

In NHWC neighbouring channels lie side by side, so LANES of them are computed at once, and the code
below reads as if there were only one: a `vec` is used like a float. A row of the image is walked
with up to 3 × 3 weights held in registers, so that a multiply-add takes one load:

        x   · · [▪ ▪ ▪] · · ·  →           for one vector of channels:  9 weights, 1 sum,
            · · [▪ ▪ ▪] · · ·              3 row pointers, and at each step to the right
            · · [▪ ▪ ▪] · · ·              9 × (load, multiply-add) and one store

Larger filters are done in pieces of at most 3 × 3. At the edges of the image only the taps that
are inside take part. A channel multiplier m > 1 repeats every input channel m times first.

The gradient by the input is the same walk over dy: dx[h] collects w[u]·dy[i] over the taps u with
i·s = h + p − u·d. For the rows (and columns) h with the same h mod s these are the same taps, and
from one such h to the next i grows by one. So nothing is ever scattered: an `Axis` describes both.
"""

from cython.parallel cimport prange
from libc.string cimport memcpy, memset

cdef extern from "gemm.h" nogil:
    const Py_ssize_t LANES
    ctypedef float vec      # in C a vector: what is written once here is done for LANES channels
    vec load(const float *p)
    void store(float *p, vec v)
    void copy_floats(float *to, const float *source, Py_ssize_t n)
    Py_ssize_t ceil_div(Py_ssize_t a, Py_ssize_t b)

cdef enum:
    CHUNK = 64              # channels: the rows of a window, cut to so many, stay in L1
    LINE = 16               # floats in a cache line: threads share none
    WORTH_THREADS = 500_000  # multiply-adds: below, starting the threads takes longer

cdef struct Geometry:
    Py_ssize_t N, C, H, W, O, OH, OW, KH, KW, sh, sw, pt, pl, dh, dw, G


cdef Geometry geometry(sizes):
    N, C, H, W, O, OH, OW, KH, KW, sh, sw, pt, pl, dh, dw, G = sizes
    return Geometry(N, C, H, W, O, OH, OW, KH, KW, sh, sw, pt, pl, dh, dw, G)


# ------------------------------------------------------------------------------ one axis


cdef struct Axis:
    # Output first + k·step, k < count, reads through its tap t < taps, which is tap
    # tap_first + t·tap_step of the filter, the input base + k·per_output + t·per_tap, if that is
    # one of 0 ··· size − 1. All taps are inside for inner ≤ k < inner_end.
    Py_ssize_t count, first, step, taps, tap_first, tap_step
    Py_ssize_t base, per_output, per_tap, size, inner, inner_end


cdef Axis with_inner(Axis a) noexcept nogil:
    cdef Py_ssize_t reach = (a.taps - 1) * a.per_tap
    cdef Py_ssize_t lowest = a.base + min(reach, 0), highest = a.base + max(reach, 0)
    a.inner = min(ceil_div(-lowest, a.per_output), a.count) if lowest < 0 else 0
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
    cdef Py_ssize_t u = 0, a_, b, period
    a_, b = stride, dilation
    while b:                            # Euclid: the taps of a phase are `period` apart
        a_, b = b, a_ % b
    period = stride // a_
    while u < taps and (phase + padding - u * dilation) % stride != 0:
        u += 1
    a.count = ceil_div(size - phase, stride)
    a.first = phase
    a.step = stride
    a.taps = ceil_div(taps - u, period)
    a.tap_first = u
    a.tap_step = period
    a.base = (phase + padding - u * dilation) // stride
    a.per_output = 1
    a.per_tap = -(period * dilation // stride)
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


cdef struct Walk:
    # n steps to the right along a row of y and over x, and how far apart in memory the steps, the
    # taps and the rows of taps are. The result goes to y, or to w when that is the sum.
    bint to_weights
    Py_ssize_t n, y_step, start_step, x_step, x_tap, x_row, w_tap, w_row
    float *y
    const float *start
    const float *x
    float *w


cdef inline void correlate(Walk *by, const int rows, const int taps) noexcept nogil:
    """y[j] = start[j] + Σ_{u < rows, v < taps} x[j, u, v]·w[u, v], for LANES channels."""
    cdef vec weight[9]
    cdef vec total
    cdef const float *row[3]
    cdef const float *start = by.start
    cdef float *y = by.y
    cdef Py_ssize_t j
    cdef int u, v
    for u in range(rows):
        row[u] = by.x + u * by.x_row
        for v in range(taps):
            weight[3 * u + v] = load(by.w + u * by.w_row + v * by.w_tap)
    for j in range(by.n):
        total = load(start)
        for u in range(rows):
            for v in range(taps):
                total += load(row[u] + v * by.x_tap) * weight[3 * u + v]
            row[u] += by.x_step
        store(y, total)
        y += by.y_step
        start += by.start_step


cdef inline void accumulate(Walk *by, const int rows, const int taps) noexcept nogil:
    """w[u, v] += Σ_j y[j]·x[j, u, v], for LANES channels."""
    cdef vec total[9]
    cdef vec dy
    cdef const float *row[3]
    cdef const float *y = by.y
    cdef Py_ssize_t j
    cdef int u, v
    for u in range(rows):
        row[u] = by.x + u * by.x_row
        for v in range(taps):
            total[3 * u + v] = load(by.w + u * by.w_row + v * by.w_tap)
    for j in range(by.n):
        dy = load(y)
        for u in range(rows):
            for v in range(taps):
                total[3 * u + v] += dy * load(row[u] + v * by.x_tap)
            row[u] += by.x_step
        y += by.y_step
    for u in range(rows):
        for v in range(taps):
            store(by.w + u * by.w_row + v * by.w_tap, total[3 * u + v])


cdef void few_channels(Walk *by, Py_ssize_t C) noexcept nogil:
    """Both for one tap and less than LANES channels."""
    cdef Py_ssize_t j, c
    for j in range(by.n):
        for c in range(C):
            if by.to_weights:
                by.w[c] += by.y[j * by.y_step + c] * by.x[j * by.x_step + c]
            else:
                by.y[j * by.y_step + c] = (
                    by.start[j * by.start_step + c] + by.x[j * by.x_step + c] * by.w[c]
                )


cdef inline void with_rows(Walk *by, const int rows, Py_ssize_t taps) noexcept nogil:
    if by.to_weights:
        if taps == 3:
            accumulate(by, rows, 3)
        elif taps == 2:
            accumulate(by, rows, 2)
        else:
            accumulate(by, rows, 1)
    elif taps == 3:
        correlate(by, rows, 3)
    elif taps == 2:
        correlate(by, rows, 2)
    else:
        correlate(by, rows, 1)


cdef void walk(Walk *by, Py_ssize_t rows, Py_ssize_t taps, Py_ssize_t C) noexcept nogil:
    """Any number of rows and taps, in pieces whose numbers the compiler knows."""
    cdef Walk piece = by[0]
    cdef Py_ssize_t u = 0, v, r, t, j, most = 3 if C >= LANES else 1
    if rows * taps == 0 and not by.to_weights:
        for j in range(by.n):
            copy_floats(by.y + j * by.y_step, by.start, min(C, LANES))
    while u < rows:
        r = min(rows - u, most)
        v = 0
        while v < taps:
            t = min(taps - v, most)
            piece.x = by.x + u * by.x_row + v * by.x_tap
            piece.w = by.w + u * by.w_row + v * by.w_tap
            if C < LANES:
                few_channels(&piece, C)
            elif r == 3:
                with_rows(&piece, 3, t)
            elif r == 2:
                with_rows(&piece, 2, t)
            else:
                with_rows(&piece, 1, t)
            piece.start = by.y              # the other pieces are added
            piece.start_step = by.y_step
            v += t
        u += r


cdef void walk_row(
    Walk *by, Axis *columns, Py_ssize_t rows, Py_ssize_t C, Py_ssize_t first, Py_ssize_t last
) noexcept nogil:
    """One row of outputs, channels first ≤ c < last: the inner ones at once, the others singly."""
    cdef Walk piece
    cdef Py_ssize_t k = 0, n, c, at, block, t0, t1
    by.y_step = columns.step * C
    by.x_step = columns.per_output * C
    by.x_tap = columns.per_tap * C
    while k < columns.count:
        n = columns.inner_end - k if k == columns.inner and k < columns.inner_end else 1
        inside(columns, k, &t0, &t1)
        for block in range(first // LANES, ceil_div(last, LANES)):
            c = block * LANES
            at = max(min(c, C - LANES), 0)  # the last vector may overlap the one before
            piece = by[0]
            piece.n = n
            piece.y += (columns.first + k * columns.step) * C + at
            piece.x += (columns.base + k * columns.per_output + t0 * columns.per_tap) * C + at
            piece.w += (columns.tap_first + t0 * columns.tap_step) * by.w_tap
            piece.w += c if by.to_weights else at
            piece.w_tap *= columns.tap_step
            piece.start += at
            walk(&piece, rows, t1 - t0, C)
        k += n


cdef void walk_rows(
    Walk by, Geometry *s, bint backward, Py_ssize_t begin, Py_ssize_t end,
    Py_ssize_t first, Py_ssize_t last,
) noexcept nogil:
    """The rows begin ≤ n·OH + i < end of y, or of n·H + h of dx if backward, in some channels."""
    cdef Axis rows, columns
    cdef Walk piece
    cdef Py_ssize_t C = s.O, r, n, k, u0, u1, phase, phases = min(s.sw, s.W) if backward else 1
    cdef Py_ssize_t height = s.H if backward else s.OH, in_height = s.OH if backward else s.H
    cdef Py_ssize_t width = s.W if backward else s.OW, in_width = s.OW if backward else s.W
    for r in range(begin, end):
        n = r // height
        if backward:
            rows = backward_axis(s.H, s.OH, s.KH, s.sh, s.pt, s.dh, r % height % s.sh)
        else:
            rows = forward_axis(s.H, s.OH, s.KH, s.sh, s.pt, s.dh)
        k = r % height // rows.step
        inside(&rows, k, &u0, &u1)
        piece = by
        piece.y += r * width * C
        piece.x += (n * in_height + rows.base + k * rows.per_output + u0 * rows.per_tap) * in_width * C
        piece.x_row = rows.per_tap * in_width * C
        piece.w += (rows.tap_first + u0 * rows.tap_step) * s.KW * by.w_tap
        piece.w_row = rows.tap_step * s.KW * by.w_tap
        for phase in range(phases):
            if backward:
                columns = backward_axis(s.W, s.OW, s.KW, s.sw, s.pl, s.dw, phase)
            else:
                columns = forward_axis(s.W, s.OW, s.KW, s.sw, s.pl, s.dw)
            walk_row(&piece, &columns, u1 - u0, C, first, last)


cdef void walk_images(Walk by, Geometry *s, bint backward, int threads) noexcept nogil:
    """All rows of y, or of dx if backward: a band of them for each thread, chunk by chunk."""
    cdef Py_ssize_t rows = s.N * (s.H if backward else s.OH), chunks = ceil_div(s.O, CHUNK)
    cdef Py_ssize_t part, chunk
    for part in prange(
        threads, schedule="static", num_threads=threads,
        use_threads_if=s.N * s.OH * s.OW * s.O * s.KH * s.KW > WORTH_THREADS,
    ):
        for chunk in range(chunks):
            walk_rows(
                by, s, backward, part * rows // threads, (part + 1) * rows // threads,
                chunk * CHUNK, min((chunk + 1) * CHUNK, s.O),
            )


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
    loops    bands of rows, one per thread → chunks of 64 channels → rows → vectors → pixels
    tile     1 pixel × LANES channels × at most 3 × 3 taps, whose weights stay in registers
    why      one load per multiply-add and no store between them; the three rows that a window
             sees stay in L1 from one output row to the next, if the chunk is small
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
    loops    bands of rows of dx, one per thread → chunks of 64 channels → rows → columns of one
             phase (w mod sw) → vectors → pixels
    tile     1 pixel × LANES channels × at most 3 × 3 taps, whose weights stay in registers
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
    loops    runs of channels, one per thread → chunks of 64 → rows → vectors → pixels
    tile     LANES channels × at most 3 × 3 taps, whose sums stay in registers along a row
    why      the sum over all pixels belongs to one channel, so threads share out channels
    """
    cdef Geometry s = geometry(sizes)
    cdef Walk by
    cdef Py_ssize_t taps = s.KH * s.KW, vectors = ceil_div(s.O, LANES), lines = ceil_div(s.O, LINE)
    cdef Py_ssize_t part, c, end, t, skip, stride = vectors * LANES
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
                walk_rows(by, &s, False, 0, s.N * s.OH, c, min(c + CHUNK, end))
                c = c + CHUNK
        for t in range(taps):
            c = (vectors - 1) * LANES
            memcpy(out + t * s.O, sums + t * stride, c * sizeof(float))
            memcpy(out + t * s.O + c, sums + t * stride + c + skip, (s.O - c) * sizeof(float))


def depthwise_weight_grad_f32_scratch(sizes, int threads):
    cdef Geometry s = geometry(sizes)
    return s.KH * s.KW * ceil_div(s.O, LANES) * LANES + repeated(&s)
