/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */

/* Speed of the statistics and solvers on one thread, beside OpenBLAS on one thread in the same run.
 * Usage: bench_linalg [ISA]. Times are of the thread's processor time, the best of a few runs. */

#include "linalg.h"
#include "rng.h"

#include <quantlib/quantlib.h>

#include <cblas.h>
#include <lapacke.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { RUNS = 3 };

static const ql_ctx *ctx;

typedef struct {
  size_t m, n, k;
  double *a64, *b64, *c64, *h64;
  float *a32, *c32;
  ql_stats *stats;
} problem;

static double now(void)
{
  struct timespec t;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void check(ql_status status, const char *what)
{
  if (status == QL_STATUS_OK)
    return;
  fprintf(stderr, "%s: %s\n", what, ql_status_str(status));
  exit(1);
}

static void *block(size_t count, size_t size)
{
  void *p = aligned_alloc(64, (count * size + 63) / 64 * 64);
  if (p == NULL)
    exit(1);
  return p;
}

static double *numbers_f64(size_t count, uint64_t seed)
{
  double *x = block(count, sizeof *x);
  for (size_t i = 0; i < count; i++)
    x[i] = qli_random_unit(seed, i) - 0.5;
  return x;
}

/* Restores C, or H, before each run; only the run itself is timed. */
static double best(problem *p, void (*prepare)(problem *), void (*run)(problem *))
{
  double seconds = 1e30;
  for (int i = 0; i < RUNS; i++) {
    prepare(p);
    const double start = now();
    run(p);
    const double taken = now() - start;
    seconds = taken < seconds ? taken : seconds;
  }
  return seconds;
}

static void report(const char *name, const problem *p, double flops, double ours, double blas)
{
  printf("%-28s %6zu %6zu %6zu  %8.1f %8.1f GFLOP/s\n", name, p->m, p->n, p->k, flops / ours * 1e-9,
         flops / blas * 1e-9);
}

static void nothing(problem *p)
{
  (void)p;
}

static void run_stats(problem *p)
{
  ql_tensor x;
  ql_tensor_init_2d(&x, p->a32, QL_DTYPE_F32, p->m, p->k);
  check(ql_stats_update(ctx, p->stats, &x, p->m, NULL), "ql_stats_update");
}

static void run_ssyrk(problem *p)
{
  const int t = (int)p->m, k = (int)p->k;
  cblas_ssyrk(CblasRowMajor, CblasUpper, CblasTrans, k, t, 1, p->a32, k, 1, p->c32, k);
}

/* m tokens, k columns: m k (k + 1) operations. 2048 tokens fill the stage of all widths here. */
static void bench_stats(size_t tokens, size_t cols)
{
  problem p = {.m = tokens, .n = cols, .k = cols};
  ql_stats_config config = QL_STATS_CONFIG_INIT;
  config.cols = cols;
  check(ql_stats_create(ctx, &config, &p.stats, NULL), "ql_stats_create");
  p.a32 = block(tokens * cols, sizeof *p.a32);
  p.c32 = block(cols * cols, sizeof *p.c32);
  memset(p.c32, 0, cols * cols * sizeof *p.c32);
  for (size_t i = 0; i < tokens * cols; i++)
    p.a32[i] = (float)(qli_random_unit(1, i) - 0.5);
  const double flops = (double)tokens * (double)cols * (double)(cols + 1);
  const double ours = best(&p, nothing, run_stats), blas = best(&p, nothing, run_ssyrk);
  report("statistics, ssyrk", &p, flops, ours, blas);
  ql_stats_destroy(p.stats);
  free(p.a32);
  free(p.c32);
}

static void copy_h(problem *p)
{
  memcpy(p->c64, p->h64, p->n * p->n * sizeof *p->c64);
}

static void run_chol(problem *p)
{
  check(qli_chol_reverse(ctx, p->n, p->c64, p->n, NULL, NULL), "qli_chol_reverse");
}

static void run_potrf(problem *p)
{
  const int n = (int)p->n;
  if (LAPACKE_dpotrf_work(LAPACK_COL_MAJOR, 'U', n, p->c64, n) != 0)
    exit(1);
}

static void bench_chol(size_t n)
{
  problem p = {.m = n, .n = n, .k = n};
  p.h64 = numbers_f64(n * n, 3);
  p.c64 = block(n * n, sizeof *p.c64);
  for (size_t i = 0; i < n; i++) {
    p.h64[i * n + i] += (double)n;
    for (size_t j = 0; j < i; j++)
      p.h64[i * n + j] = p.h64[j * n + i];
  }
  const double ours = best(&p, copy_h, run_chol), blas = best(&p, copy_h, run_potrf);
  report("Cholesky, dpotrf", &p, (double)n * (double)n * (double)n / 3, ours, blas);
  free(p.h64);
  free(p.c64);
}

static void run_gemm(problem *p)
{
  check(qli_gemm_f64(ctx, QLI_SUBTRACT, p->m, p->n, p->k, (qli_view_f64){p->a64, p->k, 1},
                     (qli_view_f64){p->b64, p->n, 1}, p->c64, p->n, NULL),
        "qli_gemm_f64");
}

static void run_dgemm(problem *p)
{
  cblas_dgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, (int)p->m, (int)p->n, (int)p->k, -1,
              p->a64, (int)p->k, p->b64, (int)p->n, 1, p->c64, (int)p->n);
}

static void run_solve(problem *p)
{
  check(qli_tri_upper_solve(ctx, p->m, p->k, p->h64, p->k, p->a64, p->k, NULL), "solve");
}

static void run_dtrsm(problem *p)
{
  cblas_dtrsm(CblasRowMajor, CblasRight, CblasUpper, CblasNoTrans, CblasNonUnit, (int)p->m,
              (int)p->k, 1, p->h64, (int)p->k, p->a64, (int)p->k);
}

/* What GPTQ does for each block of k columns: a triangle of k, then an update of n columns. */
static void bench_update(size_t m, size_t n, size_t k)
{
  problem p = {.m = m, .n = n, .k = k};
  p.a64 = numbers_f64(m * k, 4);
  p.b64 = numbers_f64(k * n, 5);
  p.c64 = numbers_f64(m * n, 6);
  p.h64 = numbers_f64(k * k, 7);
  for (size_t i = 0; i < k; i++)
    p.h64[i * k + i] = 4;
  const double flops = 2 * (double)m * (double)n * (double)k;
  report("trailing update, dgemm", &p, flops, best(&p, nothing, run_gemm),
         best(&p, nothing, run_dgemm));
  p.n = k;
  report("triangular solve, dtrsm", &p, (double)m * (double)k * (double)k,
         best(&p, nothing, run_solve), best(&p, nothing, run_dtrsm));
  free(p.a64);
  free(p.b64);
  free(p.c64);
  free(p.h64);
}

int main(int argc, char **argv)
{
  static const uint32_t flags[] = {0, QL_CTX_REPRODUCIBLE};
  openblas_set_num_threads(1);
  for (int i = 0; i < 2; i++) {
    ql_ctx_config config = QL_CTX_CONFIG_INIT;
    ql_ctx *made = NULL;
    config.isa = argc > 1 ? argv[1] : NULL;
    config.flags = flags[i];
    check(ql_ctx_create(&config, &made, NULL), "ql_ctx_create");
    ctx = made;
    printf("%s%s; m, n, k; quantlib, OpenBLAS (%s)\n", ql_ctx_isa_name(ctx),
           i ? ", reproducible" : "", openblas_get_corename());
    bench_stats(2048, 256);
    bench_stats(2048, 768);
    bench_stats(2048, 4096);
    bench_chol(768);
    bench_chol(2048);
    bench_update(1024, 4096, 128);
    ql_ctx_destroy(made);
  }
  return 0;
}
