/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#include "diff_internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static ql_status float_weights(const qle_model *model, const qle_linear_spec *spec,
                               const ql_tensor *dst, ql_error *error)
{
  qle_linear_source source;
  QLE_TRY(qle_linear_find(model, spec, &source, NULL, error));
  return ql_tensor_convert(model->ctx, &source.weight, dst, error);
}

ql_status qle_diff_load(const qle_model *model, const qle_linear_spec *spec, float **out,
                        ql_error *error)
{
  ql_qmat *q = NULL;
  QLE_TRY(qle_linear_decode(model, spec, &q, error));
  float *data = qle_alloc3(spec->n, spec->k, sizeof *data);
  ql_status status;
  if (data == NULL) {
    status = qle_fail(error, QL_STATUS_NO_MEMORY, "no memory for the weights of %s", spec->name);
  } else {
    const ql_tensor dst = qle_view(data, spec->n, spec->k);
    status = q != NULL ? ql_dequantize(model->ctx, q, &dst, error)
                       : float_weights(model, spec, &dst, error);
  }
  ql_qmat_destroy(q);
  if (status != QL_STATUS_OK) {
    free(data);
    return status;
  }
  *out = data;
  return QL_STATUS_OK;
}

/* Sums over all weights. */
typedef struct weight_sums {
  double reference, rounding, clipping, steps; /* of squares; steps: step^2 / 12 */
  size_t clipped;
} weight_sums;

/* A matrix of B with what is looked up for each weight. */
typedef struct matrix {
  const qle_config *config;
  qle_linear which;
  qle_fold_of fold;
  size_t rows, cols;
  const float *a, *b;
  const ql_qmat_view *view;  /* NULL: floating point */
  const unsigned char *side; /* [cols]: flags of side columns; NULL: none */
} matrix;

static double low_rank_term(const ql_qmat_view *v, size_t r, size_t c)
{
  double sum = 0;
  for (size_t k = 0; k < v->rank; k++)
    sum += (double)v->lora_b[r * v->rank + k] * (double)v->lora_a[k * v->cols + c];
  return sum;
}

/* The same of a table, whose step is the mean one. */
static double beyond_levels(const ql_qmat_view *v, size_t r, double scale, double target,
                            double *step)
{
  const size_t count = (size_t)1 << v->bits;
  const float *levels = v->levels + (v->level_sets > 1 ? r * count : 0);
  double low = INFINITY, high = -INFINITY;
  for (size_t i = 0; i < count; i++) {
    low = fmin(low, scale * (double)levels[i]);
    high = fmax(high, scale * (double)levels[i]);
  }
  *step = (high - low) / (double)(count - 1);
  return target < low ? low - target : target > high ? target - high : 0;
}

/* How far a weight lies beyond the range of its grid, in the weight's own unit; *step is that of
 * the grid. Both without the optional parts: what codes stand for. */
static double beyond_range(const ql_qmat_view *v, size_t r, size_t c, double target, double *step)
{
  const size_t group = v->g_idx != NULL ? (size_t)v->g_idx[c] : c / v->block_cols;
  const size_t block = r / v->block_rows * v->groups + group;
  const double scale = (double)v->scales[block];
  if (v->levels != NULL)
    return beyond_levels(v, r, scale, target, step);
  const double zero = v->fzeros != NULL ? (double)v->fzeros[block] : (double)v->zeros[block];
  const double last = v->kind == QL_GRID_TERNARY ? 2 : (double)((1 << v->bits) - 1);
  const double one = scale * (0 - zero), other = scale * (last - zero);
  const double low = fmin(one, other), high = fmax(one, other);
  *step = fabs(scale);
  return target < low ? low - target : target > high ? target - high : 0;
}

static void add_weight(const matrix *m, size_t r, size_t c, weight_sums *s)
{
  const double fold =
      qle_fold_col(m->config, &m->fold, m->which, c) / (m->fold.rows != NULL ? m->fold.rows[r] : 1);
  const double w = (double)m->a[r * m->cols + c] * fold;
  const double e = w - (double)m->b[r * m->cols + c];
  const ql_qmat_view *v = m->view;
  int clipped = 0;
  s->reference += w * w;
  if (v != NULL && (m->side == NULL || !m->side[c])) {
    const double in = v->in_scale != NULL ? (double)v->in_scale[c] : 1;
    double step;
    const double beyond = beyond_range(v, r, c, (w - low_rank_term(v, r, c)) / in, &step);
    /* A relative tolerance: the last point of a grid often is the weight, but for rounding. */
    clipped = beyond > 0.5 * step * (1 + 1e-6);
    s->steps += step * in * step * in / 12;
  }
  s->clipped += (size_t)clipped;
  *(clipped ? &s->clipping : &s->rounding) += e * e;
}

static void sum_weights(const matrix *m, weight_sums *s)
{
  for (size_t r = 0; r < m->rows; r++)
    for (size_t c = 0; c < m->cols; c++)
      add_weight(m, r, c, s);
}

static double ratio(double sum, double reference)
{
  return sum == 0 ? 0 : sqrt(sum / reference);
}

static void finish(const weight_sums *s, const matrix *m, qle_diff_linear *out)
{
  qle_diff_weight *w = &out->weight;
  const int quantized = m->view != NULL;
  w->error = ratio(s->rounding + s->clipping, s->reference);
  w->rounding = quantized ? ratio(s->rounding, s->reference) : -1;
  w->clipping = quantized ? ratio(s->clipping, s->reference) : -1;
  w->uniform = quantized ? ratio(s->steps, s->reference) : -1;
  w->clipped = quantized ? (double)s->clipped / ((double)m->rows * (double)m->cols) : -1;
  out->bits = quantized ? m->view->bits : 0;
  out->folded = m->fold.moved;
}

/* Flags of the side columns; NULL where there are none or, with *status set, no memory. */
static unsigned char *side_flags(const ql_qmat_view *v, ql_status *status)
{
  if (v->side_count == 0)
    return NULL;
  unsigned char *flags = calloc(v->cols + 1, 1);
  if (flags == NULL)
    *status = QL_STATUS_NO_MEMORY;
  for (size_t i = 0; flags != NULL && i < v->side_count; i++)
    flags[v->side_cols[i]] = 1;
  return flags;
}

ql_status qle_diff_weights(const qle_model *a, const qle_model *b, size_t layer, qle_linear which,
                           const qle_folds *folds, qle_diff_linear *out, ql_error *error)
{
  qle_linear_spec spec;
  qle_block_spec(&a->config, layer, which, &spec);
  float *x = NULL, *y = NULL;
  unsigned char *side = NULL;
  ql_qmat *q = NULL;
  ql_qmat_view view = {.struct_size = sizeof view};
  weight_sums sums = {0};
  ql_status status;
  QLE_CHECK(qle_diff_load(a, &spec, &x, error));
  QLE_CHECK(qle_diff_load(b, &spec, &y, error));
  QLE_CHECK(qle_linear_decode(b, &spec, &q, error));
  if (q != NULL) {
    QLE_CHECK(ql_qmat_get(q, &view));
    side = side_flags(&view, &status);
  }
  if (status == QL_STATUS_OK) {
    const matrix m = {&a->config, which, qle_folds_of(folds, which), spec.n, spec.k,
                      x,          y,     q != NULL ? &view : NULL,   side};
    sum_weights(&m, &sums);
    finish(&sums, &m, out);
  }
done:
  free(x);
  free(y);
  free(side);
  ql_qmat_destroy(q);
  return status;
}
