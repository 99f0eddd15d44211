/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#include "cpu.h"

#if defined(__x86_64__) || defined(__i386__)

#include <cpuid.h>

#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

static uint32_t read_cpuid(qli_cpu_source word, uint32_t leaf, uint32_t sub)
{
  uint32_t eax = 0, ebx = 0, ecx = 0, edx = 0;
  __get_cpuid_count(leaf, sub, &eax, &ebx, &ecx, &edx);
  return word == QLI_CPUID_EAX   ? eax
         : word == QLI_CPUID_EBX ? ebx
         : word == QLI_CPUID_ECX ? ecx
                                 : edx;
}

/* xgetbv by its bytes, because the intrinsic would need a target flag. */
static uint32_t read_xcr0(void)
{
  const uint32_t osxsave = 1u << 27;
  uint32_t low, high;
  if ((read_cpuid(QLI_CPUID_ECX, 1, 0) & osxsave) == 0)
    return 0;
  __asm__ __volatile__(".byte 0x0f, 0x01, 0xd0" : "=a"(low), "=d"(high) : "c"(0));
  return low;
}

/* Large states are saved only for processes that have asked for them. */
static uint32_t ask_permission(uint32_t state)
{
#if defined(__linux__) && defined(SYS_arch_prctl)
  const long request = 0x1023; /* ARCH_REQ_XCOMP_PERM */
  return syscall(SYS_arch_prctl, request, (unsigned long)state) == 0;
#else
  (void)state;
  return 0;
#endif
}

uint32_t qli_cpu_x86(const qli_cpu_need *need)
{
  switch (need->source) {
  case QLI_CPUID_EAX:
  case QLI_CPUID_EBX:
  case QLI_CPUID_ECX:
  case QLI_CPUID_EDX: return read_cpuid(need->source, need->leaf, need->sub);
  case QLI_XCR0: return read_xcr0();
  case QLI_PERMIT: return ask_permission(need->leaf);
  default: return 0;
  }
}

#else

uint32_t qli_cpu_x86(const qli_cpu_need *need)
{
  (void)need;
  return 0;
}

#endif
