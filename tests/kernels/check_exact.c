/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#include "kcheck.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Conversions against arithmetic in double precision: the nearest number with p bits of precision
 * and exponents from emin on, ties to even. */
static uint16_t round_to_format(double f, int p, int emin, int exponent_bits)
{
  const uint16_t infinity = (uint16_t)(((1 << exponent_bits) - 1) << (p - 1));
  const uint16_t sign = signbit(f) ? 0x8000 : 0;
  const double a = fabs(f);
  if (isinf(f))
    return sign | infinity;
  if (a == 0)
    return sign;
  int e = ilogb(a);
  e = e < emin ? emin : e;
  /* In units of the last place; counting on from the subnormals gives the code itself. */
  const double q = nearbyint(ldexp(a, p - 1 - e));
  const double code = q + ldexp((double)(e - emin), p - 1);
  return sign | (code >= (double)infinity ? infinity : (uint16_t)code);
}

static bool is_nan16(uint16_t h, int p, int exponent_bits)
{
  return (h & 0x7fff) > ((1 << exponent_bits) - 1) << (p - 1);
}

typedef struct {
  const qlk_exact *t;
  int which; /* slot, in the order of the struct */
  const void *src;
  size_t n;
  void *dst;
  float scale;
  int32_t zero;
} call;

static void run(void *arg)
{
  const call *c = arg;
  switch (c->which) {
  case 0: c->t->f16_to_f32(c->src, c->n, c->dst); break;
  case 1: c->t->bf16_to_f32(c->src, c->n, c->dst); break;
  case 2: c->t->f32_to_f16(c->src, c->n, c->dst); break;
  case 3: c->t->f32_to_bf16(c->src, c->n, c->dst); break;
  default: c->t->dequant(c->src, c->n, c->scale, c->zero, c->dst); break;
  }
}

static double value16(uint16_t h, int p, int emin, int exponent_bits)
{
  const int exponent = (h & 0x7fff) >> (p - 1), mantissa = h & ((1 << (p - 1)) - 1);
  const double sign = h & 0x8000 ? -1 : 1;
  if (exponent == (1 << exponent_bits) - 1)
    return mantissa ? (double)NAN : sign * (double)INFINITY;
  if (exponent == 0)
    return sign * ldexp(mantissa, emin - p + 1);
  return sign * ldexp(mantissa + (1 << (p - 1)), exponent - 1 + emin - p + 1);
}

/* All 65536 inputs, then short runs of any length and alignment. */
static void check_widening(kc *k, const qlk_exact *t, int which)
{
  const int p = which == 0 ? 11 : 8, emin = which == 0 ? -14 : -126, bits = which == 0 ? 5 : 8;
  for (size_t n = 0; n <= 100; n++) {
    const size_t count = n == 100 ? 65536 : n;
    kc_begin(k, n, "n=%zu", count);
    unsigned char *src = kc_memory(k, 2 * count, 1);
    float *dst = kc_memory(k, 4 * count, 4), *want = malloc(4 * count + 1);
    for (size_t i = 0; i < count; i++) {
      const uint16_t h = (uint16_t)(count == 65536 ? i : kc_u64(k));
      memcpy(src + 2 * i, &h, 2);
      want[i] = (float)value16(h, p, emin, bits);
    }
    call c = {.t = t, .which = which, .src = src, .n = count, .dst = dst};
    if (kc_run(k, run, &c))
      kc_same_f32(k, dst, want, 1, count, count);
    free(want);
    kc_end(k);
  }
}

/* Numbers near ties of the 16-bit types, and any bits at all. */
static float narrowing_input(kc *k, int which)
{
  const int p = which == 2 ? 11 : 8, emin = which == 2 ? -14 : -126, bits = which == 2 ? 5 : 8;
  uint32_t u = (uint32_t)kc_u64(k);
  float f;
  if (kc_below(k, 2) == 0) {
    memcpy(&f, &u, sizeof f);
    return f;
  }
  const uint16_t h = (uint16_t)(u & 0x7fff);
  const double a = value16(h, p, emin, bits), b = value16((uint16_t)(h + 1), p, emin, bits);
  f = isfinite(a) && isfinite(b) ? (float)((a + b) / 2) : 65519.996f;
  const size_t nudge = kc_below(k, 3);
  return nudge == 0 ? f : nextafterf(f, nudge == 1 ? 0.0f : INFINITY);
}

static void check_narrowing(kc *k, const qlk_exact *t, int which)
{
  const int p = which == 2 ? 11 : 8, emin = which == 2 ? -14 : -126, bits = which == 2 ? 5 : 8;
  for (size_t n = 0; n <= 60; n++) {
    const size_t count = n == 60 ? 40000 : n;
    kc_begin(k, n, "n=%zu", count);
    float *src = kc_memory(k, 4 * count, 4);
    unsigned char *dst = kc_memory(k, 2 * count, 1);
    for (size_t i = 0; i < count; i++)
      src[i] = narrowing_input(k, which);
    call c = {.t = t, .which = which, .src = src, .n = count, .dst = dst};
    const bool ran = kc_run(k, run, &c);
    for (size_t i = 0; ran && i < count; i++) {
      uint16_t got;
      memcpy(&got, dst + 2 * i, 2);
      const bool good = isnan(src[i]) ? is_nan16(got, p, bits) && (got & 1 << (p - 2)) != 0
                                      : got == round_to_format(src[i], p, emin, bits);
      if (!good)
        kc_fail(k, "first bad element %zu: %a became 0x%04x", i, (double)src[i], got);
    }
    kc_end(k);
  }
}

static void check_dequant(kc *k, const qlk_exact *t)
{
  static const float scales[] = {1.0f, -0.37f, 0x1p-149f, 0x1.fffffep127f, 0.0f, 0x1.554p-9f};
  for (size_t n = 0; n <= 200; n++) {
    kc_begin(k, n, "n=%zu", n);
    uint8_t *src = kc_memory(k, n, 1);
    float *dst = kc_memory(k, 4 * n, 4), want[256];
    call c = {.t = t, .which = 4, .src = src, .n = n, .dst = dst};
    c.scale = scales[kc_below(k, 6)];
    c.zero = (int32_t)kc_below(k, 257);
    for (size_t i = 0; i < n; i++) {
      src[i] = (uint8_t)kc_u64(k);
      /* 24 + 9 bits: exact in double, so that this rounds once. */
      want[i] = (float)((double)c.scale * ((double)src[i] - c.zero));
    }
    if (kc_run(k, run, &c))
      kc_same_f32(k, dst, want, 1, n, n);
    kc_end(k);
  }
}

typedef struct {
  const qlk_exact *t;
  qlk_dtype type;
  qlk_coded row;
  int flags;
  void *dst;
} rows_call;

static void run_rows(void *arg)
{
  const rows_call *c = arg;
  (c->type == QLK_F32   ? c->t->rows_f32
   : c->type == QLK_F16 ? c->t->rows_f16
                        : c->t->rows_bf16)(&c->row, c->flags, c->dst);
}

/* Scales and zero points where f32 would do, where its product is not the nearest 16-bit number's,
 * and where it is not even near. */
static float row_scale(kc *k)
{
  static const float odd[] = {0.0f, 0x1p-149f, 0x1.fffffep127f, -0x1.8p-120f, 0x1.234568p-24f};
  if (kc_below(k, 12) == 0)
    return odd[kc_below(k, 5)];
  if (kc_below(k, 60) == 0)
    return kc_below(k, 2) ? INFINITY : NAN;
  const float s = ldexpf(1.0f + (float)kc_unit(k), -(int)kc_below(k, 20));
  return kc_below(k, 5) ? s : -s;
}

static float row_zero(kc *k)
{
  const float z = (float)kc_below(k, 257);
  switch (kc_below(k, 4)) {
  case 0: return z;
  case 1: return z / 16 - 3;
  case 2: return (float)(kc_unit(k) * 16);
  default: return ldexpf((float)kc_unit(k), -(int)kc_below(k, 40));
  }
}

/* Whether what a kernel wrote for a code is the formula in double precision, rounded once, or by
 * way of f32 where the type is narrow and the flags do not ask for more. */
static bool right_value(const rows_call *c, const unsigned char *got, uint8_t code, double s,
                        double z)
{
  const double exact = s * ((double)code - z);
  const double p = c->type != QLK_F32 && (c->flags & QLK_ODD) ? exact : (double)(float)exact;
  const int precision = c->type == QLK_F16 ? 11 : 8, bits = c->type == QLK_F16 ? 5 : 8;
  float f, want = (float)p;
  uint16_t h;
  memcpy(&h, got, 2);
  if (c->type != QLK_F32)
    return isnan(p) ? is_nan16(h, precision, bits)
                    : h == round_to_format(p, precision, c->type == QLK_F16 ? -14 : -126, bits);
  memcpy(&f, got, 4);
  return isnan(p) ? isnan(f) : memcmp(&f, &want, 4) == 0;
}

static void check_rows(kc *k, const qlk_exact *t, int which)
{
  for (size_t i = 0; i < 400; i++) {
    const bool stream = i % 4 == 3, floats = i % 3 == 2;
    const size_t n = i < 100 ? i : stream ? 64 * kc_below(k, 40) : kc_below(k, 700);
    const size_t group = i % 5 == 0 ? n + 1 : stream ? 32 * (1 + i % 7) : 1 + i % 200;
    const size_t groups = n / group + 1;
    rows_call c = {.t = t, .type = which - 5, .flags = (int)(i / 2 % 2) | (stream ? 2 : 0)};
    const size_t size = c.type == QLK_F32 ? 4 : 2;
    kc_begin(k, i, "n=%zu group=%zu flags=%d%s", n, group, c.flags, floats ? " float zeros" : "");
    uint8_t *codes = kc_memory(k, n, 1);
    float *scales = kc_memory(k, groups * 4, 4), *fzeros = kc_memory(k, groups * 4, 4);
    int16_t *zeros = kc_memory(k, groups * 2, 2);
    unsigned char *dst = kc_memory(k, n * size, stream ? 64 : 1);
    for (size_t j = 0; j < n; j++)
      codes[j] = (uint8_t)kc_u64(k);
    for (size_t g = 0; g < groups; g++) {
      scales[g] = row_scale(k);
      fzeros[g] = row_zero(k);
      zeros[g] = (int16_t)kc_below(k, 257);
    }
    c.row = (qlk_coded){codes, n, group, scales, floats ? NULL : zeros, floats ? fzeros : NULL};
    c.dst = dst;
    const bool ran = kc_run(k, run_rows, &c);
    for (size_t j = 0; ran && j < n; j++) {
      const double z = floats ? (double)fzeros[j / group] : zeros[j / group];
      if (!right_value(&c, dst + j * size, codes[j], (double)scales[j / group], z)) {
        kc_fail(k, "first bad element %zu: %d at scale %a, zero %a", j, codes[j],
                (double)scales[j / group], z);
        break;
      }
    }
    kc_end(k);
  }
}

static void run_sum(void *arg)
{
  call *c = arg;
  c->zero = (int32_t)c->t->sum(c->src, c->n);
}

/* The longest is beyond 16 bits of 255s in every lane of a vector. */
static void check_sum(kc *k, const qlk_exact *t)
{
  for (size_t n = 0; n <= 200; n++) {
    const size_t count = n == 200 ? 70000 : n;
    kc_begin(k, n, "n=%zu", count);
    uint8_t *src = kc_memory(k, count, 1);
    uint32_t want = 0;
    for (size_t i = 0; i < count; i++) {
      src[i] = n == 200 ? 255 : (uint8_t)kc_u64(k);
      want += src[i];
    }
    call c = {.t = t, .src = src, .n = count};
    if (kc_run(k, run_sum, &c) && (uint32_t)c.zero != want)
      kc_fail(k, "%u, not %u", (unsigned)c.zero, (unsigned)want);
    kc_end(k);
  }
}

static void bench(kc *k, const qlk_exact *t, int which)
{
  const size_t n = 4096;
  kc_begin(k, 0, "n=%zu", n);
  void *src = kc_memory(k, 4 * n, 64), *dst = kc_memory(k, 4 * n, 64);
  memset(src, 0x3c, 4 * n);
  static const double bytes[] = {6, 6, 6, 6, 5, 1, 5, 3, 3};
  static const float scales[32] = {0.5f};
  static const int16_t zeros[32] = {8};
  call c = {t, which, src, n, dst, 0.5f, 8};
  rows_call rows = {t, which - 5, {src, n, 128, scales, zeros, NULL}, 0, dst};
  const double ns = which > 5    ? kc_time(run_rows, &rows)
                    : which == 5 ? kc_time(run_sum, &c)
                                 : kc_time(run, &c);
  kc_bench_line(k, ns, (double)n, (double)n * bytes[which]);
  k->buffers = 0;
}

void kc_check_exact(kc *k, const qlk_table *scalar, const qlk_table *below, const qlk_table *here)
{
  static const char *const names[] = {"exact.f16_to_f32",  "exact.bf16_to_f32", "exact.f32_to_f16",
                                      "exact.f32_to_bf16", "exact.dequant",     "exact.sum",
                                      "exact.rows_f32",    "exact.rows_f16",    "exact.rows_bf16"};
  const void *slots[] = {
      &here->exact.f16_to_f32,  &here->exact.bf16_to_f32, &here->exact.f32_to_f16,
      &here->exact.f32_to_bf16, &here->exact.dequant,     &here->exact.sum,
      &here->exact.rows_f32,    &here->exact.rows_f16,    &here->exact.rows_bf16};
  (void)scalar;
  for (int which = 0; which < 9; which++) {
    const ptrdiff_t at = (const char *)slots[which] - (const char *)here;
    if (!kc_wants(k, names[which], slots[which], below ? (const char *)below + at : NULL,
                  sizeof(void (*)(void))))
      continue;
    if (k->bench)
      bench(k, &here->exact, which);
    else if (which < 2)
      check_widening(k, &here->exact, which);
    else if (which < 4)
      check_narrowing(k, &here->exact, which);
    else if (which == 5)
      check_sum(k, &here->exact);
    else if (which > 5)
      check_rows(k, &here->exact, which);
    else
      check_dequant(k, &here->exact);
  }
}
