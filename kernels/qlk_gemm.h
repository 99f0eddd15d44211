/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef QLK_GEMM_H
#define QLK_GEMM_H

#include "qlk_types.h"

/* y = x W^T with W [n, k] packed: panels of nr output columns, each panel with k outermost, so that
 * a product reads it from one end to the other.
 *
 * Packed k may be longer than k of the matrix: each group of columns is padded to a multiple of kr,
 * and the driver puts zeros into x there. A panel of codes is a sequence of chunks of kr values of
 * k; a chunk has, for word = 0 .. words - 1 and column = 0 .. nr - 1, one little-endian 32-bit
 * word: W4 (kr 8, 1 word), W8 (kr 4, 1 word), W2 (kr 16, 1 word): code t at bit t * bits; W3 (kr
 * 32, 3 words): the low two bits of codes 0..15, those of 16..31, the third bit of code t at bit
 * qlk_third_bit(t); F32, F16, BF16 (kr 1): the element itself, of 4 or 2 bytes. Scales:
 * [panel][group][nr] of scale_type; zero points likewise, int16 or of scale_type, or absent:
 * 2^(bits - 1).
 *
 * With a table of levels there are no zero points: a weight is s * level[c]. One table for all
 * columns has 16 entries, for fewer than 4 bits repeated until they are full, so that the bits
 * above a code do no harm, or 256 for W8; codebooks have 2^bits for each column. */
typedef struct qlk_weights {
  const unsigned char *codes;   /* panel 0, 64-aligned; the next ones follow without gaps */
  const unsigned char *scales;  /* panel 0, 64-aligned */
  const int16_t *zeros;         /* panel 0, 64-aligned, or NULL */
  const unsigned char *fzeros;  /* the same, of scale_type; one of the two at most */
  const int32_t *sums;          /* [panel][group][nr], sum of code - zero point over the columns of
                                   the group, or NULL */
  const float *table;           /* levels, 64-aligned; NULL: a code is a number */
  size_t table_stride;          /* 0: one table; else elements from panel to panel of codebooks,
                                   [panel][nr][2^bits] */
  const unsigned char *numbers; /* W4: the levels of one table as numbers n + 128, n in -128..127,
                                   with level = unit n; NULL where they are not such */
  float unit;                   /* a power of two */
  const uint32_t *ends;         /* [groups], first packed k past each group, not decreasing */
  size_t code_stride;           /* bytes from panel to panel */
  size_t scale_stride;          /* elements from panel to panel, also of zeros */
  size_t groups;
  size_t k; /* packed length, a multiple of kr */
  qlk_dtype scale_type;
} qlk_weights;

/* rows: nr rows of k codes (one byte each) or elements, stride bytes apart. Any nr. */
typedef void qlk_pack_fn(const unsigned char *rows, size_t stride, size_t nr, size_t k,
                         unsigned char *panel);

/* Exact class. out [k1 - k0][nr], 64-aligned: the weights of one panel, s * (float)(c - z) or
 * s * level[c] with one rounding (float zero points: the difference is rounded too), or the f32
 * value of the element. k0 and k1 are multiples of kr; group is the one that holds k0. */
typedef void qlk_expand_fn(const qlk_weights *w, size_t panel, size_t k0, size_t k1, size_t group,
                           float *out);

/* y[i][j] = (accumulate ? y[i][j] : nothing) + sum over p of x[i][p] b[p][j], for m <= mr rows and
 * nr columns, k <= QLK_KB. b is 64-aligned; ldx and ldy count elements; y is not read unless
 * accumulate. The sum starts at +0 and goes through p in order, one FMA (fast class) or one
 * multiply and one add (ordered class) each; it is then added to y. */
typedef void qlk_dense_fn(size_t m, size_t k, const float *x, size_t ldx, const float *b, float *y,
                          size_t ldy, int accumulate);

/* One row of x against whole panels, with the bits of expand and the fast dense core:
 * y[0 .. panels * nr). */
typedef void qlk_gemv_fn(const qlk_weights *w, size_t panel, size_t panels, const float *x,
                         float *y);

/* Rows of x against whole panels, with the bits of expand and the fast dense core; each weight is
 * decoded once for all rows, in registers. Like dense cores over the blocks from k0 to k1, the
 * first of which is added to y only with accumulate. k0 is a multiple of QLK_KB, k1 too or the end;
 * group is the one that holds k0. */
typedef struct qlk_few_job {
  const qlk_weights *w;
  size_t panel, panels;
  size_t k0, k1, group;
  size_t m;       /* 1 <= m <= few_rows */
  const float *x; /* of k0; rows are ldx elements apart */
  size_t ldx;
  float *y; /* [m][panels * nr]; rows are ldy elements apart */
  size_t ldy;
  int accumulate;
} qlk_few_job;

typedef void qlk_few_fn(const qlk_few_job *job);

/* Everything that depends on one packed layout, replaced as a unit: an ISA that overwrites one
 * overwrites all of it. */
typedef struct qlk_gemm_unit {
  uint32_t layout_id; /* QLK_LAYOUT */
  uint32_t mr, nr, kr;
  qlk_pack_fn *pack;
  qlk_expand_fn *expand; /* NULL: a panel is already dense f32 */
  qlk_gemv_fn *gemv;     /* NULL: expand and dense serve one row as well */
  qlk_dense_fn *dense;
  qlk_dense_fn *dense_ordered;
  const char *gemv_name, *gemm_name, *ordered_name;
  qlk_few_fn *few; /* NULL: expand and dense serve few rows as well */
  const char *few_name;
  uint32_t few_rows;
  uint32_t few_limit; /* more rows than that are better served by expand and the few of f32 */
} qlk_gemm_unit;

typedef struct qlk_gemm {
  qlk_gemm_unit unit[QLK_WTYPE_COUNT];
} qlk_gemm;

/* Layouts are equal when format, panel width and version are: ISAs may share one. */
#define QLK_LAYOUT(wtype, nr) ((uint32_t)(wtype) << 16 | (uint32_t)(nr) << 4 | 1u)

/* Of every level of the table, built or not: units of integer and of floating-point weights, and
 * packing alone, which serves any panel width, for the units of the same level to take over. */
#define QLK_ISA(name, NAME, parent, by_default, ...) \
  void qlk_fill_wint_##name(qlk_gemm *t); \
  void qlk_fill_wfloat_##name(qlk_gemm *t); \
  void qlk_fill_pack_##name(qlk_gemm *t);
#include "qlk_isas.def"
#undef QLK_ISA

/* The dense cores that the units of an ISA share. */
qlk_dense_fn qlk_dense_f32p16_scalar;
qlk_dense_fn qlk_dense_f32p16_avx2, qlk_dense_ordered_f32p16_avx2;
qlk_dense_fn qlk_dense_f32p32_avx512, qlk_dense_ordered_f32p32_avx512;
qlk_dense_fn qlk_dense_f32p16_neon, qlk_dense_ordered_f32p16_neon;

/* W3: code 16 h + 4 b + j has its third bit at place j + 4 h of byte b, so that one shift and one
 * mask bring those of four bytes to the places that the low bits of the same codes have. */
static inline size_t qlk_third_bit(size_t t)
{
  return t % 16 / 4 * 8 + t % 4 + t / 16 * 4;
}

static inline size_t qlk_next_group(const qlk_weights *w, size_t group, size_t k)
{
  while (group + 1 < w->groups && w->ends[group] <= k)
    group++;
  return group;
}

/* End of the run that starts at k within one group and below limit. */
static inline size_t qlk_run_end(const qlk_weights *w, size_t group, size_t limit)
{
  return w->ends[group] < limit ? w->ends[group] : limit;
}

#endif
