/* Runs the steps of a plan, one after the other, each by all threads of a team.

   One parallel region holds the whole run: to open one takes ten times as long as to meet at the
   barrier below, and small networks have a step every ten microseconds. Work is cut beforehand, in
   equal parts, by each step: to hand out pieces one at a time costs more than it evens out.

   lost     what the team's threads were kept from running by others: of each, the time by the clock
            less the time that it ran itself. A core that another process uses gives each of its
            users a few milliseconds in turn, and at the next barrier all threads wait for the one
            that is not running: whoever calls may then do better with one thread less.
   barrier  each thread adds itself to those that have come; the last one turns the sense over, for
            which the others wait. They wait spinning, since the next step is usually 1 µs away, but
            not for long: on a machine with other work the thread that is late may not be running
            at all, and then its place is better given to it. */
#ifndef NANOCONV_RUN_H
#define NANOCONV_RUN_H

#include <sched.h>
#include <stdatomic.h>
#include <time.h>

#ifdef _OPENMP
#include <omp.h>
#endif

#include "step.h"

#define SPINS 2000

struct barrier {
    _Alignas(64) atomic_long come;
    _Alignas(64) atomic_long sense; /* how often all have met */
};

static void meet(barrier *b, ptrdiff_t T) {
    if (T == 1) return;
    long sense = atomic_load_explicit(&b->sense, memory_order_relaxed);
    if (atomic_fetch_add_explicit(&b->come, 1, memory_order_acq_rel) == T - 1) {
        atomic_store_explicit(&b->come, 0, memory_order_relaxed);
        atomic_store_explicit(&b->sense, sense + 1, memory_order_release);
        return;
    }
    for (long spins = 0; atomic_load_explicit(&b->sense, memory_order_acquire) == sense; spins++) {
        if (spins < SPINS)
            PAUSE();
        else
            sched_yield();
    }
}

/* The steps as thread t of T. */
static void run_steps(const step *steps, ptrdiff_t n, barrier *b, ptrdiff_t t, ptrdiff_t T) {
    for (ptrdiff_t i = 0; i < n; i++) {
        steps[i].run(&steps[i], t, T);
        meet(b, T);
    }
}

static double seconds_of(clockid_t clock) {
    struct timespec now;
    clock_gettime(clock, &now);
    return now.tv_sec + 1e-9 * now.tv_nsec;
}

/* The steps by T threads; fewer, if the system has no more. Which part of the time was lost: 1 is
   one thread for the whole run. */
static double run_team(const step *steps, ptrdiff_t n, barrier *b, ptrdiff_t T) {
#ifdef _OPENMP
    if (T > 1) {
        double begin = seconds_of(CLOCK_MONOTONIC), lost = 0;
#pragma omp parallel num_threads(T) reduction(+ : lost)
        {
            double own = seconds_of(CLOCK_THREAD_CPUTIME_ID);
            run_steps(steps, n, b, omp_get_thread_num(), omp_get_num_threads());
            own = seconds_of(CLOCK_THREAD_CPUTIME_ID) - own;
            lost = seconds_of(CLOCK_MONOTONIC) - begin - own;
        }
        double whole = seconds_of(CLOCK_MONOTONIC) - begin;
        return whole > 0 ? lost / whole : 0;
    }
#endif
    run_steps(steps, n, b, 0, 1);
    return 0;
}

/* The same, with the seconds that each step takes until all threads have come to its end. */
static void time_team(const step *steps, ptrdiff_t n, barrier *b, ptrdiff_t T, double *seconds) {
#ifdef _OPENMP
#pragma omp parallel num_threads(T)
#endif
    {
#ifdef _OPENMP
        ptrdiff_t t = omp_get_thread_num(), team = omp_get_num_threads();
#else
        ptrdiff_t t = 0, team = 1;
#endif
        meet(b, team);
        double before = seconds_of(CLOCK_MONOTONIC);
        for (ptrdiff_t i = 0; i < n; i++) {
            steps[i].run(&steps[i], t, team);
            meet(b, team);
            double after = seconds_of(CLOCK_MONOTONIC);
            if (t == 0) seconds[i] = after - before;
            before = after;
        }
    }
}

/* Reads n floats, a multiple of 8 vectors, as fast as memory gives them. */
static NOINLINE float sum_of(const float *p, ptrdiff_t n) {
    vec sum[8] = {0}, all = {0};
    for (ptrdiff_t i = 0; i < n; i += 8 * LANES)
        UNROLL for (int k = 0; k < 8; k++) sum[k] += load(p + i + k * LANES);
    UNROLL for (int k = 0; k < 8; k++) all += sum[k];
    OPAQUE_VEC(all); /* or nothing would be read */
    return all[0];
}

#endif
