/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#include "st_layout.h"

#include "checked.h"
#include "io_util.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int compare_places(const void *a, const void *b)
{
  const qli_st_tensor *x = *(const qli_st_tensor *const *)a, *y = *(const qli_st_tensor *const *)b;
  if (x->shard != y->shard)
    return x->shard < y->shard ? -1 : 1;
  const int rx = qli_st_rank(x->dtype), ry = qli_st_rank(y->dtype);
  if (rx != ry)
    return rx > ry ? -1 : 1;
  return strcmp(x->name, y->name);
}

/* end holds the bytes of each tensor until positions are known. */
static bool assign_shards(qli_st_tensor *tensors, size_t count, uint64_t shard_bytes,
                          size_t *shards)
{
  uint64_t filled = 0;
  uint32_t shard = 0;
  bool used = false;
  for (size_t i = 0; i < count; i++) {
    uint64_t sum;
    if (!qli_add_u64(filled, tensors[i].end, &sum) || sum > INT64_MAX)
      return false;
    if (shard_bytes != 0 && used && sum > shard_bytes) {
      shard++;
      sum = tensors[i].end;
    }
    filled = sum;
    used = true;
    tensors[i].shard = shard;
  }
  *shards = (size_t)shard + 1;
  return true;
}

bool qli_st_place(qli_st_tensor *tensors, size_t count, uint64_t shard_bytes,
                  const qli_st_tensor **order, size_t *shards)
{
  if (count > 1)
    qsort(tensors, count, sizeof tensors[0], qli_st_compare_names);
  for (size_t i = 0; i < count; i++) {
    tensors[i].end -= tensors[i].begin;
    tensors[i].begin = 0;
    order[i] = &tensors[i];
  }
  if (!assign_shards(tensors, count, shard_bytes, shards))
    return false;
  if (count > 1)
    qsort((void *)order, count, sizeof order[0], compare_places);
  uint64_t at = 0;
  for (size_t i = 0; i < count; i++) {
    qli_st_tensor *t = &tensors[order[i] - tensors];
    if (i == 0 || order[i - 1]->shard != t->shard)
      at = 0;
    t->begin = at;
    t->end += at;
    at = t->end;
  }
  return true;
}

static void add_tensor(qli_text *text, const qli_st_tensor *t)
{
  qli_text_json(text, t->name);
  qli_text_format(text, ":{\"dtype\":\"%s\",\"shape\":[", ql_dtype_name(t->dtype));
  for (int32_t i = 0; i < t->rank; i++)
    qli_text_format(text, i ? ",%zu" : "%zu", t->shape[i]);
  qli_text_format(text, "],\"data_offsets\":[%llu,%llu]}", (unsigned long long)t->begin,
                  (unsigned long long)t->end);
}

void qli_st_header_text(qli_text *text, const qli_st_tensor *const *tensors, size_t count)
{
  qli_text_add(text, "\0\0\0\0\0\0\0\0", 8);
  qli_text_format(text, "{\"__metadata__\":{\"format\":\"pt\"}");
  for (size_t i = 0; i < count; i++) {
    qli_text_add(text, ",", 1);
    add_tensor(text, tensors[i]);
  }
  qli_text_add(text, "}", 1);
  while (!text->failed && text->size % 8 != 0)
    qli_text_add(text, " ", 1);
  const uint64_t length = text->failed ? 0 : text->size - 8;
  for (int i = 0; i < 8 && !text->failed; i++)
    text->data[i] = (char)(unsigned char)(length >> 8 * i & 0xff);
}

void qli_st_shard_name(char name[QLI_ST_NAME_SIZE], size_t shard, size_t shards)
{
  if (shards == 1)
    snprintf(name, QLI_ST_NAME_SIZE, QLI_IO_SINGLE_NAME);
  else
    snprintf(name, QLI_ST_NAME_SIZE, "model-%05zu-of-%05zu.safetensors", shard + 1, shards);
}

void qli_st_index_text(qli_text *text, const qli_st_tensor *tensors, size_t count, size_t shards,
                       uint64_t total_bytes)
{
  char name[QLI_ST_NAME_SIZE];
  qli_text_format(text, "{\n  \"metadata\": {\n    \"total_size\": %llu\n  },\n",
                  (unsigned long long)total_bytes);
  qli_text_format(text, "  \"weight_map\": {");
  for (size_t i = 0; i < count; i++) {
    qli_st_shard_name(name, tensors[i].shard, shards);
    qli_text_format(text, i ? ",\n    " : "\n    ");
    qli_text_json(text, tensors[i].name);
    qli_text_format(text, ": \"%s\"", name);
  }
  qli_text_format(text, "\n  }\n}\n");
}
