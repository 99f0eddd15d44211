/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#include "model_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* Weights that were packed before and are mapped, ql_packed_open. What tells the source is its
 * configuration, the tables of its files, their sizes and times of change: reading all weights to
 * hash them would take as long as packing them again. */

enum { KEY_BYTES = 32, KEY_WORDS = KEY_BYTES / 8, MAX_CONFIG = 16 << 20 };

typedef struct {
  uint64_t word[KEY_WORDS];
} key_state;

static void add_word(key_state *s, uint64_t value)
{
  for (size_t i = 0; i < KEY_WORDS; i++)
    s->word[i] = qle_mix64(s->word[i] ^ (value + i * 0x9e3779b97f4a7c15u));
}

static void add_bytes(key_state *s, const char *bytes, size_t size)
{
  add_word(s, size);
  for (size_t i = 0; i < size; i += 8) {
    uint64_t value = 0;
    memcpy(&value, bytes + i, size - i < 8 ? size - i : 8);
    add_word(s, value);
  }
}

static ql_status add_file(key_state *s, const char *path, ql_error *error)
{
  struct stat st;
  if (stat(path, &st) != 0)
    return qle_fail(error, QL_STATUS_IO, "%s cannot be looked at", path);
  add_word(s, (uint64_t)st.st_size);
  add_word(s, (uint64_t)st.st_mtim.tv_sec);
  add_word(s, (uint64_t)st.st_mtim.tv_nsec);
  return QL_STATUS_OK;
}

static ql_status add_tensors(key_state *s, const ql_file *file, ql_error *error)
{
  const char *last = "";
  for (size_t i = 0; i < ql_file_count(file); i++) {
    ql_file_info info = {.struct_size = sizeof info};
    QLE_TRY(ql_file_info_at(file, i, &info));
    add_bytes(s, info.name, strlen(info.name));
    add_word(s, (uint64_t)info.dtype);
    for (int32_t k = 0; k < info.rank; k++)
      add_word(s, info.shape[k]);
    add_word(s, info.offset);
    add_word(s, info.bytes);
    if (strcmp(info.path, last) != 0)
      QLE_TRY(add_file(s, info.path, error));
    last = info.path;
  }
  return QL_STATUS_OK;
}

static ql_status source_key(const qle_model *model, uint8_t key[KEY_BYTES], ql_error *error)
{
  key_state s = {{1, 2, 3, 4}};
  char *config = NULL, *path = qle_path_join(model->dir, "config.json");
  size_t size = 0;
  if (path == NULL)
    return qle_fail(error, QL_STATUS_NO_MEMORY, "no memory for a path");
  ql_status status = qle_file_read(path, MAX_CONFIG, &config, &size, error);
  free(path);
  if (status == QL_STATUS_OK) {
    add_bytes(&s, config, size);
    status = add_tensors(&s, model->file, error);
  }
  free(config);
  memcpy(key, s.word, KEY_BYTES);
  return status;
}

ql_status qle_packed_open(qle_model *model, const char *path, ql_error *error)
{
  uint8_t key[KEY_BYTES];
  ql_error why = QL_ERROR_INIT;
  QLE_TRY(source_key(model, key, error));
  const ql_status status = ql_packed_open(model->ctx, path, key, &model->packs, &why);
  if (status == QL_STATUS_OK)
    return status;
  if (status == QL_STATUS_NO_MEMORY)
    return qle_fail(error, status, "%s", why.text);
  snprintf(model->packed_note, sizeof model->packed_note, "%s: packing again", why.text);
  return QL_STATUS_OK;
}

const char *qle_model_packed_note(const qle_model *model)
{
  return model->packed_note[0] != '\0' ? model->packed_note : NULL;
}

ql_status qle_packed_find(const qle_model *model, const char *name, ql_packed **out,
                          ql_error *error)
{
  *out = NULL;
  if (model->packs == NULL)
    return QL_STATUS_OK;
  ql_error why = QL_ERROR_INIT;
  const ql_status status = ql_packed_map(model->packs, name, out, &why);
  if (status == QL_STATUS_OK || status == QL_STATUS_NOT_FOUND)
    return QL_STATUS_OK;
  return qle_fail(error, status, "%s", why.text);
}

/* Names and weights of all linears of all blocks, and of the head. */
typedef struct {
  size_t count;
  qle_linear_spec *specs;
  const char **names;
  const ql_packed **packed;
} matrix_list;

/* The next specification, which the caller has filled, where there are weights for it. */
static void add_matrix(matrix_list *list, const ql_packed *packed)
{
  if (packed == NULL)
    return;
  list->names[list->count] = list->specs[list->count].name;
  list->packed[list->count++] = packed;
}

/* Joined linears have no weights of their own. */
static void add_block(const qle_model *model, size_t layer, matrix_list *list)
{
  const qle_block *block = &model->blocks[layer];
  for (qle_join join = 0; join < QLE_JOINS; join++) {
    qle_join_spec(&model->config, layer, join, &list->specs[list->count]);
    add_matrix(list, block->joined[join].packed);
  }
  for (qle_linear which = QLE_Q; which < QLE_LINEARS; which++) {
    qle_block_spec(&model->config, layer, which, &list->specs[list->count]);
    add_matrix(list, block->linears[which].packed);
  }
}

static ql_status save_list(const qle_model *model, const char *path, matrix_list *list,
                           ql_error *error)
{
  uint8_t key[KEY_BYTES];
  for (size_t i = 0; i < model->config.layers; i++)
    add_block(model, i, list);
  snprintf(list->specs[list->count].name, sizeof list->specs->name, QLE_HEAD_NAME);
  add_matrix(list, model->head.packed);
  QLE_TRY(source_key(model, key, error));
  return ql_packed_save(model->ctx, path, key, list->names, list->packed, list->count, error);
}

ql_status qle_model_save_packed(const qle_model *model, const char *path, ql_error *error)
{
  const size_t room = model->config.layers * (QLE_LINEARS + QLE_JOINS) + 1;
  matrix_list list = {0, qle_alloc3(room, sizeof *list.specs, 1),
                      qle_alloc3(room, sizeof *list.names, 1),
                      qle_alloc3(room, sizeof *list.packed, 1)};
  ql_status status = QL_STATUS_OK;
  if (list.specs == NULL || list.names == NULL || list.packed == NULL)
    status = qle_fail(error, QL_STATUS_NO_MEMORY, "no memory for the names of %zu matrices", room);
  else
    status = save_list(model, path, &list, error);
  free(list.specs);
  free((void *)list.names);
  free((void *)list.packed);
  return status;
}
