/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef QLK_A8_UNITS_H
#define QLK_A8_UNITS_H

#include "qlk_a8_body.h"

/* The last line of a level's file, QLK_A8_LEVEL(panel width, isa), makes the kernels of each width
 * of codes of the two inline functions
 *
 *   gemm_width(bits, digits, ...)   qlk_a8_gemm_fn
 *   integers(bits, ...)             qlk_a8_integers_fn
 *
 * that the file or its body has defined, with MR rows, and the function that enters them. */

#define QLK_A8_KERNELS(bits, width, isa) \
  static void qlk_gemm_f32_a8_w##bits##p##width##_##isa( \
      const qlk_weights *w, size_t panel, size_t group, size_t end, size_t m, \
      const qlk_a8_rows *x, float *y, size_t ldy) \
  { \
    gemm_width(bits, 1, w, panel, group, end, m, x, y, ldy); \
  } \
  static void qlk_gemm_f32_a16_w##bits##p##width##_##isa( \
      const qlk_weights *w, size_t panel, size_t group, size_t end, size_t m, \
      const qlk_a8_rows *x, float *y, size_t ldy) \
  { \
    gemm_width(bits, 2, w, panel, group, end, m, x, y, ldy); \
  } \
  static void qlk_integers_w##bits##p##width##_##isa(const qlk_weights *w, size_t panel, \
                                                     size_t group, size_t m, const qlk_a8_rows *x, \
                                                     int32_t *out, size_t ldo) \
  { \
    integers(bits, w, panel, group, m, x, out, ldo); \
  }

#define QLK_A8_UNIT(bits, width, isa) \
  ((qlk_a8_unit){.layout_id = QLK_LAYOUT(QLK_W##bits, width), \
                 .mr = MR, \
                 .nr = width, \
                 .kr = (bits) == 3 ? 32 : 32 / (bits), \
                 .gemm8 = qlk_gemm_f32_a8_w##bits##p##width##_##isa, \
                 .gemm16 = qlk_gemm_f32_a16_w##bits##p##width##_##isa, \
                 .integers = qlk_integers_w##bits##p##width##_##isa, \
                 .arrange = arrange_w##bits, \
                 .name8 = "qlk_gemm_f32_a8_w" #bits "p" #width "_" #isa, \
                 .name16 = "qlk_gemm_f32_a16_w" #bits "p" #width "_" #isa})

#define QLK_A8_LEVEL(width, isa) \
  QLK_A8_KERNELS(2, width, isa) \
  QLK_A8_KERNELS(3, width, isa) \
  QLK_A8_KERNELS(4, width, isa) \
  QLK_A8_KERNELS(8, width, isa) \
  void qlk_fill_a8_##isa(qlk_a8 *t) \
  { \
    t->unit[QLK_W2] = QLK_A8_UNIT(2, width, isa); \
    t->unit[QLK_W3] = QLK_A8_UNIT(3, width, isa); \
    t->unit[QLK_W4] = QLK_A8_UNIT(4, width, isa); \
    t->unit[QLK_W8] = QLK_A8_UNIT(8, width, isa); \
    t->range = range; \
    t->quantize = quantize; \
    t->split = split; \
  }

#endif
