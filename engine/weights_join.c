/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#include "model_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Linears with the same input as one matrix: their activations are quantized once, and the tiles of
 * the product are longer. */

enum { MOST = 3 };

static const qle_linear members[QLE_JOINS][MOST] = {{QLE_Q, QLE_K, QLE_V},
                                                    {QLE_GATE, QLE_UP, QLE_LINEARS}};

int qle_join_has(qle_join join, qle_linear which)
{
  for (size_t i = 0; i < MOST; i++)
    if (members[join][i] == which)
      return 1;
  return 0;
}

typedef struct parts {
  ql_qmat *q[MOST];
  ql_qmat_view views[MOST];
  size_t count, rows;
  uint8_t *codes;
  float *scales, *fzeros;
  int16_t *zeros;
} parts;

static void free_parts(parts *p)
{
  for (size_t i = 0; i < MOST; i++)
    ql_qmat_destroy(p->q[i]);
  free(p->codes);
  free(p->scales);
  free(p->zeros);
  free(p->fzeros);
}

/* Quantized without a bias, to be multiplied in the model's own way. */
static ql_status is_plain(const qle_model *model, size_t layer, qle_linear which, int *plain,
                          ql_error *error)
{
  qle_linear_spec spec;
  qle_linear_source source;
  qle_block_spec(&model->config, layer, which, &spec);
  QLE_TRY(qle_linear_find(model, &spec, &source, NULL, error));
  *plain = source.quantized && !source.a8 && source.bias.data == NULL;
  return QL_STATUS_OK;
}

static ql_status decode_member(const qle_model *model, size_t layer, qle_linear which, parts *p,
                               ql_error *error)
{
  qle_linear_spec spec;
  ql_qmat_view *view = &p->views[p->count];
  qle_block_spec(&model->config, layer, which, &spec);
  QLE_TRY(qle_linear_decode(model, &spec, &p->q[p->count], error));
  view->struct_size = sizeof *view;
  QLE_TRY(ql_qmat_get(p->q[p->count], view));
  p->count++;
  p->rows += view->rows;
  /* What does not fit is told when the linear is loaded by itself. */
  return view->rows == spec.n && view->cols == spec.k ? QL_STATUS_OK : QL_STATUS_SHAPE;
}

/* Codes, scales and zero points only, one scale for each row and run of columns. */
static int same_grid(const parts *p)
{
  const ql_qmat_view *a = &p->views[0];
  for (size_t i = 0; i < p->count; i++) {
    const ql_qmat_view *b = &p->views[i];
    if ((ql_qmat_parts(p->q[i]) & ~QL_PART_FLOAT_ZEROS) != 0 || b->g_idx != NULL ||
        b->block_rows != 1 || b->bits != a->bits || b->kind != a->kind || b->cols != a->cols ||
        b->block_cols != a->block_cols || b->groups != a->groups ||
        b->scale_dtype != a->scale_dtype || (b->zeros == NULL) != (a->zeros == NULL))
      return 0;
  }
  return 1;
}

/* One array of all members, rows of `cols` elements; *out stays NULL where they have none. */
static ql_status stack(const parts *p, size_t cols, size_t size, const void *const from[MOST],
                       void **out, ql_error *error)
{
  if (from[0] == NULL)
    return QL_STATUS_OK;
  char *to = qle_alloc3(p->rows, cols, size);
  if (to == NULL)
    return qle_fail(error, QL_STATUS_NO_MEMORY, "no memory for %zu rows of %zu", p->rows, cols);
  *out = to;
  for (size_t i = 0; i < p->count; i++) {
    const size_t bytes = p->views[i].rows * cols * size;
    memcpy(to, from[i], bytes);
    to += bytes;
  }
  return QL_STATUS_OK;
}

static ql_status stack_all(parts *p, ql_error *error)
{
  const void *codes[MOST] = {0}, *scales[MOST] = {0}, *zeros[MOST] = {0}, *fzeros[MOST] = {0};
  const size_t groups = p->views[0].groups;
  void *to[4] = {0};
  for (size_t i = 0; i < p->count; i++) {
    codes[i] = p->views[i].codes;
    scales[i] = p->views[i].scales;
    zeros[i] = p->views[i].zeros;
    fzeros[i] = p->views[i].fzeros;
  }
  ql_status status = stack(p, p->views[0].cols, 1, codes, &to[0], error);
  if (status == QL_STATUS_OK)
    status = stack(p, groups, sizeof(float), scales, &to[1], error);
  if (status == QL_STATUS_OK)
    status = stack(p, groups, sizeof(int16_t), zeros, &to[2], error);
  if (status == QL_STATUS_OK)
    status = stack(p, groups, sizeof(float), fzeros, &to[3], error);
  p->codes = to[0];
  p->scales = to[1];
  p->zeros = to[2];
  p->fzeros = to[3];
  return status;
}

static ql_status pack_stack(const qle_model *model, parts *p, qle_weights *out, ql_error *error)
{
  ql_qmat *q = NULL;
  QLE_TRY(stack_all(p, error));
  ql_qmat_view view = p->views[0];
  view.rows = p->rows;
  view.perm = NULL;
  view.codes = p->codes;
  view.scales = p->scales;
  view.zeros = p->zeros;
  view.fzeros = p->fzeros;
  ql_status status = ql_qmat_create(model->ctx, &view, &q, error);
  if (status == QL_STATUS_OK)
    status = ql_pack(model->ctx, q, &out->packed, error);
  ql_qmat_destroy(q);
  out->codes = status == QL_STATUS_OK && qle_serves_integers(model->ctx, out->packed);
  return status;
}

void qle_join_spec(const qle_config *config, size_t layer, qle_join join, qle_linear_spec *spec)
{
  size_t n = 0;
  for (size_t i = 0; i < MOST && members[join][i] != QLE_LINEARS; i++) {
    qle_block_spec(config, layer, members[join][i], spec);
    n += spec->n;
  }
  snprintf(spec->name, sizeof spec->name, "model.layers.%zu.joined.%d", layer, (int)join);
  spec->n = n;
}

/* From the file of packed weights, which holds what is joined so and no more. */
static ql_status map_join(const qle_model *model, size_t layer, qle_join join, qle_weights *out,
                          ql_error *error)
{
  qle_linear_spec spec;
  ql_packed *packed = NULL;
  qle_join_spec(&model->config, layer, join, &spec);
  QLE_TRY(qle_packed_find(model, spec.name, &packed, error));
  if (packed == NULL)
    return QL_STATUS_OK;
  const ql_status status = qle_check_packed(&spec, packed, error);
  if (status != QL_STATUS_OK) {
    ql_packed_destroy(packed);
    return status;
  }
  out->packed = packed;
  out->codes = qle_serves_integers(model->ctx, packed);
  return QL_STATUS_OK;
}

ql_status qle_join_load(const qle_model *model, size_t layer, qle_join join, qle_weights *out,
                        ql_error *error)
{
  if (model->packs != NULL)
    return map_join(model, layer, join, out, error);
  parts p = {0};
  int plain = join != QLE_JOIN_QKV || !model->config.qk_norm;
  ql_status status = QL_STATUS_OK;
  for (size_t i = 0; i < MOST && members[join][i] != QLE_LINEARS && plain; i++)
    QLE_TRY(is_plain(model, layer, members[join][i], &plain, error));
  for (size_t i = 0; i < MOST && members[join][i] != QLE_LINEARS && plain; i++) {
    status = decode_member(model, layer, members[join][i], &p, error);
    if (status != QL_STATUS_OK)
      break;
  }
  if (status == QL_STATUS_OK && plain && same_grid(&p))
    status = pack_stack(model, &p, out, error);
  free_parts(&p);
  return status == QL_STATUS_SHAPE ? QL_STATUS_OK : status;
}
