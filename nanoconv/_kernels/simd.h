/* One register full of floats, on whatever machine this is compiled for.

   The only file that names an instruction set: it turns the compiler's own macros into two numbers,
   LANES (floats per register) and REGISTERS (how many there are), and everything else is written
   in these, with the vector extensions of GCC and Clang. `a * b + c` on vectors becomes one fused
   multiply-add where the machine has it. */
#ifndef NANOCONV_SIMD_H
#define NANOCONV_SIMD_H

#include <stddef.h>
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

/* a in the lanes where the mask is set, as it is by a comparison; b in the others. */
typedef int int_vec __attribute__((vector_size(4 * LANES)));
static ALWAYS_INLINE vec pick(int_vec mask, vec a, vec b) {
    return (vec)(((int_vec)a & mask) | ((int_vec)b & ~mask));
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
