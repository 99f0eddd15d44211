/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_ALGO_TEXTBOOK_H
#define TESTS_ALGO_TEXTBOOK_H

#include "fixture.h"

/* GPTQ as its paper has it, in plain double precision: explicit inverse of H, its upper Cholesky
 * factor, right-looking updates of every column. Nothing here is shared with the library. */

typedef struct {
  int bits, sym;
  size_t group;
  int order;
  int fixed;    /* static grids */
  size_t stale; /* 0: fresh; else the block of the classical program, with its f32 grid */
  double damp;
} setting;

typedef struct {
  size_t rows, cols;
  int *codes;      /* [rows, cols] by column */
  double *loss;    /* [rows] */
  double *inverse; /* U with H^-1 = U^T U */
  size_t *perm;
  char *dead; /* [cols] columns that never saw input */
} textbook;

textbook run_textbook(const layer *l, const setting *t);
void free_textbook(textbook *b);

void invert(const double *a, size_t n, double *out);
void find_grid(const setting *t, const double *x, size_t n, double *s, int *z);
int nearest_code(const setting *t, double x, double s, int z);

#endif
