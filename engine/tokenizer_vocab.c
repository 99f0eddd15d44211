/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#include "tokenizer_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The object "model" of tokenizer.json. */

/* Ids may have gaps, but not so many that tables by id outgrow the file. */
enum { ID_SLACK = 65536, IDS_PER_TOKEN = 16, MAX_TOKENS = 1 << 24 };

typedef struct {
  qle_bpe *bpe;
  const json_t *model;
  const char *path;
  ql_error *error;
} loader;

/* Its value is the constant status, so that the compiler sees that a failure is not a success. */
#define FAIL(l, status, key, ...)                                    \
  (qle_key_fail((l)->error, status, (l)->path, key, __VA_ARGS__), (status))

static int by_text(const void *a, const void *b)
{
  return qle_span_compare(((const qle_entry *)a)->text, ((const qle_entry *)b)->text);
}

static int by_id(const void *a, const void *b)
{
  const int32_t x = ((const qle_entry *)a)->id, y = ((const qle_entry *)b)->id;
  return (x > y) - (x < y);
}

/* By pair; of equal pairs the last in the file counts, so it goes first. */
static int by_pair(const void *a, const void *b)
{
  const qle_merge *x = a, *y = b;
  if (x->left != y->left)
    return x->left < y->left ? -1 : 1;
  if (x->right != y->right)
    return x->right < y->right ? -1 : 1;
  return (x->rank < y->rank) - (x->rank > y->rank);
}

static ql_status read_id(const loader *l, const char *token, const json_t *value, size_t count,
                         int32_t *id)
{
  if (!json_is_integer(value))
    return FAIL(l, QL_STATUS_FORMAT, "model.vocab", "the id of \"%s\" is not an integer", token);
  const json_int_t number = json_integer_value(value);
  if (number < 0 || (uint64_t)number > (uint64_t)count * IDS_PER_TOKEN + ID_SLACK)
    return FAIL(l, QL_STATUS_FORMAT, "model.vocab",
                "the id %lld of \"%s\" is out of range for %zu tokens", (long long)number, token,
                count);
  *id = (int32_t)number;
  return QL_STATUS_OK;
}

static ql_status vocabulary_alloc(const loader *l, const json_t *vocab)
{
  const size_t count = json_object_size(vocab);
  if (count == 0 || count > MAX_TOKENS)
    return FAIL(l, QL_STATUS_FORMAT, "model.vocab", "%zu tokens; 1 to %d are accepted", count,
                (int)MAX_TOKENS);
  size_t bytes = 0;
  const char *token;
  json_t *value;
  json_object_foreach((json_t *)(uintptr_t)vocab, token, value) bytes += strlen(token);
  l->bpe->blob = malloc(bytes + 1);
  l->bpe->entries = qle_alloc3(count, 1, sizeof *l->bpe->entries);
  if (l->bpe->blob == NULL || l->bpe->entries == NULL)
    return FAIL(l, QL_STATUS_NO_MEMORY, "model.vocab", "no memory for %zu tokens", count);
  return QL_STATUS_OK;
}

/* The name of an entry for messages. */
static const char *name_of(const qle_entry *entry, char *text, size_t room)
{
  snprintf(text, room, "%.*s", (int)(entry->text.size > 100 ? 100 : entry->text.size),
           entry->text.data);
  return text;
}

static ql_status unique_ids(const loader *l)
{
  qle_bpe *bpe = l->bpe;
  qsort(bpe->entries, bpe->count, sizeof *bpe->entries, by_id);
  for (size_t i = 1; i < bpe->count; i++) {
    char a[128], b[128];
    if (bpe->entries[i].id == bpe->entries[i - 1].id)
      return FAIL(l, QL_STATUS_FORMAT, "model.vocab", "\"%s\" and \"%s\" have the same id %d",
                  name_of(&bpe->entries[i - 1], a, sizeof a),
                  name_of(&bpe->entries[i], b, sizeof b), (int)bpe->entries[i].id);
  }
  return QL_STATUS_OK;
}

static ql_status load_vocabulary(const loader *l)
{
  const json_t *vocab = json_object_get(l->model, "vocab");
  if (!json_is_object(vocab))
    return FAIL(l, QL_STATUS_FORMAT, "model.vocab", "is missing or not an object");
  QLE_TRY(vocabulary_alloc(l, vocab));
  qle_bpe *bpe = l->bpe;
  char *place = bpe->blob;
  const char *token;
  json_t *value;
  json_object_foreach((json_t *)(uintptr_t)vocab, token, value)
  {
    qle_entry *entry = &bpe->entries[bpe->count];
    const size_t size = strlen(token);
    QLE_TRY(read_id(l, token, value, json_object_size(vocab), &entry->id));
    memcpy(place, token, size);
    entry->text = (qle_span){place, size};
    place += size;
    bpe->count++;
  }
  QLE_TRY(unique_ids(l));
  qsort(bpe->entries, bpe->count, sizeof *bpe->entries, by_text);
  return QL_STATUS_OK;
}

/* Both halves of a merge: "a b" or ["a", "b"]. */
static bool halves(const json_t *merge, qle_span *left, qle_span *right)
{
  if (json_is_array(merge)) {
    const json_t *a = json_array_get(merge, 0), *b = json_array_get(merge, 1);
    if (json_array_size(merge) != 2 || !json_is_string(a) || !json_is_string(b))
      return false;
    *left = (qle_span){json_string_value(a), json_string_length(a)};
    *right = (qle_span){json_string_value(b), json_string_length(b)};
    return true;
  }
  if (!json_is_string(merge))
    return false;
  const char *text = json_string_value(merge), *gap = strchr(text, ' ');
  if (gap == NULL || strchr(gap + 1, ' ') != NULL)
    return false;
  *left = (qle_span){text, (size_t)(gap - text)};
  *right = (qle_span){gap + 1, strlen(gap + 1)};
  return true;
}

static ql_status load_merge(const loader *l, const json_t *value, size_t index, qle_bytes *whole,
                            qle_merge *merge)
{
  char key[64];
  snprintf(key, sizeof key, "model.merges[%zu]", index);
  qle_span left, right;
  if (!halves(value, &left, &right))
    return FAIL(l, QL_STATUS_FORMAT, key, "is neither \"a b\" nor [\"a\", \"b\"]");
  whole->size = 0;
  if (!qle_bytes_add(whole, left.data, left.size) || !qle_bytes_add(whole, right.data, right.size))
    return FAIL(l, QL_STATUS_NO_MEMORY, key, "no memory");
  const qle_span all = {whole->data, whole->size};
  const qle_span *const wanted[] = {&left, &right, &all};
  int32_t ids[3];
  for (size_t i = 0; i < 3; i++) {
    ids[i] = qle_bpe_find(l->bpe, *wanted[i]);
    if (ids[i] < 0)
      return FAIL(l, QL_STATUS_FORMAT, key, "\"%.*s\" is not in the vocabulary",
                  (int)(wanted[i]->size > 100 ? 100 : wanted[i]->size), wanted[i]->data);
  }
  *merge = (qle_merge){ids[0], ids[1], (int32_t)index, ids[2]};
  return QL_STATUS_OK;
}

/* Old files begin the list with a line that names a version. */
static bool is_version(const json_t *merge)
{
  return json_is_string(merge) && strncmp(json_string_value(merge), "#version", 8) == 0;
}

static ql_status read_merges(const loader *l, const json_t *list, qle_bytes *whole)
{
  for (size_t i = 0; i < json_array_size(list); i++) {
    const json_t *value = json_array_get(list, i);
    if (is_version(value))
      continue;
    QLE_TRY(load_merge(l, value, i, whole, &l->bpe->merges[l->bpe->merge_count]));
    l->bpe->merge_count++;
  }
  return QL_STATUS_OK;
}

/* Drops all but the first of equal pairs and makes the index by left half. */
static void index_merges(qle_bpe *bpe, size_t ids)
{
  size_t kept = 0;
  for (size_t i = 0; i < bpe->merge_count; i++) {
    const qle_merge *merge = &bpe->merges[i];
    if (kept == 0 || bpe->merges[kept - 1].left != merge->left ||
        bpe->merges[kept - 1].right != merge->right)
      bpe->merges[kept++] = *merge;
  }
  bpe->merge_count = kept;
  size_t next = 0;
  for (size_t id = 0; id <= ids; id++) {
    while (next < kept && (size_t)bpe->merges[next].left < id)
      next++;
    bpe->first[id] = (uint32_t)next;
  }
}

static ql_status load_merges(const loader *l)
{
  const json_t *list = json_object_get(l->model, "merges");
  if (!json_is_array(list))
    return FAIL(l, QL_STATUS_FORMAT, "model.merges", "is missing or not an array");
  qle_bpe *bpe = l->bpe;
  int32_t last = 0;
  for (size_t i = 0; i < bpe->count; i++)
    last = bpe->entries[i].id > last ? bpe->entries[i].id : last;
  const size_t count = json_array_size(list), ids = (size_t)last + 1;
  if (count > 2 * (size_t)MAX_TOKENS)
    return FAIL(l, QL_STATUS_FORMAT, "model.merges", "%zu merges are too many", count);
  bpe->merges = qle_alloc3(count, 1, sizeof *bpe->merges);
  bpe->first = qle_alloc3(ids + 1, 1, sizeof *bpe->first);
  if (bpe->merges == NULL || bpe->first == NULL)
    return FAIL(l, QL_STATUS_NO_MEMORY, "model.merges", "no memory for %zu merges", count);
  qle_bytes whole = {NULL, 0, 0};
  const ql_status status = read_merges(l, list, &whole);
  free(whole.data);
  QLE_TRY(status);
  qsort(bpe->merges, bpe->merge_count, sizeof *bpe->merges, by_pair);
  index_merges(bpe, ids);
  return QL_STATUS_OK;
}

static void index_characters(qle_bpe *bpe)
{
  for (size_t i = 0; i < 0x800; i++)
    bpe->direct[i] = -1;
  for (size_t i = 0; i < bpe->count; i++) {
    const qle_entry *entry = &bpe->entries[i];
    int32_t code_point = 0;
    if (entry->text.size > 0 && entry->text.size <= 2 &&
        qle_utf8_length(entry->text.data, entry->text.size, &code_point) == entry->text.size)
      bpe->direct[code_point] = entry->id;
  }
  for (int b = 0; b < 256; b++) {
    char name[8];
    snprintf(name, sizeof name, "<0x%02X>", (unsigned)b);
    bpe->bytes[b] = qle_bpe_find(bpe, (qle_span){name, 6});
  }
}

static ql_status load_unknown(const loader *l)
{
  const json_t *unknown = json_object_get(l->model, "unk_token");
  if (unknown == NULL || json_is_null(unknown))
    return QL_STATUS_OK;
  if (!json_is_string(unknown))
    return FAIL(l, QL_STATUS_FORMAT, "model.unk_token", "is not a string");
  l->bpe->has_unk = true;
  l->bpe->unk =
      qle_bpe_find(l->bpe, (qle_span){json_string_value(unknown), json_string_length(unknown)});
  return QL_STATUS_OK;
}

/* Affixes other than empty ones and dropout belong to other models. */
static ql_status refuse_rest(const loader *l)
{
  static const char *const affixes[] = {"continuing_subword_prefix", "end_of_word_suffix"};
  for (size_t i = 0; i < 2; i++) {
    const json_t *affix = json_object_get(l->model, affixes[i]);
    char key[64];
    snprintf(key, sizeof key, "model.%s", affixes[i]);
    if (affix != NULL && !json_is_null(affix) &&
        !(json_is_string(affix) && json_string_length(affix) == 0))
      return FAIL(l, QL_STATUS_UNSUPPORTED, key, "is not supported");
  }
  const json_t *dropout = json_object_get(l->model, "dropout");
  if (dropout != NULL && !json_is_null(dropout) &&
      !(json_is_number(dropout) && json_number_value(dropout) == 0))
    return FAIL(l, QL_STATUS_UNSUPPORTED, "model.dropout", "is not supported");
  return QL_STATUS_OK;
}

static ql_status check_type(const loader *l)
{
  if (!json_is_object(l->model))
    return FAIL(l, QL_STATUS_FORMAT, "model", "is missing or not an object");
  const json_t *type = json_object_get(l->model, "type");
  const char *name = json_string_value(type);
  if (type != NULL && (name == NULL || strcmp(name, "BPE") != 0))
    return FAIL(l, QL_STATUS_UNSUPPORTED, "model.type", "\"%.100s\" is not supported; BPE is",
                name == NULL ? "?" : name);
  return QL_STATUS_OK;
}

ql_status qle_bpe_load(qle_bpe *bpe, const json_t *model, const char *path, ql_error *error)
{
  const loader l = {bpe, model, path, error};
  QLE_TRY(check_type(&l));
  QLE_TRY(qle_key_check(model,
                        "type dropout unk_token continuing_subword_prefix end_of_word_suffix "
                        "fuse_unk byte_fallback ignore_merges vocab merges",
                        path, "model", error));
  QLE_TRY(refuse_rest(&l));
  QLE_TRY(qle_key_bool(model, "byte_fallback", false, &bpe->byte_fallback, path, "model", error));
  QLE_TRY(qle_key_bool(model, "fuse_unk", false, &bpe->fuse_unk, path, "model", error));
  QLE_TRY(qle_key_bool(model, "ignore_merges", false, &bpe->ignore_merges, path, "model", error));
  QLE_TRY(load_vocabulary(&l));
  QLE_TRY(load_merges(&l));
  index_characters(bpe);
  return load_unknown(&l);
}
