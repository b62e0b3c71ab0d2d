/* One register full of floats, on whatever machine this is compiled for.

   Of the files that compute, only this one names an instruction set (setup.py says what each level
   is compiled for, and cpu_cy.pyx whether the CPU has it): it turns the compiler's own macros into
   two numbers, LANES (floats per register) and REGISTERS (how many there are), and everything else
   is written in these, with the vector extensions of GCC and Clang. `a * b + c` on vectors becomes
   one fused multiply-add where the machine has it. */
#ifndef NANOCONV_SIMD_H
#define NANOCONV_SIMD_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if defined(LANES) /* chosen by hand, with REGISTERS, to test the tiles of another machine */
#define IN_REGISTER "+m"
#elif defined(__AVX512F__)
#define LANES 16
#define REGISTERS 32
#elif defined(__AVX2__)
#define LANES 8
#define REGISTERS 16
#elif defined(__ARM_NEON)
#define LANES 4
#define REGISTERS 32
#else
#define LANES 4
#define REGISTERS 16
#endif

#if defined(IN_REGISTER)
#elif defined(__x86_64__) || defined(__i386__)
#define IN_REGISTER "+v"
#elif defined(__aarch64__)
#define IN_REGISTER "+w"
#else
#define IN_REGISTER "+m"
#endif

/* Tells the processor that this thread waits for another one. */
#if defined(__x86_64__) || defined(__i386__)
#define PAUSE() __builtin_ia32_pause()
#elif defined(__aarch64__)
#define PAUSE() __asm__ volatile("yield")
#else
#define PAUSE() ((void)0)
#endif

/* Asks for the cache line at p in the second-level cache. Any address will do: none is read. */
#define PREFETCH(p) __builtin_prefetch(p, 0, 2)
#define LINE_FLOATS 16

#define ALWAYS_INLINE inline __attribute__((always_inline))
#define NOINLINE __attribute__((noinline))
#define UNROLL _Pragma("GCC unroll 16")

/* The compiler must take the value of this variable as it is: it can neither compute it in another
   way nor drop the computation. */
#define OPAQUE(x) __asm__ volatile("" : "+r"(x))
#define OPAQUE_VEC(x) __asm__ volatile("" : IN_REGISTER(x))

typedef float vec __attribute__((vector_size(4 * LANES)));
typedef float unaligned_vec __attribute__((vector_size(4 * LANES), aligned(4), may_alias));

static ALWAYS_INLINE vec load(const float *p) { return *(const unaligned_vec *)p; }
static ALWAYS_INLINE void store(float *p, vec v) { *(unaligned_vec *)p = v; }

/* s in every lane. `s - 0` is s for every s, so this is one broadcast; `0 + s` is not, for -0. */
static ALWAYS_INLINE vec splat(float s) { return s - (vec){0}; }

/* a where `which` is all ones, b where it is all zeros, as comparisons of vectors give them. */
typedef int32_t vec_mask __attribute__((vector_size(4 * LANES)));
static ALWAYS_INLINE vec either_of(vec_mask which, vec a, vec b) {
    return (vec)((which & (vec_mask)a) | (~which & (vec_mask)b));
}

/* The larger and the smaller one of each lane; where either is NaN, b. One instruction where the
   machine has it: in C alone, GCC makes two or three of them, or one for each lane. */
#if defined(__GNUC__) && !defined(__clang__) && defined(__AVX512F__) && LANES == 16
#define ROUND_AS_SET 4
static ALWAYS_INLINE vec more(vec a, vec b) {
    return (vec)__builtin_ia32_maxps512_mask(a, b, a, -1, ROUND_AS_SET);
}
static ALWAYS_INLINE vec less(vec a, vec b) {
    return (vec)__builtin_ia32_minps512_mask(a, b, a, -1, ROUND_AS_SET);
}
#elif defined(__GNUC__) && !defined(__clang__) && defined(__AVX2__) && LANES == 8
static ALWAYS_INLINE vec more(vec a, vec b) { return (vec)__builtin_ia32_maxps256(a, b); }
static ALWAYS_INLINE vec less(vec a, vec b) { return (vec)__builtin_ia32_minps256(a, b); }
#elif defined(__GNUC__) && !defined(__clang__) && defined(__SSE2__) && LANES == 4
static ALWAYS_INLINE vec more(vec a, vec b) { return (vec)__builtin_ia32_maxps(a, b); }
static ALWAYS_INLINE vec less(vec a, vec b) { return (vec)__builtin_ia32_minps(a, b); }
#else
static ALWAYS_INLINE vec more(vec a, vec b) { return either_of(a > b, a, b); }
static ALWAYS_INLINE vec less(vec a, vec b) { return either_of(a < b, a, b); }
#endif

/* The largest of each lane; a NaN is larger than any number. */
static ALWAYS_INLINE vec maximum(vec a, vec b) { return either_of(a != a, a, more(a, b)); }
static ALWAYS_INLINE vec maximum_of_3(vec a, vec b, vec c) { /* only NaNs in b pass `more` */
    vec nan = splat(__builtin_nanf(""));
    return either_of((a != a) | (c != c), nan, more(c, more(a, b)));
}

/* The first n < LANES floats at p, then zeros; nothing behind them is read. */
static inline vec load_first(const float *p, ptrdiff_t n) {
    float all[LANES] = {0};
    memcpy(all, p, n * sizeof *p);
    return load(all);
}

/* Copies n floats between arrays that do not overlap. Most runs are short, and a call would take
   longer; the last two pieces may overlap instead of leaving a rest. */
static ALWAYS_INLINE void copy_floats(float *to, const float *from, ptrdiff_t n) {
    ptrdiff_t k = 0;
    if (n >= LANES) {
        for (; k + LANES <= n; k += LANES) store(to + k, load(from + k));
        if (k < n) store(to + n - LANES, load(from + n - LANES));
    } else if (n >= 8) {
        memcpy(to, from, 8 * sizeof *to);
        memcpy(to + n - 8, from + n - 8, 8 * sizeof *to);
    } else if (n >= 4) {
        memcpy(to, from, 4 * sizeof *to);
        memcpy(to + n - 4, from + n - 4, 4 * sizeof *to);
    } else {
        for (; k < n; k++) to[k] = from[k];
    }
}

/* SHUFFLE(a, b, of): lane l of the result is lane of(l) of a, or lane of(l) - LANES of b. */
#define FOUR(of, l) of(l), of(l + 1), of(l + 2), of(l + 3)
#if LANES == 4
#define EACH_LANE(of) FOUR(of, 0)
#elif LANES == 8
#define EACH_LANE(of) FOUR(of, 0), FOUR(of, 4)
#else
#define EACH_LANE(of) FOUR(of, 0), FOUR(of, 4), FOUR(of, 8), FOUR(of, 12)
#endif
#ifdef __clang__
#define SHUFFLE(a, b, of) __builtin_shufflevector(a, b, EACH_LANE(of))
#else
typedef int int_vec __attribute__((vector_size(4 * LANES)));
#define SHUFFLE(a, b, of) __builtin_shuffle(a, b, (int_vec){EACH_LANE(of)})
#endif

/* Within every four lanes: a0 b0 a1 b1, and a2 b2 a3 b3. */
#define LOW_PAIRS(l) (((l) & ~3) + ((l) & 3) / 2 + ((l) & 1) * LANES)
#define HIGH_PAIRS(l) (LOW_PAIRS(l) + 2)
/* Blocks of 4 (8) lanes: the even ones of a and b in turn, and the odd ones. */
#define EVEN_4(l) ((l) & 4 ? (l) - 4 + LANES : (l))
#define ODD_4(l) ((l) & 4 ? (l) + LANES : (l) + 4)
#define EVEN_8(l) ((l) & 8 ? (l) - 8 + LANES : (l))
#define ODD_8(l) ((l) & 8 ? (l) + LANES : (l) + 8)

/* r[i][j] <-> r[j][i] for a square of LANES vectors: first every 4 x 4 block, then the blocks. */
static ALWAYS_INLINE void transpose(vec r[LANES]) {
    UNROLL for (int i = 0; i < LANES; i += 4) {
        vec a = SHUFFLE(r[i], r[i + 2], LOW_PAIRS), c = SHUFFLE(r[i + 1], r[i + 3], LOW_PAIRS);
        vec b = SHUFFLE(r[i], r[i + 2], HIGH_PAIRS), d = SHUFFLE(r[i + 1], r[i + 3], HIGH_PAIRS);
        r[i] = SHUFFLE(a, c, LOW_PAIRS), r[i + 1] = SHUFFLE(a, c, HIGH_PAIRS);
        r[i + 2] = SHUFFLE(b, d, LOW_PAIRS), r[i + 3] = SHUFFLE(b, d, HIGH_PAIRS);
    }
#if LANES >= 8
    UNROLL for (int i = 0; i < LANES; i++) {
        if (i & 4) continue;
        vec a = r[i], b = r[i + 4];
        r[i] = SHUFFLE(a, b, EVEN_4), r[i + 4] = SHUFFLE(a, b, ODD_4);
    }
#endif
#if LANES >= 16
    UNROLL for (int i = 0; i < 8; i++) {
        vec a = r[i], b = r[i + 8];
        r[i] = SHUFFLE(a, b, EVEN_8), r[i + 8] = SHUFFLE(a, b, ODD_8);
    }
#endif
}

#endif
