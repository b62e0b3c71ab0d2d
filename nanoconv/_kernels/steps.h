/* All kernels that a plan may be made of, by name. */
#ifndef NANOCONV_STEPS_H
#define NANOCONV_STEPS_H

#include "band_steps.h"
#include "conv_steps.h"
#include "depthwise_rows.h"
#include "layout_steps.h"
#include "linear_step.h"
#include "map_steps.h"
#include "pool_steps.h"
#include "run.h"
#include "winograd.h"

typedef struct {
    const char *name;
    step_function *run;
} named_step;

static const named_step STEPS[] = {
#define STEP(name) {#name, name##_step},
    STEP(band) STEP(conv) STEP(winograd2) STEP(winograd4) STEP(depthwise)
    STEP(linear) STEP(max_pool) STEP(window_max) STEP(window_mean)
    STEP(global_pool) STEP(add) STEP(sub) STEP(mul)
    STEP(div) STEP(max) STEP(min) STEP(scale)
    STEP(shift) STEP(affine) STEP(map)
    STEP(softmax) STEP(log_softmax) STEP(resize) STEP(copy)
    STEP(planes_to_image) STEP(image_to_planes)
#undef STEP
};

static step_function *step_named(const char *name) {
    for (size_t i = 0; i < sizeof STEPS / sizeof *STEPS; i++)
        if (!strcmp(STEPS[i].name, name)) return STEPS[i].run;
    return NULL;
}

/* What other modules call: steps_cy.pxd says with what arguments. */
typedef struct {
    __typeof__(step_named) *step_named;
    __typeof__(band_memory) *band_memory;
    __typeof__(conv_blocks) *conv_blocks;
    __typeof__(depthwise_rows) *depthwise_rows;
    __typeof__(gemm) *gemm;
    __typeof__(pack_rows) *pack_rows;
    __typeof__(pack_columns) *pack_columns;
} kernels;

static const kernels KERNELS = {
    step_named, band_memory, conv_blocks, depthwise_rows, gemm, pack_rows, pack_columns,
};

#endif
