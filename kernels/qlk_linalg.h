/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef QLK_LINALG_H
#define QLK_LINALG_H

#include "qlk_types.h"

/* Register tiles of matrix products. Operands lie in panels, depth first: element (d, i) of a panel
 * at [d * QLK_PANEL + i]. The same layout serves both operands, so that X^T X needs one copy of X.
 * 96 is a multiple of all register tiles (4, 6, 8, 12, 16, 24, 48).
 *
 * Every element is summed in order of d, in one of two classes that do not mix:
 *   ordered: multiply, then add: the same bits on every ISA;
 *   fast:    one fused multiply-add where the ISA has it: the same bits on all ISAs that have. */
enum { QLK_PANEL = 96, QLK_REG_TILE = 8 * 48 /* elements of the largest register tile */ };

/* mr, nr and the functions belong together. a and b point at a multiple of mr and nr into a panel;
 * c has rows of ldc elements and holds mr x nr of them. */
typedef struct qlk_tile_f32 {
  size_t mr, nr;
  /* c += a^T b */
  void (*add)(size_t depth, const float *a, const float *b, float *c, size_t ldc);
  /* c += (double)(a^T b), the product summed from zero in f32 */
  void (*add_wide)(size_t depth, const float *a, const float *b, double *c, size_t ldc);
} qlk_tile_f32;

typedef struct qlk_tile_f64 {
  size_t mr, nr;
  void (*add)(size_t depth, const double *a, const double *b, double *c, size_t ldc);
} qlk_tile_f64;

typedef struct qlk_linalg {
  qlk_tile_f32 f32, f32_ordered;
  qlk_tile_f64 f64, f64_ordered;
} qlk_linalg;

/* Of every level of the table, built or not. */
#define QLK_ISA(name, NAME, parent, by_default, ...) void qlk_fill_linalg_##name(qlk_linalg *t);
#include "qlk_isas.def"
#undef QLK_ISA

#endif
