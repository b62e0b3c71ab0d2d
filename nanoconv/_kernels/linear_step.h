/* A linear layer of one image: a matrix times a vector, each weight read once and never again.

       y[o] = activation(b[o] + Σ_k x[k]·w[k, o])

   layout   x is K floats; w is packed into panels of up to PANEL_VECTORS vectors of outputs, each
            in one piece of memory, in the order in which it is read:

                 o0 ··· o127     o128 ···
            k=0  ▸▸▸▸▸▸▸▸▸▸      ▸▸▸▸▸▸▸▸▸▸
            k=1  ▸▸▸▸▸▸▸▸▸▸      ▸▸▸▸▸▸▸▸▸▸
             …   panel 0         panel 1

   loops    panels, k
   tile     the outputs of a panel, one vector each in registers. Two threads may share a panel, of
            which each then reads some vectors
   why      a layer takes as long as its weights take to arrive from memory: a panel is one stream,
            which the machine sees coming, and has sums enough that no multiply-add waits for the
            one before. Each output is one chain of multiply-adds in the order of k */
#ifndef NANOCONV_LINEAR_STEP_H
#define NANOCONV_LINEAR_STEP_H

#include "epilogue.h"
#include "step.h"

#define PANEL_VECTORS 8

/* The vectors of O outputs are cut into panels of nearly equal width, of which panel p begins with
   vector linear_panel(O, p). Packed weights are those of panel 0, its K rows one behind the other,
   then those of panel 1 …; in NumPy, of w (K, whole vectors) and V = whole vectors / LANES:

       begin = [V * p // panels * LANES for p in range(panels + 1)]      panels = ⌈V / 8⌉
       packed = concatenate([w[:, i:j].ravel() for i, j in pairwise(begin)])                  */
static inline ptrdiff_t linear_panels(ptrdiff_t O) {
    return (vectors(O) + PANEL_VECTORS - 1) / PANEL_VECTORS;
}
static inline ptrdiff_t linear_panel(ptrdiff_t O, ptrdiff_t p) {
    return share(vectors(O), p, linear_panels(O));
}

/* The same, of panel p of w (O, K), a square of LANES outputs and LANES k at a time. */
static void linear_weights(float *packed, const float *w, ptrdiff_t O, ptrdiff_t K, ptrdiff_t p) {
    ptrdiff_t begin = linear_panel(O, p), end = linear_panel(O, p + 1);
    ptrdiff_t width = (end - begin) * LANES;
    for (ptrdiff_t v = begin; v < end; v++) {
        float *to = packed + begin * LANES * K + (v - begin) * LANES;
        for (ptrdiff_t k = 0; k < K; k += LANES) {
            ptrdiff_t count = smaller(LANES, K - k);
            vec square[LANES];
            UNROLL for (int l = 0; l < LANES; l++) {
                const float *from = w + smaller(v * LANES + l, O - 1) * K + k;
                square[l] = count == LANES ? load(from) : load_first(from, count);
                if (v * LANES + l >= O) square[l] = splat(0);
            }
            transpose(square);
            for (ptrdiff_t l = 0; l < count; l++) store(to + (k + l) * width, square[l]);
        }
    }
}

/* V vectors of outputs from `first` on, whose weights stand at w, in rows `width` floats apart. */
static ALWAYS_INLINE void linear_vectors(const step *s, const float *w, ptrdiff_t width,
                                         ptrdiff_t first, const int V) {
    const float *x = s->x.at;
    vec sum[PANEL_VECTORS];
    UNROLL for (int v = 0; v < V; v++) sum[v] = load(s->b + (first + v) * LANES);
    for (ptrdiff_t k = 0; k < s->K; k++, w += width) {
        vec factor = splat(x[k]);
        UNROLL for (int v = 0; v < V; v++) sum[v] += factor * load(w + v * LANES);
    }
    UNROLL for (int v = 0; v < V; v++) {
        vec value = activate(sum[v], s->activation, s->low, s->high);
        if (first + v == vectors(s->y.C) - 1) value = only(value, last_lanes(s->y.C));
        store(s->y.at + (first + v) * LANES, value);
    }
}

/* y, one pixel of y.C outputs, from the K floats from x.at on. */
static void linear_step(const step *s, ptrdiff_t t, ptrdiff_t T) {
    ptrdiff_t O = s->y.C, v = share(vectors(O), t, T), last = share(vectors(O), t + 1, T);
    for (ptrdiff_t p = 0; p < linear_panels(O); p++) {
        ptrdiff_t begin = linear_panel(O, p), end = linear_panel(O, p + 1);
        if (v >= end || v >= last) continue;
        const float *w = s->w + (begin * s->K + v - begin) * LANES;
        ptrdiff_t width = (end - begin) * LANES, V = smaller(end, last) - v;
        switch (V) {
        case 1: linear_vectors(s, w, width, v, 1); break;
        case 2: linear_vectors(s, w, width, v, 2); break;
        case 3: linear_vectors(s, w, width, v, 3); break;
        case 4: linear_vectors(s, w, width, v, 4); break;
        case 5: linear_vectors(s, w, width, v, 5); break;
        case 6: linear_vectors(s, w, width, v, 6); break;
        case 7: linear_vectors(s, w, width, v, 7); break;
        case 8: linear_vectors(s, w, width, v, 8); break;
        }
        v += V;
    }
    if (t == 0) clear_sides(&s->y, 0, 1);
}

#endif
