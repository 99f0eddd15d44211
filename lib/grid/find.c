/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#include "find.h"

#include "scale.h"
#include "tables.h"

#include <float.h>
#include <math.h>

typedef struct {
  double lo, hi;
} range;

/* A candidate and its error; the search starts with the unshrunk range. */
typedef struct {
  qli_point point;
  double error;
} best_point;

static range range_of(const qli_cells *cells)
{
  range v = {cells->x[0], cells->x[0]};
  for (size_t r = 0; r < cells->rows; r++)
    for (size_t c = 0; c < cells->cols; c++) {
      const double x = cells->x[r * cells->stride + c];
      v.lo = x < v.lo ? x : v.lo;
      v.hi = x > v.hi ? x : v.hi;
    }
  return v;
}

static range with_zero(range v)
{
  return (range){v.lo < 0.0 ? v.lo : 0.0, v.hi > 0.0 ? v.hi : 0.0};
}

/* Rounds a scale to its storage type, not below the smallest normal. An f16 scale that overflows is
 * refused; the other types hold every scale but are kept finite. */
static bool store_scale(const qli_grid *g, double exact, float *scale)
{
  const float magnitude = qli_round_scale(g->scale_dtype, (float)fabs(exact));
  if (g->scale_dtype == QL_DTYPE_F16 && !isfinite(magnitude))
    return false;
  const float low = qli_scale_min(g->scale_dtype), high = qli_scale_max(g->scale_dtype);
  const float kept = magnitude < low ? low : magnitude > high ? high : magnitude;
  *scale = exact < 0.0 ? -kept : kept;
  return true;
}

/* The largest scale of the storage type with which no code dequantizes to Inf: a limit that only
 * weights near the end of f32 meet. */
static qli_point capped(const qli_grid *g, qli_point p)
{
  const double below = (double)p.zero + (double)p.fzero, above = (double)g->maxq - below;
  const double most = fabs(below) > fabs(above) ? fabs(below) : fabs(above);
  const double steps = g->kind == QL_GRID_TABLE ? fabs((double)g->table->reach) : most;
  if (fabs((double)p.scale) * steps <= (double)FLT_MAX)
    return p;
  uint32_t bits = qli_bits_from_f32((float)((double)FLT_MAX / steps));
  if ((double)qli_f32_from_bits(bits) * steps > (double)FLT_MAX)
    bits--;
  if (g->scale_dtype == QL_DTYPE_BF16)
    bits &= 0xffff0000u;
  p.scale = copysignf(qli_f32_from_bits(bits), p.scale);
  return p;
}

/* A float zero point beyond this many steps would itself be rounded by more than half a step. */
static double most_steps(const qli_grid *g)
{
  if (g->scale_dtype == QL_DTYPE_F32)
    return 0x1p24;
  return g->scale_dtype == QL_DTYPE_F16 ? 0x1p11 : 0x1p8;
}

static double larger(double a, double b)
{
  return a > b ? a : b;
}

static double exact_scale(const qli_grid *g, range v)
{
  const double half = (double)(1 << (g->bits - 1));
  const double most = larger(fabs(v.hi), fabs(v.lo));
  switch (g->kind) {
  case QL_GRID_ASYM: return (v.hi - v.lo) / (double)g->maxq;
  case QL_GRID_FLOAT_ZERO: return larger((v.hi - v.lo) / (double)g->maxq, most / most_steps(g));
  case QL_GRID_TERNARY: return most;
  case QL_GRID_SYM_CENTRED: return 2.0 * most / (double)g->maxq;
  case QL_GRID_SYM_SIGNED: return (v.hi > -v.lo ? -v.hi : -v.lo) / half;
  default: return most / (half - 1.0);
  }
}

/* The zero point that the range asks for, not yet clamped to what can be stored. */
static double natural_zero(float scale, range v)
{
  return qli_rint(qli_clamp(-v.lo / (double)scale, -0x1p40, 0x1p40));
}

static bool point_of(const qli_grid *g, range v, qli_point *out)
{
  if (!store_scale(g, exact_scale(g, v), &out->scale))
    return false;
  out->zero = qli_grid_middle(g);
  out->fzero = 0.0f;
  if (g->kind == QL_GRID_ASYM)
    out->zero = (int32_t)qli_clamp(natural_zero(out->scale, v), g->zero_min, g->maxq);
  if (g->kind == QL_GRID_FLOAT_ZERO)
    out->fzero = qli_round_scale(g->scale_dtype, (float)(-v.lo / (double)out->scale));
  *out = capped(g, *out);
  return true;
}

bool qli_grid_point(const qli_grid *g, double scale, double zero, qli_point *out)
{
  if (!store_scale(g, scale, &out->scale))
    return false;
  out->zero = qli_grid_middle(g);
  out->fzero = 0.0f;
  if (g->kind == QL_GRID_ASYM)
    out->zero = (int32_t)qli_rint(qli_clamp(zero, (double)g->zero_min, (double)g->maxq));
  if (g->kind == QL_GRID_FLOAT_ZERO)
    out->fzero =
        qli_round_scale(g->scale_dtype, (float)qli_clamp(zero, -most_steps(g), most_steps(g)));
  *out = capped(g, *out);
  return true;
}

enum { CHUNK = 64, LANES = 4 };

/* |value - x|^norm of up to CHUNK weights. */
static void errors_of(const qli_grid *g, qli_point p, const double *x, size_t n, double norm,
                      double *errors)
{
  const double s = (double)p.scale, inverse = 1.0 / s, z = (double)p.fzero;
  const double lo = (double)(qli_grid_lowest(g) - p.zero), hi = (double)(g->maxq - p.zero);
  for (size_t i = 0; i < n; i++)
    errors[i] = (qli_rint(qli_clamp(x[i] * inverse + z, lo, hi)) - z) * s - x[i];
  if (norm == 2.0)
    for (size_t i = 0; i < n; i++)
      errors[i] = errors[i] * errors[i];
  else
    for (size_t i = 0; i < n; i++)
      errors[i] = qli_power(fabs(errors[i]), norm);
}

/* Sum over a row of weight * |value - x|^norm in four lanes that are added in a fixed order. */
static double row_error(const qli_grid *g, qli_point p, const double *x, const double *weight,
                        size_t n, double norm)
{
  double sum[LANES] = {0.0, 0.0, 0.0, 0.0}, errors[CHUNK];
  for (size_t first = 0; first < n; first += CHUNK) {
    const size_t count = n - first < CHUNK ? n - first : CHUNK;
    errors_of(g, p, x + first, count, norm, errors);
    for (size_t i = 0; weight != NULL && i < count; i++)
      errors[i] *= weight[first + i];
    for (size_t i = count; i < CHUNK && i % LANES != 0; i++)
      errors[i] = 0.0;
    for (size_t i = 0; i < count; i += LANES)
      for (size_t k = 0; k < LANES; k++)
        sum[k] += errors[i + k];
  }
  return (sum[0] + sum[2]) + (sum[1] + sum[3]);
}

/* Stops where the error exceeds that of the best so far: the result is then only known to. */
double qli_grid_error(const qli_grid *g, const qli_cells *cells, qli_point p, double norm,
                      double enough)
{
  double sum = 0.0;
  for (size_t r = 0; r < cells->rows && sum < enough; r++)
    sum += row_error(g, p, cells->x + r * cells->stride, cells->weight, cells->cols, norm);
  return sum;
}

static void consider(const qli_grid *g, const qli_cells *cells, qli_point p, double norm,
                     best_point *best)
{
  p = capped(g, p);
  const double error = qli_grid_error(g, cells, p, norm, best->error);
  if (error < best->error)
    *best = (best_point){p, error};
}

/* Where the natural zero is below zero_min (all weights at or above 0, and GPTQ v1 cannot hold a
 * zero of 0): the scale that reaches the largest weight with the zero at zero_min. */
static bool point_of_raised_zero(const qli_grid *g, range v, qli_point *out)
{
  if (!store_scale(g, v.hi / (double)(g->maxq - g->zero_min), &out->scale))
    return false;
  out->zero = g->zero_min;
  out->fzero = 0.0f;
  *out = capped(g, *out);
  return true;
}

static bool is_raised(const qli_grid *g, range v, qli_point p)
{
  return g->kind == QL_GRID_ASYM && natural_zero(p.scale, v) < (double)g->zero_min && v.hi > 0.0;
}

/* Zero points to either side that the search tries: all of them for 2 bits, and fewer where one
 * step of the zero is a smaller part of the range. */
static int32_t zero_span(const qli_grid *g)
{
  if (g->kind != QL_GRID_ASYM)
    return 0;
  return g->bits <= 3 ? 3 : g->bits == 4 ? 2 : 1;
}

static void consider_shifted(const qli_grid *g, const qli_cells *cells, qli_point p,
                             best_point *best)
{
  const int32_t span = zero_span(g), middle = p.zero;
  for (p.zero = middle - span; p.zero <= middle + span; p.zero++)
    if (p.zero != middle && p.zero >= g->zero_min && p.zero <= g->maxq)
      consider(g, cells, p, g->mse_norm, best);
}

/* Weighted mean of c - x / s over the block: the float zero point that is best for these codes in
 * the mean square. */
static void consider_refitted(const qli_grid *g, const qli_cells *cells, qli_point p,
                              best_point *best)
{
  double sum = 0.0, total = 0.0;
  for (size_t r = 0; r < cells->rows; r++)
    for (size_t c = 0; c < cells->cols; c++) {
      const double x = cells->x[r * cells->stride + c];
      const double weight = cells->weight != NULL ? cells->weight[c] : 1.0;
      sum += weight * ((double)qli_grid_code(g, p, x) - x / (double)p.scale);
      total += weight;
    }
  if (!(total > 0.0))
    return;
  p.fzero = qli_round_scale(g->scale_dtype, (float)(sum / total));
  if (fabs((double)p.fzero) <= most_steps(g))
    consider(g, cells, p, g->mse_norm, best);
}

/* A range that reaches to the mean magnitude, the scale of ternary weights in BitNet b1.58. */
static range mean_range(const qli_cells *cells)
{
  double sum = 0.0;
  for (size_t r = 0; r < cells->rows; r++)
    for (size_t c = 0; c < cells->cols; c++)
      sum += fabs(cells->x[r * cells->stride + c]);
  const double mean = sum / ((double)cells->rows * (double)cells->cols);
  return (range){-mean, mean};
}

/* Shifted zero points are tried with every fourth shrink: all of them lower the error by another
 * tenth of a percent for more than twice the time. */
enum { SHIFT_STEP = 4 };

/* The range shrunk to its part p: towards zero, where a float zero point leaves the range its own
 * middle towards that. */
static range shrink(const qli_grid *g, range v, double p)
{
  const double middle = g->kind == QL_GRID_FLOAT_ZERO ? 0.5 * v.lo + 0.5 * v.hi : 0.0;
  return (range){middle + (v.lo - middle) * p, middle + (v.hi - middle) * p};
}

/* What else the kind has to offer for the i-th shrunk range and its point. */
static void consider_variants(const qli_grid *g, const qli_cells *cells, range shrunk,
                              qli_point point, int32_t i, best_point *best)
{
  if (i % SHIFT_STEP == 0 && g->kind == QL_GRID_FLOAT_ZERO)
    consider_refitted(g, cells, point, best);
  if (i % SHIFT_STEP == 0)
    consider_shifted(g, cells, point, best);
  if (is_raised(g, shrunk, point) && point_of_raised_zero(g, shrunk, &point))
    consider(g, cells, point, g->mse_norm, best);
  if (g->kind == QL_GRID_SYM_SIGNED) {
    point.scale = -point.scale;
    consider(g, cells, point, g->mse_norm, best);
  }
}

static void search_range(const qli_grid *g, const qli_cells *cells, range v, best_point *best)
{
  const int32_t count = (int32_t)(g->mse_shrink * (double)g->mse_steps);
  for (int32_t i = 0; i < (count > 1 ? count : 1); i++) {
    const range shrunk = shrink(g, v, 1.0 - (double)i / (double)g->mse_steps);
    qli_point point;
    if (!point_of(g, shrunk, &point))
      continue;
    consider(g, cells, point, g->mse_norm, best);
    consider_variants(g, cells, shrunk, point, i, best);
  }
}

/* The best ternary scale of a normal distribution is 1.53 times its mean magnitude, that of a
 * Laplace distribution twice: a ladder down from this multiple holds them, whatever the outliers.
 */
static const double ternary_reach = 2.5;

static void search(const qli_grid *g, const qli_cells *cells, range v, best_point *best)
{
  if (g->kind == QL_GRID_TERNARY) {
    const range mean = mean_range(cells);
    consider(g, cells, best->point, g->mse_norm, best);
    search_range(g, cells, (range){ternary_reach * mean.lo, ternary_reach * mean.hi}, best);
  }
  search_range(g, cells, v, best);
}

/* The range that the flags ask for. A raw range whose zero point cannot be stored would put every
 * code at one end: it is then extended to zero like any other. */
static range wanted_range(const qli_grid *g, range v)
{
  const range zero = with_zero(v);
  qli_point p;
  if (g->kind == QL_GRID_FLOAT_ZERO)
    return v;
  if ((g->flags & QL_GRID_RAW_RANGE) == 0 || v.lo == v.hi || !point_of(g, v, &p))
    return zero;
  const double z = natural_zero(p.scale, v);
  return z >= (double)g->zero_min && z <= (double)g->maxq ? v : zero;
}

bool qli_grid_range(const qli_grid *g, const qli_cells *cells, double *lo, double *hi)
{
  const range v = wanted_range(g, range_of(cells));
  *lo = v.lo;
  *hi = v.hi;
  return v.lo != 0.0 || v.hi != 0.0;
}

double qli_grid_exact_scale(const qli_grid *g, double lo, double hi)
{
  return exact_scale(g, (range){lo, hi});
}

bool qli_grid_point_of_range(const qli_grid *g, double lo, double hi, qli_point *out)
{
  return point_of(g, (range){lo, hi}, out);
}

qli_found qli_grid_find_plain(const qli_grid *g, double lo, double hi, qli_point *out)
{
  const range v = wanted_range(g, (range){lo, hi});
  if (v.lo == 0.0 && v.hi == 0.0) {
    *out = (qli_point){1.0f, qli_grid_middle(g), 0.0f};
    return QLI_FOUND;
  }
  if (!point_of(g, v, out))
    return QLI_FOUND_NONE;
  return is_raised(g, v, *out) ? QLI_FOUND_BY_ERROR : QLI_FOUND;
}

/* Magnitudes of the scales, rounded to their storage type. */
static void magnitudes(const ql_ctx *ctx, const qli_grid *g, const float *lo, const float *hi,
                       size_t n, float *scales)
{
  const qlk_exact *kernels = &ctx->kernels.exact;
  uint16_t halves[QLI_POINTS];
  for (size_t i = 0; i < n; i++)
    scales[i] = (float)fabs(exact_scale(g, with_zero((range){(double)lo[i], (double)hi[i]})));
  if (g->scale_dtype == QL_DTYPE_F16) {
    kernels->f32_to_f16(scales, n, halves);
    kernels->f16_to_f32(halves, n, scales);
  } else if (g->scale_dtype == QL_DTYPE_BF16) {
    kernels->f32_to_bf16(scales, n, halves);
    kernels->bf16_to_f32(halves, n, scales);
  }
}

/* Nearest integer of a number below 2^51. */
static inline double nearest(double v)
{
  return (v + 0x1.8p52) - 0x1.8p52;
}

bool qli_grid_points(const ql_ctx *ctx, const qli_grid *g, const float *lo, const float *hi,
                     size_t n, float *scales, int16_t *zeros, uint8_t *unusual)
{
  const float low = qli_scale_min(g->scale_dtype);
  const bool asym = g->kind == QL_GRID_ASYM, raw = (g->flags & QL_GRID_RAW_RANGE) != 0;
  const double least = (double)g->zero_min, most = (double)g->maxq;
  unsigned any = 0;
  magnitudes(ctx, g, lo, hi, n, scales);
  for (size_t i = 0; i < n; i++) {
    const float s = scales[i];
    double z = (double)qli_grid_middle(g);
    unsigned odd = raw || !(s >= low && s <= 0x1p100f);
    if (asym && !odd) {
      z = nearest((lo[i] < 0.0f ? -(double)lo[i] : 0.0) / (double)s);
      odd = z < least && hi[i] > 0.0f;
      z = z < least ? least : z > most ? most : z;
    }
    if (g->kind == QL_GRID_SYM_SIGNED &&
        (hi[i] > 0.0f ? hi[i] : 0.0f) > (lo[i] < 0.0f ? -lo[i] : 0.0f))
      scales[i] = -s;
    zeros[i] = (int16_t)z;
    unusual[i] = (uint8_t)odd;
    any |= odd;
  }
  return any != 0;
}

bool qli_grid_find(const qli_grid *g, const qli_cells *cells, qli_point *out)
{
  if ((g->flags & QL_GRID_CLASSICAL) != 0)
    return qli_grid_find_classical(g, cells, out);
  if (g->kind == QL_GRID_TABLE)
    return qli_table_find(g, cells, out);
  const range v = wanted_range(g, range_of(cells));
  best_point best = {{1.0f, qli_grid_middle(g), 0.0f}, INFINITY};
  qli_point raised;
  if (v.lo == 0.0 && v.hi == 0.0) {
    *out = best.point;
    return true;
  }
  if (!point_of(g, g->kind == QL_GRID_TERNARY ? mean_range(cells) : v, &best.point))
    return false;
  if (is_raised(g, v, best.point) && point_of_raised_zero(g, v, &raised)) {
    best.error = qli_grid_error(g, cells, best.point, 2.0, INFINITY);
    consider(g, cells, raised, 2.0, &best);
    best.error = INFINITY;
  }
  if (g->mse_norm > 0.0)
    search(g, cells, v, &best);
  *out = best.point;
  return true;
}
