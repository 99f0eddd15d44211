/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef QLI_GRID_FIND_H
#define QLI_GRID_FIND_H

#include "ctx.h"
#include "grid.h"
#include "power.h"

#include <stdbool.h>
#include <stddef.h>

/* Pure functions: the mathematics of one block of a grid. */

/* Scale and zero point of a block. The scale is a value of the storage type, except on the
 * classical grid, which makes its codes with the f32 scale. A value is scale * (code - zero -
 * fzero): one of the two zeros is 0, zero on QL_GRID_FLOAT_ZERO and fzero on all others. */
typedef struct qli_point {
  float scale;
  int32_t zero;
  float fzero; /* a value of the storage type of the scale */
} qli_point;

/* The weights of a block: element (r, c) is x[r * stride + c]. weight: importance of each column
 * in the search, NULL for 1. All finite, |x| <= FLT_MAX. */
typedef struct qli_cells {
  const double *x;
  size_t rows, cols, stride;
  const double *weight;
} qli_cells;

/* The point for these weights; false when no scale of the storage type can hold it. */
bool qli_grid_find(const qli_grid *g, const qli_cells *cells, qli_point *out);

/* The same without a search, from the least and the greatest weight alone, on an integer grid other
 * than the ternary and the classical one; QLI_FOUND_BY_ERROR where two points have to be compared
 * by their error after all. */
typedef enum { QLI_FOUND, QLI_FOUND_NONE, QLI_FOUND_BY_ERROR } qli_found;
qli_found qli_grid_find_plain(const qli_grid *g, double lo, double hi, qli_point *out);

/* The same of n <= QLI_POINTS blocks at once, but for those that unusual tells: qli_grid_find_plain
 * has to look at them. False where there are none. */
enum { QLI_POINTS = 256 };
bool qli_grid_points(const ql_ctx *ctx, const qli_grid *g, const float *lo, const float *hi,
                     size_t n, float *scales, int16_t *zeros, uint8_t *unusual);

/* The point with this scale and zero point as they can be stored; false as above. Not for the
 * classical grid. */
bool qli_grid_point(const qli_grid *g, double scale, double zero, qli_point *out);

/* Sum over the block of weight * |value - x|^norm; stops where that exceeds enough. */
double qli_grid_error(const qli_grid *g, const qli_cells *cells, qli_point p, double norm,
                      double enough);
/* The parts that it is made of, for algorithms that tune the range: the values that a block's grid
 * has to cover (false: all weights are 0), and for such a range the scale before it is rounded and
 * the point (false: the scale cannot be stored). Not for classical grids. */
bool qli_grid_range(const qli_grid *g, const qli_cells *cells, double *lo, double *hi);
double qli_grid_exact_scale(const qli_grid *g, double lo, double hi);
bool qli_grid_point_of_range(const qli_grid *g, double lo, double hi, qli_point *out);

/* The same by the arithmetic of the classical program, in f32. */
bool qli_grid_find_classical(const qli_grid *g, const qli_cells *cells, qli_point *out);

int32_t qli_grid_code_classical(const qli_grid *g, qli_point p, float x);

/* Lowest code in use. */
static inline int32_t qli_grid_lowest(const qli_grid *g)
{
  return g->kind == QL_GRID_SYM_RESTRICTED ? 1 : 0;
}

/* The zero point of a grid that has but one. */
static inline int32_t qli_grid_middle(const qli_grid *g)
{
  if (g->kind == QL_GRID_FLOAT_ZERO)
    return 0;
  return g->kind == QL_GRID_TERNARY ? 1 : 1 << (g->bits - 1);
}

/* Code of the grid point nearest to x, ties to even multiples of the scale. */
static inline int32_t qli_grid_code(const qli_grid *g, qli_point p, double x)
{
  if ((g->flags & QL_GRID_CLASSICAL) != 0)
    return qli_grid_code_classical(g, p, (float)x);
  const double lo = (double)(qli_grid_lowest(g) - p.zero), hi = (double)(g->maxq - p.zero);
  return (int32_t)qli_rint(qli_clamp(x / (double)p.scale + (double)p.fzero, lo, hi)) + p.zero;
}

/* What the code stands for, rounded to f32 as in ql_dequantize. */
static inline double qli_grid_value(qli_point p, int32_t code)
{
  return (double)(float)((double)p.scale * ((double)(code - p.zero) - (double)p.fzero));
}

#endif
