/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef QLI_RUNTIME_CPU_H
#define QLI_RUNTIME_CPU_H

#include <stdint.h>

/* Where a word about this processor or the operating system comes from. */
typedef enum {
  QLI_ALWAYS,
  QLI_CPUID_EAX, /* x86: leaf and subleaf */
  QLI_CPUID_EBX,
  QLI_CPUID_ECX,
  QLI_CPUID_EDX,
  QLI_XCR0,   /* x86: the registers that the operating system saves; 0 where it saves none */
  QLI_PERMIT, /* x86: 1 once Linux lets this process use the state component `leaf` */
  QLI_HWCAP,  /* Linux on Arm */
  QLI_HWCAP2
} qli_cpu_source;

/* Met when all of these bits are set. What is left out of an array of them is QLI_ALWAYS. */
typedef struct {
  qli_cpu_source source;
  uint32_t leaf, sub;
  uint32_t bits;
} qli_cpu_need;

enum { QLI_CPU_NEEDS = 6 };

/* The word, 0 on other processors. One of the two is built. */
uint32_t qli_cpu_x86(const qli_cpu_need *need);
uint32_t qli_cpu_arm(const qli_cpu_need *need);

#endif
