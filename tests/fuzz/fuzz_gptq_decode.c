/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#include "driver.h"

#include <quantlib/quantlib.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Tensors of any type, shape and content under the names of GPTQ: they are refused, or give a
 * matrix whose every value is in range and that encodes to the same bytes.
 *
 * Input: bits, group, sym, format, mask of parts, then for each part type, rank and two sizes
 * (0xff: 2^62 + 1), then the data of all parts in turn, over and over. */

enum { PARTS = 4, HEAD = 5 + 4 * PARTS };

#define PAYLOAD "\x10\x32\x54\x76\x98\x3c\x00\x38\x01\x00\x00\x00\x77\x77\x77\x77"

/* qweight, qzeros, scales, g_idx: I32, I32, F16, I32 are 0, 0, 1, 0 */
#define SEED(head) \
  { \
    head PAYLOAD, sizeof(head PAYLOAD) - 1 \
  }

const fuzz_seed fuzz_seeds[] = {
    SEED("\x04\x08\xff\x01\x0f\0\2\1\x08\0\2\1\1\1\2\1\x08\0\1\x08\0"),
    SEED("\x04\x08\xff\x02\x07\0\2\2\x08\0\2\2\1\2\2\2\x08\0\0\0\0"),
    SEED("\x03\x00\0\x02\x07\0\2\3\x20\0\2\1\3\1\2\1\x20\0\0\0\0"),
    SEED("\x02\x08\0\x01\x0f\0\2\2\x10\0\2\4\1\3\2\4\x10\0\1\x20\0"),
    SEED("\x08\x04\1\x01\x07\0\2\2\x04\0\2\2\1\2\2\2\x04\0\0\0\0"),
};
const size_t fuzz_seed_count = sizeof fuzz_seeds / sizeof fuzz_seeds[0];

void fuzz_repair(uint8_t *data, size_t size)
{
  if (size < HEAD)
    return;
  /* Sizes of the other parts that go with those of qweight. */
  static const uint8_t widths[] = {2, 3, 4, 8};
  const unsigned bits = data[0] = widths[data[0] % 4];
  const unsigned unit = bits == 3 ? 32 : 32 / bits, words = bits == 3 ? 3 : 1;
  const unsigned units = data[7] % 5 + 1, rows = unit * (data[8] % 2 + 1);
  const unsigned cols = units * unit, group = data[1] % 40;
  const unsigned groups = group ? (cols + group - 1) / group : 1;
  data[1] = (uint8_t)group;
  data[3] = (uint8_t)(1 + data[3] % 2);
  data[4] |= 7;
  const uint8_t shapes[PARTS][4] = {
      {0, 2, (uint8_t)(units * words), (uint8_t)rows},
      {0, 2, (uint8_t)groups, (uint8_t)(rows / unit * words)},
      {(uint8_t)(1 + data[13] % 3), 2, (uint8_t)groups, (uint8_t)rows},
      {0, 1, (uint8_t)(cols < 255 ? cols : 254), 0}};
  memcpy(data + 5, shapes, sizeof shapes);
}

typedef struct {
  const char *suffixes[PARTS];
  ql_tensor tensors[PARTS];
  size_t bytes[PARTS];
  size_t count;
} parts;

static size_t size_from(uint8_t byte)
{
  return byte == 0xff ? ((size_t)1 << 62) + 1 : byte;
}

/* Exactly as many bytes as the tensor has, so that the sanitizer sees any step beyond. */
static void add_part(parts *p, int which, const uint8_t *data, size_t size)
{
  static const char *const names[PARTS] = {"qweight", "qzeros", "scales", "g_idx"};
  static const ql_dtype dtypes[] = {QL_DTYPE_I32, QL_DTYPE_F16, QL_DTYPE_BF16,
                                    QL_DTYPE_F32, QL_DTYPE_U32, QL_DTYPE_I64};
  const uint8_t *head = data + 5 + 4 * which;
  const size_t shape[2] = {size_from(head[2]), size_from(head[3])};
  ql_tensor t;
  size_t bytes;
  if (ql_tensor_init(&t, NULL, dtypes[head[0] % 6], head[1] % 3, shape) != QL_STATUS_OK ||
      ql_tensor_bytes(t.dtype, t.rank, t.shape, &bytes) != QL_STATUS_OK || bytes > 1 << 18)
    return;
  uint8_t *block = malloc(bytes ? bytes : 1);
  FUZZ_REQUIRE(block != NULL);
  for (size_t i = 0; i < bytes; i++)
    block[i] = size > HEAD ? data[HEAD + (i + (size_t)which) % (size - HEAD)] : 0;
  /* An index of all arbitrary bytes would never be in range. */
  for (size_t i = 0; which == 3 && i < bytes; i++)
    block[i] = i % 4 == 0 ? block[i] & 3 : 0;
  t.data = block;
  p->suffixes[p->count] = names[which];
  p->bytes[p->count] = bytes;
  p->tensors[p->count++] = t;
}

static void check_values(const ql_qmat_view *v)
{
  for (size_t i = 0; i < v->rows * v->cols; i++)
    FUZZ_REQUIRE(v->codes[i] < 1u << v->bits);
  for (size_t i = 0; i < v->rows * v->groups; i++) {
    FUZZ_REQUIRE(isfinite(v->scales[i]));
    FUZZ_REQUIRE(v->zeros[i] >= 0 && v->zeros[i] <= 1 << v->bits);
  }
  for (size_t c = 0; v->g_idx != NULL && c < v->cols; c++)
    FUZZ_REQUIRE(v->g_idx[c] >= 0 && (size_t)v->g_idx[c] < v->groups);
}

static void check_again(const ql_ctx *ctx, ql_format format, const ql_qmat *q, const parts *p)
{
  ql_qmat_view v = {.struct_size = sizeof v};
  ql_tensor tensors[PARTS];
  ql_format_part wanted[QL_FORMAT_MAX_PARTS];
  size_t count = 0;
  FUZZ_REQUIRE(ql_qmat_get(q, &v) == QL_STATUS_OK);
  check_values(&v);
  ql_grid_config grid = QL_GRID_CONFIG_INIT;
  grid.bits = v.bits;
  grid.kind = v.kind;
  grid.block_cols = v.block_cols;
  grid.scale_dtype = v.scale_dtype;
  grid.zero_min = 1;
  FUZZ_REQUIRE(ql_format_parts(format, &grid, v.rows, v.cols, wanted, &count, NULL) ==
               QL_STATUS_OK);
  FUZZ_REQUIRE(count == PARTS);
  for (size_t i = 0; i < count; i++) {
    size_t bytes;
    FUZZ_REQUIRE(ql_tensor_bytes(wanted[i].dtype, wanted[i].rank, wanted[i].shape, &bytes) ==
                 QL_STATUS_OK);
    ql_tensor_init(&tensors[i], malloc(bytes ? bytes : 1), wanted[i].dtype, wanted[i].rank,
                   wanted[i].shape);
    FUZZ_REQUIRE(i >= p->count || bytes == p->bytes[i]);
  }
  /* What cannot be written back is a zero point of 2^bits. */
  const ql_status status = ql_format_encode(ctx, format, q, tensors, count, NULL);
  FUZZ_REQUIRE(status == QL_STATUS_OK ||
               (status == QL_STATUS_UNSUPPORTED && format == QL_FORMAT_GPTQ));
  for (size_t i = 0; i < count; i++) {
    if (status == QL_STATUS_OK && i < p->count && p->bytes[i] > 0)
      FUZZ_REQUIRE(memcmp(tensors[i].data, p->tensors[i].data, p->bytes[i]) == 0);
    free(tensors[i].data);
  }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
  if (size < HEAD)
    return 0;
  ql_ctx *ctx = fuzz_ctx();
  ql_qmat *q = NULL;
  ql_error error = QL_ERROR_INIT;
  parts p = {.count = 0};
  const ql_format_decode_info info = {sizeof info, data[0], (int8_t)data[2] % 2,
                                      size_from(data[1])};
  for (int which = 0; which < PARTS; which++)
    if (data[4] >> which & 1)
      add_part(&p, which, data, size);
  const ql_status status =
      ql_format_decode(ctx, data[3], &info, p.suffixes, p.tensors, p.count, &q, &error);
  FUZZ_REQUIRE((status == QL_STATUS_OK) == (q != NULL));
  if (q != NULL)
    check_again(ctx, data[3], q, &p);
  else
    FUZZ_REQUIRE(error.status == status && error.text[0] != '\0');
  ql_qmat_destroy(q);
  for (size_t i = 0; i < p.count; i++)
    free(p.tensors[i].data);
  return 0;
}
