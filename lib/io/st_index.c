/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#include "st_index.h"

#include "ctx.h"
#include "error.h"
#include "io_util.h"
#include "json_scan.h"

#include <stdlib.h>
#include <string.h>

typedef struct qli_st_entry entry;

typedef struct {
  const ql_ctx *ctx;
  const char *path;
  ql_error *error;
  qli_json json;
  qli_st_index index;
} parser;

static ql_status malformed(const parser *p)
{
  qli_io_fail(p->error, QL_STATUS_FORMAT, p->path, NULL, "the index is malformed at byte %zu: %s",
              p->json.at, p->json.problem);
  qli_error_at(p->error, (int64_t)p->json.at, -1);
  return QL_STATUS_FORMAT;
}

static ql_status no_memory(const parser *p)
{
  return qli_io_fail(p->error, QL_STATUS_NO_MEMORY, p->path, NULL, "no memory for the index");
}

static ql_status parse_entry(parser *p)
{
  entry e = {0};
  if (!qli_json_key(&p->json, &e.tensor) || !qli_json_string(&p->json, &e.file))
    return malformed(p);
  if (!qli_name_valid(e.tensor))
    return qli_io_fail(p->error, QL_STATUS_FORMAT, p->path, NULL,
                       "a tensor name before byte %zu is empty, too long or has control characters",
                       p->json.at);
  if (!qli_plain_file_name(e.file))
    return qli_io_fail(p->error, QL_STATUS_FORMAT, p->path, e.tensor,
                       "its shard \"%.80s\" is not a plain file name", e.file);
  if (p->index.count == QLI_IO_MAX_TENSORS)
    return qli_io_fail(p->error, QL_STATUS_UNSUPPORTED, p->path, e.tensor,
                       "is one more than the %d tensors that this library reads",
                       QLI_IO_MAX_TENSORS);
  void *entries = p->index.entries;
  if (!qli_grow(p->ctx, &entries, &p->index.capacity, p->index.count, sizeof e))
    return no_memory(p);
  p->index.entries = entries;
  p->index.entries[p->index.count++] = e;
  return QL_STATUS_OK;
}

static ql_status parse_map(parser *p)
{
  int more;
  if (!qli_json_enter(&p->json, '{'))
    return malformed(p);
  for (bool first = true; (more = qli_json_more(&p->json, '}', first)) > 0; first = false)
    QLI_TRY(parse_entry(p));
  return more == 0 ? QL_STATUS_OK : malformed(p);
}

static ql_status parse_object(parser *p)
{
  bool map_seen = false;
  int more;
  if (!qli_json_enter(&p->json, '{'))
    return malformed(p);
  for (bool first = true; (more = qli_json_more(&p->json, '}', first)) > 0; first = false) {
    const char *key;
    if (!qli_json_key(&p->json, &key))
      return malformed(p);
    if (strcmp(key, "weight_map") != 0) {
      /* "metadata" is for information; readers take nothing from it. */
      if (!qli_json_skip(&p->json))
        return malformed(p);
      continue;
    }
    if (map_seen)
      return qli_io_fail(p->error, QL_STATUS_FORMAT, p->path, NULL, "weight_map appears twice");
    map_seen = true;
    QLI_TRY(parse_map(p));
  }
  if (more < 0 || !qli_json_end(&p->json))
    return malformed(p);
  if (!map_seen)
    return qli_io_fail(p->error, QL_STATUS_FORMAT, p->path, NULL, "has no weight_map");
  return QL_STATUS_OK;
}

static int compare_tensors(const void *a, const void *b)
{
  return strcmp(((const entry *)a)->tensor, ((const entry *)b)->tensor);
}

static int compare_strings(const void *a, const void *b)
{
  return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static ql_status sort_entries(parser *p)
{
  qli_st_index *x = &p->index;
  if (x->count == 0)
    return qli_io_fail(p->error, QL_STATUS_FORMAT, p->path, NULL, "its weight_map is empty");
  qsort(x->entries, x->count, sizeof x->entries[0], compare_tensors);
  for (size_t i = 1; i < x->count; i++)
    if (strcmp(x->entries[i - 1].tensor, x->entries[i].tensor) == 0)
      return qli_io_fail(p->error, QL_STATUS_FORMAT, p->path, x->entries[i].tensor,
                         "appears twice in weight_map");
  return QL_STATUS_OK;
}

static ql_status collect_files(parser *p)
{
  qli_st_index *x = &p->index;
  x->files = qli_alloc(p->ctx, x->count, sizeof x->files[0]);
  if (x->files == NULL)
    return no_memory(p);
  for (size_t i = 0; i < x->count; i++)
    x->files[i] = x->entries[i].file;
  qsort(x->files, x->count, sizeof x->files[0], compare_strings);
  for (size_t i = 0; i < x->count; i++)
    if (i == 0 || strcmp(x->files[x->file_count - 1], x->files[i]) != 0)
      x->files[x->file_count++] = x->files[i];
  if (x->file_count > QLI_IO_MAX_SHARDS)
    return qli_io_fail(p->error, QL_STATUS_UNSUPPORTED, p->path, NULL,
                       "names %zu shards, this library reads %d", x->file_count, QLI_IO_MAX_SHARDS);
  for (size_t i = 0; i < x->count; i++) {
    const char **found =
        bsearch(&x->entries[i].file, x->files, x->file_count, sizeof x->files[0], compare_strings);
    x->entries[i].shard = (uint32_t)(found - x->files);
  }
  return QL_STATUS_OK;
}

static ql_status parse_all(parser *p)
{
  if (!qli_utf8_valid(p->json.text, p->json.size))
    return qli_io_fail(p->error, QL_STATUS_FORMAT, p->path, NULL, "the index is not UTF-8");
  QLI_TRY(parse_object(p));
  QLI_TRY(sort_entries(p));
  return collect_files(p);
}

ql_status qli_st_index_parse(const ql_ctx *ctx, const char *path, char *text, size_t size,
                             qli_st_index *out, ql_error *error)
{
  parser p = {.ctx = ctx, .path = path, .error = error};
  p.json = (qli_json){.text = text, .size = size};
  const ql_status status = parse_all(&p);
  if (status == QL_STATUS_OK)
    *out = p.index;
  else
    qli_st_index_free(ctx, &p.index);
  return status;
}

void qli_st_index_free(const ql_ctx *ctx, qli_st_index *index)
{
  qli_free(ctx, index->entries);
  qli_free(ctx, (void *)index->files);
  *index = (qli_st_index){0};
}
