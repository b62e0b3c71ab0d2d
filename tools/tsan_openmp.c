/* A stand-in for libgomp, for ThreadSanitizer: it knows how pthreads wait for each other, but not
   how GNU's OpenMP does, and would call every parallel region a race.

       CFLAGS="-O1 -g -fsanitize=thread" NANOCONV_BUILD_LEVELS=avx2 \
           python setup.py -q build --build-base build/raced --build-lib build/raced/lib
       gcc -shared -fPIC -O1 -g -fsanitize=thread tools/tsan_openmp.c -o build/openmp.so
       OPENBLAS_NUM_THREADS=1 TSAN_OPTIONS=log_path=build/race PYTHONPATH=build/raced/lib \
           setarch -R env LD_PRELOAD="$(gcc -print-file-name=libtsan.so) $PWD/build/openmp.so" \
           pytest --hypothesis-profile=quick tests/test_infer_steps.py

   with the level that `nanoconv config` names. A race is told in build/race.<process>, since pytest
   keeps what is printed, and the process ends with 66. setarch: some versions of TSan do not start
   where Linux puts a process anywhere in memory. NumPy and Python are not instrumented: of them
   TSan sees the locks, among them the GIL, and calls such as memset, but no loads and stores. So
   OpenBLAS may have no threads, as it waits for them in a way that TSan does not see. PyTorch
   calls this stand-in, too: no test that compares with it runs here.

   A region starts its threads and joins them: nothing in it is hidden, and nothing is suppressed. */
#include <pthread.h>

enum { MOST = 64 };

typedef struct {
    void (*run)(void *);
    void *data;
    int number, team;
    pthread_barrier_t *meet;
} worker;

static __thread worker here = {.team = 1};

int omp_get_thread_num(void) { return here.number; }
int omp_get_num_threads(void) { return here.team; }
int omp_get_max_threads(void) { return MOST; }

static void *start(void *argument) {
    here = *(worker *)argument;
    here.run(here.data);
    return NULL;
}

void GOMP_barrier(void) {
    if (here.team > 1) pthread_barrier_wait(here.meet);
}

void GOMP_parallel(void (*run)(void *), void *data, unsigned threads, unsigned flags) {
    pthread_t ids[MOST];
    worker workers[MOST], before = here;
    pthread_barrier_t meet;
    int team = threads == 0 || threads > MOST ? MOST : (int)threads;
    (void)flags;
    pthread_barrier_init(&meet, NULL, team);
    for (int t = 0; t < team; t++) workers[t] = (worker){run, data, t, team, &meet};
    for (int t = 1; t < team; t++) pthread_create(&ids[t], NULL, start, &workers[t]);
    start(&workers[0]);
    for (int t = 1; t < team; t++) pthread_join(ids[t], NULL);
    pthread_barrier_destroy(&meet);
    here = before;
}
