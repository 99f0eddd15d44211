/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */

/* Time of GPTQ on one linear layer from a ready Hessian: factorization and columns. Wall time, and
 * processor time for busy machines, the best of some runs; the share of the fp32 FMA peak that the
 * same run measures counts n k^2 + k^3 / 3 operations. Usage: bench_gptq [THREADS [ROWS COLS
 * [RUNS]]], by default 2 threads, 4096 x 4096 weights and 3 runs: 4 bits with zero points, groups
 * of 128, natural order. */

#include "qbench_internal.h"

#include <quantlib/quantlib.h>
#include <quantlib/threads.h>

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { CHUNK = 1024 };

typedef struct {
  double wall, processor;
} seconds;

static double read_clock(clockid_t id)
{
  struct timespec t;
  clock_gettime(id, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static seconds now(void)
{
  return (seconds){read_clock(CLOCK_MONOTONIC), read_clock(CLOCK_PROCESS_CPUTIME_ID)};
}

static void keep_least(seconds *best, seconds start, seconds end)
{
  const double wall = end.wall - start.wall, processor = end.processor - start.processor;
  best->wall = wall < best->wall ? wall : best->wall;
  best->processor = processor < best->processor ? processor : best->processor;
}

static void report(const char *what, seconds s, double operations, double peak)
{
  const double speed = operations / s.wall * 1e-9;
  printf("  %-8s %.3f s (processor %.3f s), %6.1f GFLOP/s, %2.0f %% of %.0f\n", what, s.wall,
         s.processor, speed, 100 * speed / peak, peak);
}

static void check(ql_status status, const ql_error *error, const char *what)
{
  if (status == QL_STATUS_OK)
    return;
  fprintf(stderr, "%s: %s\n", what, error->text);
  exit(1);
}

static float *numbers(size_t count, float factor, uint64_t *state)
{
  float *x = malloc(count * sizeof *x);
  if (x == NULL)
    exit(1);
  for (size_t i = 0; i < count; i++) {
    float sum = -2; /* about normal: the sum of four uniform numbers */
    for (int k = 0; k < 4; k++) {
      *state = *state * 6364136223846793005u + 1442695040888963407u;
      sum += (float)(*state >> 40) * 0x1p-24f;
    }
    x[i] = factor * sum;
  }
  return x;
}

/* Twice as many tokens as columns, so that the Hessian has full rank. */
static ql_stats *hessian(const ql_ctx *ctx, size_t cols, uint64_t *state)
{
  ql_error error = QL_ERROR_INIT;
  ql_stats_config gather = QL_STATS_CONFIG_INIT;
  ql_stats *stats = NULL;
  gather.cols = cols;
  check(ql_stats_create(ctx, &gather, &stats, &error), &error, "statistics");
  for (size_t tokens = 0; tokens < 2 * cols; tokens += CHUNK) {
    ql_tensor t;
    float *x = numbers(CHUNK * cols, 1, state);
    check(ql_tensor_init_2d(&t, x, QL_DTYPE_F32, CHUNK, cols), &error, "inputs");
    check(ql_stats_update(ctx, stats, &t, CHUNK, &error), &error, "statistics");
    free(x);
  }
  return stats;
}

static void run_chains(void *arg, size_t index, size_t worker)
{
  const qbench_loop *loop = arg;
  (void)index;
  (void)worker;
  loop->run();
}

/* GFLOP/s of fused multiply-adds in f32 on all threads, the best of some runs. */
static double fma_peak(const ql_ctx *ctx)
{
  qbench_loop loops[QBENCH_LOOPS], *loop = loops;
  const size_t pieces = ql_ctx_workers(ctx) * 4;
  double best = 0;
  qbench_loops(ql_ctx_isa_name(ctx), loops);
  while (loop->run != NULL && loop->limit != QBENCH_FP32_FMA)
    loop++;
  for (int i = 0; loop->run != NULL && i < 5; i++) {
    const double operations = loop->run() * (double)pieces, start = read_clock(CLOCK_MONOTONIC);
    ql_ctx_parallel_for(ctx, pieces, run_chains, loop);
    const double rate = operations / (read_clock(CLOCK_MONOTONIC) - start) * 1e-9;
    best = rate > best ? rate : best;
  }
  return best;
}

static size_t argument(int argc, char **argv, int i, size_t preset)
{
  return argc > i ? (size_t)strtoull(argv[i], NULL, 10) : preset;
}

int main(int argc, char **argv)
{
  const size_t threads = argument(argc, argv, 1, 2), rows = argument(argc, argv, 2, 4096);
  const size_t cols = argument(argc, argv, 3, 4096), runs = argument(argc, argv, 4, 3);
  ql_error error = QL_ERROR_INIT;
  ql_threads *pool = NULL;
  ql_ctx_config settings = QL_CTX_CONFIG_INIT;
  ql_ctx *ctx = NULL;
  check(ql_threads_create(threads, &pool), &error, "threads");
  settings.executor = ql_threads_executor(pool);
  check(ql_ctx_create(&settings, &ctx, &error), &error, "context");
  uint64_t state = 1;
  ql_stats *stats = hessian(ctx, cols, &state);
  float *weights = numbers(rows * cols, 0.02f, &state);
  ql_tensor w;
  check(ql_tensor_init_2d(&w, weights, QL_DTYPE_F32, rows, cols), &error, "weights");
  ql_grid_config grid = QL_GRID_CONFIG_INIT;
  ql_gptq_config config = QL_GPTQ_CONFIG_INIT;
  grid.kind = QL_GRID_ASYM;
  config.order = QL_GPTQ_ORDER_NATURAL;
  seconds factor = {1e30, 1e30}, columns = factor, both = factor;
  double peak = fma_peak(ctx);
  for (size_t i = 0; i < runs; i++) {
    ql_gptq_factor *f = NULL;
    ql_qmat *q = NULL;
    const seconds start = now();
    check(ql_gptq_factor_create(ctx, stats, 128, &config, &f, &error), &error, "factor");
    const seconds middle = now();
    check(ql_gptq_run_factored(ctx, &w, f, &grid, &config, &q, NULL, &error), &error, "run");
    const seconds end = now();
    keep_least(&factor, start, middle);
    keep_least(&columns, middle, end);
    keep_least(&both, start, end);
    ql_qmat_destroy(q);
    ql_gptq_factor_destroy(f);
  }
  const double n = (double)rows, k = (double)cols, again = fma_peak(ctx);
  peak = again > peak ? again : peak;
  printf("GPTQ of %zu x %zu from a Hessian, %s, %zu threads\n", rows, cols, ql_ctx_isa_name(ctx),
         threads);
  report("factor", factor, k * k * k / 3, peak);
  report("columns", columns, n * k * k, peak);
  report("both", both, n * k * k + k * k * k / 3, peak);
  ql_stats_destroy(stats);
  ql_ctx_destroy(ctx);
  ql_threads_destroy(pool);
  free(weights);
  return 0;
}
