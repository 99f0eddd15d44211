/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef QLI_GRID_TABLES_H
#define QLI_GRID_TABLES_H

#include "find.h"

#include <quantlib/table.h>

#include <stdbool.h>

/* Which of two levels a value halfway between them becomes: what the reference of a table does. */
typedef enum {
  QLI_TIES_LOWER, /* the lower level */
  QLI_TIES_UPPER, /* the higher level */
  QLI_TIES_ZERO,  /* the level nearer to zero */
  QLI_TIES_EVEN   /* the level with the even code */
} qli_ties;

enum { QLI_TABLE_CODES = 256 };

/* A table made ready for rounding: level i in ascending order has the code codes[i], equal levels
 * only the lowest of their codes; a quotient q belongs to level number (count of limits below q).
 * limits is filled up with infinity to 2^bits - 1. */
typedef struct qli_table_order {
  int32_t bits;
  const float *levels; /* by code */
  double limits[QLI_TABLE_CODES];
  uint8_t codes[QLI_TABLE_CODES];
  float reach;   /* the level of the largest magnitude, the higher one of two */
  bool balanced; /* minus reach is a level too */
  bool has_zero;
} qli_table_order;

/* levels: [2^bits], finite, not all 0. */
void qli_table_sort(const float *levels, int32_t bits, qli_ties ties, qli_table_order *out);

/* The levels of a named table, NULL when there is none; the others may be NULL. */
const float *qli_table_levels(ql_table id, int32_t *bits, qli_ties *ties);

/* As qli_grid_find and qli_grid_code, for QL_GRID_TABLE: the scale, and the codes of n weights. */
bool qli_table_find(const qli_grid *g, const qli_cells *cells, qli_point *out);
void qli_table_codes(const qli_table_order *t, float scale, const double *x, size_t n,
                     uint8_t *codes);

#endif
