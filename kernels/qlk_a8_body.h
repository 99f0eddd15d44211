/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef QLK_A8_BODY_H
#define QLK_A8_BODY_H

#include "qlk_a8.h"

#include <string.h>

/* Included once per ISA: plain C that compilers turn into vectors. */

/* Bits of floats that are not negative are ordered like the numbers, as signed integers too; those
 * of negative ones are negative integers, below the 0 that the maximum starts from. */
static void range(const float *x, size_t n, uint32_t *negative, uint32_t *positive)
{
  int32_t below = 0, above = 0;
  for (size_t i = 0; i < n; i++) {
    uint32_t bits;
    memcpy(&bits, x + i, sizeof bits);
    const int32_t up = (int32_t)bits, down = (int32_t)(bits ^ 0x80000000u);
    above = up > above ? up : above;
    below = down > below ? down : below;
  }
  *negative = (uint32_t)below;
  *positive = (uint32_t)above;
}

/* Rounds a number of magnitude up to 2^22 to an integer, ties to even: with 1.5 * 2^23 added it has
 * no bits behind the point. */
static inline float nearest_integer(float v)
{
  const float magic = 0x1.8p23f;
  return (v + magic) - magic;
}

static void quantize(const float *x, size_t n, float scale, int32_t zero, int8_t *codes)
{
  const float low = (float)(-127 - zero), high = (float)(127 - zero);
  for (size_t i = 0; i < n; i++) {
    float v = x[i] / scale;
    v = low > v ? low : v;
    v = high < v ? high : v;
    codes[i] = (int8_t)((int32_t)nearest_integer(v) + zero);
  }
}

/* 255 is odd: q / 255 is at least 1 / 510 away from every tie, far more than the product with the
 * rounded reciprocal is wrong by. */
static void split(const float *x, size_t n, float scale, int8_t *hi, int8_t *lo)
{
  for (size_t i = 0; i < n; i++) {
    float v = x[i] / scale;
    v = -32512.0f > v ? -32512.0f : v;
    v = 32512.0f < v ? 32512.0f : v;
    const float q = nearest_integer(v), h = nearest_integer(q * (1.0f / 255.0f));
    hi[i] = (int8_t)(int32_t)h;
    lo[i] = (int8_t)(int32_t)(q - 255.0f * h);
  }
}

static void arrange_w8(const int8_t *digits, size_t k, size_t rows, int8_t *out)
{
  for (size_t p = 0; p < k; p += 4, out += 4 * rows)
    memcpy(out, digits + p, 4);
}

/* Bytes 0 2 4 6 1 3 5 7 of a word: neighbours change places in two steps. */
static void arrange_w4(const int8_t *digits, size_t k, size_t rows, int8_t *out)
{
  for (size_t p = 0; p < k; p += 8, out += 8 * rows) {
    uint64_t v;
    memcpy(&v, digits + p, sizeof v);
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    uint64_t t = (v ^ v >> 8) & 0x0000ff000000ff00u;
    v ^= t ^ t << 8;
    t = (v ^ v >> 16) & 0x00000000ffff0000u;
    v ^= t ^ t << 16;
    memcpy(out, &v, sizeof v);
#else
    for (size_t i = 0; i < 8; i++)
      out[qlk_a8_place(QLK_W4, i)] = digits[p + i];
#endif
  }
}

static inline void arrange_sixteen(const int8_t *digits, int8_t *out)
{
  for (size_t b = 0; b < 4; b++)
    for (size_t j = 0; j < 4; j++)
      out[4 * j + b] = digits[4 * b + j];
}

static void arrange_w2(const int8_t *digits, size_t k, size_t rows, int8_t *out)
{
  for (size_t p = 0; p < k; p += 16, out += 16 * rows)
    arrange_sixteen(digits + p, out);
}

static void arrange_w3(const int8_t *digits, size_t k, size_t rows, int8_t *out)
{
  for (size_t p = 0; p < k; p += 32, out += 32 * rows) {
    arrange_sixteen(digits + p, out);
    arrange_sixteen(digits + p + 16, out + 16);
  }
}

#endif
