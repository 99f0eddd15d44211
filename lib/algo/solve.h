/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef QLI_ALGO_SOLVE_H
#define QLI_ALGO_SOLVE_H

#include "gptq.h"
#include "linalg.h"

#include <quantlib/algo/solve.h>

/* The insides of the solver. It begins with GPTQ and goes on in rounds over the groups. There the
 * columns are named by their place i when they are sorted by group (members of gptq.h); every
 * quantity of the rounds is in that order. With delta = w* - q:
 *     P = delta G,  G = H + lambda I,  loss = delta G delta^T = sum of delta_i P_i.
 * Changing the values by m changes the loss by -2 m P^T + m G m^T, and P by -m G. */

enum {
  QLI_SOLVE_TILE = 48,     /* rows of a tile */
  QLI_SOLVE_BLOCK = 128,   /* columns between two updates of all of P */
  QLI_SOLVE_SHUFFLE = 128, /* columns of a shuffled block */
  QLI_SOLVE_PATHS = 48,    /* most paths of beam and Klein, a multiple of all vectors */
  QLI_SOLVE_NARROW = 256,  /* longest group that one tile can hold */
  QLI_SOLVE_EXACT = 512    /* most columns whose products are in f64 */
};

/* What the rows of one run have in common. */
typedef struct qli_solve_plan {
  const ql_ctx *ctx;
  const qli_gptq_plan *gptq; /* weights: the target */
  const ql_gptq_factor *factor;
  const qli_grid *grid;
  ql_solve_config config;
  double lambda;    /* absolute */
  double *gram;     /* [cols, cols] G; rows and columns of dead columns are zero */
  int32_t *column;  /* [cols] column of the matrix */
  double *row_sums; /* [cols] of G within the group of the column */
  double *ones;     /* [groups] sum of all of G within the group */
  double *roots;    /* [groups][root_size] R with R R^T = G within the group; NULL: no regrid */
  double *weights;  /* [cols] R_kk^2, 0 for dead columns; with roots */
  size_t root_size; /* block_cols^2 */
  size_t block_max; /* most columns of a block */
  size_t scratch;   /* doubles that a tile needs */
} qli_solve_plan;

/* A chunk of rows during the rounds. Arrays of columns are [cols][rows]. */
typedef struct qli_solve_chunk {
  const qli_solve_plan *plan;
  size_t row, rows;
  double *d; /* delta */
  double *p; /* P */
  double *e; /* [block_max][rows] what the values of the block have changed by */
  uint8_t *codes;
  qli_point *points; /* [groups][rows] */
  double *scratch;   /* [workers][plan->scratch] */
  uint64_t *moves;   /* [tiles] */
  double *gains;     /* [tiles] */
} qli_solve_chunk;

/* The rows of one tile and a block of columns. */
typedef struct qli_solve_tile {
  qli_solve_chunk *chunk;
  size_t row, rows;  /* within the chunk */
  size_t first, end; /* the block */
  double *scratch;
  double gain;
  uint64_t moves;
} qli_solve_tile;

ql_status qli_solve_config_check(const ql_solve_config *config, ql_solve_config *out,
                                 ql_error *error);
/* The options of GPTQ among those of the solver. */
ql_gptq_config qli_solve_gptq_config(const ql_solve_config *config);

ql_status qli_solve_plan_make(const qli_gptq_plan *gptq, const ql_solve_config *config,
                              qli_solve_plan *plan, ql_error *error);
void qli_solve_plan_free(qli_solve_plan *plan);
/* End of the block that begins at place i: whole groups, or a part of a wide one. */
size_t qli_solve_block_end(const qli_solve_plan *plan, size_t i);

/* Several paths at once through the columns of the rows of a chunk, after GPTQ has run on it. */
typedef struct qli_solve_paths {
  const qli_gptq_chunk *chunk;
  size_t paths;
  bool klein;
  double temperature;
  uint64_t seed;
  bool *taken;  /* [rows] of the chunk: a path was better */
  bool *failed; /* [tiles] */
} qli_solve_paths;

/* Codes and losses of the rows for which a path was better change, nothing else. */
ql_status qli_solve_walk(qli_solve_paths *job, ql_error *error);

/* All rounds of a chunk, from d, codes and points to better ones; p is computed here. */
ql_status qli_solve_rounds(qli_solve_chunk *chunk, int32_t *rounds, uint64_t done, uint64_t total,
                           ql_error *error);

/* The values of column i change by dq[rows]: d, e and P within the block follow. */
void qli_solve_move(const qli_solve_tile *tile, size_t i, const double *dq);
/* The nearest scale of the storage type that the grid admits; false where there is none. */
bool qli_solve_storable(const qli_grid *grid, double exact, float *scale);
/* Scale and zero point of a group of the block by least squares. */
void qli_solve_refit(qli_solve_tile *tile, size_t group);
/* Scale, zero point and codes of a group of the block together. */
void qli_solve_regrid(qli_solve_tile *tile, size_t group);
/* The same as refit for groups that are wider than a block; P follows everywhere. */
ql_status qli_solve_refit_wide(qli_solve_chunk *chunk, ql_error *error);
/* The codes of randomly drawn blocks of columns found anew, `shuffle` times over all columns. */
ql_status qli_solve_shuffle(qli_solve_chunk *chunk, int32_t round, ql_error *error);

/* C[cols, rows of the chunk] += or -= A[m, n] B[n, rows]: in f64 for up to QLI_SOLVE_EXACT
 * columns, else with products in f32 as in GPTQ's far feedback. */
ql_status qli_solve_product(const qli_solve_chunk *chunk, qli_sign sign, size_t m, size_t n,
                            qli_view_f64 a, qli_view_f64 b, double *c, ql_error *error);

/* y <- (R R^T)^-1 y for y[n][QLI_SOLVE_TILE] */
void qli_solve_by_root(size_t n, const double *root, double *y);

#endif
