/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef QLI_RUNTIME_CPU_H
#define QLI_RUNTIME_CPU_H

#include <stdint.h>

/* Capability clusters: each bit stands for a whole row of qlk_isas.def without its parents. */
enum {
  QLI_CPU_AVX2 = 1 << 0,    /* AVX2, FMA, F16C, BMI2 */
  QLI_CPU_AVXVNNI = 1 << 1, /* VNNI in VEX encoding, without AVX-512 */
  QLI_CPU_AVX512 = 1 << 2,  /* F, BW, DQ, VL */
  QLI_CPU_AVX512VNNI = 1 << 3,
  QLI_CPU_AVX512BF16 = 1 << 4,
  QLI_CPU_AVX512FP16 = 1 << 5,
  QLI_CPU_NEON = 1 << 16, /* aarch64 */
  QLI_CPU_NEONDOT = 1 << 17,
  QLI_CPU_NEONI8MM = 1 << 18
};

/* What this processor and the operating system offer together. One of the two is built. */
uint32_t qli_cpu_x86(void);
uint32_t qli_cpu_arm(void);

#endif
