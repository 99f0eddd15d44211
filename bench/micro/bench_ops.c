/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#include <quantlib/kv.h>
#include <quantlib/ops.h>
#include <quantlib/threads.h>

#include "qbench_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* What a decoder does beside its products: attention over a cache, norms, rotary embedding, the
 * gated activation, softmax. The limits of the machine are measured in the same run. Least of many
 * short batches; the processor's time of this thread where there is only one, so that other
 * programs disturb little. */

enum { HEADS = 8, GROUP = 4, DIM = 128, STREAM = 128 << 20 };

typedef struct {
  const ql_ctx *ctx;
  ql_kv *kv;
  ql_tensor a, b, c, y;
  size_t layer, layers;
  double seconds;
} bench;

static double now(const bench *b)
{
  struct timespec t;
  clock_gettime(ql_ctx_workers(b->ctx) == 1 ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void check(ql_status status, const ql_error *error)
{
  if (status == QL_STATUS_OK)
    return;
  fprintf(stderr, "bench_ops: %s\n", error->text);
  exit(1);
}

static float *floats(size_t n)
{
  float *x = malloc(n * sizeof *x);
  if (x == NULL) {
    fputs("bench_ops: no memory\n", stderr);
    exit(1);
  }
  for (size_t i = 0; i < n; i++)
    x[i] = (float)(i * 2654435761u % 1024u) / 512.0f - 1.0f;
  return x;
}

/* Least seconds of one call. */
static double least(bench *b, void (*call)(bench *))
{
  double best = 1e30, total = 0;
  call(b);
  for (int batch = 0; batch < 400 && (total < b->seconds || batch < 3); batch++) {
    const double start = now(b);
    size_t calls = 0;
    double taken;
    do {
      call(b);
      calls++;
      taken = now(b) - start;
    } while (taken < 2e-4);
    best = taken / (double)calls < best ? taken / (double)calls : best;
    total += taken;
  }
  return best;
}

static qbench_roofs measure_roofs(const ql_ctx *ctx)
{
  qbench_roofs roofs = {{0}};
  void *block = qbench_pages(STREAM);
  if (block == NULL) {
    fputs("bench_ops: no memory\n", stderr);
    exit(1);
  }
  qbench_roofs_measure(ctx, &roofs, block, STREAM, 3);
  qbench_pages_free(block, STREAM);
  return roofs;
}

static void call_attend(bench *b)
{
  ql_error error = QL_ERROR_INIT;
  check(ql_kv_attend(b->ctx, b->kv, b->layer, &b->a, 0.08f, 0, &b->y, &error), &error);
  b->layer = (b->layer + 1) % b->layers;
}

static void heads_tensor(ql_tensor *t, float *data, size_t tokens, size_t heads)
{
  const size_t shape[3] = {tokens, heads, DIM};
  check(ql_tensor_init(t, data, QL_DTYPE_F32, 3, shape), NULL);
}

static void fill_cache(bench *b, ql_dtype dtype, size_t context)
{
  ql_kv_config config = QL_KV_CONFIG_INIT;
  ql_error error = QL_ERROR_INIT;
  ql_tensor k;
  float *rows = floats(context * HEADS * DIM);
  config.layers = b->layers;
  config.heads = HEADS;
  config.dim = DIM;
  config.capacity = context;
  config.dtype = dtype;
  check(ql_kv_create(b->ctx, &config, &b->kv, &error), &error);
  heads_tensor(&k, rows, context, HEADS);
  for (size_t layer = 0; layer < b->layers; layer++)
    check(ql_kv_append(b->ctx, b->kv, layer, &k, &k, &error), &error);
  free(rows);
}

/* Layers in turn, as many as hold more than the last-level cache, when one token attends. */
static void bench_attend(bench *b, ql_dtype dtype, size_t context, size_t tokens)
{
  const double element = dtype == QL_DTYPE_F16 ? 2 : 4;
  const double bytes = 2.0 * HEADS * DIM * (double)context * element;
  b->layers = tokens == 1 ? (size_t)(STREAM / bytes) + 1 : 1;
  b->layer = 0;
  fill_cache(b, dtype, context);
  float *q = floats(tokens * HEADS * GROUP * DIM), *y = floats(tokens * HEADS * GROUP * DIM);
  heads_tensor(&b->a, q, tokens, HEADS * GROUP);
  heads_tensor(&b->y, y, tokens, HEADS * GROUP);
  const double seconds = least(b, call_attend);
  const double seen = (double)tokens * ((double)context - ((double)tokens - 1) / 2);
  printf("attend  %s m=%-4zu context=%-5zu %10.1f us %7.2f GFLOP/s %7.2f GB/s\n",
         dtype == QL_DTYPE_F16 ? "f16" : "f32", tokens, context, seconds * 1e6,
         4.0 * HEADS * GROUP * DIM * seen / seconds * 1e-9, bytes / seconds * 1e-9);
  free(q);
  free(y);
  ql_kv_destroy(b->kv);
}

static void call_norm(bench *b)
{
  ql_error error = QL_ERROR_INIT;
  check(ql_rms_norm(b->ctx, &b->a, &b->b, 1e-5f, &b->y, &error), &error);
}

static void call_silu(bench *b)
{
  ql_error error = QL_ERROR_INIT;
  check(ql_silu_mul(b->ctx, &b->a, &b->c, &b->y, &error), &error);
}

static void call_softmax(bench *b)
{
  ql_error error = QL_ERROR_INIT;
  check(ql_softmax(b->ctx, &b->a, &b->y, &error), &error);
}

static void call_add(bench *b)
{
  ql_error error = QL_ERROR_INIT;
  check(ql_add(b->ctx, &b->a, &b->y, &error), &error);
}

static void report_rows(bench *b, const char *name, void (*call)(bench *), double bytes)
{
  const double seconds = least(b, call);
  const double n = (double)b->y.shape[0] * (double)b->y.shape[1];
  printf("%-8s %4zu x %-6zu %10.1f us %7.3f ns/element %7.2f GB/s\n", name, b->y.shape[0],
         b->y.shape[1], seconds * 1e6, seconds / n * 1e9, bytes * n / seconds * 1e-9);
}

static void bench_rows(bench *b, size_t rows, size_t cols)
{
  float *x = floats(rows * cols), *u = floats(rows * cols), *y = floats(rows * cols);
  ql_tensor_init_2d(&b->a, x, QL_DTYPE_F32, rows, cols);
  ql_tensor_init_2d(&b->c, u, QL_DTYPE_F32, rows, cols);
  ql_tensor_init_2d(&b->y, y, QL_DTYPE_F32, rows, cols);
  check(ql_tensor_init(&b->b, u, QL_DTYPE_F32, 1, &cols), NULL);
  report_rows(b, "rms_norm", call_norm, 8);
  report_rows(b, "silu_mul", call_silu, 12);
  report_rows(b, "softmax", call_softmax, 8);
  report_rows(b, "add", call_add, 12);
  free(x);
  free(u);
  free(y);
}

static void call_rope(bench *b)
{
  ql_error error = QL_ERROR_INIT;
  check(ql_rope(b->ctx, &b->y, &b->a, &b->c, &error), &error);
}

static void bench_rope(bench *b, size_t tokens)
{
  const size_t heads = HEADS * GROUP;
  float *angles = floats(tokens * DIM / 2), *y = floats(tokens * heads * DIM);
  ql_tensor_init_2d(&b->a, angles, QL_DTYPE_F32, tokens, DIM / 2);
  ql_tensor_init_2d(&b->c, angles, QL_DTYPE_F32, tokens, DIM / 2);
  heads_tensor(&b->y, y, tokens, heads);
  for (size_t i = 0; i < tokens * DIM / 2; i++)
    angles[i] = 0.7f; /* of norm below 1: the values stay finite */
  const double seconds = least(b, call_rope), n = (double)(tokens * heads * DIM);
  printf("rope     %4zu x %-6d %10.1f us %7.3f ns/element %7.2f GB/s\n", tokens,
         HEADS * GROUP * DIM, seconds * 1e6, seconds / n * 1e9, 8 * n / seconds * 1e-9);
  free(angles);
  free(y);
}

static const char *option(int count, char **arguments, const char *name, const char *fallback)
{
  const size_t n = strlen(name);
  for (int i = 1; i < count; i++)
    if (strncmp(arguments[i], name, n) == 0 && arguments[i][n] == '=')
      return arguments[i] + n + 1;
  return fallback;
}

int main(int count, char **arguments)
{
  static const size_t contexts[] = {512, 2048, 8192}, rows[] = {1, 512};
  ql_ctx_config config = QL_CTX_CONFIG_INIT;
  ql_error error = QL_ERROR_INIT;
  ql_threads *pool = NULL;
  ql_ctx *ctx = NULL;
  if (count > 1 && strcmp(arguments[1], "--help") == 0) {
    puts("bench_ops [--isa=NAME] [--threads=N] [--seconds=0.2]");
    return 0;
  }
  config.isa = option(count, arguments, "--isa", NULL);
  check(ql_threads_create((size_t)atoi(option(count, arguments, "--threads", "1")), &pool), &error);
  config.executor = ql_threads_executor(pool);
  check(ql_ctx_create(&config, &ctx, &error), &error);
  bench b = {.ctx = ctx, .seconds = atof(option(count, arguments, "--seconds", "0.2"))};
  const qbench_roofs roofs = measure_roofs(ctx);
  printf("%s, %zu threads; limits: %.1f GFLOP/s of multiply-adds, GB/s read from memory %.1f, from "
         "the last level %.1f\n",
         ql_ctx_isa_name(ctx), ql_ctx_workers(ctx), roofs.value[QBENCH_FP32_FMA],
         roofs.value[QBENCH_DRAM_READ], roofs.value[QBENCH_LLC_READ]);
  for (size_t i = 0; i < sizeof contexts / sizeof contexts[0]; i++)
    for (size_t m = 0; m < sizeof rows / sizeof rows[0]; m++) {
      bench_attend(&b, QL_DTYPE_F32, contexts[i], rows[m]);
      bench_attend(&b, QL_DTYPE_F16, contexts[i], rows[m]);
    }
  for (size_t m = 0; m < sizeof rows / sizeof rows[0]; m++) {
    bench_rows(&b, rows[m], 4096);
    bench_rope(&b, rows[m]);
  }
  ql_ctx_destroy(ctx);
  ql_threads_destroy(pool);
  return 0;
}
