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

typedef struct {
  const qlk_exact *t;
  const float *x;
  size_t n, group;
  float *lo, *hi;
  int finite;
  qlk_rounded row;
  uint8_t *codes;
} round_call;

static void run_ranges(void *arg)
{
  round_call *c = arg;
  c->finite = c->t->ranges(c->x, c->n, c->group, c->lo, c->hi);
}

static void check_ranges(kc *k, const qlk_exact *t)
{
  for (size_t i = 0; i < 300; i++) {
    round_call c = {.t = t, .n = 1 + kc_below(k, 300), .group = 1 + i % 140};
    const size_t groups = (c.n + c.group - 1) / c.group;
    kc_begin(k, i, "n=%zu group=%zu", c.n, c.group);
    float *x = kc_memory(k, 4 * c.n, 4);
    c.lo = kc_memory(k, 4 * groups, 4);
    c.hi = kc_memory(k, 4 * groups, 4);
    kc_fill(k, i % 3 == 0 ? KC_EXTREME : KC_NORMAL, x, c.n);
    if (i % 4 == 1)
      x[kc_below(k, c.n)] = kc_below(k, 2) ? NAN : kc_below(k, 2) ? INFINITY : -INFINITY;
    c.x = x;
    const bool ran = kc_run(k, run_ranges, &c);
    if (ran && !c.finite != (i % 4 == 1))
      kc_fail(k, "says %d of numbers that are%s finite", c.finite, i % 4 == 1 ? " not" : "");
    for (size_t g = 0; ran && i % 4 != 1 && g < groups; g++) {
      float lo = INFINITY, hi = -INFINITY;
      for (size_t j = g * c.group; j < c.n && j < (g + 1) * c.group; j++) {
        lo = fminf(lo, x[j]);
        hi = fmaxf(hi, x[j]);
      }
      if (c.lo[g] != lo || c.hi[g] != hi)
        kc_fail(k, "group %zu: %a .. %a", g, (double)c.lo[g], (double)c.hi[g]);
    }
    kc_end(k);
  }
}

static void run_round(void *arg)
{
  const round_call *c = arg;
  c->t->round(&c->row, c->codes);
}

/* The code whose value is nearest, by its distance, which is exact in double for neighbours. */
static int nearest_code(double x, double s, int zero, int lowest, int highest)
{
  const double q = floor(fmin(fmax(x / s, -1000), 1000));
  double best = INFINITY;
  int found = 0;
  for (int k = (int)q - 2; k <= (int)q + 2; k++) {
    const double distance = fabs(x - s * k);
    if (distance < best || (distance == best && k % 2 == 0)) {
      best = distance;
      found = k;
    }
  }
  found += zero;
  return found < lowest ? lowest : found > highest ? highest : found;
}

/* Numbers on a multiple of the scale, on and beside the middle between two, and any. */
static float round_input(kc *k, float s, int highest)
{
  const double steps = (double)kc_below(k, (size_t)(3 * highest + 3)) - highest;
  const float tie = (float)((steps + 0.5) * (double)s);
  switch (kc_below(k, 8)) {
  case 0: return (float)(steps * (double)s);
  case 1:
  case 2: return tie;
  case 3: return nextafterf(tie, INFINITY);
  case 4: return nextafterf(tie, -INFINITY);
  case 5: return (float)(kc_unit(k) - 0.5) * 0x1p100f * s;
  default: return (float)((kc_unit(k) - 0.5) * 2 * highest) * s;
  }
}

static float round_scale(kc *k)
{
  if (kc_below(k, 10) == 0)
    return kc_below(k, 2) ? 0x1p-126f : 0x1.8p-110f;
  const float s = ldexpf(1.0f + (float)kc_below(k, 2048) * 0x1p-11f, (int)kc_below(k, 20) - 14);
  const float any = kc_below(k, 2) ? s : s * (1.0f + (float)kc_unit(k));
  return kc_below(k, 5) ? any : -any;
}

static void check_round(kc *k, const qlk_exact *t)
{
  for (size_t i = 0; i < 400; i++) {
    const int bits = 1 + (int)(i % 8), highest = (1 << bits) - 1;
    round_call c = {.t = t, .n = kc_below(k, 400), .group = i % 6 == 0 ? 128 : 1 + i % 140};
    const size_t groups = c.n / c.group + 1;
    kc_begin(k, i, "n=%zu group=%zu bits=%d", c.n, c.group, bits);
    float *x = kc_memory(k, 4 * c.n, 4), *scales = kc_memory(k, 4 * groups, 4);
    int16_t *zeros = kc_memory(k, 2 * groups, 2);
    c.codes = kc_memory(k, c.n, 1);
    for (size_t g = 0; g < groups; g++) {
      scales[g] = round_scale(k);
      zeros[g] = (int16_t)kc_below(k, (size_t)highest + 1);
    }
    for (size_t j = 0; j < c.n; j++)
      x[j] = round_input(k, scales[j / c.group], highest);
    c.row = (qlk_rounded){x, c.n, c.group, scales, zeros, i % 3 == 0, highest};
    const bool ran = kc_run(k, run_round, &c);
    for (size_t j = 0; ran && j < c.n; j++) {
      const size_t g = j / c.group;
      const int want = nearest_code((double)x[j], (double)scales[g], zeros[g], i % 3 == 0, highest);
      if (c.codes[j] != want) {
        kc_fail(k, "first bad element %zu: %a at scale %a, zero %d is %d, not %d", j, (double)x[j],
                (double)scales[g], zeros[g], c.codes[j], want);
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
  static const double bytes[] = {6, 6, 6, 6, 5, 1, 5, 3, 3, 4, 5};
  float scales[32], lo[32], hi[32];
  int16_t zeros[32];
  for (size_t g = 0; g < 32; g++) {
    scales[g] = 0.5f;
    zeros[g] = 8;
  }
  call c = {t, which, src, n, dst, 0.5f, 8};
  rows_call rows = {t, which - 5, {src, n, 128, scales, zeros, NULL}, 0, dst};
  round_call rounds = {t, src, n, 128, lo, hi, 0, {src, n, 128, scales, zeros, 0, 15}, dst};
  const double ns = which == 10  ? kc_time(run_round, &rounds)
                    : which == 9 ? kc_time(run_ranges, &rounds)
                    : which > 5  ? kc_time(run_rows, &rows)
                    : which == 5 ? kc_time(run_sum, &c)
                                 : kc_time(run, &c);
  kc_bench_line(k, ns, (double)n, (double)n * bytes[which]);
  k->buffers = 0;
}

void kc_check_exact(kc *k, const qlk_table *scalar, const qlk_table *below, const qlk_table *here)
{
  static const char *const names[] = {"exact.f16_to_f32",  "exact.bf16_to_f32", "exact.f32_to_f16",
                                      "exact.f32_to_bf16", "exact.dequant",     "exact.sum",
                                      "exact.rows_f32",    "exact.rows_f16",    "exact.rows_bf16",
                                      "exact.ranges",      "exact.round"};
  const void *slots[] = {
      &here->exact.f16_to_f32,  &here->exact.bf16_to_f32, &here->exact.f32_to_f16,
      &here->exact.f32_to_bf16, &here->exact.dequant,     &here->exact.sum,
      &here->exact.rows_f32,    &here->exact.rows_f16,    &here->exact.rows_bf16,
      &here->exact.ranges,      &here->exact.round};
  (void)scalar;
  for (int which = 0; which < 11; which++) {
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
    else if (which == 9)
      check_ranges(k, &here->exact);
    else if (which == 10)
      check_round(k, &here->exact);
    else if (which > 5)
      check_rows(k, &here->exact, which);
    else
      check_dequant(k, &here->exact);
  }
}
