/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#include "cpu.h"

#if defined(__aarch64__) && defined(__linux__)

#include <sys/auxv.h>

uint32_t qli_cpu_arm(void)
{
  /* Bits of the kernel's hwcaps for arm64. Advanced SIMD is part of the architecture. */
  const unsigned long asimddp = 1ul << 20, i8mm = 1ul << 13;
  uint32_t features = QLI_CPU_NEON;
  if (getauxval(AT_HWCAP) & asimddp)
    features |= QLI_CPU_NEONDOT;
  if (getauxval(AT_HWCAP2) & i8mm)
    features |= QLI_CPU_NEONI8MM;
  return features;
}

#elif defined(__aarch64__)

uint32_t qli_cpu_arm(void)
{
  return QLI_CPU_NEON;
}

#else

uint32_t qli_cpu_arm(void)
{
  return 0;
}

#endif
