/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#if !defined(__AVX512F__) || !defined(__AVX512BW__) || !defined(__AVX512DQ__) || \
    !defined(__AVX512VL__)
#error "this file needs -mavx512f -mavx512bw -mavx512dq -mavx512vl"
#endif

#include "qlk_gemm.h"

#include <immintrin.h>
#include <stdbool.h>

/* Weights of 16 bits, kept in their type. A panel of f32 is what the dense core reads. */
enum { NR = 32 };

static inline __m512 load_weights(const bool half, const unsigned char *p)
{
  const __m256i h = _mm256_loadu_si256((const __m256i *)(const void *)p);
  if (half)
    return _mm512_cvtph_ps(h);
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(h), 16));
}

static inline void expand(const bool half, const qlk_weights *w, size_t panel, size_t k0, size_t k1,
                          float *out)
{
  const unsigned char *p = w->codes + panel * w->code_stride + k0 * NR * 2;
  for (size_t i = 0; i < (k1 - k0) * 2; i++)
    _mm512_store_ps(out + 16 * i, load_weights(half, p + 32 * i));
}

static inline __attribute__((always_inline)) void gemv(const bool half, const size_t count,
                                                       const qlk_weights *w, size_t panel,
                                                       const float *x, float *y)
{
  const unsigned char *p = w->codes + panel * w->code_stride;
  __m512 total[4], acc[4];
  for (size_t v = 0; v < count; v++)
    total[v] = _mm512_set1_ps(-0.0f);
  for (size_t k = 0; k < w->k;) {
    const size_t end = k + QLK_KB < w->k ? k + QLK_KB : w->k;
    for (size_t v = 0; v < count; v++)
      acc[v] = _mm512_setzero_ps();
    for (; k < end; k++, p += NR * 2) {
      const __m512 a = _mm512_set1_ps(x[k]);
      for (size_t v = 0; v < count; v++) {
        const __m512 b = load_weights(half, p + v / 2 * w->code_stride + v % 2 * 32);
        acc[v] = _mm512_fmadd_ps(a, b, acc[v]);
      }
    }
    for (size_t v = 0; v < count; v++)
      total[v] = _mm512_add_ps(total[v], acc[v]);
  }
  for (size_t v = 0; v < count; v++)
    _mm512_storeu_ps(y + 16 * v, total[v]);
}

static inline void gemv_any(const bool half, const qlk_weights *w, size_t panel, size_t panels,
                            const float *x, float *y)
{
  for (; panels >= 2; panel += 2, panels -= 2, y += 2 * NR)
    gemv(half, 4, w, panel, x, y);
  if (panels == 1)
    gemv(half, 2, w, panel, x, y);
}

static void qlk_expand_f32_f16p32_avx512(const qlk_weights *w, size_t panel, size_t k0, size_t k1,
                                         size_t group, float *out)
{
  (void)group;
  expand(true, w, panel, k0, k1, out);
}

static void qlk_expand_f32_bf16p32_avx512(const qlk_weights *w, size_t panel, size_t k0, size_t k1,
                                          size_t group, float *out)
{
  (void)group;
  expand(false, w, panel, k0, k1, out);
}

static void qlk_gemv_f32_f16p32_avx512(const qlk_weights *w, size_t panel, size_t panels,
                                       const float *x, float *y)
{
  gemv_any(true, w, panel, panels, x, y);
}

static void qlk_gemv_f32_bf16p32_avx512(const qlk_weights *w, size_t panel, size_t panels,
                                        const float *x, float *y)
{
  gemv_any(false, w, panel, panels, x, y);
}

void qlk_fill_wfloat_avx512(qlk_gemm *t)
{
  t->unit[QLK_W_F32] = (qlk_gemm_unit){QLK_LAYOUT(QLK_W_F32, NR),
                                       12,
                                       NR,
                                       1,
                                       t->unit[QLK_W_F32].pack,
                                       NULL,
                                       NULL,
                                       qlk_dense_f32p32_avx512,
                                       qlk_dense_ordered_f32p32_avx512,
                                       "qlk_gemm_f32_f32p32_avx512",
                                       "qlk_gemm_f32_f32p32_avx512",
                                       "qlk_gemm_ordered_f32_f32p32_avx512"};
  t->unit[QLK_W_F16] = (qlk_gemm_unit){QLK_LAYOUT(QLK_W_F16, NR),
                                       12,
                                       NR,
                                       1,
                                       t->unit[QLK_W_F16].pack,
                                       qlk_expand_f32_f16p32_avx512,
                                       qlk_gemv_f32_f16p32_avx512,
                                       qlk_dense_f32p32_avx512,
                                       qlk_dense_ordered_f32p32_avx512,
                                       "qlk_gemv_f32_f16p32_avx512",
                                       "qlk_gemm_f32_f16p32_avx512",
                                       "qlk_gemm_ordered_f32_f16p32_avx512"};
  t->unit[QLK_W_BF16] = (qlk_gemm_unit){QLK_LAYOUT(QLK_W_BF16, NR),
                                        12,
                                        NR,
                                        1,
                                        t->unit[QLK_W_BF16].pack,
                                        qlk_expand_f32_bf16p32_avx512,
                                        qlk_gemv_f32_bf16p32_avx512,
                                        qlk_dense_f32p32_avx512,
                                        qlk_dense_ordered_f32p32_avx512,
                                        "qlk_gemv_f32_bf16p32_avx512",
                                        "qlk_gemm_f32_bf16p32_avx512",
                                        "qlk_gemm_ordered_f32_bf16p32_avx512"};
}
