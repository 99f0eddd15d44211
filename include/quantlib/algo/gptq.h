/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef QUANTLIB_ALGO_GPTQ_H
#define QUANTLIB_ALGO_GPTQ_H

/* GPTQ: Frantar et al., "GPTQ: Accurate Post-Training Quantization for Generative Pre-trained
 * Transformers", 2022 (arXiv 2210.17323), as corrected in doc/algo/gptq.md. */

#include <quantlib/quantize.h>
#include <quantlib/stats.h>

QL_BEGIN_DECLS

/** Order in which the columns are quantized. Values are pinned. @since 0.1 */
typedef int32_t ql_gptq_order;
enum {
  QL_GPTQ_ORDER_NATURAL = 0,
  QL_GPTQ_ORDER_ACT = 1,        /**< diag(H) descending, groups of permuted columns: needs g_idx */
  QL_GPTQ_ORDER_STATIC = 2,     /**< diag(H) descending, groups of original columns, grids fixed */
  QL_GPTQ_ORDER_GROUP_AWARE = 3 /**< groups of original columns, by their largest diag(H), and
                                     within each by diag(H): no g_idx (arXiv 2505.14638) */
};

/** What to do where the Hessian cannot serve. @since 0.1 */
typedef int32_t ql_gptq_fallback;
enum {
  QL_GPTQ_FALLBACK_RTN = 0,  /**< round to nearest, reported in the report and the log */
  QL_GPTQ_FALLBACK_ERROR = 1 /**< QL_STATUS_NUMERIC */
};

/** @since 0.1 */
typedef struct ql_gptq_config {
  size_t struct_size;
  ql_gptq_order order;
  ql_gptq_fallback fallback;
  double damp;          /**< times mean of the live part of diag(H) */
  double damp_factor;   /**< each retry of a failed factorization multiplies damp by this */
  double damp_max;      /**< no retry beyond this */
  size_t block;         /**< columns per lazy update; 0: 128 */
  uint64_t min_tokens;  /**< fewer calibration tokens than this: starved, fallback */
  uint64_t seed;        /**< of the rows that the self-check looks at */
  int32_t dead_keep;    /**< 0: columns that never saw input become 0; 1: they are rounded */
  int32_t static_grids; /**< 1: group grids from the original weights also for orders 0, 1 and 3 */
  int32_t lapack;       /**< 1: factor with LAPACKE_dpotrf; bits then depend on the BLAS in use */
  int32_t classical;    /**< 1: each dead column counts as 1 in the mean of the diagonal (of
                             2 H / tokens), as in the classical program. ql_gptq_run sets it for
                             a grid with QL_GRID_CLASSICAL */
} ql_gptq_config;

#define QL_GPTQ_CONFIG_INIT \
  { \
    sizeof(ql_gptq_config), QL_GPTQ_ORDER_GROUP_AWARE, QL_GPTQ_FALLBACK_RTN, 0.01, 10.0, 1.0, 128, \
        1, 0, 0, 0, 0, 0 \
  }

/** How a layer was quantized. @since 0.1 */
typedef int32_t ql_gptq_outcome;
enum {
  QL_GPTQ_DONE = 0,
  QL_GPTQ_DAMPED = 1,      /**< done, after raising the damping */
  QL_GPTQ_STARVED = 2,     /**< fewer than min_tokens tokens: rounded to nearest */
  QL_GPTQ_NOT_POSITIVE = 3 /**< no damping up to damp_max helped: rounded to nearest */
};

/** @since 0.1 */
typedef struct ql_gptq_report {
  size_t struct_size;
  ql_gptq_outcome outcome;
  int32_t retries; /**< failed factorizations */
  double damp;     /**< the relative damping that was used */
  uint64_t tokens;
  uint64_t dead;     /**< columns with diag(H) = 0 */
  double loss;       /**< sum of squared scaled errors = trace(D H~ D^T), H~ damped */
  double loss_check; /**< largest relative defect of that identity over the checked rows */
  double proxy;      /**< trace(D H D^T) of the undamped H, D = w - q; 0 when rounded */
  double proxy_ref;  /**< trace(W H W^T); 0 when rounded to nearest */
  double sse;        /**< sum of (w - q)^2 */
  double sse_ref;    /**< sum of w^2 */
} ql_gptq_report;

#define QL_GPTQ_REPORT_INIT \
  { \
    sizeof(ql_gptq_report), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 \
  }

/** The factored Hessian of one input, shared by every linear layer that reads it (q, k and v; gate
 *  and up). Immutable after creation; may be shared by threads. @since 0.1 */
typedef struct ql_gptq_factor ql_gptq_factor;

/** Damps, orders and factors the Hessian in stats (QL_STATS_HESSIAN): one reverse Cholesky
 *  factorization, no inverse, in f64 but for far products of well conditioned ones. group: the
 * block_cols of the grids that will be used with it (group aware order depends on it); 0 is all
 * columns. A starved or non-positive Hessian gives a factor that carries that outcome, or an error,
 * as config->fallback says. Owned by the caller: ql_gptq_factor_destroy. Memory: 8 cols^2 bytes,
 * and 10 000 cols while it runs. @since 0.1 */
QL_API ql_status ql_gptq_factor_create(const ql_ctx *ctx, const ql_stats *stats, size_t group,
                                       const ql_gptq_config *config, ql_gptq_factor **out,
                                       ql_error *error);
QL_API void ql_gptq_factor_destroy(ql_gptq_factor *factor);

/** Quantizes w [rows, cols] (f32, f16, bf16) on the grid, column by column in the factor's order,
 *  each error carried into the columns that follow. With grid->mse_norm the range search weighs the
 *  columns by their pivots, and each row keeps the searched or the unsearched result, whichever has
 *  the smaller loss. config->order must be the factor's, and for group-aware order the grid's
 *  block_cols its group. On every run the loss identity is checked on 32
 *  seeded rows to 1e-3 (QL_STATUS_SELF_CHECK). grid->block_rows must be 1 and the classical flag is
 *  honoured. report may be NULL. Codes are the same for any number of threads. *out is owned by the
 *  caller: ql_qmat_destroy. @since 0.1 */
QL_API ql_status ql_gptq_run_factored(const ql_ctx *ctx, const ql_tensor *w,
                                      const ql_gptq_factor *factor, const ql_grid_config *grid,
                                      const ql_gptq_config *config, ql_qmat **out,
                                      ql_gptq_report *report, ql_error *error);

/** ql_gptq_factor_create and ql_gptq_run_factored in one call, for a single layer. @since 0.1 */
QL_API ql_status ql_gptq_run(const ql_ctx *ctx, const ql_tensor *w, const ql_stats *stats,
                             const ql_grid_config *grid, const ql_gptq_config *config,
                             ql_qmat **out, ql_gptq_report *report, ql_error *error);

QL_END_DECLS

#endif
