/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#include "st_header.h"

#include "checked.h"
#include "ctx.h"
#include "error.h"
#include "io_util.h"
#include "json_scan.h"

#include <stdlib.h>
#include <string.h>

/* In the order of the format, narrowest first. Types of ours that it lacks are not here. */
static const ql_dtype known_types[] = {
    QL_DTYPE_BOOL,    QL_DTYPE_F4,          QL_DTYPE_F6_E2M3,     QL_DTYPE_F6_E3M2,
    QL_DTYPE_U8,      QL_DTYPE_I8,          QL_DTYPE_F8_E5M2,     QL_DTYPE_F8_E4M3,
    QL_DTYPE_F8_E8M0, QL_DTYPE_F8_E4M3FNUZ, QL_DTYPE_F8_E5M2FNUZ, QL_DTYPE_I16,
    QL_DTYPE_U16,     QL_DTYPE_F16,         QL_DTYPE_BF16,        QL_DTYPE_I32,
    QL_DTYPE_U32,     QL_DTYPE_F32,         QL_DTYPE_C64,         QL_DTYPE_F64,
    QL_DTYPE_I64,     QL_DTYPE_U64,
};

int qli_st_rank(ql_dtype dtype)
{
  for (size_t i = 0; i < sizeof known_types / sizeof known_types[0]; i++)
    if (known_types[i] == dtype)
      return (int)i;
  return -1;
}

ql_status qli_st_bytes(ql_dtype dtype, int32_t rank, const size_t *shape, uint64_t *bytes)
{
  uint64_t bits = ql_dtype_bits(dtype);
  bool empty = false;
  for (int32_t i = 0; i < rank; i++) {
    empty = empty || shape[i] == 0;
    if (shape[i] != 0 && !qli_mul_u64(bits, shape[i], &bits))
      return QL_STATUS_OVERFLOW;
  }
  if (bits % 8 != 0 && !empty)
    return QL_STATUS_FORMAT;
  if (bits / 8 > PTRDIFF_MAX)
    return QL_STATUS_OVERFLOW;
  *bytes = empty ? 0 : bits / 8;
  return QL_STATUS_OK;
}

typedef struct {
  const ql_ctx *ctx;
  const char *path;
  ql_error *error;
  qli_json json;
  uint64_t data_bytes;
  qli_st_header header;
} parser;

static ql_status malformed(const parser *p, const char *tensor)
{
  const ql_status status =
      qli_io_fail(p->error, QL_STATUS_FORMAT, p->path, tensor,
                  "header is malformed at byte %zu: %s", p->json.at + 8, p->json.problem);
  qli_error_at(p->error, (int64_t)p->json.at + 8, -1);
  return status;
}

static ql_status no_memory(const parser *p)
{
  return qli_io_fail(p->error, QL_STATUS_NO_MEMORY, p->path, NULL, "no memory for its header");
}

static ql_status parse_dtype(parser *p, qli_st_tensor *t)
{
  const char *name;
  if (!qli_json_string(&p->json, &name))
    return malformed(p, t->name);
  t->dtype = ql_dtype_from_name(name);
  if (qli_st_rank(t->dtype) < 0)
    return qli_io_fail(p->error, QL_STATUS_FORMAT, p->path, t->name, "unknown dtype \"%.40s\"",
                       name);
  return QL_STATUS_OK;
}

static ql_status parse_shape(parser *p, qli_st_tensor *t)
{
  if (!qli_json_enter(&p->json, '['))
    return malformed(p, t->name);
  int more;
  for (bool first = true; (more = qli_json_more(&p->json, ']', first)) > 0; first = false) {
    uint64_t value;
    if (!qli_json_u64(&p->json, &value))
      return malformed(p, t->name);
    if (t->rank == QL_MAX_RANK)
      return qli_io_fail(p->error, QL_STATUS_UNSUPPORTED, p->path, t->name, "has more than %d axes",
                         QL_MAX_RANK);
    if (value > PTRDIFF_MAX)
      return qli_io_fail(p->error, QL_STATUS_OVERFLOW, p->path, t->name, "a size of %llu overflows",
                         (unsigned long long)value);
    t->shape[t->rank++] = (size_t)value;
  }
  return more == 0 ? QL_STATUS_OK : malformed(p, t->name);
}

static ql_status parse_offsets(parser *p, qli_st_tensor *t)
{
  uint64_t range[2];
  if (!qli_json_enter(&p->json, '['))
    return malformed(p, t->name);
  for (int i = 0; i < 2; i++) {
    const int more = qli_json_more(&p->json, ']', i == 0);
    if (more == 0)
      return qli_io_fail(p->error, QL_STATUS_FORMAT, p->path, t->name,
                         "data_offsets holds %d numbers, not 2", i);
    if (more < 0 || !qli_json_u64(&p->json, &range[i]))
      return malformed(p, t->name);
  }
  const int more = qli_json_more(&p->json, ']', false);
  if (more > 0)
    return qli_io_fail(p->error, QL_STATUS_FORMAT, p->path, t->name,
                       "data_offsets holds more than 2 numbers");
  t->begin = range[0];
  t->end = range[1];
  return more == 0 ? QL_STATUS_OK : malformed(p, t->name);
}

/* The one of the three fields with that key; each must be there once and no other may be: a field
 * that we do not know could change what the bytes mean. */
static ql_status parse_field(parser *p, const char *key, unsigned *seen, qli_st_tensor *t)
{
  static const char *const keys[] = {"dtype", "shape", "data_offsets"};
  unsigned field = 0;
  while (field < 3 && strcmp(key, keys[field]) != 0)
    field++;
  if (field == 3)
    return qli_io_fail(p->error, QL_STATUS_FORMAT, p->path, t->name, "unknown field \"%.40s\"",
                       key);
  if (*seen & 1u << field)
    return qli_io_fail(p->error, QL_STATUS_FORMAT, p->path, t->name, "field \"%s\" appears twice",
                       key);
  *seen |= 1u << field;
  if (field == 0)
    return parse_dtype(p, t);
  return field == 1 ? parse_shape(p, t) : parse_offsets(p, t);
}

static ql_status check_tensor(const parser *p, const qli_st_tensor *t)
{
  uint64_t bytes;
  const ql_status status = qli_st_bytes(t->dtype, t->rank, t->shape, &bytes);
  if (status == QL_STATUS_OVERFLOW)
    return qli_io_fail(p->error, status, p->path, t->name, "its shape overflows");
  if (status != QL_STATUS_OK)
    return qli_io_fail(p->error, status, p->path, t->name,
                       "its %s elements do not fill whole bytes", ql_dtype_name(t->dtype));
  if (t->end < t->begin)
    return qli_io_fail(p->error, QL_STATUS_FORMAT, p->path, t->name,
                       "data_offsets [%llu, %llu] end before they begin",
                       (unsigned long long)t->begin, (unsigned long long)t->end);
  if (t->end - t->begin != bytes)
    return qli_io_fail(p->error, QL_STATUS_FORMAT, p->path, t->name,
                       "data_offsets [%llu, %llu] hold %llu bytes, its shape and dtype need %llu",
                       (unsigned long long)t->begin, (unsigned long long)t->end,
                       (unsigned long long)(t->end - t->begin), (unsigned long long)bytes);
  return QL_STATUS_OK;
}

static ql_status parse_tensor(parser *p, const char *name)
{
  qli_st_tensor t = {.name = name};
  if (!qli_name_valid(name))
    return qli_io_fail(p->error, QL_STATUS_FORMAT, p->path, NULL,
                       "a tensor name before byte %zu is empty, longer than %d bytes or has "
                       "control characters",
                       p->json.at + 8, QLI_IO_MAX_NAME);
  if (p->header.count == QLI_IO_MAX_TENSORS)
    return qli_io_fail(p->error, QL_STATUS_UNSUPPORTED, p->path, name,
                       "is one more than the %d tensors that this library reads",
                       QLI_IO_MAX_TENSORS);
  if (!qli_json_enter(&p->json, '{'))
    return malformed(p, name);
  unsigned seen = 0;
  int more;
  for (bool first = true; (more = qli_json_more(&p->json, '}', first)) > 0; first = false) {
    const char *key;
    if (!qli_json_key(&p->json, &key))
      return malformed(p, name);
    QLI_TRY(parse_field(p, key, &seen, &t));
  }
  if (more < 0)
    return malformed(p, name);
  if (seen != 7)
    return qli_io_fail(p->error, QL_STATUS_FORMAT, p->path, name, "has no %s",
                       !(seen & 1)   ? "dtype"
                       : !(seen & 2) ? "shape"
                                     : "data_offsets");
  QLI_TRY(check_tensor(p, &t));
  void *tensors = p->header.tensors;
  if (!qli_grow(p->ctx, &tensors, &p->header.capacity, p->header.count, sizeof t))
    return no_memory(p);
  p->header.tensors = tensors;
  p->header.tensors[p->header.count++] = t;
  return QL_STATUS_OK;
}

static ql_status parse_metadata(parser *p)
{
  if (!qli_json_enter(&p->json, '{'))
    return malformed(p, NULL);
  int more;
  for (bool first = true; (more = qli_json_more(&p->json, '}', first)) > 0; first = false) {
    qli_st_pair pair;
    if (!qli_json_key(&p->json, &pair.key) || !qli_json_string(&p->json, &pair.value))
      return malformed(p, NULL);
    void *pairs = p->header.pairs;
    if (!qli_grow(p->ctx, &pairs, &p->header.pair_capacity, p->header.pair_count, sizeof pair))
      return no_memory(p);
    p->header.pairs = pairs;
    p->header.pairs[p->header.pair_count++] = pair;
  }
  return more == 0 ? QL_STATUS_OK : malformed(p, NULL);
}

static ql_status parse_object(parser *p)
{
  bool metadata_seen = false;
  int more;
  if (!qli_json_enter(&p->json, '{'))
    return malformed(p, NULL);
  for (bool first = true; (more = qli_json_more(&p->json, '}', first)) > 0; first = false) {
    const char *name;
    if (!qli_json_key(&p->json, &name))
      return malformed(p, NULL);
    if (strcmp(name, "__metadata__") != 0) {
      QLI_TRY(parse_tensor(p, name));
      continue;
    }
    if (metadata_seen)
      return qli_io_fail(p->error, QL_STATUS_FORMAT, p->path, NULL, "__metadata__ appears twice");
    metadata_seen = true;
    QLI_TRY(parse_metadata(p));
  }
  return more == 0 && qli_json_end(&p->json) ? QL_STATUS_OK : malformed(p, NULL);
}

int qli_st_compare_names(const void *a, const void *b)
{
  return strcmp(((const qli_st_tensor *)a)->name, ((const qli_st_tensor *)b)->name);
}

static int compare_keys(const void *a, const void *b)
{
  return strcmp(((const qli_st_pair *)a)->key, ((const qli_st_pair *)b)->key);
}

static int compare_ranges(const void *a, const void *b)
{
  const qli_st_tensor *x = a, *y = b;
  if (x->begin != y->begin)
    return x->begin < y->begin ? -1 : 1;
  if (x->end != y->end)
    return x->end < y->end ? -1 : 1;
  return strcmp(x->name, y->name);
}

static ql_status check_duplicates(parser *p)
{
  qli_st_header *h = &p->header;
  if (h->count > 1)
    qsort(h->tensors, h->count, sizeof h->tensors[0], qli_st_compare_names);
  for (size_t i = 1; i < h->count; i++)
    if (strcmp(h->tensors[i - 1].name, h->tensors[i].name) == 0)
      return qli_io_fail(p->error, QL_STATUS_FORMAT, p->path, h->tensors[i].name,
                         "appears twice in the header");
  if (h->pair_count > 1)
    qsort(h->pairs, h->pair_count, sizeof h->pairs[0], compare_keys);
  for (size_t i = 1; i < h->pair_count; i++)
    if (strcmp(h->pairs[i - 1].key, h->pairs[i].key) == 0)
      return qli_io_fail(p->error, QL_STATUS_FORMAT, p->path, NULL,
                         "key \"%.40s\" of __metadata__ appears twice", h->pairs[i].key);
  return QL_STATUS_OK;
}

/* No byte of the data belongs to two tensors or to none. */
static ql_status check_coverage(parser *p)
{
  qli_st_header *h = &p->header;
  if (h->count > 1)
    qsort(h->tensors, h->count, sizeof h->tensors[0], compare_ranges);
  uint64_t end = 0;
  for (size_t i = 0; i < h->count; i++) {
    const qli_st_tensor *t = &h->tensors[i];
    if (t->begin != end)
      return qli_io_fail(p->error, QL_STATUS_FORMAT, p->path, t->name,
                         "begins at byte %llu of the data, the tensor before it ends at %llu (%s)",
                         (unsigned long long)t->begin, (unsigned long long)end,
                         t->begin < end ? "they overlap" : "a hole");
    end = t->end;
  }
  if (end > p->data_bytes)
    return qli_io_fail(p->error, QL_STATUS_FORMAT, p->path, h->tensors[h->count - 1].name,
                       "the file is cut short: its tensors take %llu bytes, %llu are there",
                       (unsigned long long)end, (unsigned long long)p->data_bytes);
  if (end < p->data_bytes)
    return qli_io_fail(p->error, QL_STATUS_FORMAT, p->path, NULL,
                       "%llu bytes follow the last tensor",
                       (unsigned long long)(p->data_bytes - end));
  return QL_STATUS_OK;
}

static ql_status parse_all(parser *p)
{
  if (p->json.size == 0 || p->json.text[0] != '{')
    return qli_io_fail(p->error, QL_STATUS_FORMAT, p->path, NULL,
                       "its header does not begin with {");
  if (!qli_utf8_valid(p->json.text, p->json.size))
    return qli_io_fail(p->error, QL_STATUS_FORMAT, p->path, NULL, "its header is not UTF-8");
  QLI_TRY(parse_object(p));
  QLI_TRY(check_duplicates(p));
  QLI_TRY(check_coverage(p));
  if (p->header.count > 1)
    qsort(p->header.tensors, p->header.count, sizeof p->header.tensors[0], qli_st_compare_names);
  return QL_STATUS_OK;
}

ql_status qli_st_parse(const ql_ctx *ctx, const char *path, char *text, size_t size,
                       uint64_t data_bytes, qli_st_header *out, ql_error *error)
{
  parser p = {.ctx = ctx, .path = path, .error = error, .data_bytes = data_bytes};
  p.json = (qli_json){.text = text, .size = size};
  const ql_status status = parse_all(&p);
  if (status == QL_STATUS_OK)
    *out = p.header;
  else
    qli_st_header_free(ctx, &p.header);
  return status;
}

void qli_st_header_free(const ql_ctx *ctx, qli_st_header *header)
{
  qli_free(ctx, header->tensors);
  qli_free(ctx, header->pairs);
  *header = (qli_st_header){0};
}
