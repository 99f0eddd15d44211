/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef QLK_VEC_SCALAR_H
#define QLK_VEC_SCALAR_H

#include "qlk_half.h"

/* Vectors of floats for the bodies that all ISAs share: what the baseline of the architecture has,
 * in the compiler's words. */
enum { VL = 4, SUMS = 8 };

typedef float vec __attribute__((vector_size(16)));

static inline vec vec_set1(float a)
{
  return (vec){a, a, a, a};
}

static inline vec vec_load(const float *p)
{
  vec a;
  memcpy(&a, p, sizeof a);
  return a;
}

static inline void vec_store(float *p, vec a)
{
  memcpy(p, &a, sizeof a);
}

static inline vec vec_add(vec a, vec b)
{
  return a + b;
}

static inline vec vec_mul(vec a, vec b)
{
  return a * b;
}

static inline vec vec_load_f16(const unsigned char *p)
{
  return (vec){qlk_f16_to_f32(qlk_load16(p, 0)), qlk_f16_to_f32(qlk_load16(p, 1)),
               qlk_f16_to_f32(qlk_load16(p, 2)), qlk_f16_to_f32(qlk_load16(p, 3))};
}

#endif
