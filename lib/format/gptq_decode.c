/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#include "gptq_parts.h"

#include "bit_words.h"
#include "checked.h"
#include "ctx.h"
#include "error.h"
#include "qmat.h"
#include "scale.h"

#include <math.h>
#include <string.h>

typedef struct {
  const qli_format *format;
  ql_format_decode_info info;
  const ql_tensor *parts[GPTQ_PARTS]; /* g_idx may be NULL */
  size_t rows, cols, groups;
  ql_qmat *q;
} decoder;

/* Ends a decode with an error of one part. */
static ql_status bad_part(ql_error *error, int which, ql_status status)
{
  qli_error_tensor(error, qli_gptq_suffixes[which]);
  return status;
}

static ql_status find_parts(decoder *d, const char *const *suffixes, const ql_tensor *tensors,
                            size_t count, ql_error *error)
{
  for (size_t i = 0; i < count; i++) {
    int which = 0;
    while (which < GPTQ_PARTS && strcmp(suffixes[i], qli_gptq_suffixes[which]) != 0)
      which++;
    if (which == GPTQ_PARTS)
      return qli_fail(error, QL_STATUS_UNSUPPORTED, "%s has no part \"%.60s\"", d->format->name,
                      suffixes[i]);
    if (d->parts[which] != NULL)
      return qli_fail(error, QL_STATUS_INVALID_ARGUMENT, "%s is given twice", suffixes[i]);
    d->parts[which] = &tensors[i];
  }
  for (int which = 0; which < GPTQ_G_IDX; which++)
    if (d->parts[which] == NULL) {
      qli_fail(error, QL_STATUS_NOT_FOUND, "%s is missing", qli_gptq_suffixes[which]);
      return bad_part(error, which, QL_STATUS_NOT_FOUND);
    }
  return QL_STATUS_OK;
}

static ql_status check_type(const decoder *d, int which, int32_t rank, ql_error *error)
{
  const ql_tensor *t = d->parts[which];
  const bool fits = which == GPTQ_SCALES ? qli_is_scale_dtype(t->dtype)
                                         : t->dtype == QL_DTYPE_I32 ||
                                               (which != GPTQ_G_IDX && t->dtype == QL_DTYPE_U32);
  if (!fits) {
    qli_fail(error, QL_STATUS_DTYPE, "%s is %s, %s expected", qli_gptq_suffixes[which],
             ql_dtype_name(t->dtype), which == GPTQ_SCALES ? "F16, BF16 or F32" : "I32");
    return bad_part(error, which, QL_STATUS_DTYPE);
  }
  if (t->rank != rank) {
    qli_fail(error, QL_STATUS_SHAPE, "%s has %d axes, not %d", qli_gptq_suffixes[which],
             (int)t->rank, (int)rank);
    return bad_part(error, which, QL_STATUS_SHAPE);
  }
  return QL_STATUS_OK;
}

static ql_status check_shape(const decoder *d, int which, size_t a, size_t b, ql_error *error)
{
  const ql_tensor *t = d->parts[which];
  if (t->shape[0] == a && (t->rank == 1 || t->shape[1] == b))
    return QL_STATUS_OK;
  if (t->rank == 1)
    qli_fail(error, QL_STATUS_SHAPE, "%s has %zu elements, %zu columns expected",
             qli_gptq_suffixes[which], t->shape[0], a);
  else
    qli_fail(error, QL_STATUS_SHAPE,
             "%s is %zu x %zu, but a %zu x %zu matrix of %d bits in groups of %zu needs %zu x %zu",
             qli_gptq_suffixes[which], t->shape[0], t->shape[1], d->rows, d->cols,
             (int)d->info.bits, d->info.group, a, b);
  return bad_part(error, which, QL_STATUS_SHAPE);
}

/* rows and cols from qweight, then whether all else agrees. */
static ql_status read_sizes(decoder *d, ql_error *error)
{
  const int32_t bits = d->info.bits;
  const size_t codes = qli_unit_codes(bits), per_unit = qli_unit_words(bits);
  QLI_TRY(check_type(d, GPTQ_QWEIGHT, 2, error));
  QLI_TRY(check_type(d, GPTQ_QZEROS, 2, error));
  QLI_TRY(check_type(d, GPTQ_SCALES, 2, error));
  const size_t *shape = d->parts[GPTQ_QWEIGHT]->shape;
  if (shape[0] % per_unit != 0 || !qli_mul_size(shape[0] / per_unit, codes, &d->cols) ||
      d->cols > INT32_MAX) {
    qli_fail(error, QL_STATUS_SHAPE, "qweight has %zu rows, which %d-bit codes do not fill",
             shape[0], (int)bits);
    return bad_part(error, GPTQ_QWEIGHT, QL_STATUS_SHAPE);
  }
  d->rows = shape[1];
  if (d->rows % codes != 0) {
    qli_fail(error, QL_STATUS_SHAPE,
             "qweight has %zu columns, not a multiple of %zu: %d-bit zero "
             "points do not fit",
             d->rows, codes, (int)bits);
    return bad_part(error, GPTQ_QWEIGHT, QL_STATUS_SHAPE);
  }
  if (d->info.group == 0 || d->info.group > d->cols)
    d->info.group = d->cols ? d->cols : 1;
  d->groups = qli_ceil_div(d->cols, d->info.group);
  QLI_TRY(check_shape(d, GPTQ_QZEROS, d->groups, d->rows / codes * per_unit, error));
  QLI_TRY(check_shape(d, GPTQ_SCALES, d->groups, d->rows, error));
  if (d->parts[GPTQ_G_IDX] == NULL)
    return QL_STATUS_OK;
  QLI_TRY(check_type(d, GPTQ_G_IDX, 1, error));
  return check_shape(d, GPTQ_G_IDX, d->cols, 0, error);
}

static int32_t index_at(const ql_tensor *g_idx, size_t c)
{
  int32_t group;
  memcpy(&group, (const unsigned char *)g_idx->data + c * sizeof group, sizeof group);
  return group;
}

/* Every index, and whether they say anything: c / group for all columns is what is meant without.
 */
static ql_status check_index(decoder *d, ql_error *error)
{
  const ql_tensor *g_idx = d->parts[GPTQ_G_IDX];
  bool natural = true;
  for (size_t c = 0; g_idx != NULL && c < d->cols; c++) {
    const int32_t group = index_at(g_idx, c);
    if (group < 0 || (size_t)group >= d->groups) {
      qli_fail(error, QL_STATUS_FORMAT, "g_idx[%zu] is %d, there are %zu groups", c, (int)group,
               d->groups);
      qli_error_at(error, (int64_t)c, -1);
      return bad_part(error, GPTQ_G_IDX, QL_STATUS_FORMAT);
    }
    natural = natural && (size_t)group == c / d->info.group;
  }
  if (natural)
    d->parts[GPTQ_G_IDX] = NULL;
  return QL_STATUS_OK;
}

static uint32_t word_at(const ql_tensor *t, size_t index)
{
  uint32_t word;
  memcpy(&word, (const unsigned char *)t->data + index * sizeof word, sizeof word);
  return word;
}

static void decode_codes(const decoder *d, size_t first, size_t last)
{
  const int32_t bits = d->info.bits;
  const size_t codes = qli_unit_codes(bits), per_unit = qli_unit_words(bits);
  for (size_t u = 0; u < d->cols / codes; u++)
    for (size_t r = first; r < last; r++) {
      uint32_t words[QLI_UNIT_MAX_WORDS];
      for (size_t k = 0; k < per_unit; k++)
        words[k] = word_at(d->parts[GPTQ_QWEIGHT], (u * per_unit + k) * d->rows + r);
      qli_unit_unpack(bits, words, d->q->codes + r * d->cols + u * codes, 1);
    }
}

/* A v1 field of 2^bits - 1 gives the zero point 2^bits: no mask, as most readers have it. */
static void decode_zeros(const decoder *d, size_t first, size_t last)
{
  const int32_t bits = d->info.bits;
  const size_t codes = qli_unit_codes(bits), per_unit = qli_unit_words(bits);
  for (size_t g = 0; g < d->groups; g++)
    for (size_t r = first; r < last; r += codes) {
      uint8_t fields[32];
      uint32_t words[QLI_UNIT_MAX_WORDS];
      for (size_t k = 0; k < per_unit; k++)
        words[k] =
            word_at(d->parts[GPTQ_QZEROS], (g * (d->rows / codes) + r / codes) * per_unit + k);
      qli_unit_unpack(bits, words, fields, 1);
      for (size_t i = 0; i < codes; i++)
        d->q->zeros[(r + i) * d->groups + g] = (int16_t)(fields[i] + d->format->zero_bias);
    }
}

static float scale_at(const ql_tensor *t, size_t index)
{
  float s;
  uint16_t half;
  const unsigned char *data = t->data;
  if (t->dtype == QL_DTYPE_F32) {
    memcpy(&s, data + index * sizeof s, sizeof s);
    return s;
  }
  memcpy(&half, data + index * sizeof half, sizeof half);
  return t->dtype == QL_DTYPE_F16 ? qli_f16_to_f32(half) : qli_bf16_to_f32(half);
}

static void decode_tile(void *arg, size_t index, size_t worker)
{
  const decoder *d = arg;
  const size_t first = index * GPTQ_TILE, last = qli_min_size(first + GPTQ_TILE, d->rows);
  (void)worker;
  decode_codes(d, first, last);
  decode_zeros(d, first, last);
  for (size_t r = first; r < last; r++)
    for (size_t g = 0; g < d->groups; g++)
      d->q->scales[r * d->groups + g] = scale_at(d->parts[GPTQ_SCALES], g * d->rows + r);
}

static ql_status check_scales(const decoder *d, ql_error *error)
{
  for (size_t i = 0; i < d->rows * d->groups; i++)
    if (!isfinite(d->q->scales[i])) {
      const size_t r = i / d->groups, g = i % d->groups;
      qli_fail(error, QL_STATUS_NUMERIC, "the scale of row %zu, group %zu is %s", r, g,
               isnan(d->q->scales[i]) ? "NaN" : "Inf");
      qli_error_at(error, (int64_t)g, (int64_t)r); /* as the tensor has them */
      return bad_part(error, GPTQ_SCALES, QL_STATUS_NUMERIC);
    }
  return QL_STATUS_OK;
}

/* Some readers take the zero points of a checkpoint that says it is symmetric from the bits alone,
 * others as they are stored. Where that differs there is no right answer. */
static ql_status find_kind(const decoder *d, ql_error *error)
{
  const int32_t half = 1 << (d->info.bits - 1);
  d->q->view.kind = d->info.symmetric == 0 ? QL_GRID_ASYM : QL_GRID_SYM_CENTRED;
  for (size_t i = 0; d->info.symmetric != 0 && i < d->rows * d->groups; i++) {
    if (d->q->zeros[i] == half)
      continue;
    if (d->info.symmetric < 0) {
      d->q->view.kind = QL_GRID_ASYM;
      return QL_STATUS_OK;
    }
    const size_t r = i / d->groups, g = i % d->groups;
    qli_fail(error, QL_STATUS_FORMAT,
             "the zero point of row %zu, group %zu is %d; a symmetric grid of %d bits has %d", r, g,
             (int)d->q->zeros[i], (int)d->info.bits, (int)half);
    qli_error_at(error, (int64_t)g, (int64_t)r);
    qli_error_hint(error, "read as %s: is checkpoint_format or sym of the configuration wrong?",
                   d->format->name);
    return bad_part(error, GPTQ_QZEROS, QL_STATUS_FORMAT);
  }
  return QL_STATUS_OK;
}

static ql_status decode_all(const ql_ctx *ctx, decoder *d, ql_error *error)
{
  static const int32_t wanted = 0;
  ql_qmat_view shape = {.struct_size = sizeof shape,
                        .rows = d->rows,
                        .cols = d->cols,
                        .bits = d->info.bits,
                        .kind = QL_GRID_ASYM,
                        .block_rows = 1,
                        .block_cols = d->info.group,
                        .groups = d->groups,
                        .scale_dtype = d->parts[GPTQ_SCALES]->dtype,
                        .g_idx = d->parts[GPTQ_G_IDX] ? &wanted : NULL};
  QLI_TRY(qli_qmat_new(ctx, &shape, &d->q, error));
  qli_parallel_for(ctx, qli_ceil_div(d->rows, GPTQ_TILE), decode_tile, d);
  for (size_t c = 0; d->q->g_idx != NULL && c < d->cols; c++)
    d->q->g_idx[c] = index_at(d->parts[GPTQ_G_IDX], c);
  QLI_TRY(check_scales(d, error));
  return find_kind(d, error);
}

ql_status qli_gptq_decode(const ql_ctx *ctx, const qli_format *f, const ql_format_decode_info *info,
                          const char *const *suffixes, const ql_tensor *tensors, size_t count,
                          ql_qmat **out, ql_error *error)
{
  decoder d = {.format = f, .info = *info};
  QLI_TRY(find_parts(&d, suffixes, tensors, count, error));
  QLI_TRY(read_sizes(&d, error));
  QLI_TRY(check_index(&d, error));
  const ql_status status = decode_all(ctx, &d, error);
  if (status != QL_STATUS_OK) {
    ql_qmat_destroy(d.q);
    return status;
  }
  *out = d.q;
  return QL_STATUS_OK;
}
