"""Batch, group and instance norm, a whole direction in one call; and the map of evaluation.

Layout: x is (A·R, C, M), or (A·R, M, C) if `last`, C-contiguous: A batches that are normalised
    apart, of R images of M pixels of C channels in G groups. Batch norm is A = 1, G = C; group norm
    is R = 1. The images are read and written in the format they come in, and never copied.
Loops: `last`: rows of all channels, down which each column is summed. Where C < 128, `fold` pixels
    that lie side by side are one wide row, and its sums are merged at the end. Threads share the
    batches, or else the columns of sums, in whole cache lines, and the rows of maps.
    Otherwise: groups, which threads share, and the planes of each, a whole group's if R = 1.
Tile: 32 rows by at most 512 columns, whose running sums are in registers; one group.
Why: memory is read in its order, and few times. Columns are read once for their statistics, as sums
    over x - pivot, where the pivot is the mean of a few pixels, so near to the mean that nothing
    cancels. A group of planes stays in the cache, so that it may be read twice.
"""

from cython.parallel cimport prange
from libc.math cimport isfinite, sqrt
from libc.string cimport memset

cdef extern from "norm.h" nogil:
    enum:
        COLUMNS
    double row_sum(const float *x, Py_ssize_t D)
    void row_deviations(
        double *plain, double *squares, const float *x, float mean, Py_ssize_t D)
    void plane_grad_sums(
        double *plain, double *with_x, const float *dy, const float *x, float mean, Py_ssize_t D)
    void column_sums(
        double *first, double *second, const float *dy, const float *x, const float *pivot,
        Py_ssize_t rows, Py_ssize_t pitch, Py_ssize_t width, Py_ssize_t longer)
    void affine_of(
        float *scale, float *shift, float *invstd, const float *w, const float *b,
        const float *mean, const float *var, double eps, Py_ssize_t C)
    void columns_affine(
        float *y, const float *x, const float *scale, const float *shift, Py_ssize_t n)
    void columns_input_grad(
        float *dx, const float *dy, const float *x, const float *a, const float *k, const float *d,
        Py_ssize_t n)
    void plane_affine(
        float *y, const float *x, float mean, float scale, float shift, Py_ssize_t n)
    void plane_input_grad(
        float *dx, const float *dy, const float *x, float mean, float a, float k, float d,
        Py_ssize_t n)

cdef enum:
    NARROW = 128
    PIVOT = 8  # wide rows whose mean is the pivot
    LINE = 16  # floats of a cache line
    WORTH_THREADS = 1 << 17  # elements


# ------------------------------------------------------------------------------- columns


cdef inline Py_ssize_t fold_of(Py_ssize_t C) noexcept nogil:
    """How many pixels make one wide row."""
    return max(1, NARROW // C)


cdef inline Py_ssize_t cut(Py_ssize_t width, Py_ssize_t part, Py_ssize_t parts) noexcept nogil:
    """Where part `part` of `width` columns begins: on a cache line."""
    return min(width, (width * part // parts + LINE - 1) // LINE * LINE)


cdef inline const float *repeat(
    float *room, const float *channel, Py_ssize_t C, Py_ssize_t fold
) noexcept nogil:
    """One value per channel as one value per column of a wide row."""
    cdef Py_ssize_t k, c
    if fold == 1:
        return channel
    for k in range(fold):
        for c in range(C):
            room[k * C + c] = channel[c]
    return room


cdef void channel_sums(
    double *first, double *second, const float *dy, const float *x, const float *pivot,
    Py_ssize_t M, Py_ssize_t C, Py_ssize_t start, Py_ssize_t width, int threads,
) noexcept nogil:
    """What `column_sums` says, of the channels from `start` on that lie in `width` columns."""
    cdef Py_ssize_t parts, part, a, b, c, k
    cdef Py_ssize_t fold = fold_of(C), rows = M // fold, longer = M % fold * C
    parts = min(threads, (width + LINE - 1) // LINE)
    for part in prange(
        parts, num_threads=threads, schedule="static",
        use_threads_if=parts > 1 and M * width >= WORTH_THREADS,
    ):
        a = cut(width, part, parts)
        b = cut(width, part + 1, parts)
        column_sums(
            first + a, second + a, dy + start + a if dy != NULL else NULL, x + start + a,
            pivot + start + a, rows, fold * C, b - a, longer - a,
        )
    for k in range(1, fold):
        for c in range(C):
            first[c] += first[k * C + c]
            second[c] += second[k * C + c]


cdef void find_pivot(float *pivot, const float *x, Py_ssize_t M, Py_ssize_t C) noexcept nogil:
    """The mean of the first few pixels; 0 where one is infinite, as nothing can differ from it."""
    cdef Py_ssize_t m, c, some = min(M, PIVOT * fold_of(C))
    memset(pivot, 0, C * sizeof(float))
    for m in range(some):
        for c in range(C):
            pivot[c] += x[m * C + c]
    for c in range(C):
        pivot[c] = pivot[c] / some if isfinite(pivot[c]) else 0


cdef void channel_stats(
    float *mean, float *var, const float *x, Py_ssize_t M, Py_ssize_t C, int threads
) noexcept nogil:
    """Mean and variance of each channel: pivot + Σd/M and Σd²/M - (Σd/M)², d = x - pivot."""
    cdef Py_ssize_t start, width, c, wide = fold_of(C) * C
    cdef double d, square
    cdef double first[COLUMNS]
    cdef double second[COLUMNS]
    cdef float room[NARROW]
    cdef const float *pivot = mean
    find_pivot(mean, x, M, C)
    pivot = repeat(room, mean, C, fold_of(C))
    start = 0
    while start < wide:
        width = min(COLUMNS, wide - start)
        channel_sums(first, second, NULL, x, pivot, M, C, start, width, threads)
        for c in range(min(C, width)):
            d = first[c] / M
            square = second[c] / M - d * d
            mean[start + c] = mean[start + c] + d
            var[start + c] = 0 if square < 0 else square
        start = start + COLUMNS


cdef void image_affine(
    float *y, const float *x, const float *scale, const float *shift, Py_ssize_t M, Py_ssize_t C,
    int threads,
) noexcept nogil:
    """y = x·scale + shift of each channel."""
    cdef Py_ssize_t p, row, wide = fold_of(C) * C, rows = (M * C + wide - 1) // wide
    cdef float room[2][NARROW]
    cdef const float *wide_scale = repeat(room[0], scale, C, fold_of(C))
    cdef const float *wide_shift = repeat(room[1], shift, C, fold_of(C))
    for row in prange(
        rows, num_threads=threads, schedule="static",
        use_threads_if=threads > 1 and M * C >= WORTH_THREADS,
    ):
        p = row * wide
        columns_affine(y + p, x + p, wide_scale, wide_shift, min(wide, M * C - p))


cdef void image_input_grad(
    float *dx, const float *dy, const float *x, const float *a, const float *k, const float *d,
    Py_ssize_t M, Py_ssize_t C, int threads,
) noexcept nogil:
    """dx = a·dy + k·x + d of each channel."""
    cdef Py_ssize_t p, row, wide = fold_of(C) * C, rows = (M * C + wide - 1) // wide
    cdef float room[3][NARROW]
    cdef const float *wide_a = repeat(room[0], a, C, fold_of(C))
    cdef const float *wide_k = repeat(room[1], k, C, fold_of(C))
    cdef const float *wide_d = repeat(room[2], d, C, fold_of(C))
    for row in prange(
        rows, num_threads=threads, schedule="static",
        use_threads_if=threads > 1 and M * C >= WORTH_THREADS,
    ):
        p = row * wide
        columns_input_grad(
            dx + p, dy + p, x + p, wide_a, wide_k, wide_d, min(wide, M * C - p)
        )


cdef void spread(
    float *of_channels, const float *of_groups, Py_ssize_t G, Py_ssize_t K
) noexcept nogil:
    """Each group's number for all of its channels."""
    cdef Py_ssize_t g, k
    for g in range(G):
        for k in range(K):
            of_channels[g * K + k] = of_groups[g]


cdef void merge_channels(
    float *mean, float *var, const float *means, const float *vars, Py_ssize_t G, Py_ssize_t K
) noexcept nogil:
    """The statistics of groups: the mean of the variances and the variance of the means."""
    cdef Py_ssize_t g, c
    cdef double total, squares
    for g in range(G):
        total = 0
        for c in range(g * K, (g + 1) * K):
            total = total + means[c]
        total = total / K
        squares = 0
        for c in range(g * K, (g + 1) * K):
            squares = squares + vars[c] + (means[c] - total) * (means[c] - total)
        mean[g] = total
        var[g] = squares / K


cdef void norm_image(
    float *y, float *mean, float *var, float *invstd, float *scale, float *shift, const float *x,
    const float *w, const float *b, double eps, Py_ssize_t M, Py_ssize_t C, Py_ssize_t G,
    int threads,
) noexcept nogil:
    """Forward, of one batch channels-last; M counts the pixels of all of its images."""
    cdef Py_ssize_t g, c
    if G == C:
        channel_stats(mean, var, x, M, C, threads)
    else:
        channel_stats(scale, shift, x, M, C, threads)
        merge_channels(mean, var, scale, shift, G, C // G)
    for g in range(G):
        invstd[g] = 1 / sqrt(var[g] + eps)
    spread(scale, invstd, G, C // G)
    spread(shift, mean, G, C // G)
    for c in range(C):
        scale[c] *= w[c]
        shift[c] = b[c] - shift[c] * scale[c]
    image_affine(y, x, scale, shift, M, C, threads)


cdef void norm_image_backward(
    float *dx, float *dw, float *db, float *room, const float *dy, const float *x,
    const float *mean, const float *invstd, const float *w, Py_ssize_t M, Py_ssize_t C,
    Py_ssize_t G, bint training, int threads,
) noexcept nogil:
    """Backward, of one batch channels-last."""
    cdef Py_ssize_t start, width, g, c, K = C // G, fold = fold_of(C), wide = fold * C
    cdef double total, total_x, n = K * M, r
    cdef float slope, level
    cdef double first[COLUMNS]
    cdef double second[COLUMNS]
    cdef float *a = room
    cdef float *k = room + C
    cdef float *d = room + 2 * C
    cdef float repeated[NARROW]
    cdef const float *pivot
    spread(a, invstd, G, K)
    spread(k, mean, G, K)
    pivot = repeat(repeated, k, C, fold)
    start = 0
    while start < wide:
        width = min(COLUMNS, wide - start)
        channel_sums(first, second, dy, x, pivot, M, C, start, width, threads)
        for c in range(min(C, width)):
            db[start + c] = first[c]
            dw[start + c] = second[c] * a[start + c]
        start = start + COLUMNS
    for g in range(G):
        total = 0
        total_x = 0
        for c in range(g * K, (g + 1) * K):
            total = total + w[c] * db[c]
            total_x = total_x + w[c] * dw[c]
        r = invstd[g]
        slope = -r * r * (total_x / n)
        level = -r * (total / n) - slope * mean[g]
        for c in range(g * K, (g + 1) * K):
            a[c] = r * w[c]
            k[c] = slope
            d[c] = level if training else 0
    if training:
        image_input_grad(dx, dy, x, a, k, d, M, C, threads)
    else:
        image_affine(dx, dy, a, d, M, C, threads)


# ------------------------------------------------------------------------------- planes


cdef void norm_group(
    float *y, float *mean, float *var, float *invstd, const float *x, const float *w,
    const float *b, double eps, Py_ssize_t R, Py_ssize_t pitch, Py_ssize_t K, Py_ssize_t M,
) noexcept nogil:
    """Forward, of the K·M numbers in each of R images that are one group, `pitch` apart."""
    cdef Py_ssize_t i, k
    cdef double plain, square, total = 0, squares = 0, n = R * K * M
    cdef float m, r
    for i in range(R):
        total = total + row_sum(x + i * pitch, K * M)
    m = total / n
    total = 0
    for i in range(R):
        row_deviations(&plain, &square, x + i * pitch, m, K * M)
        total = total + plain
        squares = squares + square
    total = total / n  # what the first sum and rounding left
    squares = squares / n - total * total
    squares = 0 if squares < 0 else squares
    if isfinite(m):
        m = m + total
    r = 1 / sqrt(squares + eps)
    mean[0] = m
    var[0] = squares
    invstd[0] = r
    for i in range(R):
        for k in range(K):
            plane_affine(
                y + i * pitch + k * M, x + i * pitch + k * M, m, r * w[k], b[k], M
            )


cdef void norm_group_backward(
    float *dx, float *dw, float *db, const float *dy, const float *x, float mean, float invstd,
    const float *w, Py_ssize_t R, Py_ssize_t pitch, Py_ssize_t K, Py_ssize_t M, bint training,
) noexcept nogil:
    """Backward, of one group."""
    cdef Py_ssize_t i, k, p
    cdef double plain, with_x, of_one, of_x, total = 0, total_x = 0, n = R * K * M
    cdef float slope, d
    for k in range(K):
        of_one = 0
        of_x = 0
        for i in range(R):
            p = i * pitch + k * M
            plane_grad_sums(&plain, &with_x, dy + p, x + p, mean, M)
            of_one = of_one + plain
            of_x = of_x + with_x
        db[k] = of_one
        dw[k] = of_x * invstd
        total = total + of_one * w[k]
        total_x = total_x + of_x * w[k]
    slope = -invstd * invstd * invstd * (total_x / n)
    d = -invstd * (total / n)
    for i in range(R):
        for k in range(K):
            p = i * pitch + k * M
            if training:
                plane_input_grad(dx + p, dy + p, x + p, mean, invstd * w[k], slope, d, M)
            else:
                plane_affine(dx + p, dy + p, 0, invstd * w[k], 0, M)


# ------------------------------------------------------------------------------- the kernels


def norm_f32_scratch(tuple sizes, int threads):
    """Scale and shift of each channel."""
    A, _, C, _, _, last = sizes
    return 2 * A * C * last


def norm_f32(
    float[:, :, ::1] y, float[:, ::1] mean, float[:, ::1] var, float[:, ::1] invstd,
    const float[:, :, ::1] x, const float[::1] w, const float[::1] b, double eps, float[::1] room,
    tuple sizes, int threads,
):
    """y = (x - mean)·invstd·w + b, and mean, var and invstd (A, G) of the groups."""
    cdef Py_ssize_t A, R, C, M, G, K, i, p
    cdef bint last
    cdef int outer
    A, R, C, M, G, last = sizes
    if A * R * C * M == 0:
        mean[...] = 0
        var[...] = 0
        invstd[...] = 0
        return
    K = C // G
    if not last:
        for i in prange(
            A * G, nogil=True, num_threads=threads, schedule="static",
            use_threads_if=threads > 1 and A * R * C * M >= WORTH_THREADS,
        ):
            p = i // G * R * C * M + i % G * K * M
            norm_group(
                &y[0, 0, 0] + p, &mean[0, 0] + i, &var[0, 0] + i, &invstd[0, 0] + i,
                &x[0, 0, 0] + p, &w[i % G * K], &b[i % G * K], eps, R, C * M, K, M,
            )
        return
    outer = threads if A >= threads else 1
    for i in prange(
        A, nogil=True, num_threads=outer, schedule="static",
        use_threads_if=outer > 1 and A * R * C * M >= WORTH_THREADS,
    ):
        p = i * R * M * C
        norm_image(
            &y[0, 0, 0] + p, &mean[i, 0], &var[i, 0], &invstd[i, 0], &room[2 * i * C],
            &room[2 * i * C + C], &x[0, 0, 0] + p, &w[0], &b[0], eps, R * M, C, G,
            threads // outer,
        )


def norm_backward_f32_scratch(tuple sizes, int threads):
    """The sums of each batch, and the coefficients of dx."""
    A, _, C, _, _, last, _ = sizes
    return (2 + 3 * last) * A * C


def norm_backward_f32(
    float[:, :, ::1] dx, float[::1] dw, float[::1] db, const float[:, :, ::1] dy,
    const float[:, :, ::1] x, const float[:, ::1] mean, const float[:, ::1] invstd,
    const float[::1] w, float[::1] room, tuple sizes, int threads,
):
    """dx, dw = Σ dy·x̂ and db = Σ dy; mean and invstd are constants unless `training`."""
    cdef Py_ssize_t A, R, C, M, G, K, i, p, c
    cdef bint last, training
    cdef int outer
    cdef double total, total_x
    cdef float *dws
    cdef float *dbs
    A, R, C, M, G, last, training = sizes
    if A * R * C * M == 0:
        dw[:] = 0
        db[:] = 0
        return
    K = C // G
    dws = &room[0]
    dbs = dws + A * C
    if last:
        outer = threads if A >= threads else 1
        for i in prange(
            A, nogil=True, num_threads=outer, schedule="static",
            use_threads_if=outer > 1 and A * R * C * M >= WORTH_THREADS,
        ):
            p = i * R * M * C
            norm_image_backward(
                &dx[0, 0, 0] + p, dws + i * C, dbs + i * C, dbs + A * C + 3 * i * C,
                &dy[0, 0, 0] + p, &x[0, 0, 0] + p, &mean[i, 0], &invstd[i, 0], &w[0], R * M, C,
                G, training, threads // outer,
            )
    else:
        for i in prange(
            A * G, nogil=True, num_threads=threads, schedule="static",
            use_threads_if=threads > 1 and A * R * C * M >= WORTH_THREADS,
        ):
            p = i // G * R * C * M + i % G * K * M
            norm_group_backward(
                &dx[0, 0, 0] + p, dws + i * K, dbs + i * K, &dy[0, 0, 0] + p, &x[0, 0, 0] + p,
                (&mean[0, 0])[i], (&invstd[0, 0])[i], &w[i % G * K], R, C * M, K, M, training,
            )
    for c in range(C):
        total = 0
        total_x = 0
        for i in range(A):
            total = total + dbs[i * C + c]
            total_x = total_x + dws[i * C + c]
        db[c] = total
        dw[c] = total_x


def running_norm_f32_scratch(tuple sizes, int threads):
    """Scale and shift of each channel."""
    return 2 * sizes[1]


def running_norm_f32(
    float[:, :, ::1] y, float[::1] invstd, const float[:, :, ::1] x, const float[::1] w,
    const float[::1] b, const float[::1] mean, const float[::1] var, double eps,
    float[::1] room, tuple sizes, int threads,
):
    """y = (x - mean)·invstd·w + b with statistics that are given, and invstd (C,) of them."""
    cdef Py_ssize_t N, C, M, i
    cdef bint last
    N, C, M, last = sizes
    cdef float *scale = &room[0]
    cdef float *shift = scale + C
    affine_of(scale, shift, &invstd[0], &w[0], &b[0], &mean[0], &var[0], eps, C)
    if N * C * M == 0:
        return
    if last:
        with nogil:
            image_affine(&y[0, 0, 0], &x[0, 0, 0], scale, shift, N * M, C, threads)
        return
    for i in prange(
        N * C, nogil=True, num_threads=threads, schedule="static",
        use_threads_if=threads > 1 and N * C * M >= WORTH_THREADS,
    ):
        plane_affine(
            &y[0, 0, 0] + i * M, &x[0, 0, 0] + i * M, 0, scale[i % C], shift[i % C], M
        )
