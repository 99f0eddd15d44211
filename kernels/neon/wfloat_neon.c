/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#if !defined(__aarch64__) || !defined(__ARM_NEON)
#error "this file needs aarch64 with Advanced SIMD"
#endif

#include "qlk_gemm.h"

#include <arm_neon.h>
#include <stdbool.h>

/* Weights of 16 bits, kept in their type. A panel of f32 is what the dense core reads. */
enum { NR = 16 };

static inline float32x4_t load_weights(const bool half, const unsigned char *p)
{
  const uint16x4_t h = vreinterpret_u16_u8(vld1_u8(p));
  if (half)
    return vcvt_f32_f16(vreinterpret_f16_u16(h));
  return vreinterpretq_f32_u32(vshll_n_u16(h, 16));
}

static inline void expand(const bool half, const qlk_weights *w, size_t panel, size_t k0, size_t k1,
                          float *out)
{
  const unsigned char *p = w->codes + panel * w->code_stride + k0 * NR * 2;
  for (size_t i = 0; i < (k1 - k0) * NR; i += 4)
    vst1q_f32(out + i, load_weights(half, p + 2 * i));
}

static inline __attribute__((always_inline)) void gemv(const bool half, const qlk_weights *w,
                                                       size_t panel, const float *x, float *y)
{
  const unsigned char *p = w->codes + panel * w->code_stride;
  float32x4_t total[4], acc[4];
  for (size_t v = 0; v < 4; v++)
    total[v] = vdupq_n_f32(-0.0f);
  for (size_t k = 0; k < w->k;) {
    const size_t end = k + QLK_KB < w->k ? k + QLK_KB : w->k;
    for (size_t v = 0; v < 4; v++)
      acc[v] = vdupq_n_f32(0);
    for (; k < end; k++, p += NR * 2) {
      const float32x4_t a = vdupq_n_f32(x[k]);
      for (size_t v = 0; v < 4; v++)
        acc[v] = vfmaq_f32(acc[v], a, load_weights(half, p + 8 * v));
    }
    for (size_t v = 0; v < 4; v++)
      total[v] = vaddq_f32(total[v], acc[v]);
  }
  for (size_t v = 0; v < 4; v++)
    vst1q_f32(y + 4 * v, total[v]);
}

static inline void gemv_any(const bool half, const qlk_weights *w, size_t panel, size_t panels,
                            const float *x, float *y)
{
  for (size_t i = 0; i < panels; i++)
    gemv(half, w, panel + i, x, y + i * NR);
}

static void qlk_expand_f32_f16p16_neon(const qlk_weights *w, size_t panel, size_t k0, size_t k1,
                                       size_t group, float *out)
{
  (void)group;
  expand(true, w, panel, k0, k1, out);
}

static void qlk_expand_f32_bf16p16_neon(const qlk_weights *w, size_t panel, size_t k0, size_t k1,
                                        size_t group, float *out)
{
  (void)group;
  expand(false, w, panel, k0, k1, out);
}

static void qlk_gemv_f32_f16p16_neon(const qlk_weights *w, size_t panel, size_t panels,
                                     const float *x, float *y)
{
  gemv_any(true, w, panel, panels, x, y);
}

static void qlk_gemv_f32_bf16p16_neon(const qlk_weights *w, size_t panel, size_t panels,
                                      const float *x, float *y)
{
  gemv_any(false, w, panel, panels, x, y);
}

void qlk_fill_wfloat_neon(qlk_gemm *t)
{
  t->unit[QLK_W_F32] = (qlk_gemm_unit){QLK_LAYOUT(QLK_W_F32, NR),
                                       4,
                                       NR,
                                       1,
                                       t->unit[QLK_W_F32].pack,
                                       NULL,
                                       NULL,
                                       qlk_dense_f32p16_neon,
                                       qlk_dense_ordered_f32p16_neon,
                                       "qlk_gemm_f32_f32p16_neon",
                                       "qlk_gemm_f32_f32p16_neon",
                                       "qlk_gemm_ordered_f32_f32p16_neon"};
  t->unit[QLK_W_F16] = (qlk_gemm_unit){QLK_LAYOUT(QLK_W_F16, NR),
                                       4,
                                       NR,
                                       1,
                                       t->unit[QLK_W_F16].pack,
                                       qlk_expand_f32_f16p16_neon,
                                       qlk_gemv_f32_f16p16_neon,
                                       qlk_dense_f32p16_neon,
                                       qlk_dense_ordered_f32p16_neon,
                                       "qlk_gemv_f32_f16p16_neon",
                                       "qlk_gemm_f32_f16p16_neon",
                                       "qlk_gemm_ordered_f32_f16p16_neon"};
  t->unit[QLK_W_BF16] = (qlk_gemm_unit){QLK_LAYOUT(QLK_W_BF16, NR),
                                        4,
                                        NR,
                                        1,
                                        t->unit[QLK_W_BF16].pack,
                                        qlk_expand_f32_bf16p16_neon,
                                        qlk_gemv_f32_bf16p16_neon,
                                        qlk_dense_f32p16_neon,
                                        qlk_dense_ordered_f32p16_neon,
                                        "qlk_gemv_f32_bf16p16_neon",
                                        "qlk_gemm_f32_bf16p16_neon",
                                        "qlk_gemm_ordered_f32_bf16p16_neon"};
}
