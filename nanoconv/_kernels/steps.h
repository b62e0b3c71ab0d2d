/* All kernels that a plan may be made of, by name. */
#ifndef NANOCONV_STEPS_H
#define NANOCONV_STEPS_H

#include "conv_steps.h"
#include "run.h"

typedef struct {
    const char *name;
    step_function *run;
} named_step;

static const named_step STEPS[] = {
    {"conv", conv_step},
};

static step_function *step_named(const char *name) {
    for (size_t i = 0; i < sizeof STEPS / sizeof *STEPS; i++)
        if (!strcmp(STEPS[i].name, name)) return STEPS[i].run;
    return NULL;
}

#endif
