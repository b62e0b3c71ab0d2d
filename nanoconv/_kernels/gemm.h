/* The matrix product behind every convolution that is one.

       gemm:  C[m, n]  = bias[n] + Σ_k A[m, k]·B[k, n]     or, without a bias,  C[m, n] += Σ_k …
       dots:  C[m, n]  = bias[n] + Σ_k A[m, k]·B[n, k]     for very few rows m

   layout   A is read one float at a time and may have any two strides. B is packed first, into
            panels of up to PANEL vectors, zeros filling the last one:

                 n0 ··· n23      n24 ··· n47    ← columns of B, here PANEL·LANES = 24 of them
            k=0  ▸▸▸▸▸▸▸▸▸▸      ▸▸▸▸▸▸▸▸▸▸
            k=1  ▸▸▸▸▸▸▸▸▸▸      ▸▸▸▸▸▸▸▸▸▸     each panel lies in memory in one piece,
             …   panel 0         panel 1        in the order in which a tile reads it

            C has contiguous rows, ldc floats apart.
   loops    blocks of 96 rows → blocks of 256 k → panels → tiles
   tile     R rows × V vectors of C stay in registers. For one k it loads V vectors of B, takes R
            floats of A, each into all lanes of a register, and does R·V multiply-adds:

                         B[k, ·]   ▪▪▪▪▪▪▪▪ ▪▪▪▪▪▪▪▪ ▪▪▪▪▪▪▪▪      V = 3
            A[m, k]  ▪   C[m, ·]   ▪▪▪▪▪▪▪▪ ▪▪▪▪▪▪▪▪ ▪▪▪▪▪▪▪▪
                     ▪             ▪▪▪▪▪▪▪▪ ▪▪▪▪▪▪▪▪ ▪▪▪▪▪▪▪▪      R = 4: 12 sums, 3 of B and 1 of A
                     ▪             ▪▪▪▪▪▪▪▪ ▪▪▪▪▪▪▪▪ ▪▪▪▪▪▪▪▪      fill 16 registers of 8 floats
                     ▪             ▪▪▪▪▪▪▪▪ ▪▪▪▪▪▪▪▪ ▪▪▪▪▪▪▪▪
   why      A multiply-add every half cycle needs its operands in registers: 4 × 3 needs 7 loads
            for 12 of them, where the machine can do 12. A panel of 256 k (24 KB) stays in the L1
            cache while the tiles walk down the rows, the rows (96 KB) in L2 while the panels
            pass. Rows and panels are cut into nearly equal parts (49 rows are 12 tiles of 4 and
            3 rows, never one row left alone), so there is a tile for every R and V.

   Each C[m, n] is one chain of multiply-adds in the order of k, whatever the tile and the block:
   the result does not depend on how the work is split. */
#ifndef NANOCONV_GEMM_H
#define NANOCONV_GEMM_H

#include "simd.h"

#define ROW_BLOCK 96
#define K_BLOCK 256

/* PIECE, PANEL, and TILE(R, V) for every tile whose sums, one row of B and one broadcast fit. */
#define ROWS_4(V) TILE(1, V) TILE(2, V) TILE(3, V) TILE(4, V)
#define ROWS_6(V) ROWS_4(V) TILE(5, V) TILE(6, V)
#define ROWS_8(V) ROWS_6(V) TILE(7, V) TILE(8, V)
#define ROWS_12(V) ROWS_8(V) TILE(9, V) TILE(10, V) TILE(11, V) TILE(12, V)
#define ROWS_16(V) ROWS_12(V) TILE(13, V) TILE(14, V) TILE(15, V) TILE(16, V)
#define MOST_TILE_ROWS 16
#if REGISTERS >= 32
#define PANEL 4
#define ALL_TILES ROWS_16(1) ROWS_12(2) ROWS_8(3) ROWS_6(4)
static const int TILE_ROWS[PANEL + 1] = {0, 16, 12, 8, 6};
#define PIECE 10240 /* floats of a panel that stay in L1, of 48 KB, while several tiles read them */
#else
#define PANEL 3
#define ALL_TILES ROWS_12(1) ROWS_6(2) ROWS_4(3)
static const int TILE_ROWS[PANEL + 1] = {0, 12, 6, 4};
#define PIECE 7168 /* of 32 KB */
#endif
#define MOST_FLOATS (24 * LANES) /* in any tile: 12 x 2 and 8 x 3, 6 x 4 vectors */

typedef void tile_function(float *c, ptrdiff_t ldc, const float *start, ptrdiff_t start_rows,
                           const float *a, ptrdiff_t a_rows, ptrdiff_t a_cols, const float *b,
                           ptrdiff_t ldb, ptrdiff_t K);

/* C = start + A·B for R rows and V whole vectors. */
static ALWAYS_INLINE void tile(const int R, const int V, float *c, ptrdiff_t ldc,
                               const float *start, ptrdiff_t start_rows, const float *a,
                               ptrdiff_t a_rows, ptrdiff_t a_cols, const float *b, ptrdiff_t ldb,
                               ptrdiff_t K) {
    vec sum[MOST_TILE_ROWS][PANEL];
    UNROLL for (int m = 0; m < R; m++)
        UNROLL for (int v = 0; v < V; v++) sum[m][v] = load(start + m * start_rows + v * LANES);

    /* One pointer for 4 rows, advanced with k: the addressing modes reach the other three. With one
       per row the compiler runs out of registers and fetches the pointers from memory, too. */
    const float *a4[MOST_TILE_ROWS / 4];
    UNROLL for (int q = 0; 4 * q < R; q++) {
        a4[q] = a + 4 * q * a_rows;
        OPAQUE(a4[q]);
    }
    for (ptrdiff_t k = 0; k < K; k++) {
        vec row[PANEL];
        UNROLL for (int v = 0; v < V; v++) row[v] = load(b + v * LANES);
        UNROLL for (int m = 0; m < R; m++) {
            vec factor = splat(a4[m / 4][m % 4 * a_rows]);
            UNROLL for (int v = 0; v < V; v++) sum[m][v] += factor * row[v];
        }
        UNROLL for (int q = 0; 4 * q < R; q++) a4[q] += a_cols;
        b += ldb;
    }
    UNROLL for (int m = 0; m < R; m++)
        UNROLL for (int v = 0; v < V; v++) store(c + m * ldc + v * LANES, sum[m][v]);
}

#define TILE(R, V)                                                                               \
    static NOINLINE void tile_##R##x##V(float *c, ptrdiff_t ldc, const float *start,             \
                                        ptrdiff_t start_rows, const float *a, ptrdiff_t a_rows,  \
                                        ptrdiff_t a_cols, const float *b, ptrdiff_t ldb,         \
                                        ptrdiff_t K) {                                           \
        tile(R, V, c, ldc, start, start_rows, a, a_rows, a_cols, b, ldb, K);                     \
    }
ALL_TILES
#undef TILE
#define TILE(R, V) [V][R] = tile_##R##x##V,
static tile_function *const TILES[PANEL + 1][MOST_TILE_ROWS + 1] = {ALL_TILES};
#undef TILE

/* ------------------------------------------------------------------------------ panels */

static inline ptrdiff_t ceil_div(ptrdiff_t a, ptrdiff_t b) { return (a + b - 1) / b; }

/* N rounded up to whole vectors: the columns of B when packed, and the length of the bias. */
static inline ptrdiff_t whole_vectors(ptrdiff_t N) { return ceil_div(N, LANES) * LANES; }

static inline ptrdiff_t panel_count(ptrdiff_t N) { return ceil_div(N, PANEL * LANES); }

/* The first column of panel p; that of the panel behind the last is whole_vectors(N). */
static inline ptrdiff_t panel_begin(ptrdiff_t p, ptrdiff_t N) {
    return p * ceil_div(N, LANES) / panel_count(N) * LANES;
}

static ALWAYS_INLINE void copy_vectors(const int V, float *packed, const float *b, ptrdiff_t ldb,
                                       ptrdiff_t K) {
    for (ptrdiff_t k = 0; k < K; k++)
        UNROLL for (int v = 0; v < V; v++)
            store(packed + (k * V + v) * LANES, load(b + k * ldb + v * LANES));
}

/* Packs the panels first ≤ p < last of B[k, n] = b[k·ldb + n]; the first stands at `packed`. */
static void pack_rows(float *packed, const float *b, ptrdiff_t ldb, ptrdiff_t N, ptrdiff_t K,
                      ptrdiff_t first, ptrdiff_t last) {
    for (ptrdiff_t p = first; p < last; p++) {
        ptrdiff_t n = panel_begin(p, N), width = panel_begin(p + 1, N) - n;
        float *panel = packed + (n - panel_begin(first, N)) * K;
        if (n + width > N) {
            for (ptrdiff_t k = 0; k < K; k++) {
                memcpy(panel + k * width, b + k * ldb + n, (N - n) * sizeof *b);
                memset(panel + k * width + N - n, 0, (width - (N - n)) * sizeof *b);
            }
        } else {
            switch (width / LANES) {
            case 1: copy_vectors(1, panel, b + n, ldb, K); break;
            case 2: copy_vectors(2, panel, b + n, ldb, K); break;
            case 3: copy_vectors(3, panel, b + n, ldb, K); break;
            default: copy_vectors(PANEL, panel, b + n, ldb, K);
            }
        }
    }
}

/* The same for B[k, n] = b[n·ldb + k], which is transposed on the way, LANES x LANES at a time. */
static void pack_columns(float *packed, const float *b, ptrdiff_t ldb, ptrdiff_t N, ptrdiff_t K,
                         ptrdiff_t first, ptrdiff_t last) {
    for (ptrdiff_t p = first; p < last; p++) {
        ptrdiff_t begin = panel_begin(p, N), end = panel_begin(p + 1, N), width = end - begin;
        for (ptrdiff_t n = begin; n < end; n += LANES) {
            float *to = packed + (begin - panel_begin(first, N)) * K + n - begin;
            ptrdiff_t k = 0;
            if (n + LANES <= N) {
                for (; k + LANES <= K; k += LANES) {
                    vec square[LANES];
                    UNROLL for (int l = 0; l < LANES; l++) square[l] = load(b + (n + l) * ldb + k);
                    transpose(square);
                    UNROLL for (int l = 0; l < LANES; l++) store(to + (k + l) * width, square[l]);
                }
            }
            for (; k < K; k++)
                for (int l = 0; l < LANES; l++)
                    to[k * width + l] = n + l < N ? b[(n + l) * ldb + k] : 0;
        }
    }
}

/* ------------------------------------------------------------------------------ products */

typedef struct {
    float *c;
    ptrdiff_t ldc;
    const float *a;
    ptrdiff_t a_rows, a_cols;
    const float *packed, *bias;
    ptrdiff_t N, K, first; /* `packed` begins with panel `first` */
} product;

/* Rows m0 ≤ m < m1 of panel p, with the part k0 ≤ k < k1 of the sum. */
static void panel_tiles(const product *of, ptrdiff_t p, ptrdiff_t m0, ptrdiff_t m1, ptrdiff_t k0,
                        ptrdiff_t k1) {
    ptrdiff_t n = panel_begin(p, of->N), width = panel_begin(p + 1, of->N) - n;
    ptrdiff_t columns = n + width > of->N ? of->N - n : width, ldc = of->ldc;
    const float *b = of->packed + (n - panel_begin(of->first, of->N)) * of->K + k0 * width;
    int from_bias = of->bias && k0 == 0;
    float edge[MOST_FLOATS] = {0}; /* the tile itself, where C has no room for its last vector */

    ptrdiff_t tiles = ceil_div(m1 - m0, TILE_ROWS[width / LANES]);
    for (ptrdiff_t t = 0; t < tiles; t++) {
        ptrdiff_t m = m0 + t * (m1 - m0) / tiles;
        ptrdiff_t rows = m0 + (t + 1) * (m1 - m0) / tiles - m;
        tile_function *add_product = TILES[width / LANES][rows];
        const float *a = of->a + m * of->a_rows + k0 * of->a_cols;
        float *c = of->c + m * ldc + n;
        if (columns == width) {
            add_product(c, ldc, from_bias ? of->bias + n : c, from_bias ? 0 : ldc, a, of->a_rows,
                        of->a_cols, b, width, k1 - k0);
        } else {
            for (ptrdiff_t r = 0; r < rows && !from_bias; r++)
                copy_floats(edge + r * width, c + r * ldc, columns);
            add_product(edge, width, from_bias ? of->bias + n : edge, from_bias ? 0 : width, a,
                        of->a_rows, of->a_cols, b, width, k1 - k0);
            for (ptrdiff_t r = 0; r < rows; r++)
                copy_floats(c + r * ldc, edge + r * width, columns);
        }
    }
}

/* M rows of C in the panels first ≤ p < last, which stand in `packed`; `bias` has whole_vectors(N)
   floats or is NULL. */
static void gemm(float *c, ptrdiff_t ldc, const float *a, ptrdiff_t a_rows, ptrdiff_t a_cols,
                 const float *packed, const float *bias, ptrdiff_t M, ptrdiff_t N, ptrdiff_t K,
                 ptrdiff_t first, ptrdiff_t last) {
    product of = {c, ldc, a, a_rows, a_cols, packed, bias, N, K, first};
    ptrdiff_t row_blocks = ceil_div(M, ROW_BLOCK), k_blocks = K ? ceil_div(K, K_BLOCK) : 1;
    for (ptrdiff_t i = 0; i < row_blocks; i++)
        for (ptrdiff_t j = 0; j < k_blocks; j++)
            for (ptrdiff_t p = first; p < last; p++)
                panel_tiles(&of, p, i * M / row_blocks, (i + 1) * M / row_blocks,
                            j * K / k_blocks, (j + 1) * K / k_blocks);
}

/* The columns n0 ≤ n < n1 of C for contiguous rows of A and of B: LANES dot products at a time,
   each in the lanes of one register. It reads B once, as it stands, which is all the time that a
   product with one row takes; packing B would read and write it first. */
static void dots(float *c, ptrdiff_t ldc, const float *a, const float *b, const float *bias,
                 ptrdiff_t M, ptrdiff_t K, ptrdiff_t n0, ptrdiff_t n1) {
    for (ptrdiff_t n = n0; n < n1; n += LANES) {
        ptrdiff_t columns = n1 - n < LANES ? n1 - n : LANES;
        for (ptrdiff_t m = 0; m < M; m++) {
            const float *row = a + m * K;
            vec sum[LANES];
            UNROLL for (int l = 0; l < LANES; l++) sum[l] = splat(0);
            ptrdiff_t k = 0;
            for (; k + LANES <= K; k += LANES)
                UNROLL for (int l = 0; l < LANES; l++) {
                    ptrdiff_t column = l < columns ? n + l : n; /* n, where none is left */
                    sum[l] += load(row + k) * load(b + column * K + k);
                }
            if (k < K)
                for (int l = 0; l < columns; l++)
                    sum[l] += load_first(row + k, K - k) * load_first(b + (n + l) * K + k, K - k);
            transpose(sum);
            vec total = sum[0];
            UNROLL for (int l = 1; l < LANES; l++) total += sum[l];
            for (ptrdiff_t l = 0; l < columns; l++) c[m * ldc + n + l] = total[l] + bias[n + l];
        }
    }
}

/* ------------------------------------------------------------------------------ the limit */

/* Multiply-adds per lane that `rounds` of this loop do: more independent sums than a register
   machine can have in flight, and no memory. What it takes is the peak that a tile is judged by. */
#define PEAK_SUMS 12
static NOINLINE ptrdiff_t peak_loop(ptrdiff_t rounds) {
    vec sum[PEAK_SUMS], factor = splat(0.5f), term = splat(1.0f);
    UNROLL for (int i = 0; i < PEAK_SUMS; i++) sum[i] = splat(0);
    for (ptrdiff_t r = 0; r < rounds; r++)
        UNROLL for (int i = 0; i < PEAK_SUMS; i++) {
            sum[i] = sum[i] * factor + term;
            OPAQUE_VEC(sum[i]);
        }
    return rounds * PEAK_SUMS * LANES;
}

#endif
