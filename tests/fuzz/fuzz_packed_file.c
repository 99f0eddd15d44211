/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#include "cache.h"
#include "driver.h"

#include <quantlib/quantlib.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A file of packed weights with any changes, its sum made true again: refused with an error, or
 * weights that a product can read. The input is a list of changes of 4 bytes each: a place (two
 * bytes), what to do there, and a value. */

enum { N = 40, K = 64, GROUPS = 2, SIDE = 2 };

static unsigned char *image, *work;
static size_t image_bytes;

/* Nothing; a byte of the header; a field of the first record; ends and gather lists. */
static const char quiet[] = "", header[] = "\x08\0\0\x02", record[] = "\x88\0\2\xff",
                  deep[] = "\0\x20\1\x7f\0\x21\1\x80\x40\x22\3\1";

const fuzz_seed fuzz_seeds[] = {{quiet, 0}, {header, 4}, {record, 4}, {deep, 12}};
const size_t fuzz_seed_count = sizeof fuzz_seeds / sizeof fuzz_seeds[0];

void fuzz_repair(uint8_t *data, size_t size)
{
  (void)data;
  (void)size;
}

static ql_packed *pack_one(const ql_ctx *ctx, bool parts)
{
  static uint8_t codes[N * K];
  static float scales[N * GROUPS], in_scale[K], side[N * SIDE];
  static int32_t g_idx[K];
  static const int32_t cols[SIDE] = {3, 50};
  for (size_t i = 0; i < N * K; i++)
    codes[i] = (uint8_t)(i % 16);
  for (size_t i = 0; i < N * GROUPS; i++)
    scales[i] = 1.0f;
  for (size_t i = 0; i < K; i++) {
    g_idx[i] = (int32_t)(i % GROUPS);
    in_scale[i] = 2.0f;
  }
  ql_qmat_view v = {.struct_size = sizeof v,
                    .rows = N,
                    .cols = K,
                    .bits = 4,
                    .kind = QL_GRID_SYM_FULL,
                    .block_rows = 1,
                    .block_cols = K / GROUPS,
                    .groups = GROUPS,
                    .scale_dtype = QL_DTYPE_F16,
                    .codes = codes,
                    .scales = scales};
  if (parts) {
    v.g_idx = g_idx;
    v.in_scale = in_scale;
    v.side_count = SIDE;
    v.side_cols = cols;
    v.side_values = side;
    v.side_dtype = QL_DTYPE_F16;
  }
  ql_qmat *q = NULL;
  ql_packed *p = NULL;
  FUZZ_REQUIRE(ql_qmat_create(ctx, &v, &q, NULL) == QL_STATUS_OK);
  FUZZ_REQUIRE(ql_pack(ctx, q, &p, NULL) == QL_STATUS_OK);
  ql_qmat_destroy(q);
  return p;
}

static void make_image(const ql_ctx *ctx)
{
  static const char *const names[2] = {"plain", "parts"};
  static const uint8_t key[QLI_CACHE_KEY] = {7};
  ql_packed *packed[2] = {pack_one(ctx, false), pack_one(ctx, true)};
  char path[] = "/tmp/quantlib-fuzz-XXXXXX";
  const int fd = mkstemp(path);
  FUZZ_REQUIRE(fd >= 0);
  FUZZ_REQUIRE(ql_packed_save(ctx, path, key, names, (const ql_packed *const *)packed, 2, NULL) ==
               QL_STATUS_OK);
  FILE *f = fopen(path, "rb");
  FUZZ_REQUIRE(f != NULL);
  fseek(f, 0, SEEK_END);
  image_bytes = (size_t)ftell(f);
  rewind(f);
  const size_t room = (image_bytes + 63) / 64 * 64;
  image = aligned_alloc(64, room);
  work = aligned_alloc(64, room);
  FUZZ_REQUIRE(image != NULL && work != NULL);
  FUZZ_REQUIRE(fread(image, 1, image_bytes, f) == image_bytes);
  fclose(f);
  close(fd);
  unlink(path);
  ql_packed_destroy(packed[0]);
  ql_packed_destroy(packed[1]);
}

static void change(const uint8_t *data)
{
  const size_t at = (size_t)(data[0] | data[1] << 8) % image_bytes;
  const uint8_t value = data[3];
  switch (data[2] % 5) {
  case 0: work[at] ^= value; break;
  case 1: work[at] = value; break;
  case 2: memset(work + at / 8 * 8, value, image_bytes - at / 8 * 8 < 8 ? 1 : 8); break;
  case 3: work[at] = (unsigned char)(work[at] + value); break;
  default: work[at] = (unsigned char)(work[at] - 1); break;
  }
}

static void multiply(const ql_ctx *ctx, const ql_packed *p)
{
  ql_packed_info info = {.struct_size = sizeof info};
  ql_tensor x, y;
  FUZZ_REQUIRE(ql_packed_get(p, &info) == QL_STATUS_OK);
  if (info.n > 4096 || info.k > 4096)
    return;
  float *in = calloc(info.k + 1, sizeof *in), *out = calloc(info.n + 1, sizeof *out);
  FUZZ_REQUIRE(in != NULL && out != NULL);
  ql_tensor_init_2d(&x, in, QL_DTYPE_F32, 1, info.k);
  ql_tensor_init_2d(&y, out, QL_DTYPE_F32, 1, info.n);
  FUZZ_REQUIRE(ql_gemm(ctx, p, &x, &y, NULL, NULL) == QL_STATUS_OK);
  free(in);
  free(out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
  const ql_ctx *ctx = fuzz_ctx();
  ql_error error = QL_ERROR_INIT;
  ql_packed_file *file = NULL;
  if (image == NULL)
    make_image(ctx);
  memcpy(work, image, image_bytes);
  for (size_t i = 0; i + 4 <= size; i += 4)
    change(data + i);
  qli_cache_header *h = (qli_cache_header *)(void *)work;
  h->head_sum = qli_cache_head_sum(h, QLI_CACHE_PAGE);
  const ql_status status =
      qli_cache_open_memory(ctx, "input", work, image_bytes, NULL, &file, &error);
  FUZZ_REQUIRE((status == QL_STATUS_OK) == (file != NULL));
  FUZZ_REQUIRE(status == QL_STATUS_OK || status == QL_STATUS_FORMAT || status == QL_STATUS_LAYOUT);
  for (size_t i = 0; i < ql_packed_count(file); i++) {
    ql_packed *p = NULL;
    FUZZ_REQUIRE(ql_packed_map(file, ql_packed_name(file, i), &p, &error) == QL_STATUS_OK);
    multiply(ctx, p);
    ql_packed_destroy(p);
  }
  ql_packed_close(file);
  return 0;
}
