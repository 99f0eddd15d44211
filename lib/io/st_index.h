/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef QLI_IO_ST_INDEX_H
#define QLI_IO_ST_INDEX_H

#include <quantlib/context.h>

/* weight_map of a model.safetensors.index.json. Strings point into the text that was parsed. */
typedef struct qli_st_index {
  struct qli_st_entry {
    const char *tensor, *file;
    uint32_t shard;
  } * entries; /* sorted by tensor, without duplicates */
  size_t count, capacity;
  const char **files; /* sorted, each once: the shards, plain file names */
  size_t file_count;
} qli_st_index;

/* Parses and checks the size bytes of an index (a NUL follows them; they are overwritten).
 * On success the caller frees with qli_st_index_free. */
ql_status qli_st_index_parse(const ql_ctx *ctx, const char *path, char *text, size_t size,
                             qli_st_index *out, ql_error *error);
void qli_st_index_free(const ql_ctx *ctx, qli_st_index *index);

#endif
