/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#include "qmat.h"

#include "checked.h"
#include "error.h"

#include <string.h>

/* The arrays of a matrix: where the view and the matrix point at them. */
typedef struct {
  size_t view, own, size;
} array;

#define ARRAY(member) \
  { \
    offsetof(ql_qmat_view, member), offsetof(ql_qmat, member), sizeof *((ql_qmat *)0)->member \
  }

enum { CODES, SCALES, ZEROS, G_IDX, PERM, FZEROS, IN_SCALE, SIDE_COLS, SIDE_VALUES, SIDE_SCALES };
enum { LORA_A = SIDE_SCALES + 1, LORA_B, LEVELS, ARRAYS };

static const array arrays[ARRAYS] = {
    ARRAY(codes),  ARRAY(scales),   ARRAY(zeros),     ARRAY(g_idx),       ARRAY(perm),
    ARRAY(fzeros), ARRAY(in_scale), ARRAY(side_cols), ARRAY(side_values), ARRAY(side_scales),
    ARRAY(lora_a), ARRAY(lora_b),   ARRAY(levels)};

static const void *array_of(const ql_qmat_view *v, int which)
{
  const void *p;
  memcpy(&p, (const unsigned char *)v + arrays[which].view, sizeof p);
  return p;
}

static void set_array(ql_qmat_view *v, int which, const void *p)
{
  memcpy((unsigned char *)v + arrays[which].view, &p, sizeof p);
}

static void *own_array(const ql_qmat *q, int which)
{
  void *p;
  memcpy(&p, (const unsigned char *)q + arrays[which].own, sizeof p);
  return p;
}

static void set_own_array(ql_qmat *q, int which, void *p)
{
  memcpy((unsigned char *)q + arrays[which].own, &p, sizeof p);
  set_array(&q->view, which, p);
}

/* Elements of an array; the header has been checked, so that nothing overflows. */
static size_t count_of(const ql_qmat_view *v, int which)
{
  switch (which) {
  case CODES: return v->rows * v->cols;
  case SCALES:
  case ZEROS:
  case FZEROS: return qli_qmat_blocks(v);
  case SIDE_COLS:
  case SIDE_SCALES: return v->side_count;
  case SIDE_VALUES: return v->rows * v->side_count;
  case LORA_A: return v->rank * v->cols;
  case LORA_B: return v->rows * v->rank;
  case LEVELS: return v->level_sets << v->bits;
  default: return v->cols;
  }
}

/* Whether a matrix with this header has the array; what is not optional is always there. */
static bool has_array(const ql_qmat_view *v, int which)
{
  switch (which) {
  case CODES:
  case SCALES: return true;
  case ZEROS: return qli_has_zeros(v->kind);
  case FZEROS: return v->kind == QL_GRID_FLOAT_ZERO;
  case SIDE_COLS:
  case SIDE_VALUES: return v->side_count > 0;
  case SIDE_SCALES: return v->side_count > 0 && v->side_dtype == QL_DTYPE_I8;
  case LORA_A:
  case LORA_B: return v->rank > 0;
  case LEVELS: return v->kind == QL_GRID_TABLE;
  default: return array_of(v, which) != NULL;
  }
}

ql_status qli_qmat_new(const ql_ctx *ctx, const ql_qmat_view *shape, ql_qmat **out, ql_error *error)
{
  QLI_TRY(qli_qmat_check_header(shape, error));
  ql_qmat *q = qli_calloc(ctx, 1, sizeof *q);
  bool complete = q != NULL;
  if (q != NULL) {
    q->ctx = ctx;
    q->view = *shape;
    q->view.struct_size = sizeof q->view;
  }
  for (int i = 0; complete && i < ARRAYS; i++) {
    const bool wanted = has_array(shape, i);
    void *p = wanted ? qli_alloc(ctx, count_of(shape, i), arrays[i].size) : NULL;
    set_own_array(q, i, p);
    complete = p != NULL || !wanted;
  }
  if (!complete) {
    ql_qmat_destroy(q);
    return qli_fail(error, QL_STATUS_NO_MEMORY, "no memory for a quantized matrix of %zu x %zu",
                    shape->rows, shape->cols);
  }
  *out = q;
  return QL_STATUS_OK;
}

static void fill(ql_qmat *q, const ql_qmat_view *v)
{
  for (int i = 0; i < ARRAYS; i++) {
    const size_t n = count_of(v, i);
    if (array_of(v, i) != NULL && own_array(q, i) != NULL && n != 0)
      memcpy(own_array(q, i), array_of(v, i), n * arrays[i].size);
  }
  const size_t implied = v->zeros == NULL && q->zeros != NULL ? qli_qmat_blocks(v) : 0;
  for (size_t i = 0; i < implied; i++)
    q->zeros[i] = (int16_t)qli_implied_zero(v->kind, v->bits);
}

static ql_status copy_view(const ql_qmat_view *view, ql_qmat_view *v, ql_error *error)
{
  memset(v, 0, sizeof *v);
  if (!qli_config_copy(v, sizeof *v, offsetof(ql_qmat_view, fzeros), view))
    return qli_fail(error, QL_STATUS_INVALID_ARGUMENT,
                    "ql_qmat_view.struct_size is %zu, %zu expected", view->struct_size, sizeof *v);
  return QL_STATUS_OK;
}

static ql_status create_from(const ql_ctx *ctx, const ql_qmat_view *v, ql_qmat **out,
                             ql_error *error)
{
  QLI_TRY(qli_qmat_check(ctx, v, error));
  ql_qmat *q = NULL;
  QLI_TRY(qli_qmat_new(ctx, v, &q, error));
  fill(q, v);
  *out = q;
  return QL_STATUS_OK;
}

ql_status ql_qmat_create(const ql_ctx *ctx, const ql_qmat_view *view, ql_qmat **out,
                         ql_error *error)
{
  ql_qmat_view v;
  if (ctx == NULL || view == NULL || out == NULL)
    return qli_fail(error, QL_STATUS_INVALID_ARGUMENT, "ctx, view or out is NULL");
  QLI_TRY(copy_view(view, &v, error));
  return create_from(ctx, &v, out, error);
}

/* A member of the header in *parts that is given must say what q says. */
static bool contradicts(uint64_t given, uint64_t own)
{
  return given != 0 && given != own;
}

static ql_status check_same_header(const ql_qmat_view *q, const ql_qmat_view *parts,
                                   ql_error *error)
{
  if (contradicts(parts->rows, q->rows) || contradicts(parts->cols, q->cols) ||
      contradicts(parts->block_rows, q->block_rows) ||
      contradicts(parts->block_cols, q->block_cols) || contradicts(parts->groups, q->groups))
    return qli_fail(error, QL_STATUS_SHAPE, "the parts are not those of a %zu x %zu matrix",
                    q->rows, q->cols);
  if ((parts->bits != 0 && parts->bits != q->bits) ||
      (parts->kind != 0 && parts->kind != q->kind) ||
      (parts->scale_dtype != QL_DTYPE_NONE && parts->scale_dtype != q->scale_dtype))
    return qli_fail(error, QL_STATUS_INVALID_ARGUMENT, "the parts are for another grid");
  if (parts->g_idx != NULL && parts->g_idx != q->g_idx)
    return qli_fail(error, QL_STATUS_INVALID_ARGUMENT, "the groups of a matrix cannot be replaced");
  return QL_STATUS_OK;
}

static void replace_side(ql_qmat_view *v, const ql_qmat_view *parts)
{
  if (parts->side_count == 0 && parts->side_cols == NULL && parts->side_values == NULL)
    return;
  v->side_count = parts->side_count;
  v->side_dtype = parts->side_dtype;
  v->side_cols = parts->side_cols;
  v->side_values = parts->side_values;
  v->side_scales = parts->side_scales;
}

static void replace_low_rank(ql_qmat_view *v, const ql_qmat_view *parts)
{
  if (parts->rank == 0 && parts->lora_a == NULL && parts->lora_b == NULL)
    return;
  v->rank = parts->rank;
  v->lora_dtype = parts->lora_dtype;
  v->lora_a = parts->lora_a;
  v->lora_b = parts->lora_b;
}

ql_status ql_qmat_with(const ql_ctx *ctx, const ql_qmat *q, const ql_qmat_view *parts,
                       ql_qmat **out, ql_error *error)
{
  static const int plain[] = {CODES, SCALES, ZEROS, PERM, FZEROS, IN_SCALE};
  ql_qmat_view p;
  if (ctx == NULL || q == NULL || parts == NULL || out == NULL)
    return qli_fail(error, QL_STATUS_INVALID_ARGUMENT, "ctx, q, parts or out is NULL");
  QLI_TRY(copy_view(parts, &p, error));
  ql_qmat_view v = q->view;
  QLI_TRY(check_same_header(&v, &p, error));
  for (size_t i = 0; i < sizeof plain / sizeof plain[0]; i++)
    if (array_of(&p, plain[i]) != NULL)
      set_array(&v, plain[i], array_of(&p, plain[i]));
  if (p.levels != NULL || p.level_sets != 0) {
    v.levels = p.levels;
    v.level_sets = p.level_sets;
  }
  replace_side(&v, &p);
  replace_low_rank(&v, &p);
  return create_from(ctx, &v, out, error);
}

void ql_qmat_destroy(ql_qmat *q)
{
  if (q == NULL)
    return;
  for (int i = 0; i < ARRAYS; i++)
    qli_free(q->ctx, own_array(q, i));
  qli_free(q->ctx, q);
}

ql_status ql_qmat_get(const ql_qmat *q, ql_qmat_view *view)
{
  if (q == NULL || view == NULL || view->struct_size < offsetof(ql_qmat_view, fzeros))
    return QL_STATUS_INVALID_ARGUMENT;
  const size_t size = view->struct_size, known = qli_min_size(size, sizeof q->view);
  const unsigned char *own = (const unsigned char *)&q->view;
  for (size_t i = known; i < sizeof q->view; i++)
    if (own[i] != 0)
      return QL_STATUS_UNSUPPORTED;
  memset(view, 0, size);
  memcpy(view, own, known);
  view->struct_size = size;
  return QL_STATUS_OK;
}

uint32_t qli_qmat_parts(const ql_qmat_view *v)
{
  return (v->kind == QL_GRID_FLOAT_ZERO ? QL_PART_FLOAT_ZEROS : 0u) |
         (v->in_scale != NULL ? QL_PART_IN_SCALE : 0u) |
         (v->side_count > 0 ? QL_PART_SIDE_COLUMNS : 0u) | (v->rank > 0 ? QL_PART_LOW_RANK : 0u) |
         (v->kind == QL_GRID_TABLE ? QL_PART_TABLE : 0u);
}

uint32_t ql_qmat_parts(const ql_qmat *q)
{
  return q != NULL ? qli_qmat_parts(&q->view) : 0;
}

ql_status qli_qmat_refuse(const ql_qmat_view *v, uint32_t known, const char *who, ql_error *error)
{
  static const char *const names[] = {"float zero points", "an input scale (in_scale)",
                                      "side columns", "a low-rank term", "a table of levels"};
  const uint32_t beyond = qli_qmat_parts(v) & ~known;
  for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
    if ((beyond >> i & 1u) != 0)
      return qli_fail(error, QL_STATUS_UNSUPPORTED, "%s does not know %s, which this matrix has",
                      who, names[i]);
  return QL_STATUS_OK;
}

/* Bits of the parts beyond codes, scales and zero points. */
static uint64_t part_bits(const ql_qmat_view *v)
{
  const uint64_t rows = v->rows, cols = v->cols;
  const uint64_t per_side =
      rows * ql_dtype_bits(v->side_dtype) + 32 + (v->side_scales != NULL ? (uint64_t)32 : 0);
  return (v->in_scale != NULL ? 32 * cols : 0) + (uint64_t)v->side_count * per_side +
         (uint64_t)v->rank * (rows + cols) * ql_dtype_bits(v->lora_dtype) +
         ((uint64_t)v->level_sets << v->bits) * 32;
}

uint64_t ql_qmat_bits(const ql_qmat *q)
{
  if (q == NULL)
    return 0;
  const ql_qmat_view *v = &q->view;
  const uint64_t scale = ql_dtype_bits(v->scale_dtype);
  const uint64_t zero = v->kind == QL_GRID_FLOAT_ZERO ? scale
                        : v->kind == QL_GRID_TABLE    ? 0
                                                      : (uint64_t)v->bits;
  return (uint64_t)v->rows * v->cols * (uint32_t)v->bits +
         (uint64_t)qli_qmat_blocks(v) * (scale + zero) + part_bits(v);
}
