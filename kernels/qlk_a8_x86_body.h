/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef QLK_A8_X86_BODY_H
#define QLK_A8_X86_BODY_H

#include "qlk_a8_body.h"

#include <immintrin.h>

/* The integer core of every x86 level. The file that includes this has defined
 *
 *   QLK_VECTOR        bits of a vector, 256 or 512; a panel is two vectors of columns wide
 *   MR                rows of digits whose sums stay in registers: 12 with 32 registers, 4 with 16
 *   add_dot(a, w, x)  a + the dot product of the four bytes w (codes) and x (digits) in each 32
 * bits
 *
 * and, where there is no such instruction, QLK_PAIRS 1: then products of codes of at most 4 bits
 * are added in pairs in 16 bits as long as they fit, and add_dot is for codes of 8 bits. QLK_SIGNED
 * 1: add_dot gets these less 128. */

#if QLK_VECTOR == 512
enum { LANES = 16 };
typedef __m512i ints;
typedef __m512 floats;
#define MM(name) _mm512_##name
#define SI(name) _mm512_##name##_si512
#else
enum { LANES = 8 };
typedef __m256i ints;
typedef __m256 floats;
#define MM(name) _mm256_##name
#define SI(name) _mm256_##name##_si256
#endif

/* The type that the compiler's intrinsics give to a constant. */
#if QLK_VECTOR == 512 && defined(__clang__)
typedef unsigned shift_count;
#else
typedef int shift_count;
#endif

enum { NR = 2 * LANES };

#define ALWAYS static inline __attribute__((always_inline))

static ints add_dot(ints acc, ints codes, ints digits);

#ifndef QLK_PAIRS
#define QLK_PAIRS 0
#endif
#ifndef QLK_SIGNED
#define QLK_SIGNED 0
#endif

ALWAYS ints load_ints(const void *p)
{
  return SI(loadu)((const ints *)p);
}

ALWAYS ints four_digits(const int8_t *x)
{
  int32_t four;
  memcpy(&four, x, sizeof four);
  return MM(set1_epi32)(four);
}

ALWAYS ints load_zeros(const int16_t *p)
{
#if QLK_VECTOR == 512
  return _mm512_cvtepi16_epi32(_mm256_loadu_si256((const __m256i *)(const void *)p));
#else
  return _mm256_cvtepi16_epi32(_mm_loadu_si128((const __m128i *)(const void *)p));
#endif
}

/* Elements at, at + 1, ... as f32. */
ALWAYS floats load_elements(qlk_dtype type, const unsigned char *elements, size_t at)
{
  const unsigned char *p = elements + at * (type == QLK_F32 ? 4 : 2);
  if (type == QLK_F32)
    return MM(loadu_ps)((const float *)(const void *)p);
#if QLK_VECTOR == 512
  const __m256i h = _mm256_loadu_si256((const __m256i *)(const void *)p);
  return type == QLK_F16 ? _mm512_cvtph_ps(h)
                         : _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(h), 16));
#else
  const __m128i h = _mm_loadu_si128((const __m128i *)(const void *)p);
  return type == QLK_F16 ? _mm256_cvtph_ps(h)
                         : _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(h), 16));
#endif
}

/* Codes of four bits that stand for whole numbers of a table: a byte shuffle makes codes of eight
 * bits of them, the number plus 128, and from there they are like those. */
enum { LEVELS = 16 };

/* Bits of a code in a panel, and of what is multiplied. */
ALWAYS int width_of(const int bits)
{
  return bits % LEVELS;
}

ALWAYS int wide_of(const int bits)
{
  return bits >= LEVELS ? 8 : bits;
}

ALWAYS size_t kr_of(const int bits)
{
  return width_of(bits) == 3 ? 32 : 32 / (size_t)width_of(bits);
}

ALWAYS size_t chunk_bytes_of(const int bits)
{
  return (width_of(bits) == 3 ? 12 : 4) * (size_t)NR;
}

/* The bytes of the table, less 128 where the codes of eight bits are. */
ALWAYS ints load_table(const int bits, const qlk_weights *w)
{
  if (bits < LEVELS)
    return SI(setzero)();
  const __m128i bytes = _mm_loadu_si128((const __m128i *)(const void *)w->numbers);
#if QLK_VECTOR == 512
  const ints all = _mm512_broadcast_i32x4(bytes);
#else
  const ints all = _mm256_broadcastsi128_si256(bytes);
#endif
  return QLK_SIGNED ? SI(xor)(all, MM(set1_epi8)(-128)) : all;
}

/* Loops over rows have to vanish, or the compilers keep the sums in memory around them. */
#if defined(__clang__)
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 12")
#endif

/* The corrections by zero points are where the sums of a group begin. */
ALWAYS void begin_group(const int bits, const size_t rows, const qlk_weights *w, size_t at,
                        size_t group, const qlk_a8_rows *x, ints acc[][2])
{
  /* What the codes that are multiplied lack. */
  const int wide = wide_of(bits);
  const int32_t offset = wide == 8 && QLK_SIGNED ? 128 : 0;
  const int32_t *sums = x->sums + group;
  if (w->zeros == NULL) {
    const int32_t zero = (w->fzeros != NULL ? 0 : 1 << (wide - 1)) - offset;
    UNROLL
    for (size_t r = 0; r < rows; r++) {
      const uint32_t correction = (uint32_t)zero * (uint32_t)sums[r * w->groups];
      acc[r][0] = acc[r][1] = MM(set1_epi32)((int32_t)(0u - correction));
    }
  } else {
    const ints plain = MM(set1_epi32)(offset);
    const ints z0 = MM(sub_epi32)(plain, load_zeros(w->zeros + at));
    const ints z1 = MM(sub_epi32)(plain, load_zeros(w->zeros + at + LANES));
    UNROLL
    for (size_t r = 0; r < rows; r++) {
      const ints sum = MM(set1_epi32)(sums[r * w->groups]);
      acc[r][0] = MM(mullo_epi32)(z0, sum);
      acc[r][1] = MM(mullo_epi32)(z1, sum);
    }
  }
  if (x->zeros == NULL)
    return;
  const ints w0 = load_ints(w->sums + at), w1 = load_ints(w->sums + at + LANES);
  UNROLL
  for (size_t r = 0; r < rows; r++) {
    const ints zero = MM(set1_epi32)(x->zeros[r]);
    acc[r][0] = MM(sub_epi32)(acc[r][0], MM(mullo_epi32)(w0, zero));
    acc[r][1] = MM(sub_epi32)(acc[r][1], MM(mullo_epi32)(w1, zero));
  }
}

/* Bytes 4 b + part of the codes of a chunk, for b = 0 .. 3, of one vector of columns. The words of
 * three bits have a third of them behind the other two. */
ALWAYS ints cut(const int bits, const unsigned char *chunk, const size_t part, const ints table)
{
  if (bits == 8)
    return QLK_SIGNED ? SI(xor)(load_ints(chunk), MM(set1_epi8)(-128)) : load_ints(chunk);
  const ints mask = MM(set1_epi8)((char)(width_of(bits) == 4 ? 15 : 3));
  const size_t half = bits == 3 ? part / 4 : 0, quarter = bits == 3 ? part % 4 : part;
  const unsigned shift = (unsigned)(quarter * (width_of(bits) == 4 ? 4 : 2));
  ints low = load_ints(chunk + half * 4 * NR);
  if (shift != 0)
    low = MM(srli_epi16)(low, (shift_count)shift);
  low = SI(and)(low, mask);
  if (bits >= LEVELS)
    return MM(shuffle_epi8)(table, low);
  if (bits != 3)
    return low;
  const unsigned place = (unsigned)(quarter + 4 * half);
  ints third = load_ints(chunk + 8 * NR);
  third = place < 2 ? MM(slli_epi16)(third, (shift_count)(2 - place))
                    : MM(srli_epi16)(third, (shift_count)(place - 2));
  return SI(or)(low, SI(and)(third, MM(set1_epi8)(4)));
}

/* In 32 bits, or in pairs in 16. */
ALWAYS ints add_four(const int bits, ints acc, ints codes, ints digits)
{
  if (QLK_PAIRS && wide_of(bits) < 8)
    return MM(add_epi16)(acc, MM(maddubs_epi16)(codes, digits));
  return add_dot(acc, codes, digits);
}

ALWAYS void add_part(const int bits, const size_t rows, const unsigned char *chunk, const int8_t *x,
                     const size_t part, const ints table, ints acc[][2])
{
  const ints w0 = cut(bits, chunk, part, table);
  const ints w1 = cut(bits, chunk + 4 * LANES, part, table);
  UNROLL
  for (size_t r = 0; r < rows; r++) {
    const ints digits = four_digits(x + r * kr_of(bits) + 4 * part);
    acc[r][0] = add_four(bits, acc[r][0], w0, digits);
    acc[r][1] = add_four(bits, acc[r][1], w1, digits);
  }
}

/* Written out, because shifts are part of the instruction. Parts take turns between two sets of
 * sums, which may be one. */
ALWAYS void add_chunk(const int bits, const size_t rows, const unsigned char *chunk,
                      const int8_t *x, const ints table, ints even[][2], ints odd[][2])
{
  add_part(bits, rows, chunk, x, 0, table, even);
  if (bits != 8)
    add_part(bits, rows, chunk, x, 1, table, odd);
  if (width_of(bits) < 4) {
    add_part(bits, rows, chunk, x, 2, table, even);
    add_part(bits, rows, chunk, x, 3, table, odd);
  }
  if (bits == 3) {
    add_part(bits, rows, chunk, x, 4, table, even);
    add_part(bits, rows, chunk, x, 5, table, odd);
    add_part(bits, rows, chunk, x, 6, table, even);
    add_part(bits, rows, chunk, x, 7, table, odd);
  }
}

/* Few rows wait for memory: lines are asked for this many bytes ahead. One or two rows also wait
 * for their own sums, where a dot product takes several cycles: they get twice as many. */
enum { AHEAD = 8192, FEW_ROWS = 4, TWICE_ROWS = QLK_PAIRS ? 0 : 2 };

ALWAYS void add_chunks(const int bits, const size_t rows, const size_t tile_rows, size_t count,
                       const unsigned char *chunk, const int8_t *digits, const ints table,
                       ints acc[][2])
{
  const size_t kr = kr_of(bits), bytes = chunk_bytes_of(bits);
  ints more[MR][2];
  UNROLL
  for (size_t r = 0; r < rows; r++)
    more[r][0] = more[r][1] = SI(setzero)();
  for (; count > 0; count--, chunk += bytes, digits += kr * tile_rows) {
    if (rows <= FEW_ROWS)
      for (size_t line = 0; line < bytes; line += 64)
        _mm_prefetch((const char *)chunk + AHEAD + line, _MM_HINT_T0);
    if (rows <= TWICE_ROWS)
      add_chunk(bits, rows, chunk, digits, table, acc, more);
    else
      add_chunk(bits, rows, chunk, digits, table, acc, acc);
  }
  UNROLL
  for (size_t r = 0; rows <= TWICE_ROWS && r < rows; r++) {
    acc[r][0] = MM(add_epi32)(acc[r][0], more[r][0]);
    acc[r][1] = MM(add_epi32)(acc[r][1], more[r][1]);
  }
}

/* Chunks whose products fit 16 bits when they are added in pairs: 2 * 127 * 15 * 8, with 2 parts to
 * a chunk; 2 * 127 * 7 * 16 with 8; 2 * 127 * 3 * 40 with 4. */
ALWAYS size_t short_chunks(const int bits)
{
  return bits == 4 ? 4 : bits == 3 ? 2 : 10;
}

/* acc = the corrected sums of one group. x: the first of `rows` rows of digits of a tile that has
 * tile_rows of them. */
ALWAYS void sum_group(const int bits, const size_t rows, const size_t tile_rows,
                      const qlk_weights *w, size_t panel, size_t group, const qlk_a8_rows *x,
                      ints acc[][2])
{
  const size_t kr = kr_of(bits), bytes = chunk_bytes_of(bits);
  const size_t first = group > 0 ? w->ends[group - 1] : 0;
  const unsigned char *chunk = w->codes + panel * w->code_stride + first / kr * bytes;
  const int8_t *digits = x->digits + first * tile_rows;
  begin_group(bits, rows, w, panel * w->scale_stride + group * NR, group, x, acc);
  const ints table = load_table(bits, w);
  size_t left = (w->ends[group] - first) / kr;
  if (!QLK_PAIRS || wide_of(bits) == 8) {
    add_chunks(bits, rows, tile_rows, left, chunk, digits, table, acc);
    return;
  }
  while (left > 0) {
    const size_t n = left < short_chunks(bits) ? left : short_chunks(bits);
    ints pairs[MR][2];
    UNROLL
    for (size_t r = 0; r < rows; r++)
      pairs[r][0] = pairs[r][1] = SI(setzero)();
    add_chunks(bits, rows, tile_rows, n, chunk, digits, table, pairs);
    UNROLL
    for (size_t r = 0; r < rows; r++) {
      acc[r][0] = MM(add_epi32)(acc[r][0], MM(madd_epi16)(pairs[r][0], MM(set1_epi16)(1)));
      acc[r][1] = MM(add_epi32)(acc[r][1], MM(madd_epi16)(pairs[r][1], MM(set1_epi16)(1)));
    }
    chunk += n * bytes;
    digits += n * kr * tile_rows;
    left -= n;
  }
}

/* The number of one or two rows of digits. */
ALWAYS floats join(const size_t digits, ints acc[][2], size_t v)
{
  const floats high = MM(cvtepi32_ps)(acc[0][v]);
  if (digits == 1)
    return high;
  return MM(add_ps)(MM(mul_ps)(MM(set1_ps)(255.0f), high), MM(cvtepi32_ps)(acc[1][v]));
}

ALWAYS float join_sums(const size_t digits, const int32_t *sums, size_t groups)
{
  return digits == 1 ? (float)sums[0] : 255.0f * (float)sums[0] + (float)sums[groups];
}

/* y += s * value, one vector of columns. */
ALWAYS void add_scaled(floats s, floats value, float *y)
{
  MM(storeu_ps)(y, MM(add_ps)(MM(loadu_ps)(y), MM(mul_ps)(s, value)));
}

ALWAYS void add_group(const int bits, const size_t digits, const size_t rows, const qlk_weights *w,
                      size_t at, size_t group, const qlk_a8_rows *x, ints acc[][2], float *y,
                      size_t ldy)
{
  floats s0 = load_elements(w->scale_type, w->scales, at);
  floats s1 = load_elements(w->scale_type, w->scales, at + LANES);
  if (bits >= LEVELS) {
    s0 = MM(mul_ps)(MM(set1_ps)(w->unit), s0);
    s1 = MM(mul_ps)(MM(set1_ps)(w->unit), s1);
  }
  if (w->fzeros == NULL && x->scales == NULL) {
    UNROLL
    for (size_t i = 0; i * digits < rows; i++) {
      add_scaled(s0, join(digits, acc + i * digits, 0), y + i * ldy);
      add_scaled(s1, join(digits, acc + i * digits, 1), y + i * ldy + LANES);
    }
  } else if (w->fzeros == NULL) {
    UNROLL
    for (size_t i = 0; i * digits < rows; i++) {
      const floats s = MM(set1_ps)(x->scales[i * w->groups + group]);
      add_scaled(MM(mul_ps)(s0, s), join(digits, acc + i * digits, 0), y + i * ldy);
      add_scaled(MM(mul_ps)(s1, s), join(digits, acc + i * digits, 1), y + i * ldy + LANES);
    }
  } else {
    const floats z0 = load_elements(w->scale_type, w->fzeros, at);
    const floats z1 = load_elements(w->scale_type, w->fzeros, at + LANES);
    UNROLL
    for (size_t i = 0; i * digits < rows; i++) {
      const floats s = MM(set1_ps)(x->scales != NULL ? x->scales[i * w->groups + group] : 1.0f);
      const floats sum =
          MM(set1_ps)(join_sums(digits, x->sums + i * digits * w->groups + group, w->groups));
      const floats v0 = MM(sub_ps)(join(digits, acc + i * digits, 0), MM(mul_ps)(z0, sum));
      const floats v1 = MM(sub_ps)(join(digits, acc + i * digits, 1), MM(mul_ps)(z1, sum));
      add_scaled(MM(mul_ps)(s0, s), v0, y + i * ldy);
      add_scaled(MM(mul_ps)(s1, s), v1, y + i * ldy + LANES);
    }
  }
}

/* The rows of digits from `first` on of a tile. */
ALWAYS qlk_a8_rows rows_from(const int bits, const size_t digits, const qlk_weights *w,
                             const qlk_a8_rows *x, size_t first)
{
  const size_t i = first / digits;
  const qlk_a8_rows rows = {x->digits + first * kr_of(bits), x->sums + first * w->groups,
                            x->scales != NULL ? x->scales + i * w->groups : NULL,
                            x->zeros != NULL ? x->zeros + i : NULL};
  return rows;
}

ALWAYS void gemm_rows(const int bits, const size_t digits, const size_t rows, size_t tile_rows,
                      size_t first, const qlk_weights *w, size_t panel, size_t group, size_t end,
                      const qlk_a8_rows *tile, float *y, size_t ldy)
{
  const qlk_a8_rows x = rows_from(bits, digits, w, tile, first);
  for (y += first / digits * ldy; group < end; group++) {
    ints acc[MR][2];
    sum_group(bits, rows, tile_rows, w, panel, group, &x, acc);
    add_group(bits, digits, rows, w, panel * w->scale_stride + group * NR, group, &x, acc, y, ldy);
  }
}

/* rows is a constant in each call, so that the sums stay in registers. */
#define QLK_TAKE(rows) \
  for (; (rows) <= MR && (rows) % digits == 0 && total - first >= (rows); first += (rows)) \
    gemm_rows(bits, digits, (rows) <= MR ? (rows) : MR, total, first, w, panel, group, end, x, y, \
              ldy);

/* Other numbers of rows take two or three steps, no longer than the next larger one. */
ALWAYS void gemm(const int bits, const size_t digits, const qlk_weights *w, size_t panel,
                 size_t group, size_t end, size_t m, const qlk_a8_rows *x, float *y, size_t ldy)
{
  const size_t total = m * digits;
  size_t first = 0;
  QLK_TAKE(12)
  QLK_TAKE(8)
  QLK_TAKE(6)
  QLK_TAKE(4)
  QLK_TAKE(3)
  QLK_TAKE(2)
  QLK_TAKE(1)
}

#undef QLK_TAKE

ALWAYS void gemm_width(const int bits, const size_t digits, const qlk_weights *w, size_t panel,
                       size_t group, size_t end, size_t m, const qlk_a8_rows *x, float *y,
                       size_t ldy)
{
  if (bits == 4 && w->numbers != NULL)
    gemm(4 | LEVELS, digits, w, panel, group, end, m, x, y, ldy);
  else
    gemm(bits, digits, w, panel, group, end, m, x, y, ldy);
}

ALWAYS void integers(const int bits, const qlk_weights *w, size_t panel, size_t group, size_t m,
                     const qlk_a8_rows *x, int32_t *out, size_t ldo)
{
  for (size_t i = 0; i < m; i++) {
    const qlk_a8_rows row = rows_from(bits, 1, w, x, i);
    ints acc[1][2];
    sum_group(bits, 1, m, w, panel, group, &row, acc);
    for (size_t v = 0; v < 2; v++)
      SI(storeu)((ints *)(void *)(out + i * ldo + v * LANES), acc[0][v]);
  }
}

#endif
