/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#include "qlk_a8_units.h"
#include "qlk_wint_scalar.h"

enum { MR = 4 };

/* The codes of sixteen columns at packed k = p, or the numbers that they stand for. */
static inline void load_codes(const int bits, const qlk_weights *w, size_t panel, size_t p,
                              uint32_t *codes)
{
  const size_t kr = qlk_wint_kr(bits);
  const unsigned char *chunk =
      w->codes + panel * w->code_stride + p / kr * qlk_wint_chunk_bytes(bits);
  for (size_t j = 0; j < NR; j++)
    codes[j] = qlk_wint_code(bits, chunk, p % kr, j);
  for (size_t j = 0; w->numbers != NULL && j < NR; j++)
    codes[j] = (uint32_t)w->numbers[codes[j]] - 128;
}

/* Sums of digits times codes over a group, for all rows of digits. */
static inline void add_products(const int bits, const qlk_weights *w, size_t panel, size_t group,
                                size_t rows, const int8_t *digits, uint32_t acc[][NR])
{
  const size_t kr = qlk_wint_kr(bits);
  const qlk_wtype wtype = bits == 2 ? QLK_W2 : bits == 3 ? QLK_W3 : bits == 4 ? QLK_W4 : QLK_W8;
  memset(acc, 0, rows * sizeof acc[0]);
  for (size_t p = group > 0 ? w->ends[group - 1] : 0; p < w->ends[group]; p++) {
    uint32_t codes[NR];
    load_codes(bits, w, panel, p, codes);
    /* volatile: gcc 12 would read whole vectors across the gaps between rows, past the last one. */
    const volatile int8_t *x = digits + p / kr * kr * rows + qlk_a8_place(wtype, p % kr);
    for (size_t r = 0; r < rows; r++)
      for (size_t j = 0; j < NR; j++)
        acc[r][j] += (uint32_t)x[r * kr] * codes[j];
  }
}

/* Takes integer zero points out of the sums of products. */
static inline void correct(const int bits, const qlk_weights *w, size_t at, size_t group,
                           size_t rows, const qlk_a8_rows *x, uint32_t acc[][NR])
{
  for (size_t r = 0; r < rows; r++)
    for (size_t j = 0; j < NR; j++) {
      const int32_t z = w->zeros != NULL ? w->zeros[at + j] : 1 << (bits - 1);
      acc[r][j] -= (uint32_t)z * (uint32_t)x->sums[r * w->groups + group];
      if (x->zeros != NULL)
        acc[r][j] -= (uint32_t)x->zeros[r] * (uint32_t)w->sums[at + j];
    }
}

/* The number whose digits were multiplied or added: one, or two, `apart` elements apart. */
static inline float join(const size_t digits, const int32_t *sums, size_t apart)
{
  return digits == 1 ? (float)sums[0] : 255.0f * (float)sums[0] + (float)sums[apart];
}

static inline void gemm_width(const int bits, const size_t digits, const qlk_weights *w,
                              size_t panel, size_t group, size_t end, size_t m,
                              const qlk_a8_rows *x, float *y, size_t ldy)
{
  uint32_t acc[MR][NR];
  for (; group < end; group++) {
    const size_t at = panel * w->scale_stride + group * NR;
    add_products(bits, w, panel, group, m * digits, x->digits, acc);
    if (w->fzeros == NULL && w->numbers == NULL)
      correct(bits, w, at, group, m * digits, x, acc);
    for (size_t i = 0; i < m; i++)
      for (size_t j = 0; j < NR; j++) {
        int32_t sums[2 * NR];
        memcpy(sums, acc[i * digits], digits * NR * sizeof sums[0]);
        float v = join(digits, sums + j, NR), s = qlk_wint_scale(w->scale_type, w->scales, at + j);
        if (w->numbers != NULL)
          s = w->unit * s;
        if (w->fzeros != NULL)
          v -= qlk_wint_scale(w->scale_type, w->fzeros, at + j) *
               join(digits, x->sums + i * digits * w->groups + group, w->groups);
        if (x->scales != NULL)
          s *= x->scales[i * w->groups + group];
        y[i * ldy + j] = y[i * ldy + j] + s * v;
      }
  }
}

static inline void integers(const int bits, const qlk_weights *w, size_t panel, size_t group,
                            size_t m, const qlk_a8_rows *x, int32_t *out, size_t ldo)
{
  uint32_t acc[MR][NR];
  add_products(bits, w, panel, group, m, x->digits, acc);
  correct(bits, w, panel * w->scale_stride + group * NR, group, m, x, acc);
  for (size_t i = 0; i < m; i++)
    memcpy(out + i * ldo, acc[i], sizeof acc[i]);
}

QLK_A8_LEVEL(16, scalar)
