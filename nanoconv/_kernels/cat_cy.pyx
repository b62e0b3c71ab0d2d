"""Joining images along their channels: y[m] = the channels of pixel m of the first image, the next…

Layout: y and xs are NHWC; y is C-contiguous, each of xs may be some channels of a wider image.
Loops: pixels, shared among the threads; then the images.
Tile: the channels that one image has of a pixel.
Why: y is written once from front to back, so that no cache line of it is fetched twice; NumPy goes
    over it once for each image.
"""

from cython.parallel cimport prange
from libc.stdlib cimport free, malloc

cdef extern from "simd.h" nogil:
    void copy_floats(float *to, const float *from_, Py_ssize_t n)

cdef enum:
    WORTH_THREADS = 1 << 17  # elements

cdef struct Image:
    const float *x
    Py_ssize_t pitch    # floats from pixel to pixel
    Py_ssize_t C


cdef Image image(const float[:, :, :, :] x) noexcept:
    return Image(&x[0, 0, 0, 0], x.strides[2] // <Py_ssize_t> sizeof(float), x.shape[3])


cdef void cat_pixel(float *y, const Image *images, Py_ssize_t K, Py_ssize_t m) noexcept nogil:
    cdef Py_ssize_t k
    for k in range(K):
        copy_floats(y, images[k].x + m * images[k].pitch, images[k].C)
        y += images[k].C


def cat_f32(float[:, :, :, ::1] y, tuple xs, tuple sizes, int threads):
    """y[n, h, w] = (xs[0][n, h, w], xs[1][n, h, w], …)"""
    cdef Py_ssize_t N, C, H, W, M, m, k, K = len(xs)
    cdef Image *images
    cdef float *out
    N, C, H, W = sizes
    M = N * H * W
    if M * C == 0:
        return
    images = <Image *> malloc(K * sizeof(Image))
    if images == NULL:
        raise MemoryError("cat: no memory for a list of its images")
    out = &y[0, 0, 0, 0]
    try:
        for k in range(K):
            images[k] = image(xs[k])
        for m in prange(
            M, nogil=True, num_threads=threads, schedule="static",
            use_threads_if=M * C >= WORTH_THREADS,
        ):
            cat_pixel(out + m * C, images, K, m)
    finally:
        free(images)


cat_f32_takes_slices = True
