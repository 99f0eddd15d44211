/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#include "qbench_internal.h"

#include <string.h>

/* Sizes: far beyond every cache; a piece is what one worker takes at a time. */
#define PIECE ((size_t)1 << 20)
enum { PIECES_EACH = 4, CACHE_TRIES = 2 };

const char *qbench_limit_name(qbench_limit limit)
{
  static const char *const names[] = {"dram_read", "dram_copy", "llc_read", "l2_read",
                                      "fp32_fma",  "fp16_fma",  "bf16_dot", "int8_dot"};
  return limit < QBENCH_LIMITS ? names[limit] : "none";
}

typedef struct {
  qbench_memory loops;
  double (*chains)(void);
  char *block;
  size_t bytes, streams, repeats;
  int tries;
} work;

static void chains_task(void *arg, size_t index, size_t worker)
{
  const work *w = arg;
  (void)index;
  (void)worker;
  w->chains();
}

static void read_task(void *arg, size_t index, size_t worker)
{
  const work *w = arg;
  (void)worker;
  w->loops.read(w->block + index * PIECE, PIECE, w->streams);
}

/* Each worker reads its own part again and again: half of a second-level cache. */
static void near_task(void *arg, size_t index, size_t worker)
{
  const work *w = arg;
  (void)index;
  for (size_t i = 0; i < w->repeats; i++)
    w->loops.read(w->block + worker * w->bytes, w->bytes, w->streams);
}

static void copy_task(void *arg, size_t index, size_t worker)
{
  const work *w = arg;
  (void)worker;
  w->loops.copy(w->block + w->bytes + index * PIECE, w->block + index * PIECE, PIECE);
}

/* Keeps the better of what was known and units / the least time of some runs, in 1e9 a second. */
static void keep(const ql_ctx *ctx, qbench_roofs *roofs, qbench_limit limit, ql_task task, work *w,
                 size_t count, double units)
{
  for (int i = 0; i < w->tries; i++) {
    const double start = qbench_now();
    ql_ctx_parallel_for(ctx, count, task, w);
    const double rate = units / (qbench_now() - start) * 1e-9;
    if (rate > roofs->value[limit])
      roofs->value[limit] = rate;
  }
}

static void measure_compute(const ql_ctx *ctx, qbench_roofs *roofs, int tries)
{
  qbench_loop loops[QBENCH_LOOPS];
  const size_t pieces = ql_ctx_workers(ctx) * PIECES_EACH;
  qbench_loops(ql_ctx_isa_name(ctx), loops);
  for (const qbench_loop *l = loops; l->run != NULL; l++) {
    work w = {.chains = l->run, .tries = tries};
    keep(ctx, roofs, l->limit, chains_task, &w, pieces, l->run() * (double)pieces);
  }
}

/* A second-level cache's half for each worker, and half of the last level shared by all. */
static void measure_caches(const ql_ctx *ctx, qbench_roofs *roofs, work *w, size_t block)
{
  const size_t workers = ql_ctx_workers(ctx), near = qbench_cache_bytes(2) / 2 / 1024 * 1024;
  const size_t half = qbench_cache_bytes(0) / 2, far = half > block / 4 ? block / 4 : half;
  w->bytes = near;
  w->repeats = 64;
  w->streams = 1;
  if (near != 0 && near * workers <= block)
    keep(ctx, roofs, QBENCH_L2_READ, near_task, w, workers * PIECES_EACH,
         (double)(near * w->repeats * workers * PIECES_EACH));
  for (; w->streams <= 4 && far >= PIECE; w->streams *= 4)
    keep(ctx, roofs, QBENCH_LLC_READ, read_task, w, far / PIECE, (double)(far / PIECE * PIECE));
}

static void measure_dram(const ql_ctx *ctx, qbench_roofs *roofs, work *w, size_t block)
{
  const size_t pieces = block / PIECE / 2 * 2;
  for (w->streams = 1; w->streams <= 4; w->streams *= 2)
    keep(ctx, roofs, QBENCH_DRAM_READ, read_task, w, pieces, (double)(pieces * PIECE));
  w->bytes = pieces / 2 * PIECE;
  keep(ctx, roofs, QBENCH_DRAM_COPY, copy_task, w, pieces / 2, (double)(pieces * PIECE));
}

void qbench_roofs_measure(const ql_ctx *ctx, qbench_roofs *roofs, void *block, size_t bytes,
                          int tries)
{
  work w = {.block = block, .tries = tries};
  qbench_memory_loops(ql_ctx_isa_name(ctx), &w.loops);
  measure_dram(ctx, roofs, &w, bytes);
  w.tries = tries * CACHE_TRIES;
  measure_caches(ctx, roofs, &w, bytes);
  measure_compute(ctx, roofs, w.tries);
}

/* Seconds that a limit allows for the row. */
static double allowed(const qbench_row *row, qbench_limit limit, double units)
{
  const double rate = limit < QBENCH_LIMITS ? row->roofs->value[limit] : 0;
  return rate > 0 ? units / rate * 1e-9 : 0;
}

qbench_limit qbench_binding(const qbench_row *row, double *fraction)
{
  const double memory = allowed(row, row->memory, row->bytes);
  const double core = allowed(row, row->core, row->operations * row->core_factor);
  const double bound = core > memory ? core : memory;
  *fraction = row->seconds > 0 ? bound / row->seconds : 0;
  return core > memory ? row->core : row->memory;
}
