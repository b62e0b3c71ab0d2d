/* One convolution ten times over, each time with one idea more: the ladder of docs/one_op.md.

       y[i, j, o] = relu(b[o] + Σ_{u,v,c} x[i + u − 1, j + v − 1, c]·w[u, v, c, o])

   layout   x is [H][W][C], or the same within a halo of zeros; y is [H][W][O]. Weights are
            [u][v][c][O], or in panels of WIDTH output channels, [O / WIDTH][u][v][c][WIDTH]; and
            the last three functions, which are the package's, read them as the package packs them
   loops    rows of pixels → panels → tiles, once there are tiles
   tile     up to MOST pixels × VECTORS vectors of output channels
   why      each function differs from the one before it in one thing, so that the difference of
            their times is what that thing buys. Compiled by one_conv.py, for this benchmark only. */
#include <math.h>

#include "conv_steps.h"
#include "run.h"
#include "winograd.h"

#if REGISTERS >= 32
#define VECTORS 4 /* 6 × 4 sums, 4 of w and 1 of x: 29 registers */
#else
#define VECTORS 2 /* 6 × 2 sums, 2 of w and 1 of x: 15 registers */
#endif
#define MOST 6
#define TOO_MANY 8 /* 8 × 4 sums alone are all registers */
#define TALL 12    /* pixels of a tile of one vector */
#define WIDTH (VECTORS * LANES)
#define TEXT(macro) #macro
#define BY(R, V) #R " pixels × " TEXT(V) " vectors"

typedef struct {
    ptrdiff_t C, O, H, W;
    const float *x, *halo; /* the image, and the upper left corner of it in its halo */
    const float *w, *panels, *dense, *u2, *u4, *b;
    float *y, *scratch;
} layer;

/* The activation as a pass of its own: y is read from memory and written again. */
static void relu_pass(const layer *of) {
    float *y = of->y;
    for (ptrdiff_t k = 0; k < of->H * of->W * of->O; k += LANES)
        store(y + k, more(splat(0), load(y + k)));
}

/* ------------------------------------------------------------------------------ without tiles */

static void literal_loops(const layer *of) {
    ptrdiff_t C = of->C, O = of->O, H = of->H, W = of->W;
    const float *x = of->x, *w = of->w;
    for (ptrdiff_t i = 0; i < H; i++)
        for (ptrdiff_t j = 0; j < W; j++)
            for (ptrdiff_t o = 0; o < O; o++) {
                float sum = of->b[o];
                for (ptrdiff_t u = 0; u < 3; u++)
                    for (ptrdiff_t v = 0; v < 3; v++) {
                        ptrdiff_t h = i + u - 1, q = j + v - 1;
                        if (h < 0 || h >= H || q < 0 || q >= W) continue;
                        for (ptrdiff_t c = 0; c < C; c++)
                            sum += x[(h * W + q) * C + c] * w[((u * 3 + v) * C + c) * O + o];
                    }
                of->y[(i * W + j) * O + o] = sum;
            }
    relu_pass(of);
}

/* LANES output channels at once. */
static void one_vector(const layer *of) {
    ptrdiff_t C = of->C, O = of->O, H = of->H, W = of->W;
    const float *x = of->x, *w = of->w;
    for (ptrdiff_t i = 0; i < H; i++)
        for (ptrdiff_t j = 0; j < W; j++)
            for (ptrdiff_t o = 0; o < O; o += LANES) {
                vec sum = load(of->b + o);
                for (ptrdiff_t u = 0; u < 3; u++)
                    for (ptrdiff_t v = 0; v < 3; v++) {
                        ptrdiff_t h = i + u - 1, q = j + v - 1;
                        if (h < 0 || h >= H || q < 0 || q >= W) continue;
                        for (ptrdiff_t c = 0; c < C; c++) {
                            vec factor = splat(x[(h * W + q) * C + c]);
                            sum += factor * load(w + ((u * 3 + v) * C + c) * O + o);
                        }
                    }
                store(of->y + (i * W + j) * O + o, sum);
            }
    relu_pass(of);
}

/* ------------------------------------------------------------------------------ the tile */

/* What a pixel sees: `segments` runs of K floats, x_row apart; the next pixel's are x_step on. */
typedef struct {
    ptrdiff_t x_step, x_row, segments, K, y_step;
} sight;

static ALWAYS_INLINE void a_tile(const int R, const int V, const int relu, const sight *of,
                                 float *y, const float *x, const float *w, const float *b) {
    vec sum[TALL][VECTORS];
    UNROLL for (int m = 0; m < R; m++)
        UNROLL for (int v = 0; v < V; v++) sum[m][v] = load(b + v * LANES);
    for (ptrdiff_t q = 0; q < of->segments; q++, x += of->x_row)
        for (ptrdiff_t k = 0; k < of->K; k++) {
            vec row[VECTORS];
            UNROLL for (int v = 0; v < V; v++) row[v] = load(w + v * LANES);
            w += WIDTH;
            UNROLL for (int m = 0; m < R; m++) {
                vec factor = splat(x[m * of->x_step + k]);
                UNROLL for (int v = 0; v < V; v++) sum[m][v] += factor * row[v];
            }
        }
    UNROLL for (int m = 0; m < R; m++)
        UNROLL for (int v = 0; v < V; v++) {
            if (relu) sum[m][v] = more(splat(0), sum[m][v]);
            store(y + m * of->y_step + v * LANES, sum[m][v]);
        }
}

typedef void a_tile_function(const sight *, float *, const float *, const float *, const float *);
#define MAKE(name, R, V, relu)                                                                   \
    static NOINLINE void name##R(const sight *of, float *y, const float *x, const float *w,      \
                                 const float *b) {                                               \
        a_tile(R, V, relu, of, y, x, w, b);                                                      \
    }
#define TALL_ONE(R) MAKE(tall_, R, 1, 0)
#define WIDE_ONE(R) MAKE(wide_, R, VECTORS, 0) MAKE(fused_, R, VECTORS, 1)
#define ONE_TO_6(DO) DO(1) DO(2) DO(3) DO(4) DO(5) DO(6)
TALL_ONE(1) TALL_ONE(12) ONE_TO_6(WIDE_ONE) MAKE(wide_, 8, VECTORS, 0)

/* Tiles by their number of pixels; their vectors; the most pixels. */
typedef struct {
    a_tile_function *of[TALL + 1];
    ptrdiff_t V, most;
} tile_set;
static const tile_set TALL_TILES = {{[1] = tall_1, [12] = tall_12}, 1, TALL};
static const tile_set LARGE_TILES = {{[1] = wide_1, [8] = wide_8}, VECTORS, TOO_MANY};
#define ENTRY(R) [R] = wide_##R,
static const tile_set WIDE_TILES = {{ONE_TO_6(ENTRY)}, VECTORS, MOST};
#undef ENTRY
#define ENTRY(R) [R] = fused_##R,
static const tile_set FUSED_TILES = {{ONE_TO_6(ENTRY)}, VECTORS, MOST};

typedef void cut_function(const tile_set *tiles, const sight *s, float *y, const float *x,
                          const float *w, const float *b, ptrdiff_t pixels);

/* Tiles of the most pixels, and what is left over one by one. */
static void with_rest(const tile_set *tiles, const sight *s, float *y, const float *x,
                      const float *w, const float *b, ptrdiff_t pixels) {
    for (ptrdiff_t m = 0, R; m < pixels; m += R) {
        R = pixels - m >= tiles->most ? tiles->most : 1;
        tiles->of[R](s, y + m * s->y_step, x + m * s->x_step, w, b);
    }
}

/* The same in nearly equal tiles. */
static void balanced(const tile_set *tiles, const sight *s, float *y, const float *x,
                     const float *w, const float *b, ptrdiff_t pixels) {
    ptrdiff_t count = ceil_div(pixels, tiles->most);
    for (ptrdiff_t t = 0; t < count; t++) {
        ptrdiff_t m = t * pixels / count, R = (t + 1) * pixels / count - m;
        tiles->of[R](s, y + m * s->y_step, x + m * s->x_step, w, b);
    }
}

/* What the pixels of row i see, copied: for each one 9·C floats, zeros for what is outside. */
static void im2col_row(float *to, const layer *of, ptrdiff_t i) {
    ptrdiff_t C = of->C, H = of->H, W = of->W;
    for (ptrdiff_t j = 0; j < W; j++)
        for (ptrdiff_t u = 0; u < 3; u++)
            for (ptrdiff_t v = 0; v < 3; v++, to += C) {
                ptrdiff_t h = i + u - 1, q = j + v - 1;
                if (h < 0 || h >= H || q < 0 || q >= W)
                    clear(to, C);
                else
                    copy_floats(to, of->x + (h * W + q) * C, C);
            }
}

/* All rows of pixels, and for each the vectors of output channels. */
static ALWAYS_INLINE void all_rows(const layer *of, const tile_set *tiles, cut_function *cut,
                                   const int has_halo) {
    ptrdiff_t C = of->C, O = of->O, W = of->W, x_row = (W + 2) * C;
    sight copied = {.x_step = 9 * C, .segments = 1, .K = 9 * C, .y_step = O};
    sight in_place = {.x_step = C, .x_row = x_row, .segments = 3, .K = 3 * C, .y_step = O};
    for (ptrdiff_t i = 0; i < of->H; i++) {
        if (!has_halo) im2col_row(of->scratch, of, i);
        const float *x = has_halo ? of->halo + i * x_row : of->scratch;
        for (ptrdiff_t n = 0; n < O; n += tiles->V * LANES)
            cut(tiles, has_halo ? &in_place : &copied, of->y + i * W * O + n, x,
                of->panels + n / WIDTH * WIDTH * 9 * C + n % WIDTH, of->b + n, W);
    }
}

static void tall_tile(const layer *of) {
    all_rows(of, &TALL_TILES, with_rest, 0);
    relu_pass(of);
}
static void large_tile(const layer *of) {
    all_rows(of, &LARGE_TILES, with_rest, 0);
    relu_pass(of);
}
static void tile_that_fits(const layer *of) {
    all_rows(of, &WIDE_TILES, with_rest, 0);
    relu_pass(of);
}
static void balanced_rows(const layer *of) {
    all_rows(of, &WIDE_TILES, balanced, 0);
    relu_pass(of);
}
static void with_halo(const layer *of) {
    all_rows(of, &WIDE_TILES, balanced, 1);
    relu_pass(of);
}
static void fused_epilogue(const layer *of) { all_rows(of, &FUSED_TILES, balanced, 1); }

/* ------------------------------------------------------------------------------ the package's */

static step step_of(const layer *of, const float *w, ptrdiff_t K) {
    ptrdiff_t C = of->C, O = of->O, H = of->H, W = of->W, x_row = (W + 2) * C;
    return (step){
        .x = {(float *)of->halo + x_row + C, H, W, C, C, x_row, 1, 1, 1, 1},
        .y = {of->y, H, W, O, O, W * O, 0, 0, 0, 0},
        .of = {3, 3, 1, 1, 1, 1, 1, 1, 1},
        .w = w, .b = of->b, .scratch = of->scratch, .K = K,
        .activation = CLAMP, .low = 0, .high = INFINITY,
    };
}

/* conv_step, whose first block of rows fetches no weights. */
static void without_prefetching(const layer *of) {
    step s = step_of(of, of->dense, 3 * of->C);
    conv_rows at = {.x = of->halo, .y = of->y, .x_row = s.x.row, .y_row = s.y.row, .W = of->W};
    ptrdiff_t pixels = of->H * of->W, rows = larger(1, BLOCK / of->W) * of->W;
    for (ptrdiff_t p = 0; p < pixels; p += rows)
        conv_block(&s, &at, 0, p, smaller(pixels, p + rows), 0, vectors(of->O), 0);
}
static void package_conv(const layer *of) {
    step s = step_of(of, of->dense, 3 * of->C);
    conv_step(&s, 0, 1);
}
static void winograd_2(const layer *of) {
    step s = step_of(of, of->u2, of->C);
    winograd2_step(&s, 0, 1);
}
static void winograd_4(const layer *of) {
    step s = step_of(of, of->u4, of->C);
    winograd4_step(&s, 0, 1);
}

/* ------------------------------------------------------------------------------ for one_conv.py */

typedef struct {
    const char *name;
    void (*run)(const layer *);
} variant;
static const variant VARIANTS[] = {
    {"literal loops", literal_loops},
    {"a vector of output channels", one_vector},
    {"12 pixels × 1 vector", tall_tile},
    {BY(8, VECTORS), large_tile},
    {BY(6, VECTORS), tile_that_fits},
    {"balanced rows", balanced_rows},
    {"halo, no im2col", with_halo},
    {"relu in the tile", fused_epilogue},
    {"blocks of rows", without_prefetching},
    {"prefetching", package_conv},
    {"Winograd F(2×2, 3×3)", winograd_2},
    {"Winograd F(4×4, 3×3)", winograd_4},
};

const char *name_of(int k) {
    return k < (int)(sizeof VARIANTS / sizeof *VARIANTS) ? VARIANTS[k].name : NULL;
}
int lanes(void) { return LANES; }
int registers(void) { return REGISTERS; }
int width(void) { return WIDTH; }

ptrdiff_t scratch_floats(const layer *of) {
    ptrdiff_t two = winograd_scratch(2, of->C, of->O, of->H, of->W, 1);
    ptrdiff_t four = winograd_scratch(4, of->C, of->O, of->H, of->W, 1);
    return larger(of->W * 9 * of->C, larger(two, four));
}

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + 1e-9 * t.tv_nsec;
}

/* The seconds of one run. With n > 0, as many floats of `others` are read before, which takes the
   weights out of the cache, and then the image, which a net's last layer would have left there. */
double seconds(int k, const layer *of, const float *others, ptrdiff_t n) {
    if (n) {
        sum_of(others, n);
        sum_of(of->halo, (of->H + 2) * (of->W + 2) * of->C / (8 * LANES) * (8 * LANES));
    }
    double begin = now();
    VARIANTS[k].run(of);
    return now() - begin;
}

/* GFLOP/s of multiply-adds alone. */
double peak(void) {
    double begin = now();
    ptrdiff_t done = peak_loop(20000);
    return 2e-9 * done / (now() - begin);
}
