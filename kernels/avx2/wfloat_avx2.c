/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#if !defined(__AVX2__) || !defined(__FMA__) || !defined(__F16C__)
#error "this file needs -mavx2 -mfma -mf16c -mbmi2"
#endif

#include "qlk_gemm.h"

#include <immintrin.h>
#include <stdbool.h>

/* Weights of 16 bits, kept in their type. A panel of f32 is what the dense core reads. */
enum { NR = 16 };

static inline __m256 load_weights(const bool half, const unsigned char *p)
{
  const __m128i h = _mm_loadu_si128((const __m128i *)(const void *)p);
  if (half)
    return _mm256_cvtph_ps(h);
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(h), 16));
}

static inline void expand(const bool half, const qlk_weights *w, size_t panel, size_t k0, size_t k1,
                          float *out)
{
  const unsigned char *p = w->codes + panel * w->code_stride + k0 * NR * 2;
  for (size_t i = 0; i < (k1 - k0) * 2; i++)
    _mm256_store_ps(out + 8 * i, load_weights(half, p + 16 * i));
}

static inline __attribute__((always_inline)) void gemv(const bool half, const size_t count,
                                                       const qlk_weights *w, size_t panel,
                                                       const float *x, float *y)
{
  const unsigned char *p = w->codes + panel * w->code_stride;
  __m256 total[4], acc[4];
  for (size_t v = 0; v < count; v++)
    total[v] = _mm256_set1_ps(-0.0f);
  for (size_t k = 0; k < w->k;) {
    const size_t end = k + QLK_KB < w->k ? k + QLK_KB : w->k;
    for (size_t v = 0; v < count; v++)
      acc[v] = _mm256_setzero_ps();
    for (; k < end; k++, p += NR * 2) {
      const __m256 a = _mm256_set1_ps(x[k]);
      for (size_t v = 0; v < count; v++) {
        const __m256 b = load_weights(half, p + v / 2 * w->code_stride + v % 2 * 16);
        acc[v] = _mm256_fmadd_ps(a, b, acc[v]);
      }
    }
    for (size_t v = 0; v < count; v++)
      total[v] = _mm256_add_ps(total[v], acc[v]);
  }
  for (size_t v = 0; v < count; v++)
    _mm256_storeu_ps(y + 8 * v, total[v]);
}

static inline void gemv_any(const bool half, const qlk_weights *w, size_t panel, size_t panels,
                            const float *x, float *y)
{
  for (; panels >= 2; panel += 2, panels -= 2, y += 2 * NR)
    gemv(half, 4, w, panel, x, y);
  if (panels == 1)
    gemv(half, 2, w, panel, x, y);
}

static void qlk_expand_f32_f16p16_avx2(const qlk_weights *w, size_t panel, size_t k0, size_t k1,
                                       size_t group, float *out)
{
  (void)group;
  expand(true, w, panel, k0, k1, out);
}

static void qlk_expand_f32_bf16p16_avx2(const qlk_weights *w, size_t panel, size_t k0, size_t k1,
                                        size_t group, float *out)
{
  (void)group;
  expand(false, w, panel, k0, k1, out);
}

static void qlk_gemv_f32_f16p16_avx2(const qlk_weights *w, size_t panel, size_t panels,
                                     const float *x, float *y)
{
  gemv_any(true, w, panel, panels, x, y);
}

static void qlk_gemv_f32_bf16p16_avx2(const qlk_weights *w, size_t panel, size_t panels,
                                      const float *x, float *y)
{
  gemv_any(false, w, panel, panels, x, y);
}

void qlk_fill_wfloat_avx2(qlk_gemm *t)
{
  t->unit[QLK_W_F32] = (qlk_gemm_unit){QLK_LAYOUT(QLK_W_F32, NR),
                                       6,
                                       NR,
                                       1,
                                       t->unit[QLK_W_F32].pack,
                                       NULL,
                                       NULL,
                                       qlk_dense_f32p16_avx2,
                                       qlk_dense_ordered_f32p16_avx2,
                                       "qlk_gemm_f32_f32p16_avx2",
                                       "qlk_gemm_f32_f32p16_avx2",
                                       "qlk_gemm_ordered_f32_f32p16_avx2"};
  t->unit[QLK_W_F16] = (qlk_gemm_unit){QLK_LAYOUT(QLK_W_F16, NR),
                                       6,
                                       NR,
                                       1,
                                       t->unit[QLK_W_F16].pack,
                                       qlk_expand_f32_f16p16_avx2,
                                       qlk_gemv_f32_f16p16_avx2,
                                       qlk_dense_f32p16_avx2,
                                       qlk_dense_ordered_f32p16_avx2,
                                       "qlk_gemv_f32_f16p16_avx2",
                                       "qlk_gemm_f32_f16p16_avx2",
                                       "qlk_gemm_ordered_f32_f16p16_avx2"};
  t->unit[QLK_W_BF16] = (qlk_gemm_unit){QLK_LAYOUT(QLK_W_BF16, NR),
                                        6,
                                        NR,
                                        1,
                                        t->unit[QLK_W_BF16].pack,
                                        qlk_expand_f32_bf16p16_avx2,
                                        qlk_gemv_f32_bf16p16_avx2,
                                        qlk_dense_f32p16_avx2,
                                        qlk_dense_ordered_f32p16_avx2,
                                        "qlk_gemv_f32_bf16p16_avx2",
                                        "qlk_gemm_f32_bf16p16_avx2",
                                        "qlk_gemm_ordered_f32_bf16p16_avx2"};
}
