/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#include "cpu.h"

#if defined(__aarch64__) && defined(__linux__)

#include <sys/auxv.h>

uint32_t qli_cpu_arm(const qli_cpu_need *need)
{
  return need->source == QLI_HWCAP    ? (uint32_t)getauxval(AT_HWCAP)
         : need->source == QLI_HWCAP2 ? (uint32_t)getauxval(AT_HWCAP2)
                                      : 0;
}

#else

uint32_t qli_cpu_arm(const qli_cpu_need *need)
{
  (void)need;
  return 0;
}

#endif
