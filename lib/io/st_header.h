/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef QLI_IO_ST_HEADER_H
#define QLI_IO_ST_HEADER_H

#include <quantlib/context.h>
#include <quantlib/tensor.h>

/* One tensor as a safetensors header describes it. Ranges count from the end of the header. */
typedef struct qli_st_tensor {
  const char *name;
  ql_dtype dtype;
  int32_t rank;
  uint32_t shard; /* set by whoever collects several files */
  size_t shape[QL_MAX_RANK];
  uint64_t begin, end;
} qli_st_tensor;

typedef struct qli_st_pair {
  const char *key, *value;
} qli_st_pair;

/* All strings point into the text that was parsed. */
typedef struct qli_st_header {
  qli_st_tensor *tensors; /* sorted by name */
  size_t count, capacity;
  qli_st_pair *pairs; /* __metadata__, sorted by key */
  size_t pair_count, pair_capacity;
} qli_st_header;

/* Position of a type in the order of the safetensors format, which is that of its writer; -1 for a
 * type that the format does not know. */
int qli_st_rank(ql_dtype dtype);

/* Bytes of a tensor in a safetensors file, where a type below a byte is packed across rows.
 * Product of the sizes in bits must not overflow even when another size is 0. */
ql_status qli_st_bytes(ql_dtype dtype, int32_t rank, const size_t *shape, uint64_t *bytes);

/* Parses and checks the size bytes of a header (a NUL follows them; they are overwritten) of a file
 * with data_bytes behind it. On success the caller frees with qli_st_header_free. */
ql_status qli_st_parse(const ql_ctx *ctx, const char *path, char *text, size_t size,
                       uint64_t data_bytes, qli_st_header *out, ql_error *error);
void qli_st_header_free(const ql_ctx *ctx, qli_st_header *header);

int qli_st_compare_names(const void *a, const void *b);

#endif
