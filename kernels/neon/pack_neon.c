/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#if !defined(__ARM_NEON)
#error "this file needs Neon"
#endif

#include "qlk_gemm.h"

#include <arm_neon.h>
#include <string.h>

enum { WORDS = 4 };
typedef uint32x4_t words;

static inline void put(unsigned char *to, uint32x4_t v)
{
  vst1q_u8(to, vreinterpretq_u8_u32(v));
}

static inline uint32x4_t words_1(const unsigned char *codes)
{
  return vreinterpretq_u32_u8(vld1q_u8(codes));
}

static inline uint32x4_t words_4(const unsigned char *codes)
{
  const uint8x16x2_t c = vld2q_u8(codes);
  const uint8x16_t low = vandq_u8(c.val[0], vdupq_n_u8(15));
  return vreinterpretq_u32_u8(vsliq_n_u8(low, c.val[1], 4));
}

static inline uint32x4_t words_2(const unsigned char *codes)
{
  const uint8x16x4_t c = vld4q_u8(codes);
  uint8x16_t v = vandq_u8(c.val[0], vdupq_n_u8(3));
  v = vorrq_u8(v, vshlq_n_u8(vandq_u8(c.val[1], vdupq_n_u8(3)), 2));
  v = vorrq_u8(v, vshlq_n_u8(vandq_u8(c.val[2], vdupq_n_u8(3)), 4));
  return vreinterpretq_u32_u8(vsliq_n_u8(v, c.val[3], 6));
}

/* The third bits of four codes in each byte: of the first and the second half of two chunks. */
static inline uint32x4_t third_quads(const unsigned char *codes)
{
  const uint8x16_t mask = vdupq_n_u8(4);
  const uint8x16x4_t c = vld4q_u8(codes);
  uint8x16_t v = vshrq_n_u8(vandq_u8(c.val[0], mask), 2);
  v = vorrq_u8(v, vshrq_n_u8(vandq_u8(c.val[1], mask), 1));
  v = vorrq_u8(v, vandq_u8(c.val[2], mask));
  return vreinterpretq_u32_u8(vorrq_u8(v, vshlq_n_u8(vandq_u8(c.val[3], mask), 1)));
}

static inline uint32x4_t words_third(const unsigned char *codes)
{
  const uint32x4_t a = third_quads(codes), b = third_quads(codes + 64);
  return vorrq_u32(vuzp1q_u32(a, b), vshlq_n_u32(vuzp2q_u32(a, b), 4));
}

static inline void transpose(uint32x4_t r[4])
{
  const uint32x4x2_t a = vtrnq_u32(r[0], r[1]), b = vtrnq_u32(r[2], r[3]);
  r[0] = vcombine_u32(vget_low_u32(a.val[0]), vget_low_u32(b.val[0]));
  r[1] = vcombine_u32(vget_low_u32(a.val[1]), vget_low_u32(b.val[1]));
  r[2] = vcombine_u32(vget_high_u32(a.val[0]), vget_high_u32(b.val[0]));
  r[3] = vcombine_u32(vget_high_u32(a.val[1]), vget_high_u32(b.val[1]));
}

static inline void transpose_halves(const unsigned char *from, size_t stride, unsigned char *to,
                                    size_t to_stride)
{
  uint32x4_t low[4], high[4];
  for (size_t i = 0; i < 4; i++) {
    const uint16x8_t a = vreinterpretq_u16_u8(vld1q_u8(from + 2 * i * stride));
    const uint16x8_t b = vreinterpretq_u16_u8(vld1q_u8(from + (2 * i + 1) * stride));
    low[i] = vreinterpretq_u32_u16(vzip1q_u16(a, b));
    high[i] = vreinterpretq_u32_u16(vzip2q_u16(a, b));
  }
  transpose(low);
  transpose(high);
  for (size_t i = 0; i < 4; i++) {
    put(to + i * to_stride, low[i]);
    put(to + (i + 4) * to_stride, high[i]);
  }
}

#include "qlk_pack_body.h"

static void qlk_pack_x16_neon(const unsigned char *rows, size_t stride, size_t nr, size_t k,
                              unsigned char *panel)
{
  pack_halves(rows, stride, nr, k, panel);
}

static void qlk_pack_x32_neon(const unsigned char *rows, size_t stride, size_t nr, size_t k,
                              unsigned char *panel)
{
  pack_words(8, rows, stride, nr, 4 * k, panel);
}

static void qlk_pack_w2_neon(const unsigned char *rows, size_t stride, size_t nr, size_t k,
                             unsigned char *panel)
{
  pack_words(2, rows, stride, nr, k, panel);
}

static void qlk_pack_w3_neon(const unsigned char *rows, size_t stride, size_t nr, size_t k,
                             unsigned char *panel)
{
  pack_w3(rows, stride, nr, k, panel);
}

static void qlk_pack_w4_neon(const unsigned char *rows, size_t stride, size_t nr, size_t k,
                             unsigned char *panel)
{
  pack_words(4, rows, stride, nr, k, panel);
}

static void qlk_pack_w8_neon(const unsigned char *rows, size_t stride, size_t nr, size_t k,
                             unsigned char *panel)
{
  pack_words(8, rows, stride, nr, k, panel);
}

void qlk_fill_pack_neon(qlk_gemm *t)
{
  t->unit[QLK_W_F32].pack = qlk_pack_x32_neon;
  t->unit[QLK_W_F16].pack = qlk_pack_x16_neon;
  t->unit[QLK_W_BF16].pack = qlk_pack_x16_neon;
  t->unit[QLK_W2].pack = qlk_pack_w2_neon;
  t->unit[QLK_W3].pack = qlk_pack_w3_neon;
  t->unit[QLK_W4].pack = qlk_pack_w4_neon;
  t->unit[QLK_W8].pack = qlk_pack_w8_neon;
}
