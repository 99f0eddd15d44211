/* SPDX-FileCopyrightText: 2026 The quantlib authors
 * SPDX-License-Identifier: Apache-2.0 */
#include "kcheck.h"

#include "half.h"

#include <fenv.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The integer core: sums against 64-bit arithmetic, floats against the documented roundings, one by
 * one, both written here anew. */

enum { MAX_NR = 64 };

typedef struct {
  const qlk_a8 *t;
  qlk_wtype wtype;
  const qlk_weights *w;
  qlk_a8_rows rows;
  size_t m, k, digits;
  float *y;
  int32_t *sums;
  const int8_t *plain;
  const float *values;
  uint32_t negative, positive;
  float scale;
  int32_t zero;
  int8_t *out, *low;
} call;

enum { LDY = 70 };

static void run_gemm(void *arg)
{
  const call *c = arg;
  const qlk_a8_unit *unit = &c->t->unit[c->wtype];
  (c->digits == 2 ? unit->gemm16 : unit->gemm8)(c->w, 1, 1, c->w->groups, c->m, &c->rows, c->y,
                                                LDY);
}

static void run_integers(void *arg)
{
  const call *c = arg;
  c->t->unit[c->wtype].integers(c->w, 1, 1, c->m, &c->rows, c->sums, LDY);
}

static void run_arrange(void *arg)
{
  const call *c = arg;
  c->t->unit[c->wtype].arrange(c->plain, c->k, c->m, c->out);
}

static void run_split(void *arg)
{
  const call *c = arg;
  c->t->split(c->values, c->k, c->scale, c->out, c->low);
}

static void run_range(void *arg)
{
  call *c = arg;
  c->t->range(c->values, c->k, &c->negative, &c->positive);
}

static void run_quantize(void *arg)
{
  const call *c = arg;
  c->t->quantize(c->values, c->k, c->scale, c->zero, c->out);
}

/* Two panels of two groups and a third one, of which the test multiplies the second panel from the
 * second group on. All numbers also lie unpacked. */
typedef struct {
  const qlk_a8_unit *unit;
  int bits;
  size_t k, groups, rows; /* rows of digits */
  uint32_t ends[4];
  unsigned char *codes; /* [k][nr], of the second panel */
  int8_t *digits;       /* [rows][k] */
  float *scales, *fzeros, *x_scales;
  int32_t *zeros, *x_zeros;
  const unsigned char *numbers; /* of a table, plus 128; NULL: codes are numbers */
  qlk_weights w;
} packed;

static int bits_of(qlk_wtype wtype)
{
  return wtype == QLK_W2 ? 2 : wtype == QLK_W3 ? 3 : wtype == QLK_W4 ? 4 : 8;
}

/* Codes and activations at random, or all at one end, where products of 16 bits would saturate. */
static int8_t make_digit(kc *k, size_t kind)
{
  if (kind % 3 == 1)
    return 127;
  if (kind % 3 == 2)
    return -127;
  return (int8_t)((int)kc_below(k, 255) - 127);
}

static unsigned char make_code(kc *k, size_t kind, int bits)
{
  const unsigned highest = (1u << bits) - 1;
  return (unsigned char)(kind / 3 % 3 == 1   ? highest
                         : kind / 3 % 3 == 2 ? 0
                                             : kc_below(k, highest + 1));
}

/* Bits of one code, written out from the comment of qlk_gemm.h. */
static void put_code(const packed *p, unsigned char *panel, size_t at, size_t j, unsigned code)
{
  const size_t nr = p->unit->nr, kr = p->unit->kr, chunk = at / kr, t = at % kr;
  const size_t words = p->bits == 3 ? 3 : 1, half = p->bits == 3 ? t / 16 : 0;
  const size_t low = p->bits == 3 ? 2 : (size_t)p->bits, place = (p->bits == 3 ? t % 16 : t) * low;
  for (size_t b = 0; b < low; b++)
    panel[((chunk * words + half) * nr + j) * 4 + (place + b) / 8] |=
        (unsigned char)((code >> b & 1) << (place + b) % 8);
  if (p->bits == 3)
    panel[((chunk * words + 2) * nr + j) * 4 + t % 16 / 4] |=
        (unsigned char)((code >> 2) << (t % 4 + 4 * (t / 16)));
}

/* Place of digit t of a chunk: the order in which bytes are cut out of words. */
static size_t place_of(int bits, size_t t)
{
  static const size_t four[] = {0, 4, 1, 5, 2, 6, 3, 7};
  static const size_t two[] = {0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15};
  return bits == 8 ? t : bits == 4 ? four[t] : t / 16 * 16 + two[t % 16];
}

static float stored_float(qlk_dtype type, unsigned char *to, size_t at, float v)
{
  const uint16_t h = type == QLK_F16 ? qli_f32_to_f16(v) : qli_f32_to_bf16(v);
  if (type == QLK_F32)
    memcpy(to + 4 * at, &v, 4);
  else
    memcpy(to + 2 * at, &h, 2);
  return type == QLK_F32 ? v : type == QLK_F16 ? qli_f16_to_f32(h) : qli_bf16_to_f32(h);
}

enum { PLAIN, ZEROS, FLOAT_ZEROS, X_ZEROS, TABLE, WEIGHT_KINDS };

/* Both ends of a byte where the codes of make_code are all alike. */
static unsigned char *make_numbers(kc *k)
{
  unsigned char *numbers = kc_memory(k, 16, 64);
  for (size_t i = 0; i < 16; i++)
    numbers[i] = (unsigned char)(i == 0 ? 0 : i == 15 ? 255 : kc_below(k, 256));
  return numbers;
}

static void fill_weights(kc *k, packed *p, size_t kind, size_t weight_kind, qlk_dtype type)
{
  const size_t nr = p->unit->nr, cells = p->groups * nr, size = type == QLK_F32 ? 4 : 2;
  const size_t panel_bytes = p->k / p->unit->kr * (p->bits == 3 ? 12 : 4) * nr;
  unsigned char *codes = kc_memory(k, 2 * panel_bytes, 64);
  unsigned char *scales = kc_memory(k, 2 * cells * size, 64), *fzeros = NULL;
  int16_t *zeros = NULL;
  int32_t *sums = NULL;
  memset(codes, 0, 2 * panel_bytes);
  for (size_t at = 0; at < p->k; at++)
    for (size_t j = 0; j < nr; j++) {
      p->codes[at * nr + j] = make_code(k, kind, p->bits);
      put_code(p, codes + panel_bytes, at, j, p->codes[at * nr + j]);
    }
  if (weight_kind == ZEROS || weight_kind == X_ZEROS)
    zeros = kc_memory(k, 2 * cells * 2, 64);
  if (weight_kind == X_ZEROS)
    sums = kc_memory(k, 2 * cells * 4, 64);
  if (weight_kind == FLOAT_ZEROS)
    fzeros = kc_memory(k, 2 * cells * size, 64);
  for (size_t at = 0; at < 2 * cells; at++) {
    const size_t c = at % cells; /* the values of the second panel stay */
    p->scales[c] = stored_float(type, scales, at, (float)kc_unit(k) - 0.3f);
    p->zeros[c] = 1 << (p->bits - 1);
    if (zeros != NULL)
      p->zeros[c] = zeros[at] = (int16_t)kc_below(k, (1u << p->bits) + 1);
    if (fzeros != NULL)
      p->fzeros[c] = stored_float(type, fzeros, at, (float)kc_unit(k) * 9);
  }
  for (size_t c = 0; sums != NULL && c < cells; c++) {
    const size_t g = c / nr, first = g > 0 ? p->ends[g - 1] : 0;
    int32_t sum = 0;
    for (size_t at = first; at < p->ends[g]; at++)
      sum += p->codes[at * nr + c % nr] - p->zeros[c];
    sums[c] = -1;
    sums[cells + c] = sum;
  }
  p->w = (qlk_weights){.codes = codes,
                       .scales = scales,
                       .zeros = zeros,
                       .fzeros = fzeros,
                       .sums = sums,
                       .ends = p->ends,
                       .code_stride = panel_bytes,
                       .scale_stride = cells,
                       .groups = p->groups,
                       .k = p->k,
                       .scale_type = type};
  if (weight_kind == TABLE) {
    p->w.numbers = p->numbers = make_numbers(k);
    p->w.unit = ldexpf(1.0f, (int)kc_below(k, 9) - 6);
  }
}

static void fill_rows(kc *k, packed *p, size_t kind, size_t digits, bool scaled, bool x_zeros,
                      qlk_a8_rows *rows)
{
  const size_t kr = p->unit->kr, m = p->rows / digits;
  int8_t *tile = kc_memory(k, p->rows * p->k, 1);
  int32_t *sums = kc_memory(k, p->rows * p->groups * 4, 4);
  float *scales = scaled ? kc_memory(k, m * p->groups * 4, 4) : NULL;
  int32_t *zeros = x_zeros ? kc_memory(k, m * 4, 4) : NULL;
  for (size_t r = 0; r < p->rows; r++)
    for (size_t g = 0, at = 0; g < p->groups; g++) {
      sums[r * p->groups + g] = 0;
      for (; at < p->ends[g]; at++) {
        const int8_t d = make_digit(k, kind);
        p->digits[r * p->k + at] = d;
        tile[at / kr * kr * p->rows + r * kr + place_of(p->bits, at % kr)] = d;
        sums[r * p->groups + g] += d;
      }
    }
  for (size_t i = 0; scaled && i < m * p->groups; i++)
    scales[i] = p->x_scales[i] = (float)kc_unit(k);
  for (size_t i = 0; i < m; i++) {
    p->x_zeros[i] = x_zeros ? (int32_t)kc_below(k, 255) - 127 : 0;
    if (x_zeros)
      zeros[i] = p->x_zeros[i];
  }
  *rows = (qlk_a8_rows){tile, sums, scales, zeros};
}

static int64_t exact_sum(const packed *p, size_t r, size_t j, size_t g, size_t digits)
{
  const size_t nr = p->unit->nr;
  int64_t sum = 0;
  for (size_t at = g > 0 ? p->ends[g - 1] : 0; at < p->ends[g]; at++)
    sum += ((int64_t)p->digits[r * p->k + at] - p->x_zeros[r / digits]) *
           (p->numbers != NULL
                ? p->numbers[p->codes[at * nr + j]] - 128
                : p->codes[at * nr + j] - (p->w.fzeros != NULL ? 0 : p->zeros[g * nr + j]));
  return sum;
}

static int64_t digit_sum(const packed *p, size_t r, size_t g)
{
  int64_t sum = 0;
  for (size_t at = g > 0 ? p->ends[g - 1] : 0; at < p->ends[g]; at++)
    sum += p->digits[r * p->k + at];
  return sum;
}

/* volatile keeps each rounding where it is. Sums that do not fit wrap. */
static float number(const int64_t *digits, size_t count)
{
  const float low = count == 2 ? (float)(int32_t)(uint32_t)(uint64_t)digits[1] : 0;
  const float high = (float)(int32_t)(uint32_t)(uint64_t)digits[0];
  const volatile float shifted = 255.0f * high;
  return count == 2 ? shifted + low : high;
}

static float expected(const packed *p, size_t i, size_t j, size_t digits, bool scaled, float y)
{
  const size_t nr = p->unit->nr;
  volatile float sum = y;
  for (size_t g = 1; g < p->groups; g++) {
    int64_t products[2], sums[2];
    for (size_t d = 0; d < digits; d++) {
      products[d] = exact_sum(p, i * digits + d, j, g, digits);
      sums[d] = digit_sum(p, i * digits + d, g);
    }
    volatile float v = number(products, digits), s = p->scales[g * nr + j];
    if (p->numbers != NULL)
      s = p->w.unit * s;
    if (p->w.fzeros != NULL) {
      const volatile float offset = p->fzeros[g * nr + j] * number(sums, digits);
      v = v - offset;
    }
    if (scaled)
      s = s * p->x_scales[i * p->groups + g];
    const volatile float term = s * v;
    sum = sum + term;
  }
  return sum;
}

static void *scratch(size_t bytes)
{
  return calloc(bytes + 1, 1);
}

static void make_packed(packed *p, const qlk_a8_unit *unit, qlk_wtype wtype, size_t rows,
                        size_t chunks)
{
  memset(p, 0, sizeof *p);
  p->unit = unit;
  p->bits = bits_of(wtype);
  p->rows = rows;
  p->groups = 3;
  p->ends[0] = unit->kr;
  p->ends[1] = (uint32_t)((1 + chunks) * unit->kr);
  p->ends[2] = p->ends[1] + 2 * unit->kr;
  p->k = p->ends[2];
  p->codes = scratch(p->k * unit->nr);
  p->digits = scratch(rows * p->k);
  p->scales = scratch(p->groups * unit->nr * 4);
  p->fzeros = scratch(p->groups * unit->nr * 4);
  p->zeros = scratch(p->groups * unit->nr * 4);
  p->x_scales = scratch(rows * p->groups * 4);
  p->x_zeros = scratch(rows * 4);
}

static void free_packed(packed *p)
{
  free(p->codes);
  free(p->digits);
  free(p->scales);
  free(p->fzeros);
  free(p->zeros);
  free(p->x_scales);
  free(p->x_zeros);
}

static void compare_floats(kc *k, call *c, const packed *p, bool scaled)
{
  float *want = scratch(c->m * p->unit->nr * sizeof *want);
  c->y = kc_memory(k, ((c->m - 1) * LDY + p->unit->nr) * sizeof *c->y, 4);
  for (size_t i = 0; i < c->m; i++)
    for (size_t j = 0; j < p->unit->nr; j++) {
      c->y[i * LDY + j] = (float)kc_unit(k);
      want[i * p->unit->nr + j] = expected(p, i, j, c->digits, scaled, c->y[i * LDY + j]);
    }
  if (kc_run(k, run_gemm, c))
    kc_same_f32(k, c->y, want, c->m, p->unit->nr, LDY);
  free(want);
}

static void compare_integers(kc *k, call *c, const packed *p)
{
  const size_t nr = p->unit->nr;
  c->sums = kc_memory(k, ((c->m - 1) * LDY + nr) * sizeof *c->sums, 4);
  if (!kc_run(k, run_integers, c))
    return;
  for (size_t i = 0; i < c->m; i++)
    for (size_t j = 0; j < nr; j++) {
      const int32_t want = (int32_t)(uint32_t)(uint64_t)exact_sum(p, i, j, 1, 1);
      if (c->sums[i * LDY + j] != want) {
        kc_fail(k, "(%zu, %zu) is %d, not %d", i, j, c->sums[i * LDY + j], want);
        return;
      }
    }
}

static const size_t chunk_counts[] = {0, 1, 2, 3, 5, 8, 17};
static const qlk_dtype scale_types[] = {QLK_F32, QLK_F16, QLK_BF16};

static void check_product(kc *k, const qlk_a8 *t, qlk_wtype wtype, size_t rows, size_t digits,
                          size_t chunks, uint64_t n)
{
  const qlk_a8_unit *unit = &t->unit[wtype];
  const size_t kind = n % 9;
  size_t weight_kind = n / 9 % WEIGHT_KINDS;
  if (weight_kind == X_ZEROS && digits == 2)
    weight_kind = ZEROS;
  if (weight_kind == TABLE && wtype != QLK_W4)
    weight_kind = PLAIN;
  const bool scaled = n % 2 == 0;
  call c = {.t = t, .wtype = wtype, .m = rows / digits, .digits = digits};
  packed p;
  kc_begin(k, n, "m=%zu, %zu chunks, kind %zu, weights %zu%s", c.m, chunks, kind, weight_kind,
           scaled ? ", scales" : "");
  make_packed(&p, unit, wtype, rows, chunks);
  fill_weights(k, &p, kind, weight_kind, scale_types[n % 3]);
  fill_rows(k, &p, kind, digits, scaled, weight_kind == X_ZEROS, &c.rows);
  c.w = &p.w;
  compare_floats(k, &c, &p, scaled);
  if (digits == 1 && weight_kind != FLOAT_ZEROS && weight_kind != TABLE)
    compare_integers(k, &c, &p);
  free_packed(&p);
  kc_end(k);
}

static void check_products(kc *k, const qlk_a8 *t, qlk_wtype wtype, size_t digits)
{
  const size_t counts = sizeof chunk_counts / sizeof chunk_counts[0];
  uint64_t n = 0;
  for (size_t rows = digits; rows <= t->unit[wtype].mr; rows += digits)
    for (size_t i = 0; i < 18; i++, n++)
      check_product(k, t, wtype, rows, digits, chunk_counts[(n + n / counts) % counts], n);
  /* Long enough that products of one sign fill 16 bits many times over. */
  for (uint64_t kind = 0; kind < WEIGHT_KINDS; kind++) {
    check_product(k, t, wtype, digits, digits, 600, 9 * kind + 4);
    check_product(k, t, wtype, digits, digits, 600, 9 * kind + 5);
  }
}

static void check_gemm8(kc *k, const qlk_a8 *t, qlk_wtype wtype)
{
  check_products(k, t, wtype, 1);
}

static void check_gemm16(kc *k, const qlk_a8 *t, qlk_wtype wtype)
{
  check_products(k, t, wtype, 2);
}

static void check_arrange(kc *k, const qlk_a8 *t, qlk_wtype wtype)
{
  const size_t kr = t->unit[wtype].kr;
  for (size_t i = 0; i < 60; i++) {
    call c = {.t = t, .wtype = wtype, .m = 1 + i % 7, .k = kr * (i / 2)};
    kc_begin(k, i, "k=%zu, %zu rows", c.k, c.m);
    const size_t bytes = c.k == 0 ? 0 : (c.k / kr - 1) * kr * c.m + kr;
    int8_t *plain = kc_memory(k, c.k, 1), *want = scratch(bytes);
    c.plain = plain;
    c.out = kc_memory(k, bytes, 1);
    for (size_t b = 0; b < bytes; b++)
      c.out[b] = want[b] = 99;
    for (size_t p = 0; p < c.k; p++) {
      plain[p] = make_digit(k, 0);
      want[p / kr * kr * c.m + place_of(bits_of(wtype), p % kr)] = plain[p];
    }
    if (kc_run(k, run_arrange, &c))
      kc_same_bytes(k, c.out, want, bytes);
    free(want);
    kc_end(k);
  }
}

static void check_range(kc *k, const qlk_a8 *t)
{
  for (size_t i = 0; i < 200; i++) {
    const int kind = (int)(i % KC_KINDS);
    call c = {.t = t, .k = i};
    kc_begin(k, i, "n=%zu, %s", i, kc_kind_name(kind));
    float *x = kc_memory(k, i * sizeof *x, 4);
    kc_fill(k, kind, x, i);
    float below = 0, above = 0;
    bool nan = false;
    for (size_t p = 0; p < i; p++) {
      nan = nan || isnan(x[p]);
      above = fmaxf(above, x[p]);
      below = fmaxf(below, -x[p]);
    }
    c.values = x;
    if (kc_run(k, run_range, &c)) {
      float got[2];
      memcpy(&got[0], &c.negative, 4);
      memcpy(&got[1], &c.positive, 4);
      const bool good = nan ? isnan(got[0]) || isnan(got[1])
                            : !(got[0] < below) && !(got[0] > below) && !(got[1] < above) &&
                                  !(got[1] > above) && !signbit(got[0]) && !signbit(got[1]);
      if (!good)
        kc_fail(k, "range -%a .. %a, not -%a .. %a", (double)got[0], (double)got[1], (double)below,
                (double)above);
    }
    kc_end(k);
  }
}

/* Values at, just below and just above the ties between codes, and far outside of the range. */
static float near_tie(kc *k, float scale)
{
  const float v = scale * ((float)kc_below(k, 700) - 350.0f) * 0.5f;
  const size_t nudge = kc_below(k, 4);
  if (kc_below(k, 20) == 0)
    return kc_below(k, 2) ? 3e38f : -3e38f;
  return nudge == 0 ? nextafterf(v, INFINITY) : nudge == 1 ? nextafterf(v, -INFINITY) : v;
}

static void check_quantize(kc *k, const qlk_a8 *t)
{
  static const float scales[] = {1.0f, 0.25f, 0x1p-126f, 0.037f, 3.4e36f, 1.0f / 127.0f};
  for (size_t i = 0; i < 400; i++) {
    const size_t n = i < 380 ? i / 2 : 5000;
    call c = {.t = t, .k = n, .scale = scales[i % 6]};
    kc_begin(k, i, "n=%zu, scale %a", n, (double)c.scale);
    c.zero = i % 3 ? 0 : (int32_t)kc_below(k, 255) - 127;
    float *x = kc_memory(k, n * sizeof *x, 4);
    int8_t *want = malloc(n + 1);
    for (size_t p = 0; p < n; p++) {
      x[p] = near_tie(k, c.scale);
      const volatile float quotient = x[p] / c.scale;
      const double code = nearbyint((double)quotient) + c.zero;
      want[p] = (int8_t)fmin(fmax(code, -127), 127);
    }
    c.values = x;
    c.out = kc_memory(k, n, 1);
    if (kc_run(k, run_quantize, &c))
      kc_same_bytes(k, c.out, want, n);
    free(want);
    kc_end(k);
  }
}

static void check_split(kc *k, const qlk_a8 *t)
{
  static const float scales[] = {1.0f, 0.25f, 0x1p-126f, 0.037f, 1e34f, 1.0f / 32512.0f};
  for (size_t i = 0; i < 300; i++) {
    const size_t n = i < 280 ? i / 2 : 5000;
    call c = {.t = t, .k = n, .scale = scales[i % 6]};
    kc_begin(k, i, "n=%zu, scale %a", n, (double)c.scale);
    float *x = kc_memory(k, n * sizeof *x, 4);
    c.values = x;
    c.out = kc_memory(k, n, 1);
    c.low = kc_memory(k, n, 1);
    for (size_t p = 0; p < n; p++)
      x[p] = near_tie(k, c.scale) * (p % 2 ? 1.0f : 93.0f);
    if (kc_run(k, run_split, &c))
      for (size_t p = 0; p < n; p++) {
        const volatile float quotient = x[p] / c.scale;
        const double q = fmin(fmax(nearbyint((double)quotient), -32512), 32512);
        if (255 * c.out[p] + c.low[p] == (int)q && c.out[p] != -128 && c.low[p] != -128)
          continue;
        kc_fail(k, "%a became %d and %d", (double)x[p], c.out[p], c.low[p]);
        break;
      }
    kc_end(k);
  }
}

static void bench_case(kc *k, const qlk_a8 *t, qlk_wtype wtype, size_t digits, size_t rows,
                       size_t weight_kind)
{
  const qlk_a8_unit *unit = &t->unit[wtype];
  call c = {.t = t, .wtype = wtype, .m = rows / digits, .digits = digits};
  packed p;
  make_packed(&p, unit, wtype, rows, 1024 / unit->kr);
  kc_begin(k, 0, "m=%zu, k=%zu%s", c.m, p.k - unit->kr, weight_kind == TABLE ? ", table" : "");
  fill_weights(k, &p, 0, weight_kind, QLK_F16);
  fill_rows(k, &p, 0, digits, false, false, &c.rows);
  c.w = &p.w;
  c.y = kc_memory(k, c.m * LDY * sizeof *c.y, 4);
  memset(c.y, 0, c.m * LDY * sizeof *c.y);
  kc_bench_line(k, kc_time(run_gemm, &c), 2.0 * (double)(c.m * (p.k - unit->kr) * unit->nr), 0);
  free_packed(&p);
  k->buffers = 0;
}

static void bench_gemm(kc *k, const qlk_a8 *t, qlk_wtype wtype, size_t digits)
{
  bench_case(k, t, wtype, digits, t->unit[wtype].mr, PLAIN);
  if (wtype != QLK_W4)
    return;
  bench_case(k, t, wtype, digits, t->unit[wtype].mr, TABLE);
  bench_case(k, t, wtype, digits, digits, PLAIN);
  bench_case(k, t, wtype, digits, digits, TABLE);
}

static void bench_gemm8(kc *k, const qlk_a8 *t, qlk_wtype wtype)
{
  bench_gemm(k, t, wtype, 1);
}

static void bench_gemm16(kc *k, const qlk_a8 *t, qlk_wtype wtype)
{
  bench_gemm(k, t, wtype, 2);
}

static void bench_quantize(kc *k, const qlk_a8 *t)
{
  call c = {.t = t, .k = 4096, .scale = 0.01f};
  kc_begin(k, 0, "n=%zu", c.k);
  float *x = kc_memory(k, c.k * 4, 64);
  kc_fill(k, KC_NORMAL, x, c.k);
  c.values = x;
  c.out = kc_memory(k, c.k, 64);
  kc_bench_line(k, kc_time(run_quantize, &c), (double)c.k, 5.0 * (double)c.k);
  k->buffers = 0;
}

/* A unit reads the panels that the same table packs. */
static void check_unit_shape(kc *k, const qlk_table *t, qlk_wtype wtype)
{
  const qlk_a8_unit *unit = &t->a8.unit[wtype];
  const qlk_gemm_unit *packs = &t->gemm.unit[wtype];
  kc_begin(k, 0, "mr=%u, nr=%u, kr=%u", unit->mr, unit->nr, unit->kr);
  if (unit->layout_id != packs->layout_id || unit->nr != packs->nr || unit->kr != packs->kr)
    kc_fail(k, "layout 0x%x (%u x %u), but codes are packed as 0x%x (%u x %u)", unit->layout_id,
            unit->nr, unit->kr, packs->layout_id, packs->nr, packs->kr);
  if (unit->mr < 2 || unit->mr > 144 || 144 % unit->mr != 0 || unit->mr % 2 != 0 ||
      unit->nr > MAX_NR || unit->name8 == NULL || unit->name16 == NULL)
    kc_fail(k, "mr or nr is out of range, or a name is missing");
  kc_end(k);
}

static void check_unit(kc *k, qlk_wtype wtype, const qlk_table *below, const qlk_table *here)
{
  typedef void check(kc *, const qlk_a8 *, qlk_wtype);
  const qlk_a8_unit *unit = &here->a8.unit[wtype];
  const qlk_a8_unit *other = below ? &below->a8.unit[wtype] : NULL;
  const struct {
    const char *name;
    const void *slot, *below;
    check *test, *bench;
  } slots[] = {{"gemm8", &unit->gemm8, other ? &other->gemm8 : NULL, check_gemm8, bench_gemm8},
               {"gemm16", &unit->gemm16, other ? &other->gemm16 : NULL, check_gemm16, bench_gemm16},
               {"integers", &unit->integers, other ? &other->integers : NULL, check_gemm8, NULL},
               {"arrange", &unit->arrange, other ? &other->arrange : NULL, check_arrange, NULL}};
  for (size_t i = 0; i < sizeof slots / sizeof slots[0]; i++) {
    char name[40];
    snprintf(name, sizeof name, "a8.w%d.%s", bits_of(wtype), slots[i].name);
    if (!kc_wants(k, name, slots[i].slot, slots[i].below, sizeof(void (*)(void))))
      continue;
    if (!k->bench && i == 0)
      check_unit_shape(k, here, wtype);
    if (!k->bench)
      slots[i].test(k, &here->a8, wtype);
    else if (slots[i].bench != NULL)
      slots[i].bench(k, &here->a8, wtype);
  }
}

void kc_check_a8(kc *k, const qlk_table *scalar, const qlk_table *below, const qlk_table *here)
{
  typedef void check(kc *, const qlk_a8 *);
  static const qlk_wtype wtypes[] = {QLK_W2, QLK_W3, QLK_W4, QLK_W8};
  const qlk_a8 *t = &here->a8, *other = below ? &below->a8 : NULL;
  const struct {
    const char *name;
    const void *slot, *below;
    check *test, *bench;
  } slots[] = {{"a8.range", &t->range, other ? &other->range : NULL, check_range, NULL},
               {"a8.quantize", &t->quantize, other ? &other->quantize : NULL, check_quantize,
                bench_quantize},
               {"a8.split", &t->split, other ? &other->split : NULL, check_split, NULL}};
  (void)scalar;
  for (size_t i = 0; i < sizeof wtypes / sizeof wtypes[0]; i++)
    check_unit(k, wtypes[i], below, here);
  for (size_t i = 0; i < sizeof slots / sizeof slots[0]; i++) {
    if (!kc_wants(k, slots[i].name, slots[i].slot, slots[i].below, sizeof(void (*)(void))))
      continue;
    if (!k->bench)
      slots[i].test(k, t);
    else if (slots[i].bench != NULL)
      slots[i].bench(k, t);
  }
}
