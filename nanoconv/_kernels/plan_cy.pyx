"""Runs a plan: steps whose places in memory are known, again and again, without Python in between.

infer/plan.py makes the steps; run.h runs them. Here a `Program` turns them into C structs once, and
for each call that is under way at the same time a `Worker` has an arena of its own, with a copy of
the structs whose pointers are those of that arena. So calls never share what they write, and
a call that finds a free worker allocates nothing.

An image of a batch is a run of its own. Two threads take two images, each through the whole plan:
what one step writes is then still in the cache for the next, and nobody waits. What is left over,
or a single image, is run by all threads together, step by step.
"""

from cpython.buffer cimport (
    PyBUF_C_CONTIGUOUS, PyBUF_FORMAT, PyBUF_SIMPLE, PyBUF_WRITABLE, PyBuffer_Release,
    PyObject_GetBuffer,
)
from cython.parallel cimport prange
from cython.view cimport array as cvarray
from libc.stdint cimport int32_t
from libc.stdlib cimport free
from libc.string cimport memcpy, memset, strcmp

from .step cimport Barrier, Image, Step, run_steps, run_team, time_team
from .steps_cy cimport kernels

cdef extern from "memory.h" nogil:
    void *zeros_in_memory(size_t size)

cdef enum Region:
    NOWHERE, ARENA, WEIGHTS, INPUT, OUTPUT

    MOST = 64                   # inputs, and outputs
    MOST_THREADS = 1024

cdef struct Buffers:
    # What one call is given: floats, and how many of them make one image.
    float *inputs[MOST]
    float *outputs[MOST]
    Py_ssize_t input_floats[MOST]
    Py_ssize_t output_floats[MOST]

cdef struct Place:
    # Where an image of a step begins: `offset` floats into a region; of inputs and outputs, which.
    int region
    Py_ssize_t which, offset


cdef struct Places:
    Place x, r, y
    Py_ssize_t w, b, gather, scratch    # floats into the weights, the tables, the arena; or -1
    Py_ssize_t parts                    # the first of them among all steps


cdef struct Worker:
    float *arena
    Step *steps             # with pointers into the arena
    Barrier *barrier


cdef class Owner:
    """Frees a worker that nobody needs any more."""

    cdef Worker worker

    def __dealloc__(self):
        free(self.worker.arena)
        free(self.worker.steps)
        free(self.worker.barrier)


cdef void *zeros(size_t size) except NULL:
    cdef void *memory = zeros_in_memory(size)
    if memory == NULL:
        raise MemoryError(f"a plan needs {size} bytes of memory")
    return memory


def memory(Py_ssize_t floats):
    """So many zeros, placed as kernels like them (memory.h): for weights."""
    cdef cvarray array = cvarray((max(floats, 1),), sizeof(float), "f", allocate_buffer=False)
    array.data = <char *> zeros(floats * sizeof(float))
    array.callback_free_data = free
    return array


cdef float *start_of(array, Py_ssize_t floats, int flags) except? NULL:
    # A typed memoryview would do the same, and take as long as some steps of a small network.
    cdef Py_buffer buffer
    PyObject_GetBuffer(array, &buffer, flags | PyBUF_C_CONTIGUOUS | PyBUF_FORMAT)
    cdef float *start = <float *> buffer.buf
    cdef Py_ssize_t size = buffer.len
    cdef bint fits = size == floats * <Py_ssize_t> sizeof(float) and strcmp(buffer.format, "f") == 0
    PyBuffer_Release(&buffer)   # the caller holds the array
    if not fits:
        raise ValueError(
            f"Program: got an array of {array.dtype} and {size} bytes, expected {floats} float32")
    return start


cdef Image image_of(found, Place *place) except *:
    cdef Image image
    memset(&image, 0, sizeof(Image))
    place.region = NOWHERE
    if found is not None:
        place.region, place.which, place.offset = found.place
        image.H, image.W, image.C = found.H, found.W, found.C
        image.pitch, image.row = found.pitch, found.row
        image.top, image.bottom, image.left, image.right = found.halo
    return image


cdef int fill(Step *s, Places *p, step) except -1:
    # A step of Python as one of C: all but its pointers, whose places are noted in p.
    s.run = kernels.step_named(step.kernel.encode())
    if s.run == NULL:
        raise ValueError(f"Program: no kernel is named {step.kernel!r}")
    s.x = image_of(step.x, &p.x)
    s.r = image_of(step.r, &p.r)
    s.y = image_of(step.y, &p.y)
    w = step.window
    s.of.KH, s.of.KW, s.of.sh, s.of.sw, s.of.pt, s.of.pl, s.of.dh, s.of.dw, s.of.G = w
    s.K, s.scratch_floats, s.part_count = step.K, step.scratch_floats, len(step.parts)
    s.panel, s.activation, s.low, s.high = step.panel, step.activation, step.low, step.high
    p.w, p.b, p.gather, p.scratch = step.w, step.b, step.gather, step.scratch
    return 0


def band_scratch(step):
    """Floats that each thread needs for what lies between the parts of a step in bands."""
    cdef Step whole
    cdef Places places
    cdef Step *parts = <Step *> zeros(len(step.parts) * sizeof(Step))
    cdef Py_ssize_t k
    try:
        fill(&whole, &places, step)
        for k in range(len(step.parts)):
            fill(&parts[k], &places, step.parts[k])
        whole.parts = parts
        return kernels.band_memory(&whole, NULL, NULL)
    finally:
        free(parts)


cdef class Program:
    """The steps of a plan, ready to run on any number of images."""

    cdef Step *steps
    cdef Places *places
    cdef Py_ssize_t main, count         # steps of the plan; with those inside of fused ones
    cdef const float *weights
    cdef const int32_t *tables
    cdef object keep                    # what these two point into
    cdef readonly Py_ssize_t arena_floats
    cdef list idle
    cdef readonly list input_floats, output_floats

    def __init__(self, steps, weights, tables, arena_floats, input_floats, output_floats):
        """`steps` as infer/plan.py describes them; sizes of one image of each input and output."""
        cdef Py_ssize_t k
        cdef const float[::1] w = weights
        cdef const int32_t[::1] g = tables
        self.weights, self.tables, self.keep = &w[0], &g[0], (weights, tables)
        self.arena_floats = arena_floats
        if max(len(input_floats), len(output_floats)) > MOST:
            raise ValueError(
                f"compile: the model has {len(input_floats)} inputs and {len(output_floats)} "
                f"outputs; expected at most {MOST} of each")
        self.input_floats, self.output_floats = list(input_floats), list(output_floats)
        self.idle = []
        flat = list(steps)
        self.main = len(flat)
        first = []
        for step in list(flat):
            first.append(len(flat))
            flat.extend(step.parts)
        self.count = len(flat)
        self.steps = <Step *> zeros(self.count * sizeof(Step))
        self.places = <Places *> zeros(self.count * sizeof(Places))
        for k in range(self.count):
            self._fill(k, flat[k], first[k] if k < self.main else -1)

    def __dealloc__(self):
        free(self.steps)
        free(self.places)

    cdef int _fill(self, Py_ssize_t k, step, Py_ssize_t parts) except -1:
        self.places[k].parts = parts
        return fill(&self.steps[k], &self.places[k], step)

    cdef Owner _owner(self):
        # A worker that is free, or a new one.
        if self.idle:
            return self.idle.pop()
        cdef Owner owner = Owner()
        cdef Worker *made = &owner.worker
        cdef float *arena
        cdef Step *s
        cdef Places *p
        cdef Py_ssize_t k
        made.arena = arena = <float *> zeros(self.arena_floats * sizeof(float))
        made.steps = <Step *> zeros(self.count * sizeof(Step))
        made.barrier = <Barrier *> zeros(sizeof(Barrier))
        memcpy(made.steps, self.steps, self.count * sizeof(Step))
        for k in range(self.count):
            s, p = &made.steps[k], &self.places[k]
            if p.x.region == ARENA:
                s.x.at = arena + p.x.offset
            if p.r.region == ARENA:
                s.r.at = arena + p.r.offset
            if p.y.region == ARENA:
                s.y.at = arena + p.y.offset
            s.w = self.weights + p.w if p.w >= 0 else NULL
            s.b = self.weights + p.b if p.b >= 0 else NULL
            s.gather = self.tables + p.gather if p.gather >= 0 else NULL
            s.scratch = arena + p.scratch if p.scratch >= 0 else NULL
            s.parts = made.steps + p.parts if s.part_count else NULL
            s.meet = made.barrier
        return owner

    cdef void _bind(self, Worker *worker, Buffers *given, Py_ssize_t n) noexcept nogil:
        # Point the steps at the n-th image of the inputs and outputs of a call.
        cdef Py_ssize_t k
        cdef Step *s
        cdef Places *p
        for k in range(self.count):
            s, p = &worker.steps[k], &self.places[k]
            if p.x.region == INPUT:
                s.x.at = given.inputs[p.x.which] + n * given.input_floats[p.x.which] + p.x.offset
            if p.y.region == OUTPUT:
                s.y.at = given.outputs[p.y.which] + n * given.output_floats[p.y.which] + p.y.offset

    cdef void _run_images(
        self, Worker *worker, Buffers *given, Py_ssize_t t, Py_ssize_t N, Py_ssize_t T
    ) noexcept nogil:
        cdef Py_ssize_t n
        for n in range(N * t // T, N * (t + 1) // T):
            self._bind(worker, given, n)
            run_steps(worker.steps, self.main, worker.barrier, 0, 1)

    cdef Buffers _buffers(self, inputs, outputs, Py_ssize_t N) except *:
        cdef Buffers given
        cdef Py_ssize_t k
        if (len(inputs), len(outputs)) != (len(self.input_floats), len(self.output_floats)):
            raise ValueError(
                f"Program: got {len(inputs)} inputs and {len(outputs)} outputs, expected "
                f"{len(self.input_floats)} and {len(self.output_floats)}")
        for k in range(len(self.input_floats)):
            given.input_floats[k] = self.input_floats[k]
            given.inputs[k] = start_of(inputs[k], N * given.input_floats[k], PyBUF_SIMPLE)
        for k in range(len(self.output_floats)):
            given.output_floats[k] = self.output_floats[k]
            given.outputs[k] = start_of(outputs[k], N * given.output_floats[k], PyBUF_WRITABLE)
        return given

    def run(self, inputs, outputs, Py_ssize_t N, int threads, int team):
        """N images: contiguous float32 `inputs` into `outputs`, by up to `threads` threads.

        A single image, or one that is left over, by a team of `team` of them. Returns which part of
        the last one's time the team lost to other processes (run.h).
        """
        cdef Buffers given = self._buffers(inputs, outputs, N)
        cdef Py_ssize_t n, t, T = min(threads, MOST_THREADS)
        cdef Py_ssize_t shared = N // T * T if T > 1 and N > 1 else 0
        cdef double lost = 0
        cdef Worker workers[MOST_THREADS]
        cdef list owners = [self._owner() for _ in range(T if shared else 1)]
        for n in range(len(owners)):
            workers[n] = (<Owner> owners[n]).worker
        with nogil:
            if shared:
                for t in prange(T, schedule="static", num_threads=<int> T):
                    self._run_images(&workers[t], &given, t, shared, T)
            for n in range(shared, N):
                self._bind(&workers[0], &given, n)
                lost = run_team(workers[0].steps, self.main, workers[0].barrier, team)
        self.idle.extend(owners)
        return lost

    def trace(self, inputs, outputs, int threads, see):
        """As `run` for one image; after each step, `see(k, y)` with the floats from y.at on."""
        cdef Buffers given = self._buffers(inputs, outputs, 1)
        cdef Owner owner = self._owner()
        cdef Worker *worker = &owner.worker
        cdef Py_ssize_t k, floats
        self._bind(worker, &given, 0)
        for k in range(self.main):
            with nogil:
                run_team(worker.steps + k, 1, worker.barrier, threads)
            if self.places[k].y.region == ARENA:
                floats = self.arena_floats - self.places[k].y.offset
                see(k, <float[:floats]> worker.steps[k].y.at)
        self.idle.append(owner)

    def time(self, inputs, outputs, int threads, Py_ssize_t runs):
        """The seconds that each step of one image takes, for each of `runs` runs."""
        cdef Buffers given = self._buffers(inputs, outputs, 1)
        cdef Owner owner = self._owner()
        cdef double[::1] seconds = cvarray((self.main,), sizeof(double), "d")
        found = []
        self._bind(&owner.worker, &given, 0)
        for _ in range(runs):
            with nogil:
                time_team(
                    owner.worker.steps, self.main, owner.worker.barrier, threads, &seconds[0])
            found.append(list(seconds))
        self.idle.append(owner)
        return found
