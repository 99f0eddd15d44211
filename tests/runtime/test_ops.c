/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
/* Accuracy of the operations against double precision, extreme inputs, and the promise that the
 * bits depend neither on the ISA nor on threads, strides or the way rows are cut into calls. */
#include "common.h"
#include "qlk_math.h"

static const double unit = 0x1p-24; /* half a unit in the last place, relative */

static const size_t widths[] = {1, 2, 15, 16, 17, 31, 64, 100, 257, 1024, 4099};

enum { WIDTHS = sizeof widths / sizeof widths[0], ROWS = 5 };

static void test_exp(void **state)
{
  (void)state;
  double worst = 0;
  for (uint64_t bits = 0; bits <= UINT32_MAX; bits += 1009) {
    const float x = qlk_bits_to_float((uint32_t)bits);
    const float got = qlk_exp(x);
    const double want = exp((double)x);
    if (isnan(x)) {
      assert_true(isnan(got));
    } else if (want > (double)__FLT_MAX__ * (1 + unit)) {
      assert_true(isinf(got) && got > 0);
    } else {
      const double ulp = fmax(want, 0x1p-126) * 0x1p-23;
      const double lower = exp2(floor(log2(fmax(want, 0x1p-126))) - 23);
      const double error = fabs((double)got - want) / lower;
      worst = error > worst ? error : worst;
      if (error > 1.0)
        fail_msg("exp(%a) is %a, %.3f ulp from %.9g (%g)", (double)x, (double)got, error, want,
                 ulp);
    }
  }
  print_message("exp: at most %.3f ulp\n", worst);
  assert_true(qlk_exp(0.0f) == 1.0f && qlk_exp(-0.0f) == 1.0f);
  assert_true(qlk_exp(-INFINITY) == 0.0f && isinf(qlk_exp(INFINITY)));
}

static void test_log(void **state)
{
  (void)state;
  for (size_t i = 0; i < 200000; i++) {
    const double x = exp2(150.0 * (double)random_at(1, i));
    assert_true(fabs(qlk_log(x) - log(x)) <= 4e-16 * (1 + fabs(log(x))));
  }
  assert_true(qlk_log(1.0) == 0.0);
  assert_true(isinf(qlk_log(INFINITY)) && isnan(qlk_log(NAN)));
}

static void check_rms_norm(const char *isa, void *arg)
{
  ql_ctx *ctx = make_ctx(isa, NULL);
  (void)arg;
  for (size_t w = 0; w < WIDTHS; w++) {
    const size_t n = widths[w];
    float *x = random_floats(1, ROWS * n, 3.0f), *weight = random_floats(2, n, 2.0f);
    float *y = random_floats(3, ROWS * n, 1.0f);
    const ql_tensor tx = matrix(x, ROWS, n), tw = vector(weight, n), ty = matrix(y, ROWS, n);
    assert_int_equal(ql_rms_norm(ctx, &tx, &tw, 1e-5f, &ty, NULL), QL_STATUS_OK);
    for (size_t r = 0; r < ROWS; r++) {
      double sum = 0;
      for (size_t i = 0; i < n; i++)
        sum += (double)x[r * n + i] * (double)x[r * n + i];
      const double inverse = 1 / sqrt(sum / (double)n + (double)1e-5f);
      for (size_t i = 0; i < n; i++) {
        const double want = (double)x[r * n + i] * inverse * (double)weight[i];
        assert_close(y[r * n + i], want, fabs(want) * unit * (double)(n / 16 + 10), "rms_norm", i);
      }
    }
    free(x);
    free(weight);
    free(y);
  }
  ql_ctx_destroy(ctx);
}

static void check_rope(const char *isa, void *arg)
{
  enum { HEADS = 3 };
  ql_ctx *ctx = make_ctx(isa, NULL);
  (void)arg;
  for (size_t half = 1; half < 70; half += 5) {
    const size_t dim = 2 * half;
    float *x = random_floats(4, ROWS * HEADS * dim, 2.0f),
          *old = copy_floats(x, ROWS * HEADS * dim);
    float *c = random_floats(5, ROWS * half, 1.0f), *s = random_floats(6, ROWS * half, 1.0f);
    const ql_tensor tx = cube(x, ROWS, HEADS, dim);
    const ql_tensor tc = matrix(c, ROWS, half), ts = matrix(s, ROWS, half);
    assert_int_equal(ql_rope(ctx, &tx, &tc, &ts, NULL), QL_STATUS_OK);
    for (size_t r = 0; r < ROWS * HEADS; r++)
      for (size_t j = 0; j < half; j++) {
        const double a = (double)old[r * dim + j], b = (double)old[r * dim + half + j];
        const double cosine = (double)c[r / HEADS * half + j],
                     sine = (double)s[r / HEADS * half + j];
        const double bound = 2 * unit * (fabs(a) + fabs(b));
        assert_close(x[r * dim + j], a * cosine - b * sine, bound, "rope", r * dim + j);
        assert_close(x[r * dim + half + j], b * cosine + a * sine, bound, "rope", r * dim + j);
      }
    free(x);
    free(old);
    free(c);
    free(s);
  }
  ql_ctx_destroy(ctx);
}

static void check_silu_add(const char *isa, void *arg)
{
  ql_ctx *ctx = make_ctx(isa, NULL);
  (void)arg;
  for (size_t w = 0; w < WIDTHS; w++) {
    const size_t n = widths[w];
    float *gate = random_floats(7, ROWS * n, 20.0f), *up = random_floats(8, ROWS * n, 5.0f);
    float *y = random_floats(9, ROWS * n, 1.0f);
    const ql_tensor tg = matrix(gate, ROWS, n), tu = matrix(up, ROWS, n), ty = matrix(y, ROWS, n);
    assert_int_equal(ql_silu_mul(ctx, &tg, &tu, &ty, NULL), QL_STATUS_OK);
    for (size_t i = 0; i < ROWS * n; i++) {
      const double g = (double)gate[i], want = g / (1 + exp(-g)) * (double)up[i];
      assert_close(y[i], want, fabs(want) * 6 * unit, "silu_mul", i);
    }
    float *sum = copy_floats(y, ROWS * n);
    const ql_tensor ts = matrix(sum, ROWS, n);
    assert_int_equal(ql_add(ctx, &tg, &ts, NULL), QL_STATUS_OK);
    for (size_t i = 0; i < ROWS * n; i++)
      assert_true(sum[i] == y[i] + gate[i]);
    free(gate);
    free(up);
    free(y);
    free(sum);
  }
  ql_ctx_destroy(ctx);
}

static void check_softmax_row(const float *x, const float *p, const float *logp, size_t n)
{
  double max = -INFINITY, sum = 0;
  for (size_t i = 0; i < n; i++)
    max = fmax(max, (double)x[i]);
  for (size_t i = 0; i < n; i++)
    sum += exp((double)x[i] - max);
  for (size_t i = 0; i < n; i++) {
    const double log_want = (double)x[i] - max - log(sum), want = exp(log_want);
    const double lanes = (double)(n / 16 + 10), spread = max - (double)x[i];
    assert_close(p[i], want, want * unit * (lanes + 2 * spread) + 0x1p-148, "softmax", i);
    assert_close(logp[i], log_want, unit * (lanes + 2 * spread + 2 * fabs(log_want)), "log_softmax",
                 i);
  }
}

static void check_softmax(const char *isa, void *arg)
{
  ql_ctx *ctx = make_ctx(isa, NULL);
  (void)arg;
  for (size_t w = 0; w < WIDTHS; w++)
    for (int scale = 1; scale <= 100; scale *= 10) {
      const size_t n = widths[w];
      float *x = random_floats(10, ROWS * n, (float)scale), *p = random_floats(11, ROWS * n, 1.0f);
      float *logp = random_floats(12, ROWS * n, 1.0f);
      const ql_tensor tx = matrix(x, ROWS, n), tp = matrix(p, ROWS, n), tl = matrix(logp, ROWS, n);
      assert_int_equal(ql_softmax(ctx, &tx, &tp, NULL), QL_STATUS_OK);
      assert_int_equal(ql_log_softmax(ctx, &tx, &tl, NULL), QL_STATUS_OK);
      for (size_t r = 0; r < ROWS; r++)
        check_softmax_row(x + r * n, p + r * n, logp + r * n, n);
      free(x);
      free(p);
      free(logp);
    }
  ql_ctx_destroy(ctx);
}

/* One row through softmax (what = 0) or log_softmax (1). */
static void soft_row(const char *isa, int what, const float *x, size_t n, float *y)
{
  ql_ctx *ctx = make_ctx(isa, NULL);
  const ql_tensor tx = matrix(x, 1, n), ty = matrix(y, 1, n);
  const ql_status status =
      what ? ql_log_softmax(ctx, &tx, &ty, NULL) : ql_softmax(ctx, &tx, &ty, NULL);
  assert_int_equal(status, QL_STATUS_OK);
  ql_ctx_destroy(ctx);
}

static void check_extremes(const char *isa, void *arg)
{
  enum { N = 37 };
  float x[N], y[N];
  (void)arg;
  for (size_t at = 0; at < N; at++) {
    for (size_t i = 0; i < N; i++) /* all the weight at one place */
      x[i] = i == at ? 3e38f : -3e38f;
    soft_row(isa, 0, x, N, y);
    for (size_t i = 0; i < N; i++)
      assert_true(y[i] == (i == at ? 1.0f : 0.0f));
    for (size_t i = 0; i < N; i++) /* masked but for one */
      x[i] = i == at ? -5.0f : -INFINITY;
    soft_row(isa, 0, x, N, y);
    for (size_t i = 0; i < N; i++)
      assert_true(y[i] == (i == at ? 1.0f : 0.0f));
    soft_row(isa, 1, x, N, y);
    for (size_t i = 0; i < N; i++)
      assert_true(i == at ? y[i] == 0.0f : isinf(y[i]) && y[i] < 0);
    for (size_t i = 0; i < N; i++) /* one NaN spoils the row */
      x[i] = i == at ? NAN : 1.0f;
    for (int what = 0; what < 2; what++) {
      soft_row(isa, what, x, N, y);
      for (size_t i = 0; i < N; i++)
        assert_true(isnan(y[i]));
    }
  }
  for (size_t i = 0; i < N; i++) /* nothing to choose from: 0 / 0 */
    x[i] = -INFINITY;
  for (int what = 0; what < 2; what++) {
    soft_row(isa, what, x, N, y);
    for (size_t i = 0; i < N; i++)
      assert_true(isnan(y[i]));
  }
  for (size_t i = 0; i < N; i++)
    x[i] = 1e30f;
  soft_row(isa, 0, x, N, y);
  for (size_t i = 0; i < N; i++)
    assert_true(y[i] == 1.0f / N);
}

/* All operations on the same input, one after the other, in one buffer of results. */
typedef struct {
  float *x, *weight, *out;
  size_t m, n, pitch; /* pitch: floats from row to row of the outputs */
} battery;

enum { OPS = 6 };

static ql_tensor part(const float *data, const battery *b, size_t begin, size_t rows, size_t pitch)
{
  ql_tensor t = matrix(data + begin * pitch, rows, b->n);
  t.stride[0] = (ptrdiff_t)(pitch * 4);
  return t;
}

static void run_part(const ql_ctx *ctx, const battery *b, size_t begin, size_t rows)
{
  const ql_tensor x = part(b->x, b, begin, rows, b->n), w = vector(b->weight, b->n);
  const ql_tensor again = part(b->x, b, 0, 1, b->n);
  ql_tensor y[OPS], angles = again;
  for (size_t i = 0; i < OPS; i++)
    y[i] = part(b->out + i * b->m * b->pitch, b, begin, rows, b->pitch);
  for (size_t r = 0; r < rows; r++) {
    memcpy((char *)y[3].data + (ptrdiff_t)r * y[3].stride[0],
           (char *)x.data + (ptrdiff_t)r * x.stride[0], b->n * 4);
    memcpy((char *)y[5].data + (ptrdiff_t)r * y[5].stride[0],
           (char *)x.data + (ptrdiff_t)r * x.stride[0], b->n * 4);
  }
  assert_int_equal(ql_rms_norm(ctx, &x, &w, 1e-6f, &y[0], NULL), QL_STATUS_OK);
  assert_int_equal(ql_silu_mul(ctx, &x, &y[0], &y[1], NULL), QL_STATUS_OK);
  assert_int_equal(ql_softmax(ctx, &x, &y[2], NULL), QL_STATUS_OK);
  assert_int_equal(ql_add(ctx, &y[0], &y[3], NULL), QL_STATUS_OK);
  assert_int_equal(ql_log_softmax(ctx, &x, &y[4], NULL), QL_STATUS_OK);
  y[5].rank = 3; /* [rows, 1, n], the angles being the first rows of x for every row */
  y[5].shape[1] = 1;
  y[5].shape[2] = b->n;
  y[5].stride[1] = y[5].stride[2] = 4;
  angles.shape[0] = rows;
  angles.shape[1] = b->n / 2;
  angles.stride[0] = 0;
  assert_int_equal(ql_rope(ctx, &y[5], &angles, &angles, NULL), QL_STATUS_OK);
}

static void compare(const battery *b, const battery *reference, const char *what)
{
  for (size_t i = 0; i < OPS; i++)
    for (size_t r = 0; r < b->m; r++)
      assert_same_bits(b->out + (i * b->m + r) * b->pitch,
                       reference->out + (i * b->m + r) * reference->pitch, b->n, what);
}

static battery make_battery(size_t m, size_t n, size_t pitch)
{
  battery b = {.m = m, .n = n, .pitch = pitch};
  b.x = random_floats(20, m * n, 30.0f);
  b.weight = random_floats(21, n, 1.0f);
  b.out = random_floats(22, OPS * m * pitch, 1.0f);
  b.x[n / 2] = -0.0f;
  b.x[n - 1] = 1e-40f; /* subnormal */
  if (m > 1) {
    b.x[n + n / 3] = INFINITY;
    b.x[2 * n - 1] = -300.0f;
  }
  return b;
}

static void free_battery(battery *b)
{
  free(b->x);
  free(b->weight);
  free(b->out);
}

static void compare_isa(const char *isa, void *arg)
{
  const battery *reference = arg;
  battery b = make_battery(reference->m, reference->n, reference->n + 3);
  ql_ctx *ctx = make_ctx(isa, NULL);
  run_part(ctx, &b, 0, b.m);
  compare(&b, reference, isa);
  for (size_t i = 0; i < b.m; i += 3) /* cut into calls */
    run_part(ctx, &b, i, b.m - i < 3 ? b.m - i : 3);
  compare(&b, reference, "cut");
  ql_ctx_destroy(ctx);
  const size_t workers[] = {2, 3, 7};
  for (size_t i = 0; i < 3; i++) {
    ql_threads *pool = NULL;
    assert_int_equal(ql_threads_create(workers[i], &pool), QL_STATUS_OK);
    ctx = make_ctx(isa, pool);
    memset(b.out, 0x55, OPS * b.m * b.pitch * 4);
    run_part(ctx, &b, 0, b.m);
    compare(&b, reference, "threads");
    ql_ctx_destroy(ctx);
    ql_threads_destroy(pool);
  }
  free_battery(&b);
}

static void test_same_bits(void **state)
{
  const size_t shapes[][2] = {{1, 2}, {5, 34}, {7, 258}, {40, 1000}, {9, 4098}};
  (void)state;
  for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
    battery b = make_battery(shapes[i][0], shapes[i][1], shapes[i][1]);
    ql_ctx *ctx = make_ctx("scalar", NULL);
    run_part(ctx, &b, 0, b.m);
    ql_ctx_destroy(ctx);
    for_each_isa(compare_isa, &b);
    free_battery(&b);
  }
}

/* y may be x, gate or up. */
static void check_in_place(const char *isa, void *arg)
{
  enum { M = 3, N = 50 };
  ql_ctx *ctx = make_ctx(isa, NULL);
  float *x = random_floats(30, M * N, 4.0f), *up = random_floats(31, M * N, 4.0f), *y, *z;
  const ql_tensor tx = matrix(x, M, N), tu = matrix(up, M, N), w = vector(up, N);
  (void)arg;
  for (int op = 0; op < 5; op++) {
    y = random_floats(32, M * N, 1.0f);
    z = copy_floats(op == 4 ? up : x, M * N);
    const ql_tensor ty = matrix(y, M, N), tz = matrix(z, M, N);
    switch (op) {
    case 0:
      ql_rms_norm(ctx, &tx, &w, 1.0f, &ty, NULL);
      ql_rms_norm(ctx, &tz, &w, 1.0f, &tz, NULL);
      break;
    case 1:
      ql_softmax(ctx, &tx, &ty, NULL);
      ql_softmax(ctx, &tz, &tz, NULL);
      break;
    case 2:
      ql_log_softmax(ctx, &tx, &ty, NULL);
      ql_log_softmax(ctx, &tz, &tz, NULL);
      break;
    case 3:
      ql_silu_mul(ctx, &tx, &tu, &ty, NULL);
      ql_silu_mul(ctx, &tz, &tu, &tz, NULL);
      break;
    default:
      ql_silu_mul(ctx, &tx, &tu, &ty, NULL);
      ql_silu_mul(ctx, &tx, &tz, &tz, NULL);
      break;
    }
    assert_same_bits(z, y, M * N, "in place");
    free(y);
    free(z);
  }
  free(x);
  free(up);
  ql_ctx_destroy(ctx);
}

static void test_each_isa(void **state)
{
  (void)state;
  for_each_isa(check_rms_norm, NULL);
  for_each_isa(check_rope, NULL);
  for_each_isa(check_silu_add, NULL);
  for_each_isa(check_softmax, NULL);
  for_each_isa(check_extremes, NULL);
  for_each_isa(check_in_place, NULL);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_exp),
      cmocka_unit_test(test_log),
      cmocka_unit_test(test_each_isa),
      cmocka_unit_test(test_same_bits),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
