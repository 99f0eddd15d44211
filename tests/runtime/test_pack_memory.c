/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
/* Packing a source that is given up: the same weights, and the two are never in memory together.
 * The peak is measured in a child; packing that keeps its source is measured beside it, so that the
 * test sees the difference. */
#include "common.h"

#if defined(__GLIBC__)
#include <malloc.h>
#endif
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

enum { N = 8192, K = 8192, GROUP = 128, MIB = 1 << 20 };

/* The largest resident memory of a child that makes the call, in MiB; -1 when it failed. */
static double peak_of(void (*call)(int take), int take)
{
  double peak = -1;
  struct rusage used;
  int code;
  const pid_t child = fork();
  assert_true(child >= 0);
  if (child == 0) {
#if defined(__GLIBC__)
    mallopt(M_PERTURB, 0); /* it would write to what is freed, and so bring it back */
#endif
    call(take);
    _exit(0);
  }
  assert_int_equal(wait4(child, &code, 0, &used), child);
  if (WIFEXITED(code) && WEXITSTATUS(code) == 0)
    peak = (double)used.ru_maxrss / 1024;
  return peak;
}

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#endif
#ifndef SANITIZED
#define SANITIZED 0
#endif

/* Peaks in MiB. Shadow memory and quarantines of a sanitizer are part of them: there only the
 * packing itself is looked at. */
static void check_peaks(const char *what, double kept, double taken, double least, double most)
{
  print_message("%s: %.0f MiB kept, %.0f MiB taken%s\n", what, kept, taken,
                SANITIZED ? "; not compared, a sanitizer's memory is in both" : "");
  assert_true(kept > (SANITIZED ? 0 : least));
  assert_true(taken > 0);
  assert_true(SANITIZED || taken < most);
}

static void require(int holds)
{
  if (!holds)
    _exit(1);
}

/* Pages that are never written are not resident: the matrix is the first copy of its codes. */
static const void *zeros(size_t bytes)
{
  void *p = mmap(NULL, bytes, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  require(p != MAP_FAILED);
  return p;
}

static ql_ctx *context(void)
{
  ql_ctx *ctx = NULL;
  require(ql_ctx_create(NULL, &ctx, NULL) == QL_STATUS_OK);
  return ctx;
}

/* 64 MiB of codes become 32 MiB of 4 bits. */
static void pack_codes(int take)
{
  const ql_qmat_view v = {.struct_size = sizeof v,
                          .rows = N,
                          .cols = K,
                          .bits = 4,
                          .kind = QL_GRID_SYM_FULL,
                          .block_rows = 1,
                          .block_cols = GROUP,
                          .groups = K / GROUP,
                          .scale_dtype = QL_DTYPE_F16,
                          .codes = zeros((size_t)N * K),
                          .scales = zeros((size_t)N * K / GROUP * 4)};
  const ql_ctx *ctx = context();
  ql_qmat *q = NULL;
  ql_packed *p = NULL;
  require(ql_qmat_create(ctx, &v, &q, NULL) == QL_STATUS_OK);
  require((take ? ql_pack_take(ctx, q, &p, NULL) : ql_pack(ctx, q, &p, NULL)) == QL_STATUS_OK);
}

/* 64 MiB of a mapped file become 64 MiB of floats. */
static void pack_floats(int take)
{
  char path[] = "/tmp/quantlib-memory-XXXXXX";
  const size_t bytes = (size_t)64 * MIB;
  const int fd = mkstemp(path);
  require(fd >= 0 && unlink(path) == 0 && ftruncate(fd, (off_t)bytes) == 0);
  void *map = mmap(NULL, bytes, PROT_READ, MAP_PRIVATE, fd, 0);
  require(map != MAP_FAILED);
  const ql_ctx *ctx = context();
  ql_tensor t;
  ql_packed *p = NULL;
  require(ql_tensor_init_2d(&t, map, QL_DTYPE_F32, 4096, 4096) == QL_STATUS_OK);
  require((take ? ql_pack_float_take(ctx, &t, &p, NULL) : ql_pack_float(ctx, &t, &p, NULL)) ==
          QL_STATUS_OK);
}

/* 64 MiB are there before or after; with a piece of the source, a panel and what the process has
 * itself, 84. */
static void test_codes(void **unused)
{
  (void)unused;
  check_peaks("codes", peak_of(pack_codes, 0), peak_of(pack_codes, 1), 96, 84);
}

static void test_floats(void **unused)
{
  (void)unused;
  check_peaks("floats", peak_of(pack_floats, 0), peak_of(pack_floats, 1), 128, 84);
}

/* What is packed does not depend on what becomes of the source. */
static void check_same(const char *isa, void *unused)
{
  enum { ROWS = 2100, COLS = 4224 };
  ql_ctx *ctx = make_ctx(isa, NULL);
  uint8_t *codes = malloc((size_t)ROWS * COLS);
  float *scales = random_floats(1, ROWS, 1.0f), *x = random_floats(2, COLS, 1.0f);
  float *y = malloc(2 * ROWS * sizeof *y);
  ql_qmat *q = NULL;
  ql_packed *p[2] = {NULL, NULL};
  (void)unused;
  for (size_t i = 0; i < (size_t)ROWS * COLS; i++)
    codes[i] = (uint8_t)(i * 2654435761u >> 9 & 7);
  const ql_qmat_view v = {.struct_size = sizeof v,
                          .rows = ROWS,
                          .cols = COLS,
                          .bits = 3,
                          .kind = QL_GRID_SYM_FULL,
                          .block_rows = 1,
                          .block_cols = COLS,
                          .groups = 1,
                          .scale_dtype = QL_DTYPE_F32,
                          .codes = codes,
                          .scales = scales};
  assert_int_equal(ql_qmat_create(ctx, &v, &q, NULL), QL_STATUS_OK);
  assert_int_equal(ql_pack(ctx, q, &p[0], NULL), QL_STATUS_OK);
  assert_int_equal(ql_pack_take(ctx, q, &p[1], NULL), QL_STATUS_OK);
  const ql_tensor in = matrix(x, 1, COLS);
  for (size_t i = 0; i < 2; i++) {
    const ql_tensor out = matrix(y + i * ROWS, 1, ROWS);
    assert_int_equal(ql_gemm(ctx, p[i], &in, &out, NULL, NULL), QL_STATUS_OK);
    ql_packed_destroy(p[i]);
  }
  assert_same_bits(y, y + ROWS, ROWS, isa);
  free(codes);
  free(scales);
  free(x);
  free(y);
  ql_ctx_destroy(ctx);
}

static void test_same(void **unused)
{
  (void)unused;
  for_each_isa(check_same, NULL);
}

static void test_refused(void **unused)
{
  ql_ctx *ctx = make_ctx(NULL, NULL);
  ql_packed *p = NULL;
  (void)unused;
  assert_int_equal(ql_pack_take(ctx, NULL, &p, NULL), QL_STATUS_INVALID_ARGUMENT);
  assert_int_equal(ql_pack_float_take(ctx, NULL, &p, NULL), QL_STATUS_INVALID_ARGUMENT);
  assert_null(p);
  ql_ctx_destroy(ctx);
}

int main(void)
{
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_codes), cmocka_unit_test(test_floats),
                                     cmocka_unit_test(test_same), cmocka_unit_test(test_refused)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
