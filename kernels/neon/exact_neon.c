/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#if !defined(__aarch64__) || !defined(__ARM_NEON)
#error "this file needs aarch64 with Advanced SIMD"
#endif

#include "qlk_exact.h"
#include "qlk_half.h"

#include <arm_neon.h>

/* Loads by bytes: the source may be at an odd address. */
static uint16x4_t load4x16(const void *src, size_t i)
{
  return vreinterpret_u16_u8(vld1_u8((const unsigned char *)src + 2 * i));
}

static void store4x16(void *dst, size_t i, uint16x4_t v)
{
  vst1_u8((unsigned char *)dst + 2 * i, vreinterpret_u8_u16(v));
}

static void qlk_cvt_f32_f16_neon(const void *src, size_t n, float *dst)
{
  size_t i = 0;
  for (; i + 4 <= n; i += 4)
    vst1q_f32(dst + i, vcvt_f32_f16(vreinterpret_f16_u16(load4x16(src, i))));
  for (; i < n; i++)
    dst[i] = qlk_f16_to_f32(qlk_load16(src, i));
}

static void qlk_cvt_f32_bf16_neon(const void *src, size_t n, float *dst)
{
  size_t i = 0;
  for (; i + 4 <= n; i += 4)
    vst1q_f32(dst + i, vreinterpretq_f32_u32(vshll_n_u16(load4x16(src, i), 16)));
  for (; i < n; i++)
    dst[i] = qlk_bf16_to_f32(qlk_load16(src, i));
}

static void qlk_cvt_f16_f32_neon(const float *src, size_t n, void *dst)
{
  size_t i = 0;
  for (; i + 4 <= n; i += 4)
    store4x16(dst, i, vreinterpret_u16_f16(vcvt_f16_f32(vld1q_f32(src + i))));
  for (; i < n; i++)
    qlk_store16(dst, i, qlk_f32_to_f16(src[i]));
}

static uint16x4_t narrow_bf16(float32x4_t f)
{
  const uint32x4_t u = vreinterpretq_u32_f32(f);
  const uint32x4_t odd = vandq_u32(vshrq_n_u32(u, 16), vdupq_n_u32(1));
  const uint32x4_t near = vaddq_u32(vaddq_u32(u, vdupq_n_u32(0x7fff)), odd);
  const uint32x4_t quiet = vorrq_u32(u, vdupq_n_u32(0x400000));
  return vshrn_n_u32(vbslq_u32(vceqq_f32(f, f), near, quiet), 16);
}

static void qlk_cvt_bf16_f32_neon(const float *src, size_t n, void *dst)
{
  size_t i = 0;
  for (; i + 4 <= n; i += 4)
    store4x16(dst, i, narrow_bf16(vld1q_f32(src + i)));
  for (; i < n; i++)
    qlk_store16(dst, i, qlk_f32_to_bf16(src[i]));
}

static void qlk_dequant_f32_u8_neon(const uint8_t *codes, size_t n, float scale, int32_t zero,
                                    float *dst)
{
  const int16x8_t z = vdupq_n_s16((int16_t)zero);
  size_t i = 0;
  for (; i + 8 <= n; i += 8) {
    const int16x8_t d = vsubq_s16(vreinterpretq_s16_u16(vmovl_u8(vld1_u8(codes + i))), z);
    const float32x4_t lo = vcvtq_f32_s32(vmovl_s16(vget_low_s16(d)));
    const float32x4_t hi = vcvtq_f32_s32(vmovl_high_s16(d));
    vst1q_f32(dst + i, vmulq_n_f32(lo, scale));
    vst1q_f32(dst + i + 4, vmulq_n_f32(hi, scale));
  }
  for (; i < n; i++)
    dst[i] = scale * (float)((int32_t)codes[i] - zero);
}

static uint32_t qlk_sum_u8_neon(const uint8_t *codes, size_t n)
{
  uint32x4_t sums = vdupq_n_u32(0);
  size_t i = 0;
  for (; i + 16 <= n; i += 16)
    sums = vpadalq_u16(sums, vpaddlq_u8(vld1q_u8(codes + i)));
  uint32_t sum = vaddvq_u32(sums);
  for (; i < n; i++)
    sum += codes[i];
  return sum;
}

enum { LANES = 8 };
typedef struct {
  float32x4_t low, high;
} vfloat;

static inline vfloat splat(float x)
{
  return (vfloat){vdupq_n_f32(x), vdupq_n_f32(x)};
}

static inline vfloat code_values(const uint8_t *codes)
{
  const uint16x8_t c = vmovl_u8(vld1_u8(codes));
  return (vfloat){vcvtq_f32_u32(vmovl_u16(vget_low_u16(c))),
                  vcvtq_f32_u32(vmovl_u16(vget_high_u16(c)))};
}

static inline vfloat difference(vfloat a, vfloat b)
{
  return (vfloat){vsubq_f32(a.low, b.low), vsubq_f32(a.high, b.high)};
}

static inline vfloat product(vfloat s, vfloat d)
{
  return (vfloat){vmulq_f32(s.low, d.low), vmulq_f32(s.high, d.high)};
}

static inline float32x4_t odd_half(float32x4_t s, float32x4_t d)
{
  const float32x4_t p = vmulq_f32(s, d), error = vfmaq_f32(vnegq_f32(p), s, d);
  const int32x4_t signs = veorq_s32(vreinterpretq_s32_f32(p), vreinterpretq_s32_f32(error));
  /* -1 where the product lies beyond the exact one. */
  const int32x4_t cut = vaddq_s32(vreinterpretq_s32_f32(p), vshrq_n_s32(signs, 31));
  const float32x4_t odd = vreinterpretq_f32_s32(vorrq_s32(cut, vdupq_n_s32(1)));
  return vbslq_f32(vceqzq_f32(error), p, odd);
}

static inline vfloat odd_product(vfloat s, vfloat d)
{
  return (vfloat){odd_half(s.low, d.low), odd_half(s.high, d.high)};
}

static inline void put_values(qlk_dtype type, int stream, vfloat v, unsigned char *dst)
{
  (void)stream;
  if (type == QLK_F32) {
    vst1q_f32((float *)(void *)dst, v.low);
    vst1q_f32((float *)(void *)dst + 4, v.high);
  } else if (type == QLK_F16) {
    const float16x4_t low = vcvt_f16_f32(v.low);
    vst1q_u8(dst, vreinterpretq_u8_f16(vcvt_high_f16_f32(low, v.high)));
  } else {
    vst1q_u8(dst, vreinterpretq_u8_u16(vcombine_u16(narrow_bf16(v.low), narrow_bf16(v.high))));
  }
}

static inline void fence(void)
{
}

#include "qlk_dequant_body.h"

static void qlk_rows_f32_neon(const qlk_coded *row, int flags, void *dst)
{
  dequant_row(row, QLK_F32, flags & QLK_STREAM, dst);
}

static void qlk_rows_f16_neon(const qlk_coded *row, int flags, void *dst)
{
  dequant_row(row, QLK_F16, flags, dst);
}

static void qlk_rows_bf16_neon(const qlk_coded *row, int flags, void *dst)
{
  dequant_row(row, QLK_BF16, flags, dst);
}

void qlk_fill_exact_neon(qlk_exact *t)
{
  t->f16_to_f32 = qlk_cvt_f32_f16_neon;
  t->bf16_to_f32 = qlk_cvt_f32_bf16_neon;
  t->f32_to_f16 = qlk_cvt_f16_f32_neon;
  t->f32_to_bf16 = qlk_cvt_bf16_f32_neon;
  t->dequant = qlk_dequant_f32_u8_neon;
  t->sum = qlk_sum_u8_neon;
  t->rows_f32 = qlk_rows_f32_neon;
  t->rows_f16 = qlk_rows_f16_neon;
  t->rows_bf16 = qlk_rows_bf16_neon;
}
