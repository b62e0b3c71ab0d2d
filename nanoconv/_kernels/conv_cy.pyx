"""Convolution as a matrix product: what each output pixel sees becomes one row of a matrix.

    cols[m, g, u, v, c] = x[n, i·sh + u·dh − pt, j·sw + v·dw − pl, g·C/G + c]     m = (n, i, j)

im2col writes that matrix, col2im adds a matrix of this form back to where it came from, and the
convolution is then, for each group, y = cols · wᵀ + b. The whole matrix is KH·KW times as large as
the image, so the convolutions below build it in blocks of output pixels that stay in the cache.
Weights are brought into the order (o, u, v, c) of the columns first. In NHWC the channels of one
tap lie side by side, and with them those of its right neighbour: most copies are long.
"""

from cython.parallel cimport prange, threadid
from libc.stdint cimport uintptr_t
from libc.string cimport memcpy, memset

cdef extern from "gemm.h" nogil:
    const Py_ssize_t PANEL, LANES
    Py_ssize_t whole_vectors(Py_ssize_t N)
    Py_ssize_t panel_count(Py_ssize_t N)
    Py_ssize_t panel_begin(Py_ssize_t p, Py_ssize_t N)
    Py_ssize_t ceil_div(Py_ssize_t a, Py_ssize_t b)
    void pack_rows(
        float *packed, const float *b, Py_ssize_t ldb,
        Py_ssize_t N, Py_ssize_t K, Py_ssize_t first, Py_ssize_t last)
    void pack_columns(
        float *packed, const float *b, Py_ssize_t ldb,
        Py_ssize_t N, Py_ssize_t K, Py_ssize_t first, Py_ssize_t last)
    void gemm(
        float *c, Py_ssize_t ldc, const float *a, Py_ssize_t a_rows, Py_ssize_t a_cols,
        const float *packed, const float *bias,
        Py_ssize_t M, Py_ssize_t N, Py_ssize_t K, Py_ssize_t first, Py_ssize_t last)

cdef enum:
    CACHE = 65_536          # floats of a block of columns: 256 KB, half of a common L2 cache
    PIXELS = 128            # output pixels of a block, where nothing speaks for another number
    ALIGN = 16              # floats in a cache line
    WORTH_THREADS = 500_000  # multiply-adds: below, starting the threads takes longer

cdef struct Geometry:
    Py_ssize_t N, C, H, W, O, OH, OW, KH, KW, sh, sw, pt, pl, dh, dw, G
    Py_ssize_t Cg, Og       # channels of one group


cdef Geometry geometry(sizes):
    N, C, H, W, O, OH, OW, KH, KW, sh, sw, pt, pl, dh, dw, G = sizes
    return Geometry(
        N, C, H, W, O, OH, OW, KH, KW, sh, sw, pt, pl, dh, dw, G, C // G, O // G
    )


cdef inline float *aligned(float *p) noexcept nogil:
    return <float *> ((<uintptr_t> p + 63) & ~<uintptr_t> 63)


# ------------------------------------------------------------------------------ im2col, col2im


cdef inline void copy(float *to, const float *source, Py_ssize_t n) noexcept nogil:
    cdef Py_ssize_t k
    if n >= 16:
        memcpy(to, source, n * sizeof(float))
    else:                   # a call would take longer
        for k in range(n):
            to[k] = source[k]


cdef inline void add(float *to, const float *source, Py_ssize_t n) noexcept nogil:
    cdef Py_ssize_t k
    for k in range(n):
        to[k] += source[k]


cdef void read_taps(
    float *cols, const float *x, Geometry *s, Py_ssize_t i, Py_ssize_t j, Py_ssize_t channels,
) noexcept nogil:
    """cols[u, v, c] = x[i·sh + u·dh − pt, j·sw + v·dw − pl, c], or 0 outside, of one image.

    x points to the first of `channels` neighbouring channels.
    """
    cdef Py_ssize_t u, v, h, w, left, right, w0 = j * s.sw - s.pl
    for u in range(s.KH):
        h = i * s.sh - s.pt + u * s.dh
        if h < 0 or h >= s.H:
            memset(cols, 0, s.KW * channels * sizeof(float))
        elif channels == s.C and s.dw == 1:     # the taps of a row lie side by side
            left = min(max(-w0, 0), s.KW)
            right = max(min(s.W - w0, s.KW), left)
            memset(cols, 0, left * channels * sizeof(float))
            if left < right:
                copy(
                    cols + left * channels, x + (h * s.W + w0 + left) * s.C,
                    (right - left) * channels,
                )
            memset(cols + right * channels, 0, (s.KW - right) * channels * sizeof(float))
        else:
            for v in range(s.KW):
                w = w0 + v * s.dw
                if w < 0 or w >= s.W:
                    memset(cols + v * channels, 0, channels * sizeof(float))
                else:
                    copy(cols + v * channels, x + (h * s.W + w) * s.C, channels)
        cols += s.KW * channels


cdef void add_taps(
    float *dx, const float *dcols, Geometry *s, Py_ssize_t i, Py_ssize_t j, Py_ssize_t channels,
) noexcept nogil:
    """dx[i·sh + u·dh − pt, j·sw + v·dw − pl, c] += dcols[u, v, c] inside: read_taps transposed."""
    cdef Py_ssize_t u, v, h, w
    for u in range(s.KH):
        h = i * s.sh - s.pt + u * s.dh
        if 0 <= h < s.H:
            for v in range(s.KW):
                w = j * s.sw - s.pl + v * s.dw
                if 0 <= w < s.W:
                    add(dx + (h * s.W + w) * s.C, dcols + v * channels, channels)
        dcols += s.KW * channels


def im2col_f32(float[:, :, :, :, ::1] cols, const float[:, :, :, ::1] x, sizes, int threads):
    """cols[m, g, u, v, c] = x[n, i·sh + u·dh − pt, j·sw + v·dw − pl, g·C/G + c], 0 outside.

    layout   x (N, H, W, C), cols (N·OH·OW, G, KH, KW, C/G)
    loops    rows of output pixels, one per thread at a time → pixels → groups → taps
    tile     none: runs of channels, whole rows of taps where they lie side by side
    why      cols is written once and in order; x is in the cache when its next reader comes
    """
    cdef Geometry s = geometry(sizes)
    cdef Py_ssize_t K = s.KH * s.KW * s.C, row, j, g
    if s.N * s.OH * s.OW * K == 0:
        return
    cdef float *out = &cols[0, 0, 0, 0, 0]
    cdef const float *image = &x[0, 0, 0, 0]
    for row in prange(
        s.N * s.OH, nogil=True, schedule="static", num_threads=threads,
        use_threads_if=s.N * s.OH * s.OW * K > WORTH_THREADS,
    ):
        for j in range(s.OW):
            for g in range(s.G):
                read_taps(
                    out + (row * s.OW + j) * K + g * (K // s.G),
                    image + row // s.OH * s.H * s.W * s.C + g * s.Cg,
                    &s, row % s.OH, j, s.Cg,
                )


def col2im_f32(float[:, :, :, ::1] dx, const float[:, :, :, :, ::1] dcols, sizes, int threads):
    """dx[n,h,w,c] = Σ dcols[m,g,u,v,c] over all that im2col copied from there: its transpose.

    layout   dx (N, H, W, C), dcols (N·OH·OW, G, KH, KW, C/G)
    loops    rows of dx, one per thread at a time → taps u that reach it → pixels j → taps v
    tile     none: runs of channels
    why      a thread gathers what belongs to its row, so no two add to the same number
    """
    cdef Geometry s = geometry(sizes)
    cdef Py_ssize_t K = s.KH * s.KW * s.C, row, h, i, j, g, u, v, w
    cdef const float *source
    cdef float *to
    if s.N * s.H * s.W * s.C == 0:
        return
    cdef float *out = &dx[0, 0, 0, 0]
    cdef const float *cols = &dcols[0, 0, 0, 0, 0]
    for row in prange(
        s.N * s.H, nogil=True, schedule="static", num_threads=threads,
        use_threads_if=s.N * s.OH * s.OW * K > WORTH_THREADS,
    ):
        to = out + row * s.W * s.C
        memset(to, 0, s.W * s.C * sizeof(float))
        for u in range(s.KH):
            h = row % s.H + s.pt - u * s.dh
            i = h // s.sh
            if h < 0 or h % s.sh != 0 or i >= s.OH:
                continue
            for j in range(s.OW):
                source = cols + ((row // s.H * s.OH + i) * s.OW + j) * K + u * s.KW * s.Cg
                for g in range(s.G):
                    for v in range(s.KW):
                        w = j * s.sw - s.pl + v * s.dw
                        if 0 <= w < s.W:
                            add(
                                to + w * s.C + g * s.Cg, source + g * (K // s.G) + v * s.Cg, s.Cg
                            )


# ------------------------------------------------------------------------------ weights


cdef void taps_outside(
    float *to, const float *w, Py_ssize_t O, Py_ssize_t C, Py_ssize_t channels, Py_ssize_t taps,
) noexcept nogil:
    """to[o, t, c] = w[o, c, t]: the order of the columns, for `channels` of the C of each o."""
    cdef Py_ssize_t o, c, t
    for o in range(O):
        for t in range(taps):
            for c in range(channels):
                to[(o * taps + t) * channels + c] = w[(o * C + c) * taps + t]


cdef void taps_inside(
    float *dw, const float *source, Py_ssize_t O, Py_ssize_t C, Py_ssize_t channels,
    Py_ssize_t taps,
) noexcept nogil:
    """dw[o, c, t] = source[o, t, c]: back to the order of the weights."""
    cdef Py_ssize_t o, c, t
    for o in range(O):
        for c in range(channels):
            for t in range(taps):
                dw[(o * C + c) * taps + t] = source[(o * taps + t) * channels + c]


# ------------------------------------------------------------------------------ convolution


cdef inline bint is_a_view(Geometry *s) noexcept nogil:
    """True if cols would be x itself: one tap that sees every pixel."""
    return (
        s.KH * s.KW == 1 and s.pt == 0 and s.pl == 0 and s.OH == s.H and s.OW == s.W
        and (s.sh == 1 or s.H == 1) and (s.sw == 1 or s.W == 1)
    )


cdef void read_pixels(
    float *cols, const float *x, Geometry *s, Py_ssize_t first, Py_ssize_t last, Py_ssize_t c,
    Py_ssize_t channels,
) noexcept nogil:
    """The rows first ≤ m < last of cols, for `channels` channels from c on."""
    cdef Py_ssize_t m, n, i, j, area = s.OH * s.OW
    for m in range(first, last):
        n = m // area
        i = m % area // s.OW
        j = m % s.OW
        read_taps(cols, x + n * s.H * s.W * s.C + c, s, i, j, channels)
        cols += s.KH * s.KW * channels


cdef inline Py_ssize_t forward_block(Geometry *s) noexcept nogil:
    return min(max(CACHE // (s.KH * s.KW * s.Cg), 32), 256)


cdef inline Py_ssize_t forward_private(Geometry *s) noexcept nogil:
    # Of each thread: first a panel of weights, later a block of columns.
    return max(forward_block(s), PANEL * LANES) * s.KH * s.KW * s.Cg + ALIGN


def conv2d_im2col_f32(
    float[:, :, :, ::1] y, const float[:, :, :, ::1] x, const float[:, :, :, ::1] w,
    const float[::1] b, float[::1] scratch, sizes, int threads,
):
    """y[m, g·O/G + o] = b[…] + Σ_{u,v,c} cols[m,g,u,v,c]·w[g·O/G + o, c, u, v].

    layout   x (N, H, W, C), y (N, OH, OW, O), w (O, C/G, KH, KW)
    loops    blocks of output pixels, one per thread at a time → groups → im2col, then gemm.h
    tile     block: as many pixels as fit half of L2, from 32 to 256; inside that of gemm.h
    why      the columns of a block are read back from L2 before they would reach memory
    """
    cdef Geometry s = geometry(sizes)
    cdef Py_ssize_t taps = s.KH * s.KW, K = taps * s.Cg, M = s.N * s.OH * s.OW
    cdef Py_ssize_t lanes = whole_vectors(s.Og), panels = panel_count(s.Og)
    cdef Py_ssize_t width = PANEL * LANES, private = forward_private(&s)
    cdef Py_ssize_t parts = threads * ceil_div(M, threads * forward_block(&s))
    cdef Py_ssize_t task, g, o, m, count, lda
    cdef bint view = is_a_view(&s), parallel = M * K * s.O > WORTH_THREADS
    cdef float *own
    cdef const float *a
    if M * s.O == 0:
        return
    cdef float *biases = aligned(&scratch[0])                           # (G, lanes)
    cdef float *packed = biases + ceil_div(s.G * lanes, ALIGN) * ALIGN  # (G, K·lanes)
    cdef float *privates = packed + s.G * K * lanes
    cdef float *out = &y[0, 0, 0, 0]
    cdef const float *image = &x[0, 0, 0, 0]
    cdef const float *weights = &w[0, 0, 0, 0]
    cdef const float *bias = &b[0]
    with nogil:
        memset(biases, 0, s.G * lanes * sizeof(float))
        for g in range(s.G):
            memcpy(biases + g * lanes, bias + g * s.Og, s.Og * sizeof(float))
        for task in prange(
            s.G * panels, schedule="static", num_threads=threads, use_threads_if=parallel
        ):
            g = task // panels
            o = panel_begin(task % panels, s.Og)
            count = min(panel_begin(task % panels + 1, s.Og), s.Og) - o
            own = aligned(privates + threadid() * private)
            taps_outside(own, weights + (g * s.Og + o) * K, count, s.Cg, s.Cg, taps)
            pack_columns(packed + (g * lanes + o) * K, own, K, count, K, 0, 1)
        for task in prange(
            parts, schedule="static", num_threads=threads, use_threads_if=parallel
        ):
            m = task * M // parts
            count = (task + 1) * M // parts - m
            own = aligned(privates + threadid() * private)
            for g in range(s.G):
                if view:
                    a = image + m * s.C + g * s.Cg
                    lda = s.C
                else:
                    read_pixels(own, image, &s, m, m + count, g * s.Cg, s.Cg)
                    a = own
                    lda = K
                gemm(
                    out + m * s.O + g * s.Og, s.O, a, lda, 1, packed + g * lanes * K,
                    biases + g * lanes, count, s.Og, K, 0, panels,
                )


def conv2d_im2col_f32_scratch(sizes, int threads):
    cdef Geometry s = geometry(sizes)
    shared = s.G * whole_vectors(s.Og) * (s.KH * s.KW * s.Cg + 1)
    return shared + 2 * ALIGN + threads * forward_private(&s)


cdef inline Py_ssize_t slices(Geometry *s, Py_ssize_t tasks, int threads) noexcept nogil:
    """Into how many runs of channels a group is cut: a block fits the cache, no thread is idle."""
    cdef Py_ssize_t fitting = ceil_div(PIXELS * s.KH * s.KW * s.Cg, CACHE)
    cdef Py_ssize_t busy = min(ceil_div(threads, max(tasks, 1)), ceil_div(s.Cg, LANES))
    return max(fitting, busy, 1)


cdef inline Py_ssize_t input_grad_private(Geometry *s, Py_ssize_t K) noexcept nogil:
    # Of each thread: first a slice of the weights, later a block of columns.
    return max(PIXELS, s.Og) * K + ALIGN


def conv2d_im2col_input_grad_f32(
    float[:, :, :, ::1] dx, const float[:, :, :, ::1] dy, const float[:, :, :, ::1] w,
    float[::1] scratch, sizes, int threads,
):
    """dcols[m,g,u,v,c] = Σ_o dy[m, g·O/G + o]·w[g·O/G + o, c, u, v], and dx = col2im(dcols).

    layout   dx (N, H, W, C), dy (N, OH, OW, O), w (O, C/G, KH, KW)
    loops    images × groups × slices of channels → blocks of pixels → gemm.h, then col2im
    tile     block: 128 pixels × all taps of a slice of channels, within half of L2
    why      windows overlap, so what is added to one image and slice is added by one thread
    """
    cdef Geometry s = geometry(sizes)
    cdef Py_ssize_t taps = s.KH * s.KW, area = s.OH * s.OW, cuts = slices(&s, s.N * s.G, threads)
    cdef Py_ssize_t most = taps * ceil_div(s.Cg, cuts), lanes = whole_vectors(most)
    cdef Py_ssize_t private = input_grad_private(&s, most), blocks = ceil_div(area, PIXELS)
    cdef Py_ssize_t task, n, g, c, cut, channels, K, block, m, count, k, pixel
    cdef bint view = is_a_view(&s), parallel = s.N * area * taps * s.Cg * s.O > WORTH_THREADS
    cdef float *own
    cdef float *slot
    cdef float *slice_dx
    cdef const float *block_dy
    if s.N * s.H * s.W * s.C == 0:
        return
    cdef float *zeros = aligned(&scratch[0])                    # (lanes,)
    cdef float *packed = zeros + ceil_div(lanes, ALIGN) * ALIGN  # (G, cuts, O/G·lanes)
    cdef float *privates = packed + s.G * cuts * s.Og * lanes
    cdef float *out = &dx[0, 0, 0, 0]
    cdef const float *grads = &dy[0, 0, 0, 0]
    cdef const float *weights = &w[0, 0, 0, 0]
    with nogil:
        memset(zeros, 0, lanes * sizeof(float))
        for task in prange(
            s.G * cuts, schedule="static", num_threads=threads, use_threads_if=parallel
        ):
            g = task // cuts
            c = task % cuts * s.Cg // cuts
            channels = (task % cuts + 1) * s.Cg // cuts - c
            K = taps * channels
            own = aligned(privates + threadid() * private)
            taps_outside(own, weights + (g * s.Og * s.Cg + c) * taps, s.Og, s.Cg, channels, taps)
            pack_rows(packed + task * s.Og * lanes, own, K, K, s.Og, 0, panel_count(K))
        for task in prange(
            s.N * s.G * cuts, schedule="static", num_threads=threads, use_threads_if=parallel
        ):
            cut = task % cuts
            g = task // cuts % s.G
            n = task // cuts // s.G
            c = cut * s.Cg // cuts
            channels = (cut + 1) * s.Cg // cuts - c
            K = taps * channels
            slot = packed + (g * cuts + cut) * s.Og * lanes
            own = aligned(privates + threadid() * private)
            slice_dx = out + n * s.H * s.W * s.C + g * s.Cg + c
            if not view:
                for pixel in range(s.H * s.W):
                    memset(slice_dx + pixel * s.C, 0, channels * sizeof(float))
            for block in range(blocks):
                m = block * PIXELS
                count = min(area - m, PIXELS)
                block_dy = grads + (n * area + m) * s.O + g * s.Og
                if view:
                    gemm(
                        slice_dx + m * s.C, s.C, block_dy, s.O, 1, slot, zeros,
                        count, K, s.Og, 0, panel_count(K),
                    )
                    continue
                gemm(
                    own, K, block_dy, s.O, 1, slot, zeros, count, K, s.Og, 0, panel_count(K)
                )
                for k in range(count):
                    add_taps(
                        slice_dx, own + k * K, &s, (m + k) // s.OW, (m + k) % s.OW, channels
                    )


def conv2d_im2col_input_grad_f32_scratch(sizes, int threads):
    cdef Geometry s = geometry(sizes)
    cdef Py_ssize_t cuts = slices(&s, s.N * s.G, threads)
    cdef Py_ssize_t most = s.KH * s.KW * ceil_div(s.Cg, cuts), lanes = whole_vectors(most)
    shared = lanes * (s.G * cuts * s.Og + 1)
    return shared + 2 * ALIGN + threads * input_grad_private(&s, most)


cdef inline Py_ssize_t weight_grad_private(Geometry *s, Py_ssize_t K) noexcept nogil:
    # Of each thread: a block of columns, one packed panel of it, and the result.
    return (PIXELS + s.Og) * K + PIXELS * PANEL * LANES + 3 * ALIGN


def conv2d_im2col_weight_grad_f32(
    float[:, :, :, ::1] dw, const float[:, :, :, ::1] dy, const float[:, :, :, ::1] x,
    float[::1] scratch, sizes, int threads,
):
    """dw[g·O/G + o, c, u, v] = Σ_m dy[m, g·O/G + o]·cols[m,g,u,v,c].

    layout   dw (O, C/G, KH, KW), dy (N, OH, OW, O), x (N, H, W, C)
    loops    groups × slices of C × slices of O → blocks of pixels → im2col, panels → gemm.h
    tile     block: 128 pixels × all taps of a slice of channels, within half of L2
    why      the sum runs over all pixels of the batch: one thread keeps its part of dw, in the
             order of the columns, while they pass, and puts it in the order of the weights once
    """
    cdef Geometry s = geometry(sizes)
    cdef Py_ssize_t taps = s.KH * s.KW, M = s.N * s.OH * s.OW, cuts = slices(&s, s.G, threads)
    cdef Py_ssize_t most = taps * ceil_div(s.Cg, cuts), private = weight_grad_private(&s, most)
    cdef Py_ssize_t o_cuts = min(ceil_div(threads, max(s.G * cuts, 1)), s.Og)
    cdef Py_ssize_t blocks = ceil_div(M, PIXELS)
    cdef Py_ssize_t task, g, cut, c, channels, o, outputs, K, block, m, count, p, ldb
    cdef bint view = is_a_view(&s)
    cdef float *cols
    cdef float *panel
    cdef float *total
    cdef const float *b
    if s.O * s.Cg * taps == 0:
        return
    cdef float *privates = &scratch[0]
    cdef float *out = &dw[0, 0, 0, 0]
    cdef const float *grads = &dy[0, 0, 0, 0]
    cdef const float *image = &x[0, 0, 0, 0]
    for task in prange(
        s.G * cuts * o_cuts, nogil=True, schedule="static", num_threads=threads,
        use_threads_if=M * s.O * s.Cg * taps > WORTH_THREADS,
    ):
        cut = task // o_cuts % cuts
        g = task // o_cuts // cuts
        c = cut * s.Cg // cuts
        channels = (cut + 1) * s.Cg // cuts - c
        o = task % o_cuts * s.Og // o_cuts
        outputs = (task % o_cuts + 1) * s.Og // o_cuts - o
        K = taps * channels
        panel = aligned(privates + threadid() * private)
        cols = panel + PIXELS * PANEL * LANES
        total = aligned(cols + PIXELS * K)
        memset(total, 0, outputs * K * sizeof(float))
        for block in range(blocks):
            m = block * PIXELS
            count = min(M - m, PIXELS)
            if view:
                b = image + m * s.C + g * s.Cg + c
                ldb = s.C
            else:
                read_pixels(cols, image, &s, m, m + count, g * s.Cg + c, channels)
                b = cols
                ldb = K
            for p in range(panel_count(K)):
                pack_rows(panel, b, ldb, K, count, p, p + 1)
                gemm(
                    total, K, grads + m * s.O + g * s.Og + o, 1, s.O, panel, NULL,
                    outputs, K, count, p, p + 1,
                )
        taps_inside(
            out + ((g * s.Og + o) * s.Cg + c) * taps, total, outputs, s.Cg, channels, taps
        )


def conv2d_im2col_weight_grad_f32_scratch(sizes, int threads):
    cdef Geometry s = geometry(sizes)
    cdef Py_ssize_t cuts = slices(&s, s.G, threads)
    return threads * weight_grad_private(&s, s.KH * s.KW * ceil_div(s.Cg, cuts))
