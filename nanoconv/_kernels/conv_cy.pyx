"""Convolution as a matrix product: what each output pixel sees becomes one row of a matrix.

    cols[m, g, u, v, c] = x[n, i·sh + u·dh − pt, j·sw + v·dw − pl, g·C/G + c]     m = (n, i, j)

For each group the convolution is y = cols · wᵀ + b. The whole matrix is KH·KW times as large as the
image, so it is built, by `taps.pxd`, in blocks of output pixels that stay in the cache. Weights are
brought into the order (o, u, v, c) of the columns first.
"""

from cython.parallel cimport prange, threadid
from libc.string cimport memcpy, memset

from .common cimport IN_L2, LINE, WORTH_THREADS, Geometry, aligned, ceil_div, geometry
from .gemm cimport LANES, PANEL, panel_begin, panel_count, whole_vectors
from .steps_cy cimport kernels
from .taps cimport Part, add_taps, read_taps

cdef enum:
    PIXELS = 128            # output pixels of a block, where nothing speaks for another number,
    FEW_PIXELS = 8          # and the least, where a window is so large that it needs the room
    WIDE = 32               # channels: a part is not cut narrower for the sake of more pixels
    BUNDLE = 64             # channels: small groups are handled together, up to so many


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
    float *cols, Py_ssize_t step, const float *x, Geometry *s, Py_ssize_t first, Py_ssize_t last,
    Part *of,
) noexcept nogil:
    """The rows first ≤ m < last of cols, group by group, `step` floats apart."""
    cdef Py_ssize_t _, n = first // (s.OH * s.OW), i = first // s.OW % s.OH, j = first % s.OW
    x += n * s.H * s.W * s.C + of.g * s.Cg + of.c
    for _ in range(first, last):
        read_taps(cols, step, x, s, i, j, of)
        cols += s.KH * s.KW * of.channels
        j += 1
        if j == s.OW:
            j = 0
            i += 1
            if i == s.OH:
                i = 0
                x += s.H * s.W * s.C


cdef struct Cuts:
    # How the channels are cut into parts: `bundle` groups in each, or each group in `slices`.
    Py_ssize_t bundle, slices, count
    Py_ssize_t pixels       # of a block
    Py_ssize_t K            # columns of one group of the largest part


cdef Cuts cut(Geometry *s, Py_ssize_t wanted) noexcept nogil:
    """At least `wanted` parts if there are channels enough; a block of one fits the cache."""
    cdef Cuts cuts
    cdef Py_ssize_t taps = s.KH * s.KW, fitting  # channels
    cuts.pixels = min(max(IN_L2 // (taps * min(s.Cg, WIDE)), FEW_PIXELS), PIXELS)
    fitting = IN_L2 // (cuts.pixels * taps)
    cuts.bundle = max(1, min(min(BUNDLE, fitting) // s.Cg, s.G // wanted))
    cuts.slices = max(
        ceil_div(s.Cg, max(fitting, 1)), min(ceil_div(wanted, s.G), ceil_div(s.Cg, LANES))
    )
    cuts.count = ceil_div(s.G, cuts.bundle) * cuts.slices
    cuts.K = taps * ceil_div(s.Cg, cuts.slices)
    return cuts


cdef inline Part part(Geometry *s, Cuts *cuts, Py_ssize_t index) noexcept nogil:
    cdef Part of
    of.g = index // cuts.slices * cuts.bundle
    of.groups = min(cuts.bundle, s.G - of.g)
    of.c = index % cuts.slices * s.Cg // cuts.slices
    of.channels = (index % cuts.slices + 1) * s.Cg // cuts.slices - of.c
    return of


cdef Cuts whole_groups(Geometry *s) noexcept nogil:
    """The parts of forward: a sum over channels is not cut."""
    cdef Cuts cuts
    cuts.bundle = max(1, min(BUNDLE // s.Cg, s.G))
    cuts.slices = 1
    cuts.count = ceil_div(s.G, cuts.bundle)
    cuts.pixels = PIXELS
    cuts.K = s.KH * s.KW * s.Cg
    return cuts


cdef inline void rows_inside(
    Geometry *s, Py_ssize_t i, Py_ssize_t *first, Py_ssize_t *last
) noexcept nogil:
    """The rows of taps first ≤ u < last that output row i sees; one of them if it sees none."""
    cdef Py_ssize_t h = i * s.sh - s.pt
    first[0] = min(ceil_div(max(-h, 0), s.dh), s.KH - 1)
    last[0] = max(min(ceil_div(max(s.H - h, 0), s.dh), s.KH), first[0] + 1)


cdef Py_ssize_t sums_of(Geometry *s) noexcept nogil:
    """KH if each row of taps is a sum of its own, so that it can be left out; else 1.

    That pays where a tenth of the output rows or more do not see it, as with a large dilation. It
    depends on the sizes alone, and what is left out on the output row: so no bit on the threads.
    """
    cdef Py_ssize_t i, first, last, seen = 0
    for i in range(s.OH):
        rows_inside(s, i, &first, &last)
        seen += last - first
    return s.KH if 10 * seen <= 9 * s.KH * s.OH and s.OW >= FEW_PIXELS else 1


cdef inline Py_ssize_t alike(
    Geometry *s, Py_ssize_t m, Py_ssize_t end, Py_ssize_t *first, Py_ssize_t *last
) noexcept nogil:
    """How many of the pixels m ··· end − 1 there are before one that sees other rows of taps."""
    cdef Py_ssize_t row = m // s.OW, u0, u1
    rows_inside(s, row % s.OH, first, last)
    while True:
        row += 1
        if row * s.OW >= end:
            return end - m
        rows_inside(s, row % s.OH, &u0, &u1)
        if u0 != first[0] or u1 != last[0]:
            return row * s.OW - m


cdef inline Py_ssize_t forward_block(Cuts *cuts) noexcept nogil:
    return min(max(IN_L2 // (cuts.K * cuts.bundle), 32), 256)


cdef inline Py_ssize_t forward_private(Cuts *cuts) noexcept nogil:
    # Of each thread: first a panel of weights, later a block of columns.
    return max(forward_block(cuts) * cuts.bundle, PANEL * LANES) * cuts.K + LINE


def conv2d_im2col_f32(
    float[:, :, :, ::1] y, const float[:, :, :, ::1] x, const float[:, :, :, ::1] w,
    const float[::1] b, float[::1] scratch, sizes, int threads,
):
    """y[m, g, o] = b[g, o] + Σ_{u,v,c} cols[m, g, u, v, c]·w[g, o, c, u, v].

    layout   x (N, H, W, C), y (N, OH, OW, O), w (O, C/G, KH, KW)
    loops    blocks of output pixels, one per thread at a time → groups → im2col, then gemm.h
    tile     block: as many pixels as fit half of L2, from 32 to 256; inside that of gemm.h
    why      the columns of a block are read back from L2 before they would reach memory. With a
             large dilation, rows of taps that see only padding are left out of the sums
    """
    cdef Geometry s = geometry(sizes)
    cdef Cuts cuts = whole_groups(&s)
    cdef Py_ssize_t taps = s.KH * s.KW, K = cuts.K, M = s.N * s.OH * s.OW, private
    cdef Py_ssize_t lanes = whole_vectors(s.Og), panels = panel_count(s.Og), blocks
    cdef Py_ssize_t sums, length                            # of how many terms each
    cdef Py_ssize_t task, index, g, o, m, end, count, u, first, last, lda
    cdef bint view = is_a_view(&s), parallel = M * K * s.O > WORTH_THREADS
    cdef Part of
    cdef float *own
    cdef const float *a
    if M * s.O == 0:
        return
    sums = sums_of(&s)
    length = K // sums
    private = forward_private(&cuts)
    blocks = threads * ceil_div(M, threads * forward_block(&cuts))
    cdef float *biases = aligned(&scratch[0])                           # (G, lanes)
    cdef float *packed = biases + ceil_div(s.G * lanes, LINE) * LINE  # (G, sums, length·lanes)
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
            for u in range(sums):
                kernels.pack_columns(
                    packed + g * lanes * K + (u * lanes + o) * length, own + u * length, K,
                    count, length, 0, 1,
                )
        for task in prange(
            blocks, schedule="static", num_threads=threads, use_threads_if=parallel
        ):
            m = task * M // blocks
            end = (task + 1) * M // blocks
            own = aligned(privates + threadid() * private)
            while m < end:
                first = 0               # assigned here, so that each thread has its own
                last = 1
                count = end - m if sums == 1 else alike(&s, m, end, &first, &last)
                for index in range(cuts.count):
                    of = part(&s, &cuts, index)
                    if not view:
                        read_pixels(own, count * K, image, &s, m, m + count, &of)
                    for g in range(of.groups):
                        a = own + g * count * K
                        lda = K
                        if view:
                            a = image + m * s.C + (of.g + g) * s.Cg
                            lda = s.C
                        for u in range(first, last):
                            kernels.gemm(
                                out + m * s.O + (of.g + g) * s.Og, s.O, a + u * length, lda, 1,
                                packed + (of.g + g) * lanes * K + u * lanes * length,
                                NULL if u > first else biases + (of.g + g) * lanes,
                                count, s.Og, length, 0, panels,
                            )
                m = m + count


def conv2d_im2col_f32_scratch(sizes, int threads):
    cdef Geometry s = geometry(sizes)
    cdef Cuts cuts = whole_groups(&s)
    return s.G * whole_vectors(s.Og) * (cuts.K + 1) + 2 * LINE + threads * forward_private(&cuts)


cdef inline Py_ssize_t input_grad_private(Geometry *s, Cuts *cuts) noexcept nogil:
    # Of each thread: first weights of one group, later a block of columns.
    return max(cuts.pixels * cuts.bundle, s.Og) * cuts.K + LINE


def conv2d_im2col_input_grad_f32(
    float[:, :, :, ::1] dx, const float[:, :, :, ::1] dy, const float[:, :, :, ::1] w,
    float[::1] scratch, sizes, int threads,
):
    """dcols[m, g, u, v, c] = Σ_o dy[m, g, o]·w[g, o, c, u, v], and dx = col2im(dcols).

    layout   dx (N, H, W, C), dy (N, OH, OW, O), w (O, C/G, KH, KW)
    loops    images × parts of the channels → blocks of pixels → gemm.h, then col2im
    tile     block: up to 128 pixels × all taps of a part of the channels, within half of L2
    why      windows overlap, so what is added to one image and part is added by one thread
    """
    cdef Geometry s = geometry(sizes)
    if s.N * s.H * s.W * s.C == 0:
        return
    cdef Cuts cuts = cut(&s, ceil_div(threads, s.N))
    cdef Py_ssize_t taps = s.KH * s.KW, area = s.OH * s.OW, pixels = cuts.pixels
    cdef Py_ssize_t blocks = ceil_div(area, pixels)
    cdef Py_ssize_t lanes = whole_vectors(cuts.K), private = input_grad_private(&s, &cuts)
    cdef Py_ssize_t task, n, g, m, k, K, count, block, pixel, step
    cdef bint view = is_a_view(&s), parallel = s.N * area * taps * s.Cg * s.O > WORTH_THREADS
    cdef Part of
    cdef float *own
    cdef float *to
    cdef float *dcols
    cdef float *zeros = aligned(&scratch[0])                    # (lanes,)
    cdef float *packed = zeros + ceil_div(lanes, LINE) * LINE  # (slices, G, O/G·lanes)
    cdef float *privates = packed + cuts.slices * s.G * s.Og * lanes
    cdef float *out = &dx[0, 0, 0, 0]
    cdef const float *grads = &dy[0, 0, 0, 0]
    cdef const float *weights = &w[0, 0, 0, 0]
    with nogil:
        memset(zeros, 0, lanes * sizeof(float))
        for task in prange(
            cuts.count, schedule="static", num_threads=threads, use_threads_if=parallel
        ):
            of = part(&s, &cuts, task)
            K = taps * of.channels
            own = aligned(privates + threadid() * private)
            for g in range(of.groups):
                taps_outside(
                    own, weights + ((of.g + g) * s.Og * s.Cg + of.c) * taps,
                    s.Og, s.Cg, of.channels, taps,
                )
                kernels.pack_rows(
                    packed + (task % cuts.slices * s.G + of.g + g) * s.Og * lanes,
                    own, K, K, s.Og, 0, panel_count(K),
                )
        for task in prange(
            s.N * cuts.count, schedule="static", num_threads=threads, use_threads_if=parallel
        ):
            of = part(&s, &cuts, task % cuts.count)
            n = task // cuts.count
            K = taps * of.channels
            own = aligned(privates + threadid() * private)
            to = out + n * s.H * s.W * s.C + of.g * s.Cg + of.c
            if not view:
                for pixel in range(s.H * s.W):
                    memset(to + pixel * s.C, 0, of.groups * of.channels * sizeof(float))
            for block in range(blocks):
                m = block * pixels
                count = min(area - m, pixels)
                for g in range(of.groups):
                    dcols = own + g * count * K
                    step = K
                    if view:
                        dcols = to + m * s.C + g * s.Cg
                        step = s.C
                    kernels.gemm(
                        dcols, step, grads + (n * area + m) * s.O + (of.g + g) * s.Og, s.O, 1,
                        packed + (task % cuts.slices * s.G + of.g + g) * s.Og * lanes, zeros,
                        count, K, s.Og, 0, panel_count(K),
                    )
                if not view:
                    for k in range(count):
                        add_taps(
                            to, own + k * K, count * K, &s, (m + k) // s.OW, (m + k) % s.OW, &of
                        )


def conv2d_im2col_input_grad_f32_scratch(sizes, int threads):
    cdef Geometry s = geometry(sizes)
    cdef Cuts cuts = cut(&s, ceil_div(threads, max(s.N, 1)))
    shared = whole_vectors(cuts.K) * (cuts.slices * s.O + 1)
    return shared + 2 * LINE + threads * input_grad_private(&s, &cuts)


cdef inline Py_ssize_t weight_grad_private(Geometry *s, Cuts *cuts) noexcept nogil:
    # Of each thread: one packed panel, a block of columns, and the result.
    return cuts.pixels * PANEL * LANES + (cuts.pixels + s.Og) * cuts.bundle * cuts.K + 2 * LINE


def conv2d_im2col_weight_grad_f32(
    float[:, :, :, ::1] dw, const float[:, :, :, ::1] dy, const float[:, :, :, ::1] x,
    float[::1] scratch, sizes, int threads,
):
    """dw[g, o, c, u, v] = Σ_m dy[m, g, o]·cols[m, g, u, v, c].

    layout   dw (O, C/G, KH, KW), dy (N, OH, OW, O), x (N, H, W, C)
    loops    parts of C × parts of O → blocks of pixels → im2col, panels → gemm.h
    tile     block: up to 128 pixels × all taps of a part of the channels, within half of L2
    why      the sum runs over all pixels of the batch: one thread keeps its part of dw, in the
             order of the columns, while they pass, and puts it in the order of the weights once
    """
    cdef Geometry s = geometry(sizes)
    if s.O * s.Cg * s.KH * s.KW == 0:
        return
    cdef Cuts cuts = cut(&s, threads)
    cdef Py_ssize_t taps = s.KH * s.KW, M = s.N * s.OH * s.OW, pixels = cuts.pixels
    cdef Py_ssize_t blocks = ceil_div(M, pixels)
    cdef Py_ssize_t private = weight_grad_private(&s, &cuts)
    cdef Py_ssize_t o_cuts = min(ceil_div(threads, cuts.count), s.Og)
    cdef Py_ssize_t task, g, o, outputs, K, block, m, count, p, ldb
    cdef bint view = is_a_view(&s)
    cdef Part of
    cdef float *panel
    cdef float *cols
    cdef float *totals
    cdef const float *b
    cdef float *privates = &scratch[0]
    cdef float *out = &dw[0, 0, 0, 0]
    cdef const float *grads = &dy[0, 0, 0, 0]
    cdef const float *image = &x[0, 0, 0, 0]
    for task in prange(
        cuts.count * o_cuts, nogil=True, schedule="static", num_threads=threads,
        use_threads_if=M * s.O * s.Cg * taps > WORTH_THREADS,
    ):
        of = part(&s, &cuts, task // o_cuts)
        o = task % o_cuts * s.Og // o_cuts
        outputs = (task % o_cuts + 1) * s.Og // o_cuts - o
        K = taps * of.channels
        panel = aligned(privates + threadid() * private)
        cols = panel + pixels * PANEL * LANES
        totals = aligned(cols + pixels * of.groups * K)
        memset(totals, 0, of.groups * outputs * K * sizeof(float))
        for block in range(blocks):
            m = block * pixels
            count = min(M - m, pixels)
            if not view:
                read_pixels(cols, count * K, image, &s, m, m + count, &of)
            for g in range(of.groups):
                b = cols + g * count * K
                ldb = K
                if view:
                    b = image + m * s.C + (of.g + g) * s.Cg + of.c
                    ldb = s.C
                for p in range(panel_count(K)):
                    kernels.pack_rows(panel, b, ldb, K, count, p, p + 1)
                    kernels.gemm(
                        totals + g * outputs * K, K,
                        grads + m * s.O + (of.g + g) * s.Og + o, 1, s.O, panel, NULL,
                        outputs, K, count, p, p + 1,
                    )
        for g in range(of.groups):
            taps_inside(
                out + (((of.g + g) * s.Og + o) * s.Cg + of.c) * taps,
                totals + g * outputs * K, outputs, s.Cg, of.channels, taps,
            )


def conv2d_im2col_weight_grad_f32_scratch(sizes, int threads):
    cdef Geometry s = geometry(sizes)
    cdef Cuts cuts = cut(&s, threads)
    return threads * weight_grad_private(&s, &cuts)
