/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef QLK_EXACT_H
#define QLK_EXACT_H

#include "qlk_coded.h"
#include "qlk_rounded.h"
#include "qlk_types.h"

/* Exact class: the same bits on every ISA. Sources and targets at any alignment, no overlap. */
typedef struct qlk_exact {
  void (*f16_to_f32)(const void *src, size_t n, float *dst);
  void (*bf16_to_f32)(const void *src, size_t n, float *dst);
  void (*f32_to_f16)(const float *src, size_t n, void *dst);
  void (*f32_to_bf16)(const float *src, size_t n, void *dst);
  /* dst[i] = scale * (float)(codes[i] - zero), one rounding; zero in 0..256. */
  void (*dequant)(const uint8_t *codes, size_t n, float scale, int32_t zero, float *dst);
  /* A row of codes as numbers of a type: s * (c - z) in double precision, the product rounded once
   * to f32, or to the 16-bit type with QLK_ODD in flags; without it by way of f32. Any group. */
  void (*rows_f32)(const qlk_coded *row, int flags, void *dst);
  void (*rows_f16)(const qlk_coded *row, int flags, void *dst);
  void (*rows_bf16)(const qlk_coded *row, int flags, void *dst);
  /* Least and greatest number of each group of a row, whatever the sign of a zero; 0 where a NaN or
   * Inf is among them, and then lo and hi say nothing. */
  int (*ranges)(const float *x, size_t n, size_t group, float *lo, float *hi);
  /* Codes of a row of finite numbers: clamp(x / s rounded to nearest, ties to even) + zero point.
   */
  void (*round)(const qlk_rounded *row, uint8_t *codes);
  /* Sum of the codes modulo 2^32. */
  uint32_t (*sum)(const uint8_t *codes, size_t n);
} qlk_exact;

/* Of every level of the table, built or not. */
#define QLK_ISA(name, NAME, parent, by_default, ...) void qlk_fill_exact_##name(qlk_exact *t);
#include "qlk_isas.def"
#undef QLK_ISA

void qlk_fill_round_scalar(qlk_exact *t);
void qlk_fill_round_avx2(qlk_exact *t);
void qlk_fill_round_avx512(qlk_exact *t);
void qlk_fill_round_neon(qlk_exact *t);

#endif
