/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
/* Misuse of the operations and of the cache: the status, what the message names, and that nothing
 * was written; and what a refused allocation leaves behind. */
#include "common.h"

enum { M = 4, N = 6 };

typedef struct {
  ql_ctx *ctx;
  float x[M * N], y[M * N], w[N];
  ql_tensor tx, ty, tw;
  ql_error error;
} fixture;

static void set_up(fixture *f)
{
  memset(f, 0, sizeof *f);
  f->ctx = make_ctx(NULL, NULL);
  for (size_t i = 0; i < M * N; i++)
    f->x[i] = f->y[i] = (float)i;
  f->tx = matrix(f->x, M, N);
  f->ty = matrix(f->y, M, N);
  f->tw = vector(f->w, N);
  f->error = (ql_error)QL_ERROR_INIT;
}

/* The call failed as it should, its message names what, and y is as it was. */
static void assert_failed(fixture *f, ql_status got, ql_status want, const char *what)
{
  assert_int_equal(got, want);
  assert_int_equal(f->error.status, want);
  if (strstr(f->error.text, what) == NULL)
    fail_msg("\"%s\" does not name \"%s\"", f->error.text, what);
  for (size_t i = 0; i < M * N; i++)
    assert_true(f->y[i] == (float)i);
  f->error = (ql_error)QL_ERROR_INIT;
  f->tx = matrix(f->x, M, N);
  f->ty = matrix(f->y, M, N);
  f->tw = vector(f->w, N);
}

static void test_tensor_errors(void **state)
{
  fixture f;
  (void)state;
  set_up(&f);
  assert_failed(&f, ql_softmax(NULL, &f.tx, &f.ty, &f.error), QL_STATUS_INVALID_ARGUMENT, "ctx");
  assert_failed(&f, ql_softmax(f.ctx, NULL, &f.ty, &f.error), QL_STATUS_INVALID_ARGUMENT,
                "x is NULL");
  assert_failed(&f, ql_softmax(f.ctx, &f.tx, NULL, &f.error), QL_STATUS_INVALID_ARGUMENT,
                "y is NULL");
  f.tx.dtype = QL_DTYPE_F16;
  assert_failed(&f, ql_softmax(f.ctx, &f.tx, &f.ty, &f.error), QL_STATUS_DTYPE, "x is F16");
  f.tx.rank = 1;
  assert_failed(&f, ql_add(f.ctx, &f.tx, &f.ty, &f.error), QL_STATUS_SHAPE, "x has rank 1, not 2");
  f.tx.shape[1] = N - 1;
  assert_failed(&f, ql_add(f.ctx, &f.tx, &f.ty, &f.error), QL_STATUS_SHAPE,
                "x has 5 elements along axis 1, y has 6");
  f.tx.stride[1] = 8;
  assert_failed(&f, ql_softmax(f.ctx, &f.tx, &f.ty, &f.error), QL_STATUS_INVALID_ARGUMENT,
                "columns of x lie 8 bytes apart");
  f.tx.stride[0] = 26;
  assert_failed(&f, ql_softmax(f.ctx, &f.tx, &f.ty, &f.error), QL_STATUS_INVALID_ARGUMENT,
                "stride 26 of x along axis 0");
  f.tx.data = (char *)f.x + 2;
  assert_failed(&f, ql_softmax(f.ctx, &f.tx, &f.ty, &f.error), QL_STATUS_INVALID_ARGUMENT,
                "x does not start at a multiple of 4");
  f.ty.stride[0] = (N - 1) * 4;
  assert_failed(&f, ql_softmax(f.ctx, &f.tx, &f.ty, &f.error), QL_STATUS_INVALID_ARGUMENT,
                "rows of y, which is written, share memory");
  f.ty.stride[0] = 0;
  assert_failed(&f, ql_add(f.ctx, &f.tx, &f.ty, &f.error), QL_STATUS_INVALID_ARGUMENT, "stride 0");
  f.tx.stride[0] = PTRDIFF_MAX / 2 - PTRDIFF_MAX / 2 % 4;
  assert_failed(&f, ql_add(f.ctx, &f.tx, &f.ty, &f.error), QL_STATUS_OVERFLOW, "4 steps of");
  f.tx.stride[0] = PTRDIFF_MIN;
  assert_failed(&f, ql_add(f.ctx, &f.tx, &f.ty, &f.error), QL_STATUS_OVERFLOW, "in x overflow");
  f.tx.device = 1;
  assert_failed(&f, ql_log_softmax(f.ctx, &f.tx, &f.ty, &f.error), QL_STATUS_UNSUPPORTED,
                "device 1");
  f.tx.data = NULL;
  assert_failed(&f, ql_log_softmax(f.ctx, &f.tx, &f.ty, &f.error), QL_STATUS_INVALID_ARGUMENT,
                "data");
  ql_ctx_destroy(f.ctx);
}

static void test_operation_errors(void **state)
{
  fixture f;
  (void)state;
  set_up(&f);
  f.tw.shape[0] = N + 1;
  assert_failed(&f, ql_rms_norm(f.ctx, &f.tx, &f.tw, 0, &f.ty, &f.error), QL_STATUS_SHAPE,
                "weight has 7 elements, x has 6 columns");
  const float eps[] = {-1e-6f, NAN, INFINITY};
  for (size_t i = 0; i < 3; i++)
    assert_failed(&f, ql_rms_norm(f.ctx, &f.tx, &f.tw, eps[i], &f.ty, &f.error),
                  QL_STATUS_INVALID_ARGUMENT, "eps");
  f.tx.shape[0] = M - 1;
  assert_failed(&f, ql_silu_mul(f.ctx, &f.ty, &f.tx, &f.ty, &f.error), QL_STATUS_SHAPE,
                "gate has 4 elements along axis 0, up has 3");
  ql_tensor t = cube(f.y, M, 2, 3), angles = matrix(f.x, M, 1);
  assert_failed(&f, ql_rope(f.ctx, &t, &angles, &angles, &f.error), QL_STATUS_SHAPE, "odd size, 3");
  t = cube(f.y, M, 1, N);
  assert_failed(&f, ql_rope(f.ctx, &t, &angles, &angles, &f.error), QL_STATUS_SHAPE,
                "cosines is 4 x 1, x needs 4 x 3");
  angles = matrix(f.x, M, 3);
  ql_tensor few = matrix(f.x, M - 1, 3);
  assert_failed(&f, ql_rope(f.ctx, &t, &angles, &few, &f.error), QL_STATUS_SHAPE,
                "sines is 3 x 3, x needs 4 x 3");
  t.stride[0] = N * 4 - 4;
  assert_failed(&f, ql_rope(f.ctx, &t, &angles, &angles, &f.error), QL_STATUS_INVALID_ARGUMENT,
                "share memory");
  ql_ctx_destroy(f.ctx);
}

static void test_empty(void **state)
{
  fixture f;
  (void)state;
  set_up(&f);
  f.tx = matrix(NULL, 0, N);
  f.ty = matrix(NULL, 0, N);
  assert_int_equal(ql_softmax(f.ctx, &f.tx, &f.ty, NULL), QL_STATUS_OK);
  assert_int_equal(ql_rms_norm(f.ctx, &f.tx, &f.tw, 0, &f.ty, NULL), QL_STATUS_OK);
  f.tx = matrix(NULL, M, 0);
  f.ty = matrix(NULL, M, 0);
  assert_int_equal(ql_log_softmax(f.ctx, &f.tx, &f.ty, NULL), QL_STATUS_OK);
  ql_ctx_destroy(f.ctx);
}

/* Rows may go backwards, and inputs may repeat a row. */
static void test_strides(void **state)
{
  fixture f;
  float repeated[M * N], backward[M * N], want[M * N];
  (void)state;
  set_up(&f);
  ql_tensor tr = matrix(repeated, M, N), tb = matrix(backward + (M - 1) * N, M, N);
  const ql_tensor twant = matrix(want, M, N);
  tb.stride[0] = -N * 4;
  assert_int_equal(ql_softmax(f.ctx, &f.tx, &tb, NULL), QL_STATUS_OK);
  assert_int_equal(ql_softmax(f.ctx, &f.tx, &twant, NULL), QL_STATUS_OK);
  for (size_t r = 0; r < M; r++)
    assert_same_bits(backward + (M - 1 - r) * N, want + r * N, N, "backward");
  f.tx.stride[0] = 0;
  assert_int_equal(ql_softmax(f.ctx, &f.tx, &tr, NULL), QL_STATUS_OK);
  for (size_t r = 0; r < M; r++)
    assert_same_bits(repeated + r * N, want, N, "repeated");
  ql_ctx_destroy(f.ctx);
}

enum { LAYERS = 2, HEADS = 2, DIM = 3, CAPACITY = 5 };

static ql_kv_config cache_config(void)
{
  ql_kv_config c = QL_KV_CONFIG_INIT;
  c.layers = LAYERS;
  c.heads = HEADS;
  c.dim = DIM;
  c.capacity = CAPACITY;
  return c;
}

static void test_kv_create_errors(void **state)
{
  fixture f;
  ql_kv *kv = NULL;
  (void)state;
  set_up(&f);
  ql_kv_config c = cache_config();
  assert_failed(&f, ql_kv_create(NULL, &c, &kv, &f.error), QL_STATUS_INVALID_ARGUMENT, "ctx");
  assert_failed(&f, ql_kv_create(f.ctx, NULL, &kv, &f.error), QL_STATUS_INVALID_ARGUMENT, "config");
  assert_failed(&f, ql_kv_create(f.ctx, &c, NULL, &f.error), QL_STATUS_INVALID_ARGUMENT, "out");
  c.struct_size = 8;
  assert_failed(&f, ql_kv_create(f.ctx, &c, &kv, &f.error), QL_STATUS_INVALID_ARGUMENT,
                "struct_size is 8");
  for (size_t i = 0; i < 4; i++) {
    c = cache_config();
    *(size_t *[]){&c.layers, &c.heads, &c.dim, &c.capacity}[i] = 0;
    assert_failed(&f, ql_kv_create(f.ctx, &c, &kv, &f.error), QL_STATUS_INVALID_ARGUMENT, "empty");
    c = cache_config();
    *(size_t *[]){&c.layers, &c.heads, &c.dim, &c.capacity}[i] = SIZE_MAX;
    assert_failed(&f, ql_kv_create(f.ctx, &c, &kv, &f.error), QL_STATUS_OVERFLOW, "too large");
    c = cache_config();
    *(size_t *[]){&c.layers, &c.heads, &c.dim, &c.capacity}[i] = SIZE_MAX / 4;
    assert_failed(&f, ql_kv_create(f.ctx, &c, &kv, &f.error), QL_STATUS_OVERFLOW, "too large");
  }
  c = cache_config();
  c.dtype = QL_DTYPE_BF16;
  assert_failed(&f, ql_kv_create(f.ctx, &c, &kv, &f.error), QL_STATUS_DTYPE, "not BF16");
  c = cache_config();
  c.reserved = 1;
  assert_failed(&f, ql_kv_create(f.ctx, &c, &kv, &f.error), QL_STATUS_INVALID_ARGUMENT, "reserved");
  assert_null(kv);
  ql_kv_destroy(NULL);
  ql_kv_truncate(NULL, 3);
  assert_int_equal(ql_kv_length(NULL, 0), 0);
  ql_ctx_destroy(f.ctx);
}

static void test_kv_append_errors(void **state)
{
  fixture f;
  ql_kv *kv = NULL;
  (void)state;
  set_up(&f);
  const ql_kv_config c = cache_config();
  assert_int_equal(ql_kv_create(f.ctx, &c, &kv, NULL), QL_STATUS_OK);
  ql_tensor k = cube(f.x, 3, HEADS, DIM), bad = k;
  assert_failed(&f, ql_kv_append(f.ctx, NULL, 0, &k, &k, &f.error), QL_STATUS_INVALID_ARGUMENT,
                "kv is NULL");
  assert_failed(&f, ql_kv_append(f.ctx, kv, LAYERS, &k, &k, &f.error), QL_STATUS_INVALID_ARGUMENT,
                "layer 2 of a cache with 2 layers");
  bad.shape[2] = DIM - 1;
  assert_failed(&f, ql_kv_append(f.ctx, kv, 0, &bad, &k, &f.error), QL_STATUS_SHAPE,
                "heads of k have size 2, those of the cache 3");
  bad = k;
  bad.shape[1] = HEADS - 1;
  assert_failed(&f, ql_kv_append(f.ctx, kv, 0, &bad, &bad, &f.error), QL_STATUS_SHAPE,
                "k and v have 1 heads, the cache 2");
  assert_failed(&f, ql_kv_append(f.ctx, kv, 0, &k, &bad, &f.error), QL_STATUS_SHAPE, "v has 1");
  bad = k;
  bad.dtype = QL_DTYPE_BF16;
  assert_failed(&f, ql_kv_append(f.ctx, kv, 0, &k, &bad, &f.error), QL_STATUS_DTYPE, "v is BF16");
  assert_int_equal(ql_kv_append(f.ctx, kv, 1, &k, &k, NULL), QL_STATUS_OK);
  assert_failed(&f, ql_kv_append(f.ctx, kv, 1, &k, &k, &f.error), QL_STATUS_OVERFLOW,
                "layer 1 holds 3 of 5 tokens: no room for 3 more");
  assert_int_equal(ql_kv_length(kv, 1), 3);
  assert_int_equal(ql_kv_length(kv, 0), 0);
  assert_int_equal(ql_kv_length(kv, LAYERS), 0);
  k.shape[0] = 0;
  assert_int_equal(ql_kv_append(f.ctx, kv, 1, &k, &k, NULL), QL_STATUS_OK);
  k.shape[0] = 2;
  assert_int_equal(ql_kv_append(f.ctx, kv, 1, &k, &k, NULL), QL_STATUS_OK);
  assert_int_equal(ql_kv_length(kv, 1), CAPACITY);
  ql_kv_destroy(kv);
  ql_ctx_destroy(f.ctx);
}

static void test_kv_attend_errors(void **state)
{
  fixture f;
  ql_kv *kv = NULL;
  (void)state;
  set_up(&f);
  const ql_kv_config c = cache_config();
  assert_int_equal(ql_kv_create(f.ctx, &c, &kv, NULL), QL_STATUS_OK);
  ql_tensor k = cube(f.x, 3, HEADS, DIM), q = k, out = cube(f.y, 3, HEADS, DIM);
  assert_failed(&f, ql_kv_attend(f.ctx, kv, 0, &q, 1, 0, &out, &f.error), QL_STATUS_SHAPE,
                "q has 3 tokens, layer 0 of the cache holds 0");
  assert_int_equal(ql_kv_append(f.ctx, kv, 0, &k, &k, NULL), QL_STATUS_OK);
  q.shape[1] = out.shape[1] = 1;
  assert_failed(&f, ql_kv_attend(f.ctx, kv, 0, &q, 1, 0, &out, &f.error), QL_STATUS_SHAPE,
                "q has 1 heads, which is no multiple of the cache's 2");
  q = k;
  assert_failed(&f, ql_kv_attend(f.ctx, kv, 0, &q, 1, 0, &out, &f.error), QL_STATUS_SHAPE,
                "q has 2 elements along axis 1, out has 1");
  out = cube(f.y, 3, HEADS, DIM);
  assert_failed(&f, ql_kv_attend(f.ctx, kv, 0, &q, NAN, 0, &out, &f.error),
                QL_STATUS_INVALID_ARGUMENT, "scale");
  out.stride[1] = 4;
  assert_failed(&f, ql_kv_attend(f.ctx, kv, 0, &q, 1, 0, &out, &f.error),
                QL_STATUS_INVALID_ARGUMENT, "rows of out");
  q.shape[0] = out.shape[0] = 0;
  assert_int_equal(ql_kv_attend(f.ctx, kv, 0, &q, 1, 0, &out, NULL), QL_STATUS_OK);
  ql_kv_destroy(kv);
  ql_ctx_destroy(f.ctx);
}

typedef struct {
  size_t left, blocks; /* allocations until one fails; blocks in use */
} meter;

static void *metered_alloc(void *user, size_t size, size_t align)
{
  meter *m = user;
  void *block = NULL;
  if (m->left == 0 || posix_memalign(&block, align, size) != 0)
    return NULL;
  m->left--;
  m->blocks++;
  return block;
}

static void metered_free(void *user, void *block)
{
  ((meter *)user)->blocks--;
  free(block);
}

/* Creates a cache, fills and asks it; the first failure ends it. */
static ql_status use_cache(const ql_ctx *ctx, const fixture *f, float *out)
{
  ql_kv *kv = NULL;
  const ql_kv_config c = cache_config();
  const ql_tensor k = cube(f->x, 3, HEADS, DIM), y = cube(out, 3, HEADS, DIM);
  ql_status status = ql_kv_create(ctx, &c, &kv, NULL);
  if (status != QL_STATUS_OK)
    assert_null(kv);
  else
    status = ql_kv_append(ctx, kv, 0, &k, &k, NULL);
  if (status == QL_STATUS_OK)
    status = ql_kv_attend(ctx, kv, 0, &k, 1, 0, &y, NULL);
  ql_kv_destroy(kv);
  return status;
}

static void test_no_memory(void **state)
{
  meter m = {1000, 0};
  fixture f;
  ql_ctx_config config = QL_CTX_CONFIG_INIT;
  ql_ctx *ctx = NULL;
  (void)state;
  set_up(&f);
  config.allocator = (ql_allocator){&m, metered_alloc, metered_free};
  assert_int_equal(ql_ctx_create(&config, &ctx, NULL), QL_STATUS_OK);
  const size_t before = m.blocks;
  size_t n = 0;
  for (ql_status status = QL_STATUS_NO_MEMORY; status != QL_STATUS_OK; n++) {
    float out[3 * HEADS * DIM] = {0};
    m.left = n;
    status = use_cache(ctx, &f, out);
    assert_int_equal(m.blocks, before);
    if (status != QL_STATUS_OK) {
      assert_int_equal(status, QL_STATUS_NO_MEMORY);
      for (size_t i = 0; i < 3 * HEADS * DIM; i++)
        assert_true(out[i] == 0.0f);
    }
  }
  assert_true(n > 3);
  m.left = 1000;
  ql_ctx_destroy(ctx);
  ql_ctx_destroy(f.ctx);
  assert_int_equal(m.blocks, 0);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_tensor_errors),
      cmocka_unit_test(test_operation_errors),
      cmocka_unit_test(test_empty),
      cmocka_unit_test(test_strides),
      cmocka_unit_test(test_kv_create_errors),
      cmocka_unit_test(test_kv_append_errors),
      cmocka_unit_test(test_kv_attend_errors),
      cmocka_unit_test(test_no_memory),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
