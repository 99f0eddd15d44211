/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
/* Packed weights in a file: what comes back multiplies with the same bits, and whatever is not
 * exactly what packing wrote here, from this source, is refused. */
#include "common.h"

#include "cache.h"

#include <dirent.h>
#include <unistd.h>

enum { N = 70, K = 96, MATRICES = 13 };

static char directory[] = "/tmp/quantlib-packed-XXXXXX";
static char path[64];
static const uint8_t key[32] = {1, 2, 3};

static float representable(float x)
{
  uint32_t bits;
  memcpy(&bits, &x, sizeof bits);
  bits &= 0xffff0000u;
  memcpy(&x, &bits, sizeof x);
  return x;
}

/* parts: with an input scale, side columns and a low-rank term; order: groups that interleave;
 * QL_GRID_TABLE: a table for all, with order a codebook for each row instead. */
static ql_packed *quantized(const ql_ctx *ctx, int32_t bits, ql_grid_kind kind, bool order,
                            bool parts)
{
  enum { GROUP = 32, GROUPS = K / GROUP, RANK = 3 };
  static uint8_t codes[N * K];
  static float scales[N * GROUPS], fzeros[N * GROUPS], in_scale[K], side[N * 2], a[RANK * K],
      b[N * RANK], levels[N << 8];
  static int16_t zeros[N * GROUPS];
  static int32_t g_idx[K];
  static const int32_t cols[2] = {5, 40};
  for (size_t i = 0; i < N * K; i++)
    codes[i] = (uint8_t)((i * 2654435761u >> 7) & ((1u << bits) - 1));
  for (size_t i = 0; i < N * GROUPS; i++) {
    scales[i] = representable(random_at(1, i) + 1.5f);
    fzeros[i] = representable(random_at(2, i) * 3);
    zeros[i] = (int16_t)(i % (1u << bits));
  }
  for (size_t i = 0; i < K; i++) {
    g_idx[i] = (int32_t)(i % GROUPS);
    in_scale[i] = random_at(3, i) + 2;
  }
  for (size_t i = 0; i < N * 2; i++)
    side[i] = representable(random_at(4, i));
  for (size_t i = 0; i < RANK * K; i++)
    a[i] = representable(random_at(5, i));
  for (size_t i = 0; i < N * RANK; i++)
    b[i] = representable(random_at(6, i));
  for (size_t i = 0; i < (size_t)N << bits; i++)
    levels[i] = bits == 4 ? (float)(i * 5) * 0.25f - 8 : random_at(8, i);
  const bool table = kind == QL_GRID_TABLE;
  ql_qmat_view v = {.struct_size = sizeof v,
                    .rows = N,
                    .cols = K,
                    .bits = bits,
                    .kind = kind,
                    .block_rows = 1,
                    .block_cols = GROUP,
                    .groups = GROUPS,
                    .scale_dtype = QL_DTYPE_BF16,
                    .codes = codes,
                    .scales = scales,
                    .zeros = kind == QL_GRID_ASYM ? zeros : NULL,
                    .fzeros = kind == QL_GRID_FLOAT_ZERO ? fzeros : NULL,
                    .g_idx = order && !table ? g_idx : NULL,
                    .levels = table ? levels : NULL,
                    .level_sets = !table  ? 0
                                  : order ? N
                                          : 1};
  if (parts) {
    v.in_scale = in_scale;
    v.side_count = 2;
    v.side_cols = cols;
    v.side_values = side;
    v.side_dtype = QL_DTYPE_F16;
    v.rank = RANK;
    v.lora_a = a;
    v.lora_b = b;
    v.lora_dtype = QL_DTYPE_BF16;
  }
  ql_qmat *q = NULL;
  ql_packed *p = NULL;
  ql_error error = QL_ERROR_INIT;
  if (ql_qmat_create(ctx, &v, &q, &error) != QL_STATUS_OK ||
      ql_pack(ctx, q, &p, &error) != QL_STATUS_OK)
    fail_msg("%s", error.text);
  ql_qmat_destroy(q);
  return p;
}

static ql_packed *floating(const ql_ctx *ctx, ql_dtype type)
{
  float *x = random_floats(7, N * K, 1.0f);
  const ql_tensor f32 = matrix(x, N, K);
  unsigned char *room = malloc(N * K * 4);
  ql_tensor t;
  ql_packed *p = NULL;
  ql_tensor_init_2d(&t, room, type, N, K);
  assert_int_equal(ql_tensor_convert(ctx, &f32, &t, NULL), QL_STATUS_OK);
  assert_int_equal(ql_pack_float(ctx, &t, &p, NULL), QL_STATUS_OK);
  free(room);
  free(x);
  return p;
}

static const char *const names[MATRICES] = {
    "w2",  "w3",   "w4",    "w8",        "w4 float zero", "act-order",  "parts",
    "f32", "bf16", "table", "codebooks", "wide table",    "whole table"};

static void make_all(const ql_ctx *ctx, ql_packed *out[MATRICES])
{
  out[0] = quantized(ctx, 2, QL_GRID_SYM_SIGNED, false, false);
  out[1] = quantized(ctx, 3, QL_GRID_ASYM, false, false);
  out[2] = quantized(ctx, 4, QL_GRID_ASYM, false, false);
  out[3] = quantized(ctx, 8, QL_GRID_ASYM, false, false);
  out[4] = quantized(ctx, 4, QL_GRID_FLOAT_ZERO, false, false);
  out[5] = quantized(ctx, 4, QL_GRID_ASYM, true, false);
  out[6] = quantized(ctx, 4, QL_GRID_ASYM, true, true);
  out[7] = floating(ctx, QL_DTYPE_F32);
  out[8] = floating(ctx, QL_DTYPE_BF16);
  out[9] = quantized(ctx, 3, QL_GRID_TABLE, false, false);
  out[10] = quantized(ctx, 3, QL_GRID_TABLE, true, false);
  out[11] = quantized(ctx, 8, QL_GRID_TABLE, false, false);
  out[12] = quantized(ctx, 4, QL_GRID_TABLE, false, false); /* levels that are whole numbers */
}

static void save_all(const ql_ctx *ctx)
{
  ql_packed *packed[MATRICES];
  ql_error error = QL_ERROR_INIT;
  make_all(ctx, packed);
  if (ql_packed_save(ctx, path, key, names, (const ql_packed *const *)packed, MATRICES, &error))
    fail_msg("%s", error.text);
  for (size_t i = 0; i < MATRICES; i++)
    ql_packed_destroy(packed[i]);
}

static void multiply(const ql_ctx *ctx, const ql_packed *p, float *y)
{
  float *x = random_floats(9, 5 * K, 1.0f);
  const ql_tensor in = matrix(x, 5, K), out = matrix(y, 5, N);
  assert_int_equal(ql_gemm(ctx, p, &in, &out, NULL, NULL), QL_STATUS_OK);
  free(x);
}

static void check_round_trip(const char *isa, void *unused)
{
  ql_ctx *ctx = make_ctx(isa, NULL);
  ql_packed *packed[MATRICES], *back;
  ql_packed_file *file = NULL;
  ql_error error = QL_ERROR_INIT;
  float want[5 * N], got[5 * N];
  (void)unused;
  make_all(ctx, packed);
  save_all(ctx);
  if (ql_packed_open(ctx, path, key, &file, &error))
    fail_msg("%s", error.text);
  assert_int_equal(ql_packed_count(file), MATRICES);
  assert_null(ql_packed_name(file, MATRICES));
  assert_int_equal(ql_packed_verify(file, &error), QL_STATUS_OK);
  for (size_t i = 0; i < MATRICES; i++) {
    ql_packed_info info = {.struct_size = sizeof info}, original = info;
    assert_string_equal(ql_packed_name(file, i), names[i]);
    assert_int_equal(ql_packed_map(file, names[i], &back, &error), QL_STATUS_OK);
    ql_packed_get(back, &info);
    ql_packed_get(packed[i], &original);
    info.bytes = original.bytes; /* the room for the header is another */
    assert_memory_equal(&info, &original, sizeof info);
    multiply(ctx, packed[i], want);
    multiply(ctx, back, got);
    assert_same_bits(got, want, 5 * N, names[i]);
    ql_packed_destroy(back);
    ql_packed_destroy(packed[i]);
  }
  assert_int_equal(ql_packed_map(file, "none", &back, &error), QL_STATUS_NOT_FOUND);
  ql_packed_close(file);
  ql_ctx_destroy(ctx);
}

static void test_round_trip(void **unused)
{
  (void)unused;
  for_each_isa(check_round_trip, NULL);
}

static ql_status open_status(const ql_ctx *ctx, const uint8_t *wanted, ql_error *error)
{
  ql_packed_file *file = NULL;
  const ql_status status = ql_packed_open(ctx, path, wanted, &file, error);
  assert_true((status == QL_STATUS_OK) == (file != NULL));
  ql_packed_close(file);
  return status;
}

static void test_mismatch(void **unused)
{
  ql_ctx *scalar = make_ctx("scalar", NULL), *best = make_ctx(NULL, NULL);
  ql_error error = QL_ERROR_INIT;
  uint8_t other[32];
  (void)unused;
  memcpy(other, key, sizeof other);
  other[31] ^= 1;
  save_all(scalar);
  assert_int_equal(open_status(scalar, key, &error), QL_STATUS_OK);
  assert_int_equal(open_status(scalar, NULL, &error), QL_STATUS_OK);
  assert_int_equal(open_status(scalar, other, &error), QL_STATUS_LAYOUT);
  assert_non_null(strstr(error.text, "source"));
  if (strcmp(ql_ctx_isa_name(best), "avx512") == 0) {
    assert_int_equal(open_status(best, key, &error), QL_STATUS_LAYOUT);
    assert_non_null(strstr(error.text, "other kernels than those of avx512"));
  }
  ql_ctx_destroy(scalar);
  ql_ctx_destroy(best);
}

static unsigned char *read_file(size_t *size)
{
  FILE *f = fopen(path, "rb");
  assert_non_null(f);
  fseek(f, 0, SEEK_END);
  *size = (size_t)ftell(f);
  rewind(f);
  unsigned char *bytes = aligned_alloc(4096, (*size + 4095) / 4096 * 4096);
  assert_int_equal(fread(bytes, 1, *size, f), *size);
  fclose(f);
  return bytes;
}

static ql_status memory_status(const ql_ctx *ctx, const void *bytes, size_t size, bool verify,
                               ql_error *error)
{
  ql_packed_file *file = NULL;
  ql_status status = qli_cache_open_memory(ctx, "memory", bytes, size, key, &file, error);
  if (status == QL_STATUS_OK && verify)
    status = ql_packed_verify(file, error);
  ql_packed_close(file);
  return status;
}

/* Every byte of the table, and some of the weights. */
static void test_damage(void **unused)
{
  ql_ctx *ctx = make_ctx(NULL, NULL);
  ql_error error = QL_ERROR_INIT;
  size_t size, flips = 0;
  (void)unused;
  save_all(ctx);
  unsigned char *bytes = read_file(&size);
  assert_int_equal(memory_status(ctx, bytes, size, true, &error), QL_STATUS_OK);
  for (size_t i = 0; i < 4096; i++, flips++) {
    bytes[i] ^= 0x10;
    const ql_status status = memory_status(ctx, bytes, size, false, &error);
    if (status != QL_STATUS_FORMAT && status != QL_STATUS_LAYOUT)
      fail_msg("byte %zu of the table: %d", i, (int)status);
    bytes[i] ^= 0x10;
  }
  const qli_cache_header *header = (const void *)bytes;
  const qli_cache_record *records = (const void *)(bytes + sizeof *header);
  for (size_t r = 0; r < header->records; r++) {
    const size_t at = (size_t)records[r].data_at, n = (size_t)records[r].data_bytes;
    for (size_t i = at; i < at + n; i += 1 + n / 50, flips++) {
      bytes[i] ^= 1;
      assert_int_not_equal(memory_status(ctx, bytes, size, true, &error), QL_STATUS_OK);
      bytes[i] ^= 1;
    }
  }
  assert_true(flips > 4500);
  free(bytes);
  ql_ctx_destroy(ctx);
}

static void test_truncated(void **unused)
{
  ql_ctx *ctx = make_ctx(NULL, NULL);
  ql_error error = QL_ERROR_INIT;
  size_t size;
  (void)unused;
  save_all(ctx);
  unsigned char *bytes = read_file(&size);
  for (size_t n = 0; n < size; n += n < 300 ? 1 : 61)
    assert_int_equal(memory_status(ctx, bytes, n, false, &error), QL_STATUS_FORMAT);
  assert_int_equal(truncate(path, 0), 0);
  assert_int_equal(open_status(ctx, key, &error), QL_STATUS_FORMAT);
  assert_int_equal(unlink(path), 0);
  assert_int_equal(open_status(ctx, key, &error), QL_STATUS_NOT_FOUND);
  free(bytes);
  ql_ctx_destroy(ctx);
}

static size_t files_in_directory(void)
{
  size_t count = 0;
  DIR *d = opendir(directory);
  assert_non_null(d);
  for (const struct dirent *e; (e = readdir(d)) != NULL;)
    count += e->d_name[0] != '.';
  closedir(d);
  return count;
}

/* A second save replaces the first, and a failed one leaves nothing. */
static void test_save(void **unused)
{
  ql_ctx *ctx = make_ctx(NULL, NULL), *scalar = make_ctx("scalar", NULL);
  ql_packed *p = floating(ctx, QL_DTYPE_F32);
  const ql_packed *const list[1] = {p};
  const char *const name[1] = {"a"}, *const bad[1] = {"a\n"};
  ql_error error = QL_ERROR_INIT;
  ql_packed_file *file = NULL;
  (void)unused;
  save_all(ctx);
  assert_int_equal(ql_packed_save(ctx, path, key, name, list, 1, &error), QL_STATUS_OK);
  assert_int_equal(ql_packed_open(ctx, path, key, &file, &error), QL_STATUS_OK);
  assert_int_equal(ql_packed_count(file), 1);
  ql_packed_close(file);
  assert_int_equal(files_in_directory(), 1);
  assert_int_equal(ql_packed_save(ctx, path, key, bad, list, 1, &error),
                   QL_STATUS_INVALID_ARGUMENT);
  assert_int_equal(ql_packed_save(ctx, "/nonexistent/x", key, name, list, 1, &error),
                   QL_STATUS_NOT_FOUND);
  assert_int_equal(ql_packed_save(ctx, path, NULL, name, list, 1, &error),
                   QL_STATUS_INVALID_ARGUMENT);
  if (strcmp(ql_ctx_isa_name(ctx), "avx512") == 0)
    assert_int_equal(ql_packed_save(scalar, path, key, name, list, 1, &error), QL_STATUS_LAYOUT);
  assert_int_equal(ql_packed_save(ctx, path, key, NULL, NULL, 0, &error), QL_STATUS_OK);
  assert_int_equal(open_status(ctx, key, &error), QL_STATUS_OK);
  assert_int_equal(files_in_directory(), 1);
  ql_packed_destroy(p);
  ql_ctx_destroy(ctx);
  ql_ctx_destroy(scalar);
}

static int set_up(void **unused)
{
  (void)unused;
  if (mkdtemp(directory) == NULL)
    return -1;
  snprintf(path, sizeof path, "%s/packed", directory);
  return 0;
}

static int tear_down(void **unused)
{
  (void)unused;
  (void)unlink(path);
  return rmdir(directory);
}

int main(void)
{
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_round_trip),
                                     cmocka_unit_test(test_mismatch), cmocka_unit_test(test_damage),
                                     cmocka_unit_test(test_truncated), cmocka_unit_test(test_save)};
  return cmocka_run_group_tests(tests, set_up, tear_down);
}
