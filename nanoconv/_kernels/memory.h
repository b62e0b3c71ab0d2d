/* Memory for what a plan reads again and again: its weights, its arena.

   why      a core finds the place of a page in a small table, the TLB. A network is thousands of
            pages of 4 KB, more than the table holds, and a page that is not in it costs a walk
            through memory; in a virtual machine through two tables at once. With pages of 2 MB all
            of it stays in the table: 3–6 % of a small network's time. Linux gives them where it can
            if it is asked; elsewhere, and where it has none, this is memory like any other. (The
            weights of a session that was loaded stay where its file is mapped, in small pages.) */
#ifndef NANOCONV_MEMORY_H
#define NANOCONV_MEMORY_H

#include <stdlib.h>
#include <string.h>
#ifdef __linux__
#include <sys/mman.h>
#endif

#define CACHE_LINE 64
#define LARGE_PAGE ((size_t)1 << 21)

/* Zeros, on whole cache lines, with one more line behind them; NULL if there is no memory. */
static void *zeros_in_memory(size_t size) {
    void *memory = NULL;
    size_t start = CACHE_LINE;
    size += CACHE_LINE;
    if (size > LARGE_PAGE / 2) {
        start = LARGE_PAGE;
        size = (size + LARGE_PAGE - 1) / LARGE_PAGE * LARGE_PAGE;
    }
    if (posix_memalign(&memory, start, size)) return NULL;
#ifdef MADV_HUGEPAGE
    if (start == LARGE_PAGE) madvise(memory, size, MADV_HUGEPAGE); /* a wish: it may be refused */
#endif
    return memset(memory, 0, size);
}

#endif
