/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#include "../cm.h"
#include "scratch.h"

#include <quantlib/quantlib.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static ql_ctx *ctx;

static void ok(ql_status status, const ql_error *error)
{
  if (status != QL_STATUS_OK)
    fail_msg("%s: %s", ql_status_str(status), error->text);
}

static ql_writer *create(const char *dir, uint64_t shard_bytes, int32_t overwrite)
{
  ql_writer_config config = QL_WRITER_CONFIG_INIT;
  ql_error error = QL_ERROR_INIT;
  ql_writer *w = NULL;
  config.shard_bytes = shard_bytes;
  config.overwrite = overwrite;
  ok(ql_writer_create(ctx, dir, &config, &w, &error), &error);
  return w;
}

static void declare(ql_writer *w, const char *name, ql_dtype dtype, size_t rows, size_t cols)
{
  ql_error error = QL_ERROR_INIT;
  const size_t shape[2] = {rows, cols};
  ok(ql_writer_declare(w, name, dtype, 2, shape, &error), &error);
}

/* Bytes first, first + 1, ... */
static void put(ql_writer *w, const char *name, ql_dtype dtype, size_t rows, size_t cols,
                unsigned first)
{
  unsigned char bytes[1024];
  ql_error error = QL_ERROR_INIT;
  ql_tensor t;
  for (size_t i = 0; i < sizeof bytes; i++)
    bytes[i] = (unsigned char)(first + i);
  ql_tensor_init_2d(&t, bytes, dtype, rows, cols);
  ok(ql_writer_put(w, name, &t, &error), &error);
}

static void finish(ql_writer *w)
{
  ql_error error = QL_ERROR_INIT;
  ok(ql_writer_finish(w, &error), &error);
  ql_writer_destroy(w);
}

static void begin(ql_writer *w)
{
  ql_error error = QL_ERROR_INIT;
  ok(ql_writer_begin(w, &error), &error);
}

static void expect_file(const char *path, const char *header, const unsigned char *data,
                        size_t data_bytes)
{
  size_t size = 0;
  unsigned char *bytes = read_bytes(path, &size);
  assert_non_null(bytes);
  const size_t length = strlen(header);
  assert_int_equal(size, 8 + length + data_bytes);
  for (int i = 0; i < 8; i++)
    assert_int_equal(bytes[i], length >> 8 * i & 0xff);
  assert_memory_equal(bytes + 8, header, length);
  assert_memory_equal(bytes + 8 + length, data, data_bytes);
  free(bytes);
}

/* Order and padding as the format's reference writer has them: I64 before BF16 before F16 before
 * U8, names ascending, spaces up to a multiple of 8. */
static void test_layout(void **state)
{
  (void)state;
  static const char header[] =
      "{\"__metadata__\":{\"format\":\"pt\"},"
      "\"z\":{\"dtype\":\"I64\",\"shape\":[1,1],\"data_offsets\":[0,8]},"
      "\"b\":{\"dtype\":\"BF16\",\"shape\":[1,2],\"data_offsets\":[8,12]},"
      "\"h\":{\"dtype\":\"F16\",\"shape\":[1,1],\"data_offsets\":[12,14]},"
      "\"a\\\"\\\\\xc3\xa9\":{\"dtype\":\"U8\",\"shape\":[1,3],\"data_offsets\":[14,17]},"
      "\"c\":{\"dtype\":\"U8\",\"shape\":[0,3],\"data_offsets\":[17,17]}}";
  static const unsigned char data[17] = {10, 11, 12, 13, 14, 15, 16, 17, 20,
                                         21, 22, 23, 30, 31, 40, 41, 42};
  const char *dir = scratch_path("layout");
  ql_writer *w = create(dir, 0, 0);
  declare(w, "c", QL_DTYPE_U8, 0, 3);
  declare(w, "a\"\\\xc3\xa9", QL_DTYPE_U8, 1, 3);
  declare(w, "b", QL_DTYPE_BF16, 1, 2);
  declare(w, "z", QL_DTYPE_I64, 1, 1);
  declare(w, "h", QL_DTYPE_F16, 1, 1);
  assert_int_equal(ql_writer_bytes(w), 17);
  begin(w);
  put(w, "h", QL_DTYPE_F16, 1, 1, 30);
  put(w, "z", QL_DTYPE_I64, 1, 1, 10);
  put(w, "a\"\\\xc3\xa9", QL_DTYPE_U8, 1, 3, 40);
  put(w, "c", QL_DTYPE_U8, 0, 3, 0);
  put(w, "b", QL_DTYPE_BF16, 1, 2, 20);
  assert_int_equal(access(dir, F_OK), -1); /* nothing is visible before the end */
  finish(w);
  char padded[sizeof header + 8];
  snprintf(padded, sizeof padded, "%-*s", (int)((sizeof header - 1 + 7) / 8 * 8), header);
  expect_file(scratch_path("layout/model.safetensors"), padded, data, sizeof data);
  assert_int_equal(count_entries(dir), 1);
}

static const char index_text[] = "{\n"
                                 "  \"metadata\": {\n"
                                 "    \"total_size\": 28\n"
                                 "  },\n"
                                 "  \"weight_map\": {\n"
                                 "    \"a\": \"model-00001-of-00003.safetensors\",\n"
                                 "    \"b\": \"model-00001-of-00003.safetensors\",\n"
                                 "    \"c\": \"model-00002-of-00003.safetensors\",\n"
                                 "    \"d\": \"model-00003-of-00003.safetensors\"\n"
                                 "  }\n"
                                 "}\n";

/* 10 bytes a shard: a and b fit, c is larger than a shard and has one of its own. */
static void write_sharded(const char *dir)
{
  ql_writer *w = create(dir, 10, 0);
  declare(w, "c", QL_DTYPE_U8, 3, 4);
  declare(w, "d", QL_DTYPE_F32, 1, 2);
  declare(w, "b", QL_DTYPE_F16, 1, 2);
  declare(w, "a", QL_DTYPE_U8, 1, 4);
  begin(w);
  put(w, "a", QL_DTYPE_U8, 1, 4, 1);
  put(w, "b", QL_DTYPE_F16, 1, 2, 2);
  put(w, "c", QL_DTYPE_U8, 3, 4, 3);
  put(w, "d", QL_DTYPE_F32, 1, 2, 4);
  ok(ql_writer_put_file(w, "config.json", "{}", 2, NULL), NULL);
  finish(w);
}

static void test_shards(void **state)
{
  (void)state;
  const char *dir = scratch_path("sharded");
  write_sharded(dir);
  size_t size;
  char *text = (char *)read_bytes(scratch_path("sharded/model.safetensors.index.json"), &size);
  assert_string_equal(text, index_text);
  free(text);
  text = (char *)read_bytes(scratch_path("sharded/config.json"), &size);
  assert_string_equal(text, "{}");
  free(text);
  assert_int_equal(count_entries(dir), 5);
  ql_file *f = NULL;
  ql_error error = QL_ERROR_INIT;
  ok(ql_file_open(ctx, dir, &f, &error), &error);
  assert_int_equal(ql_file_count(f), 4);
  ql_tensor t;
  static const unsigned char c[12] = {3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14};
  ok(ql_file_tensor(f, 2, &t, &error), &error);
  assert_memory_equal(t.data, c, 12);
  assert_string_equal(ql_file_metadata(f, "format"), "pt");
  ql_file_close(f);
}

/* Every other column of every third row, backwards rows: what is written is contiguous. */
static void test_strided(void **state)
{
  (void)state;
  enum { ROWS = 700, COLS = 400 };
  uint16_t *source = malloc(sizeof *source * ROWS * 3 * COLS * 2);
  assert_non_null(source);
  for (size_t i = 0; i < (size_t)ROWS * 3 * COLS * 2; i++)
    source[i] = (uint16_t)(i * 40503u >> 3);
  ql_tensor t;
  ql_error error = QL_ERROR_INIT;
  ql_tensor_init_2d(&t, source + (size_t)(ROWS - 1) * 3 * COLS * 2, QL_DTYPE_U16, ROWS, COLS);
  t.stride[0] = -(ptrdiff_t)(3 * COLS * 2 * sizeof *source);
  t.stride[1] = 4;
  ql_writer *w = create(scratch_path("strided"), 0, 0);
  declare(w, "t", QL_DTYPE_U16, ROWS, COLS);
  begin(w);
  ok(ql_writer_put(w, "t", &t, &error), &error);
  finish(w);
  ql_file *f = NULL;
  ok(ql_file_open(ctx, scratch_path("strided"), &f, &error), &error);
  ok(ql_file_tensor(f, 0, &t, &error), &error);
  const unsigned char *got = t.data;
  for (size_t r = 0; r < ROWS; r++)
    for (size_t c = 0; c < COLS; c++) {
      uint16_t value;
      memcpy(&value, got + 2 * (r * COLS + c), 2);
      if (value != source[((ROWS - 1 - r) * 3 * COLS + c) * 2])
        fail_msg("row %zu, column %zu", r, c);
    }
  ql_file_close(f);
  free(source);
}

static void expect_create(const char *dir, int32_t overwrite, ql_status want)
{
  ql_writer_config config = QL_WRITER_CONFIG_INIT;
  ql_writer *w = NULL;
  ql_error error = QL_ERROR_INIT;
  config.overwrite = overwrite;
  assert_int_equal(ql_writer_create(ctx, dir, &config, &w, &error), want);
  assert_null(w);
  assert_int_equal(error.status, want);
}

static void write_one(const char *dir, int32_t overwrite, unsigned first)
{
  ql_writer *w = create(dir, 0, overwrite);
  declare(w, "t", QL_DTYPE_U8, 1, 4);
  begin(w);
  put(w, "t", QL_DTYPE_U8, 1, 4, first);
  finish(w);
}

static unsigned first_byte(const char *dir)
{
  ql_file *f = NULL;
  ql_tensor t;
  ql_error error = QL_ERROR_INIT;
  ok(ql_file_open(ctx, dir, &f, &error), &error);
  ok(ql_file_tensor(f, 0, &t, &error), &error);
  const unsigned value = *(const unsigned char *)t.data;
  ql_file_close(f);
  return value;
}

static void test_targets(void **state)
{
  (void)state;
  const char *dir = scratch_path("target");
  expect_create("", 0, QL_STATUS_INVALID_ARGUMENT);
  expect_create("/", 0, QL_STATUS_INVALID_ARGUMENT);
  expect_create("..", 1, QL_STATUS_INVALID_ARGUMENT);
  expect_create("a/.//", 1, QL_STATUS_INVALID_ARGUMENT);
  expect_create(scratch_path("absent/target"), 0, QL_STATUS_NOT_FOUND);
  mkdir(dir, 0777);
  write_one(dir, 0, 7); /* an empty directory is as good as none */
  assert_int_equal(first_byte(dir), 7);
  expect_create(dir, 0, QL_STATUS_EXISTS);
  write_one(scratch_path("target///"), 1, 9);
  assert_int_equal(first_byte(dir), 9);
  assert_int_equal(count_entries(dir), 1);
  mkdir(scratch_path("target/sub"), 0777);
  expect_create(dir, 1, QL_STATUS_EXISTS); /* more than a checkpoint: not removed */
  mkdir(scratch_path("notes"), 0777);
  write_bytes(scratch_path("notes/diary.txt"), "dear", 4);
  expect_create(scratch_path("notes"), 1, QL_STATUS_EXISTS);
  expect_create(scratch_path("notes/diary.txt"), 1, QL_STATUS_EXISTS);
  assert_int_equal(symlink("target", scratch_path("link")), 0);
  expect_create(scratch_path("link"), 1, QL_STATUS_EXISTS);
  remove_tree(scratch_path("target"));
  remove_tree(scratch_path("notes"));
  remove(scratch_path("link"));
}

/* Two writers for one name at a time; the second to finish finds it taken. */
static void test_race(void **state)
{
  (void)state;
  const char *dir = scratch_path("race");
  const int before = count_entries(scratch_dir());
  ql_writer *a = create(dir, 0, 0), *b = create(dir, 0, 0);
  ql_error error = QL_ERROR_INIT;
  assert_string_not_equal(ql_writer_partial_dir(a), ql_writer_partial_dir(b));
  begin(a);
  begin(b);
  finish(a);
  assert_int_equal(ql_writer_finish(b, &error), QL_STATUS_EXISTS);
  assert_non_null(strstr(error.text, "race"));
  assert_int_equal(ql_writer_finish(b, &error), QL_STATUS_INVALID_ARGUMENT);
  ql_writer_destroy(b);
  assert_int_equal(count_entries(scratch_dir()), before + 1);
}

static void test_abandon(void **state)
{
  (void)state;
  const int before = count_entries(scratch_dir());
  ql_writer *w = create(scratch_path("abandoned"), 4, 0);
  ql_writer_destroy(w);
  w = create(scratch_path("abandoned"), 4, 0);
  declare(w, "a", QL_DTYPE_U8, 1, 4);
  declare(w, "b", QL_DTYPE_U8, 1, 4);
  begin(w);
  put(w, "a", QL_DTYPE_U8, 1, 4, 0);
  ok(ql_writer_put_file(w, "config.json", "{}", 2, NULL), NULL);
  assert_int_equal(count_entries(ql_writer_partial_dir(w)), 3);
  ql_writer_destroy(w);
  ql_writer_destroy(NULL);
  assert_int_equal(count_entries(scratch_dir()), before);
}

static void test_misuse(void **state)
{
  (void)state;
  const size_t shape[9] = {1, 4, 1, 1, 1, 1, 1, 1, 1}, huge[2] = {(size_t)1 << 40, (size_t)1 << 40};
  const size_t odd[2] = {2, 3};
  unsigned char bytes[8] = {0};
  ql_tensor t;
  ql_error error = QL_ERROR_INIT;
  ql_writer *w = create(scratch_path("misuse"), 0, 0);
  const ql_status invalid = QL_STATUS_INVALID_ARGUMENT;
  assert_int_equal(ql_writer_declare(w, "", QL_DTYPE_U8, 2, shape, &error), invalid);
  assert_int_equal(ql_writer_declare(w, "__metadata__", QL_DTYPE_U8, 2, shape, &error), invalid);
  assert_int_equal(ql_writer_declare(w, "a\n", QL_DTYPE_U8, 2, shape, &error), invalid);
  assert_int_equal(ql_writer_declare(w, "\xff", QL_DTYPE_U8, 2, shape, &error), invalid);
  assert_int_equal(ql_writer_declare(w, "a", QL_DTYPE_U8, 9, shape, &error), invalid);
  assert_int_equal(ql_writer_declare(w, "a", QL_DTYPE_I4, 2, shape, &error), QL_STATUS_DTYPE);
  assert_int_equal(ql_writer_declare(w, "a", 999, 2, shape, &error), QL_STATUS_DTYPE);
  assert_int_equal(ql_writer_declare(w, "a", QL_DTYPE_U8, 2, huge, &error), QL_STATUS_OVERFLOW);
  assert_int_equal(ql_writer_declare(w, "a", QL_DTYPE_F4, 2, odd, &error), QL_STATUS_SHAPE);
  assert_int_equal(ql_writer_finish(w, &error), invalid);
  declare(w, "a", QL_DTYPE_U8, 1, 4);
  declare(w, "b", QL_DTYPE_U8, 1, 4);
  begin(w);
  ql_tensor_init_2d(&t, bytes, QL_DTYPE_U8, 1, 4);
  assert_int_equal(ql_writer_declare(w, "c", QL_DTYPE_U8, 2, shape, &error), invalid);
  assert_int_equal(ql_writer_put(w, "x", &t, &error), QL_STATUS_NOT_FOUND);
  assert_string_equal(error.tensor, "x");
  t.dtype = QL_DTYPE_I8;
  assert_int_equal(ql_writer_put(w, "a", &t, &error), QL_STATUS_DTYPE);
  ql_tensor_init_2d(&t, bytes, QL_DTYPE_U8, 2, 2);
  assert_int_equal(ql_writer_put(w, "a", &t, &error), QL_STATUS_SHAPE);
  put(w, "a", QL_DTYPE_U8, 1, 4, 0);
  ql_tensor_init_2d(&t, bytes, QL_DTYPE_U8, 1, 4);
  assert_int_equal(ql_writer_put(w, "a", &t, &error), invalid);
  assert_int_equal(ql_writer_finish(w, &error), invalid);
  assert_string_equal(error.tensor, "b");
  static const char *const names[] = {
      "", ".", "..", "a/b", "x.safetensors", "a\nb", "model.safetensors.index.json"};
  for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
    assert_int_equal(ql_writer_put_file(w, names[i], "", 0, &error), invalid);
  ok(ql_writer_put_file(w, "one", "", 0, &error), &error);
  assert_int_equal(ql_writer_put_file(w, "one", "", 0, &error), QL_STATUS_IO);
  put(w, "b", QL_DTYPE_U8, 1, 4, 0);
  finish(w);
  w = create(scratch_path("twice"), 0, 0);
  declare(w, "a", QL_DTYPE_U8, 1, 4);
  declare(w, "a", QL_DTYPE_U8, 1, 4);
  assert_int_equal(ql_writer_begin(w, &error), invalid);
  assert_string_equal(error.tensor, "a");
  ql_writer_destroy(w);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_layout),  cmocka_unit_test(test_shards), cmocka_unit_test(test_strided),
      cmocka_unit_test(test_targets), cmocka_unit_test(test_race),   cmocka_unit_test(test_abandon),
      cmocka_unit_test(test_misuse),
  };
  ql_ctx_create(NULL, &ctx, NULL);
  const int failed = cmocka_run_group_tests(tests, NULL, NULL);
  ql_ctx_destroy(ctx);
  scratch_remove();
  return failed;
}
