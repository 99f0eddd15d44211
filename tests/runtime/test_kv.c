/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
/* Attention over the cache against double precision, and the promise that the bits depend neither
 * on the ISA nor on threads nor on how tokens are cut into calls. */
#include "common.h"

typedef struct {
  size_t tokens, heads, group, dim, window;
  ql_dtype dtype;
} shape;

typedef struct {
  shape s;
  float *q, *k, *v;
} input;

/* What an f16 storage keeps of x, from the definition: 11 significant bits, exponent >= -14. */
static float through_f16(float x)
{
  int exponent;
  if (x == 0.0f || isinf(x) || isnan(x))
    return x;
  frexpf(x, &exponent);
  const double step = ldexp(1.0, (exponent - 1 > -14 ? exponent - 1 : -14) - 10);
  return (float)(rint((double)x / step) * step);
}

static input make_input(const shape *s, float scale)
{
  input in = {.s = *s};
  in.q = random_floats(1, s->tokens * s->heads * s->group * s->dim, scale);
  in.k = random_floats(2, s->tokens * s->heads * s->dim, scale);
  in.v = random_floats(3, s->tokens * s->heads * s->dim, scale);
  return in;
}

static void free_input(input *in)
{
  free(in->q);
  free(in->k);
  free(in->v);
}

static ql_kv *make_kv(const ql_ctx *ctx, const shape *s, size_t capacity)
{
  ql_kv_config config = QL_KV_CONFIG_INIT;
  ql_kv *kv = NULL;
  config.layers = 2;
  config.heads = s->heads;
  config.dim = s->dim;
  config.capacity = capacity;
  config.dtype = s->dtype;
  assert_int_equal(ql_kv_create(ctx, &config, &kv, NULL), QL_STATUS_OK);
  return kv;
}

static float attention_scale(const shape *s)
{
  return 1.0f / sqrtf((float)s->dim);
}

/* Appends tokens begin..begin+n-1 and attends with them. */
static void step(const ql_ctx *ctx, ql_kv *kv, const input *in, size_t begin, size_t n, float *out)
{
  const shape *s = &in->s;
  const size_t row = s->heads * s->dim, q_row = row * s->group;
  const ql_tensor k = cube(in->k + begin * row, n, s->heads, s->dim);
  const ql_tensor v = cube(in->v + begin * row, n, s->heads, s->dim);
  const ql_tensor q = cube(in->q + begin * q_row, n, s->heads * s->group, s->dim);
  const ql_tensor y = cube(out + begin * q_row, n, s->heads * s->group, s->dim);
  assert_int_equal(ql_kv_append(ctx, kv, 1, &k, &v, NULL), QL_STATUS_OK);
  assert_int_equal(ql_kv_attend(ctx, kv, 1, &q, attention_scale(s), s->window, &y, NULL),
                   QL_STATUS_OK);
}

/* The whole input in calls of n tokens. */
static float *run(const ql_ctx *ctx, const input *in, size_t n)
{
  const shape *s = &in->s;
  float *out = random_floats(4, s->tokens * s->heads * s->group * s->dim, 1.0f);
  ql_kv *kv = make_kv(ctx, s, s->tokens);
  for (size_t i = 0; i < s->tokens; i += n)
    step(ctx, kv, in, i, s->tokens - i < n ? s->tokens - i : n, out);
  assert_int_equal(ql_kv_length(kv, 1), s->tokens);
  assert_int_equal(ql_kv_length(kv, 0), 0);
  ql_kv_destroy(kv);
  return out;
}

/* One query in double precision; also the sum of |p v|, to which the error is proportional. */
static void reference(const input *in, size_t token, size_t q_head, double *want, double *size)
{
  const shape *s = &in->s;
  const int half = s->dtype == QL_DTYPE_F16;
  const size_t begin = s->window != 0 && token + 1 > s->window ? token + 1 - s->window : 0;
  const float *q = in->q + (token * s->heads * s->group + q_head) * s->dim;
  double *p = malloc((token + 1) * sizeof *p), max = -INFINITY, sum = 0;
  for (size_t j = begin; j <= token; j++) {
    const float *k = in->k + (j * s->heads + q_head / s->group) * s->dim;
    double dot = 0;
    for (size_t d = 0; d < s->dim; d++)
      dot += (double)q[d] * (double)(half ? through_f16(k[d]) : k[d]);
    p[j] = dot * (double)attention_scale(s);
    max = fmax(max, p[j]);
  }
  for (size_t j = begin; j <= token; j++)
    sum += p[j] = exp(p[j] - max);
  for (size_t d = 0; d < s->dim; d++) {
    want[d] = size[d] = 0;
    for (size_t j = begin; j <= token; j++) {
      const float v = in->v[(j * s->heads + q_head / s->group) * s->dim + d];
      const double term = p[j] / sum * (double)(half ? through_f16(v) : v);
      want[d] += term;
      size[d] += fabs(term);
    }
  }
  free(p);
}

/* Attention received, by the definition. */
static void reference_mass(const input *in, size_t before, double *mass)
{
  const shape *s = &in->s;
  const int half = s->dtype == QL_DTYPE_F16;
  double *count = calloc(s->tokens, sizeof *count), *p = malloc(s->tokens * sizeof *p);
  for (size_t j = 0; j < s->tokens; j++)
    mass[j] = 0;
  for (size_t h = 0; h < s->heads * s->group; h++)
    for (size_t i = before; i < s->tokens; i++) {
      const size_t begin = s->window != 0 && i + 1 > s->window ? i + 1 - s->window : 0;
      double max = -INFINITY, sum = 0;
      for (size_t j = begin; j <= i; j++) {
        p[j] = 0;
        for (size_t d = 0; d < s->dim; d++) {
          const float k = in->k[(j * s->heads + h / s->group) * s->dim + d];
          p[j] += (double)in->q[(i * s->heads * s->group + h) * s->dim + d] *
                  (double)(half ? through_f16(k) : k);
        }
        p[j] *= (double)attention_scale(s);
        max = fmax(max, p[j]);
      }
      for (size_t j = begin; j <= i; j++)
        sum += exp(p[j] - max);
      for (size_t j = begin; j <= i; j++) {
        mass[j] += exp(p[j] - max) / sum;
        count[j] += 1;
      }
    }
  for (size_t j = 0; j < s->tokens; j++)
    mass[j] = count[j] > 0 ? mass[j] / count[j] : 0;
  free(count), free(p);
}

static void mass_case(const ql_ctx *ctx, shape s, size_t before, double *got)
{
  input in = make_input(&s, 1.5f);
  float *out = random_floats(4, s.tokens * s.heads * s.group * s.dim, 1.0f);
  double *want = malloc(s.tokens * sizeof *want);
  ql_kv *kv = make_kv(ctx, &s, s.tokens);
  step(ctx, kv, &in, 0, s.tokens, out);
  const ql_tensor q =
      cube(in.q + before * s.heads * s.group * s.dim, s.tokens - before, s.heads * s.group, s.dim);
  assert_int_equal(ql_kv_mass(ctx, kv, 1, &q, attention_scale(&s), s.window, got, NULL),
                   QL_STATUS_OK);
  reference_mass(&in, before, want);
  for (size_t j = 0; j < s.tokens; j++)
    assert_true(fabs(got[j] - want[j]) <= 2e-5 * want[j]);
  assert_int_equal(ql_kv_mass(ctx, kv, 1, &q, NAN, 0, got, NULL), QL_STATUS_INVALID_ARGUMENT);
  assert_int_equal(ql_kv_mass(ctx, kv, 1, &q, 1, 0, NULL, NULL), QL_STATUS_INVALID_ARGUMENT);
  ql_kv_destroy(kv);
  free(out), free(want);
  free_input(&in);
}

static void test_mass(void **state)
{
  static const shape cases[] = {{1, 1, 1, 3, 0, QL_DTYPE_F32},
                                {70, 2, 3, 16, 0, QL_DTYPE_F32},
                                {130, 2, 1, 20, 17, QL_DTYPE_F32},
                                {150, 1, 2, 8, 100, QL_DTYPE_F16}};
  (void)state;
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
    for (size_t before = 0; before < cases[i].tokens; before += 60) {
      double one[150], two[150];
      ql_threads *pool = NULL;
      assert_int_equal(ql_threads_create(3, &pool), QL_STATUS_OK);
      ql_ctx *a = make_ctx("scalar", NULL), *b = make_ctx(NULL, pool);
      mass_case(a, cases[i], before, one);
      mass_case(b, cases[i], before, two);
      assert_memory_equal(one, two, cases[i].tokens * sizeof *one);
      ql_ctx_destroy(a), ql_ctx_destroy(b);
      ql_threads_destroy(pool);
    }
}

static const shape shapes[] = {
    {1, 1, 1, 1, 0, QL_DTYPE_F32},
    {3, 2, 1, 8, 0, QL_DTYPE_F32},
    {70, 2, 3, 17, 0, QL_DTYPE_F32},
    {130, 1, 4, 32, 0, QL_DTYPE_F32},
    {200, 2, 2, 64, 50, QL_DTYPE_F32},
    {200, 1, 1, 128, 64, QL_DTYPE_F32},
    {150, 2, 1, 40, 1, QL_DTYPE_F32},
    {129, 2, 2, 32, 0, QL_DTYPE_F16},
    {100, 1, 5, 20, 33, QL_DTYPE_F16},
    {65, 3, 1, 16, 1000, QL_DTYPE_F32},
    /* more than one piece of the context */
    {1100, 1, 2, 20, 0, QL_DTYPE_F32},
    {1030, 1, 1, 33, 600, QL_DTYPE_F16},
};

enum { SHAPES = sizeof shapes / sizeof shapes[0] };

static void check_accuracy(const char *isa, void *arg)
{
  double want[128], size[128];
  ql_ctx *ctx = make_ctx(isa, NULL);
  (void)arg;
  for (size_t i = 0; i < SHAPES; i++) {
    const shape *s = &shapes[i];
    input in = make_input(s, 2.0f);
    float *out = run(ctx, &in, s->tokens);
    /* Scores are below 4 sqrt(dim); their error, below dim 2^-24 times that, is relative in p. */
    const double bound = 0x1p-24 * (4 * sqrt((double)s->dim) * ((double)s->dim + 4) + 80);
    for (size_t t = 0; t < s->tokens; t++)
      for (size_t h = 0; h < s->heads * s->group; h++) {
        reference(&in, t, h, want, size);
        for (size_t d = 0; d < s->dim; d++)
          assert_close(out[(t * s->heads * s->group + h) * s->dim + d], want[d], bound * size[d],
                       isa, d);
      }
    free(out);
    free_input(&in);
  }
  ql_ctx_destroy(ctx);
}

typedef struct {
  const input *in;
  const float *want;
  size_t count;
} expected;

static void compare_isa(const char *isa, void *arg)
{
  const expected *e = arg;
  const size_t cuts[] = {1, 7, 64, e->in->s.tokens};
  const size_t workers[] = {2, 3, 7};
  ql_ctx *ctx = make_ctx(isa, NULL);
  for (size_t i = 0; i < sizeof cuts / sizeof cuts[0]; i++) {
    float *out = run(ctx, e->in, cuts[i]);
    assert_same_bits(out, e->want, e->count, isa);
    free(out);
  }
  ql_ctx_destroy(ctx);
  for (size_t i = 0; i < 3; i++) {
    ql_threads *pool = NULL;
    assert_int_equal(ql_threads_create(workers[i], &pool), QL_STATUS_OK);
    ctx = make_ctx(isa, pool);
    float *out = run(ctx, e->in, 31);
    assert_same_bits(out, e->want, e->count, "threads");
    free(out);
    ql_ctx_destroy(ctx);
    ql_threads_destroy(pool);
  }
}

static void test_same_bits(void **state)
{
  (void)state;
  for (size_t i = 0; i < SHAPES; i++) {
    input in = make_input(&shapes[i], 3.0f);
    ql_ctx *ctx = make_ctx("scalar", NULL);
    float *want = run(ctx, &in, shapes[i].tokens);
    const shape *s = &shapes[i];
    expected e = {&in, want, s->tokens * s->heads * s->group * s->dim};
    for_each_isa(compare_isa, &e);
    free(want);
    free_input(&in);
    ql_ctx_destroy(ctx);
  }
}

static void test_accuracy(void **state)
{
  (void)state;
  for_each_isa(check_accuracy, NULL);
}

/* Tokens after a truncation replace those that were there. */
static void test_truncate(void **state)
{
  const shape s = {100, 2, 2, 24, 0, QL_DTYPE_F32};
  ql_ctx *ctx = make_ctx(NULL, NULL);
  input in = make_input(&s, 1.0f), other = make_input(&s, -3.0f);
  const size_t count = s.tokens * s.heads * s.group * s.dim;
  float *want = run(ctx, &in, s.tokens), *out = random_floats(5, count, 1.0f);
  (void)state;
  ql_kv *kv = make_kv(ctx, &s, s.tokens);
  for (size_t keep = 0; keep < s.tokens; keep += 13) {
    ql_kv_truncate(kv, 0);
    assert_int_equal(ql_kv_length(kv, 1), 0);
    step(ctx, kv, &in, 0, keep, out);
    step(ctx, kv, &other, keep, s.tokens - keep, out);
    ql_kv_truncate(kv, s.tokens + 5); /* shortens nothing */
    assert_int_equal(ql_kv_length(kv, 1), s.tokens);
    ql_kv_truncate(kv, keep);
    assert_int_equal(ql_kv_length(kv, 1), keep);
    assert_int_equal(ql_kv_length(kv, 0), 0);
    step(ctx, kv, &in, keep, s.tokens - keep, out);
    assert_same_bits(out, want, count, "truncated");
  }
  ql_kv_destroy(kv);
  free(want);
  free(out);
  free_input(&in);
  free_input(&other);
  ql_ctx_destroy(ctx);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_accuracy),
      cmocka_unit_test(test_same_bits),
      cmocka_unit_test(test_truncate),
      cmocka_unit_test(test_mass),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
