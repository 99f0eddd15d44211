/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#include "../cm.h"
#include "scratch.h"

#include <quantlib/quantlib.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static ql_ctx *ctx;

static ql_file *open_ok(const char *path)
{
  ql_file *f = NULL;
  ql_error error = QL_ERROR_INIT;
  if (ql_file_open(ctx, path, &f, &error) != QL_STATUS_OK)
    fail_msg("%s", error.text);
  return f;
}

/* The example of the format's description, byte for byte. */
static void test_golden(void **state)
{
  (void)state;
  static const unsigned char bytes[72] = {
      0x38, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x7B, 0x22, 0x61, 0x22, 0x3A, 0x7B, 0x22,
      0x64, 0x74, 0x79, 0x70, 0x65, 0x22, 0x3A, 0x22, 0x46, 0x31, 0x36, 0x22, 0x2C, 0x22, 0x73,
      0x68, 0x61, 0x70, 0x65, 0x22, 0x3A, 0x5B, 0x32, 0x2C, 0x32, 0x5D, 0x2C, 0x22, 0x64, 0x61,
      0x74, 0x61, 0x5F, 0x6F, 0x66, 0x66, 0x73, 0x65, 0x74, 0x73, 0x22, 0x3A, 0x5B, 0x30, 0x2C,
      0x38, 0x5D, 0x7D, 0x7D, 0x00, 0x3C, 0x00, 0xC0, 0x00, 0x38, 0xFF, 0x7B};
  static const float values[4] = {1, -2, 0.5f, 65504};
  write_bytes(scratch_path("golden.safetensors"), bytes, sizeof bytes);
  ql_file *f = open_ok(scratch_path("golden.safetensors"));
  ql_file_info info = {.struct_size = sizeof info};
  assert_int_equal(ql_file_count(f), 1);
  assert_int_equal(ql_file_info_at(f, 0, &info), QL_STATUS_OK);
  assert_string_equal(info.name, "a");
  assert_string_equal(info.path, scratch_path("golden.safetensors"));
  assert_int_equal(info.dtype, QL_DTYPE_F16);
  assert_int_equal(info.rank, 2);
  assert_int_equal(info.shape[0], 2);
  assert_int_equal(info.shape[1], 2);
  assert_int_equal(info.offset, 64);
  assert_int_equal(info.bytes, 8);
  assert_int_equal(ql_file_info_at(f, 1, &info), QL_STATUS_INVALID_ARGUMENT);
  float got[4];
  ql_tensor t, to;
  assert_int_equal(ql_file_tensor(f, 0, &t, NULL), QL_STATUS_OK);
  ql_tensor_init_2d(&to, got, QL_DTYPE_F32, 2, 2);
  assert_int_equal(ql_tensor_convert(ctx, &t, &to, NULL), QL_STATUS_OK);
  assert_memory_equal(got, values, sizeof got);
  ql_file_close(f);
  ql_file_close(NULL);
}

static const char several[] =
    "{\"__metadata__\":{\"format\":\"pt\",\"a\\u00e9\":\"line\\nline\"},"
    "\"odd\":{\"dtype\":\"U8\",\"shape\":[3],\"data_offsets\":[0,3]},"
    "\"after\":{\"data_offsets\":[3,11],\"shape\":[2],\"dtype\":\"F32\"},"
    "\"scalar\":{\"dtype\":\"I16\",\"shape\":[],\"data_offsets\":[11,13]},"
    "\"empty\":{\"dtype\":\"F64\",\"shape\":[4,0,9],\"data_offsets\":[13,13]},"
    "\"four\":{\"dtype\":\"F4\",\"shape\":[3,2],\"data_offsets\":[13,16]},"
    "\"ragged\":{\"dtype\":\"F6_E2M3\",\"shape\":[4,2],\"data_offsets\":[16,22]}}  \n ";

static size_t find_ok(const ql_file *f, const char *name)
{
  size_t i = 0;
  assert_int_equal(ql_file_find(f, name, &i, NULL), QL_STATUS_OK);
  return i;
}

static void test_several(void **state)
{
  (void)state;
  write_st(scratch_path("several"), several, 22);
  ql_file *f = open_ok(scratch_path("several"));
  static const char *const sorted[] = {"after", "empty", "four", "odd", "ragged", "scalar"};
  ql_file_info info = {.struct_size = sizeof info};
  ql_error error = QL_ERROR_INIT;
  ql_tensor t;
  assert_int_equal(ql_file_count(f), 6);
  for (size_t i = 0; i < 6; i++) {
    assert_int_equal(ql_file_info_at(f, i, &info), QL_STATUS_OK);
    assert_string_equal(info.name, sorted[i]);
    assert_int_equal(find_ok(f, sorted[i]), i);
    ql_file_release(f, i);
  }
  /* A tensor need not be aligned to its type. */
  static const unsigned char want[8] = {3, 4, 5, 6, 7, 8, 9, 10};
  assert_int_equal(ql_file_tensor(f, 0, &t, NULL), QL_STATUS_OK);
  assert_memory_equal(t.data, want, 8);
  assert_int_equal(ql_file_tensor(f, find_ok(f, "scalar"), &t, NULL), QL_STATUS_OK);
  assert_int_equal(t.rank, 0);
  assert_int_equal(ql_file_tensor(f, find_ok(f, "empty"), &t, NULL), QL_STATUS_OK);
  assert_int_equal(t.shape[2], 9);
  assert_int_equal(ql_file_tensor(f, find_ok(f, "four"), &t, NULL), QL_STATUS_OK);
  /* 2 values of 6 bits: rows of this tensor do not begin at bytes, which ql_tensor cannot say. */
  assert_int_equal(ql_file_tensor(f, find_ok(f, "ragged"), &t, &error), QL_STATUS_UNSUPPORTED);
  assert_string_equal(error.tensor, "ragged");
  assert_string_equal(ql_file_metadata(f, "format"), "pt");
  assert_string_equal(ql_file_metadata(f, "a\xc3\xa9"), "line\nline");
  assert_null(ql_file_metadata(f, "none"));
  size_t i = 77;
  assert_int_equal(ql_file_find(f, "none", &i, &error), QL_STATUS_NOT_FOUND);
  assert_int_equal(i, 77);
  assert_string_equal(error.tensor, "none");
  assert_non_null(strstr(error.file, "several"));
  ql_file_close(f);
}

static void test_empty(void **state)
{
  (void)state;
  write_st(scratch_path("empty"), "{}", 0);
  ql_file *f = open_ok(scratch_path("empty"));
  size_t i;
  assert_int_equal(ql_file_count(f), 0);
  assert_int_equal(ql_file_find(f, "x", &i, NULL), QL_STATUS_NOT_FOUND);
  ql_file_close(f);
}

int main(void)
{
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_golden),
      cmocka_unit_test(test_several),
      cmocka_unit_test(test_empty),
  };
  ql_ctx_create(NULL, &ctx, NULL);
  const int failed = cmocka_run_group_tests(tests, NULL, NULL);
  ql_ctx_destroy(ctx);
  scratch_remove();
  return failed;
}
