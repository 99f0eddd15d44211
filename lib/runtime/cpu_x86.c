/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#include "cpu.h"

#if defined(__x86_64__) || defined(__i386__)

#include <cpuid.h>

typedef struct {
  uint32_t eax, ebx, ecx, edx;
} leaf;

static leaf read_leaf(uint32_t number, uint32_t sub)
{
  leaf l = {0, 0, 0, 0};
  __get_cpuid_count(number, sub, &l.eax, &l.ebx, &l.ecx, &l.edx);
  return l;
}

/* XCR0 as the operating system set it: which registers it saves. xgetbv by its bytes, because the
 * intrinsic would need a target flag. */
static uint64_t read_xcr0(void)
{
  uint32_t low, high;
  __asm__ __volatile__(".byte 0x0f, 0x01, 0xd0" : "=a"(low), "=d"(high) : "c"(0));
  return (uint64_t)high << 32 | low;
}

static int has(uint32_t word, uint32_t bits)
{
  return (word & bits) == bits;
}

uint32_t qli_cpu_x86(void)
{
  enum { XMM_YMM = 0x06, OPMASK_ZMM = 0xe0 };
  const uint32_t osxsave = 1u << 27, avx = 1u << 28, fma = 1u << 12, f16c = 1u << 29;
  const uint32_t avx2 = 1u << 5, bmi2 = 1u << 8;
  const uint32_t avx512 = 1u << 16 | 1u << 17 | 1u << 30 | 1u << 31; /* F DQ BW VL */
  const leaf one = read_leaf(1, 0), seven = read_leaf(7, 0), more = read_leaf(7, 1);
  uint32_t features = 0;
  if (!has(one.ecx, osxsave | avx))
    return 0;
  const uint64_t xcr0 = read_xcr0();
  if ((xcr0 & XMM_YMM) != XMM_YMM || !has(one.ecx, fma | f16c) || !has(seven.ebx, avx2 | bmi2))
    return 0;
  features |= QLI_CPU_AVX2;
  if (has(more.eax, 1u << 4))
    features |= QLI_CPU_AVXVNNI;
  if ((xcr0 & OPMASK_ZMM) != OPMASK_ZMM || !has(seven.ebx, avx512))
    return features;
  features |= QLI_CPU_AVX512;
  if (has(seven.ecx, 1u << 11))
    features |= QLI_CPU_AVX512VNNI;
  if (has(more.eax, 1u << 5))
    features |= QLI_CPU_AVX512BF16;
  if (has(seven.edx, 1u << 23))
    features |= QLI_CPU_AVX512FP16;
  return features;
}

#else

uint32_t qli_cpu_x86(void)
{
  return 0;
}

#endif
