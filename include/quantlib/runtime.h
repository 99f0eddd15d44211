/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef QUANTLIB_RUNTIME_H
#define QUANTLIB_RUNTIME_H

#include <quantlib/context.h>
#include <quantlib/quantize.h>
#include <quantlib/tensor.h>

QL_BEGIN_DECLS

/** Weights [n, k] in the layout of one kernel: quantized or floating point. Private to an ISA and
 *  carries a layout id; a context with other kernels answers QL_STATUS_LAYOUT. Immutable; may be
 *  shared by threads. @since 0.1 */
typedef struct ql_packed ql_packed;

/** Packs a quantized matrix (rows = n outputs, cols = k inputs). A group index that is not monotone
 *  becomes a permutation of the activations inside the product. Codes, scales and zero points are
 *  kept exactly. in_scale, side columns and the low-rank term are packed with them: the product
 *  multiplies the activations, and adds the others to its sums. Owned by the caller:
 *  ql_packed_destroy. @since 0.1 */
QL_API ql_status ql_pack(const ql_ctx *ctx, const ql_qmat *q, ql_packed **out, ql_error *error);

/** Packs floating-point weights [n, k], f32, f16 or bf16, kept in that type. @since 0.1 */
QL_API ql_status ql_pack_float(const ql_ctx *ctx, const ql_tensor *w, ql_packed **out,
                               ql_error *error);

/** ql_pack of a matrix that is given up: q is destroyed whatever the outcome, and its codes go back
 *  to the system as they are packed, so that the two are not in memory together. @since 0.1 */
QL_API ql_status ql_pack_take(const ql_ctx *ctx, ql_qmat *q, ql_packed **out, ql_error *error);

/** ql_pack_float of weights that are given up, such as a view of a mapped file: whole pages of w
 *  are handed back to the system as they are packed, and read afterwards as zeros or as what the
 *  file holds. @since 0.1 */
QL_API ql_status ql_pack_float_take(const ql_ctx *ctx, const ql_tensor *w, ql_packed **out,
                                    ql_error *error);

/** Frees packed weights; NULL is fine. @since 0.1 */
QL_API void ql_packed_destroy(ql_packed *packed);

/** @since 0.1 */
typedef struct ql_packed_info {
  size_t struct_size;
  size_t n, k;
  int32_t bits;        /**< of a code; 32 or 16 for floating point */
  ql_dtype dtype;      /**< of floating-point weights, QL_DTYPE_NONE for quantized ones */
  size_t group;        /**< columns per scale, 0 for floating point */
  uint64_t bytes;      /**< memory of the packed form */
  uint32_t layout;     /**< layout id */
  int32_t permuted;    /**< 1 when activations are gathered through a permutation */
} ql_packed_info;

/** Fills *info, whose struct_size the caller has set. Thread-safe. @since 0.1 */
QL_API ql_status ql_packed_get(const ql_packed *packed, ql_packed_info *info);

/** Packed weights in a file: a cache, not a format. It serves the kernels, the version of this
 *  library and the source that it was made with; any other is QL_STATUS_LAYOUT, with a text that
 *  says which, and means packing again. Mapped read-only; immutable; may be shared by threads.
 *  @since 0.1 */
typedef struct ql_packed_file ql_packed_file;

/** Writes matrices with all their parts, under names, to a file that appears complete or not at
 *  all. key: 32 bytes that tell the source, such as a hash of it. packed must be of the layout of
 *  ctx. @since 0.1 */
QL_API ql_status ql_packed_save(const ql_ctx *ctx, const char *path, const uint8_t *key,
                                const char *const *names, const ql_packed *const *packed,
                                size_t count, ql_error *error);

/** Maps such a file and checks its table, not the weights: ql_packed_verify. key: the 32 bytes that
 *  the source has now, NULL: any. A damaged or truncated file is QL_STATUS_FORMAT. Owned by the
 *  caller: ql_packed_close, after all that was mapped from it is destroyed. @since 0.1 */
QL_API ql_status ql_packed_open(const ql_ctx *ctx, const char *path, const uint8_t *key,
                                ql_packed_file **out, ql_error *error);
QL_API void ql_packed_close(ql_packed_file *file);

/** Number of matrices, and the name of the i-th, NULL past the last. @since 0.1 */
QL_API size_t ql_packed_count(const ql_packed_file *file);
QL_API const char *ql_packed_name(const ql_packed_file *file, size_t i);

/** The matrix of that name, its weights in the mapping: nothing is read before it is used. Owned by
 *  the caller: ql_packed_destroy, before the file is closed. Without the name: QL_STATUS_NOT_FOUND.
 *  Thread-safe. @since 0.1 */
QL_API ql_status ql_packed_map(const ql_packed_file *file, const char *name, ql_packed **out,
                               ql_error *error);

/** Reads all of the weights and compares their checksum: QL_STATUS_FORMAT where they are damaged.
 *  @since 0.1 */
QL_API ql_status ql_packed_verify(const ql_packed_file *file, ql_error *error);

/** How a product computes. @since 0.1 */
typedef int32_t ql_compute;
enum {
  QL_COMPUTE_F32 = 0, /**< activations as they are, f32 accumulation */
  QL_COMPUTE_A16 = 1, /**< activations as numbers of 16 bits with one scale for each row and group
                           of the weights, two 8-bit digits each, in 32-bit integers; quantized
                           weights. The error of an activation is at most max|x| / 65024 =
                           2^-15.99 max|x| of its group */
  QL_COMPUTE_A8 = 2   /**< activations as 8-bit codes, 32-bit integer accumulation; quantized
                           weights */
};

/** Which values share the scale of 8-bit activations. Values are pinned. @since 0.1 */
typedef int32_t ql_act_mode;
enum {
  QL_ACT_TOKEN = 0,  /**< each row its own, from its own range */
  QL_ACT_TENSOR = 1, /**< one for all rows of the call, from their range */
  QL_ACT_STATIC = 2, /**< the given one, from calibration */
  QL_ACT_GROUP = 3   /**< each row and group of columns its own; symmetric. The groups are those of
                          the weights */
};

/** How activations become 8-bit codes q, x = scale (q - zero):
 *  q = clamp(round(x / scale) + zero, -127, 127), ties to even; -128 never arises.
 *  Symmetric: scale = max|x| / 127, zero = 0. Asymmetric: 254 steps from min(x, 0) to max(x, 0),
 *  scale = (max - min) / 254, zero = round(-min / scale) - 127. No scale is below 2^-126.
 *  @since 0.1 */
typedef struct ql_act_config {
  size_t struct_size;
  ql_act_mode mode;
  int32_t asymmetric; /**< 0 or 1 */
  float scale;        /**< QL_ACT_STATIC: positive */
  int32_t zero;       /**< QL_ACT_STATIC, asymmetric: -127..127 */
  float threshold;    /**< products only: columns of x with an element of this magnitude or more are
                           multiplied in floating point (LLM.int8(), Dettmers et al. 2022, arXiv
                           2208.07339: 6.0); 0: none */
  int32_t reserved;
  size_t group;       /**< QL_ACT_GROUP of ql_quantize_act: columns that share a scale, the last
                           group having what is left. In a product 0, or the weights' group */
} ql_act_config;

#define QL_ACT_CONFIG_INIT {sizeof(ql_act_config), QL_ACT_TOKEN, 0, 0.0f, 0, 0.0f, 0, 0}

/** Codes [m, k] (I8) of x [m, k] (f32, f16, bf16, columns contiguous), with the scale (F32 [m];
 *  QL_ACT_GROUP: F32 [m, groups]) and the zero point (I32 [m], NULL for symmetric codes) of each
 *  row. config NULL: the defaults. NaN
 *  or Inf is QL_STATUS_NUMERIC with its position. The same bits on every ISA. Thread-safe.
 *  @since 0.1 */
QL_API ql_status ql_quantize_act(const ql_ctx *ctx, const ql_tensor *x,
                                 const ql_act_config *config, const ql_tensor *codes,
                                 const ql_tensor *scales, const ql_tensor *zeros, ql_error *error);

/** @since 0.1 */
typedef struct ql_gemm_options {
  size_t struct_size;
  const ql_tensor *bias; /**< [n], f32, f16 or bf16, or NULL */
  void *workspace;       /**< ql_gemm_workspace bytes, 64-aligned; NULL: the context's allocator */
  size_t workspace_bytes;
  ql_compute compute;
  int32_t reserved;
  const ql_act_config *act;  /**< QL_COMPUTE_A8 of x in floating point; NULL: the defaults */
  const ql_tensor *x_scales; /**< QL_COMPUTE_A8 of I8 codes x: F32 [m], or [m, groups] of weights
                                  whose groups are runs of columns */
  const ql_tensor *x_zeros;  /**< the same: I32 [m], -127..127, or NULL for zeros */
} ql_gemm_options;

#define QL_GEMM_OPTIONS_INIT \
  {sizeof(ql_gemm_options), NULL, NULL, 0, QL_COMPUTE_F32, 0, NULL, NULL, NULL}

/** y = x W^T + bias: x [m, k] and y [m, n], each f32, f16 or bf16, rows at any stride, columns
 *  contiguous; x and y do not overlap. m = 0 is fine. options NULL means the defaults. Error bound
 *  and reproducibility: doc/numerics.md. Thread-safe. @since 0.1 */
QL_API ql_status ql_gemm(const ql_ctx *ctx, const ql_packed *w, const ql_tensor *x,
                         const ql_tensor *y, const ql_gemm_options *options, ql_error *error);

/** ql_gemm for weights of 4 bits (2, 3, 5, 6, 8): other weights are QL_STATUS_DTYPE. @since 0.1 */
QL_API ql_status ql_gemm_w4a16(const ql_ctx *ctx, const ql_packed *w, const ql_tensor *x,
                               const ql_tensor *y, const ql_gemm_options *options,
                               ql_error *error);
QL_API ql_status ql_gemm_w2a16(const ql_ctx *ctx, const ql_packed *w, const ql_tensor *x,
                               const ql_tensor *y, const ql_gemm_options *options,
                               ql_error *error);
QL_API ql_status ql_gemm_w3a16(const ql_ctx *ctx, const ql_packed *w, const ql_tensor *x,
                               const ql_tensor *y, const ql_gemm_options *options,
                               ql_error *error);
QL_API ql_status ql_gemm_w5a16(const ql_ctx *ctx, const ql_packed *w, const ql_tensor *x,
                               const ql_tensor *y, const ql_gemm_options *options,
                               ql_error *error);
QL_API ql_status ql_gemm_w6a16(const ql_ctx *ctx, const ql_packed *w, const ql_tensor *x,
                               const ql_tensor *y, const ql_gemm_options *options,
                               ql_error *error);
QL_API ql_status ql_gemm_w8a16(const ql_ctx *ctx, const ql_packed *w, const ql_tensor *x,
                               const ql_tensor *y, const ql_gemm_options *options,
                               ql_error *error);

/** ql_gemm with QL_COMPUTE_A8, whatever options say, for weights of 8 bits (2, 3, 4): 8-bit integer
 *  products.
 *
 *  x is floating point (made into codes as options->act says) or I8: codes -127..127 with
 *  options->x_scales and x_zeros. With I = sum over k of (q_x - z_x) (c_w - z_w), exact and the
 *  same on every ISA, y = s_x (sum over groups of s_w I) + bias, the sums in the order of the
 *  groups; with scales of x for each group y = (sum over groups of (s_w s_x) I) + bias. A zero
 *  point of x needs weights of 5 to 8 bits with integer zero points; terms of columns beyond
 *  options->act->threshold are added to that. y of type I32 gets I itself: one group per row, no
 *  bias, no threshold. A group so long that I might not fit 32 bits (131,072 columns always fit
 *  where both are symmetric, 33,024 always) is QL_STATUS_UNSUPPORTED. A row of x with NaN or Inf
 *  gives NaN. Thread-safe. @since 0.1 */
QL_API ql_status ql_gemm_w8a8(const ql_ctx *ctx, const ql_packed *w, const ql_tensor *x,
                              const ql_tensor *y, const ql_gemm_options *options, ql_error *error);
QL_API ql_status ql_gemm_w2a8(const ql_ctx *ctx, const ql_packed *w, const ql_tensor *x,
                              const ql_tensor *y, const ql_gemm_options *options, ql_error *error);
QL_API ql_status ql_gemm_w3a8(const ql_ctx *ctx, const ql_packed *w, const ql_tensor *x,
                              const ql_tensor *y, const ql_gemm_options *options, ql_error *error);
QL_API ql_status ql_gemm_w4a8(const ql_ctx *ctx, const ql_packed *w, const ql_tensor *x,
                              const ql_tensor *y, const ql_gemm_options *options, ql_error *error);

/** Bytes of scratch that ql_gemm needs for m rows. @since 0.1 */
QL_API ql_status ql_gemm_workspace(const ql_ctx *ctx, const ql_packed *w, size_t m,
                                   const ql_gemm_options *options, size_t *bytes);

/** Name of the kernel that would serve the product, e.g. "qlk_gemm_f32_w4_avx512": there is no slow
 *  path in silence. Static storage; NULL when the layout does not fit. @since 0.1 */
QL_API const char *ql_gemm_query(const ql_ctx *ctx, const ql_packed *w, size_t m,
                                 const ql_gemm_options *options);

QL_END_DECLS

#endif
