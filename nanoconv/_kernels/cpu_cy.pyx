"""What this CPU, this operating system and this build can do; compiled for the oldest CPU."""

cdef extern from *:
    """
    #if defined(__x86_64__)
    #include <cpuid.h>
    /* __builtin_cpu_supports includes XCR0: whether the operating system keeps the registers. */
    #define HAS(feature) (__builtin_cpu_supports(feature) != 0)
    static int has_baseline(void) {
        __builtin_cpu_init();
        return HAS("sse4.2") && HAS("popcnt");
    }
    /* The rest of x86-64-v3: older compilers have no names for these. */
    static int has_movbe_f16c_lzcnt(void) {
        unsigned int a, b, c, d, e;
        return __get_cpuid(1, &a, &b, &c, &d) && __get_cpuid(0x80000001, &a, &b, &e, &d)
            && (c & bit_MOVBE) && (c & bit_F16C) && (e & 1 << 5);
    }
    static int has_avx2(void) {
        return has_baseline() && HAS("avx2") && HAS("fma") && HAS("bmi") && HAS("bmi2")
            && has_movbe_f16c_lzcnt();
    }
    static int has_avx512(void) {
        return has_avx2() && HAS("avx512f") && HAS("avx512bw") && HAS("avx512cd")
            && HAS("avx512dq") && HAS("avx512vl");
    }
    static int has_neon(void) { return 0; }
    #else
    static int has_baseline(void) { return 1; }
    static int has_avx2(void) { return 0; }
    static int has_avx512(void) { return 0; }
    #if defined(__aarch64__)
    static int has_neon(void) { return 1; }
    #else
    static int has_neon(void) { return 0; }
    #endif
    #endif

    /* The call has the library loaded with this module, when the package has set it up. */
    #ifdef __clang__
    static const char *const compiler_name = __VERSION__;
    #else
    static const char *const compiler_name = "GCC " __VERSION__;
    #endif

    #ifdef _OPENMP
    #include <omp.h>
    static long openmp_version(void) { return omp_get_max_threads() > 0 ? _OPENMP : 0; }
    #else
    static long openmp_version(void) { return 0; }
    #endif
    """
    bint has_baseline()
    bint has_avx2()
    bint has_avx512()
    bint has_neon()
    const char* compiler_name
    long openmp_version()


def supported():
    """The instruction-set levels that this machine can run, best first."""
    levels = []
    if has_avx512():
        levels.append("avx512")
    if has_avx2():
        levels.append("avx2")
    if has_neon():
        levels.append("neon")
    if has_baseline():
        levels.append("baseline")
    return tuple(levels)


def openmp():
    """The OpenMP version as `_OPENMP` has it (a year and a month), or 0 without OpenMP."""
    return openmp_version()


def compiler():
    """The compiler that built the kernels, with its version."""
    return compiler_name.decode()
