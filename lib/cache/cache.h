/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef QLI_CACHE_CACHE_H
#define QLI_CACHE_CACHE_H

#include "../io/os.h"
#include "packed_layout.h"

#include <stdint.h>

/* Packed matrices in a file: a cache of what packing makes, for one set of kernels, one version of
 * this library and one source. Nothing of it is a format: whoever meets other bytes packs again.
 *
 *   header, 128 bytes
 *   records, 128 bytes each: the named matrices, and behind each the matrices that are its parts
 *   names, each ended by a NUL
 *   data, from a multiple of 4096 on: of each record its sections as ql_packed has them, then,
 * where it has parts, in_scale, side_cols, side_at and side_scale; each begins at a multiple of 64
 *
 * Numbers are as the machine has them; a machine of the other byte order sees another version. */
enum { QLI_CACHE_VERSION = 1, QLI_CACHE_KEY = 32, QLI_CACHE_PAGE = 4096, QLI_CACHE_CHILDREN = 3 };

typedef struct qli_cache_header {
  unsigned char magic[8];
  uint32_t version;
  uint32_t records;
  uint64_t file_bytes;
  uint64_t names_bytes;
  uint64_t fingerprint;             /* of the kernels' layouts */
  uint64_t data_sum;                /* of the data of all records in turn */
  uint64_t head_sum;                /* of everything before the data, this being 0 */
  unsigned char key[QLI_CACHE_KEY]; /* the caller's, of the source */
  unsigned char reserved[40];
} qli_cache_header;

enum {
  QLI_CACHE_ZEROS = 1,
  QLI_CACHE_FZEROS = 2,
  QLI_CACHE_GATHER = 4,
  QLI_CACHE_SUMS = 8,
  QLI_CACHE_IN_SCALE = 16,
  QLI_CACHE_PERMUTED = 32,
  QLI_CACHE_KNOWN = 63
};

typedef struct qli_cache_record {
  uint64_t n, k, packed_k, groups;
  uint64_t group; /* columns of one */
  uint64_t data_at, data_bytes, extra_bytes;
  uint64_t side_count;
  uint64_t name_at; /* among the names; UINT64_MAX: a part of another record */
  uint32_t layout, flags;
  int32_t wtype, bits, dtype, scale_type;
  uint32_t child[QLI_CACHE_CHILDREN]; /* side, lora_a, lora_b: index of a later record, 0: none */
  uint32_t tables;                    /* 0: none, 1: one for all columns, 2: one for each */
  uint32_t levels;                    /* of a table */
  float unit;                         /* qlk_weights.unit, or 0 */
} qli_cache_record;

_Static_assert(sizeof(qli_cache_header) == 128 && sizeof(qli_cache_record) == 128,
               "the file is written as these lie in memory");

extern const unsigned char qli_cache_magic[8];

/* Goes on with a sum over more bytes. Not against an adversary: it tells damage. */
uint64_t qli_cache_sum(uint64_t sum, const void *bytes, size_t size);

/* Of a header, whose own sum counts as 0, and of what follows it up to the data. */
uint64_t qli_cache_head_sum(const qli_cache_header *header, size_t head_bytes);

/* Of the layouts that the kernels of the context read, and of what this library puts into them. */
uint64_t qli_cache_fingerprint(const ql_ctx *ctx);

/* The shape of the sections of a record, which has been checked as far as its numbers. */
qli_packed_shape qli_cache_shape(const qli_cache_record *r);

/* Where the parts beyond the sections lie, from the end of the data on; false on overflow. */
typedef struct qli_cache_extra {
  size_t in_scale, side_cols, side_at, side_scale, total;
} qli_cache_extra;
bool qli_cache_extra_of(const qli_cache_record *r, qli_cache_extra *extra);

struct ql_packed_file {
  const ql_ctx *ctx;
  char *path;
  const unsigned char *map;
  size_t bytes;
  bool owned; /* map is a mapping of this file, not the caller's memory */
  const qli_cache_header *header;
  const qli_cache_record *records;
  const char *names;
};

/* Checks everything but the data itself against the kernels of the context: no index in the file
 * leads outside after this. key NULL: any. */
ql_status qli_cache_check(ql_packed_file *file, const uint8_t *key, ql_error *error);

/* Packed weights, without parts, that lie where record i of a checked file says. */
void qli_cache_bind(const ql_packed_file *file, size_t i, ql_packed *p);

/* Memory with the bytes of a file, which must outlive it, 64-aligned. */
ql_status qli_cache_open_memory(const ql_ctx *ctx, const char *path, const void *bytes, size_t size,
                                const uint8_t *key, ql_packed_file **out, ql_error *error);

/* ql_packed_save with another operating system under it. */
ql_status qli_cache_save(const ql_ctx *ctx, const qli_os *os, const char *path, const uint8_t *key,
                         const char *const *names, const ql_packed *const *packed, size_t count,
                         ql_error *error);

#endif
