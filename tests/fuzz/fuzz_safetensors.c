/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#include "driver.h"

#include "../../lib/io/io_util.h"
#include "../../lib/io/st_header.h"
#include "../../lib/io/st_layout.h"

#include <quantlib/quantlib.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* A file with any bytes: it is refused, or every slice lies inside it, the slices cover its data
 * exactly once, and its tensors, written and read again, are the same. */

#define SEED(header, data) \
  { \
    header data, sizeof(header data) - 1 \
  }

const fuzz_seed fuzz_seeds[] = {
    SEED("\x38\0\0\0\0\0\0\0"
         "{\"a\":{\"dtype\":\"F16\",\"shape\":[2,2],\"data_offsets\":[0,8]}}",
         "\0\x3c\0\xc0\0\x38\xff\x7b"),
    SEED("\x02\0\0\0\0\0\0\0"
         "{}",
         ""),
    SEED("\x9f\0\0\0\0\0\0\0"
         "{\"__metadata__\":{\"format\":\"pt\",\"\\u20ac\":\"\\n\"},"
         "\"odd\":{\"dtype\":\"U8\",\"shape\":[3],\"data_offsets\":[0,3]},"
         "\"x\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[3,7]}}       ",
         "1234567"),
    SEED("\xac\0\0\0\0\0\0\0"
         "{\"e\":{\"dtype\":\"F64\",\"shape\":[0,9],\"data_offsets\":[4,4]},"
         "\"four\":{\"dtype\":\"F4\",\"shape\":[2,2],\"data_offsets\":[4,6]},"
         "\"i\":{\"dtype\":\"I32\",\"shape\":[1,1,1,1],\"data_offsets\":[0,4]}}",
         "123456"),
    /* near misses: an overlap, a range that is larger than its tensor */
    SEED("\x6f\0\0\0\0\0\0\0"
         "{\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]},"
         "\"b\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[2,6]}}      ",
         "123456"),
    SEED("\x38\0\0\0\0\0\0\0"
         "{\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,6]}}   ",
         "123456"),
};
const size_t fuzz_seed_count = sizeof fuzz_seeds / sizeof fuzz_seeds[0];

/* The header ends at the last brace. */
void fuzz_repair(uint8_t *data, size_t size)
{
  size_t end = size;
  while (end > 8 && data[end - 1] != '}')
    end--;
  if (end <= 8)
    return;
  for (int i = 0; i < 8; i++)
    data[i] = (uint8_t)((uint64_t)(end - 8) >> 8 * i);
}

/* Bytes of a small tensor, by the definition. */
static uint64_t bytes_of(const ql_file_info *info)
{
  uint64_t bits = ql_dtype_bits(info->dtype);
  for (int32_t i = 0; i < info->rank; i++)
    bits *= info->shape[i];
  return bits / 8;
}

static void check_slices(const ql_file *f, const uint8_t *data, size_t size)
{
  uint64_t covered = 0, length = 0;
  for (int i = 7; i >= 0; i--)
    length = length << 8 | data[i];
  for (size_t i = 0; i < ql_file_count(f); i++) {
    ql_file_info info = {.struct_size = sizeof info};
    ql_tensor t;
    size_t found = SIZE_MAX;
    FUZZ_REQUIRE(ql_file_info_at(f, i, &info) == QL_STATUS_OK);
    FUZZ_REQUIRE(qli_name_valid(info.name));
    FUZZ_REQUIRE(ql_file_find(f, info.name, &found, NULL) == QL_STATUS_OK && found == i);
    FUZZ_REQUIRE(info.offset >= 8 + length && info.offset <= size);
    FUZZ_REQUIRE(info.bytes <= size - info.offset);
    FUZZ_REQUIRE(info.bytes == bytes_of(&info));
    covered += info.bytes;
    if (ql_file_tensor(f, i, &t, NULL) == QL_STATUS_OK) {
      FUZZ_REQUIRE(ql_tensor_check(&t, NULL) == QL_STATUS_OK);
      FUZZ_REQUIRE(info.bytes == 0 || memcmp(t.data, data + info.offset, info.bytes) == 0);
    }
    ql_file_release(f, i);
  }
  FUZZ_REQUIRE(covered == size - 8 - length);
}

/* Same names, types, shapes and sizes; places may differ. */
static void check_rewrite(const ql_ctx *ctx, const ql_file *f)
{
  const size_t n = ql_file_count(f);
  qli_st_tensor *tensors = calloc(n + 1, sizeof *tensors);
  const qli_st_tensor **order = calloc(n + 1, sizeof *order);
  qli_text text = {.ctx = ctx};
  qli_st_header again = {0};
  size_t shards = 0;
  uint64_t bytes = 0;
  for (size_t i = 0; i < n; i++) {
    ql_file_info info = {.struct_size = sizeof info};
    ql_file_info_at(f, i, &info);
    tensors[i] = (qli_st_tensor){.name = info.name, .dtype = info.dtype, .rank = info.rank};
    memcpy(tensors[i].shape, info.shape, sizeof info.shape);
    tensors[i].end = info.bytes;
    bytes += info.bytes;
  }
  FUZZ_REQUIRE(qli_st_place(tensors, n, 0, order, &shards) && shards == 1);
  qli_st_header_text(&text, order, n);
  FUZZ_REQUIRE(!text.failed && text.size % 8 == 0);
  FUZZ_REQUIRE(qli_st_parse(ctx, "again", text.data + 8, text.size - 8, bytes, &again, NULL) ==
               QL_STATUS_OK);
  FUZZ_REQUIRE(again.count == n);
  for (size_t i = 0; i < n; i++) {
    FUZZ_REQUIRE(strcmp(again.tensors[i].name, tensors[i].name) == 0);
    FUZZ_REQUIRE(again.tensors[i].dtype == tensors[i].dtype);
    FUZZ_REQUIRE(again.tensors[i].rank == tensors[i].rank);
    FUZZ_REQUIRE(memcmp(again.tensors[i].shape, tensors[i].shape, sizeof tensors[i].shape) == 0);
  }
  qli_st_header_free(ctx, &again);
  qli_text_free(&text);
  free(order);
  free(tensors);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
  char path[64];
  ql_ctx *ctx = fuzz_ctx();
  ql_file *f = NULL;
  ql_error error = QL_ERROR_INIT;
  const int fd = memfd_create("fuzz", MFD_CLOEXEC);
  FUZZ_REQUIRE(fd >= 0 && write(fd, data, size) == (ssize_t)size);
  snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
  const ql_status status = ql_file_open(ctx, path, &f, &error);
  FUZZ_REQUIRE((status == QL_STATUS_OK) == (f != NULL));
  if (f != NULL) {
    check_slices(f, data, size);
    check_rewrite(ctx, f);
  } else {
    FUZZ_REQUIRE(error.status == status && strstr(error.text, path) != NULL);
    FUZZ_REQUIRE(qli_utf8_valid(error.tensor, strlen(error.tensor)) ||
                 strlen(error.tensor) == sizeof error.tensor - 1);
  }
  ql_file_close(f);
  close(fd);
  return 0;
}
