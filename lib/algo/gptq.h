/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef QLI_ALGO_GPTQ_H
#define QLI_ALGO_GPTQ_H

#include "factor.h"
#include "find.h"
#include "tile.h"
#include "tiles.h"

/* The insides of GPTQ. Columns are named by their position k in the order of quantization; the
 * column of the matrix is perm[k]. doc/algo/gptq.md has the derivation.
 *
 * With H~ = R R^T, R upper triangular, row by row of the weights:
 *     w'_k = w_k + (sum over i < k of delta_i R_ik) / R_kk,  q_k = nearest(w'_k),
 *     delta_k = w_k - q_k,  and (w'_k - q_k) R_kk is the scaled error of the textbook. */

enum {
  QLI_GPTQ_TILE = QLK_PANEL, /* rows of a tile */
  QLI_GPTQ_EXACT = 512,      /* up to so many columns all feedback is exact */
  QLI_GPTQ_STRIP = 256       /* beyond: columns of a strip, the feedback within which is exact */
};

/* What the rows of one run have in common. */
typedef struct qli_gptq_plan {
  const ql_ctx *ctx;
  const ql_gptq_factor *factor;
  const ql_tensor *w;
  const qli_grid *grid;
  ql_gptq_config config;
  bool fixed;        /* grids are found before any column is quantized */
  bool stale;        /* grids as in the classical program, without the errors of their own block */
  bool wide;         /* groups that are longer than a strip */
  int32_t *group_of; /* [cols] group of each position */
  int32_t *members;  /* [cols] positions, sorted by group */
  size_t *first;     /* [groups + 1] where the members of each group begin */
  double *pivots_sq; /* [cols] R_kk^2 */
  double *upper;     /* scratch of a panel of H */
  size_t strip;      /* most columns of a strip */
  size_t chunk;      /* rows that are worked on together */
} qli_gptq_plan;

/* Sums of one row. */
typedef struct qli_gptq_sums {
  double loss; /* of squared scaled errors */
  double sse, sse_ref;
  double excess;    /* delta (H~ - H) delta^T */
  double proxy_ref; /* w H w^T */
  double defect;    /* of the loss identity, where it was checked */
} qli_gptq_sums;

/* A chunk of rows while they are quantized. */
typedef struct qli_gptq_chunk {
  const qli_gptq_plan *plan;
  const qli_grid *grid; /* the plan's, or that without its search */
  size_t row, rows;
  bool want_proxy;   /* w H w^T of each row too */
  double *d;         /* [cols][rows]: weights, turning into delta */
  qli_point *points; /* [groups][rows] */
  uint8_t *codes;    /* [rows][cols] by column */
  qli_gptq_sums *sums;
} qli_gptq_chunk;

ql_status qli_gptq_plan_make(const ql_ctx *ctx, const ql_tensor *w, const ql_gptq_factor *factor,
                             const qli_grid *grid, const ql_gptq_config *config,
                             qli_gptq_plan *plan, ql_error *error);
void qli_gptq_plan_free(qli_gptq_plan *plan);

/* The matrix without codes: its permutation and, where groups are of permuted columns, g_idx. */
ql_status qli_gptq_new_matrix(const qli_gptq_plan *plan, ql_qmat **out, ql_error *error);

/* What is done where the factor does not serve; sse and sse_ref of the report are filled in. */
ql_status qli_gptq_round_instead(const ql_ctx *ctx, const ql_tensor *w, const qli_grid *grid,
                                 ql_qmat **out, ql_gptq_report *report, ql_error *error);

/* Whether factor, grid and configuration go together. */
ql_status qli_gptq_check_fit(const ql_gptq_factor *f, const qli_grid *g, const ql_gptq_config *c,
                             ql_error *error);

/* Columns are worked on in strips of at most plan->strip: the feedback of all columns before is
 * gathered for a whole strip at once. Strips are made of segments: feedback from the strip comes
 * segment by segment. Segments are made of steps: columns within which feedback comes at once. */
size_t qli_gptq_strip_end(const qli_gptq_plan *plan, size_t k);
size_t qli_gptq_group_end(const qli_gptq_plan *plan, size_t k);
bool qli_gptq_group_begins(const qli_gptq_plan *plan, size_t k);
/* Where grids have to be found before the strip at position k: the end of the columns whose groups
 * are concerned, and in *look that of the columns which those groups reach to. Else k. */
size_t qli_gptq_ahead_end(const qli_gptq_plan *plan, size_t k, size_t *look);

/* Columns first..end; the panels of R for them begin at the value at. */
typedef struct qli_gptq_step {
  size_t first, end, at;
} qli_gptq_step;

typedef struct qli_gptq_segment {
  size_t first, end, at;
  size_t step_first, step_end; /* its steps */
} qli_gptq_segment;

/* R for one strip in panels for the kernels: its columns side by side, all rows of one panel after
 * the other. All tiles of rows read them. */
typedef struct qli_gptq_strip {
  const qli_gptq_plan *plan;
  qli_tile_ops ops, far_ops;
  size_t first, end, steps, segments;
  qli_gptq_step *step;
  qli_gptq_segment *segment;
  unsigned char *far; /* R[0..first, strip] in f32, or in f64 where codes are classical */
  double *near;       /* R[first of the strip..segment, segment] */
  double *within;     /* R[step, end of the step..end of its segment] */
} qli_gptq_strip;

/* Memory for any strip of the plan; free it in any case. */
bool qli_gptq_strip_alloc(const qli_gptq_plan *plan, bool exact, qli_gptq_strip *strip);
void qli_gptq_strip_free(qli_gptq_strip *strip);
/* The strip that begins at position k. */
void qli_gptq_strip_load(qli_gptq_strip *strip, size_t k);

/* What a worker needs beside the chunk. Arrays are [columns of a strip][QLI_GPTQ_TILE]. */
typedef struct qli_gptq_space {
  double *sums;  /* of delta R for each column */
  double *delta; /* of the columns that are done */
  double *fed;   /* what feedback has made of the weights of a group */
  double *minus; /* the same, negative, as the kernels want it; w of a column; rows of a group */
  void *far;     /* deltas of columns before the strip */
  uint8_t *codes;
  qlk_points points;
  qlk_losses losses;
  size_t group; /* of the points */
} qli_gptq_space;

/* The codes of one tile of rows in the strip. */
void qli_gptq_tile_run(qli_gptq_chunk *chunk, const qli_gptq_strip *strip, size_t tile,
                       qli_gptq_space *space, qli_tile_result *result);

/* Importance of the columns k.. in the search for a grid; NULL: 1. */
const double *qli_gptq_search_weights(const qli_gptq_chunk *chunk, size_t k);
/* The grid of n weights of row r of the chunk, or why there is none. */
bool qli_gptq_find_point(const qli_gptq_chunk *chunk, size_t group, size_t r, const double *x,
                         size_t n, const double *weight, qli_tile_result *result);

/* Quantizes the rows of a chunk on chunk->grid. *failed: where a scale could not be stored. */
ql_status qli_gptq_chunk_run(qli_gptq_chunk *chunk, uint64_t done, uint64_t total,
                             qli_tile_result *failed, ql_error *error);

/* w H w^T of each row into its sums, while d still holds the weights. */
ql_status qli_gptq_chunk_reference(qli_gptq_chunk *chunk, ql_error *error);

/* Compares the loss of the seeded rows of the chunk with delta H~ delta^T, after it was run. */
ql_status qli_gptq_chunk_check(const qli_gptq_chunk *chunk, ql_error *error);

#endif
