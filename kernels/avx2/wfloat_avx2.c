/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#include "vec_avx2.h"

#include "qlk_wfloat_body.h"

void qlk_fill_wfloat_avx2(qlk_gemm *t)
{
  t->unit[QLK_W_F32] = (qlk_gemm_unit){
      .layout_id = QLK_LAYOUT(QLK_W_F32, NR),
      .mr = MR,
      .nr = NR,
      .kr = 1,
      .pack = t->unit[QLK_W_F32].pack,
      .expand = NULL,
      .gemv = gemv_f32,
      .dense = qlk_dense_f32p16_avx2,
      .dense_ordered = qlk_dense_ordered_f32p16_avx2,
      .gemv_name = "qlk_gemv_f32_f32p16_avx2",
      .gemm_name = "qlk_gemm_f32_f32p16_avx2",
      .ordered_name = "qlk_gemm_ordered_f32_f32p16_avx2",
      .few = few_f32,
      .few_name = "qlk_gemm_f32_f32p16_avx2",
      .few_rows = FEW,
      .few_limit = UINT32_MAX,
  };
  t->unit[QLK_W_F16] = (qlk_gemm_unit){
      .layout_id = QLK_LAYOUT(QLK_W_F16, NR),
      .mr = MR,
      .nr = NR,
      .kr = 1,
      .pack = t->unit[QLK_W_F16].pack,
      .expand = expand_f16,
      .gemv = gemv_f16,
      .dense = qlk_dense_f32p16_avx2,
      .dense_ordered = qlk_dense_ordered_f32p16_avx2,
      .gemv_name = "qlk_gemv_f32_f16p16_avx2",
      .gemm_name = "qlk_gemm_f32_f16p16_avx2",
      .ordered_name = "qlk_gemm_ordered_f32_f16p16_avx2",
      .few = few_f16,
      .few_name = "qlk_gemm_f32_f16p16_avx2",
      .few_rows = FEW,
      .few_limit = UINT32_MAX,
  };
  t->unit[QLK_W_BF16] = (qlk_gemm_unit){
      .layout_id = QLK_LAYOUT(QLK_W_BF16, NR),
      .mr = MR,
      .nr = NR,
      .kr = 1,
      .pack = t->unit[QLK_W_BF16].pack,
      .expand = expand_bf16,
      .gemv = gemv_bf16,
      .dense = qlk_dense_f32p16_avx2,
      .dense_ordered = qlk_dense_ordered_f32p16_avx2,
      .gemv_name = "qlk_gemv_f32_bf16p16_avx2",
      .gemm_name = "qlk_gemm_f32_bf16p16_avx2",
      .ordered_name = "qlk_gemm_ordered_f32_bf16p16_avx2",
      .few = few_bf16,
      .few_name = "qlk_gemm_f32_bf16p16_avx2",
      .few_rows = FEW,
      .few_limit = UINT32_MAX,
  };
}
