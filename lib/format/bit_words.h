/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef QLI_FORMAT_BIT_WORDS_H
#define QLI_FORMAT_BIT_WORDS_H

#include <stddef.h>
#include <stdint.h>

/* Codes of b bits as one stream of bits, low bits first, cut into 32-bit words. A unit is the
 * smallest number of codes that fills whole words: 32 / b codes in one word for 2, 4 and 8 bits,
 * 32 codes in three words for 3 bits, where two of the codes straddle words. */

static inline size_t qli_unit_codes(int32_t bits)
{
  return bits == 3 ? 32 : (size_t)(32 / bits);
}

static inline size_t qli_unit_words(int32_t bits)
{
  return bits == 3 ? 3 : 1;
}

enum { QLI_UNIT_MAX_WORDS = 3 };

/* The words of one unit of codes that lie stride apart. */
static inline void qli_unit_pack(int32_t bits, const uint8_t *codes, size_t stride, uint32_t *words)
{
  const size_t n = qli_unit_codes(bits);
  uint64_t stream = 0;
  int32_t filled = 0;
  for (size_t i = 0; i < n; i++) {
    stream |= (uint64_t)codes[i * stride] << filled;
    filled += bits;
    if (filled >= 32) {
      *words++ = (uint32_t)stream;
      stream >>= 32;
      filled -= 32;
    }
  }
}

static inline void qli_unit_unpack(int32_t bits, const uint32_t *words, uint8_t *codes,
                                   size_t stride)
{
  const size_t n = qli_unit_codes(bits);
  const uint32_t mask = (1u << bits) - 1u;
  uint64_t stream = 0;
  int32_t left = 0;
  for (size_t i = 0; i < n; i++) {
    if (left < bits) {
      stream |= (uint64_t)*words++ << left;
      left += 32;
    }
    codes[i * stride] = (uint8_t)(stream & mask);
    stream >>= bits;
    left -= bits;
  }
}

#endif
