/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef QUANTLIB_QUANTIZE_H
#define QUANTLIB_QUANTIZE_H

#include <quantlib/context.h>
#include <quantlib/stats.h>
#include <quantlib/table.h>
#include <quantlib/tensor.h>

QL_BEGIN_DECLS

/** The kinds of grid in use. b bits, codes 0 .. 2^b - 1, w = s * (c - z), or s * level[c].
 *  The symmetric ones have z = 2^(b-1); of them only the signed one can have a single bit
 *  (kinds 2 to 4 would have no code above zero). Values are pinned. @since 0.1 */
typedef int32_t ql_grid_kind;
enum {
  QL_GRID_ASYM = 1,           /**< s = (max - min) / (2^b - 1), z = round(-min / s) */
  QL_GRID_SYM_CENTRED = 2,    /**< s = 2 absmax / (2^b - 1): GPTQ, GPTQModel, llm-compressor */
  QL_GRID_SYM_RESTRICTED = 3, /**< s = absmax / (2^(b-1) - 1), the lowest code is never used: QQQ */
  QL_GRID_SYM_FULL = 4,       /**< s = absmax / (2^(b-1) - 1), all codes: AWQ */
  QL_GRID_SYM_SIGNED = 5,     /**< s = -(signed extreme) / 2^(b-1), any sign: auto-round, Q4_0 */
  QL_GRID_FLOAT_ZERO = 6,     /**< s = (max - min) / (2^b - 1), z = -min / s, not rounded to an
                                   integer but to the type of the scale: HQQ */
  QL_GRID_TERNARY = 7,        /**< s = mean |w|, codes 0 .. 2, z = 1, 2 bits: BitNet b1.58 */
  QL_GRID_TABLE = 8           /**< w = s * level[c], no zero point: NF4, FP4, codebooks; the
                                   extreme weight lies on the level of the largest magnitude */
};

/** The range is taken as it is, so that 0 need not be on an asymmetric grid. @since 0.1 */
#define QL_GRID_RAW_RANGE 1u
/** The grid of the classical GPTQ program bit for bit, its defects included (one-sided groups,
 *  scale in f32 for the codes, GPTQ's dead columns and stale group grids). @since 0.1 */
#define QL_GRID_CLASSICAL 2u
/** Codes 0 .. 2 only, on a QL_GRID_FLOAT_ZERO grid of 2 bits: HQQ's 1.58 bits. @since 0.1 */
#define QL_GRID_THREE_LEVELS 4u

/** The contract between algorithms and formats. @since 0.1 */
typedef struct ql_grid_config {
  size_t struct_size;
  int32_t bits;         /**< 1 to 8 */
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
  ql_table table;       /**< the levels of QL_GRID_TABLE; QL_TABLE_NONE on all other grids */
  int32_t reserved;
} ql_grid_config;

#define QL_GRID_CONFIG_INIT \
  {sizeof(ql_grid_config), 4, QL_GRID_SYM_CENTRED, 1, 128, QL_DTYPE_F16, 0, 0, 100, 0.0, 0.8, \
   QL_TABLE_NONE, 0}

/** Checks a grid for a matrix of rows x cols. @since 0.1 */
QL_API ql_status ql_grid_check(const ql_grid_config *grid, size_t rows, size_t cols,
                               ql_error *error);

/** A quantized matrix [rows, cols]: codes on a grid, scales, zero points and optional parts.
 *  Immutable after creation; may be shared by threads. @since 0.1 */
typedef struct ql_qmat ql_qmat;

/** The insides of a ql_qmat, and what ql_qmat_create copies from. All arrays are row-major.
 *  scale block of element (r, c): (r / block_rows) * groups + (g_idx ? g_idx[c] : c / block_cols).
 *
 *  Parts that are absent are NULL or 0. With all of them the matrix stands for
 *
 *    W[r, c] = v[r, c] * in_scale[c] + sum over k of lora_b[r, k] * lora_a[k, c],
 *    v[r, c] = the side value of (r, c) where c is a side column, else s * (code - zero), or
 *    s * levels[r, code] on a QL_GRID_TABLE.
 *
 *  @since 0.1 */
typedef struct ql_qmat_view {
  size_t struct_size;
  size_t rows, cols;
  int32_t bits;                  /**< 1 to 8 */
  ql_grid_kind kind;
  size_t block_rows, block_cols; /**< resolved: never 0 */
  size_t groups;                 /**< scale blocks along the columns */
  ql_dtype scale_dtype;          /**< the type that every scale is representable in */
  int32_t reserved;
  const uint8_t *codes;          /**< [rows, cols], 0 .. 2^bits - 1; ternary: 0 .. 2 */
  const float *scales;           /**< [ceil(rows / block_rows), groups] */
  const int16_t *zeros;          /**< same shape; 0 .. 2^bits; symmetric kinds: 2^(bits-1), ternary:
                                      1, which ql_qmat_create supplies when this is NULL;
                                      QL_GRID_FLOAT_ZERO and QL_GRID_TABLE: NULL */
  const int32_t *g_idx;          /**< [cols], group of each column; NULL: c / block_cols */
  const int32_t *perm;           /**< [cols], order of quantizing the columns; NULL: natural */
  const float *fzeros;           /**< zero points of QL_GRID_FLOAT_ZERO and of no other kind: shape
                                      of scales, representable in scale_dtype */
  const float *in_scale;         /**< [cols], not 0: column c is worth in_scale[c] times what is
                                      stored; the runtime multiplies the activations by it */
  size_t side_count;             /**< columns kept beside the codes */
  const int32_t *side_cols;      /**< [side_count], ascending. Their codes count for nothing */
  const float *side_values;      /**< [rows, side_count]; F16: values of that type; I8: whole
                                      numbers from -127 to 127, times side_scales */
  const float *side_scales;      /**< [side_count], one for each column; I8 only */
  ql_dtype side_dtype;           /**< F16 or I8; QL_DTYPE_NONE without side columns */
  ql_dtype lora_dtype;           /**< F32, F16 or BF16; QL_DTYPE_NONE without a low-rank term */
  size_t rank;                   /**< of the low-rank term B A, which sees the activations as they
                                      are, without in_scale */
  const float *lora_a;           /**< [rank, cols], representable in lora_dtype */
  const float *lora_b;           /**< [rows, rank], the same */
  const float *levels;           /**< [level_sets, 2^bits], finite, of QL_GRID_TABLE and of no
                                      other kind */
  size_t level_sets;             /**< 1: one table for the matrix; rows: a codebook for each row;
                                      0 on all other kinds */
} ql_qmat_view;

/** The optional parts that change what the codes mean. Whoever meets one that it does not know
 *  refuses the matrix. Values are pinned. @since 0.1 */
#define QL_PART_FLOAT_ZEROS 1u
#define QL_PART_IN_SCALE 2u
#define QL_PART_SIDE_COLUMNS 4u
#define QL_PART_LOW_RANK 8u
#define QL_PART_TABLE 16u

/** Which of QL_PART_* q has, 0 for NULL. @since 0.1 */
QL_API uint32_t ql_qmat_parts(const ql_qmat *q);

/** Copies the arrays of *view into a new matrix, after checking every code, scale (finite), zero,
 *  index and value of a part. struct_size must be set; members beyond it count as absent. Owned by
 *  the caller: ql_qmat_destroy. @since 0.1 */
QL_API ql_status ql_qmat_create(const ql_ctx *ctx, const ql_qmat_view *view, ql_qmat **out,
                                ql_error *error);

/** A copy of q in which the arrays of *parts that are not NULL take the place of q's: codes,
 *  scales, zeros, perm, fzeros, in_scale, levels (with level_sets), and, each with its sizes and
 *  types, the side columns and the low-rank term (those go together: all arrays or none). The
 *  other members of *parts are 0 or equal to q's. Checked like ql_qmat_create. q stays as it is.
 *  Owned by the caller: ql_qmat_destroy. @since 0.1 */
QL_API ql_status ql_qmat_with(const ql_ctx *ctx, const ql_qmat *q, const ql_qmat_view *parts,
                              ql_qmat **out, ql_error *error);

/** Frees a matrix; NULL is fine. @since 0.1 */
QL_API void ql_qmat_destroy(ql_qmat *q);

/** Fills *view (struct_size set by the caller) with pointers into q, valid while q lives. A view
 *  of a caller that was compiled before a part was known cannot show it: a matrix with that part
 *  is then QL_STATUS_UNSUPPORTED. @since 0.1 */
QL_API ql_status ql_qmat_get(const ql_qmat *q, ql_qmat_view *view);

/** Stored bits of codes, scales, zero points and other parts, without the permutation (g_idx):
 *  the numerator of "bits per weight". Symmetric grids have one implied zero point: their zeros are
 *  counted all the same where the format stores them; this counts bits per zero for each block, and
 *  those of a scale for a float zero point. 32 bits for each in_scale, side_scale and index of a
 *  side column; the codes of side columns are counted too: the layouts store them. A table has no
 *  zeros; 32 bits for each level. @since 0.1 */
QL_API uint64_t ql_qmat_bits(const ql_qmat *q);

/** w = round_to_dst(s * (c - z)), or of s * level[c], into dst [rows, cols], f32, f16 or bf16. With
 *  other parts the formula of ql_qmat_view in double precision, from left to right with k
 *  ascending, and one rounding at the end. The same bits on every ISA. @since 0.1 */
QL_API ql_status ql_dequantize(const ql_ctx *ctx, const ql_qmat *q, const ql_tensor *dst,
                               ql_error *error);

/** Round to nearest: w [rows, cols] (f32, f16, bf16) to the nearest point of the grid, ties to
 *  even (QL_GRID_TABLE: as the source of the table has them). stats, if not NULL and holding
 *  QL_STATS_SUM_SQ or QL_STATS_HESSIAN, weighs the MSE search by E[x^2] of each column. NaN or Inf
 *  in w is QL_STATUS_NUMERIC with its position. *out is owned by the caller: ql_qmat_destroy.
 *  @since 0.1 */
QL_API ql_status ql_rtn_run(const ql_ctx *ctx, const ql_tensor *w, const ql_grid_config *grid,
                            const ql_stats *stats, ql_qmat **out, ql_error *error);

/** Round to nearest without a search, into the caller's memory: codes (U8 [rows, cols],
 *  one byte each), scales ([rows, groups] of F32 or of the grid's scale_dtype) and zeros (I16
 *  [rows, groups]; NULL on symmetric grids, where they are 2^(bits-1)), columns contiguous, the
 *  bits of ql_rtn_run. w: f32, f16 or bf16. Integer grids with block_rows 1, mse_norm 0 and no
 *  QL_GRID_CLASSICAL; others are QL_STATUS_UNSUPPORTED. After QL_STATUS_NUMERIC (NaN or Inf in w,
 *  with its position; a scale beyond its type) or QL_STATUS_CANCELLED what the memory holds is not
 *  defined. Thread-safe. @since 0.1 */
QL_API ql_status ql_quantize_rows(const ql_ctx *ctx, const ql_tensor *w,
                                  const ql_grid_config *grid, const ql_tensor *codes,
                                  const ql_tensor *scales, const ql_tensor *zeros,
                                  ql_error *error);

/** Error of q against w: *sse = sum of squared differences, *ref = sum of w^2, and, when stats hold
 *  a Hessian and proxy is not NULL, *proxy = trace(D H D^T) with D = w - q and *proxy_ref the same
 *  of w. q stands for its weights with all its parts. All in double precision. Any of the outputs
 *  may be NULL. @since 0.1 */
QL_API ql_status ql_qmat_error(const ql_ctx *ctx, const ql_qmat *q, const ql_tensor *w,
                               const ql_stats *stats, double *sse, double *ref, double *proxy,
                               double *proxy_ref, ql_error *error);

QL_END_DECLS

#endif
