"""Statistics, gradient sums and affine maps by image and channel: what batch, group and instance
norm do with their pixels.

Layout: x is (N, M, C): N images of M pixels of C channels, C-contiguous. Batch norm, which makes no
    difference between images, takes all pixels for one. Where C < 128, `fold` pixels that lie side
    by side are taken as one wide row of fold·C columns; its sums are merged at the end.
Loops: images, rows, columns. Threads share the images if there are enough. Otherwise, image by
    image, they share the rows of maps, and of sums the columns, in whole cache lines; each column
    is summed in one order, whoever does it.
Tile: 32 rows by at most 512 columns, whose running sums stay in the L1 cache.
Why: each array is read once, in the order of memory, and the inner loop is long for narrow layers
    too. Within 32 rows sums are in float32, as fast as can be; from there on they are in float64.
"""

from cython.parallel cimport prange
from libc.math cimport NAN
from libc.string cimport memset

cdef enum:
    ROWS = 32
    COLUMNS = 512
    NARROW = 128
    LINE = 16  # floats of a cache line
    WORTH_THREADS = 1 << 16  # elements


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


# ------------------------------------------------------------------------------- statistics


cdef void merge_rows(
    double *mean, double *m2, const float *x, Py_ssize_t n, Py_ssize_t m, Py_ssize_t pitch,
    Py_ssize_t width,
) noexcept nogil:
    """Merge m rows into the mean and the m2 = Σ (x - mean)² of n rows (Chan, Golub, LeVeque 1983).

    What is summed is d = x - pivot. The pivot is the mean so far, at first that of these m rows, so
    the d are small and nothing cancels, however far from 0 the mean is:
        Δ = pivot + Σd/m - mean      mean += Δ·m/(n+m)      m2 += Σd² - (Σd)²/m + Δ²·n·m/(n+m)
    """
    cdef Py_ssize_t r, c
    cdef float pivot[COLUMNS]
    cdef float total[COLUMNS]
    cdef float squares[COLUMNS]
    cdef float d
    cdef double delta, weight = m / <double>(n + m)
    if n == 0:
        memset(pivot, 0, width * sizeof(float))
        for r in range(m):
            for c in range(width):
                pivot[c] += x[r * pitch + c]
        for c in range(width):
            mean[c] = pivot[c] / m
            m2[c] = 0
    for c in range(width):
        pivot[c] = mean[c]
    memset(total, 0, width * sizeof(float))
    memset(squares, 0, width * sizeof(float))
    for r in range(m):
        for c in range(width):
            d = x[r * pitch + c] - pivot[c]
            total[c] += d
            squares[c] += d * d
    for c in range(width):
        delta = pivot[c] - mean[c] + total[c] / <double>m
        mean[c] += delta * weight
        m2[c] += squares[c] - total[c] * <double>total[c] / m + delta * delta * (n * weight)


cdef void column_stats(
    double *mean, double *m2, const float *x, Py_ssize_t rows, Py_ssize_t pitch, Py_ssize_t width,
    Py_ssize_t longer,
) noexcept nogil:
    """mean and m2 of `width` columns, of which the first `longer` have one row more."""
    cdef Py_ssize_t n = 0
    while n < rows:
        merge_rows(mean, m2, &x[n * pitch], n, min(ROWS, rows - n), pitch, width)
        n = n + ROWS
    if longer > 0:
        merge_rows(mean, m2, &x[rows * pitch], rows, 1, pitch, min(width, longer))


cdef double plain_mean(const float *x, Py_ssize_t M, Py_ssize_t C) noexcept nogil:
    """The mean where an x is infinite, and so has no difference from a pivot."""
    cdef Py_ssize_t m
    cdef double total = 0
    for m in range(M):
        total += x[m * C]
    return total / M


cdef void image_stats(
    float *mean, float *var, const float *x, Py_ssize_t M, Py_ssize_t C, int threads
) noexcept nogil:
    """Mean and variance of each channel of one image."""
    cdef Py_ssize_t first, width, parts, part, a, b, c, k, n, m
    cdef Py_ssize_t fold = fold_of(C), rows = M // fold, longer = M % fold * C, wide = fold * C
    cdef double mean_c, m2_c, delta
    cdef double means[COLUMNS]
    cdef double m2s[COLUMNS]
    first = 0
    while first < wide:
        width = min(COLUMNS, wide - first)
        parts = min(threads, (width + LINE - 1) // LINE)
        for part in prange(
            parts, num_threads=threads, schedule="static",
            use_threads_if=parts > 1 and M * width >= WORTH_THREADS,
        ):
            a = cut(width, part, parts)
            b = cut(width, part + 1, parts)
            column_stats(&means[a], &m2s[a], x + first + a, rows, wide, b - a, longer - a)
        for c in range(min(C, width)):
            n = 0
            mean_c = 0
            m2_c = 0
            for k in range(min(fold, M)):
                m = rows + (k * C < longer)
                delta = means[k * C + c] - mean_c
                mean_c = mean_c + delta * m / (n + m)
                m2_c = m2_c + m2s[k * C + c] + delta * delta * n * m / (n + m)
                n = n + m
            if mean_c != mean_c:
                mean_c = plain_mean(x + first + c, M, C)
            mean[first + c] = mean_c
            var[first + c] = m2_c / M
        first = first + COLUMNS


def channel_stats_f32(
    float[:, ::1] mean, float[:, ::1] var, const float[:, :, ::1] x, tuple sizes, int threads
):
    """mean[n, c] = Σ_m x[n, m, c] / M and var[n, c] = Σ_m (x[n, m, c] - mean)² / M, in one reading.
    """
    cdef Py_ssize_t N, M, C, n
    cdef int outer
    N, M, C = sizes
    if N * M * C == 0:
        mean[...] = NAN
        var[...] = NAN
        return
    outer = threads if N >= threads else 1
    for n in prange(
        N, nogil=True, num_threads=outer, schedule="static",
        use_threads_if=outer > 1 and N * M * C >= WORTH_THREADS,
    ):
        image_stats(&mean[n, 0], &var[n, 0], &x[n, 0, 0], M, C, threads // outer)


# ------------------------------------------------------------------------------- gradient sums


cdef void add_rows(
    double *sum_dy, double *sum_dy_x, const float *dy, const float *x, const float *mean,
    Py_ssize_t m, Py_ssize_t pitch, Py_ssize_t width,
) noexcept nogil:
    """sum_dy += Σ dy and sum_dy_x += Σ dy·(x - mean) over m rows."""
    cdef Py_ssize_t r, c, p
    cdef float total[COLUMNS]
    cdef float products[COLUMNS]
    memset(total, 0, width * sizeof(float))
    memset(products, 0, width * sizeof(float))
    for r in range(m):
        for c in range(width):
            p = r * pitch + c
            total[c] += dy[p]
            products[c] += dy[p] * (x[p] - mean[c])
    for c in range(width):
        sum_dy[c] += total[c]
        sum_dy_x[c] += products[c]


cdef void column_grad_sums(
    double *sum_dy, double *sum_dy_x, const float *dy, const float *x, const float *mean,
    Py_ssize_t rows, Py_ssize_t pitch, Py_ssize_t width, Py_ssize_t longer,
) noexcept nogil:
    """Both sums over `width` columns, of which the first `longer` have one row more."""
    cdef Py_ssize_t n = 0, p = rows * pitch
    memset(sum_dy, 0, width * sizeof(double))
    memset(sum_dy_x, 0, width * sizeof(double))
    while n < rows:
        add_rows(
            sum_dy, sum_dy_x, &dy[n * pitch], &x[n * pitch], mean, min(ROWS, rows - n), pitch, width
        )
        n = n + ROWS
    if longer > 0:
        add_rows(sum_dy, sum_dy_x, &dy[p], &x[p], mean, 1, pitch, min(width, longer))


cdef void image_grad_sums(
    float *sum_dy, float *sum_dy_xhat, const float *dy, const float *x, const float *mean,
    const float *invstd, Py_ssize_t M, Py_ssize_t C, int threads,
) noexcept nogil:
    """Both sums for each channel of one image."""
    cdef Py_ssize_t first, width, parts, part, a, b, c, k
    cdef Py_ssize_t fold = fold_of(C), rows = M // fold, longer = M % fold * C, wide = fold * C
    cdef double total, total_x
    cdef double totals[COLUMNS]
    cdef double totals_x[COLUMNS]
    cdef float room[NARROW]
    cdef const float *means = repeat(room, mean, C, fold)
    first = 0
    while first < wide:
        width = min(COLUMNS, wide - first)
        parts = min(threads, (width + LINE - 1) // LINE)
        for part in prange(
            parts, num_threads=threads, schedule="static",
            use_threads_if=parts > 1 and M * width >= WORTH_THREADS,
        ):
            a = cut(width, part, parts)
            b = cut(width, part + 1, parts)
            column_grad_sums(
                &totals[a], &totals_x[a], dy + first + a, x + first + a, means + first + a, rows,
                wide, b - a, longer - a,
            )
        for c in range(min(C, width)):
            total = 0
            total_x = 0
            for k in range(fold):
                total = total + totals[k * C + c]
                total_x = total_x + totals_x[k * C + c]
            sum_dy[first + c] = total
            sum_dy_xhat[first + c] = total_x * invstd[first + c]
        first = first + COLUMNS


def channel_grad_sums_f32(
    float[:, ::1] sum_dy, float[:, ::1] sum_dy_xhat, const float[:, :, ::1] dy,
    const float[:, :, ::1] x, const float[:, ::1] mean, const float[:, ::1] invstd, tuple sizes,
    int threads,
):
    """sum_dy[n, c] = Σ_m dy and sum_dy_xhat[n, c] = Σ_m dy·x̂, x̂ = (x - mean)·invstd of n, c."""
    cdef Py_ssize_t N, M, C, n
    cdef int outer
    N, M, C = sizes
    if N * M * C == 0:
        sum_dy[...] = 0
        sum_dy_xhat[...] = 0
        return
    outer = threads if N >= threads else 1
    for n in prange(
        N, nogil=True, num_threads=outer, schedule="static",
        use_threads_if=outer > 1 and N * M * C >= WORTH_THREADS,
    ):
        image_grad_sums(
            &sum_dy[n, 0], &sum_dy_xhat[n, 0], &dy[n, 0, 0], &x[n, 0, 0], &mean[n, 0],
            &invstd[n, 0], M, C, threads // outer,
        )


# ------------------------------------------------------------------------------- maps


cdef void affine(
    float *y, const float *x, const float *scale, const float *shift, Py_ssize_t width
) noexcept nogil:
    cdef Py_ssize_t c
    for c in range(width):
        y[c] = x[c] * scale[c] + shift[c]


cdef void image_affine(
    float *y, const float *x, const float *scale, const float *shift, Py_ssize_t M, Py_ssize_t C,
    int threads,
) noexcept nogil:
    """The map of one image."""
    cdef Py_ssize_t p, row, wide = fold_of(C) * C
    cdef float room[2][NARROW]
    cdef const float *wide_scale = repeat(room[0], scale, C, fold_of(C))
    cdef const float *wide_shift = repeat(room[1], shift, C, fold_of(C))
    for row in prange(
        (M * C + wide - 1) // wide, num_threads=threads, schedule="static",
        use_threads_if=threads > 1 and M * C >= WORTH_THREADS,
    ):
        p = row * wide
        affine(y + p, x + p, wide_scale, wide_shift, min(wide, M * C - p))


def channel_affine_f32(
    float[:, :, ::1] y, const float[:, :, ::1] x, const float[:, ::1] scale,
    const float[:, ::1] shift, tuple sizes, int threads,
):
    """y[n, m, c] = x[n, m, c]·scale[n, c] + shift[n, c]"""
    cdef Py_ssize_t N, M, C, n
    cdef int outer
    N, M, C = sizes
    if N * M * C == 0:
        return
    outer = threads if N >= threads else 1
    for n in prange(
        N, nogil=True, num_threads=outer, schedule="static",
        use_threads_if=outer > 1 and N * M * C >= WORTH_THREADS,
    ):
        image_affine(
            &y[n, 0, 0], &x[n, 0, 0], &scale[n, 0], &shift[n, 0], M, C, threads // outer
        )


cdef void input_grad(
    float *dx, const float *dy, const float *x, const float *a, const float *k, const float *d,
    Py_ssize_t width,
) noexcept nogil:
    cdef Py_ssize_t c
    for c in range(width):
        dx[c] = a[c] * dy[c] + (k[c] * x[c] + d[c])


cdef void image_input_grad(
    float *dx, const float *dy, const float *x, const float *a, const float *k, const float *d,
    Py_ssize_t M, Py_ssize_t C, int threads,
) noexcept nogil:
    """The gradient of one image."""
    cdef Py_ssize_t p, row, wide = fold_of(C) * C
    cdef float room[3][NARROW]
    cdef const float *wide_a = repeat(room[0], a, C, fold_of(C))
    cdef const float *wide_k = repeat(room[1], k, C, fold_of(C))
    cdef const float *wide_d = repeat(room[2], d, C, fold_of(C))
    for row in prange(
        (M * C + wide - 1) // wide, num_threads=threads, schedule="static",
        use_threads_if=threads > 1 and M * C >= WORTH_THREADS,
    ):
        p = row * wide
        input_grad(dx + p, dy + p, x + p, wide_a, wide_k, wide_d, min(wide, M * C - p))


def channel_input_grad_f32(
    float[:, :, ::1] dx, const float[:, :, ::1] dy, const float[:, :, ::1] x,
    const float[:, ::1] a, const float[:, ::1] k, const float[:, ::1] d, tuple sizes, int threads,
):
    """dx[n, m, c] = a[n, c]·dy[n, m, c] + k[n, c]·x[n, m, c] + d[n, c]"""
    cdef Py_ssize_t N, M, C, n
    cdef int outer
    N, M, C = sizes
    if N * M * C == 0:
        return
    outer = threads if N >= threads else 1
    for n in prange(
        N, nogil=True, num_threads=outer, schedule="static",
        use_threads_if=outer > 1 and N * M * C >= WORTH_THREADS,
    ):
        image_input_grad(
            &dx[n, 0, 0], &dy[n, 0, 0], &x[n, 0, 0], &a[n, 0], &k[n, 0], &d[n, 0], M, C,
            threads // outer,
        )
