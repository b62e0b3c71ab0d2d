/* A linear layer of one image: a matrix times a vector, each weight read once and never again.

       y[o] = activation(b[o] + Σ_k x[k]·w[k, o])

   layout   x is K floats; w is packed into panels of up to PANEL_VECTORS vectors of outputs, each
            in one piece of memory, in the order in which it is read:

                 o0 ··· o127     o128 ···
            k=0  ▸▸▸▸▸▸▸▸▸▸      ▸▸▸▸▸▸▸▸▸▸
            k=1  ▸▸▸▸▸▸▸▸▸▸      ▸▸▸▸▸▸▸▸▸▸
             …   panel 0         panel 1

   loops    panels, which the threads share, and k
   tile     the outputs of a panel, one vector each in registers
   why      weights are read at the speed of memory or not at all: a panel is one stream, which the
            machine sees coming, and has sums enough that no multiply-add waits for another. Each
            output is one chain of multiply-adds in the order of k */
#ifndef NANOCONV_LINEAR_STEP_H
#define NANOCONV_LINEAR_STEP_H

#include "epilogue.h"
#include "step.h"

#define PANEL_VECTORS 8

/* The vectors of O outputs are cut into panels of nearly equal width; panel p begins with vector
   linear_panel(O, p), and linear_panel(O, linear_panels(O)) is how many there are. Packed weights
   are those of panel 0, its K rows of whole vectors, then those of panel 1 … */
static inline ptrdiff_t linear_panels(ptrdiff_t O) {
    return (vectors(O) + PANEL_VECTORS - 1) / PANEL_VECTORS;
}
static inline ptrdiff_t linear_panel(ptrdiff_t O, ptrdiff_t p) {
    return share(vectors(O), p, linear_panels(O));
}

static ALWAYS_INLINE void linear_vectors(const step *s, ptrdiff_t first, const int V) {
    const float *x = s->x.at, *w = s->w + first * s->K * LANES;
    vec sum[PANEL_VECTORS];
    UNROLL for (int v = 0; v < V; v++) sum[v] = load(s->b + (first + v) * LANES);
    for (ptrdiff_t k = 0; k < s->K; k++, w += V * LANES) {
        vec factor = splat(x[k]);
        UNROLL for (int v = 0; v < V; v++) sum[v] += factor * load(w + v * LANES);
    }
    UNROLL for (int v = 0; v < V; v++) {
        vec value = activate(sum[v], s->activation, s->low, s->high);
        if (first + v == vectors(s->y.C) - 1) value = only(value, last_lanes(s->y.C));
        store(s->y.at + (first + v) * LANES, value);
    }
}

/* x is the s->K floats from x.at on, y one pixel of y.C outputs. */
static void linear_step(const step *s, ptrdiff_t t, ptrdiff_t T) {
    ptrdiff_t O = s->y.C, panels = linear_panels(O);
    for (ptrdiff_t p = share(panels, t, T); p < share(panels, t + 1, T); p++) {
        ptrdiff_t first = linear_panel(O, p);
        switch (linear_panel(O, p + 1) - first) {
        case 1: linear_vectors(s, first, 1); break;
        case 2: linear_vectors(s, first, 2); break;
        case 3: linear_vectors(s, first, 3); break;
        case 4: linear_vectors(s, first, 4); break;
        case 5: linear_vectors(s, first, 5); break;
        case 6: linear_vectors(s, first, 6); break;
        case 7: linear_vectors(s, first, 7); break;
        case 8: linear_vectors(s, first, 8); break;
        }
    }
    if (t == 0) clear_sides(&s->y, 0, 1);
}

#endif
