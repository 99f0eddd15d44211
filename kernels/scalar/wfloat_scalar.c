/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#include "qlk_gemm.h"
#include "qlk_half.h"

/* Floating-point weights, kept in their type. Packing is for any panel width. */
enum { NR = 16 };

static inline void transpose(size_t size, const unsigned char *rows, size_t stride, size_t nr,
                             size_t k, unsigned char *panel)
{
  for (size_t p = 0; p < k; p++)
    for (size_t j = 0; j < nr; j++)
      memcpy(panel + (p * nr + j) * size, rows + j * stride + p * size, size);
}

static void qlk_pack_x16_scalar(const unsigned char *rows, size_t stride, size_t nr, size_t k,
                                unsigned char *panel)
{
  transpose(2, rows, stride, nr, k, panel);
}

static void qlk_pack_x32_scalar(const unsigned char *rows, size_t stride, size_t nr, size_t k,
                                unsigned char *panel)
{
  transpose(4, rows, stride, nr, k, panel);
}

static void qlk_expand_f32_f16p16_scalar(const qlk_weights *w, size_t panel, size_t k0, size_t k1,
                                         size_t group, float *out)
{
  const unsigned char *p = w->codes + panel * w->code_stride + k0 * NR * 2;
  (void)group;
  for (size_t i = 0; i < (k1 - k0) * NR; i++)
    out[i] = qlk_f16_to_f32(qlk_load16(p, i));
}

static void qlk_expand_f32_bf16p16_scalar(const qlk_weights *w, size_t panel, size_t k0, size_t k1,
                                          size_t group, float *out)
{
  const unsigned char *p = w->codes + panel * w->code_stride + k0 * NR * 2;
  (void)group;
  for (size_t i = 0; i < (k1 - k0) * NR; i++)
    out[i] = qlk_bf16_to_f32(qlk_load16(p, i));
}

void qlk_fill_wfloat_scalar(qlk_gemm *t)
{
  t->unit[QLK_W_F32] = (qlk_gemm_unit){
      .layout_id = QLK_LAYOUT(QLK_W_F32, NR),
      .mr = 4,
      .nr = NR,
      .kr = 1,
      .pack = qlk_pack_x32_scalar,
      .dense = qlk_dense_f32p16_scalar,
      .dense_ordered = qlk_dense_f32p16_scalar,
      .gemv_name = "qlk_gemm_f32_f32p16_scalar",
      .gemm_name = "qlk_gemm_f32_f32p16_scalar",
      .ordered_name = "qlk_gemm_f32_f32p16_scalar",
  };
  t->unit[QLK_W_F16] = (qlk_gemm_unit){
      .layout_id = QLK_LAYOUT(QLK_W_F16, NR),
      .mr = 4,
      .nr = NR,
      .kr = 1,
      .pack = qlk_pack_x16_scalar,
      .expand = qlk_expand_f32_f16p16_scalar,
      .dense = qlk_dense_f32p16_scalar,
      .dense_ordered = qlk_dense_f32p16_scalar,
      .gemv_name = "qlk_gemm_f32_f16p16_scalar",
      .gemm_name = "qlk_gemm_f32_f16p16_scalar",
      .ordered_name = "qlk_gemm_f32_f16p16_scalar",
  };
  t->unit[QLK_W_BF16] = (qlk_gemm_unit){
      .layout_id = QLK_LAYOUT(QLK_W_BF16, NR),
      .mr = 4,
      .nr = NR,
      .kr = 1,
      .pack = qlk_pack_x16_scalar,
      .expand = qlk_expand_f32_bf16p16_scalar,
      .dense = qlk_dense_f32p16_scalar,
      .dense_ordered = qlk_dense_f32p16_scalar,
      .gemv_name = "qlk_gemm_f32_bf16p16_scalar",
      .gemm_name = "qlk_gemm_f32_bf16p16_scalar",
      .ordered_name = "qlk_gemm_f32_bf16p16_scalar",
  };
}
