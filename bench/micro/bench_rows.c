/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */

/* Work that is a pass over memory: dequantization, rounding to nearest, packing. GB/s of what is
 * read and written, beside copies measured in the same run: into memory that is in use, and, for
 * packing, which makes its target, into new memory. The least time of several, of the thread's
 * clock for one thread, else wall time.
 * Usage: bench_rows [THREADS [ROWS COLS [REPEAT]]], by default 1 thread, 4096 x 4096, 9 times. */

#include "pages.h"
#include "rng.h"

#include <quantlib/quantlib.h>
#include <quantlib/threads.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

typedef struct {
  ql_ctx *ctx;
  size_t threads, rows, cols, repeat;
  unsigned char *target, *source; /* rows * cols * 4 bytes each */
  ql_tensor from, to;
  ql_qmat *q;
  ql_tensor codes, scales, zeros;
  ql_grid_config grid;
  double copy, fresh; /* bytes per second */
  unsigned char seen; /* so that no copy is left out */
} bench;

static void check(ql_status status, const ql_error *error, const char *what)
{
  if (status == QL_STATUS_OK)
    return;
  fprintf(stderr, "%s: %s\n", what, error->text);
  exit(1);
}

static double now(const bench *b)
{
  struct timespec t;
  clock_gettime(b->threads == 1 ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void *block(size_t bytes)
{
  void *p = aligned_alloc(64, (bytes + 63) / 64 * 64);
  if (p == NULL)
    exit(1);
  return p;
}

static double least(const bench *b, void (*call)(bench *), bench *arg)
{
  double best = 1e30;
  for (size_t i = 0; i < b->repeat; i++) {
    const double start = now(b);
    call(arg);
    const double seconds = now(b) - start;
    best = seconds < best ? seconds : best;
  }
  return best;
}

static void line(const char *name, double bytes, double seconds, double limit)
{
  printf("%-34s %9.3f ms %8.2f GB/s %6.1f %%\n", name, 1e3 * seconds, 1e-9 * bytes / seconds,
         100 * bytes / seconds / limit);
}

static void copy(bench *b)
{
  memcpy(b->target, b->source, b->rows * b->cols * 4);
}

/* Into memory as the packing gets it. */
static void copy_fresh(bench *b)
{
  unsigned char *p = block(b->rows * b->cols * 4);
  qli_pages_huge(p, b->rows * b->cols * 4);
  memcpy(p, b->source, b->rows * b->cols * 4);
  b->seen = ((volatile unsigned char *)p)[b->cols];
  free(p);
}

static void dequantize(bench *b)
{
  ql_error error = QL_ERROR_INIT;
  check(ql_dequantize(b->ctx, b->q, &b->to, &error), &error, "dequantize");
}

static void pack(bench *b)
{
  ql_error error = QL_ERROR_INIT;
  ql_packed *packed = NULL;
  check(ql_pack(b->ctx, b->q, &packed, &error), &error, "pack");
  ql_packed_destroy(packed);
}

static void pack_float(bench *b)
{
  ql_error error = QL_ERROR_INIT;
  ql_packed *packed = NULL;
  check(ql_pack_float(b->ctx, &b->from, &packed, &error), &error, "pack");
  ql_packed_destroy(packed);
}

static uint64_t packed_bytes(const bench *b, int quantized)
{
  ql_error error = QL_ERROR_INIT;
  ql_packed *packed = NULL;
  ql_packed_info info = {.struct_size = sizeof info};
  check(quantized ? ql_pack(b->ctx, b->q, &packed, &error)
                  : ql_pack_float(b->ctx, &b->from, &packed, &error),
        &error, "pack");
  ql_packed_get(packed, &info);
  ql_packed_destroy(packed);
  return info.bytes;
}

/* Random codes: what they stand for does not matter here. */
static void make_codes(bench *b, int32_t bits, size_t group, ql_grid_kind kind)
{
  const size_t groups = (b->cols + group - 1) / group;
  uint8_t *codes = block(b->rows * b->cols);
  float *scales = block(b->rows * groups * sizeof *scales);
  int16_t *zeros = block(b->rows * groups * sizeof *zeros);
  for (size_t i = 0; i < b->rows * b->cols; i++)
    codes[i] = (uint8_t)(qli_random_u64(1, i) & ((1u << bits) - 1));
  for (size_t i = 0; i < b->rows * groups; i++) {
    scales[i] = 0x1p-8f;
    zeros[i] = (int16_t)(qli_random_u64(2, i) & ((1u << bits) - 1));
  }
  const ql_qmat_view view = {.struct_size = sizeof view,
                             .rows = b->rows,
                             .cols = b->cols,
                             .bits = bits,
                             .kind = kind,
                             .block_rows = 1,
                             .block_cols = group,
                             .groups = groups,
                             .scale_dtype = QL_DTYPE_F16,
                             .codes = codes,
                             .scales = scales,
                             .zeros = kind == QL_GRID_ASYM ? zeros : NULL};
  ql_error error = QL_ERROR_INIT;
  ql_qmat_destroy(b->q);
  check(ql_qmat_create(b->ctx, &view, &b->q, &error), &error, "qmat");
  free(codes);
  free(scales);
  free(zeros);
}

static void bench_dequantize(bench *b)
{
  static const ql_dtype types[] = {QL_DTYPE_F32, QL_DTYPE_F16, QL_DTYPE_BF16};
  const double n = (double)(b->rows * b->cols);
  make_codes(b, 4, 128, QL_GRID_ASYM);
  for (size_t i = 0; i < 3; i++) {
    char name[64];
    snprintf(name, sizeof name, "dequantize w4 g128 to %s", ql_dtype_name(types[i]));
    ql_tensor_init_2d(&b->to, b->target, types[i], b->rows, b->cols);
    line(name, n * (1 + (double)ql_dtype_bits(types[i]) / 8), least(b, dequantize, b), b->copy);
  }
}

static void bench_pack(bench *b)
{
  static const int32_t bits[] = {2, 3, 4, 8};
  static const ql_dtype types[] = {QL_DTYPE_F32, QL_DTYPE_F16};
  const double n = (double)(b->rows * b->cols);
  char name[64];
  for (size_t i = 0; i < 4; i++) {
    snprintf(name, sizeof name, "pack w%d g128", (int)bits[i]);
    make_codes(b, bits[i], 128, QL_GRID_ASYM);
    line(name, n + (double)packed_bytes(b, 1), least(b, pack, b), b->fresh);
  }
  for (size_t i = 0; i < 2; i++) {
    snprintf(name, sizeof name, "pack %s", ql_dtype_name(types[i]));
    ql_tensor_init_2d(&b->from, b->source, types[i], b->rows, b->cols);
    line(name, n * (double)ql_dtype_bits(types[i]) / 8 + (double)packed_bytes(b, 0),
         least(b, pack_float, b), b->fresh);
  }
}

static void quantize(bench *b)
{
  ql_error error = QL_ERROR_INIT;
  check(ql_quantize_rows(b->ctx, &b->from, &b->grid, &b->codes, &b->scales, &b->zeros, &error),
        &error, "quantize");
}

static void bench_quantize(bench *b)
{
  static const ql_dtype types[] = {QL_DTYPE_F32, QL_DTYPE_F16, QL_DTYPE_BF16};
  static const ql_grid_kind kinds[] = {QL_GRID_SYM_CENTRED, QL_GRID_ASYM};
  const size_t n = b->rows * b->cols, groups = (b->cols + 127) / 128;
  int16_t *zeros = block(b->rows * groups * sizeof *zeros);
  uint16_t *scales = block(b->rows * groups * sizeof *scales);
  ql_error error = QL_ERROR_INIT;
  b->grid = (ql_grid_config)QL_GRID_CONFIG_INIT;
  ql_tensor_init_2d(&b->codes, b->target, QL_DTYPE_U8, b->rows, b->cols);
  ql_tensor_init_2d(&b->scales, scales, QL_DTYPE_F16, b->rows, groups);
  ql_tensor_init_2d(&b->zeros, zeros, QL_DTYPE_I16, b->rows, groups);
  for (size_t i = 0; i < 6; i++) {
    char name[64];
    float *x = block(n * sizeof *x);
    ql_tensor random;
    for (size_t k = 0; k < n; k++)
      x[k] = (float)(qli_random_unit(3, k) + qli_random_unit(4, k) - 1.0) * 0.05f;
    ql_tensor_init_2d(&random, x, QL_DTYPE_F32, b->rows, b->cols);
    ql_tensor_init_2d(&b->from, b->source, types[i % 3], b->rows, b->cols);
    check(ql_tensor_convert(b->ctx, &random, &b->from, &error), &error, "convert");
    free(x);
    b->grid.kind = kinds[i / 3];
    snprintf(name, sizeof name, "quantize %s to w4 g128 %s", ql_dtype_name(types[i % 3]),
             i < 3 ? "symmetric" : "asymmetric");
    const double bytes = (double)n * (1 + (double)ql_dtype_bits(types[i % 3]) / 8);
    line(name, bytes, least(b, quantize, b), b->copy);
  }
  free(zeros);
  free(scales);
}

static size_t argument(int argc, char **argv, int i, size_t preset)
{
  return argc > i ? (size_t)strtoull(argv[i], NULL, 10) : preset;
}

int main(int argc, char **argv)
{
  bench b = {.threads = argument(argc, argv, 1, 1),
             .rows = argument(argc, argv, 2, 4096),
             .cols = argument(argc, argv, 3, 4096),
             .repeat = argument(argc, argv, 4, 9)};
  ql_error error = QL_ERROR_INIT;
  ql_threads *pool = NULL;
  ql_ctx_config settings = QL_CTX_CONFIG_INIT;
  check(ql_threads_create(b.threads, &pool), &error, "threads");
  settings.executor = ql_threads_executor(pool);
  check(ql_ctx_create(&settings, &b.ctx, &error), &error, "context");
  const size_t bytes = b.rows * b.cols * 4;
  b.source = block(bytes);
  b.target = block(bytes);
  memset(b.source, 0x3c, bytes);
  memset(b.target, 0, bytes);

  printf("%zu x %zu, %zu threads, %s\n", b.rows, b.cols, b.threads, ql_ctx_isa_name(b.ctx));
  double seconds = least(&b, copy, &b);
  b.copy = 2.0 * (double)bytes / seconds;
  line("copy, one thread", 2.0 * (double)bytes, seconds, b.copy);
  seconds = least(&b, copy_fresh, &b);
  b.fresh = 2.0 * (double)bytes / seconds;
  line("copy into new memory, one thread", 2.0 * (double)bytes, seconds, b.fresh);
  bench_dequantize(&b);
  bench_quantize(&b);
  bench_pack(&b);

  ql_qmat_destroy(b.q);
  free(b.source);
  free(b.target);
  ql_ctx_destroy(b.ctx);
  ql_threads_destroy(pool);
  return 0;
}
