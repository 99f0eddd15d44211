/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#include "qbench_internal.h"
#include "qbench_loops.h"

#if defined(__x86_64__)
#include <cpuid.h>
#include <immintrin.h>
#include <string.h>

/* Independent chains hide the latency of every processor of today; with the constants they fit the
 * registers, and the compiler unrolls so many completely. */
enum { WIDE = 16, NARROW = 12 };

#define CHAINS(VECTOR, COUNT, START, STEP) \
  VECTOR acc[COUNT]; \
  for (int i = 0; i < COUNT; i++) \
    acc[i] = START; \
  for (int r = 0; r < QBENCH_ROUNDS; r++) \
    for (int i = 0; i < COUNT; i++) { \
      acc[i] = STEP; \
    } \
  for (int i = 0; i < COUNT; i++) \
  QBENCH_OPAQUE(acc[i])

static double fp32_sse(void)
{
  const __m128 c = _mm_set1_ps(0.999f);
  CHAINS(__m128, NARROW, _mm_set1_ps((float)i), _mm_add_ps(_mm_mul_ps(acc[i], c), c));
  return 2.0 * 4 * NARROW * QBENCH_ROUNDS;
}

static double int8_sse(void)
{
  __m128i a = _mm_set1_epi16(3);
  const __m128i b = _mm_set1_epi16(5);
  CHAINS(__m128i, NARROW, _mm_setzero_si128(), _mm_add_epi32(acc[i], _mm_madd_epi16(a, b));
         QBENCH_OPAQUE_LOW(a));
  return 2.0 * 8 * NARROW * QBENCH_ROUNDS;
}

__attribute__((target("avx2,fma"))) static double fp32_avx2(void)
{
  const __m256 c = _mm256_set1_ps(0.999f);
  CHAINS(__m256, NARROW, _mm256_set1_ps((float)i), _mm256_fmadd_ps(acc[i], c, c));
  return 2.0 * 8 * NARROW * QBENCH_ROUNDS;
}

__attribute__((target("avx2"))) static double int8_avx2(void)
{
  __m256i a = _mm256_set1_epi8(3);
  const __m256i b = _mm256_set1_epi8(5), one = _mm256_set1_epi16(1);
  CHAINS(__m256i, NARROW, _mm256_setzero_si256(),
         _mm256_add_epi32(acc[i], _mm256_madd_epi16(_mm256_maddubs_epi16(a, b), one));
         QBENCH_OPAQUE_LOW(a));
  return 2.0 * 32 * NARROW * QBENCH_ROUNDS;
}

__attribute__((target("avx2,avxvnni"))) static double int8_avxvnni(void)
{
  const __m256i a = _mm256_set1_epi8(3), b = _mm256_set1_epi8(5);
  CHAINS(__m256i, NARROW, _mm256_setzero_si256(), _mm256_dpbusd_avx_epi32(acc[i], a, b));
  return 2.0 * 32 * NARROW * QBENCH_ROUNDS;
}

__attribute__((target("avx512f"))) static double fp32_avx512(void)
{
  const __m512 c = _mm512_set1_ps(0.999f);
  CHAINS(__m512, WIDE, _mm512_set1_ps((float)i), _mm512_fmadd_ps(acc[i], c, c));
  return 2.0 * 16 * WIDE * QBENCH_ROUNDS;
}

__attribute__((target("avx512f,avx512bw"))) static double int8_avx512(void)
{
  __m512i a = _mm512_set1_epi8(3);
  const __m512i b = _mm512_set1_epi8(5), one = _mm512_set1_epi16(1);
  CHAINS(__m512i, WIDE, _mm512_setzero_si512(),
         _mm512_add_epi32(acc[i], _mm512_madd_epi16(_mm512_maddubs_epi16(a, b), one));
         QBENCH_OPAQUE(a));
  return 2.0 * 64 * WIDE * QBENCH_ROUNDS;
}

__attribute__((target("avx512f,avx512vnni"))) static double int8_avx512vnni(void)
{
  const __m512i a = _mm512_set1_epi8(3), b = _mm512_set1_epi8(5);
  CHAINS(__m512i, WIDE, _mm512_setzero_si512(), _mm512_dpbusd_epi32(acc[i], a, b));
  return 2.0 * 64 * WIDE * QBENCH_ROUNDS;
}

__attribute__((target("avx512f,avx512bf16"))) static double bf16_avx512(void)
{
  const __m512i bits = _mm512_set1_epi16(0x3c00);
  __m512bh a;
  memcpy(&a, &bits, sizeof a);
  CHAINS(__m512, WIDE, _mm512_setzero_ps(), _mm512_dpbf16_ps(acc[i], a, a));
  return 2.0 * 32 * WIDE * QBENCH_ROUNDS;
}

/* In assembly: the intrinsics of half precision need _Float16, which not every compiler has. */
__attribute__((target("avx512f"))) static double fp16_avx512(void)
{
  const __m512i c = _mm512_set1_epi16(0x3bff);
  __m512i acc[WIDE];
  for (int i = 0; i < WIDE; i++)
    acc[i] = _mm512_setzero_si512();
  for (int r = 0; r < QBENCH_ROUNDS; r++)
    for (int i = 0; i < WIDE; i++)
      __asm__ volatile("vfmadd213ph %1, %1, %0" : "+v"(acc[i]) : "v"(c));
  return 2.0 * 32 * WIDE * QBENCH_ROUNDS;
}

static void read_sse(const void *block, size_t bytes, size_t streams)
{
#define LOAD(p) _mm_loadu_si128((const __m128i *)(const void *)(p))
  QBENCH_READ_BODY(__m128i, 16, _mm_setzero_si128(), LOAD, _mm_xor_si128);
#undef LOAD
}

__attribute__((target("avx2"))) static void read_avx2(const void *block, size_t bytes,
                                                      size_t streams)
{
#define LOAD(p) _mm256_loadu_si256((const __m256i *)(const void *)(p))
  QBENCH_READ_BODY(__m256i, 32, _mm256_setzero_si256(), LOAD, _mm256_xor_si256);
#undef LOAD
}

__attribute__((target("avx512f"))) static void read_avx512(const void *block, size_t bytes,
                                                           size_t streams)
{
  QBENCH_READ_BODY(__m512i, 64, _mm512_setzero_si512(), _mm512_loadu_si512, _mm512_xor_si512);
}

static void copy_sse(void *to, const void *from, size_t bytes)
{
  char *t = to;
  const char *f = from;
  for (size_t i = 0; i + 64 <= bytes; i += 64)
    for (size_t j = 0; j < 64; j += 16)
      _mm_stream_si128((__m128i *)(void *)(t + i + j),
                       _mm_loadu_si128((const __m128i *)(const void *)(f + i + j)));
  _mm_sfence();
}

__attribute__((target("avx2"))) static void copy_avx2(void *to, const void *from, size_t bytes)
{
  char *t = to;
  const char *f = from;
  for (size_t i = 0; i + 64 <= bytes; i += 64)
    for (size_t j = 0; j < 64; j += 32)
      _mm256_stream_si256((__m256i *)(void *)(t + i + j),
                          _mm256_loadu_si256((const __m256i *)(const void *)(f + i + j)));
  _mm_sfence();
}

/* Bits of leaf 7, subleaf 1, EAX, and of subleaf 0, EDX. */
enum { AVXVNNI = 1 << 4, BF16 = 1 << 5, FP16 = 1 << 23 };

static unsigned leaf7(unsigned subleaf, int edx)
{
  unsigned a = 0, b = 0, c = 0, d = 0;
  if (!__get_cpuid_count(7, subleaf, &a, &b, &c, &d))
    return 0;
  return edx ? d : a;
}

/* How far up the tree a level is, for the loops that it may use. One that is not known here may use
 * all that the processor has. */
enum { BASE, AVX2_LEVEL, AVXVNNI_LEVEL, AVX512_LEVEL, ALL_LEVELS };

static int level_of(const char *isa)
{
  static const char *const names[] = {"scalar", "avx2", "avxvnni", "avx512"};
  for (int i = 0; i < ALL_LEVELS; i++)
    if (strcmp(isa, names[i]) == 0)
      return i;
  return __builtin_cpu_supports("avx512bw") ? ALL_LEVELS
         : __builtin_cpu_supports("avx2")   ? AVX2_LEVEL
                                            : BASE;
}

void qbench_loops(const char *isa, qbench_loop *loops)
{
  const int level = level_of(isa), wide = level >= AVX512_LEVEL, avx2 = level >= AVX2_LEVEL;
  size_t n = 0;
  loops[n++] = (qbench_loop){QBENCH_FP32_FMA, wide ? fp32_avx512 : avx2 ? fp32_avx2 : fp32_sse};
  loops[n++] = (qbench_loop){QBENCH_INT8_DOT, wide ? int8_avx512 : avx2 ? int8_avx2 : int8_sse};
  if (level == AVXVNNI_LEVEL && leaf7(1, 0) & AVXVNNI)
    loops[n++] = (qbench_loop){QBENCH_INT8_DOT, int8_avxvnni};
  if (level == ALL_LEVELS) {
    if (__builtin_cpu_supports("avx512vnni"))
      loops[n++] = (qbench_loop){QBENCH_INT8_DOT, int8_avx512vnni};
    if (leaf7(1, 0) & BF16)
      loops[n++] = (qbench_loop){QBENCH_BF16_DOT, bf16_avx512};
    if (leaf7(0, 1) & FP16)
      loops[n++] = (qbench_loop){QBENCH_FP16_FMA, fp16_avx512};
  }
  loops[n].run = NULL;
}

void qbench_memory_loops(const char *isa, qbench_memory *memory)
{
  const int level = level_of(isa);
  memory->read = level >= AVX512_LEVEL ? read_avx512 : level >= AVX2_LEVEL ? read_avx2 : read_sse;
  memory->copy = level >= AVX2_LEVEL ? copy_avx2 : copy_sse;
}
#else
typedef int qbench_no_x86;
#endif
