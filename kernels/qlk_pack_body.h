/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */

/* Packing of panels (qlk_gemm.h) in vectors: the codes of a row become 32-bit words in a register,
 * and squares of words are transposed. Included by the sources that supply:
 *
 *   WORDS            32-bit words in a vector, and rows of a square
 *   words            the vector type
 *   words_1, _2, _4  the next WORDS words of a row: of bytes as they are, of 2-bit codes, of 4-bit
 *                    codes. They read WORDS * 4, * 16 and * 8 bytes
 *   words_third      the third bits of WORDS chunks of 32 codes: qlk_third_bit
 *   transpose        a square of WORDS vectors in place
 *   put              stores a vector anywhere
 *   transpose_halves eight rows of eight 16-bit elements: source, its stride, target, its stride
 *
 * What is left over at the right and at the bottom is done word by word. */

/* Bytes of a row that are consumed before the next rows are visited: whole lines of the cache, so
 * that none is fetched twice where the rows lie a multiple of a page apart, and several, for the
 * sake of the memory behind it. */
enum { VISIT = 256, AHEAD = 384 };

static inline uint32_t word_of(uint32_t bits, const unsigned char *codes)
{
  uint32_t word = 0;
  for (uint32_t t = 0; t < 32 / bits; t++)
    word |= ((uint32_t)codes[t] & ((1u << bits) - 1)) << t * bits;
  return word;
}

static inline void put_word(uint32_t bits, const unsigned char *codes, unsigned char *to)
{
  const uint32_t word = word_of(bits, codes);
  for (int i = 0; i < 4; i++)
    to[i] = (unsigned char)(word >> 8 * i);
}

/* Columns j .. end - 1 of chunks c .. chunks - 1. */
static inline void put_words(uint32_t bits, const unsigned char *rows, size_t stride, size_t nr,
                             size_t c, size_t chunks, size_t j, size_t end, unsigned char *panel)
{
  const size_t kr = 32 / bits;
  for (; c < chunks; c++)
    for (size_t i = j; i < end; i++)
      put_word(bits, rows + i * stride + c * kr, panel + (c * nr + i) * 4);
}

static inline words take(uint32_t bits, const unsigned char *codes)
{
  return bits == 8 ? words_1(codes) : bits == 4 ? words_4(codes) : words_2(codes);
}

/* bits: of a code; f32 weights are four bytes like a word of 8-bit codes. */
static inline void pack_words(uint32_t bits, const unsigned char *rows, size_t stride, size_t nr,
                              size_t k, unsigned char *panel)
{
  const size_t kr = 32 / bits, chunks = k / kr, bytes = WORDS * kr;
  const size_t step = bytes < VISIT ? VISIT / kr : WORDS;
  const size_t whole = chunks / step * step, columns = nr / WORDS * WORDS;
  for (size_t c = 0; c < whole; c += step) {
    for (size_t j = 0; j < columns; j += WORDS)
      for (size_t d = c; d < c + step; d += WORDS) {
        words square[WORDS];
        for (size_t i = 0; i < WORDS; i++) {
          const unsigned char *codes = rows + (j + i) * stride + d * kr;
          __builtin_prefetch(codes + AHEAD);
          square[i] = take(bits, codes);
        }
        transpose(square);
        for (size_t t = 0; t < WORDS; t++)
          put(panel + ((d + t) * nr + j) * 4, square[t]);
      }
    put_words(bits, rows, stride, nr, c, c + step, columns, nr, panel);
  }
  put_words(bits, rows, stride, nr, whole, chunks, 0, nr, panel);
}

static inline void put_chunk_w3(const unsigned char *codes, size_t nr, unsigned char *to)
{
  uint32_t word = 0;
  put_word(2, codes, to);
  put_word(2, codes + 16, to + 4 * nr);
  for (uint32_t t = 0; t < 32; t++)
    word |= ((uint32_t)codes[t] >> 2 & 1) << qlk_third_bit(t);
  for (int i = 0; i < 4; i++)
    to[8 * nr + (size_t)i] = (unsigned char)(word >> 8 * i);
}

/* Rows j .. j + WORDS - 1 of WORDS chunks, which lie at codes and go to `to`. */
static inline void pack_square_w3(const unsigned char *codes, size_t stride, size_t nr,
                                  unsigned char *to)
{
  words square[WORDS];
  for (size_t half = 0; half < 2; half++) {
    for (size_t i = 0; i < WORDS; i++) {
      const unsigned char *row = codes + i * stride + half * WORDS * 16;
      __builtin_prefetch(row + AHEAD);
      square[i] = words_2(row);
    }
    transpose(square);
    for (size_t t = 0; t < WORDS; t++)
      put(to + ((half * WORDS + t) / 2 * 3 + t % 2) * nr * 4, square[t]);
  }
  for (size_t i = 0; i < WORDS; i++)
    square[i] = words_third(codes + i * stride);
  transpose(square);
  for (size_t t = 0; t < WORDS; t++)
    put(to + (t * 3 + 2) * nr * 4, square[t]);
}

static inline void pack_w3(const unsigned char *rows, size_t stride, size_t nr, size_t k,
                           unsigned char *panel)
{
  const size_t chunks = k / 32, whole = chunks / WORDS * WORDS, columns = nr / WORDS * WORDS;
  for (size_t c = 0; c < whole; c += WORDS)
    for (size_t j = 0; j < columns; j += WORDS)
      pack_square_w3(rows + j * stride + c * 32, stride, nr, panel + (c * 3 * nr + j) * 4);
  for (size_t c = 0; c < chunks; c++)
    for (size_t j = c < whole ? columns : 0; j < nr; j++)
      put_chunk_w3(rows + j * stride + c * 32, nr, panel + (c * 3 * nr + j) * 4);
}

/* Elements p .. k - 1 of columns j .. end - 1. */
static inline void put_halves(const unsigned char *rows, size_t stride, size_t nr, size_t p,
                              size_t k, size_t j, size_t end, unsigned char *panel)
{
  for (; p < k; p++)
    for (size_t i = j; i < end; i++)
      memcpy(panel + (p * nr + i) * 2, rows + i * stride + p * 2, 2);
}

static inline void pack_halves(const unsigned char *rows, size_t stride, size_t nr, size_t k,
                               unsigned char *panel)
{
  enum { STEP = VISIT / 2 };
  const size_t whole = k / STEP * STEP, columns = nr / 8 * 8;
  for (size_t p = 0; p < whole; p += STEP) {
    for (size_t j = 0; j < columns; j += 8) {
      for (size_t i = j; i < j + 8; i++)
        __builtin_prefetch(rows + i * stride + p * 2 + AHEAD);
      for (size_t q = p; q < p + STEP; q += 8)
        transpose_halves(rows + j * stride + q * 2, stride, panel + (q * nr + j) * 2, nr * 2);
    }
    put_halves(rows, stride, nr, p, p + STEP, columns, nr, panel);
  }
  put_halves(rows, stride, nr, whole, k, 0, nr, panel);
}
