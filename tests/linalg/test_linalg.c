/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#include "linalg.h"
#include "linalg_fixture.h"

#include <lapacke.h>

#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const size_t sizes[] = {1, 2, 3, 63, 64, 65, 95, 96, 97, 193, 300};
enum { SIZES = sizeof sizes / sizeof *sizes };
static const size_t thread_counts[] = {1, 2, 3, 7};

/* What product_case multiplies: C[m,n] -+= A[m,k] B[k,n], A and B read as they are or transposed.
 */
typedef struct {
  size_t m, n, k;
  int a_turned, b_turned;
  qli_sign sign;
} product;

/* Sums in long double; error bound of k additions and products in f64 or f32. */
static void product_f64(const ql_ctx *ctx, product p)
{
  const size_t ldc = p.n + 3;
  double *a = random_f64(p.m * p.k, 1), *b = random_f64(p.k * p.n, 2);
  double *c = random_f64(p.m * ldc, 3), *before = random_f64(p.m * ldc, 3);
  const qli_view_f64 va = {a, p.a_turned ? 1 : p.k, p.a_turned ? p.m : 1};
  const qli_view_f64 vb = {b, p.b_turned ? 1 : p.n, p.b_turned ? p.k : 1};
  assert_int_equal(qli_gemm_f64(ctx, p.sign, p.m, p.n, p.k, va, vb, c, ldc, NULL), QL_STATUS_OK);
  for (size_t i = 0; i < p.m; i++)
    for (size_t j = 0; j < ldc; j++) {
      long double sum = before[i * ldc + j], size = fabsl(sum);
      for (size_t t = 0; t < p.k && j < p.n; t++) {
        const long double term = (long double)a[i * va.rs + t * va.cs] * b[t * vb.rs + j * vb.cs];
        sum += p.sign == QLI_SUBTRACT ? -term : term;
        size += fabsl(term);
      }
      const long double bound = j < p.n ? (long double)(p.k + 1) * DBL_EPSILON * size : 0;
      assert_true(fabsl(c[i * ldc + j] - sum) <= bound);
    }
  free(a), free(b), free(c), free(before);
}

static void product_f32(const ql_ctx *ctx, product p)
{
  const size_t ldc = p.n + 3;
  float *a = random_f32(p.m * p.k, 1), *b = random_f32(p.k * p.n, 2);
  float *c = random_f32(p.m * ldc, 3), *before = random_f32(p.m * ldc, 3);
  const qli_view_f32 va = {a, p.a_turned ? 1 : p.k, p.a_turned ? p.m : 1};
  const qli_view_f32 vb = {b, p.b_turned ? 1 : p.n, p.b_turned ? p.k : 1};
  assert_int_equal(qli_gemm_f32(ctx, p.sign, p.m, p.n, p.k, va, vb, c, ldc, NULL), QL_STATUS_OK);
  for (size_t i = 0; i < p.m; i++)
    for (size_t j = 0; j < ldc; j++) {
      double sum = before[i * ldc + j], size = fabs(sum);
      for (size_t t = 0; t < p.k && j < p.n; t++) {
        const double term = (double)a[i * va.rs + t * va.cs] * (double)b[t * vb.rs + j * vb.cs];
        sum += p.sign == QLI_SUBTRACT ? -term : term;
        size += fabs(term);
      }
      const double bound = j < p.n ? (double)(p.k + 1) * (double)FLT_EPSILON * size : 0;
      assert_true(fabs((double)c[i * ldc + j] - sum) <= bound);
    }
  free(a), free(b), free(c), free(before);
}

/* Operands rounded to f32, sums of 256 products in f32, the rest in f64. */
static void product_narrow(const ql_ctx *ctx, product p)
{
  const size_t ldc = p.n + 3;
  double *a = random_f64(p.m * p.k, 1), *b = random_f64(p.k * p.n, 2);
  double *c = random_f64(p.m * ldc, 3), *before = random_f64(p.m * ldc, 3);
  const qli_view_f64 va = {a, p.a_turned ? 1 : p.k, p.a_turned ? p.m : 1};
  const qli_view_f64 vb = {b, p.b_turned ? 1 : p.n, p.b_turned ? p.k : 1};
  assert_int_equal(qli_gemm_narrow(ctx, p.sign, p.m, p.n, p.k, va, vb, c, ldc, NULL), QL_STATUS_OK);
  for (size_t i = 0; i < p.m; i++)
    for (size_t j = 0; j < ldc; j++) {
      double sum = before[i * ldc + j], size = 0;
      for (size_t t = 0; t < p.k && j < p.n; t++) {
        const double term = a[i * va.rs + t * va.cs] * b[t * vb.rs + j * vb.cs];
        sum += p.sign == QLI_SUBTRACT ? -term : term;
        size += fabs(term);
      }
      const double bound = j < p.n ? 258 * 0x1p-24 * size + 1e-14 * fabs(sum) : 0;
      assert_true(fabs(c[i * ldc + j] - sum) <= bound);
    }
  free(a), free(b), free(c), free(before);
}

static void test_products(void **state)
{
  static const product cases[] = {{1, 1, 1, 0, 0, QLI_ADD},          {3, 5, 2, 0, 0, QLI_SUBTRACT},
                                  {96, 96, 256, 0, 0, QLI_ADD},      {97, 101, 257, 1, 0, QLI_ADD},
                                  {95, 200, 33, 0, 1, QLI_SUBTRACT}, {130, 47, 520, 1, 1, QLI_ADD},
                                  {4, 400, 128, 0, 0, QLI_SUBTRACT}, {7, 9, 0, 0, 0, QLI_ADD}};
  workers w = workers_start(2, NULL, 0);
  (void)state;
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    product_f64(w.ctx, cases[i]);
    product_f32(w.ctx, cases[i]);
    product_narrow(w.ctx, cases[i]);
  }
  workers_stop(w);
}

static void test_products_ignore_threads(void **state)
{
  enum { M = 150, N = 700, K = 300 };
  double *a = random_f64(M * K, 4), *b = random_f64(K * N, 5), *c[4];
  (void)state;
  for (size_t i = 0; i < 4; i++) {
    workers w = workers_start(thread_counts[i], NULL, 0);
    c[i] = random_f64(M * N, 6);
    assert_int_equal(qli_gemm_f64(w.ctx, QLI_SUBTRACT, M, N, K, (qli_view_f64){a, K, 1},
                                  (qli_view_f64){b, N, 1}, c[i], N, NULL),
                     QL_STATUS_OK);
    assert_memory_equal(c[0], c[i], M * N * sizeof(double));
    workers_stop(w);
  }
  for (size_t i = 0; i < 4; i++)
    free(c[i]);
  free(a), free(b);
}

/* In a reproducible context the result is the plain sequential sum, to the bit. */
static void test_reproducible_products(void **state)
{
  enum { M = 101, N = 103, K = 270 };
  float *a = random_f32(M * K, 7), *b = random_f32(K * N, 8), *c = random_f32(M * N, 9);
  float *expected = random_f32(M * N, 9);
  workers w = workers_start(2, NULL, QL_CTX_REPRODUCIBLE);
  (void)state;
  assert_int_equal(qli_gemm_f32(w.ctx, QLI_ADD, M, N, K, (qli_view_f32){a, K, 1},
                                (qli_view_f32){b, N, 1}, c, N, NULL),
                   QL_STATUS_OK);
  for (size_t i = 0; i < M; i++)
    for (size_t t = 0; t < K; t++)
      for (size_t j = 0; j < N; j++)
        expected[i * N + j] += a[i * K + t] * b[t * N + j];
  assert_memory_equal(c, expected, M * N * sizeof *c);
  workers_stop(w);
  free(a), free(b), free(c), free(expected);
}

/* max |R R^T - H| over max |H|. */
static double defect(size_t n, const double *r, const double *h, size_t ld)
{
  double worst = 0, largest = 0;
  for (size_t i = 0; i < n; i++)
    for (size_t j = i; j < n; j++) {
      double sum = 0;
      for (size_t k = j; k < n; k++)
        sum += r[i * ld + k] * r[j * ld + k];
      worst = fmax(worst, fabs(sum - h[i * ld + j]));
      largest = fmax(largest, fabs(h[i * ld + j]));
    }
  return worst / largest;
}

/* The factor by LAPACK of the matrix with rows and columns in reverse, turned back. */
static void lapack_reverse(size_t n, const double *h, size_t ld, double *r)
{
  double *flipped = malloc(n * n * sizeof *flipped);
  assert_non_null(flipped);
  for (size_t i = 0; i < n; i++)
    for (size_t j = 0; j < n; j++)
      flipped[i * n + j] = h[(n - 1 - i) * ld + n - 1 - j];
  assert_int_equal(LAPACKE_dpotrf(LAPACK_ROW_MAJOR, 'L', (int)n, flipped, (int)n), 0);
  for (size_t i = 0; i < n; i++)
    for (size_t j = 0; j < n; j++)
      r[i * n + j] = j >= i ? flipped[(n - 1 - i) * n + n - 1 - j] : 0;
  free(flipped);
}

typedef ql_status (*chol_fn)(const ql_ctx *, size_t, double *, size_t, size_t *, ql_error *);
static const chol_fn both[2] = {qli_chol_reverse, qli_chol_reverse_lapack};

static void factor_case(const ql_ctx *ctx, chol_fn chol, size_t n, size_t ld)
{
  double *h = random_spd(n, ld, 0.5, n), *r = random_spd(n, ld, 0.5, n);
  double *oracle = malloc(n * n * sizeof *oracle);
  size_t pivot = 12345;
  for (size_t i = 0; i < n; i++) /* the lower triangle is not read */
    for (size_t j = 0; j < i; j++)
      r[i * ld + j] = chol == qli_chol_reverse ? NAN : 7;
  assert_int_equal(chol(ctx, n, r, ld, &pivot, NULL), QL_STATUS_OK);
  assert_int_equal(pivot, n);
  assert_true(defect(n, r, h, ld) < 1e-13);
  lapack_reverse(n, h, ld, oracle);
  for (size_t i = 0; i < n; i++)
    for (size_t j = 0; j < n; j++) {
      assert_true(j >= i || r[i * ld + j] == 0);
      assert_true(fabs(r[i * ld + j] - oracle[i * n + j]) <= 1e-10 * sqrt((double)n));
    }
  free(h), free(r), free(oracle);
}

static void test_factor(void **state)
{
  workers w = workers_start(2, NULL, 0);
  (void)state;
  for (size_t i = 0; i < SIZES; i++)
    for (size_t which = 0; which < 2; which++)
      factor_case(w.ctx, both[which], sizes[i], sizes[i] + (i % 2) * 5);
  workers_stop(w);
}

static void test_factor_ignores_threads(void **state)
{
  enum { N = 300 };
  double *h[4];
  (void)state;
  for (size_t i = 0; i < 4; i++) {
    workers w = workers_start(thread_counts[i], NULL, 0);
    h[i] = random_spd(N, N, 1e-3, 77);
    assert_int_equal(qli_chol_reverse(w.ctx, N, h[i], N, NULL, NULL), QL_STATUS_OK);
    assert_memory_equal(h[0], h[i], N * N * sizeof(double));
    workers_stop(w);
  }
  for (size_t i = 0; i < 4; i++)
    free(h[i]);
}

/* X^T X of few rows plus a small multiple of the identity: condition about 1e10. */
static void test_factor_ill_conditioned(void **state)
{
  enum { N = 200, T = 10 };
  double *x = random_f64(T * N, 3), *h = malloc(N * N * sizeof *h), *r = malloc(N * N * sizeof *r);
  workers w = workers_start(2, NULL, 0);
  (void)state;
  for (size_t i = 0; i < N; i++)
    for (size_t j = 0; j < N; j++) {
      h[i * N + j] = i == j ? 1e-9 : 0;
      for (size_t t = 0; t < T; t++)
        h[i * N + j] += x[t * N + i] * x[t * N + j];
    }
  memcpy(r, h, N * N * sizeof *h);
  assert_int_equal(qli_chol_reverse(w.ctx, N, r, N, NULL, NULL), QL_STATUS_OK);
  assert_true(defect(N, r, h, N) < 1e-12);
  workers_stop(w);
  free(x), free(h), free(r);
}

/* Spoils the diagonal at one place: the factorization must stop exactly there. */
static void test_not_positive(void **state)
{
  static const double bad[] = {-1.0, 0.0, NAN, INFINITY};
  static const size_t where[] = {0, 1, 95, 96, 150, 199};
  enum { N = 200 };
  workers w = workers_start(2, NULL, 0);
  (void)state;
  for (size_t which = 0; which < 2; which++)
    for (size_t b = 0; b < 4; b++)
      for (size_t i = 0; i < sizeof where / sizeof *where; i++) {
        double *h = random_spd(N, N, 0.5, 9);
        ql_error error = QL_ERROR_INIT;
        size_t pivot = N;
        h[where[i] * N + where[i]] = bad[b];
        assert_int_equal(both[which](w.ctx, N, h, N, &pivot, &error), QL_STATUS_NUMERIC);
        assert_int_equal(pivot, where[i]);
        assert_int_equal(error.row, where[i]);
        assert_non_null(strstr(error.text, "not positive definite"));
        free(h);
      }
  workers_stop(w);
}

/* A NaN off the diagonal reaches the pivot of its row. */
static void test_nan_inside(void **state)
{
  enum { N = 150 };
  workers w = workers_start(1, NULL, 0);
  double *h = random_spd(N, N, 0.5, 9);
  size_t pivot = N;
  (void)state;
  h[20 * N + 120] = NAN;
  assert_int_equal(qli_chol_reverse(w.ctx, N, h, N, &pivot, NULL), QL_STATUS_NUMERIC);
  assert_int_equal(pivot, 20);
  free(h);
  workers_stop(w);
}

/* X (R R^T) = B, and the same bits for any number of threads. */
/* Far products in f32: within the bound of linalg.h, visibly not in f64, the same bits for any
 * number of threads, and nothing written below the blocks on the diagonal. */
static void test_narrow_factor(void **state)
{
  enum { N = 620, LD = 623 };
  double *h = random_spd(N, LD, 5, 31), *r[4];
  (void)state;
  for (size_t i = 0; i < 4; i++) {
    workers w = workers_start(thread_counts[i], NULL, 0);
    r[i] = malloc(N * LD * sizeof(double));
    memcpy(r[i], h, N * LD * sizeof(double));
    assert_int_equal(qli_chol_upper(w.ctx, N, r[i], LD, 1, NULL, NULL), QL_STATUS_OK);
    workers_stop(w);
    assert_memory_equal(r[0], r[i], N * LD * sizeof(double));
  }
  double worst = 0;
  for (size_t i = 0; i < N; i++) {
    for (size_t j = i; j < N; j++) {
      double sum = 0;
      for (size_t k = j; k < N; k++)
        sum += r[0][i * LD + k] * r[0][j * LD + k];
      const double size = sqrt(h[i * LD + i] * h[j * LD + j]);
      worst = fmax(worst, fabs(sum - h[i * LD + j]) / size);
    }
    assert_memory_equal(r[0] + i * LD, h + i * LD, i / QLK_PANEL * QLK_PANEL * sizeof(double));
  }
  assert_true(worst <= 50 * 0x1p-24 && worst > 1e-10);
  for (size_t i = 0; i < 4; i++)
    free(r[i]);
  free(h);
}

static void test_chol_solve(void **state)
{
  static const size_t orders[] = {1, 17, 95, 96, 97, 200, 300};
  enum { M = 131 };
  workers one = workers_start(1, NULL, 0), three = workers_start(3, NULL, 0);
  (void)state;
  for (size_t s = 0; s < sizeof orders / sizeof *orders; s++) {
    const size_t n = orders[s], ld = n + 3, ldb = n + 5;
    double *h = random_spd(n, ld, 0.5, 40 + s), *r = random_f64(n * ld, 1);
    double *before = random_f64(M * ldb, 50 + s), *b = malloc(M * ldb * sizeof *b);
    double *again = malloc(M * ldb * sizeof *b);
    memcpy(r, h, n * ld * sizeof *r);
    memcpy(b, before, M * ldb * sizeof *b);
    memcpy(again, before, M * ldb * sizeof *b);
    assert_int_equal(qli_chol_reverse(one.ctx, n, r, ld, NULL, NULL), QL_STATUS_OK);
    for (size_t i = 1; i < n; i++) /* not read */
      for (size_t j = 0; j < i; j++)
        r[i * ld + j] = NAN;
    assert_int_equal(qli_chol_solve(one.ctx, M, n, r, ld, b, ldb, NULL), QL_STATUS_OK);
    assert_int_equal(qli_chol_solve(three.ctx, M, n, r, ld, again, ldb, NULL), QL_STATUS_OK);
    assert_memory_equal(b, again, M * ldb * sizeof *b);
    for (size_t i = 0; i < M; i++) {
      for (size_t j = 0; j < n; j++) {
        double sum = -before[i * ldb + j], size = 1;
        for (size_t k = 0; k < n; k++) {
          sum += b[i * ldb + k] * h[k * ld + j];
          size += fabs(b[i * ldb + k] * h[k * ld + j]);
        }
        assert_true(fabs(sum) <= 1e-12 * size);
      }
      for (size_t j = n; j < ldb; j++)
        assert_true(b[i * ldb + j] == before[i * ldb + j]);
    }
    free(h), free(r), free(before), free(b), free(again);
  }
  workers_stop(one);
  workers_stop(three);
}

static void test_triangle(void **state)
{
  enum { M = 130 };
  workers w = workers_start(2, NULL, 0);
  (void)state;
  for (size_t s = 0; s < SIZES; s++) {
    const size_t n = sizes[s], ldr = n + 2, ldb = n + 1;
    double *r = random_spd(n, ldr, 0.5, s), *inverse = random_f64(n * n, 1);
    double *b = random_f64(M * ldb, 2), *before = random_f64(M * ldb, 2);
    assert_int_equal(qli_chol_reverse(w.ctx, n, r, ldr, NULL, NULL), QL_STATUS_OK);
    qli_tri_upper_inverse(n, r, ldr, inverse, n);
    assert_int_equal(qli_tri_upper_solve(w.ctx, M, n, r, ldr, b, ldb, NULL), QL_STATUS_OK);
    double worst = 0;
    for (size_t i = 0; i < n; i++)
      for (size_t j = 0; j < n; j++) {
        double sum = i == j ? -1 : 0;
        for (size_t k = i; k <= j && j >= i; k++)
          sum += r[i * ldr + k] * inverse[k * n + j];
        worst = fmax(worst, fabs(sum));
        assert_true(j >= i || inverse[i * n + j] == 0);
      }
    assert_true(worst < 1e-10);
    for (size_t i = 0; i < M; i++) {
      for (size_t j = 0; j < n; j++) {
        double sum = -before[i * ldb + j], size = 0;
        for (size_t k = 0; k <= j; k++) {
          sum += b[i * ldb + k] * r[k * ldr + j];
          size += fabs(b[i * ldb + k] * r[k * ldr + j]);
        }
        assert_true(fabs(sum) <= 1e-13 * (1 + size));
      }
      assert_true(b[i * ldb + n] == before[i * ldb + n]);
    }
    free(r), free(inverse), free(b), free(before);
  }
  workers_stop(w);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_products),
      cmocka_unit_test(test_products_ignore_threads),
      cmocka_unit_test(test_reproducible_products),
      cmocka_unit_test(test_factor),
      cmocka_unit_test(test_factor_ignores_threads),
      cmocka_unit_test(test_factor_ill_conditioned),
      cmocka_unit_test(test_not_positive),
      cmocka_unit_test(test_nan_inside),
      cmocka_unit_test(test_triangle),
      cmocka_unit_test(test_narrow_factor),
      cmocka_unit_test(test_chol_solve),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
