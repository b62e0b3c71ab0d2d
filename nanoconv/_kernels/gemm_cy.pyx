"""Matrix products, and the convolutions that are nothing else: 1 x 1, one group.

For a pointwise convolution an NHWC image is a matrix with a pixel per row and a channel per column:
    y (M, O)  = x (M, C) · wᵀ + b        M = N·OH·OW pixels, w (O, C)
    dx (M, C) = dy (M, O) · w
    dw (O, C) = dyᵀ · x                  a sum over all pixels
gemm.h has the panels and tiles; here stands who computes what. Threads take rows, or panels where
there are few rows: each writes its own part of the result, so that their number changes no bit.
With a stride the pixels that are used are first gathered into a contiguous matrix.
"""

from cython.parallel cimport prange, threadid
from libc.string cimport memcpy, memset

from .common cimport IN_L2, LINE, WORTH_THREADS, aligned, ceil_div
from .gemm cimport (
    LANES, PANEL, ROW_BLOCK, dots, panel_begin, panel_count, peak_loop, whole_vectors,
)
from .steps_cy cimport kernels

from time import perf_counter

cdef enum:
    FEW_ROWS = 8            # up to here `dots` is faster than packing
    ROWS_PER_THREAD = 64    # below, threads share out panels instead of rows
    PIXEL_BLOCK = 128       # pixels of a panel of x: 12 KB, beside the same of dy in L1


# ------------------------------------------------------------------------------ products


cdef inline bint rows_shared(
    Py_ssize_t M, Py_ssize_t N, Py_ssize_t K, int threads
) noexcept nogil:
    """True if threads share out rows, each for all panels; else panels, each for all rows.

    With rows, all of B is packed first and then read from L2. With panels, each is used up before
    the next takes its place in L1, but A is read for each: it must stay in L2 itself.
    """
    if M < ROWS_PER_THREAD * threads or M <= ROW_BLOCK:
        return False
    return M * K > IN_L2 or (threads > 1 and panel_count(N) < 4 * threads)


cdef struct Matrix:
    # Element [i, j] is at start[i·rows + j·cols]; one of both steps is 1.
    const float *start
    Py_ssize_t rows, cols


cdef void times_rows(
    float *c, Matrix a, Matrix b, const float *bias, float *scratch,
    Py_ssize_t M, Py_ssize_t N, Py_ssize_t K, int threads,
) noexcept nogil:
    """c (M, N) = a (M, K) · b (K, N) + bias."""
    cdef float *padded = aligned(scratch)
    cdef float *packed = padded + ceil_div(N, LINE) * LINE
    cdef Py_ssize_t p, r, panels = panel_count(N)
    cdef Py_ssize_t parts = threads * ceil_div(M, threads * ROW_BLOCK)
    cdef bint by_rows = rows_shared(M, N, K, threads)
    cdef bint parallel = M * N * K > WORTH_THREADS
    cdef float *panel

    memset(padded, 0, whole_vectors(N) * sizeof(float))
    if bias != NULL:
        memcpy(padded, bias, N * sizeof(float))
    for p in prange(panels, schedule="static", num_threads=threads, use_threads_if=parallel):
        panel = packed + (panel_begin(p, N) if by_rows else threadid() * PANEL * LANES) * K
        if b.cols == 1:
            kernels.pack_rows(panel, b.start, b.rows, N, K, p, p + 1)
        else:
            kernels.pack_columns(panel, b.start, b.cols, N, K, p, p + 1)
        if not by_rows:
            kernels.gemm(c, N, a.start, a.rows, a.cols, panel, padded, M, N, K, p, p + 1)
    if by_rows:
        for r in prange(parts, schedule="static", num_threads=threads, use_threads_if=parallel):
            kernels.gemm(
                c + r * M // parts * N, N, a.start + r * M // parts * a.rows, a.rows, a.cols,
                packed, padded, (r + 1) * M // parts - r * M // parts, N, K, 0, panels,
            )


cdef Py_ssize_t times_rows_scratch(
    Py_ssize_t M, Py_ssize_t N, Py_ssize_t K, int threads
) noexcept nogil:
    cdef Py_ssize_t columns = threads * PANEL * LANES
    if rows_shared(M, N, K, threads):
        columns = whole_vectors(N)
    return columns * K + whole_vectors(N) + 2 * LINE


cdef void sum_over_pixels(
    float *dw, const float *dy, const float *x, float *scratch,
    Py_ssize_t M, Py_ssize_t O, Py_ssize_t C, int threads,
) noexcept nogil:
    """dw (O, C) = dyᵀ · x: blocks of pixels of one panel of x are packed, and added in order."""
    cdef float *zeros = aligned(scratch)        # what the first block is added to
    cdef float *packed = zeros + ceil_div(C, LINE) * LINE
    cdef Py_ssize_t panels = panel_count(C), parts = ceil_div(threads, panels)
    cdef Py_ssize_t task, p, o, m, count, o0, o1, block, blocks = ceil_div(M, PIXEL_BLOCK)
    cdef float *panel
    if parts > O:
        parts = O
    if M == 0:
        memset(dw, 0, O * C * sizeof(float))
    memset(zeros, 0, whole_vectors(C) * sizeof(float))
    for task in prange(
        panels * parts, schedule="static", num_threads=threads,
        use_threads_if=M * O * C > WORTH_THREADS,
    ):
        p = task // parts
        o = task % parts
        o0 = o * O // parts
        o1 = (o + 1) * O // parts
        panel = packed + threadid() * PIXEL_BLOCK * PANEL * LANES
        for block in range(blocks):
            m = block * PIXEL_BLOCK
            count = min(PIXEL_BLOCK, M - m)
            kernels.pack_rows(panel, x + m * C, C, C, count, p, p + 1)
            kernels.gemm(
                dw + o0 * C, C, dy + m * O + o0, 1, O, panel, NULL if block else zeros,
                o1 - o0, C, count, p, p + 1,
            )


cdef Py_ssize_t sum_over_pixels_scratch(Py_ssize_t C, int threads) noexcept nogil:
    return whole_vectors(C) + threads * PIXEL_BLOCK * PANEL * LANES + 2 * LINE


cdef void scaled_row(
    float *c, float a, const float *b, const float *bias, Py_ssize_t N
) noexcept nogil:
    """c[n] = a·b[n] + bias[n]."""
    cdef Py_ssize_t n
    for n in range(N):
        c[n] = a * b[n] + bias[n]


cdef inline Matrix matrix(const float[:, :] m):
    return Matrix(
        &m[0, 0], m.strides[0] // <Py_ssize_t> sizeof(float),
        m.strides[1] // <Py_ssize_t> sizeof(float),
    )


def matmul_f32(
    float[:, ::1] c, const float[:, :] a, const float[:, :] b, const float[::1] bias,
    float[::1] scratch, sizes, int threads,
):
    """c[m, n] = bias[n] + Σ_k a[m, k]·b[n, k], the product of a linear layer.

    layout   a (M, K), b (N, K): contiguous, or transposes of what is; c (M, N); sizes (M, N, K)
    loops    few rows: LANES rows of b → rows of a; K = 1: rows; otherwise those of gemm.h
    tile     few rows: 1 × LANES dot products; K = 1: one row; otherwise that of gemm.h
    why      with one row every weight is used once: reading them is all there is to do; with sums
             of one term writing c is, and that is fastest in the order of memory
    """
    cdef Py_ssize_t M, N, K, p, m, panels
    M, N, K = sizes
    if M * N == 0:
        return
    cdef float *out = &c[0, 0]
    cdef const float *start = &bias[0]
    cdef Matrix left = matrix(a), right = matrix(b)
    cdef bint rows_of_both = left.cols == right.cols == 1 and left.rows == right.rows == K
    with nogil:
        if K == 1 and left.rows == right.rows == 1:
            for m in prange(
                M, schedule="static", num_threads=threads, use_threads_if=M * N > WORTH_THREADS,
            ):
                scaled_row(out + m * N, left.start[m], right.start, start, N)
        elif M > FEW_ROWS or not rows_of_both:
            right = Matrix(right.start, right.cols, right.rows)  # (K, N)
            times_rows(out, left, right, start, &scratch[0], M, N, K, threads)
        else:
            panels = panel_count(N)
            for p in prange(
                panels, schedule="static", num_threads=threads,
                use_threads_if=M * N * K > WORTH_THREADS,
            ):
                dots(
                    out, N, left.start, right.start, start, M, K,
                    panel_begin(p, N), min(N, panel_begin(p + 1, N)),
                )


def matmul_f32_scratch(sizes, int threads):
    M, N, K = sizes
    return times_rows_scratch(M, N, K, threads)


# ------------------------------------------------------------------------------ pointwise


cdef struct Strided:
    # Which pixels of an (N, H, W, C) image a 1 × 1 window with a stride sees; they are `pitch`
    # floats apart, more than C where the image is a slice of the channels of another.
    Py_ssize_t N, C, H, W, OH, OW, sh, sw, pitch


cdef void gather(float *pixels, const float *x, Strided s, int threads) noexcept nogil:
    """pixels[n, i, j, c] = x[n, i·sh, j·sw, c]."""
    cdef Py_ssize_t row, j
    for row in prange(
        s.N * s.OH, schedule="static", num_threads=threads,
        use_threads_if=s.N * s.OH * s.OW * s.C > WORTH_THREADS,
    ):
        for j in range(s.OW):
            memcpy(
                pixels + (row * s.OW + j) * s.C,
                x + ((row // s.OH * s.H + row % s.OH * s.sh) * s.W + j * s.sw) * s.pitch,
                s.C * sizeof(float),
            )


cdef void spread(float *x, const float *pixels, Strided s, int threads) noexcept nogil:
    """The inverse of gather: x[n, i·sh, j·sw, c] = pixels[n, i, j, c], and 0 elsewhere."""
    cdef Py_ssize_t row, h, i, j
    for row in prange(
        s.N * s.H, schedule="static", num_threads=threads,
        use_threads_if=s.N * s.H * s.W * s.C > WORTH_THREADS,
    ):
        memset(x + row * s.W * s.C, 0, s.W * s.C * sizeof(float))
        h = row % s.H
        i = h // s.sh
        if h % s.sh == 0 and i < s.OH:
            for j in range(s.OW):
                memcpy(
                    x + (row * s.W + j * s.sw) * s.C,
                    pixels + ((row // s.H * s.OH + i) * s.OW + j) * s.C,
                    s.C * sizeof(float),
                )


cdef Strided strided(sizes):
    N, C, H, W, _, OH, OW, _, _, sh, sw = sizes[:11]
    return Strided(N, C, H, W, OH, OW, sh, sw, C)


cdef inline bint sees_all(Strided s) noexcept nogil:
    return s.OH == s.H and s.OW == s.W


cdef Py_ssize_t gather_scratch(Strided s) noexcept nogil:
    return 0 if sees_all(s) else s.N * s.OH * s.OW * s.C


pointwise_f32_takes_slices = True


def pointwise_f32(
    float[:, :, :, ::1] y, const float[:, :, :, :] x, const float[:, :, :, ::1] w,
    const float[::1] b, float[::1] scratch, sizes, int threads,
):
    """y[n,i,j,o] = b[o] + Σ_c x[n, i·sh, j·sw, c]·w[o,c].

    layout   x (N, H, W, C), also some channels of a wider image; y (N, OH, OW, O), w (O, C, 1, 1)
    loops    panels of w, transposed → blocks of pixels → panels → tiles
    tile     that of gemm.h: with 16 registers of 8 floats: 4 pixels × 24 output channels
    why      packing touches each weight once, the tiles use it once per pixel
    """
    cdef Strided s = strided(sizes)
    cdef Py_ssize_t M = s.N * s.OH * s.OW, O = sizes[4]
    if M * O == 0:
        return
    cdef const float *pixels = &x[0, 0, 0, 0]
    cdef const float *weights = &w[0, 0, 0, 0]
    cdef const float *bias = &b[0]
    cdef float *out = &y[0, 0, 0, 0]
    cdef float *free = &scratch[0]
    if s.H > 1 and s.W > 1:     # else it is no slice, and strides of axes of length 1 say nothing
        s.pitch = x.strides[2] // <Py_ssize_t> sizeof(float)
    with nogil:
        if not sees_all(s):
            gather(free, pixels, s, threads)
            pixels = free
            free += gather_scratch(s)
            s.pitch = s.C
        times_rows(
            out, Matrix(pixels, s.pitch, 1), Matrix(weights, 1, s.C), bias, free, M, O, s.C,
            threads,
        )


def pointwise_f32_scratch(sizes, int threads):
    s = strided(sizes)
    return gather_scratch(s) + times_rows_scratch(s.N * s.OH * s.OW, sizes[4], s.C, threads)


def pointwise_input_grad_f32(
    float[:, :, :, ::1] dx, const float[:, :, :, ::1] dy, const float[:, :, :, ::1] w,
    float[::1] scratch, sizes, int threads,
):
    """dx[n, i·sh, j·sw, c] = Σ_o dy[n,i,j,o]·w[o,c], and 0 between the strides.

    layout   dx (N, H, W, C), dy (N, OH, OW, O), w (O, C, 1, 1)
    loops    panels of w, as it stands → blocks of pixels → panels → tiles
    tile     that of gemm.h: with 16 registers of 8 floats: 4 pixels × 24 input channels
    why      the same product as forward, but here the rows of w already run along the result
    """
    cdef Strided s = strided(sizes)
    cdef Py_ssize_t M = s.N * s.OH * s.OW, O = sizes[4]
    if s.N * s.H * s.W * s.C == 0:
        return
    cdef float *out = &dx[0, 0, 0, 0]
    cdef const float *grads = &dy[0, 0, 0, 0]
    cdef const float *weights = &w[0, 0, 0, 0]
    cdef float *free = &scratch[0]
    cdef float *pixels
    with nogil:
        pixels = out
        if not sees_all(s):
            pixels = free
            free += gather_scratch(s)
        times_rows(
            pixels, Matrix(grads, O, 1), Matrix(weights, s.C, 1), NULL, free, M, s.C, O, threads
        )
        if not sees_all(s):
            spread(out, pixels, s, threads)


def pointwise_input_grad_f32_scratch(sizes, int threads):
    s = strided(sizes)
    return gather_scratch(s) + times_rows_scratch(s.N * s.OH * s.OW, s.C, sizes[4], threads)


def pointwise_weight_grad_f32(
    float[:, :, :, ::1] dw, const float[:, :, :, ::1] dy, const float[:, :, :, ::1] x,
    float[::1] scratch, sizes, int threads,
):
    """dw[o,c] = Σ_{n,i,j} dy[n,i,j,o]·x[n, i·sh, j·sw, c].

    layout   dw (O, C, 1, 1), dy (N, OH, OW, O), x (N, H, W, C)
    loops    panels of x → blocks of 128 pixels, packed → tiles
    tile     that of gemm.h: with 16 registers of 8 floats: 4 output × 24 input channels
    why      the sum is long and the result small: a panel of dw stays in the cache while all
             pixels pass, and A = dyᵀ costs nothing, since A is read float by float anyway
    """
    cdef Strided s = strided(sizes)
    cdef Py_ssize_t M = s.N * s.OH * s.OW, O = sizes[4]
    if O * s.C == 0:
        return
    cdef float *out = &dw[0, 0, 0, 0]
    cdef const float *grads = &dy[0, 0, 0, 0]
    cdef const float *pixels = &x[0, 0, 0, 0]
    cdef float *free = &scratch[0]
    with nogil:
        if not sees_all(s):
            gather(free, pixels, s, threads)
            pixels = free
            free += gather_scratch(s)
        sum_over_pixels(out, grads, pixels, free, M, O, s.C, threads)


def pointwise_weight_grad_f32_scratch(sizes, int threads):
    s = strided(sizes)
    return gather_scratch(s) + sum_over_pixels_scratch(s.C, threads)


# ------------------------------------------------------------------------------ packed once
#
# Where weights stay the same from call to call, packing them each time is half of a small layer.


def packed_size(sizes):
    """How many floats the weights (N, K) are when packed; sizes (N, K)."""
    N, K = sizes
    return whole_vectors(N) * K


def pack_f32(float[::1] packed, const float[:, ::1] w, sizes):
    """The panels of gemm.h for w (N, K); `packed` should begin a cache line."""
    cdef Py_ssize_t N, K
    N, K = sizes
    if N * K:
        kernels.pack_columns(&packed[0], &w[0, 0], K, N, K, 0, panel_count(N))


def packed_matmul_f32(
    float[:, ::1] c, const float[:, ::1] a, const float[::1] packed, const float[::1] bias, sizes,
    int threads,
):
    """c[m, n] = bias[n] + Σ_k a[m, k]·w[n, k], for a w that `pack_f32` has packed.

    layout   a (M, K), c (M, N); bias has N floats, rounded up to whole vectors; sizes (M, N, K)
    loops    blocks of rows, shared by the threads → those of gemm.h
    tile     that of gemm.h
    why      nothing but tiles: what the machine can do, if the rows suffice
    """
    cdef Py_ssize_t M, N, K, r, parts
    M, N, K = sizes
    if M * N == 0:
        return
    cdef float *out = &c[0, 0]
    cdef const float *rows = &a[0, 0]
    cdef const float *panels = &packed[0]
    cdef const float *start = &bias[0]
    parts = threads * ceil_div(M, threads * ROW_BLOCK)
    for r in prange(
        parts, nogil=True, schedule="static", num_threads=threads,
        use_threads_if=M * N * K > WORTH_THREADS,
    ):
        kernels.gemm(
            out + r * M // parts * N, N, rows + r * M // parts * K, K, 1, panels, start,
            (r + 1) * M // parts - r * M // parts, N, K, 0, panel_count(N),
        )


# ------------------------------------------------------------------------------ the limit


def fma_peak_f32(double seconds):
    """The multiply-adds that one core can do, in GFLOP/s: the best of many short runs."""
    cdef Py_ssize_t done
    cdef double best = 0
    end = perf_counter() + seconds
    while perf_counter() < end:
        begin = perf_counter()
        with nogil:
            done = peak_loop(20_000)
        best = max(best, 2e-9 * done / (perf_counter() - begin))
    return best
