/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef QUANTLIB_QUANTIZE_H
#define QUANTLIB_QUANTIZE_H

#include <quantlib/context.h>
#include <quantlib/stats.h>
#include <quantlib/tensor.h>

QL_BEGIN_DECLS

/** The kinds of integer grid in use. b bits, codes 0 .. 2^b - 1, w = s * (c - z).
 *  The symmetric ones have z = 2^(b-1). Values are pinned. @since 0.1 */
typedef int32_t ql_grid_kind;
enum {
  QL_GRID_ASYM = 1,           /**< s = (max - min) / (2^b - 1), z = round(-min / s) */
  QL_GRID_SYM_CENTRED = 2,    /**< s = 2 absmax / (2^b - 1): GPTQ, GPTQModel, llm-compressor */
  QL_GRID_SYM_RESTRICTED = 3, /**< s = absmax / (2^(b-1) - 1), the lowest code is never used: QQQ */
  QL_GRID_SYM_FULL = 4,       /**< s = absmax / (2^(b-1) - 1), all codes: AWQ */
  QL_GRID_SYM_SIGNED = 5      /**< s = -(signed extreme) / 2^(b-1), any sign: auto-round, Q4_0 */
};

/** The range is taken as it is, so that 0 need not be on an asymmetric grid. @since 0.1 */
#define QL_GRID_RAW_RANGE 1u
/** The grid of the classical GPTQ program bit for bit, its defects included (one-sided groups,
 *  scale in f32 for the codes, GPTQ's dead columns and stale group grids). @since 0.1 */
#define QL_GRID_CLASSICAL 2u

/** The contract between algorithms and formats. @since 0.1 */
typedef struct ql_grid_config {
  size_t struct_size;
  int32_t bits;         /**< 2 to 8 */
  ql_grid_kind kind;
  size_t block_rows;    /**< rows that share a scale: 1 per channel or group; 0 all rows */
  size_t block_cols;    /**< columns that share a scale (group size): 0 all columns */
  ql_dtype scale_dtype; /**< F16, BF16 or F32: scales are rounded to it before codes are computed */
  int32_t zero_min;     /**< smallest zero point admitted (1 for GPTQ v1); asymmetric grids only */
  uint32_t flags;       /**< QL_GRID_* flags */
  int32_t mse_steps;    /**< candidates per unit of range in the MSE search (classical: 100) */
  double mse_norm;      /**< exponent of the error in the MSE search (classical: 2.4); 0: none.
                             2 is several times as fast as others. Asymmetric grids are searched
                             for their zero point too */
  double mse_shrink;    /**< how far the range may shrink, 0 to 1 (classical: 0.8) */
} ql_grid_config;

#define QL_GRID_CONFIG_INIT \
  {sizeof(ql_grid_config), 4, QL_GRID_SYM_CENTRED, 1, 128, QL_DTYPE_F16, 0, 0, 100, 0.0, 0.8}

/** Checks a grid for a matrix of rows x cols. @since 0.1 */
QL_API ql_status ql_grid_check(const ql_grid_config *grid, size_t rows, size_t cols,
                               ql_error *error);

/** A quantized matrix [rows, cols]: codes on a grid, scales, zero points and optional parts.
 *  Immutable after creation; may be shared by threads. @since 0.1 */
typedef struct ql_qmat ql_qmat;

/** The insides of a ql_qmat, and what ql_qmat_create copies from. All arrays are row-major.
 *  scale block of element (r, c): (r / block_rows) * groups + (g_idx ? g_idx[c] : c / block_cols).
 *  @since 0.1 */
typedef struct ql_qmat_view {
  size_t struct_size;
  size_t rows, cols;
  int32_t bits;
  ql_grid_kind kind;
  size_t block_rows, block_cols; /**< resolved: never 0 */
  size_t groups;                 /**< scale blocks along the columns */
  ql_dtype scale_dtype;          /**< the type that every scale is representable in */
  int32_t reserved;
  const uint8_t *codes;          /**< [rows, cols], 0 .. 2^bits - 1 */
  const float *scales;           /**< [ceil(rows / block_rows), groups] */
  const int16_t *zeros;          /**< same shape; 0 .. 2^bits; symmetric kinds: 2^(bits-1), which
                                      ql_qmat_create supplies when this is NULL */
  const int32_t *g_idx;          /**< [cols], group of each column; NULL: c / block_cols */
  const int32_t *perm;           /**< [cols], order of quantizing the columns; NULL: natural */
} ql_qmat_view;

/** Copies the arrays of *view into a new matrix, after checking every code, scale (finite), zero
 *  and index. struct_size must be set. Owned by the caller: ql_qmat_destroy. @since 0.1 */
QL_API ql_status ql_qmat_create(const ql_ctx *ctx, const ql_qmat_view *view, ql_qmat **out,
                                ql_error *error);
QL_API void ql_qmat_destroy(ql_qmat *q);

/** Fills *view (struct_size set by the caller) with pointers into q, valid while q lives.
 *  @since 0.1 */
QL_API ql_status ql_qmat_get(const ql_qmat *q, ql_qmat_view *view);

/** Stored bits of codes, scales, zero points and other parts, without the permutation (g_idx):
 *  the numerator of "bits per weight". Symmetric grids have one implied zero point: their zeros are
 *  counted all the same where the format stores them; this counts bits per zero for each block.
 *  @since 0.1 */
QL_API uint64_t ql_qmat_bits(const ql_qmat *q);

/** w = round_to_dst(s * (c - z)) into dst [rows, cols], f32, f16 or bf16. The same bits on every
 *  ISA. @since 0.1 */
QL_API ql_status ql_dequantize(const ql_ctx *ctx, const ql_qmat *q, const ql_tensor *dst,
                               ql_error *error);

/** Round to nearest: w [rows, cols] (f32, f16, bf16) to the nearest point of the grid, ties to
 *  even. stats, if not NULL and holding QL_STATS_SUM_SQ or QL_STATS_HESSIAN, weighs the MSE search
 *  by E[x^2] of each column. NaN or Inf in w is QL_STATUS_NUMERIC with its position.
 *  *out is owned by the caller: ql_qmat_destroy. @since 0.1 */
QL_API ql_status ql_rtn_run(const ql_ctx *ctx, const ql_tensor *w, const ql_grid_config *grid,
                            const ql_stats *stats, ql_qmat **out, ql_error *error);

/** Error of q against w: *sse = sum of squared differences, *ref = sum of w^2, and, when stats hold
 *  a Hessian and proxy is not NULL, *proxy = trace(D H D^T) with D = w - q and *proxy_ref the same
 *  of w. All in double precision. Any of the outputs may be NULL. @since 0.1 */
QL_API ql_status ql_qmat_error(const ql_ctx *ctx, const ql_qmat *q, const ql_tensor *w,
                               const ql_stats *stats, double *sse, double *ref, double *proxy,
                               double *proxy_ref, ql_error *error);

QL_END_DECLS

#endif
